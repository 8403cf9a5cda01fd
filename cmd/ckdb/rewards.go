package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/page"
	"github.com/ckpool/ckpool/internal/rewards"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/work"
)

// waits says of each of the pool's blocks, the highest first, that is in the chain or may
// come to be and has no reward, why.
func waits(ctx context.Context, s *store.Store, blocks []store.PoolBlock) (map[[32]byte]string, error) {
	list := map[[32]byte]string{}
	lower := int64(-1) // height of the lowest block that others wait for
	for _, b := range slices.Backward(blocks) {
		held := b.Held && !b.Told // and nobody has booked it
		open := b.Rewarded == 0 && !held && b.State != store.IsOrphan
		switch {
		case held && b.State != store.IsOrphan:
			list[b.Hash] = fmt.Sprintf("no pool has told of it, and its money is held: \"ckdb block book %s\" books it", work.FormatHash(b.Hash))
		case !open:
		case b.State == store.New:
			list[b.Hash] = "it is not in the chain that is followed"
		case !b.Told && b.Confirmations < store.HoldAfter:
			list[b.Hash] = fmt.Sprintf("no pool has told of it yet; at %d confirmations its money is held", store.HoldAfter)
		case lower >= 0 && b.Told && !b.Held:
			list[b.Hash] = fmt.Sprintf("another block comes first, at height %d", lower)
		default:
			awaited, err := s.Awaited(ctx, b.Height)
			if err != nil {
				return nil, err
			}
			var names []string
			for _, i := range awaited {
				names = append(names, fmt.Sprintf("%s (%.8s)", i.Name, hex.EncodeToString(i.ID[:])))
			}
			list[b.Hash] = "it is about to be computed, by the ckdb that follows the chain"
			if len(names) > 0 {
				list[b.Hash] = "not stored past it: the journal of " + strings.Join(names, ", ")
			}
		}
		if open && !b.Held && !b.Passed && lower < 0 {
			lower = b.Height
		}
	}
	return list, nil
}

// reward is what a block of the pool's is worth, and to whom.
type reward struct {
	Height        int64  `json:"height"`
	State         string `json:"state"`
	Confirmations int64  `json:"confirmations"`
	Value         int64  `json:"value"` // satoshis that its coinbase pays the pool
	Fee           int64  `json:"fee"`
	Credited      int64  `json:"credited"` // to all accounts
	Accounts      int64  `json:"accounts"`
	Hash          string `json:"hash"`
	Waits         string `json:"reason"` // why it has no reward yet
}

func (c *call) rewards(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		if len(c.args) > 0 {
			b, ok, err := blockNamed(ctx, s, c.args[0])
			switch {
			case err != nil:
				return err
			case ok:
				return c.rewardsOfBlock(ctx, s, &b)
			}
			return c.rewardsOfUser(ctx, s)
		}
		list, err := rewardList(ctx, s)
		if err != nil {
			return err
		}
		return c.print(struct {
			Rewards []reward `json:"rewards"`
		}{list})
	})
}

// rewardList is that of all blocks, the lowest first.
func rewardList(ctx context.Context, s *store.Store) ([]reward, error) {
	blocks, err := s.PoolBlocks(ctx, 0)
	if err != nil {
		return nil, err
	}
	why, err := waits(ctx, s, blocks)
	if err != nil {
		return nil, err
	}
	posted, err := s.PostedRewards(ctx)
	list := []reward{}
	for _, b := range slices.Backward(blocks) {
		list = append(list, rewardOf(&b, posted[b.Hash], why[b.Hash]))
	}
	return list, err
}

func rewardOf(b *store.PoolBlock, p store.PostedReward, why string) reward {
	if p.Number != 0 { // perhaps since it was asked
		why = ""
	}
	return reward{b.Height, string(b.State), b.Confirmations, b.Value, p.Fee, p.Credited, p.Accounts, work.FormatHash(b.Hash), why}
}

