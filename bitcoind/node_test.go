package bitcoind_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// running is a group at work.
type running struct {
	*bitcoind.Group
	t      *testing.T
	mu     sync.Mutex
	events []string
}

func run(t *testing.T, o bitcoind.Options, nodes ...bitcoind.Config) *running {
	t.Helper()
	r := &running{t: t}
	o.Events = func(e event.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, fmt.Sprintf("%s %d %s", time.Now().Format("05.000"), e.Level, e.Text))
	}
	g, err := bitcoind.NewGroup(nodes, o)
	if err != nil {
		t.Fatal(err)
	}
	r.Group = g
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := g.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			t.Log("events:\n" + r.said())
		}
	})
	return r
}

func (r *running) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.events, "\n")
}

// patience is what a real node, or one that is played, has for anything.
const patience = time.Minute

// until returns the first update that fits.
func (r *running) until(what string, fits func(source.Update) bool) source.Update {
	r.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case u := <-r.Templates():
			if fits(u) {
				return u
			}
		case <-timeout:
			r.t.Fatalf("no template: %s", what)
		}
	}
}

func (r *running) untilOn(hash string) source.Update {
	r.t.Helper()
	return r.until("on "+hash, func(u source.Update) bool { return display(u.Template.PrevHash) == hash })
}

// watched collects the states of a block.
type watched chan source.BlockState

func watch() watched { return make(watched, 1000) }

func (w watched) changed(s source.BlockState) { w <- s }

func (w watched) until(t *testing.T, state string, confirmations int64) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case s := <-w:
			if s.State == state && s.Confirmations >= confirmations {
				return
			}
		case <-timeout:
			t.Fatalf("the block never was %s with %d confirmations", state, confirmations)
		}
	}
}

func display(hash [32]byte) string {
	slices.Reverse(hash[:])
	return hex.EncodeToString(hash[:])
}

func hashOfBlock(block []byte) [32]byte {
	first := sha256.Sum256(block[:80])
	return sha256.Sum256(first[:])
}

