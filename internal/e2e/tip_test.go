package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
)

// never is an interval, in seconds or milliseconds, that no test sees the end of.
const never = 3_600_000

// quick is the limit for what takes milliseconds on a machine that is not busy.
// It is below the half minute after which nodes are asked for a template in any
// case.
const quick = 20 * time.Second

// onlyTips keeps the pool from learning of new blocks by its checks of the
// node's health.
func onlyTips(n *testkit.FakeNode) {
	n.SetFault(fakenode.Fault{Kind: fakenode.Forbidden, Methods: []string{"getblockchaininfo"}})
}

// Each way to learn of a new block works without the others.
func TestNewBlock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		way  string
		node fakenode.Config
		keys keys
		tell string // control command after the block
	}{
		{way: "ZMQ", node: fakenode.Config{ZMQ: "127.0.0.1:0", NoLongPoll: true}, keys: keys{"blockpoll": never, "update_interval": never}},
		{way: "long poll", keys: keys{"blockpoll": never, "update_interval": never}},
		{way: "polling", node: fakenode.Config{NoLongPoll: true}, keys: keys{"update_interval": never}},
		{way: "notifier", node: fakenode.Config{NoLongPoll: true}, keys: keys{"blockpoll": never, "update_interval": never}, tell: "update"},
	} {
		t.Run(c.way, func(t *testing.T) {
			t.Parallel()
			n := testkit.StartFakeNode(t, c.node)
			p := setup{nodes: []keys{fakeEntry(n)}, keys: c.keys}.start(t)
			h := p.connect(t, "alice")
			_, tip := n.Tip()
			h.jobOn(patience, tip)
			onlyTips(n)
			if n.ZMQ() != "" {
				eventually(t, patience, "a subscriber", func() bool { return n.Publisher().Subscribers("hashblock") == 1 })
			}
			for range 4 {
				tip := n.NewBlock()
				if c.tell != "" {
					p.command(c.tell)
				}
				h.jobOn(quick, tip)
			}
			height, _ := n.Tip()
			p.log.wait(t, 0, fmt.Sprintf("New block: height %d, work for %d sent ", height, height+1))
			// The node gives up two blocks for three others.
			tip, err := n.Reorg(2)
			if err != nil {
				t.Fatal(err)
			}
			if c.tell != "" {
				p.command(c.tell)
			}
			h.jobOn(quick, tip)
		})
	}
}

// A lost ZMQ message, or connection, costs no block.
func TestNewBlockAfterLoss(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{ZMQ: "127.0.0.1:0", NoLongPoll: true})
	p := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"blockpoll": never, "update_interval": never}}.start(t)
	h := p.connect(t, "alice")
	h.job()
	onlyTips(n)
	subscribed := func() {
		eventually(t, patience, "a subscriber", func() bool { return n.Publisher().Subscribers("hashblock") == 1 })
	}
	subscribed()
	n.Publisher().Disconnect()
	eventually(t, patience, "the loss", func() bool { return n.Publisher().Subscribers("hashblock") == 0 })
	h.jobOn(quick, n.NewBlock())
	subscribed()
	h.jobOn(quick, n.NewBlock())
}

// An own block is followed by new work at once, without waiting for anybody to
// tell of it.
func TestNewWorkAfterOwnBlock(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{NoLongPoll: true, Transactions: 50})
	p := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"blockpoll": never, "update_interval": never}}.start(t)
	h := p.connect(t, "alice.rig1")
	other := p.connect(t, "bob")
	h.job()
	onlyTips(n)
	var first solution
	for i := range 3 {
		s := h.findBlock()
		if i == 0 {
			first = s
		}
		h.jobOn(quick, s.hash)
		other.jobOn(quick, s.hash)
		p.block(s.hash, "confirmed 1")
		if _, tip := n.Tip(); tip != s.hash {
			t.Fatalf("tip %s, want %s", tip, s.hash)
		}
	}
	if b := p.block(first.hash, "confirmed 3"); b.Worker != "alice.rig1" || b.Height != 1001 || b.Reward < 78_125_000 {
		t.Errorf("%+v", b)
	}
}
