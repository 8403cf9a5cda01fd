package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/page"
	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/rewards"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/journal"
)

func (c *call) check(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		bar := newBar()
		differences, err := s.Check(ctx, func(what string, step, steps int) { bar.show(uint64(step), uint64(steps), what) })
		bar.clear()
		if err != nil {
			return err
		}
		more, solvency, err := c.checkNode(ctx, s)
		if err != nil {
			return err
		}
		differences = append(differences, more...)
		lost, err := straysOf(ctx, s, math.MaxInt64, nil)
		if err != nil {
			return err
		}
		if c.json {
			err = c.print(struct {
				Differences []string             `json:"differences"`
				Solvency    *accounting.Solvency `json:"solvency"`
				Lost        []stray              `json:"shares_of_lost_jobs"` // paid, at a height that is a guess
			}{append([]string{}, differences...), solvency, lost})
		} else {
			for _, d := range differences {
				fmt.Fprintln(c, page.OneLine(d))
			}
		}
		if len(differences) > 0 {
			return fmt.Errorf("%s: what is stored is not what its parts add up to", figures.Things(int64(len(differences)), "difference"))
		}
		if err == nil && !c.json {
			err = c.printChecked(solvency)
		}
		if err == nil && !c.json {
			err = c.printStrays(lost)
		}
		return err
	})
}

// stray is the work of an account on jobs whose records were lost.
type stray struct {
	Pool   string `json:"pool"`
	Name   string `json:"name"`
	Shares int64  `json:"shares"`
	Work   string `json:"work"`
	Height int64  `json:"height"`
}

// straysOf are those up to a height, or of the window of a reward that was posted, or may be.
func straysOf(ctx context.Context, s *store.Store, to int64, r *rewards.Reward, posted ...store.Transaction) ([]stray, error) {
	from, before := int64(0), int64(0)
	if r != nil {
		from, to = r.Window.Lowest, r.Window.Highest
	}
	for _, t := range posted {
		if t.Kind == store.Reward {
			before = t.Number
		}
	}
	found, err := s.Strays(ctx, from, to, before)
	list := []stray{}
	for _, v := range found {
		list = append(list, stray{v.Pool, v.Owner.Name, v.Count, v.Work.String(), v.Height})
	}
	return list, err
}

func (c *call) printStrays(list []stray) error {
	if len(list) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(c, "\nThe journal lost the record of the work that these shares were found on. They are paid; they\ncount at the height that their pool was last known to work at:"); err != nil {
		return err
	}
	return c.printTable(struct {
		Strays []stray `json:"shares"`
	}{list})
}

