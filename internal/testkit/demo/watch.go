package demo

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/figures"
)

const (
	quietStatus = 10 * time.Second // between status lines where they cannot be rewritten
	upkeepEvery = 10 * time.Second
)

// status is what the status line says.
type status struct {
	hashRate float64 // per second
	workers  int
	height   int64
	gone     bool // the node does not answer
	// Since the start; the pool itself counts shares and best by round.
	shares int64
	round  int64 // shares of it
	best   float64
	began  bool
	found  int // blocks
}

// poolStats is what the pool says of itself.
type poolStats struct {
	Start, Update int64   // unix seconds
	Shares        int64   // of the round
	DSPS          float64 `json:"dsps1"` // difficulty per second, over a minute
	Workers       int
}

// watch tells how it goes until ctx ends, and then what came of it.
func (d *demo) watch(ctx context.Context, p *pool, n *node, settings *settings, m *money, f *farm) error {
	began := time.Now()
	guests := guests{simulated: settings.users}
	told := map[string]string{} // state by hash of the blocks that were told
	before, err := p.blocks(ctx)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	for _, b := range before {
		told[b.Hash] = b.State
	}
	old := len(before)
	front := p // where miners are
	if f != nil {
		front = f.proxy
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var lastUpkeep, lastQuiet time.Time
	var s status
	for {
		err := d.look(ctx, p, n, &s, told)
		if err == nil {
			err = guests.look(ctx, front, d.console.print)
		}
		if err == nil && f != nil {
			err = f.look(ctx)
		}
		if err == nil && settings.links != nil {
			err = settings.links.look(ctx, p)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			d.console.print("%v", err)
		}
		if m != nil {
			m.look(ctx)
		}
		s.found = len(told) - old
		if time.Since(lastUpkeep) > upkeepEvery && !s.gone {
			lastUpkeep = time.Now()
			if err := n.upkeep(ctx); err != nil && ctx.Err() == nil {
				d.console.print("%v", err)
			}
		}
		if d.console.terminal || time.Since(lastQuiet) > quietStatus {
			lastQuiet = time.Now()
			line := s.line()
			if f != nil {
				line = f.line(&s)
			}
			if settings.links != nil && !s.gone {
				line = settings.links.line(&s)
			}
			d.console.status(line)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			d.console.end()
			d.farewell(&s, time.Since(began))
			return nil
		}
	}
}

// ignoreEnd drops an error that is only the end of ctx.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// look asks pool and node, and tells of blocks whose state is new.
func (d *demo) look(ctx context.Context, p *pool, n *node, s *status, told map[string]string) error {
	var stats poolStats
	if err := p.query(ctx, "poolstats", &stats); err != nil {
		return err
	}
	if stats.Shares < s.round {
		s.round = 0 // a block began another round
	}
	s.shares += stats.Shares - s.round
	s.round = stats.Shares
	s.workers = stats.Workers
	uptime := float64(stats.Update - stats.Start)
	s.hashRate = stats.DSPS / difficulty.Bias(max(1, uptime), 60) * difficulty.HashesPerDifficulty

	var users struct {
		Users []struct {
			Best float64 `json:"bestdiff"`
		} `json:"users"`
	}
	if err := p.query(ctx, "users", &users); err != nil {
		return err
	}
	for _, u := range users.Users {
		s.best = max(s.best, u.Best)
	}
	blocks, err := p.blocks(ctx)
	if err != nil {
		return err
	}
	if !s.began && (s.shares > 0 || len(blocks) > len(told)) {
		s.began = true
		d.console.print("mining began")
	}
	for _, b := range blocks {
		before, known := told[b.Hash]
		told[b.Hash] = b.State
		state := outcome(b.State)
		if d.config.Money && state == "orphaned" {
			continue // ckdb tells
		}
		if state != "pending" && (!known || outcome(before) != state) {
			d.console.print("block %s %s: %s, by %s", figures.Count(b.Height), state, figures.Bitcoins(b.Reward), figures.Worker(b.Worker))
		}
	}
	height, err := n.height(ctx)
	switch {
	case err == nil:
		if s.gone {
			d.console.print("the node is back")
		}
		s.height, s.gone = height, false
	case !s.gone && ctx.Err() == nil:
		s.gone = true
		d.console.print("the node is gone: %s", n.client.Probe(ctx).Reason)
	}
	return nil
}

func (p *pool) blocks(ctx context.Context) ([]control.Block, error) {
	return p.ask["stratifier"].Blocks(ctx)
}

// outcome is a block's state without its count of confirmations.
func outcome(state string) string {
	var confirmations int
	if n, _ := fmt.Sscanf(state, "confirmed %d", &confirmations); n == 1 {
		return "accepted"
	}
	return state
}

func (s *status) line() string {
	if s.gone {
		return fmt.Sprintf("height %d, the node is gone  shares %s  blocks %s", s.height, figures.Count(s.shares), figures.Count(int64(s.found)))
	}
	if s.workers == 0 {
		return fmt.Sprintf("height %d, waiting for a miner", s.height)
	}
	return fmt.Sprintf("%s  shares %s  best %.3g  height %d  blocks %s",
		figures.Rate(s.hashRate), figures.Count(s.shares), s.best, s.height, figures.Count(int64(s.found)))
}

// farewell says what came of it and how to go on.
func (d *demo) farewell(s *status, took time.Duration) {
	d.console.print("mined %s in %s: %s, best %.3g", figures.Things(int64(s.found), "block"), figures.Duration(took),
		figures.Things(s.shares, "share"), s.best)
	d.console.print("everything is kept in %s: the same command goes on from there,", d.shown())
	d.console.print("and without that directory it begins anew")
}

// guests are miners that are not simulated ones.
type guests struct {
	simulated []string // workers
	known     map[uint64]control.Connection
}

// guestLines bounds what is said of them in a second.
const guestLines = 5

// look tells who has come and who has left since the last time.
func (g *guests) look(ctx context.Context, p *pool, say func(format string, args ...any)) error {
	all, err := p.ask["stratifier"].Clients(ctx)
	if err != nil {
		return err
	}
	present := map[uint64]control.Connection{}
	var lines []string
	for _, c := range all {
		if !c.Authorised || slices.Contains(g.simulated, c.Worker) {
			continue
		}
		present[c.ID] = c
		if _, known := g.known[c.ID]; !known {
			lines = append(lines, fmt.Sprintf("a miner came: %s at %s, as %s", miner(c), c.Address, figures.Worker(c.Worker)))
		}
	}
	for id, c := range g.known {
		if _, stays := present[id]; !stays {
			lines = append(lines, fmt.Sprintf("a miner left: %s at %s, as %s", miner(c), c.Address, figures.Worker(c.Worker)))
		}
	}
	g.known = present
	for _, line := range lines[:min(len(lines), guestLines)] {
		say("%s", line)
	}
	if more := len(lines) - guestLines; more > 0 {
		say("%d more came or left", more)
	}
	return nil
}

// miner is what it calls itself, in few letters.
func miner(c control.Connection) string {
	return cmp.Or(figures.Cut(c.UserAgent, 20), "one without a name")
}
