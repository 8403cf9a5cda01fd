package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum/client"
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
		o.Uplinks = append(o.Uplinks, relay.Uplink{Endpoint: client.Endpoint{URL: addr}, Dialect: dialect, Secret: func() string { return "" }})
	}
	o.Program, o.MovesPerSecond, o.Events = "ckpool/test", 2000, e.log.add
	o.Workless = func(workless bool) {
		if workless {
			e.server.Refuse(netserver.NoWork)
		} else {
			e.server.Admit()
		}
	}
	made := relay.NewEdge(o)
	var err error
	e.server, err = netserver.New(netserver.Config{Loops: 2, Descriptors: 4096, LimitExempt: nil, Events: e.log.add}, made.Handler)
	if err != nil {
		t.Fatal(err)
	}
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

// clients are the sessions of a pool, by worker.
func (r *running) clients() map[string]control.Connection {
	r.t.Helper()
	list := map[string]control.Connection{}
	for _, c := range ask[struct{ Clients []control.Connection }](r, "clients").Clients {
		list[c.Worker] = c
	}
	return list
}

// gone waits until no session of a pool has a worker.
func (r *running) gone(worker string) {
	r.t.Helper()
	eventually(r.t, patience, worker+" is gone", func() bool {
		_, here := r.clients()[worker]
		return !here
	})
}

// share has a miner submit a share that is to be accepted.
func (h *hand) share() {
	h.t.Helper()
	j := h.job()
	if reject := h.submit(h.solve(j, targetOf(j))); reject != nil {
		h.t.Fatal(reject)
	}
}

// A miner behind a passthrough is one of the pool's like any other.
func TestP1Passthrough(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect int) {
		_, _, p, _ := startRare(t, "alice")
		e := startEdge(t, dialect, relay.EdgeOptions{}, p.addr)
		h := e.connect(t, "bob.rig")
		for range 4 {
			h.share()
		}
		if l := ask[control.LinkList](p, "links").Links; len(l) != 1 || l[0].Role != "passthrough" || l[0].Miners != 1 || l[0].Program != "ckpool/test" || l[0].Dialect != int64(dialect) {
			t.Errorf("links %+v", l)
		}
		if c := p.clients()["bob.rig"]; c.Address != "127.0.0.1" || c.UserAgent != "e2e/1" || c.BestDifficulty == 0 {
			t.Errorf("session %+v", c)
		}
	})
}

// What a pool of another generation sees and says, to the byte.
func TestP1Lines(t *testing.T) {
	t.Parallel()
	_, _, p, _ := startRare(t, "alice")
	l := p.link(t, helloC)
	if got := l.next(); got != `{"result":true}` {
		t.Fatalf("answer %s", got)
	}
	l.say(`{"id":1,"method":"mining.subscribe","params":["miner/1"],"client_id":12,"address":"192.0.2.7","server":0}`)
	sub := l.next()
	if !regexp.MustCompile(`^\{"result":\[\[\["mining.notify","[0-9a-f]{16}"\]\],"[0-9a-f]{8}",8\],"error":null,"id":1,"node.method":"subscribe.result","client_id":12\}$`).MatchString(sub) {
		t.Errorf("subscribe: %s", sub)
	}
	for _, want := range []string{
		`^\{"params":\[1e-08\],"id":null,"method":"mining.set_difficulty","node.method":"diff","client_id":12\}$|^\{"params":\[0.00000001\],"id":null,"method":"mining.set_difficulty","node.method":"diff","client_id":12\}$`,
		`^\{"params":\["[0-9a-f]{16}",.*,true\],"id":null,"method":"mining.notify","node.method":"update","client_id":12\}$`,
	} {
		if got := l.next(); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s is not as %s", got, want)
		}
	}
	l.say(`{"id":"x","method":"mining.authorize","params":["carol.1","x"],"client_id":12,"address":"192.0.2.7","server":0}`)
	if got := l.tagged("auth.result", 12); string(got["result"]) != "true" || string(got["id"]) != `"x"` {
		t.Errorf("authorize: %s", got)
	}
	l.say(`{"id":3,"method":"mining.submit","params":["carol.1","ffffffffffffffff","0000000000000000","00000000","00000000"],"client_id":12,"address":"192.0.2.7","server":0}`)
	if got := l.tagged("share.result", 12); string(got["result"]) != "false" {
		t.Errorf("share: %s", got)
	}
	l.say(`{"id":4,"method":"mining.frobnicate","params":[],"client_id":12,"address":"192.0.2.7","server":0}`)
	l.tagged("error", 12)
	l.say(`{"id":5,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}],"client_id":12,"address":"192.0.2.7","server":0}`)
	l.tagged("mining.configure", 12)
	if c := p.clients()["carol.1"]; c.Address != "192.0.2.7" || c.UserAgent != "miner/1" {
		t.Errorf("session %+v", c)
	}
	l.say(`{"id":42,"client_id":12,"address":"192.0.2.7","server":0,"method":"mining.term","params":[]}`)
	p.gone("carol.1")
}

// A miner that leaves is gone at the pool at once; one that the pool closes is closed.
func TestP2Leave(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect int) {
		_, _, p, _ := startRare(t, "alice")
		e := startEdge(t, dialect, relay.EdgeOptions{}, p.addr)
		h := e.connect(t, "bob.rig")
		h.client.Close()
		p.gone("bob.rig")
		other := e.connect(t, "bob.two")
		p.command(fmt.Sprintf("dropclient=%d", p.clients()["bob.two"].ID))
		other.closes()
		p.gone("bob.two")
	})
}

