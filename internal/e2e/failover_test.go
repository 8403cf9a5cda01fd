package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
)

// unconnectedNodes starts two nodes of one height that do not hear of each
// other's blocks, and gives the hash of the tip they share.
func unconnectedNodes(t *testing.T) (a, b *testkit.Btcd, tip string) {
	t.Helper()
	a = testkit.StartBtcd(t, btcd.Options{})
	b = testkit.StartBtcd(t, btcd.Options{})
	tip = a.Generate(1)[0]
	if verdict, err := b.SubmitBlock(t.Context(), a.BlockAt(1)); verdict != "" || err != nil {
		t.Fatal(verdict, err)
	}
	return a, b, tip
}

// Two nodes that are not connected disagree: the pool follows the longer
// chain, and tells what became of the block it found on the shorter one.
func TestReorganisationOnBtcd(t *testing.T) {
	t.Parallel()
	a, b, fork := unconnectedNodes(t)
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
	var miners []*hand
	for _, user := range []string{"alice", "bob", "carol"} {
		miners = append(miners, p.connect(t, user))
	}
	h := miners[0]
	find := func() string {
		t.Helper()
		s := h.findBlock()
		p.blockWhere(s.hash+" confirmed", func(b foundBlock) bool {
			return b.Hash == s.hash && strings.HasPrefix(b.State, "confirmed")
		})
		for _, m := range miners {
			m.jobOn(patience, s.hash)
		}
		return s.hash
	}
	b.WaitTip(find())
	p.follows(a.RPC)

	killed := time.Now()
	a.Kill()
	for _, m := range miners {
		if _, at := m.jobSince(patience, killed); at.Sub(killed) > quick {
			t.Errorf("new work came after %v", at.Sub(killed))
		}
	}
	p.follows(b.RPC)
	if found := find(); b.BestBlockHash() != found {
		t.Errorf("the second node's tip is %s, not %s", b.BestBlockHash(), found)
	}

	a = testkit.StartBtcd(t, btcd.Options{RPC: a.RPC, Password: a.Pass, Connect: []string{b.P2P}})
	p.follows(a.RPC)
	a.WaitTip(b.BestBlockHash())
	if found := find(); a.BestBlockHash() != found {
		t.Errorf("the first node's tip is %s, not %s", a.BestBlockHash(), found)
	}
	for _, m := range miners {
		m.connected()
	}
}

// follows waits until the pool mines on the node with this address.
func (r *running) follows(url string) {
	r.t.Helper()
	eventually(r.t, patience, url+" followed", func() bool {
		answer := ask[struct {
			Nodes []struct {
				URL     string
				Current bool
			}
		}](r, "nodes")
		for _, n := range answer.Nodes {
			if n.Current {
				return n.URL == url
			}
		}
		return false
	})
}

// An operator gives the node that work comes from a block, and asks it for a
// template: the block is in the chain, and the template is on it.
func TestBlockOfTheOperator(t *testing.T) {
	t.Parallel()
	a, b, tip := unconnectedNodes(t)
	p := setup{nodes: []keys{btcdEntry(b)}}.start(t)
	h := p.connect(t, "alice")
	h.jobOn(patience, tip)
	next := a.Generate(1)[0]
	var block bytes.Buffer
	if err := a.BlockAt(2).Serialize(&block); err != nil {
		t.Fatal(err)
	}
	submit := fmt.Sprintf("submitblock:%s,%x", next, block.Bytes())
	// A node that is busy may have it before the command, which is then given again, says so.
	if got := p.command(submit); got != "accepted" && !strings.Contains(got, "already have block") {
		t.Errorf("a block: %s", got)
	}
	h.jobOn(patience, next)
	type template struct {
		Previous string  `json:"previousblockhash"`
		Height   int64   `json:"height"`
		Diff     float64 `json:"diff"`
	}
	eventually(t, patience, "the template on it", func() bool { // the node may be busy with it
		base := ask[template](p, "getbase")
		return base.Previous == next && base.Height == 3 && base.Diff > 0
	})
	if got := p.command(submit); !strings.Contains(got, `"errormsg"`) || !strings.Contains(got, "already have block") {
		t.Errorf("the same block: %s", got)
	}
}
