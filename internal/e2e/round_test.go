package e2e

import (
	"testing"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
)

// The round of a block ends once: its next confirmation, seen by another run,
// does not take away what miners have done since.
func TestRoundEndsOnce(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	s := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"logdir": t.TempDir()}}
	p := s.start(t)
	h := p.connect(t, "alice.rig1")
	found := h.findBlock()
	p.block(found.hash, "confirmed 1")
	accepted := func(p *running) int64 { return ask[poolStats](p, "poolstats").Accepted }
	eventually(t, patience, "a new round", func() bool { return accepted(p) == 0 })
	j, _ := h.jobOn(patience, found.hash)
	if reject := h.submit(h.solve(j, targetOf(j))); reject != nil {
		t.Fatal(reject)
	}
	before := accepted(p)
	p.stop()

	p = s.start(t)
	n.NewBlock()
	p.block(found.hash, "confirmed 2")
	if after := accepted(p); before == 0 || after != before {
		t.Errorf("%d shares of the round, %d before the restart", after, before)
	}
	if k := p.log.count("Solved and confirmed block"); k != 0 {
		t.Errorf("solved %d times more", k)
	}

	// Where it is safe the table alone knows of it, and another run goes on.
	for range 5 {
		n.NewBlock()
	}
	p.block(found.hash, "confirmed 7")
	eventually(t, patience, "the file's end", func() bool { return len(p.saved()) == 0 })
	p.stop()
	p = s.start(t)
	n.NewBlock()
	p.block(found.hash, "confirmed 8")
}