// blockNamed is the pool's block of a height or hash; ok is false where the text is
// neither, or there is no block at that height.
func blockNamed(ctx context.Context, s *store.Store, text string) (b store.PoolBlock, ok bool, err error) {
	hash, hashErr := work.ParseHash(text)
	height, heightErr := strconv.ParseInt(text, 10, 64)
	if hashErr != nil && heightErr != nil {
		return b, false, nil
	}
	blocks, err := s.PoolBlocks(ctx, 0)
	if err != nil {
		return b, false, err
	}
	var hashes []string
	for _, v := range blocks {
		switch {
		case hashErr == nil && v.Hash == hash:
			return v, true, nil
		case heightErr == nil && v.Height == height:
			b = v
			hashes = append(hashes, work.FormatHash(v.Hash))
		}
	}
	switch {
	case hashErr == nil:
		return b, false, fmt.Errorf("%w: %s; \"ckdb rewards\" lists all", store.ErrBlock, text)
	case len(hashes) > 1:
		return b, false, fmt.Errorf("the pool has %d blocks at height %d, name one by its hash: %s", len(hashes), height, strings.Join(hashes, ", "))
	}
	return b, len(hashes) == 1, nil
}

// theBlock is the block that the last argument names.
func (c *call) theBlock(ctx context.Context, s *store.Store) (b store.PoolBlock, err error) {
	text := c.args[len(c.args)-1]
	b, ok, err := blockNamed(ctx, s, text)
	if err == nil && !ok {
		err = fmt.Errorf("the pool has no block %q: want a height or hash, \"ckdb rewards\" lists all", text)
	}
	return b, err
}

// credited is what an account has of a block.
type credited struct {
	User   string `json:"user"`
	Kind   string `json:"kind"`
	Amount int64  `json:"amount"`
}

func (c *call) rewardsOfBlock(ctx context.Context, s *store.Store, b *store.PoolBlock) error {
	blocks, err := s.PoolBlocks(ctx, 0)
	if err != nil {
		return err
	}
	why, err := waits(ctx, s, blocks)
	if err != nil {
		return err
	}
	posted, err := s.OfBlock(ctx, b.Hash)
	if err != nil {
		return err
	}
	var p store.PostedReward
	credits := []credited{}
	for _, t := range posted {
		if t.Kind != store.Reward {
			continue
		}
		p.Number = t.Number
		for _, e := range t.Entries {
			switch e.Book {
			case store.FeeImmature:
				p.Fee += e.Amount
			case store.Immature:
				p.Credited, p.Accounts = p.Credited+e.Amount, p.Accounts+1
				credits = append(credits, credited{e.Owner.Name, string(e.Owner.Kind), e.Amount})
			}
		}
	}
	return c.print(struct {
		reward
		Credits []credited `json:"credits"`
	}{rewardOf(b, p, why[b.Hash]), credits})
}

// ownReward is what an account has of one block.
type ownReward struct {
	Height        int64  `json:"height"`
	State         string `json:"state"`
	Confirmations int64  `json:"confirmations"`
	Time          int64  `json:"time"`
	Amount        int64  `json:"amount"`
	Hash          string `json:"hash"`
}

// owner is the account that the last argument names.
func (c *call) owner(ctx context.Context, s *store.Store) (store.Owner, error) {
	return ownerNamed(ctx, s, c.args[len(c.args)-1])
}

func ownerNamed(ctx context.Context, s *store.Store, name string) (store.Owner, error) {
	network, err := s.Network(ctx)
	if err != nil {
		return store.Owner{}, err
	}
	w := accounting.ParseWorker(network, name)
	if err := whole(w); err != nil {
		return store.Owner{}, err
	}
	a, err := s.Account(ctx, w)
	if err == nil && !a.Exists {
		err = fmt.Errorf("%q has sent no share and is not registered; \"ckdb users\" lists who has", name)
	}
	return store.Owner{Kind: w.Kind, Name: w.Account}, err
}

