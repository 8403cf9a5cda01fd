package e2e

import (
	"testing"
	"time"

	"ckpool/internal/testkit"
	"ckpool/internal/testkit/fakenode"
)

// never is a polling interval, in milliseconds, that no test sees the end of.
const never = 3_600_000

// quick is how long new work may take where the way to it is pushed or
// polled ten times a second. The check of each node's health every 5 s would
// find a new block too, but not three times in a row in this time.
const quick = time.Second

// Each way to learn of a new block works without the others.
func TestNewBlock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		way    string
		node   fakenode.Config
		keys   keys
		entry  keys
		tell   string // control command after the block
		within time.Duration
	}{
		{way: "ZMQ", node: fakenode.Config{ZMQ: "127.0.0.1:0", NoLongPoll: true}, keys: keys{"blockpoll": never}},
		{way: "long poll", keys: keys{"blockpoll": never}},
		{way: "polling", node: fakenode.Config{NoLongPoll: true}},
		{way: "notifier", node: fakenode.Config{NoLongPoll: true}, entry: keys{"notify": true}, tell: "update"},
	} {
		t.Run(c.way, func(t *testing.T) {
			t.Parallel()
			n := testkit.StartFakeNode(t, c.node)
			p := setup{nodes: []keys{fakeEntry(n, c.entry)}, keys: c.keys}.start(t)
			h := p.connect(t, "alice")
			_, tip := n.Tip()
			h.jobOn(patience, tip)
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
	p := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"blockpoll": never}}.start(t)
	h := p.connect(t, "alice")
	h.job()
	subscribed := func() {
		eventually(t, patience, "a subscriber", func() bool { return n.Publisher().Subscribers("hashblock") == 1 })
	}
	subscribed()
	n.Publisher().Disconnect()
	eventually(t, patience, "the loss", func() bool { return n.Publisher().Subscribers("hashblock") == 0 })
	h.jobOn(5*time.Second, n.NewBlock())
	subscribed()
	h.jobOn(quick, n.NewBlock())
}

// An own block is followed by new work at once, without waiting for anybody to
// tell of it.
func TestNewWorkAfterOwnBlock(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{NoLongPoll: true, Transactions: 50})
	p := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"blockpoll": never}}.start(t)
	h := p.connect(t, "alice.rig1")
	other := p.connect(t, "bob")
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
