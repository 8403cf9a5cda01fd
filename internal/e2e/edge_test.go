package e2e

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
)

// crewAt are miners at an address.
func crewAt(t *testing.T, addr string, hashRate float64, users ...string) *crew {
	return (&running{t: t, addr: addr}).mine(t, hashRate, users...)
}

// reconnects waits until the miner has been told to connect elsewhere.
func (h *hand) reconnects(to string) {
	h.t.Helper()
	eventually(h.t, patience, "sent to "+to, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.sentOn) > 0 && h.sentOn[0] == to
	})
}

// stays fails the test if the miner has been told to connect elsewhere.
func (h *hand) stays() {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.sentOn) > 0 {
		h.t.Errorf("sent to %s", h.sentOn)
	}
}

// A better pool that fails is followed by the next, and comes back after the hold. Nobody is
// left at the other, and every miner mines in between.
func TestP6Failover(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect int) {
		_, _, a, _ := startRare(t, "alice")
		_, _, b, _ := startRare(t, "alice")
		toA := startWay(t, a.addr)
		e := startEdge(t, dialect, relay.EdgeOptions{Hold: time.Second / 2}, toA.addr, b.addr)
		h := e.connect(t, "bob.rig")
		h.share()
		if _, here := a.clients()["bob.rig"]; !here {
			t.Fatal("not at the first pool")
		}
		began := time.Now()
		toA.close(true)
		h.reconnects(":0")
		h.closes()
		if took := time.Since(began); took > 8*time.Second+quick {
			t.Errorf("closed after %v", took)
		}
		a.gone("bob.rig")
		h = e.connect(t, "bob.rig")
		h.share()
		if _, here := b.clients()["bob.rig"]; !here {
			t.Fatal("not at the second pool")
		}
		from := e.log.wait(t, 0, b.addr+" serves the miners")
		toA.close(false)
		e.log.wait(t, from, toA.addr+" serves the miners")
		h.closes()
		b.gone("bob.rig")
		h = e.connect(t, "bob.rig")
		h.share()
		if _, here := a.clients()["bob.rig"]; !here {
			t.Error("not back at the first pool")
		}
	})
}

// Without any pool miners are closed within 2 s and refused until there is one again, and
// then served soon.
func TestP8NoPool(t *testing.T) {
	t.Parallel()
	_, _, p, _ := startRare(t, "alice")
	way := startWay(t, p.addr)
	e := startEdge(t, poolproto.Dialect, relay.EdgeOptions{}, way.addr)
	h := e.connect(t, "bob.rig")
	began := time.Now()
	way.close(true)
	h.closes()
	if took := time.Since(began); took > 2*time.Second+quick {
		t.Errorf("closed after %v", took)
	}
	c, err := client.Dial(t.Context(), client.Endpoint{URL: e.addr, User: "bob.rig"}, client.Options{HandshakeTimeout: patience})
	if err == nil {
		c.Close()
		t.Error("not refused")
	}
	from := e.log.wait(t, 0, "cannot be linked to")
	way.close(false)
	began = time.Now()
	e.log.wait(t, from, "serves the miners")
	e.connect(t, "bob.rig").share()
	if took := time.Since(began); took > 6*time.Second+quick {
		t.Errorf("served after %v", took)
	}
}

// Two pools that miners are sent on to.
var elsewhere = []string{"eu.pool.example:3333", "us.pool.example:3334"}

// redirector starts one before a pool.
func redirector(t *testing.T, dialect int) *edge {
	t.Helper()
	_, _, p, _ := startRare(t, "alice")
	e := startEdge(t, dialect, relay.EdgeOptions{Redirect: elsewhere}, p.addr)
	e.log.wait(t, 0, "serves the miners")
	return e
}

// from is a miner at an edge from an address.
func (e *edge) from(t *testing.T, ip, user string) *hand {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	return connectTo(t, client.Endpoint{URL: e.addr, User: user, Password: "x"}, client.Options{Dial: d.DialContext})
}