// A miner that asks for transactions before it has subscribed is closed, and so is one that
// the pool does not know: it has to connect again.
func TestP3P7Unknown(t *testing.T) {
	t.Parallel()
	_, _, p, _ := startRare(t, "alice")
	e := startEdge(t, 0, relay.EdgeOptions{}, p.addr)
	e.log.wait(t, 0, "serves the miners")
	for _, line := range []string{
		`{"id":1,"method":"mining.get_transactions","params":["0"]}`,
		`{"id":1,"method":"mining.submit","params":["bob","0","0","0","0"]}`,
	} {
		c, err := net.Dial("tcp", e.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintln(c, line)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if got, err := io.ReadAll(c); err != nil {
			t.Errorf("%s: %q, %v: not closed", line, got, err)
		}
	}
	l := p.link(t, helloC)
	l.next()
	l.say(`{"id":1,"method":"mining.submit","params":["bob","0","0","0","0"],"client_id":77,"address":"192.0.2.7","server":0}`)
	if got := l.next(); got != "dropclient=77" {
		t.Errorf("%s, want dropclient=77", got)
	}
}

// The pool's list has miners with their own addresses, of either family.
func TestP4Addresses(t *testing.T) {
	t.Parallel()
	_, _, p, _ := startRare(t, "alice")
	e := startEdge(t, poolproto.Dialect, relay.EdgeOptions{}, p.addr)
	e.log.wait(t, 0, "serves the miners")
	for i, from := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		at := e.server.Listeners()[i/2].Addrs[0].String()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		connectTo(t, client.Endpoint{URL: at, User: fmt.Sprintf("bob.%d", i)}, client.Options{Dial: dialer.DialContext})
		if c := p.clients()[fmt.Sprintf("bob.%d", i)]; c.Address != from {
			t.Errorf("from %s: %+v", from, c)
		}
	}
}

// New work reaches every miner behind a link. In our own dialect it goes over it once.
func TestP5Work(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect int) {
		n, _, p, _ := startRare(t, "alice")
		e := startEdge(t, dialect, relay.EdgeOptions{}, p.addr)
		var miners []*hand
		for i := range 5 {
			miners = append(miners, e.connect(t, fmt.Sprint("bob.", i)))
		}
		hash := n.NewBlock()
		for _, h := range miners {
			h.jobOn(patience, hash)
			h.share()
		}
	})
}

// A link that is cut and made again is not noticed by its miners: the pool knows their
// sessions, and what they were owed they are answered.
func TestLinkCut(t *testing.T) {
	t.Parallel()
	_, _, p, _ := startRare(t, "alice")
	way := startWay(t, p.addr)
	e := startEdge(t, poolproto.Dialect, relay.EdgeOptions{Patience: patience}, way.addr)
	h := e.connect(t, "bob.rig")
	for range 3 {
		h.share()
		way.cut()
		h.share()
	}
	h.connected()
}

// way is a way to a pool that can be cut.
type way struct {
	addr string

	mu sync.Mutex
	// guarded by mu
	open   map[net.Conn]bool
	closed bool         // nobody gets through
	heard  bytes.Buffer // what has come back
}

func startWay(t *testing.T, to string) *way {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{addr: l.Addr().String(), open: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			w.mu.Lock()
			closed := w.closed
			if !closed {
				w.open[c], w.open[d] = true, true
			}
			w.mu.Unlock()
			if closed {
				c.Close()
				d.Close()
				continue
			}
			for _, ends := range [][2]net.Conn{{c, d}, {d, c}} {
				running.Go(func() {
					from := io.Reader(ends[1])
					if ends[0] == c {
						from = io.TeeReader(d, w)
					}
					_, _ = io.Copy(ends[0], from)
					ends[0].Close()
					ends[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.cut()
		running.Wait()
	})
	return w
}

// Write notes what comes back.
func (w *way) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard.Write(b)
}

// text is what has come back.
func (w *way) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard.String()
}

// close ends all connections, and lets nobody through until it is opened again.
func (w *way) close(closed bool) {
	w.mu.Lock()
	w.closed = closed
	w.mu.Unlock()
	w.cut()
}

// cut ends all connections.
func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		c.Close()
	}
	clear(w.open)
}

// closes waits until the pool has closed the connection.
func (h *hand) closes() {
	h.t.Helper()
	eventually(h.t, patience, "closed", func() bool { return h.ended() != nil })
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
		if strings.HasPrefix(line, "dropclient=") {
			continue
		}
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			l.t.Fatalf("%q: %v", line, err)
		}
		if string(m["node.method"]) == `"`+tag+`"` && string(m["client_id"]) == fmt.Sprint(channel) {
			return m
		}
	}
}

// The pool is upgraded under miners behind links: they do not notice, and nothing that was
// found is lost.
func TestLinksUpgrade(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect int) {
		n, s, p, _ := startRare(t, "alice")
		e := startEdge(t, dialect, relay.EdgeOptions{}, p.addr)
		var miners []*hand
		for i := range 20 {
			miners = append(miners, e.connect(t, fmt.Sprint("bob.", i)))
		}
		for range 3 {
			p = p.upgrade(s)
			for _, h := range miners {
				h.share()
			}
			if got := len(p.clients()); got != 1+len(miners) {
				t.Errorf("%d sessions after an upgrade", got)
			}
		}
		hash := n.NewBlock()
		for _, h := range miners {
			h.jobOn(patience, hash)
			h.share()
			h.connected()
		}
		if strings.Contains(e.log.text(), "is lost") {
			t.Error("the link was lost")
		}
	})
}
