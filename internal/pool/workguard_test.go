package pool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/operator"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
)

// newPool is a pool that does not run, with one node.
func newPool(t *testing.T, node string) *Pool {
	t.Helper()
	return newPoolIn(t, t.TempDir(), node)
}

// newPoolIn is newPool with what an earlier run has left in its directory.
func newPoolIn(t *testing.T, dir, node string) *Pool {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"btcd": []any{map[string]any{"url": node, "auth": "user", "pass": "pass"}}, "drop_without_work": 300,
		"btcaddress": "bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt", "logdir": dir, "serverurl": []string{"127.0.0.1:3333"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Parse("ckpool.conf", text, config.Pool)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(c, Options{Wants: func(event.Level) bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// patience is how long the tests wait for what has no limit of its own.
const patience = time.Minute

// Miners are closed when no node has been usable for the whole time at a
// stretch, and not when it was away several times for a part of it.
func TestGuardWork(t *testing.T) {
	node, err := fakenode.Start(fakenode.Config{Chain: "regtest", User: "user", Password: "pass"})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	p := newPool(t, node.Addr())
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- p.source.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	usable := func(want bool) {
		t.Helper()
		if want {
			node.ClearFault()
		} else {
			node.SetFault(fakenode.Fault{Kind: fakenode.Cut})
		}
		for deadline := time.Now().Add(patience); p.source.Usable() != want; {
			if time.Now().After(deadline) {
				t.Fatalf("the node is usable: %v, after %v: %+v", !want, patience, p.source.Status())
			}
			<-time.After(5 * time.Millisecond)
		}
	}

	ended, cancelled := context.WithCancel(t.Context())
	cancelled() // there are no miners to wait for
	g := workGuard{pool: p}
	at := func(second int, dropped bool) {
		t.Helper()
		g.look(ended, start.Add(time.Duration(second)*time.Second))
		if g.dropped != dropped {
			t.Errorf("second %d: miners are refused: %v", second, g.dropped)
		}
	}
	usable(true)
	at(0, false)
	usable(false)
	at(1, false)
	at(300, false)
	usable(true)
	at(301, false)
	usable(false)
	at(302, false)
	at(601, false)
	at(602, true)
	at(900, true)
	usable(true)
	at(901, false)
	usable(false)
	at(902, false)
	at(1201, false)
	at(1202, true)
}

// Where work comes from other pools, these are what is told of.
func TestGuardWorkOfProxy(t *testing.T) {
	text := fmt.Appendf(nil, `{"proxy": [{"url": "127.0.0.1:1", "auth": "farm"}], "logdir": %q, "serverurl": ["127.0.0.1:3333"]}`, t.TempDir())
	c, _, err := config.Parse("ckproxy.conf", text, config.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	p, err := New(c, Options{Proxy: true, Wants: func(event.Level) bool { return false }, Events: func(e event.Event) { said = append(said, e.Text) }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	said = nil
	g := workGuard{pool: p}
	g.look(ended, start)
	g.look(ended, start.Add(c.DropWithoutWork))
	if want := []string{"No usable upstream for 5m0s: 0 miners closed so that they go to their other pools, new ones are refused until one is usable"}; !slices.Equal(said, want) {
		t.Errorf("%q", said)
	}
}

// Who connects after reject is left to a process that was given the listening
// socket, but not for ever: a miner in the queue of one that never takes over is
// closed.
func TestRejectLeavesToTakeover(t *testing.T) {
	p := newPool(t, "127.0.0.1:1")
	if _, err := p.server.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- p.server.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	// closed dials and tells whether the connection ends within a time.
	closed := func(within time.Duration) bool {
		t.Helper()
		c, err := net.Dial("tcp", p.server.Listeners()[0].Addrs[0].String())
		if err != nil {
			return errors.Is(err, syscall.ECONNRESET) // that quickly
		}
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(within))
		_, err = c.Read(make([]byte, 1))
		return !errors.Is(err, os.ErrDeadlineExceeded)
	}
	const short = 50 * time.Millisecond

	p.admission.GaveSocket()
	p.admission.Reject(true)
	said := time.Now()
	p.admission.EndTakeover(said.Add(operator.TakeoverTime - time.Second))
	if closed(short) {
		t.Error("a connection is not left to the other process")
	}
	p.admission.EndTakeover(said.Add(operator.TakeoverTime))
	if !closed(patience) {
		t.Error("a miner waits for a process that does not take over")
	}
	p.admission.EndTakeover(said.Add(time.Hour))
	p.admission.WithoutWork(true)
	p.admission.WithoutWork(false)
	if !closed(patience) || p.server.Stats().Drops[netserver.Rejecting] < 2 {
		t.Errorf("not closed as rejected: %v", p.server.Stats().Drops)
	}
	p.admission.Reject(false)
	if closed(short) {
		t.Error("a connection is closed after accept")
	}
}