func (c *call) rewardsOfUser(ctx context.Context, s *store.Store) error {
	of, err := c.owner(ctx, s)
	if err != nil {
		return err
	}
	list, err := ownRewards(ctx, s, of)
	if err != nil {
		return err
	}
	return c.print(struct {
		Rewards []ownReward `json:"rewards"`
	}{list})
}

// ownRewards are those of an account, the oldest first.
func ownRewards(ctx context.Context, s *store.Store, of store.Owner) ([]ownReward, error) {
	blocks, err := s.PoolBlocks(ctx, 0)
	if err != nil {
		return nil, err
	}
	at := map[string]store.PoolBlock{}
	for _, b := range blocks {
		at[work.FormatHash(b.Hash)] = b
	}
	posted, err := s.Statement(ctx, of)
	list := []ownReward{}
	for _, t := range posted {
		if t.Kind != store.Reward {
			continue
		}
		b := at[t.Reference]
		r := ownReward{b.Height, string(b.State), b.Confirmations, t.At / 1_000_000, 0, t.Reference}
		for _, e := range t.Entries {
			r.Amount += e.Amount
		}
		list = append(list, r)
	}
	return list, err
}

// export writes the inputs of a reward, and it, for verify.
func (c *call) export(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		b, err := c.theBlock(ctx, s)
		if err != nil {
			return err
		}
		out := bufio.NewWriterSize(c, 1<<16)
		if _, err := s.Reward(ctx, b.Hash, out); err != nil {
			return err
		}
		return out.Flush()
	})
}

// verify computes a reward from a file alone.
func (c *call) verify(context.Context) error {
	var from io.Reader = os.Stdin
	if name := c.args[0]; name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	r, err := rewards.Verify(from)
	if err != nil {
		return fmt.Errorf("%s: %w", c.args[0], err)
	}
	answer := computationOf(r)
	if c.json {
		return c.print(answer)
	}
	if err := c.printComputation(&answer); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c, "\n%s is right: what it says was computed anew from its shares\n", page.OneLine(c.args[0]))
	return err
}

// computation is a reward with all that a person needs to follow it.
type computation struct {
	Block      rewards.Block      `json:"block"`
	Parameters rewards.Parameters `json:"parameters"`
	Window     rewards.Window     `json:"window"`
	Fee        int64              `json:"fee"`     // satoshis
	Divided    int64              `json:"divided"` // satoshis
	Weights    string             `json:"weights"` // sum
	Left       int64              `json:"left"`    // satoshis for the largest remainders
	Credits    []part             `json:"credits"`
}

// part of an account.
type part struct {
	User      string `json:"user"`
	Kind      string `json:"kind"`
	Work      string `json:"counted"`
	Rate      int64  `json:"ppm"` // fee
	Weight    string `json:"weight"`
	Whole     int64  `json:"whole"`
	Remainder string `json:"remainder"`
	Rank      int    `json:"rank"`
	Amount    int64  `json:"satoshis"`
}

func computationOf(r *rewards.Reward) computation {
	v := computation{r.Block, r.Parameters, r.Window, r.Fee, r.Divided, rewards.Fraction(r.Weights), r.Left, []part{}}
	for i := range r.Credits {
		k := &r.Credits[i]
		v.Credits = append(v.Credits, part{
			k.Account.Name, k.Account.Kind, k.Work.String(), k.Fee, rewards.Fraction(k.Weight), k.Whole, rewards.Fraction(k.Remainder), k.Rank, k.Amount,
		})
	}
	return v
}

