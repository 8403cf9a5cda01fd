package e2e

import (
	"strings"
	"testing"
	"time"

	"ckpool/internal/testkit"
	"ckpool/internal/testkit/btcd"
)

// Two nodes that are not connected disagree: the pool follows the longer
// chain, and tells what became of the block it found on the shorter one.
func TestReorganisationOnBtcd(t *testing.T) {
	t.Parallel()
	a := testkit.StartBtcd(t, btcd.Options{})
	b := testkit.StartBtcd(t, btcd.Options{})
	fork := a.Generate(1)[0]
	if verdict, err := b.SubmitBlock(t.Context(), a.BlockAt(1)); verdict != "" || err != nil {
		t.Fatal(verdict, err)
	}
	p := setup{nodes: []keys{btcdEntry(a), btcdEntry(b)}}.start(t)
	h := p.connect(t, "alice")
	h.jobOn(patience, fork)
	s := h.findBlock()
	p.block(s.hash, "confirmed 1")

	branch := func(n *testkit.Btcd, parent string, count int) []string {
		t.Helper()
		hashes, err := n.Branch(t.Context(), parent, count)
		if err != nil {
			t.Fatal(err)
		}
		return hashes
	}
	other := branch(b, fork, 2)
	h.jobOn(patience, other[1])
	p.block(s.hash, "orphaned")
	if got := a.BestBlockHash(); got != s.hash {
		t.Fatalf("the first node's tip is %s", got)
	}

	// The first node's chain becomes the longer one again.
	again := branch(a, s.hash, 2)
	h.jobOn(patience, again[1])
	p.block(s.hash, "confirmed 3")
	h.connected()

	// A block on the chain followed now is as good as any.
	h.jobOn(patience, again[1])
	p.block(h.findBlock().hash, "confirmed 1")
}

// The node that is mined on is killed: the miners keep their connections and
// have work of the other one within 5 s. It comes back with nothing and is used
// again when it has caught up.
func TestFailoverOnBtcd(t *testing.T) {
	t.Parallel()
	b := testkit.StartBtcd(t, btcd.Options{P2P: true})
	b.Generate(1)
	a := testkit.StartBtcd(t, btcd.Options{Connect: []string{b.P2P}})
	a.WaitTip(b.BestBlockHash())
	p := setup{nodes: []keys{btcdEntry(a), btcdEntry(b)}}.start(t)
	p.log.wait(t, 0, "Connected to bitcoind: "+a.RPC)
	miners := p.mine(t, 20, "alice", "bob")
	h := p.connect(t, "carol")
	eventually(t, patience, "a block on the first node", func() bool { return a.BlockCount() > 2 })

	line := p.log.wait(t, 0, "")
	killed := time.Now()
	a.Kill()
	h.jobSince(5*time.Second, killed)
	line = p.log.wait(t, line, "Failed over to bitcoind: "+b.RPC)
	before := b.BlockCount()
	found := p.blockWhere("found meanwhile", func(f foundBlock) bool {
		return f.Height > before && strings.HasPrefix(f.State, "confirmed")
	})
	if got := b.BlockHash(found.Height); got != found.Hash {
		t.Errorf("height %d: the second node has %s, blocks.json says %s", found.Height, got, found.Hash)
	}

	a = testkit.StartBtcd(t, btcd.Options{RPC: a.RPC, Password: a.Pass, Connect: []string{b.P2P}})
	p.log.wait(t, line, "Failed over to bitcoind: "+a.RPC)
	count := a.BlockCount()
	eventually(t, patience, "blocks on the first node again", func() bool { return a.BlockCount() > count+1 })
	miners.stop()
	miners.undisturbed()
	h.connected()
}