// solve makes a block of a template.
func solve(t *testing.T, tmpl *work.Template) (hash [32]byte, block []byte) {
	t.Helper()
	b := work.Builder{PayoutScript: btcd.NewWallet("pool").Script(), Extranonce1Len: 4, Extranonce2Len: 8}
	job, err := b.Job(tmpl, 1, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	m := &work.Miner{Limit: 750, Extranonce1: binary.BigEndian.AppendUint32(nil, uint32(time.Now().UnixNano()))}
	found := &work.Solution{Extranonce2: make([]byte, 8), Time: tmpl.CurTime, Version: job.Version}
	var share work.Share
	for !share.Block {
		found.Nonce++
		job.Hash(&share, m, found)
	}
	return share.Hash, job.Block(&share, m, found)
}

func btcdConfig(n *testkit.Btcd) bitcoind.Config {
	return bitcoind.Config{URL: n.RPC, User: n.User, Pass: n.Pass}
}

// A real node: templates with transactions, a solved block that it takes, new
// work at once, and a reorganisation that orphans the block.
func TestBtcd(t *testing.T) {
	t.Parallel()
	n := testkit.StartBtcd(t, btcd.Options{})
	n.SegwitTemplate(3)
	dir := t.TempDir()
	r := run(t, bitcoind.Options{SaveDir: dir}, btcdConfig(n))
	u := r.untilOn(n.BestBlockHash())
	if r.Chain() != "regtest" || !u.NewTip || u.From != n.RPC || u.Template.TxCount() != 3 || time.Since(u.Received) > 10*time.Second {
		t.Errorf("chain %q, update %+v", r.Chain(), u)
	}
	if err := u.Template.CheckWitness(); err != nil {
		t.Error(err)
	}

	hash, block := solve(t, u.Template)
	w := watch()
	submitted := time.Now()
	r.Submit(u.Template.Height, hash, block, w.changed)
	w.until(t, "confirmed", 1)
	if got := n.BlockHash(u.Template.Height); got != display(hash) {
		t.Errorf("the node has %s, not our %s", got, display(hash))
	}
	r.untilOn(display(hash))
	if took := time.Since(submitted); took > 20*time.Second {
		t.Errorf("new work after %v", took)
	}
	tell := func(method string) {
		t.Helper()
		if err := n.Call(t.Context(), nil, method, display(hash)); err != nil {
			t.Fatal(err)
		}
	}
	tell("invalidateblock") // the node's tip is below it now
	w.until(t, "pending", 0)
	tell("reconsiderblock")
	w.until(t, "confirmed", 1)
	n.MineEmpty(2)
	w.until(t, "confirmed", 3)

	tips := n.Reorg(3)
	w.until(t, "orphaned", 0)
	r.untilOn(tips[len(tips)-1])

	bad := slices.Clone(block)
	bad[40] ^= 1 // merkle root
	again := watch()
	r.Submit(u.Template.Height, hashOfBlock(bad), bad, again.changed)
	again.until(t, "rejected", 0)
	if s := r.Status()[0]; s.State != "ok" || !strings.HasPrefix(s.Version, "btcd") || s.Height != n.BlockCount() || !s.Current {
		t.Errorf("%+v", s)
	}
}

// Two real nodes, one dies: work goes on within 5 s and a block found then is
// taken.
func TestBtcdFailover(t *testing.T) {
	t.Parallel()
	a, b := testkit.StartBtcdPair(t, nil)
	r := run(t, bitcoind.Options{}, btcdConfig(a), btcdConfig(b))
	r.until("of the first", func(u source.Update) bool { return u.From == a.RPC })
	a.Kill()
	killed := time.Now()
	u := r.until("of the second", func(u source.Update) bool { return u.From == b.RPC })
	if took := time.Since(killed); took > 20*time.Second {
		t.Errorf("work of the other node after %v", took)
	}
	hash, block := solve(t, u.Template)
	w := watch()
	r.Submit(u.Template.Height, hash, block, w.changed)
	w.until(t, "confirmed", 1)
	r.untilOn(display(hash))
	if said := r.said(); !strings.Contains(said, "Failed over to bitcoind: "+b.RPC) || !strings.Contains(said, "BLOCK ACCEPTED!") {
		t.Error("not said what happened")
	}
}

func fakeConfig(n *testkit.FakeNode) bitcoind.Config {
	c := bitcoind.Config{URL: n.Addr(), User: testkit.FakeNodeUser, Pass: testkit.FakeNodePassword}
	if n.ZMQ() != "" {
		c.ZMQ = []string{n.ZMQ()}
	}
	return c
}

// ZMQ, long poll and polling together lead to one template for each block.
func TestAllHintsTogether(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{ZMQ: "127.0.0.1:0", Transactions: 100})
	r := run(t, bitcoind.Options{}, fakeConfig(n))
	r.until("first", func(source.Update) bool { return true })
	waitFor(t, "subscription", func() bool { return n.Publisher().Subscribers("hashblock") == 1 })
	before := n.Calls("getblocktemplate")
	for range 20 {
		hash := n.NewBlock()
		if u := r.untilOn(hash); !u.NewTip {
			t.Error("not a new tip")
		}
		select {
		case u := <-r.Templates():
			t.Errorf("a second template on %s", display(u.Template.PrevHash))
		case <-time.After(150 * time.Millisecond):
		}
	}
	// The long poll that begins again and at most one request for a hint.
	if calls := n.Calls("getblocktemplate") - before; calls > 41 {
		t.Errorf("%d template requests for 20 blocks", calls)
	}
	n.Publisher().Disconnect()
	waitFor(t, "subscription after a cut", func() bool { return n.Publisher().Subscribers("hashblock") == 1 })
	r.untilOn(n.NewBlock())
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// What Bitcoin Core does in bad hours: the pool goes on by itself after each.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault fakenode.Fault
		state string
	}{
		"warming up":  {fakenode.Fault{Kind: fakenode.WarmingUp}, "starting"},
		"no peers":    {fakenode.Fault{Kind: fakenode.NotConnected}, "no peers"},
		"downloading": {fakenode.Fault{Kind: fakenode.Downloading}, "syncing"},
		"401":         {fakenode.Fault{Kind: fakenode.Unauthorized}, "refused"},
		"403":         {fakenode.Fault{Kind: fakenode.Forbidden}, "refused"},
		"503":         {fakenode.Fault{Kind: fakenode.WorkQueue}, "failing"},
		"hang":        {fakenode.Fault{Kind: fakenode.Hang}, "unreachable"},
		"cut":         {fakenode.Fault{Kind: fakenode.Cut}, "unreachable"},
		"truncated":   {fakenode.Fault{Kind: fakenode.Truncated}, "unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := testkit.StartFakeNode(t, fakenode.Config{})
			n.SetFault(test.fault)
			r := run(t, bitcoind.Options{Timeout: 300 * time.Millisecond, TemplateTimeout: 300 * time.Millisecond}, fakeConfig(n))
			waitFor(t, "state "+test.state, func() bool { return r.Status()[0].State == test.state })
			waitFor(t, "line", func() bool {
				said := r.said()
				return strings.Contains(said, "bitcoind "+n.Addr()+" ") && strings.Contains(said, "CRITICAL: No bitcoinds active!")
			})
			n.ClearFault()
			r.Refresh("operator")
			u := r.until("after the fault", func(source.Update) bool { return true })
			_, tip := n.Tip()
			if !u.NewTip || display(u.Template.PrevHash) != tip {
				t.Errorf("%+v", u)
			}
			// And once more while it is in use.
			n.SetFault(test.fault)
			r.Refresh("timer")
			waitFor(t, "state "+test.state, func() bool { return r.Status()[0].State == test.state })
			n.ClearFault()
			r.Refresh("operator")
			r.until("after the second fault", func(source.Update) bool { return true })
		})
	}
}