// printComputation prints it as a person follows it.
func (c *call) printComputation(v *computation) error {
	b, p, w := &v.Block, &v.Parameters, &v.Window
	l := c.Lines()
	l.Print("block", fmt.Sprintf("%d, %s", b.Height, b.Hash))
	l.Print("found by", fmt.Sprintf("%s, at instance %s", page.OneLine(b.Finder.String()), b.Instance))
	l.Print("value", fmt.Sprintf("%s satoshis, which its coinbase pays the pool", figures.Count(b.Value)))
	switch p.Scheme {
	case rewards.Solo:
		l.Print("scheme", "solo: who found it has all but the fee")
		if b.Direct > 0 {
			l.Print("", fmt.Sprintf("the coinbase itself pays who found it %s satoshis; what it pays the pool is the fee", figures.Count(b.Direct)))
		} else {
			l.Print("fee", fmt.Sprintf("%d millionths of the value, rounded down: %s satoshis", v.Credits[0].Rate, figures.Count(v.Fee)))
		}
		l.Print("divided", figures.Count(v.Divided)+" satoshis, all to who found it")
		return l.Flush()
	case rewards.Proportional:
		l.Print("scheme", fmt.Sprintf("proportional: all shares since the pool's block at height %d count", p.Previous))
		if p.Previous == 0 {
			l.Print("", "there was none before, so all shares there are")
		}
	default:
		l.Print("scheme", fmt.Sprintf("pplns: the newest shares count, as many as make %s × %s (the network's difficulty) + %s = %s", p.Times, b.Difficulty, p.Add, w.Wanted))
	}
	text := fmt.Sprintf("shares of work %s, of heights %d to %d; %s with shares", w.Work, w.Lowest, w.Highest, figures.Things(w.Heights, "height"))
	if p.Scheme == rewards.PPLNS && !w.Full {
		text += "; that is less than is wanted, since the pool has no more, or has dropped single shares of the height below, and has the whole reward"
	}
	l.Print("window", text)
	if k := w.Cut; k != nil {
		l.Print("cut", fmt.Sprintf("of height %d, with work %s, the oldest %s does not count: %s of it does. The oldest of these, of %s at instance %s, has %s, of which %s is in the window",
			k.Height, k.Work, k.Left, figures.Things(k.Shares, "share"), page.OneLine(k.Account.String()), k.Instance, k.Share, k.Kept))
	}
	l.Print("fee", fmt.Sprintf("value × sum of (counted × ppm) / (%s × 1,000,000), rounded down: %s satoshis", w.Work, figures.Count(v.Fee)))
	l.Print("divided", fmt.Sprintf("%s − %s = %s satoshis", figures.Count(b.Value), figures.Count(v.Fee), figures.Count(v.Divided)))
	l.Print("weight", fmt.Sprintf("counted × (1,000,000 − ppm) / 1,000,000; the sum of all is %s", v.Weights))
	l.Print("whole", fmt.Sprintf("%s × weight / %s, rounded down; what is over is the remainder, / %s", figures.Count(v.Divided), v.Weights, v.Weights))
	if v.Left > 0 {
		l.Print("left", fmt.Sprintf("%s: 1 each for the largest remainders, by rank", figures.Things(v.Left, "satoshi")))
	}
	if err := l.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(c)
	return c.printTable(struct {
		Credits []part `json:"credits"`
	}{v.Credits})
}

func (c *call) explainBlock(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		b, err := c.theBlock(ctx, s)
		if err != nil {
			return err
		}
		r, err := s.Reward(ctx, b.Hash, nil)
		if err != nil {
			return err
		}
		blocks, err := s.PoolBlocks(ctx, 0)
		if err != nil {
			return err
		}
		why, err := waits(ctx, s, blocks)
		if err != nil {
			return err
		}
		posted, err := s.OfBlock(ctx, b.Hash)
		if err != nil {
			return err
		}
		lost, err := straysOf(ctx, s, 0, r, posted...)
		if err != nil {
			return err
		}
		answer := struct {
			computation
			Lost          []stray   `json:"shares_of_lost_jobs"`
			State         string    `json:"state"`
			Confirmations int64     `json:"confirmations"`
			Waits         string    `json:"waits"`
			Posted        []posting `json:"posted"`
		}{computationOf(r), lost, string(b.State), b.Confirmations, why[b.Hash], postings(posted)}
		if c.json {
			return c.print(answer)
		}
		if err := c.printComputation(&answer.computation); err != nil {
			return err
		}
		if err := c.printStrays(lost); err != nil {
			return err
		}
		fmt.Fprintln(c)
		l := c.Lines()
		l.Print("state", fmt.Sprintf("%s, %s", b.State, figures.Things(b.Confirmations, "confirmation")))
		if answer.Waits != "" {
			l.Print("no reward", answer.Waits+"; what stands here is what it would be by what is stored now")
		}
		if err := l.Flush(); err != nil || len(posted) == 0 {
			return err
		}
		return c.printTable(struct {
			Posted []posting `json:"posted"`
		}{answer.Posted})
	})
}

