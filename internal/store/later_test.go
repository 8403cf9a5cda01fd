package store

import (
	"encoding/hex"
	"strings"
	"testing"
)

// Who mined for himself becomes where another pool is paid: his block stays what it was,
// rewarded before that or not, and by a version that did not keep which outputs counted.
func TestScriptLater(t *testing.T) {
	for _, when := range []string{"after the reward", "before the reward", "after the reward of an earlier version", "held"} {
		t.Run(when, func(t *testing.T) {
			each(t, func(t *testing.T, where string) { scriptLater(t, where, when) })
		})
	}
}

func scriptLater(t *testing.T, where, when string) {
	n := newNetwork(t, where)
	const miner = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
	script, err := hex.DecodeString("0014751e76e8199196d454941c45d1b3a323f1433bd6")
	if err != nil {
		t.Fatal(err)
	}
	p := n.pool(1)
	p.solo = true
	p.jobAt(101, 10)
	q := n.pool(2)
	q.jobAt(101, 10)
	hash := p.find(miner, 7, when != "held", out(980, script), out(20, poolScript))
	p.over()
	const had = "chain -20, fee immature 20, " + miner + " immature 0"
	next := int64(103)
	if when == "held" {
		n.bury(HoldAfter - 1)
		next += HoldAfter
	}
	later := func() {
		q.script = script
		q.jobAt(next, 10)
		n.follow()
	}
	if when == "before the reward" {
		n.follow()
		n.has("")
		later()
		q.over()
		n.follow()
	} else {
		q.over()
		n.follow()
		if strings.Contains(when, "earlier") {
			change(t, n.s, "update chain_blocks set outputs = ''")
			change(t, n.s, "update chain_scripts set at = 0")
		}
		later()
	}
	if when == "held" {
		n.has("chain -20, held 20")
		if err := n.s.Book(t.Context(), "ann", hash, ToMiners); err != nil {
			t.Fatal(err)
		}
		n.follow()
		n.has("chain -20, fee immature 20, held 0, " + miner + " immature 0")
	} else {
		n.has(had)
	}
	n.anew(hash)
	// What is found from then on pays the pool by it.
	second := q.find("bob", 7, true, out(1000, script))
	q.over()
	for p.job.Height < q.job.Height {
		p.over()
	}
	n.follow()
	n.anew(hash, second)
	if list, err := n.s.PoolBlocks(t.Context(), 1); err != nil || len(list) != 1 || list[0].Value != 1000 || list[0].Rewarded == 0 {
		t.Errorf("%+v, %v", list, err)
	}
}
