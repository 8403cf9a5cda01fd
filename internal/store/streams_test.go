package store

import (
	"context"
	"testing"
	"time"
)

// At the height where a window begins more pools have shares than the database has connections.
func TestManyPoolsAtEdge(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		for i := range byte(40) {
			p := n.pool(i + 1)
			p.jobAt(101, 10)
			p.share("alice", 1)
			p.share("bob", 1)
		}
		p := n.pools[1]
		p.jobAt(102, 10)
		hash := p.find("carol", 10, true, out(1000, poolScript))
		for _, p := range n.pools {
			p.job.Height = 102
			p.over()
		}
		// All that was a commit each, which a slow disk takes its time for.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for {
			kept, first, err := n.s.Follow(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(kept) > 0 {
				break
			}
			if err := n.s.Advance(ctx, Place{}, Place{Height: first - 1}, n.chain[first-base:]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := n.s.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		// The newest 40 of 80, which are the second ones, and the block's 10.
		n.has("chain -1000, fee immature 0, bob immature 800, carol immature 200")
		n.anew(hash)
		for _, most := range []int64{1, 2} { // of a pool's two at a time
			n.s.streams, n.s.sharesAtOnce = nil, most
			r, err := n.s.Reward(ctx, hash, nil)
			if err != nil || len(r.Credits) != 2 || r.Credits[0].Amount != 800 || r.Credits[1].Amount != 200 {
				t.Errorf("%d at a time: %+v, %v", most, r, err)
			}
		}
	})
}
