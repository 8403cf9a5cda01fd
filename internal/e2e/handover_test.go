package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
)

// rareBlocks is a difficulty of 1e-5: of a thousand shares one is a block.
const rareBlocks = 0x1f0186a0

// startRare starts a node with rare blocks, a pool on it and a miner.
func startRare(t *testing.T, worker string) (n *testkit.FakeNode, s setup, p *running, h *hand) {
	t.Helper()
	n = testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	s = setup{nodes: []keys{fakeEntry(n)}}
	p = s.start(t)
	return n, s, p, p.connect(t, worker)
}

// handOver adds the command of a new process to a pool's control sockets.
func (r *running) handOver(server *control.Server) {
	server.HandleConn("listener", handover.Command, func(ctx context.Context, c *net.UnixConn, arg string) {
		if err := handover.Accept(c, arg); err != nil {
			r.t.Error(err)
			return
		}
		limits := handover.Limits{Ready: patience, Pause: patience, Start: patience}
		if _, err := handover.Give(ctx, c, r.pool.Outgoing(), limits); err != nil {
			r.t.Logf("not handed over: %v", err)
			return
		}
		r.cancel() // the control sockets end with the pool
	})
}

// succeed lets a pool with another configuration take over from r. fail, if not
// nil, is asked at each step.
func (r *running) succeed(s setup, fail func(step string) error) (*running, error) {
	r.t.Helper()
	more := keys{"logdir": r.config.LogDir}
	for name, v := range s.keys {
		more[name] = v
	}
	s.keys = more
	n := s.prepare(r.t, true)
	var failed error
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	link, err := handover.Dial(ctx, filepath.Join(r.dir, "listener"), func(step string) {
		if fail != nil && failed == nil {
			if failed = fail(step); failed != nil {
				cancel()
			}
		}
	})
	if err != nil {
		n.pool.Close()
		return nil, err
	}
	defer link.Close()
	instance := link.Hello().Instance
	if s.older {
		instance = older{}.instance(r.t, instance)
	}
	in, err := n.pool.Incoming(instance, func() error { return n.pool.Listen(ctx) })
	if err == nil {
		sink := handover.Sink(in)
		if s.older {
			sink = older{in}
		}
		if err = link.Take(ctx, sink); err == nil {
			err = link.Start()
		}
		if err != nil {
			in.Abandon()
		}
	}
	if err != nil {
		link.Refuse(err)
		n.pool.Close()
		return nil, err
	}
	n.serve()
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.t.Fatal("the old pool does not end")
	}
	if r.err != nil {
		r.t.Errorf("the old pool ended with %v", r.err)
	}
	return n, nil
}

// older is a pool of a version that knows no section which may be left out.
type older struct{ handover.Sink }

func (o older) Section(kind handover.Kind, data []byte, fds []int) error {
	if kind&handover.LeftOut == 0 {
		return o.Sink.Section(kind, data, fds)
	}
	handover.CloseAll(fds)
	return handover.Unknown(kind)
}

