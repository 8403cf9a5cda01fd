package rewards

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"strings"
	"unicode/utf8"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/work"
)

// Account that is paid. The name is the one spelling that stands for all, as names are
// compared.
type Account struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Compare is the order of accounts, by kind, then name.
func (a Account) Compare(b Account) int {
	if c := strings.Compare(a.Kind, b.Kind); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

func (a Account) String() string { return a.Kind + " " + a.Name }

func (a Account) check() error {
	if a.Kind == "" || a.Name == "" || len(a.Kind) > 64 || len(a.Name) > 1024 || !utf8.ValidString(a.Kind) || !utf8.ValidString(a.Name) {
		return fmt.Errorf("account of kind %.80q, name %.80q cannot be: want both in UTF-8, up to 64 and 1024 bytes", a.Kind, a.Name)
	}
	return nil
}

// Instance is the id of a pool that takes shares.
type Instance [16]byte

func (i Instance) String() string { return hex.EncodeToString(i[:]) }

// MarshalText gives hexadecimal digits.
func (i Instance) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, i[:]), nil }

// UnmarshalText reads what MarshalText gives.
func (i *Instance) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(i)) {
		return fmt.Errorf("id %.80q of an instance: want %d hexadecimal digits", b, hex.EncodedLen(len(i)))
	}
	_, err := hex.Decode(i[:], b)
	return err
}

// Hash of a block, in internal byte order.
type Hash [32]byte

func (h Hash) String() string { return work.FormatHash(h) }

// MarshalText gives hexadecimal digits in the order that people write them.
func (h Hash) MarshalText() ([]byte, error) { return work.AppendHash(nil, h), nil }

// UnmarshalText reads what MarshalText gives.
func (h *Hash) UnmarshalText(b []byte) (err error) {
	*h, err = work.ParseHash(string(b))
	return err
}

// Block whose value is divided.
type Block struct {
	Hash   Hash  `json:"hash"`
	Height int64 `json:"height"`
	// Value is what its coinbase pays the pool, in satoshis; Direct what it pays the
	// finder of a solo block itself.
	Value      int64            `json:"value"`
	Direct     int64            `json:"direct"`
	Difficulty difficulty.Exact `json:"difficulty"` // the network's
	Instance   Instance         `json:"instance"`   // that found it
	Finder     Account          `json:"finder"`
}

// Scheme of a reward.
type Scheme string

// Schemes.
const (
	PPLNS        Scheme = "pplns"
	Proportional Scheme = "proportional"
	Solo         Scheme = "solo"
)

// million is the whole of a fee: fees are in millionths of what they are taken from.
const million = 1_000_000

// Parameters are the settings that hold for a block.
type Parameters struct {
	Scheme Scheme           `json:"scheme"`
	Times  difficulty.Exact `json:"times"` // of the network's difficulty, of a PPLNS window
	Add    difficulty.Exact `json:"add"`   // to that
	// Previous is the pool's last block before this one that was not orphaned, of
	// Proportional: its height, 0 if there is none.
	Previous int64 `json:"previous"`
	Fee      int64 `json:"fee"` // millionths
	// Fees are those of accounts that have another.
	Fees map[Account]int64 `json:"-"`
}

func (p *Parameters) fee(a Account) int64 {
	if f, ok := p.Fees[a]; ok {
		return f
	}
	return p.Fee
}

// most is the most satoshis that a block's value can be: all there will ever be.
const most = 21_000_000 * 100_000_000

func checkFee(f int64) error {
	if f < 0 || f > million {
		return fmt.Errorf("fee of %d millionths: want 0 to %d", f, million)
	}
	return nil
}

func check(b *Block, p *Parameters) error {
	switch {
	case b.Height < 0:
		return fmt.Errorf("height %d of the block is negative", b.Height)
	case b.Value < 0 || b.Direct < 0 || b.Value > most || b.Direct > most || b.Value+b.Direct > most:
		return fmt.Errorf("value of %d and %d satoshis cannot be: want 0 to %d", b.Value, b.Direct, int64(most))
	case b.Direct > 0 && p.Scheme != Solo:
		return fmt.Errorf("the coinbase pays the finder %d satoshis, but the scheme is %q, not %q", b.Direct, p.Scheme, Solo)
	case p.Scheme != PPLNS && p.Scheme != Proportional && p.Scheme != Solo:
		return fmt.Errorf("scheme %.40q: want %q, %q or %q", string(p.Scheme), PPLNS, Proportional, Solo)
	case p.Previous < 0 || p.Previous >= b.Height && p.Previous > 0:
		return fmt.Errorf("the previous block at height %d is not below the block, at %d", p.Previous, b.Height)
	}
	if err := checkFee(p.Fee); err != nil {
		return err
	}
	for a, f := range p.Fees {
		if err := checkFee(f); err != nil {
			return fmt.Errorf("%v: %w", a, err)
		}
	}
	return b.Finder.check()
}

