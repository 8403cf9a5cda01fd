//go:build linux

package netserver

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("NETSERVER_TEST_ROLE"); role != "" {
		os.Exit(roles[role]())
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of these tests.
const patience = time.Minute

// probe is a Handler made of functions, and counts what it is called with.
type probe struct {
	l     *Loop
	open  func(p *probe, s Slot)
	line  func(p *probe, s Slot, line []byte) // default: echo
	long  func(p *probe, s Slot)
	step  func(p *probe) bool
	tick  func(p *probe)
	flush func(p *probe)

	rec     *record
	flushes atomic.Int64 // iterations, about
	echo    []byte
}

// record is what all loops of a test have seen.
type record struct {
	mu     sync.Mutex
	opened int
	closed map[Reason]int
	double []string // broken promises
	isOpen map[string]bool
	events []string
	drops  []Drop
}

func newRecord() *record {
	return &record{closed: make(map[Reason]int), isOpen: make(map[string]bool)}
}

func (r *record) event(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e.Text)
	if d, ok := e.What.(Drop); ok {
		r.drops = append(r.drops, d)
	}
}

func (r *record) eventsWith(part string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if strings.Contains(e, part) {
			n++
		}
	}
	return n
}

func (r *record) closes(why Reason) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed[why]
}

func (r *record) openCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.isOpen)
}

func (p *probe) Open(s Slot, remote netip.AddrPort, _ int) {
	p.rec.mu.Lock()
	key := fmt.Sprint(p.l.Index(), "/", s)
	p.rec.opened++
	if p.rec.isOpen[key] {
		p.rec.double = append(p.rec.double, "opened twice: "+key)
	}
	p.rec.isOpen[key] = true
	p.rec.mu.Unlock()
	if got := p.l.Remote(s); got != remote || !p.l.Open(s) {
		p.rec.event(event.Event{Text: fmt.Sprintf("BROKEN: Remote is %v, opened as %v", got, remote)})
	}
	if p.open != nil {
		p.open(p, s)
	}
}

func (p *probe) Line(s Slot, line []byte) {
	if p.line != nil {
		p.line(p, s, line)
		return
	}
	p.echo = append(append(p.echo[:0], line...), '\n')
	p.l.Write(s, p.echo)
}

func (p *probe) TooLong(s Slot) {
	if p.long != nil {
		p.long(p, s)
	}
}

func (p *probe) Closed(s Slot, why Reason) {
	p.rec.mu.Lock()
	defer p.rec.mu.Unlock()
	key := fmt.Sprint(p.l.Index(), "/", s)
	if !p.rec.isOpen[key] {
		p.rec.double = append(p.rec.double, "closed, not open: "+key)
	}
	delete(p.rec.isOpen, key)
	p.rec.closed[why]++
}

func (p *probe) Flush() {
	p.flushes.Add(1)
	if p.flush != nil {
		p.flush(p)
	}
}

func (p *probe) Step() bool { return p.step != nil && p.step(p) }

func (p *probe) Tick(time.Time) {
	if p.tick != nil {
		p.tick(p)
	}
}

// running is a server under test.
type running struct {
	*Server
	t      *testing.T
	rec    *record
	probes []*probe
	addr   string
	stop   func() // ends it and waits
}

// ownAddress is a loopback address that no other test listens on: a client of
// another one that tries its old port again takes no place here.
const ownAddress = "127.77.0.1:0"

// start runs a server on ownAddress until the test ends. set changes each
// loop's probe, prepare the server before it runs; both may be nil.
func start(t *testing.T, c Config, set func(p *probe), prepare func(s *Server)) *running {
	t.Helper()
	r := &running{t: t, rec: newRecord()}
	c.Events = r.rec.event
	s, err := New(c, func(l *Loop) Handler {
		p := &probe{l: l, rec: r.rec}
		if set != nil {
			set(p)
		}
		r.probes = append(r.probes, p)
		return p
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Server = s
	if _, err := s.Listen(t.Context(), ownAddress); err != nil {
		t.Fatal(err)
	}
	r.addr = s.Listeners()[0].Addrs[0].String()
	if prepare != nil {
		prepare(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		r.rec.mu.Lock()
		defer r.rec.mu.Unlock()
		if len(r.rec.double) > 0 || len(r.rec.isOpen) > 0 {
			t.Errorf("Open and Closed do not match: %q, never closed %v", r.rec.double, r.rec.isOpen)
		}
		for _, e := range r.rec.events {
			if strings.HasPrefix(e, "BROKEN") {
				t.Error(e)
			}
		}
		if n := s.held.Load(); n != 0 {
			t.Errorf("%d places still held after the end", n)
		}
		if n := len(s.limits.clients); n != 0 {
			t.Errorf("limiter still counts %d addresses", n)
		}
		if st := s.Stats(); st.Clients != 0 || st.BacklogClients != 0 || st.BacklogBytes != 0 {
			t.Errorf("gauges are not back to zero: %+v", st)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// client is a miner's end.
type client struct {
	*net.TCPConn
	t *testing.T
	r *bufio.Reader
}

func (r *running) dial() *client { return dialFrom(r.t, r.addr, "", 0) }

// dialSlow is a client with small buffers.
func (r *running) dialSlow() *client {
	return dialFrom(r.t, r.addr, "", 16<<10)
}

// smallSendBuffer makes the server feel a slow client soon.
func smallSendBuffer(p *probe, s Slot) {
	_ = unix.SetsockoptInt(int(p.l.slab.at(s).fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 4096)
}

// dialFrom connects from a local address, with a receive buffer, if given.
func dialFrom(t *testing.T, addr, local string, buffer int) *client {
	t.Helper()
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) error {
		if buffer == 0 {
			return nil
		}
		var failed error // before the handshake, which tells the window
		if err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
		}); err != nil {
			return err
		}
		return failed
	}}
	if local != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
	}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	tc := c.(*net.TCPConn)
	_ = tc.SetLinger(0) // no TIME_WAIT
	_ = tc.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { tc.Close() })
	return &client{TCPConn: tc, t: t, r: bufio.NewReader(tc)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// line reads one line, without its LF.
func (c *client) line() string {
	c.t.Helper()
	s, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("reading a line: %v after %q", err, s)
	}
	return strings.TrimSuffix(s, "\n")
}

func (c *client) wantLine(want string) {
	c.t.Helper()
	if got := c.line(); got != want {
		c.t.Fatalf("line is %q, want %q", got, want)
	}
}

// rest reads to the end.
func (c *client) rest() (string, error) {
	var b strings.Builder
	_, err := c.r.WriteTo(&b)
	return b.String(), err
}

// eventually waits for ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	wait.Until(t, patience, what, ok)
}

// onLoop runs fn on a loop and waits for it.
func onLoop(l *Loop, fn func()) {
	done := make(chan struct{})
	l.Post(func() { fn(); close(done) })
	<-done
}
