package main

import (
	"context"
	"maps"
	"math"
	"slices"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/luck"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/work"
)

// lucky is how lucky the pools were with a block.
type lucky struct {
	Height     int64   `json:"height"`
	State      string  `json:"state"`
	Work       string  `json:"work"` // since the block before
	Difficulty string  `json:"netdiff"`
	Ratio      float64 `json:"effort"` // work to difficulty: 1 is what is expected
	Chance     float64 `json:"chance"` // that a block is found with at most that work
	Luck       float64 `json:"luck"`
	History    float64 `json:"last_100"` // luck of the last 100 blocks up to it
	Hash       string  `json:"hash"`
}

// together is the luck of several blocks.
type together struct {
	Blocks int     `json:"blocks"`
	Ratio  float64 `json:"effort"`
	Mean   float64 `json:"mean"` // of the blocks' efforts
	Chance float64 `json:"chance"`
	Luck   float64 `json:"luck"`
}

func (c *call) luck(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		found, err := s.Blocks(ctx, 0)
		if err != nil {
			return err
		}
		slices.Reverse(found)
		fates, err := s.PoolBlocks(ctx, 0)
		if err != nil {
			return err
		}
		lost := map[[32]byte]bool{}
		for _, b := range fates {
			lost[b.Hash] = b.State == store.IsOrphan
		}
		sums, err := s.WorkAt(ctx)
		if err != nil {
			return err
		}
		list := []luck.Block{}
		rows := []lucky{}
		heights := slices.Sorted(maps.Keys(sums))
		for i := range found {
			b := &found[i]
			var sum difficulty.Exact
			for len(heights) > 0 && heights[0] <= b.Height {
				sum = sum.Add(sums[heights[0]])
				heights = heights[1:]
			}
			state := b.State
			if lost[b.Hash] {
				state = string(store.IsOrphan)
			}
			list = append(list, luck.Block{
				Height: b.Height, Difficulty: b.Difficulty.Float64(), Work: sum.Float64(), Reward: float64(b.Reward) / 1e8,
				Lost: state == "orphaned" || state == "rejected",
			})
			rows = append(rows, lucky{Height: b.Height, State: state, Work: sum.String(), Difficulty: b.Difficulty.String(), Hash: work.FormatHash(b.Hash)})
		}
		for i, f := range luck.Of(list) {
			rows[i].Ratio, rows[i].Chance, rows[i].Luck, rows[i].History = finite(f.Ratio), finite(f.Chance), finite(f.Luck), finite(f.History)
		}
		answer := struct {
			Blocks []lucky    `json:"blocks"`
			Last   []together `json:"together"`
		}{rows, []together{}}
		for _, n := range []int{10, 100, 1000} {
			r := luck.Last(list, n)
			if r.Blocks == 0 || len(answer.Last) > 0 && answer.Last[len(answer.Last)-1].Blocks == r.Blocks {
				continue
			}
			answer.Last = append(answer.Last, together{r.Blocks, finite(r.Ratio), finite(r.Mean), finite(r.Chance), finite(r.Luck)})
		}
		return c.print(answer)
	})
}

// finite is a number as JSON has it: 0 for what is without end or no number, as the luck
// of no work.
func finite(v float64) float64 {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return 0
	}
	return v
}