// wanted is N, rounded down to what an Exact has.
func wanted(b *Block, p *Parameters) (difficulty.Exact, error) {
	n := units(p.Times)
	n.Mul(n, units(b.Difficulty)).Quo(n, unitsPerOne)
	n.Add(n, units(p.Add))
	if n.Sign() == 0 || n.Cmp(units(maxWork)) > 0 {
		return difficulty.Exact{}, fmt.Errorf("window of %s × %s + %s: want more than 0 and at most %s", p.Times, b.Difficulty, p.Add, maxWork)
	}
	return exact(n), nil
}

var unitsPerOne = units(one())

func one() difficulty.Exact {
	x, err := difficulty.ParseExact("1")
	if err != nil {
		panic(err)
	}
	return x
}

// units is an amount of work as a number of units of 10⁻¹².
func units(x difficulty.Exact) *big.Int {
	b, _ := x.AppendBinary(make([]byte, 0, 16))
	return new(big.Int).SetBytes(b)
}

func exact(n *big.Int) (x difficulty.Exact) {
	if err := x.UnmarshalBinary(n.FillBytes(make([]byte, 16))); err != nil {
		panic(err)
	}
	return x
}

// Sum is the work of an account at one height, of one instance.
type Sum struct {
	Height   int64
	Instance Instance
	Account  Account
	Solo     bool // work of another scheme, which does not count here
	Work     difficulty.Exact
}

// Share is one by one what a Sum is the sum of.
type Share struct {
	Account Account
	Solo    bool
	Work    difficulty.Exact // the difficulty that its job was sent with
}

// Source has the shares that count for a block, and no others: at the block's height
// and of the instance that found it, those up to and including the one that is the
// block; of Proportional, at the height of the previous block and of the instance that
// found that one those behind it, and nothing else of that height or below.
type Source interface {
	// Sums go down from the block's height. At one height they may come in any order
	// and in parts.
	Sums(context.Context) iter.Seq2[Sum, error]
	// Shares of one height and instance, in the order of receipt. They are asked for
	// at one height after Sums ended, of several instances at once.
	Shares(ctx context.Context, height int64, of Instance) iter.Seq2[Share, error]
}

// Reward is how a block was divided, with all that it was computed from but single
// shares, so that it can be followed by hand.
type Reward struct {
	Block      Block
	Parameters Parameters
	Window     Window
	// Weights are the sum of all accounts' weights, in units of 10⁻¹⁸ of work, which
	// the remainders of quotients are over.
	Weights *big.Int
	Fee     int64    // satoshis
	Divided int64    // satoshis: value less fee
	Left    int64    // satoshis that the largest remainders have
	Credits []Credit // by account
}

// Credit is what an account has of a block: its quotient is Whole + Remainder / Weights.
type Credit struct {
	Account   Account
	Work      difficulty.Exact
	Fee       int64    // millionths
	Weight    *big.Int // work × (10⁶ - fee), in units of 10⁻¹⁸
	Whole     int64    // satoshis of the quotient, rounded down
	Remainder *big.Int
	Rank      int   // of the remainder, from 1: those up to Left have one satoshi more
	Amount    int64 // satoshis
}

// Window is the shares that a block is divided by.
type Window struct {
	Wanted  difficulty.Exact `json:"wanted"` // N, 0 where the scheme has none
	Work    difficulty.Exact `json:"work"`
	Full    bool             `json:"full"`    // Work is Wanted
	Highest int64            `json:"highest"` // height of its newest shares
	Lowest  int64            `json:"lowest"`  // height of its oldest shares
	Heights int64            `json:"heights"` // with shares in it
	Cut     *Cut             `json:"cut"`     // where not the whole of the lowest height is in it
}

// Cut tells where a window begins inside of a height.
type Cut struct {
	Height   int64            `json:"height"`
	Work     difficulty.Exact `json:"work"`     // at that height
	Left     difficulty.Exact `json:"left"`     // of it, older than the window
	Shares   int64            `json:"shares"`   // of that height that are in the window, the cut one too
	Instance Instance         `json:"instance"` // of the oldest share of the window
	Account  Account          `json:"account"`
	Share    difficulty.Exact `json:"share"` // its work
	Kept     difficulty.Exact `json:"kept"`  // of it, in the window
}

// Compute divides a block by the shares of a source, which Solo does not ask for.
func Compute(ctx context.Context, b Block, p Parameters, s Source) (*Reward, error) {
	return compute(ctx, b, p, s, nil)
}

func compute(ctx context.Context, b Block, p Parameters, s Source, record *writer) (*Reward, error) {
	w, err := newWindow(b, p)
	if err != nil {
		return nil, fmt.Errorf("block %d: %w", b.Height, err)
	}
	w.record = record
	if p.Scheme != Solo {
		if err := w.read(ctx, s); err != nil {
			return nil, fmt.Errorf("block %d: %w", b.Height, err)
		}
	}
	r, err := w.divide()
	if err != nil {
		return nil, fmt.Errorf("block %d: %w", b.Height, err)
	}
	return r, nil
}

var errNothing = errors.New("there is no share that the block could be divided by")
