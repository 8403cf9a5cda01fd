package store

import "testing"

// Proportional: a block that another has taken the place of, but not for so long that it is an
// orphan, is not where the next round begins.
func TestProportionalReplaced(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		n.set(SettingScheme, "proportional", 0)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 30)
		first := p.find("bob", 10, true, out(1000, poolScript))
		p.over()
		n.follow()
		n.has("chain -1000, fee immature 0, alice immature 750, bob immature 250")
		n.grow(101, 1, 1)
		p.jobAt(102, 10)
		second := p.find("carol", 40, true, out(1000, poolScript))
		p.over()
		n.follow()
		if n.state(first) != New || n.state(second) != InChain {
			t.Errorf("%s, %s", n.state(first), n.state(second))
		}
		n.bury(10)
		n.follow()
		n.has("chain -1000, fee immature 0, alice immature 375, bob immature 125, carol immature 500")
		n.anew(first, second)
	})
}