// instance is what it reads of another.
func (older) instance(t *testing.T, described json.RawMessage) json.RawMessage {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal(described, &members); err != nil {
		t.Fatal(err)
	}
	delete(members, "upstreams")
	delete(members, "lastsource")
	read, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// upgrade is succeed where nothing goes wrong.
func (r *running) upgrade(s setup) *running {
	r.t.Helper()
	n, err := r.succeed(s, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// A miner that stays connected notices nothing of a new process, whatever its
// configuration says of coinbases.
func TestHandover(t *testing.T) {
	t.Parallel()
	n, s, old, h := startRare(t, "alice.rig1")
	j := h.job()
	first, second := h.solve(j, targetOf(j)), h.solve(j, targetOf(j))
	if r := h.submit(first); r != nil {
		t.Fatalf("rejected: %v", r)
	}
	began := time.Now()
	old.command("update")
	newest, _ := h.jobSince(patience, began)
	block := h.solveBlock(newest)
	before := ask[poolStats](old, "poolstats")
	changed := s
	changed.keys = keys{"btcaddress": donationAddress, "pooltag": "another", "startdiff": 1}
	next := old.upgrade(changed)

	// Its jobs are known, also one before the newest, and what it has sent already.
	if r := h.submit(first); r == nil || r.Code != stratum.Duplicate {
		t.Errorf("the share sent to the old process: %v", r)
	}
	if r := h.submit(second); r != nil {
		t.Errorf("a share for a job of the old process: %v", r)
	}
	after := ask[poolStats](next, "poolstats")
	if after.Accepted != before.Accepted+1 || max(after.Start-before.Start, before.Start-after.Start) > 1 || after.Rejected != before.Rejected+1 {
		t.Errorf("statistics %+v, before %+v", after, before)
	}
	type users struct{ Users []struct{ User string } }
	if all := ask[users](next, "users").Users; len(all) != 1 || all[0].User != "alice" {
		t.Errorf("users %+v", all)
	}
	// A block of the old job pays whom the old configuration said.
	if r := h.submit(block); r != nil {
		t.Errorf("a block for a job of the old process: %v", r)
	}
	next.block(block.hash, "confirmed 1")
	raw := n.Submissions()
	if len(raw) != 1 {
		t.Fatalf("%d submissions", len(raw))
	}
	if paid := raw[0].Block.Transactions[0].TxOut[0].PkScript; !bytes.Equal(paid, scriptOf(t, poolAddress)) {
		t.Errorf("the block pays %x", paid)
	}
	// New work is the new configuration's.
	mined, _ := h.jobOn(patience, block.hash)
	if !bytes.Contains(mined.Coinb2, scriptOf(t, donationAddress)) {
		t.Error("new work pays the old address")
	}
	found := h.findBlock()
	next.block(found.hash, "confirmed 1")
	h.connected()
	eventually(t, patience, "the end of the round", func() bool { return ask[poolStats](next, "poolstats").Accepted == 0 })
	next.stop()
}

type poolStats struct {
	Start    int64 `json:"start"`
	Accepted int64 `json:"accepted_count"`
	Rejected int64 `json:"rejected_count"`
	Workers  int64 `json:"workers"`
}

// A process that ends at any step leaves the old one as it was.
func TestHandoverFails(t *testing.T) {
	t.Parallel()
	n, s, old, h := startRare(t, "alice.rig1")
	tip := ""
	for _, step := range []string{"hello", "copied", "ready", "section", "end", "complete", "have", "yours"} {
		next, err := old.succeed(s, func(at string) error {
			if at == step {
				return errors.New("the end at " + at)
			}
			return nil
		})
		if err == nil {
			next.stop()
			t.Fatalf("%s: taken over", step)
		}
		j := h.job()
		if tip != "" {
			j, _ = h.jobOn(patience, tip)
		}
		if r := h.submit(h.solve(j, targetOf(j))); r != nil {
			t.Errorf("%s: rejected: %v", step, r)
		}
		tip = n.NewBlock()
		old.connect(t, "bob") // new ones come in
	}
	h.jobOn(patience, tip)
	h.connected()
	if st := ask[poolStats](old, "poolstats"); st.Accepted != 8 || st.Rejected != 0 {
		t.Errorf("%+v", st)
	}
	// And the next attempt succeeds.
	next := old.upgrade(s)
	j, _ := h.jobOn(patience, n.NewBlock())
	if r := h.submit(h.solve(j, targetOf(j))); r != nil {
		t.Errorf("rejected: %v", r)
	}
	if st := ask[poolStats](next, "poolstats"); st.Accepted != 9 || st.Workers != 9 {
		t.Errorf("%+v", st)
	}
	h.connected()
}

func TestHandoverRefused(t *testing.T) {
	t.Parallel()
	_, s, old, h := startRare(t, "alice")
	for name, v := range map[string]struct {
		s    setup
		want string
	}{
		"other mode":   {setup{solo: true, nodes: s.nodes}, "this is a solo, the running instance a pool"},
		"nonce1length": {setup{nodes: s.nodes, keys: keys{"nonce1length": 5}}, "nonce1length is 5, in the running instance 4"},
		"nonce2length": {setup{nodes: s.nodes, keys: keys{"nonce2length": 4}}, "nonce2length is 4, in the running instance 8"},
		"wrong chain":  {setup{nodes: s.nodes, keys: keys{"btcaddress": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"}}, "btcaddress"},
		"no node":      {setup{nodes: []keys{{"url": "127.0.0.1:1", "auth": "u", "pass": "p"}}}, "no node has given a template"},
	} {
		var fail func(string) error
		if name == "no node" { // would last until the time is up
			fail = func(step string) error {
				if step == "copied" {
					return errors.New("enough")
				}
				return nil
			}
			v.want = ""
		}
		_, err := old.succeed(v.s, fail)
		if err == nil || !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: %v, want %q", name, err, v.want)
		}
	}
	j := h.job()
	if r := h.submit(h.solve(j, targetOf(j))); r != nil {
		t.Errorf("rejected: %v", r)
	}
	h.connected()
}

// A block that is undecided when the process changes is followed by the new
// one, which also ends its round.
func TestHandoverWithBlockUnderWay(t *testing.T) {
	t.Parallel()
	n, s, old, h := startRare(t, "alice.rig1")
	n.SetFault(fakenode.Fault{Kind: fakenode.WorkQueue, Methods: []string{"submitblock"}, Times: 1000})
	found := h.findBlock()
	old.block(found.hash, "pending")
	next, err := old.succeed(s, func(step string) error {
		if step == "yours" {
			n.SetFault(fakenode.Fault{})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	next.block(found.hash, "confirmed 1")
	eventually(t, patience, "a new round", func() bool { return ask[poolStats](next, "poolstats").Accepted == 0 })
	if k := next.log.count("Solved and confirmed block"); k != 1 {
		t.Errorf("solved %d times", k)
	}
	for range 5 {
		n.NewBlock()
	}
	next.block(found.hash, "confirmed 6")
	eventually(t, patience, "no file is left", func() bool { return len(next.saved()) == 0 })
	h.connected()
}

// Miners with TLS connect again and go on with their extranonce1.
func TestHandoverOfTLS(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	old := secure(t, n, true, false, nil)
	var listeners any
	for _, l := range old.config.Servers {
		listeners = []keys{{"url": "127.0.0.1:1", "tls": keys{"cert": l.TLSCert, "key": l.TLSKey}}}
	}
	endpoint := client.Endpoint{URL: "stratum+ssl://" + old.addr, User: "alice.rig1", Password: "x"}
	h := connectTo(t, endpoint, through(""))
	j := h.job()
	found := h.solve(j, targetOf(j))
	if r := h.submit(found); r != nil {
		t.Fatalf("rejected: %v", r)
	}
	next := old.upgrade(setup{nodes: []keys{fakeEntry(n)}, keys: keys{"serverurl": listeners}})
	eventually(t, patience, "it is sent away", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.closed != nil
	})
	o := through("")
	o.SessionID = j.Extranonce.SessionID
	again := connectTo(t, endpoint, o)
	k := again.job()
	if fmt.Sprintf("%x", k.Extranonce.Extranonce1) != fmt.Sprintf("%x", j.Extranonce.Extranonce1) {
		t.Errorf("extranonce1 %x, was %x", k.Extranonce.Extranonce1, j.Extranonce.Extranonce1)
	}
	if r := again.submit(again.solve(k, targetOf(k))); r != nil {
		t.Errorf("rejected: %v", r)
	}
	if next.addr != old.addr {
		t.Errorf("listens on %s, was %s", next.addr, old.addr)
	}
}

// A miner that is still behind the door when the process changes comes in.
func TestHandoverOfGuests(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	old := secure(t, n, false, true, nil)
	waiting, err := net.Dial("tcp", old.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if _, err := waiting.Write([]byte("PROXY TCP6 2001:db8::9 ::1 56506 ")); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "a guest", func() bool {
		return strings.Contains(old.command("connectorstats"), `"clients"`)
	})
	next := old.upgrade(setup{nodes: []keys{fakeEntry(n)}, keys: keys{"serverurl": []keys{{"url": "127.0.0.1:1", "proxy_protocol": true}}}})
	if _, err := waiting.Write([]byte("3333\r\n" + `{"id":1,"method":"mining.subscribe","params":[]}` + "\n")); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, 10)
	_ = waiting.SetReadDeadline(time.Now().Add(patience))
	if _, err := waiting.Read(reply); err != nil {
		t.Errorf("no reply: %v", err)
	}
	type clients struct{ Clients []struct{ Address string } }
	if all := ask[clients](next, "clients").Clients; len(all) != 1 || all[0].Address != "2001:db8::9" {
		t.Errorf("clients %+v", all)
	}
}