// A block is taken although the node refuses, hangs or cuts at first.
func TestSubmitThroughFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]fakenode.Fault{
		"cut":          {Kind: fakenode.Cut, Methods: []string{"submitblock"}, Times: 1},
		"truncated":    {Kind: fakenode.Truncated, Methods: []string{"submitblock"}, Times: 1},
		"hang":         {Kind: fakenode.Hang, Methods: []string{"submitblock"}, Times: 1},
		"503":          {Kind: fakenode.WorkQueue, Methods: []string{"submitblock"}, Times: 2},
		"no precious":  {Kind: fakenode.Forbidden, Methods: []string{"preciousblock"}},
		"inconclusive": {Kind: fakenode.Verdict, Text: "inconclusive", Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := testkit.StartFakeNode(t, fakenode.Config{Transactions: 5})
			r := run(t, bitcoind.Options{SubmitTimeout: 300 * time.Millisecond}, fakeConfig(n))
			u := r.until("first", func(source.Update) bool { return true })
			hash, block := solve(t, u.Template)
			n.SetFault(fault)
			w := watch()
			r.Submit(u.Template.Height, hash, block, w.changed)
			if name == "inconclusive" {
				// Known, and not in the chain: it is not sent again.
				waitFor(t, "verdict", func() bool { return strings.Contains(r.said(), "SUBMIT BLOCK RETURNED: inconclusive") })
				return
			}
			w.until(t, "confirmed", 1)
			r.untilOn(display(hash))
		})
	}
}

func TestCookieOfRestartedNode(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), ".cookie")
	n := testkit.StartFakeNode(t, fakenode.Config{CookieFile: path})
	r := run(t, bitcoind.Options{}, bitcoind.Config{URL: n.Addr(), Cookie: filepath.Dir(path)})
	r.until("first", func(source.Update) bool { return true })
	if err := n.RotateCookie(); err != nil {
		t.Fatal(err)
	}
	r.untilOn(n.NewBlock())
	if strings.Contains(r.said(), "refuses") {
		t.Error("a new cookie was told as an error")
	}
}

// From a node's announcement of a block to the template of 4,000 transactions
// at the reader, the fake node's work on it included.
func BenchmarkNewTip(b *testing.B) {
	n := testkit.StartFakeNode(b, fakenode.Config{ZMQ: "127.0.0.1:0", Transactions: 4000})
	g, err := bitcoind.NewGroup([]bitcoind.Config{fakeConfig(n)}, bitcoind.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()
	<-g.Templates()
	var answered time.Duration
	for b.Loop() {
		n.NewBlock()
		for u := range g.Templates() {
			if u.NewTip {
				answered += time.Since(u.Received)
				break
			}
		}
	}
	b.ReportMetric(float64(answered.Microseconds())/float64(b.N), "µs-after-answer")
	cancel()
	<-ended
}
