//go:build linux

package netserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/records"
	"github.com/ckpool/ckpool/internal/wire"
)

// moved is one exported connection: its record, and a duplicate of its
// descriptor as another process would receive it.
type moved struct {
	record []byte
	fd     int
}

// exportAll exports every connection of a frozen server.
func exportAll(t *testing.T, f *Frozen) (all []moved) {
	t.Helper()
	var mu sync.Mutex
	f.Each(func(l *Loop) {
		mu.Lock()
		defer mu.Unlock()
		for s := range Movable(l) {
			c := wire.Append(nil)
			fd, _ := Export(l, s, c)
			dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
				return
			}
			all = append(all, moved{c.Written(), dup})
		}
	})
	return all
}

// successor is a server that took over everything, not yet running.
func successor(t *testing.T, from *running, all []moved, c Config) *running {
	t.Helper()
	r := &running{t: t, rec: newRecord()}
	c.Events = r.rec.event
	s, err := New(c, func(l *Loop) Handler {
		p := &probe{l: l, rec: r.rec}
		r.probes = append(r.probes, p)
		return p
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	r.Server = s
	sockets, err := from.Sockets()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Inherit(sockets); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen(t.Context(), ownAddress); err != nil {
		t.Fatal(err)
	}
	if left := s.DropInherited(); len(left) > 0 {
		t.Errorf("listeners not taken: %v", left)
	}
	for i, m := range all {
		l := s.loops[i%len(s.loops)]
		slot, isOpen, err := Import(l, m.fd, wire.Read(m.record), func(i int) int { return i })
		if err != nil {
			t.Fatal(err)
		}
		if isOpen {
			r.rec.isOpen[fmt.Sprint(l.Index(), "/", slot)] = true
		}
	}
	return r
}

// run runs the successor until the test ends.
func (r *running) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Server.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

func freeze(t *testing.T, s *Server) *Frozen {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f, err := s.Freeze(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMoveConnections(t *testing.T) {
	old := start(t, Config{Loops: 2}, nil, nil)
	var clients []*client
	for i := range 20 {
		c := old.dial()
		c.send(fmt.Sprintf("hello %d\nhalf of ", i))
		c.wantLine(fmt.Sprintf("hello %d", i))
		clients = append(clients, c)
	}
	f := freeze(t, old.Server)
	late := old.dial() // waits in the system's queue
	late.send("late\n")
	for i, c := range clients {
		c.send(fmt.Sprintf("line %d\n", i)) // while nobody reads
	}
	all := exportAll(t, f)
	if len(all) != 20 {
		t.Fatalf("%d connections exported", len(all))
	}
	s := successor(t, old, all, Config{Loops: 3})
	old.rec.isOpen = map[string]bool{}
	f.Release()
	old.stop()
	s.run()
	for i, c := range clients {
		c.wantLine(fmt.Sprintf("half of line %d", i))
	}
	late.wantLine("late")
	if n := s.Clients(); n != 21 {
		t.Errorf("%d clients", n)
	}
}

// What a slow client has not been sent goes along, the part it may still be
// spared included.
func TestMoveBacklog(t *testing.T) {
	reply := strings.Repeat("r", 1<<20) + "\n"
	old := start(t, Config{Loops: 1, Backlog: 8 << 20}, func(p *probe) {
		p.open = smallSendBuffer
		p.line = func(p *probe, s Slot, _ []byte) {
			p.l.Write(s, []byte(reply))
			p.l.WriteWork(s, []byte("old job\n"), 1)
			p.l.Write(s, []byte("an answer\n"))
			p.l.WriteWork(s, []byte("older job\n"), 2)
		}
	}, nil)
	c := old.dialSlow()
	c.send("x\n")
	eventually(t, "a backlog", func() bool { return old.Stats().BacklogClients == 1 })
	f := freeze(t, old.Server)
	s := successor(t, old, exportAll(t, f), Config{Loops: 1})
	old.rec.isOpen = map[string]bool{}
	f.Release()
	old.stop()
	if tag := s.loops[0].DropWork(0); tag != 3 {
		t.Errorf("tags of the dropped work are %d", tag)
	}
	s.loops[0].WriteWork(0, []byte("new job\n"), 1)
	s.run()
	c.wantLine(strings.TrimSuffix(reply, "\n"))
	c.wantLine("an answer")
	c.wantLine("new job")
	eventually(t, "no backlog", func() bool { return s.Stats().BacklogClients == 0 && s.Stats().BacklogBytes == 0 })
	c.send("x\n")
	c.wantLine("x")
}

func TestThaw(t *testing.T) {
	old := start(t, Config{Loops: 2}, nil, nil)
	c := old.dial()
	c.send("half ")
	for range 3 {
		f := freeze(t, old.Server)
		for _, m := range exportAll(t, f) {
			unix.Close(m.fd)
		}
		c.send("more ")
		f.Thaw()
	}
	c.send("end\n")
	c.wantLine("half more more more end")
	late := old.dial()
	late.send("x\n")
	late.wantLine("x")
}

// Functions posted before the end of the freezing have run when it is over, so
// that what they did moves too.
func TestFreezeRunsWhatWasPosted(t *testing.T) {
	old := start(t, Config{Loops: 2}, nil, nil)
	c := old.dial()
	c.send("x\n")
	c.wantLine("x")
	for _, l := range old.Loops() {
		l.Post(func() {
			for s := range l.slab.used {
				l.Write(s, []byte("posted\n"))
			}
		})
	}
	f := freeze(t, old.Server)
	c.wantLine("posted")
	f.Thaw()
}

// What a client that stays has sent is not heard any more once the others are another
// process's: what came of it here would be lost.
func TestNothingIsHeardAfterRelease(t *testing.T) {
	var mu sync.Mutex
	var heard []string
	var fd atomic.Int32
	pair, _ := openPair(t, certificate.New(t, "a", 1))
	old := startTLS(t, Config{Loops: 1}, func(p *probe) {
		p.open = func(p *probe, s Slot) { fd.Store(p.l.slab.at(s).fd) }
		p.line = func(p *probe, s Slot, line []byte) {
			mu.Lock()
			heard = append(heard, string(line))
			mu.Unlock()
			p.l.Write(s, append(line, '\n'))
		}
	}, pair)
	c, _, err := dialTLS(old.second())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := echoTLS(c, "early\n"); err != nil {
		t.Fatal(err)
	}
	// The next events of the loop are to be its standing still, and then a line.
	l := old.Loops()[0]
	busy, release := make(chan struct{}), make(chan struct{})
	l.Post(func() { close(busy); <-release })
	<-busy
	frozen := make(chan *Frozen, 1)
	go func() {
		f, err := old.Freeze(t.Context())
		if err != nil {
			t.Error(err)
		}
		frozen <- f
	}()
	eventually(t, "the loop is to stand still", func() bool {
		l.mailbox.mu.Lock()
		defer l.mailbox.mu.Unlock()
		return len(l.mailbox.queue) > l.mailbox.head
	})
	if _, err := io.WriteString(c, "late\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a line that waits", func() bool {
		n, err := unix.IoctlGetInt(int(fd.Load()), unix.TIOCINQ)
		return err == nil && n > 0
	})
	close(release)
	f := <-frozen
	if f == nil {
		return
	}
	posted := false
	l.Post(func() { posted = true })
	f.Release()
	old.stop()
	if !slices.Equal(heard, []string{"early"}) || posted {
		t.Errorf("heard %q, did what was posted: %v", heard, posted)
	}
}

func TestFreezeGivesUp(t *testing.T) {
	stuck, release := make(chan struct{}), make(chan struct{})
	old := start(t, Config{Loops: 2}, func(p *probe) {
		p.line = func(p *probe, s Slot, line []byte) {
			if string(line) == "stall" {
				close(stuck)
				<-release
			}
			p.l.Write(s, append(line, '\n'))
		}
	}, nil)
	a := old.dial()
	a.send("stall\n")
	<-stuck
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := old.Freeze(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("frozen although a loop is busy: %v", err)
	}
	close(release)
	a.wantLine("stall")
	b := old.dial()
	b.send("x\n")
	b.wantLine("x")
	freeze(t, old.Server).Thaw()
}

func TestMoveLimits(t *testing.T) {
	c := Config{Loops: 2, LimitExempt: []netip.Prefix{}, ConnectRate: 1, ConnectBurst: 5, MaxUnauthorized: 4, MaxPerAddress: 10}
	old := start(t, c, nil, nil)
	began := time.Now()
	for range 3 {
		d := old.dial()
		d.send("x\n")
		d.wantLine("x")
	}
	f := freeze(t, old.Server)
	s := successor(t, old, exportAll(t, f), c)
	if err := s.ImportLimits(old.ExportLimits(nil)); err != nil {
		t.Fatal(err)
	}
	old.rec.isOpen = map[string]bool{}
	f.Release()
	old.stop()
	key := keyOf(netip.MustParseAddr("127.0.0.1"))
	if u := s.limits.clients[key]; u.open != 3 || u.unauthorized != 3 {
		t.Errorf("counted %+v", u)
	}
	if k, _ := s.limits.buckets.Get(key); k.tokens < 2 || k.tokens > 2+time.Since(began).Seconds() {
		t.Errorf("bucket %+v, 3 of 5 tokens are spent", k)
	}
	if st := s.Stats(); st.Accepted != 3 || st.Clients != 3 {
		t.Errorf("counters %+v", st)
	}
}

// A process that does not become the owner lets go without the peers noticing.
func TestDisown(t *testing.T) {
	old := start(t, Config{Loops: 1}, nil, nil)
	c := old.dial()
	c.send("x\n")
	c.wantLine("x")
	f := freeze(t, old.Server)
	s := successor(t, old, exportAll(t, f), Config{Loops: 1})
	Disown(s.Server)
	s.rec.isOpen = map[string]bool{}
	s.Close()
	f.Thaw()
	c.send("y\n")
	c.wantLine("y")
}

func TestInheritListeners(t *testing.T) {
	first, err := New(Config{Loops: 1}, func(*Loop) Handler { return &probe{rec: newRecord()} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Close)
	listen := func(s *Server, url string) *Listener {
		t.Helper()
		i, err := s.Listen(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		return s.Listeners()[i]
	}
	a := listen(first, "127.0.0.1:0").Addrs[0]
	b := listen(first, "127.0.0.2:0").Addrs[0]
	four := listen(first, "0.0.0.0:0").Addrs[0]
	sockets, err := first.Sockets()
	if err != nil {
		t.Fatal(err)
	}

	second, err := New(Config{Loops: 1}, func(*Loop) Handler { return &probe{rec: newRecord()} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)
	if err := second.Inherit(sockets); err != nil {
		t.Fatal(err)
	}
	if got := listen(second, a.String()).Addrs; !slices.Equal(got, []netip.AddrPort{a}) {
		t.Errorf("listens on %v, want %v", got, a)
	}
	// All of IPv4 becomes part of all addresses.
	if got := listen(second, fmt.Sprintf("[::]:%d", four.Port())).Addrs; !slices.Contains(got, four) {
		t.Errorf("listens on %v, want %v among them", got, four)
	}
	if _, err := second.Listen(t.Context(), fmt.Sprintf("0.0.0.0:%d", b.Port())); err == nil || !strings.Contains(err.Error(), "the instance to take over from listens on "+b.String()) {
		t.Errorf("a conflict with an inherited socket: %v", err)
	}
	if left := second.DropInherited(); !slices.Contains(left, b) {
		t.Errorf("left over: %v", left)
	}
}

// A Listen that fails tells all that is in its way, also what could be in its way
// only later; what it asked for is kept for the next.
func TestListenAgain(t *testing.T) {
	first, _ := newIdle(t)
	if _, err := first.ListenAll(t.Context(), []Endpoint{{URL: "127.0.0.1:0"}, {URL: "127.0.0.1:0"}, {URL: "127.0.0.1:0"}}); err != nil {
		t.Fatal(err)
	}
	given, unwanted, kept := first.Listeners()[0].Addrs[0], first.Listeners()[1].Addrs[0], first.Listeners()[2].Addrs[0]
	sockets, err := first.Sockets()
	if err != nil {
		t.Fatal(err)
	}
	sockets[2].File.Close() // which the process keeps to itself
	second, _ := newIdle(t)
	if err := second.Inherit(sockets[:2]); err != nil {
		t.Fatal(err)
	}
	all := func(a netip.AddrPort) string { return fmt.Sprintf("0.0.0.0:%d", a.Port()) }
	wanted := []Endpoint{{URL: given.String()}, {URL: all(unwanted)}, {URL: kept.String()}}
	listen := func(more ...string) error {
		list := slices.Clone(wanted)
		for _, url := range more {
			list = append(list, Endpoint{URL: url})
		}
		_, err := second.ListenAll(t.Context(), list)
		return err
	}
	err = listen()
	var inUse []string
	for _, b := range InUse(err) {
		inUse = append(inUse, b.Addr.String())
	}
	if want := []string{all(unwanted), kept.String()}; !slices.Equal(inUse, want) {
		t.Errorf("in use are %v, want %v: %v", inUse, want, err)
	}
	for url, want := range map[string]string{
		"203.0.113.77:3333":                          "does not have that address",
		fmt.Sprintf("127.0.0.9:%d", kept.Port()):     "", // beside the one that is kept
		fmt.Sprintf("127.0.0.9:%d", unwanted.Port()): fmt.Sprintf("this server has it already by its listen address %q", all(unwanted)),
		fmt.Sprintf("[::]:%d", kept.Port()):          "this server has it already",
	} {
		err := listen(url)
		if (InUse(err) == nil) != (want != "") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s beside others: %v", url, err)
		}
	}
	if left := second.DropInherited(); !slices.Equal(left, []netip.AddrPort{unwanted}) {
		t.Errorf("left over: %v, want %v", left, unwanted)
	}
	first.Close()
	if err := listen(); err != nil {
		t.Error(err)
	}
}

func TestInheritRefusesOtherFiles(t *testing.T) {
	s, err := New(Config{Loops: 1}, func(*Loop) Handler { return &probe{rec: newRecord()} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := s.Inherit([]Inherited{{File: r}}); err == nil {
		t.Error("a pipe is no listening socket")
	}
}

// The first form of the records is read for ever, and grows only at the end: the
// files are never made anew.
func TestReadConnectionV1(t *testing.T) {
	k := records.Check(t, records.V1(t, "connection"), connectionVersion, (*connRecord).fields)
	if want := (connRecord{
		addr: netip.MustParseAddr("198.51.100.7"), port: 4711, unauthorized: true, kind: movedOpen, partial: []byte(`{"id":4,"meth`),
		backlogged: true, backlog: backlogRecord{[]byte("an answer\na job\nanother job\n"), []unit{{10, 16, 1}, {16, 28, 3}}, 1500 * time.Millisecond},
	}); !reflect.DeepEqual(*k, want) {
		t.Errorf("%+v\nwant %+v", *k, want)
	}
}

func TestReadGuestV1(t *testing.T) {
	k := records.Check(t, records.V1(t, "guest"), connectionVersion, (*connRecord).fields)
	if want := (connRecord{
		addr: netip.MustParseAddr("2001:db8::7"), port: 4711, kind: movedGuest,
		guest: guestRecord{2, stageHeader, []byte("PROXY TCP4"), 3 * time.Second},
	}); !reflect.DeepEqual(*k, want) {
		t.Errorf("%+v\nwant %+v", *k, want)
	}
}

func TestReadLimitsV1(t *testing.T) {
	v1 := records.V1(t, "limits")
	k := records.Check(t, v1, limitsVersion, (*limitsRecord).fields)
	if want := []bucketRecord{{keyOf(netip.MustParseAddr("198.51.100.7")), 42.5, time.Minute}}; !slices.Equal(k.buckets, want) {
		t.Errorf("buckets %+v, want %+v", k.buckets, want)
	}
	s, _ := newIdle(t)
	if err := s.ImportLimits(v1); err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	if st.Accepted != 12345 || st.ReplacedNotifies != 17 || st.Drops[PeerClosed] != 100 || st.Drops[TimedOut] != 114 {
		t.Errorf("%+v", st)
	}
}

func FuzzReadConnection(f *testing.F) {
	f.Add(records.V1(f, "connection"))
	f.Add(records.V1(f, "guest"))
	f.Fuzz(func(t *testing.T, in []byte) {
		k, err := readConn(in)
		if err != nil || len(k.backlog.unsent) == 0 {
			return
		}
		// What was read can be used.
		b := backlog{buf: bytes.Clone(k.backlog.unsent), work: k.backlog.work}
		if b.dropWork(); b.unsent() < 0 || b.unsent() > len(k.backlog.unsent) {
			t.Errorf("%+v", k.backlog)
		}
	})
}

func readConn(in []byte) (k connRecord, err error) {
	c := wire.Read(in)
	c.Versioned(connectionVersion, k.fields)
	return k, c.Done()
}

// A record that is cut off, or of a newer version, is refused.
func TestDamagedRecords(t *testing.T) {
	s, _ := newIdle(t)
	readConnection := func(in []byte) error {
		_, err := readConn(in)
		return err
	}
	for name, read := range map[string]func([]byte) error{
		"connection": readConnection, "guest": readConnection, "limits": s.ImportLimits,
	} {
		good := records.V1(t, name)
		if err := read(good); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for n := range good {
			if read(good[:n:n]) == nil {
				t.Errorf("%s: the first %d of %d bytes are taken for all", name, n, len(good))
			}
		}
		if err := read(append([]byte{2}, good[1:]...)); err == nil || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("%s of version 2: %v", name, err)
		}
	}
}

// What is wrong with a connection would show when it is used: it is refused.
func TestImpossibleConnectionIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(k *connRecord){
		"unknown kind":        func(k *connRecord) { k.kind = 3 },
		"work before another": func(k *connRecord) { k.backlog.work[1].start = 15 },
		"empty work":          func(k *connRecord) { k.backlog.work[1].start = 28 },
		"work past the end":   func(k *connRecord) { k.backlog.work[1].end = 29 },
		"work at nothing":     func(k *connRecord) { k.backlog.unsent = nil },
		"negative time":       func(k *connRecord) { k.backlog.stalled = -1 },
	} {
		k, err := readConn(records.V1(t, "connection"))
		if err != nil {
			t.Fatal(err)
		}
		spoil(&k)
		c := wire.Append(nil)
		c.Versioned(connectionVersion, k.fields)
		if _, err := readConn(c.Written()); err == nil {
			t.Errorf("%s: taken over", name)
		}
	}
}

func FuzzReadLimits(f *testing.F) {
	f.Add(records.V1(f, "limits"))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := New(Config{Loops: 1}, func(*Loop) Handler { return &probe{rec: newRecord()} })
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if s.ImportLimits(in) == nil {
			s.limits.admit(netip.MustParseAddr("198.51.100.7"), time.Now())
			s.Stats()
		}
	})
}
