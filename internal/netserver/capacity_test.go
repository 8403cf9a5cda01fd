//go:build linux

package netserver

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// settled waits until each of the clients, which sent "x\n", was answered or
// closed, and returns both kinds.
func settled(t *testing.T, clients []*client) (served, refused []*client) {
	t.Helper()
	for _, c := range clients {
		if c == nil {
			refused = append(refused, c)
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		line, err := c.r.ReadString('\n')
		switch {
		case err == nil && line == "x\n":
			served = append(served, c)
		case err != nil && !isTimeout(err):
			refused = append(refused, c)
		default:
			t.Fatalf("neither answered nor closed: %q, %v", line, err)
		}
	}
	return served, refused
}

// crowd connects clients that send "x\n"; nil for one that was closed before it
// could.
func crowd(t *testing.T, addr string, n int) (clients []*client) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
		if err != nil {
			clients = append(clients, nil)
			continue
		}
		t.Cleanup(func() { c.Close() })
		_, _ = c.Write([]byte("x\n")) // it may be closed by now
		clients = append(clients, &client{TCPConn: c.(*net.TCPConn), t: t, r: bufio.NewReader(c)})
	}
	return clients
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// With all places taken a miner is closed at once, so that it goes to its next
// pool, and taken again when somebody has left.
func TestMaxClients(t *testing.T) {
	r := start(t, Config{MaxClients: 3}, nil, nil)
	served, refused := settled(t, crowd(t, r.addr, 6))
	if len(served) != 3 || len(refused) != 3 || r.Clients() != 3 {
		t.Errorf("%d served, %d refused, %d clients", len(served), len(refused), r.Clients())
	}
	if n := r.Stats().Drops[Full]; n != 3 {
		t.Errorf("%d counted", n)
	}
	// Nothing turns round meanwhile.
	before := iterations(r)
	<-time.After(300 * time.Millisecond)
	if n := iterations(r) - before; n > 20 {
		t.Errorf("%d iterations in 300 ms with nothing to do", n)
	}
	if n := r.rec.eventsWith("Refused 127.0.0.1: server full: 3 clients"); n != 1 {
		t.Errorf("%d lines say so, want 1: %q", n, r.rec.events)
	}
	if want := (Drop{Addr: netip.MustParseAddr("127.0.0.1"), Why: Full, Count: 1}); len(r.rec.drops) != 1 || r.rec.drops[0] != want {
		t.Errorf("drops told: %v", r.rec.drops)
	}
	for _, c := range served[:2] {
		c.Close()
	}
	eventually(t, "two to be gone", func() bool { return r.held.Load() == 1 })
	if served, refused := settled(t, crowd(t, r.addr, 3)); len(served) != 2 || len(refused) != 1 {
		t.Errorf("with two places: %d served, %d refused", len(served), len(refused))
	}
}

func iterations(r *running) (n int64) {
	for _, p := range r.probes {
		n += p.flushes.Load()
	}
	return n
}

// With connections coming and going at the limit it is never passed, and
// nobody waits.
func TestMaxClientsUnderChurn(t *testing.T) {
	const limit = 4
	var most atomic.Int64
	r := start(t, Config{MaxClients: limit, Loops: 3}, func(p *probe) {
		p.open = func(p *probe, _ Slot) {
			if n := int64(p.rec.openCount()); n > most.Load() {
				most.Store(n)
			}
		}
	}, nil)
	var answered atomic.Int64
	served := make(chan error, 16)
	for range 16 {
		go func() {
			for range 50 {
				err := echoOnce(r.addr)
				if isTimeout(err) {
					served <- err
					return
				}
				if err == nil {
					answered.Add(1)
				}
			}
			served <- nil
		}()
	}
	for range 16 {
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	if n := most.Load(); n > limit {
		t.Errorf("%d clients at a time", n)
	}
	if n := r.Stats().Accepted; answered.Load() < limit || int64(n) < answered.Load() {
		t.Errorf("%d answered, %d accepted", answered.Load(), n)
	}
	if held := r.held.Load(); held > limit {
		t.Errorf("%d places held", held)
	}
}

func TestOutOfDescriptors(t *testing.T) {
	p := startProcess(t, "echo", "NETSERVER_TEST_LIMIT=80")
	if events := p.ask("events"); !strings.Contains(events, "Setting maxclients to 72 due to max open file limit of 80") {
		t.Errorf("start said %q: the soft limit of 40 is to be raised, both numbers told", events)
	}
	served, refused := settled(t, crowd(t, p.addr, 72))
	n := p.number("clients")
	if n < 30 || n > 59 || len(served) != n || len(refused) != 72-n {
		t.Fatalf("%d clients with 80 descriptors of which 20 are used elsewhere; %d answered, %d closed", n, len(served), len(refused))
	}
	before := p.number("iterations")
	<-time.After(1200 * time.Millisecond)
	if n := p.number("iterations") - before; n > 60 {
		t.Errorf("%d iterations in 1.2 s with nothing to do", n)
	}
	for _, c := range served[:5] {
		c.Close()
	}
	eventually(t, "five to be gone", func() bool { return p.number("clients") == n-5 })
	if again, _ := settled(t, crowd(t, p.addr, 8)); len(again) != 5 {
		t.Errorf("%d served with five descriptors", len(again))
	}
	p.ask("close others") // nobody tells the loops
	if again, refused := settled(t, crowd(t, p.addr, 8)); len(again) != 8 {
		t.Errorf("%d refused with descriptors left", len(refused))
	}
	if events := p.ask("events"); strings.Count(events, "no descriptor left: too many open files; raise the open file limit (ulimit -n, LimitNOFILE=) or lower maxclients") != 1 {
		t.Errorf("not one line in a minute: %q", events)
	}
}

func TestStopAndContinue(t *testing.T) {
	p := startProcess(t, "echo")
	old := dialFrom(t, p.addr, "", 0)
	old.send("x\n")
	old.wantLine("x")
	for range 3 {
		if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		fresh := dialFrom(t, p.addr, "", 0)
		fresh.send("x\n")
		old.send("y\n")
		eventually(t, "stopped", func() bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
			return err == nil && strings.Contains(string(b), ") T ")
		})
		if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		old.wantLine("y")
		fresh.wantLine("x")
	}
	for i := range 100 { // signals that interrupt system calls
		_ = p.cmd.Process.Signal(syscall.SIGURG)
		old.send(fmt.Sprintln(i))
		old.wantLine(fmt.Sprint(i))
	}
}

func TestMaxClientsAboveLimit(t *testing.T) {
	rec := newRecord()
	s, err := New(Config{MaxClients: 1 << 30, Events: rec.event}, func(l *Loop) Handler { return &probe{l: l, rec: rec} })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if rec.eventsWith("Cannot set maxclients to 1073741824 due to max open file limit of") != 1 || s.MaxClients() >= 1<<30 {
		t.Errorf("max clients %d, events %q", s.MaxClients(), rec.events)
	}
	if _, err := New(Config{MaxClients: -1}, nil); err == nil || !strings.Contains(err.Error(), "MaxClients is -1") {
		t.Errorf("negative limit: %v", err)
	}
}