// checkNode compares with the chain and the wallet of the node, if one is named; there is
// no solvency where the node has no wallet.
func (c *call) checkNode(ctx context.Context, s *store.Store) (differences []string, v *accounting.Solvency, err error) {
	node := c.node()
	if node == nil {
		return nil, nil, nil
	}
	defer node.Close()
	name, err := s.Network(ctx)
	network, ok := address.NetworkForChain(name)
	if err != nil || !ok {
		return nil, nil, err // nothing is stored
	}
	chain := &accounting.Chain{Node: node, Store: s}
	if differences, err = chain.Check(ctx); err != nil {
		return nil, nil, err
	}
	client := c.walletNode()
	defer client.Close()
	has, err := accounting.SolvencyOf(ctx, s, payout.NewWallet(client, network))
	if err != nil && c.wallet == "" && accounting.NoWallet(err) {
		return differences, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return append(differences, has.Differences()...), &has, nil
}

// printChecked says what was compared, and was right.
func (c *call) printChecked(v *accounting.Solvency) error {
	fmt.Fprintln(c, "all sums and shifts are what shares and jobs add up to, all rewards and balances what they are computed as")
	switch {
	case c.nodeURL == "":
		fmt.Fprintln(c, "the chain and the wallet were not compared: --node names the node that has them")
		return nil
	case v == nil:
		fmt.Fprintln(c, "all blocks are in the chain as they are here; the node has no wallet that could be compared")
		return nil
	}
	fmt.Fprintln(c, "all blocks are in the chain as they are here, and the wallet has what is owed:")
	l := c.Lines()
	l.Print("coins", figures.Count(v.Coins)+" satoshis in the wallet that can be spent")
	l.Print("owed", figures.Count(v.Owed)+" to accounts")
	l.Print("over", figures.Count(v.Line())+", of which the ledger knows "+figures.Count(v.Pool)+" as the pool's")
	if v.Debts != 0 {
		l.Print("debts", figures.Count(v.Debts)+" of accounts that were paid too much")
	}
	if v.Paying != 0 {
		l.Print("paying", figures.Count(v.Paying)+" in payouts that are not confirmed")
	}
	if v.Held != 0 {
		l.Print("held", figures.Count(v.Held)+" of coinbases that no pool has told of")
	}
	l.Print("immature", figures.Count(v.Immature)+" in the wallet that cannot be spent yet")
	return l.Flush()
}

// dir is the journal that was named, or the usual one.
func (c *call) dir() (string, error) {
	switch {
	case len(c.args) > 0:
		return c.args[0], nil
	case len(c.journals) > 1:
		return "", errors.New("which journal? name its directory behind the command")
	}
	return c.journals[0], nil
}

// segment is a part of a journal.
type segment struct {
	Name    string `json:"name"`
	Epoch   uint64 `json:"epoch"`
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
	Shares  uint64 `json:"shares"`
	Bytes   int64  `json:"bytes"`
	Whole   bool   `json:"whole"` // it was ended
	Damaged int64  `json:"damaged"`
	Created int64  `json:"created"`
	Program string `json:"program"`
}

func (c *call) journalList(context.Context) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	rows, err := journal.Segments(dir)
	if err != nil {
		return err
	}
	list := []segment{}
	for _, g := range rows {
		v := segment{
			Name: g.Name, Epoch: g.Header.Epoch, First: g.Header.First, Last: g.Last.Number, Shares: g.Shares, Bytes: g.Size,
			Whole: g.Whole, Created: g.Header.Created / 1_000_000, Program: g.Header.Program,
		}
		for _, d := range g.Damaged {
			v.Damaged += d.Bytes
		}
		list = append(list, v)
	}
	return c.print(struct {
		Segments []segment `json:"segments"`
	}{list})
}

func (c *call) journalPrint(ctx context.Context) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	r, err := journal.Open(dir, journal.Cursor{})
	if err != nil {
		return err
	}
	defer r.Close()
	out := bufio.NewWriterSize(c, 1<<16)
	var line []byte
	for ctx.Err() == nil {
		k, err := r.Read()
		if err == io.EOF {
			break
		}
		if err == nil {
			line, err = k.AppendJSON(line[:0])
		}
		if err == nil {
			_, err = out.Write(line)
		}
		if err != nil {
			return errors.Join(out.Flush(), err)
		}
	}
	return out.Flush()
}

func (c *call) journalCheck(context.Context) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	type finding struct {
		Position string `json:"at,omitempty"`
		Text     string `json:"text"`
	}
	findings := []finding{}
	bar := newBar()
	s, err := journal.Check(dir, func(f journal.Finding) {
		bar.clear()
		v := finding{Text: page.OneLine(f.Text)}
		if f.Position != (journal.Position{}) {
			v.Position = f.Position.String()
		}
		if findings = append(findings, v); !c.json {
			fmt.Fprintln(c, v.Position, v.Text)
		}
	}, func(done, of uint64) { bar.show(done, of, figures.Things(int64(done), "record")) })
	bar.clear()
	if err != nil {
		return err
	}
	if c.json {
		err = c.print(struct {
			Segments uint64    `json:"segments"`
			Records  uint64    `json:"records"`
			Shares   uint64    `json:"shares"`
			Computed uint64    `json:"computed"`
			Missing  uint64    `json:"missing"`
			Wrong    uint64    `json:"wrong"`
			Findings []finding `json:"findings"`
		}{s.Segments, s.Records, s.Shares, s.Computed, s.Missing, s.Wrong, findings})
	} else {
		_, err = fmt.Fprintf(c, "%s, %s; %s computed anew, %d wrong, %s missing\n", figures.Things(int64(s.Segments), "segment"),
			figures.Things(int64(s.Shares), "share"), figures.Things(int64(s.Computed), "share"), s.Wrong, figures.Things(int64(s.Missing), "record"))
	}
	if err == nil && (s.Wrong > 0 || s.Missing > 0) {
		err = fmt.Errorf("journal %s is not whole, or not right", dir)
	}
	return err
}
