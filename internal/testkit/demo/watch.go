package demo

import (
	"context"
	"fmt"
	"time"

	"ckpool/difficulty"
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

type block struct {
	Height int64  `json:"height"`
	Hash   string `json:"hash"`
	Worker string `json:"worker"`
	State  string `json:"state"`
}

// watch tells how it goes until ctx ends.
func (d *demo) watch(ctx context.Context, p *pool, n *node) error {
	told := map[string]string{} // state by hash of the blocks that were told
	before, err := p.blocks(ctx)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	for _, b := range before {
		told[b.Hash] = b.State
	}
	old := len(before)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var lastUpkeep, lastQuiet time.Time
	var s status
	for {
		if err := d.look(ctx, p, n, &s, told); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			d.console.print("%v", err)
		}
		s.found = len(told) - old
		if time.Since(lastUpkeep) > upkeepEvery {
			lastUpkeep = time.Now()
			if err := n.upkeep(ctx); err != nil && ctx.Err() == nil {
				d.console.print("%v", err)
			}
		}
		if d.console.terminal || time.Since(lastQuiet) > quietStatus {
			lastQuiet = time.Now()
			d.console.status(s.line())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			d.console.end()
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
		if state := outcome(b.State); state != "pending" && (!known || outcome(before) != state) {
			d.console.print("block %d %s: %s, found by %s", b.Height, b.Hash, state, b.Worker)
		}
	}
	s.height, err = n.height(ctx)
	return err
}

func (p *pool) blocks(ctx context.Context) ([]block, error) {
	var reply struct {
		Blocks []block `json:"blocks"`
	}
	err := p.query(ctx, "blocks", &reply)
	return reply.Blocks, err
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
	if s.workers == 0 {
		return fmt.Sprintf("height %d, waiting for a miner", s.height)
	}
	rate := fmt.Sprintf("%.1f ", s.hashRate)
	if s.hashRate >= 1000 {
		rate = difficulty.FormatSI(s.hashRate)
	}
	return fmt.Sprintf("%sH/s  shares %d  best %.3g  height %d  blocks found %d",
		rate, s.shares, s.best, s.height, s.found)
}
