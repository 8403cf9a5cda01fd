package rewards_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"slices"
	"sort"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/rewards"
)

// received is a share as a pool has it, in the order of receipt.
type received struct {
	height   int64
	instance rewards.Instance
	share    rewards.Share
}

// shares is a source of single ones, those that count.
type shares []received

var _ rewards.Source = shares(nil)

// Sums are as many as there are shares: a source may give sums in parts.
func (s shares) Sums(context.Context) iter.Seq2[rewards.Sum, error] {
	list := slices.Clone(s)
	slices.SortStableFunc(list, func(a, b received) int { return int(b.height - a.height) })
	return func(yield func(rewards.Sum, error) bool) {
		for _, r := range list {
			if !yield(rewards.Sum{Height: r.height, Instance: r.instance, Account: r.share.Account, Solo: r.share.Solo, Work: r.share.Work}, nil) {
				return
			}
		}
	}
}

func (s shares) Shares(_ context.Context, height int64, of rewards.Instance) iter.Seq2[rewards.Share, error] {
	return func(yield func(rewards.Share, error) bool) {
		for _, r := range s {
			if r.height == height && r.instance == of && !yield(r.share, nil) {
				return
			}
		}
	}
}

// paid is what an oracle says of an account.
type paid struct {
	work   *big.Rat
	amount int64
}

// oracle divides a block in the obvious way: all shares in a list, each with its
// fraction, sorted; then the quotients, sorted.
func oracle(b rewards.Block, p rewards.Parameters, all shares) (fee int64, accounts map[rewards.Account]paid) {
	type ordered struct {
		received
		fraction *big.Rat
	}
	type group struct {
		height   int64
		instance rewards.Instance
	}
	whole, past := map[group]*big.Rat{}, map[group]*big.Rat{}
	for _, s := range all {
		if g := (group{s.height, s.instance}); !s.share.Solo {
			if whole[g] == nil {
				whole[g], past[g] = new(big.Rat), new(big.Rat)
			}
			whole[g].Add(whole[g], rat(s.share.Work))
		}
	}
	var list []ordered
	for _, s := range all {
		if s.share.Solo || s.share.Work.IsZero() {
			continue
		}
		g := group{s.height, s.instance}
		past[g].Add(past[g], rat(s.share.Work))
		list = append(list, ordered{s, new(big.Rat).Quo(past[g], whole[g])})
	}
	sort.SliceStable(list, func(i, j int) bool {
		a, b := list[i], list[j]
		if a.height != b.height {
			return a.height > b.height
		}
		if c := a.fraction.Cmp(b.fraction); c != 0 {
			return c > 0
		}
		return bytes.Compare(a.instance[:], b.instance[:]) > 0
	})
	room := new(big.Rat).Mul(rat(p.Times), rat(b.Difficulty))
	room.Add(room, rat(p.Add))
	// Rounded down to the 12th place.
	room.Mul(room, big.NewRat(1e12, 1))
	room.SetInt(floor(room)).Quo(room, big.NewRat(1e12, 1))
	works := map[rewards.Account]*big.Rat{}
	for _, s := range list {
		work := rat(s.share.Work)
		if p.Scheme == rewards.PPLNS && work.Cmp(room) > 0 {
			work.Set(room)
		}
		room.Sub(room, work)
		if work.Sign() > 0 {
			if works[s.share.Account] == nil {
				works[s.share.Account] = new(big.Rat)
			}
			works[s.share.Account].Add(works[s.share.Account], work)
		}
	}
	return oracleDivision(b.Value, p, works)
}

func oracleDivision(value int64, p rewards.Parameters, works map[rewards.Account]*big.Rat) (fee int64, accounts map[rewards.Account]paid) {
	total, fees := new(big.Rat), new(big.Rat)
	weights, sum := map[rewards.Account]*big.Rat{}, new(big.Rat)
	for a, w := range works {
		rate, ok := p.Fees[a]
		if !ok {
			rate = p.Fee
		}
		part := new(big.Rat).Mul(w, big.NewRat(rate, 1e6))
		fees.Add(fees, part)
		total.Add(total, w)
		weights[a] = new(big.Rat).Sub(w, part)
		sum.Add(sum, weights[a])
	}
	fees.Mul(fees, big.NewRat(value, 1))
	fee = floor(fees.Quo(fees, total)).Int64()
	accounts = map[rewards.Account]paid{}
	type rest struct {
		account rewards.Account
		part    *big.Rat
	}
	var rests []rest
	left := value - fee
	for a, w := range works {
		q := new(big.Rat)
		if sum.Sign() > 0 {
			q.Quo(q.Mul(weights[a], big.NewRat(value-fee, 1)), sum)
		}
		n := floor(q)
		left -= n.Int64()
		accounts[a] = paid{w, n.Int64()}
		rests = append(rests, rest{a, q.Sub(q, new(big.Rat).SetInt(n))})
	}
	sort.Slice(rests, func(i, j int) bool {
		if c := rests[i].part.Cmp(rests[j].part); c != 0 {
			return c > 0
		}
		a, b := rests[i].account, rests[j].account
		return a.Kind < b.Kind || a.Kind == b.Kind && a.Name < b.Name
	})
	for _, r := range rests[:left] {
		v := accounts[r.account]
		v.amount++
		accounts[r.account] = v
	}
	return fee, accounts
}

func floor(r *big.Rat) *big.Int { return new(big.Int).Quo(r.Num(), r.Denom()) }

func rat(x difficulty.Exact) *big.Rat {
	r, ok := new(big.Rat).SetString(x.String())
	if !ok {
		panic(x)
	}
	return r
}

// differs tells how a reward is not what the oracle says.
func differs(r *rewards.Reward, fee int64, accounts map[rewards.Account]paid) error {
	var sum int64
	for _, c := range r.Credits {
		want, ok := accounts[c.Account]
		if !ok || rat(c.Work).Cmp(want.work) != 0 || c.Amount != want.amount {
			return fmt.Errorf("%v has work %s, %d satoshis, want %v, %d", c.Account, c.Work, c.Amount, want.work, want.amount)
		}
		sum += c.Amount
	}
	if len(r.Credits) != len(accounts) {
		return fmt.Errorf("%d accounts are paid, want %d", len(r.Credits), len(accounts))
	}
	if r.Fee != fee {
		return fmt.Errorf("the fee is %d, want %d", r.Fee, fee)
	}
	if sum+r.Fee != r.Block.Value {
		return errors.New("what is paid is not what there is")
	}
	return nil
}

func (l *lying) Shares(ctx context.Context, height int64, of rewards.Instance) iter.Seq2[rewards.Share, error] {
	return l.single.Shares(ctx, height, of)
}