// posting is a transaction of the ledger.
type posting struct {
	Number  int64  `json:"number"`
	Time    int64  `json:"time"`
	Posting string `json:"posting"`
	Amount  int64  `json:"satoshis"` // that it adds to what is owed; of a block: to users and fee
	Of      string `json:"of"`
	Note    string `json:"note"`
}

func postings(list []store.Transaction) []posting {
	all := []posting{}
	for _, t := range list {
		p := posting{t.Number, t.At / 1_000_000, string(t.Kind), 0, t.Reference, t.Note}
		for _, e := range t.Entries {
			if e.Book != store.Chain && e.Book != store.Held {
				p.Amount += e.Amount
			}
		}
		all = append(all, p)
	}
	return all
}

// explained is how many of an account's newest rewards are computed anew.
const explained = 5

// ownPart is how an account came to its part of a block.
type ownPart struct {
	Height  int64  `json:"height"`
	Work    string `json:"counted"`
	All     string `json:"window"`
	Fee     int64  `json:"ppm"`
	Weight  string `json:"weight"`
	Weights string `json:"weights"`
	Divided int64  `json:"divided"`
	Whole   int64  `json:"whole"`
	More    int64  `json:"more"` // by its remainder
	Amount  int64  `json:"satoshis"`
}

// partOf is that of an account; ok is false where it has none.
func partOf(r *rewards.Reward, of store.Owner) (p ownPart, ok bool) {
	for i := range r.Credits {
		k := &r.Credits[i]
		if k.Account == (rewards.Account{Kind: string(of.Kind), Name: of.Name}) {
			return ownPart{
				r.Block.Height, k.Work.String(), r.Window.Work.String(), k.Fee, rewards.Fraction(k.Weight), rewards.Fraction(r.Weights),
				r.Divided, k.Whole, k.Amount - k.Whole, k.Amount,
			}, true
		}
	}
	return p, false
}

func (c *call) explainUser(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		of, err := c.owner(ctx, s)
		if err != nil {
			return err
		}
		statement, err := s.Statement(ctx, of)
		if err != nil {
			return err
		}
		answer := struct {
			User     string       `json:"user"`
			Kind     string       `json:"kind"`
			Balance  int64        `json:"balance"`
			Immature int64        `json:"immature"`
			Parts    []ownPart    `json:"parts"`
			Missing  []string     `json:"not_computed"`
			Posted   []ownPosting `json:"posted"`
		}{of.Name, string(of.Kind), 0, 0, []ownPart{}, []string{}, ownPostings(statement)}
		answer.Balance, answer.Immature = owed(answer.Posted)
		var names []string
		for _, t := range statement {
			if t.Kind == store.Reward {
				names = append(names, t.Reference)
			}
		}
		for _, name := range names[max(0, len(names)-explained):] {
			hash, err := work.ParseHash(name)
			if err != nil {
				return err
			}
			r, err := s.Reward(ctx, hash, nil)
			if err != nil {
				answer.Missing = append(answer.Missing, fmt.Sprintf("block %s: %v", name, err))
				continue
			}
			if part, ok := partOf(r, of); ok {
				answer.Parts = append(answer.Parts, part)
			}
		}
		if c.json {
			return c.print(answer)
		}
		l := c.Lines()
		l.Print("account", page.OneLine(of.String()))
		l.Print("balance", figures.Count(answer.Balance)+" satoshis that are to be paid, or, if negative, that were paid too much and are set off against what comes")
		l.Print("immature", figures.Count(answer.Immature)+" satoshis of blocks that may still be orphaned")
		for _, text := range answer.Missing {
			l.Print("not shown", page.OneLine(text))
		}
		if err := l.Flush(); err != nil {
			return err
		}
		if len(answer.Parts) > 0 {
			fmt.Fprintln(c, "\n"+page.Wrap("Its newest rewards: satoshis = divided × weight / weights, rounded down to whole, and 1 more by the remainder; \"ckdb explain block HEIGHT\" has all of one. weight = counted × (1,000,000 − ppm) / 1,000,000, of the work of its shares in the window.", c.Columns, ""))
			if err := c.printTable(struct {
				Parts []ownPart `json:"parts"`
			}{answer.Parts}); err != nil {
				return err
			}
		}
		fmt.Fprintln(c)
		return c.printTable(struct {
			Posted []ownPosting `json:"posted"`
		}{answer.Posted})
	})
}

