package store

import (
	"fmt"
	"testing"
)

// A proxy's journal is in the same database: its coinbases are another pool's, whose blocks are
// nobody's alarm, and what was found for that pool has no part in rewards.
func TestWorkOfAnotherPool(t *testing.T) {
	for _, earlier := range []bool{false, true} {
		t.Run(fmt.Sprintf("earlier %t", earlier), func(t *testing.T) {
			each(t, func(t *testing.T, where string) {
				n := newNetwork(t, where)
				p, q := n.pool(1), n.pool(2)
				q.above = []byte{0x53}
				q.jobAt(101, 10)
				p.jobAt(101, 10)
				q.share("carol", 30)
				p.share("alice", 10)
				n.put(madeUp(101, 1), coinbase(101, out(700, q.above)))
				q.jobAt(102, 10)
				p.jobAt(102, 10)
				q.share("carol", 30)
				hash := p.find("bob", 10, true, out(1000, poolScript))
				p.over()
				q.over()
				if earlier { // a version that gave such jobs places stored them
					change(t, n.s, "insert into places (instance, job, height, after) select instance, id, height, 0 from jobs where true on conflict do nothing")
				}
				n.follow()
				const had = "chain -1000, fee immature 0, alice immature 500, bob immature 500"
				n.has(had)
				if list, err := n.s.Alarms(t.Context()); err != nil || len(list) != 0 {
					t.Errorf("%+v, %v", list, err)
				}
				q.share("carol", 5) // of a job that is there
				n.follow()
				n.has(had)
				n.anew(hash)
			})
		})
	}
}
