package store

import (
	"errors"
	"testing"
)

// Where single shares were dropped that a reward was computed from, it is not computed from what
// is left, which would be another one.
func TestComputedFromDropped(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		n.set(SettingScheme, "proportional", 0)
		p := n.pool(1)
		var hashes [][32]byte
		for i := range int64(4) {
			p.jobAt(101+i, 10)
			p.share("alice", 30)
			hashes = append(hashes, p.find("bob", 10, true, out(1000, poolScript)))
			n.chain[len(n.chain)-1].NTime = p.ntime
			p.share("carol", 40) // of the same height, for the next
			if i < 3 {
				p.ntime += secondsPerDay
				p.now += secondsPerDay * 1_000_000
			}
		}
		p.over()
		n.follow()
		n.has("chain -4000, fee immature 0, alice immature 1875, bob immature 625, carol immature 1500")
		n.anew(hashes...)
		if err := n.s.Retain(t.Context(), int64(p.ntime)+10*secondsPerDay); err != nil {
			t.Fatal(err)
		}
		consistent(t, n.s)
		for i, hash := range hashes {
			if _, err := n.s.Reward(t.Context(), hash, nil); !errors.Is(err, ErrDropped) {
				t.Errorf("block %d: %v", i, err)
			}
		}
	})
}