// correct moves money from one account to another, as the correction of a transaction.
func (c *call) correct(ctx context.Context) error {
	number, err := strconv.ParseInt(c.args[0], 10, 64)
	if err != nil || number < 1 {
		return fmt.Errorf("%q is no transaction of the ledger: want its number, \"ckdb explain user NAME\" lists them", c.args[0])
	}
	amount, err := strconv.ParseInt(c.args[3], 10, 64)
	if err != nil || amount < 1 {
		return fmt.Errorf("%q: want satoshis, 1 or more", c.args[3])
	}
	reason := strings.Join(c.args[4:], " ")
	return c.with(ctx, func(s *store.Store) error {
		var owners [2]store.Owner
		names := [2]string{"the pool", "the pool"}
		for i, name := range c.args[1:3] {
			if name == "-" {
				continue
			}
			if owners[i], err = ownerNamed(ctx, s, name); err != nil {
				return err
			}
			names[i] = owners[i].String()
		}
		list, err := s.Ledger(ctx, number-1, 1)
		if err != nil {
			return err
		}
		if len(list) == 1 {
			text := fmt.Sprintf("correct number %d, %s of %s: %d satoshis of %s are to be those of %s?", number, list[0].Kind, list[0].Reference, amount, names[0], names[1])
			if err := c.confirm(ctx, page.OneLine(text)); err != nil {
				return err
			}
		} // else the ledger says so
		posted, err := s.Correct(ctx, person(), number, owners[0], owners[1], amount, reason)
		if err != nil {
			return err
		}
		return c.done(fmt.Sprintf("corrected, as number %d: %d satoshis of %s are those of %s", posted.Number, amount, names[0], names[1]))
	})
}

// ownPosting is what a transaction of the ledger adds to the books of one account.
type ownPosting struct {
	Number   int64  `json:"number"`
	Time     int64  `json:"time"`
	Posting  string `json:"posting"`
	Immature int64  `json:"to_immature"` // satoshis
	Balance  int64  `json:"to_balance"`
	Of       string `json:"of"`
	Note     string `json:"note"`
}

// ownPostings are those of an account's statement.
func ownPostings(statement []store.Transaction) []ownPosting {
	list := []ownPosting{}
	for _, t := range statement {
		p := ownPosting{t.Number, t.At / 1_000_000, string(t.Kind), 0, 0, t.Reference, t.Note}
		for _, e := range t.Entries {
			if e.Book == store.Balance {
				p.Balance += e.Amount
			} else {
				p.Immature += e.Amount
			}
		}
		list = append(list, p)
	}
	return list
}

// owed is what all postings of an account add up to.
func owed(list []ownPosting) (balance, immature int64) {
	for _, p := range list {
		balance, immature = balance+p.Balance, immature+p.Immature
	}
	return balance, immature
}
