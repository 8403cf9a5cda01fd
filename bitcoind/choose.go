package bitcoind

import (
	"cmp"
	"math/big"
	"strconv"
)

// tip is the block a node has, or builds on, as the newest of its chain.
type tip struct {
	hash   [32]byte // zero: none
	height int64    // -1 unknown
	work   *big.Int // of the chain up to it; nil unknown
}

// compare is above 0 if t has more work than u. Heights stand for work where a
// node does not tell it; what is unknown is not more.
func (t tip) compare(u tip) int {
	switch {
	case t.hash == u.hash:
		return 0
	case t.work != nil && u.work != nil:
		return t.work.Cmp(u.work)
	case t.height >= 0 && u.height >= 0:
		return cmp.Compare(t.height, u.height)
	}
	return 0
}

// String is the height, or the hash while that is not known.
func (t tip) String() string {
	if t.height < 0 {
		return displayHash(t.hash).String()
	}
	return strconv.FormatInt(t.height, 10)
}

// candidate is a node as the choice sees it.
type candidate struct {
	usable bool
	tip    tip
	steady bool // a whole check found it usable and on the followed tip
}

// choose returns the index of the node to follow: the usable one with the most
// work. Among equals the current one stays, unless a node before it in the
// list is steady on the same tip; without a current one the first is taken.
// It returns -1 if no node is usable; current may be -1.
func choose(nodes []candidate, current int) int {
	best := -1
	if current >= 0 && nodes[current].usable {
		best = current
	}
	for i, n := range nodes {
		if !n.usable {
			continue
		}
		if best < 0 {
			best = i
			continue
		}
		switch c := n.tip.compare(nodes[best].tip); {
		case c > 0:
			best = i
		case c == 0 && i < best && best == current && n.steady && n.tip.hash == nodes[best].tip.hash:
			best = i
		}
	}
	return best
}
