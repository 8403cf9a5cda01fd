package store

import (
	"slices"
	"testing"
)

// What is held of a block that is orphaned is nobody's to book, until it comes back.
func TestAlarmOfOrphan(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		hash := p.find("bob", 50, false, out(1000, poolScript))
		p.over()
		n.bury(HoldAfter)
		isOpen := func(want bool) {
			t.Helper()
			n.follow()
			list, err := n.s.Alarms(t.Context())
			if err != nil || len(list) != 1 || (list[0].Ended == 0) != want {
				t.Errorf("%+v, %v, want open: %t", list, err, want)
			}
		}
		isOpen(true)
		a := slices.Clone(n.chain)
		n.grow(101, 10, 1)
		isOpen(false)
		n.chain = slices.Clone(a)
		n.bury(20)
		isOpen(true)
		if err := n.s.Book(t.Context(), "ann", hash, ToMiners); err != nil {
			t.Fatal(err)
		}
		isOpen(false)
		n.has("chain -1000, fee immature 0, held 0, bob immature 1000")
		n.grow(101, 40, 2)
		isOpen(false)
		n.chain = slices.Clone(a)
		n.bury(60)
		isOpen(false)
		consistent(t, n.s)
	})
}
