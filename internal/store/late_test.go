package store

import (
	"encoding/hex"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
)

// Shares of a job that come after a reward which was made with others of it, as from a pool
// that was taken for gone, are nothing of that reward; they count in the next one.
func TestSharesBehindReward(t *testing.T) {
	for scheme, want := range map[string]string{
		// The last 20 and 10 of 30 and 10; then 20, and the last 10 of 30 and 35.5.
		"pplns": "chain -2000, fee immature 0, ann immature 667, bob immature 984, zoe immature 349",
		// 30 and 10; then 20, and the 25.5 that came late.
		"proportional": "chain -2000, fee immature 0, ann immature 549, bob immature 750, zoe immature 701",
	} {
		t.Run(scheme, func(t *testing.T) {
			each(t, func(t *testing.T, where string) { lateSharesCount(t, where, scheme, want) })
		})
	}
}

func lateSharesCount(t *testing.T, where, scheme, want string) {
	n := newNetwork(t, where)
	n.set(SettingScheme, scheme, 0)
	n.set(SettingTimes, "3", 0)
	p, q := n.pool(1), n.pool(2)
	p.jobAt(101, 10)
	q.jobAt(101, 10)
	q.share("zoe", 10)
	first := p.find("bob", 30, true, out(1000, poolScript))
	p.over()
	n.follow()
	n.has("") // the other pool may have more
	n.set(SettingRetired, hex.EncodeToString(q.in.ID[:]), 0)
	n.follow()
	had := map[string]string{"pplns": "chain -1000, fee immature 0, bob immature 667, zoe immature 333", "proportional": "chain -1000, fee immature 0, bob immature 750, zoe immature 250"}[scheme]
	n.has(had)
	q.share("zoe", 20)
	n.anew(first)
	n.set(SettingRetired, "", 0) // it is here again
	n.s.foldLeast, n.s.foldMost = 0, 0
	q.share("ann", 5)
	q.share("zoe", 0.5)
	n.anew(first)
	n.follow()
	n.has(had)
	q.over()
	second := p.find("ann", 20, true, out(1000, poolScript))
	p.over()
	q.job.Height = 102
	q.over()
	n.follow()
	n.has(want)
	n.anew(first, second)
}

// A reward is not posted if shares came to jobs of its heights since it was computed.
func TestStillLate(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p, q := n.pool(1), n.pool(2)
		p.jobAt(101, 10)
		q.jobAt(101, 10)
		q.share("zoe", 10)
		hash := p.find("bob", 30, true, out(1000, poolScript))
		p.over()
		n.follow()
		n.set(SettingRetired, hex.EncodeToString(q.in.ID[:]), 0)
		var b poolBlock
		if err := n.s.db.Read(t.Context(), func(tx table.Tx) (err error) {
			b, err = n.s.poolBlock(t.Context(), tx, hash, "")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		c, err := n.s.compute(t.Context(), &b, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.share("zoe", 20)
		if told, err := n.s.postReward(t.Context(), &b, c); err == nil {
			t.Errorf("posted without a share that had come: %s", told)
		}
		n.follow()
		n.has("chain -1000, fee immature 0, bob immature 600, zoe immature 400")
		n.anew(hash)
	})
}

// Late shares on lost work are not named with the rewards that are without them.
func TestStrayLate(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p, q := n.pool(1), n.pool(2)
		p.jobAt(101, 10)
		q.jobAt(101, 10)
		q.lose()
		q.share("zoe", 10)
		hash := p.find("bob", 30, true, out(1000, poolScript))
		p.over()
		n.set(SettingRetired, hex.EncodeToString(q.in.ID[:]), 0)
		n.follow()
		q.share("zoe", 20)
		q.share("ann", 1)
		n.anew(hash)
		posted, err := n.s.Ledger(t.Context(), 0, 1)
		if err != nil || len(posted) != 1 || posted[0].Kind != Reward {
			t.Fatal(posted, err)
		}
		for before, want := range map[int64]Stray{posted[0].Number: {Class: Class{1, difficulty.ExactOf(10)}}, 0: {Class: Class{2, difficulty.ExactOf(30)}}} {
			list, err := n.s.Strays(t.Context(), 0, 1000, before)
			last := len(list) - 1
			if err != nil || last < 0 || list[last].Owner != user("zoe") || list[last].Class != want.Class || before > 0 && last > 0 {
				t.Errorf("before %d: %v, %v", before, list, err)
			}
		}
	})
}
