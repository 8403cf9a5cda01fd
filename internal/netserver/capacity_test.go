//go:build linux

package netserver

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// answered waits until want of the clients, which sent "x\n", have their
// answer, and returns which.
func answered(t *testing.T, clients []*client, want int) map[*client]bool {
	t.Helper()
	got := make(map[*client]bool)
	for end := time.Now().Add(patience); len(got) < want; {
		if time.Now().After(end) {
			t.Fatalf("%d clients answered, want %d", len(got), want)
		}
		for _, c := range clients {
			if !got[c] && c.readable() {
				c.wantLine("x")
				got[c] = true
			}
		}
	}
	return got
}

func (c *client) readable() bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.r.Peek(1)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	return err == nil
}

func TestMaxClients(t *testing.T) {
	r := start(t, Config{MaxClients: 3}, nil, nil)
	var clients []*client
	for range 6 {
		c := r.dial()
		c.send("x\n")
		clients = append(clients, c)
	}
	first := answered(t, clients, 3)
	if n := r.Clients(); n != 3 {
		t.Errorf("%d clients, want 3", n)
	}
	// Nothing turns round meanwhile.
	before := iterations(r)
	<-time.After(300 * time.Millisecond)
	if n := iterations(r) - before; n > 20 {
		t.Errorf("%d iterations in 300 ms with nothing to do", n)
	}
	if n := r.rec.eventsWith("Server full with 3 clients"); n != 1 {
		t.Errorf("%d lines say so, want 1", n)
	}
	// Each that leaves makes room, at once.
	var waiting []*client
	for _, c := range clients {
		if first[c] {
			c.Close()
		} else {
			waiting = append(waiting, c)
		}
	}
	answered(t, waiting, 3)
}

func iterations(r *running) (n int64) {
	for _, p := range r.probes {
		n += p.flushes.Load()
	}
	return n
}

// With connections coming and going at the limit it is never passed and nobody
// waits for good.
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
	served := make(chan error, 16)
	for range 16 {
		go func() {
			for range 50 {
				if err := echoOnce(r.addr); err != nil {
					served <- err
					return
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
}

func TestOutOfDescriptors(t *testing.T) {
	p := startProcess(t, "echo", "NETSERVER_TEST_LIMIT=80")
	if events := p.ask("events"); !strings.Contains(events, "Setting maxclients to 72 due to max open file limit of 80") {
		t.Errorf("start said %q: the soft limit of 40 is to be raised, both numbers told", events)
	}
	var clients []*client
	for range 72 {
		c := dialFrom(t, p.addr, "", 0)
		c.send("x\n")
		clients = append(clients, c)
	}
	eventually(t, "out of descriptors", func() bool {
		return strings.Contains(p.ask("events"), "too many open files")
	})
	n := p.number("clients")
	if n < 30 || n > 59 {
		t.Fatalf("%d clients with 80 descriptors of which 20 are used elsewhere", n)
	}
	first := answered(t, clients, n)
	before := p.number("iterations")
	<-time.After(1200 * time.Millisecond)
	if n := p.number("iterations") - before; n > 60 {
		t.Errorf("%d iterations in 1.2 s with nothing to do", n)
	}
	var waiting []*client
	closed := 0
	for _, c := range clients {
		if !first[c] {
			waiting = append(waiting, c)
		} else if closed < 5 {
			c.Close()
			closed++
		}
	}
	second := answered(t, waiting, 5)
	p.ask("close others") // nobody tells the loops: the next tick finds out
	left := waiting[:0]
	for _, c := range waiting {
		if !second[c] {
			left = append(left, c)
		}
	}
	answered(t, left, len(left))
	if events := p.ask("events"); strings.Count(events, "too many open files") != 1 {
		t.Errorf("more than one line in a minute: %q", events)
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
	s, err := New(Config{MaxClients: 1 << 30, Event: rec.event}, func(l *Loop) Handler { return &probe{l: l, rec: rec} })
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