// A miner whose share is accepted is answered, and then sent on, with the port as a text.
func TestR1Redirect(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect int) {
		e := redirector(t, dialect)
		way := startWay(t, e.addr)
		h := connectTo(t, client.Endpoint{URL: way.addr, User: "bob.1", Password: "x"}, client.Options{})
		h.stays()
		h.share()
		h.reconnects(elsewhere[0])
		h.connected() // who does not go is served on
		h.share()
		want := regexp.MustCompile(`(?s)\{"result":true,"error":null,"id":\d+\}\n\{"id":null,"method":"client.reconnect","params":\["eu.pool.example","3333",0\]\}\n`)
		if text := way.text(); !want.MatchString(text) || strings.Count(text, "client.reconnect") != 1 {
			t.Error(text)
		}
	})
}

// Others of the same address are sent to the same pool as soon as they have logged in, those
// of another address in turn to the next one, and all that is so for whoever comes later.
func TestR2R3Addresses(t *testing.T) {
	t.Parallel()
	e := redirector(t, poolproto.Dialect)
	for i, want := range []string{elsewhere[0], elsewhere[1], elsewhere[0]} {
		ip := fmt.Sprintf("127.0.0.%d", i+1)
		h := e.from(t, ip, "bob.1")
		h.stays()
		h.share()
		h.reconnects(want)
		e.from(t, ip, "bob.2").reconnects(want)
	}
	e.from(t, "127.0.0.1", "bob.3").reconnects(elsewhere[0])
}

// A miner whose shares are refused, or who only logs in, stays.
func TestR4BadShares(t *testing.T) {
	t.Parallel()
	e := redirector(t, poolproto.Dialect)
	h := e.connect(t, "bob.1")
	for range 5 {
		s := h.solve(h.job(), targetOf(h.job()))
		s.NTime += 1 << 20
		if reject := h.submit(s); reject == nil {
			t.Fatal("accepted")
		}
	}
	h.stays()
	other := e.connect(t, "bob.2")
	other.job()
	other.stays()
}

// The table of redirects outlives the edge, and a damaged one is refused.
func TestRedirectsFile(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/redirects.json"
	made := relay.NewEdge(relay.EdgeOptions{Redirect: elsewhere})
	defer made.Close()
	if err := os.WriteFile(file, []byte(`{"next":1,"aged":1795327613,"pools":{"127.0.0.1":"us.pool.example:3334"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := made.LoadRedirects(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(`{"next":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := made.LoadRedirects(file); err == nil {
		t.Error("half a file is taken")
	}
}

// A link that is cut again and again under load costs no miner its connection, and no share
// that a miner was told is accepted is lost or counted twice.
func TestLinkCutUnderLoad(t *testing.T) {
	t.Parallel()
	s := setup{nodes: []keys{fakeEntry(testkit.StartFakeNode(t, fakenode.Config{Bits: 0x1d00ffff}))}, keys: keys{"mindiff": 1e-8, "maxdiff": 1e-8}}
	p := s.start(t)
	way := startWay(t, p.addr)
	e := startEdge(t, poolproto.Dialect, relay.EdgeOptions{}, way.addr)
	e.log.wait(t, 0, "serves the miners")
	var users []string
	for i := range 8 {
		users = append(users, fmt.Sprint("bob.", i))
	}
	c := crewAt(t, e.addr, 1000, users...)
	var longest time.Duration // without a link
	for range 8 {
		more := len(c.all()) + 40
		eventually(t, patience, "shares", func() bool { return len(c.all()) >= more })
		from := 0 // behind the last line of a link that serves
		for range e.log.count("serves the miners") {
			from = e.log.wait(t, from, "serves the miners")
		}
		cut := time.Now()
		way.cut()
		e.log.wait(t, from, "serves the miners")
		longest = max(longest, time.Since(cut))
	}
	c.stop()
	var accepted, duplicate, open int64
	for _, s := range c.all() {
		switch {
		case s.Err != nil:
			open++
		case s.Reject == nil:
			accepted++
		case s.Reject.Code == stratum.Duplicate: // its answer was cut off, and it was asked again
			duplicate++
		default:
			t.Errorf("share: %v", s.Reject)
		}
	}
	for _, lost := range c.lost {
		if longest < time.Second { // a machine that is too slow to link again in time closes them
			t.Errorf("a miner lost its connection: %v", lost)
		}
	}
	st := ask[control.PoolStats](p, "poolstats")
	t.Logf("%d accepted, %d duplicate, %d without an answer; the pool has %d", accepted, duplicate, open, st.AcceptedCount)
	if n := st.AcceptedCount; n < accepted || n > accepted+duplicate+open || accepted < 300 {
		t.Errorf("the pool has %d", n)
	}
}
