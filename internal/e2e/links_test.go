package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"ckpool/internal/netserver"
	"ckpool/internal/relay"
	"ckpool/internal/testkit"
	"ckpool/internal/testkit/fakenode"
	"ckpool/internal/testkit/wait"
	"ckpool/poolproto"
	"ckpool/stratum/client"
)

// edge is a running passthrough or redirector.
type edge struct {
	addr   string
	server *netserver.Server
	log    *lines
	stop   func()
}

// startEdge runs an Edge before pools until the end of the test.
func startEdge(t *testing.T, dialect int, o relay.EdgeOptions, pools ...string) *edge {
	t.Helper()
	e := &edge{log: newLines()}
	for _, addr := range pools {
		o.Uplinks = append(o.Uplinks, relay.Uplink{Endpoint: client.Endpoint{URL: addr}, Dialect: dialect})
	}
	o.Program, o.Events = "ckpool/test", e.log.add
	made := relay.NewEdge(o)
	var err error
	e.server, err = netserver.New(netserver.Config{Loops: 2, Descriptors: 4096, LimitExempt: nil, Events: e.log.add}, made.Handler)
	if err != nil {
		t.Fatal(err)
	}
	made.Attend(e.server)
	if _, err := e.server.ListenAll(t.Context(), []netserver.Endpoint{{URL: "127.0.0.1:0"}, {URL: "[::1]:0"}}); err != nil {
		t.Fatal(err)
	}
	e.addr = e.server.Listeners()[0].Addrs[0].String()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { made.Run(ctx) })
	running.Go(func() {
		if err := e.server.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	e.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(func() {
		e.stop()
		if t.Failed() {
			t.Logf("log of the edge:\n%s", e.log.text())
		}
	})
	return e
}

// connect is a miner of an edge.
func (e *edge) connect(t *testing.T, user string) *hand {
	t.Helper()
	e.log.wait(t, 0, "serves the miners")
	return connectTo(t, client.Endpoint{URL: e.addr, User: user, Password: "x"}, client.Options{VersionMask: 0xffffffff})
}

// dialects are run by every test of what both can.
func eachDialect(t *testing.T, test func(t *testing.T, dialect int)) {
	for dialect, name := range []string{"C", "short"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, dialect)
		})
	}
}

// A miner behind a passthrough is one of the pool's like any other: its shares count, its
// address is its own, and when it has left it is gone at once.
func TestP1Passthrough(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect int) {
		_, p, _ := startFake(t)
		e := startEdge(t, dialect, relay.EdgeOptions{}, p.addr)
		h := e.connect(t, "bob.rig")
		for range 4 {
			j := h.job()
			if reject := h.submit(h.solve(j, targetOf(j))); reject != nil {
				t.Fatal(reject)
			}
		}
		if n := ask[struct{ Users []struct{ User string } }](p, "users"); len(n.Users) != 2 {
			t.Errorf("users %+v", n)
		}
		wait.Until(t, patience, "credit", func() bool { return p.credited("bob") > 0 })
	})
}

// link is the other end of a link of a pool, by hand.
type link struct {
	*raw
}

// link makes one.
func (r *running) link(t *testing.T, hello string) link {
	t.Helper()
	l := link{r.rawFrom(t, "127.0.0.1")}
	l.say(hello)
	return l
}

const helloC = `{"method": "mining.passthrough", "params": ["ckpool\/0.9.9"]}`

func (l link) say(format string, args ...any) {
	l.t.Helper()
	if _, err := fmt.Fprintf(l, format+"\n", args...); err != nil {
		l.t.Fatal(err)
	}
}

func (l link) next() string {
	l.t.Helper()
	line, err := l.read.ReadString('\n')
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

// tagged is the next line with a tag for a channel; others are passed over.
func (l link) tagged(tag string, channel int) map[string]json.RawMessage {
	l.t.Helper()
	for {
		line := l.next()
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			l.t.Fatalf("%q: %v", line, err)
		}
		if string(m["node.method"]) == `"`+tag+`"` && string(m["client_id"]) == fmt.Sprint(channel) {
			return m
		}
	}
}

var _ = net.ParseIP
var _ = time.Second
var _ = testkit.FakeNodeUser
var _ = fakenode.Config{}
var _ = poolproto.Dialect
