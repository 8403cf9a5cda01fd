//go:build linux

package netserver

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPost(t *testing.T) {
	r := start(t, Config{}, nil, nil)
	const posters, each = 8, 500
	for _, l := range r.Loops() {
		last := make(map[int]int) // by poster; owned by the loop
		ran := 0
		done := make(chan struct{})
		var wg sync.WaitGroup
		for p := range posters {
			wg.Go(func() {
				for i := range each {
					l.Post(func() {
						if i != last[p] {
							t.Errorf("poster %d: function %d ran, want %d", p, i, last[p])
						}
						last[p]++
						if ran++; ran == posters*each {
							close(done)
						}
					})
				}
			})
		}
		wg.Wait()
		<-done
	}
	r.stop()
	r.Loops()[0].Post(func() { t.Error("ran after the end") })
}

// A loop works through Step while it answers clients, and each Wake is followed
// by a Step.
func TestWake(t *testing.T) {
	var left, steps atomic.Int64
	r := start(t, Config{Loops: 1}, func(p *probe) {
		p.step = func(*probe) bool {
			steps.Add(1)
			return left.Add(-1) > 0
		}
	}, nil)
	l := r.Loops()[0]
	for i := range 200 { // the woken loop is parked or about to
		before := steps.Load()
		l.Wake()
		eventually(t, fmt.Sprint("step after wake ", i), func() bool { return steps.Load() > before })
	}
	c := r.dial()
	left.Store(1 << 40)
	l.Wake()
	c.send("x\n")
	c.wantLine("x") // not behind all of the steps
	if left.Load() < 1 {
		t.Error("steps ended early")
	}
	left.Store(0)
	eventually(t, "an end of the steps", func() bool {
		before := steps.Load()
		<-time.After(100 * time.Millisecond)
		return steps.Load() == before
	})
}

// A function posted about a client finds it, or learns that it is gone even
// when its slot is used again.
func TestHandles(t *testing.T) {
	opened := make(chan uint64, 10)
	r := start(t, Config{Loops: 1}, func(p *probe) {
		p.open = func(p *probe, s Slot) { opened <- p.l.Handle(s) }
	}, nil)
	l := r.Loops()[0]
	a := r.dial()
	ha := <-opened
	onLoop(l, func() {
		s, ok := l.Slot(ha)
		if !ok || l.Remote(s).Port() == 0 {
			t.Errorf("slot of a's handle: %v", ok)
		}
		l.Write(s, []byte("to a\n"))
	})
	a.wantLine("to a")
	a.Close()
	eventually(t, "a closed", func() bool { return r.Clients() == 0 })
	b := r.dial()
	hb := <-opened
	onLoop(l, func() {
		if Slot(ha) != Slot(hb) {
			t.Errorf("slot %d is not used again, got %d", Slot(ha), Slot(hb))
		}
		if _, ok := l.Slot(ha); ok || ha == hb {
			t.Error("a's handle names b")
		}
		for _, h := range []uint64{0, 1, 1 << 32, 1<<32 | 77777, ^uint64(0)} {
			if s, ok := l.Slot(h); ok {
				t.Errorf("handle %x names slot %d", h, s)
			}
		}
		l.Write(777, []byte("nobody\n"))
		l.Close(777, Dropped)
		if l.Open(777) || l.Remote(777).IsValid() || l.Handle(777) != 0 || l.DropWork(777) != 0 {
			t.Error("a slot never given out is something")
		}
		s, _ := l.Slot(hb)
		l.Close(s, Dropped)
		if l.Open(s) {
			t.Error("open after Close")
		}
	})
	if _, err := b.rest(); err != nil {
		t.Error(err)
	}
}

// An event fetched for a connection that ended in the same iteration is not
// taken for one of the next connection in its slot.
func TestStaleEvent(t *testing.T) {
	st := newStepped(t, Config{})
	a, peerA := st.connect(t, 4096)
	b, peerB := st.connect(t, 4096)
	var lines []string
	write := func(fd int, text string) {
		t.Helper()
		if _, err := unix.Write(fd, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	st.probe.line = func(p *probe, s Slot, line []byte) {
		lines = append(lines, string(line))
		if s == a { // b ends, c takes its slot, and b's event is still to come
			p.l.Close(b, Dropped)
			p.l.flush()
			p.l.release(b, closeSocket)
			c, peerC := st.connect(t, 4096)
			if c != b {
				t.Fatalf("slot %d, want %d used again", c, b)
			}
			write(peerC, "from c\n")
		}
	}
	write(peerA, "from a\n")
	write(peerB, "from b\n")
	st.once()
	if len(st.poller.Events) != 2 || len(lines) != 1 {
		t.Errorf("of %d events came %q, want 2 and only a's line", len(st.poller.Events), lines)
	}
	st.once()
	if len(lines) != 2 || lines[1] != "from c" {
		t.Errorf("lines %q", lines)
	}
}

func TestStorm(t *testing.T) {
	before := openDescriptors(t)
	n := 5000
	if testing.Short() {
		n = 500
	}
	r := start(t, Config{}, nil, nil)
	const workers = 20
	errs := make(chan error, workers)
	for range workers {
		go func() {
			var err error
			for range n / workers {
				err = errors.Join(err, echoOnce(r.addr))
			}
			errs <- err
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	eventually(t, "all closed", func() bool { return r.Clients() == 0 && r.held.Load() == 0 })
	if st := r.Stats(); st.Accepted != uint64(n) {
		t.Errorf("accepted %d of %d", st.Accepted, n)
	}
	if n := r.Loops()[0].counters.assigned.Load(); n != 0 {
		t.Errorf("loop 0 still counts %d sockets", n)
	}
	slots := 0
	for _, l := range r.Loops() {
		onLoop(l, func() { slots += int(l.slab.used) })
	}
	if slots > 10*workers {
		t.Errorf("%d slots used for %d connections at a time", slots, workers)
	}
	r.stop()
	if after := openDescriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// Connections are spread evenly, whichever loop accepts them.
func TestLoopsShare(t *testing.T) {
	r := start(t, Config{Loops: 4}, nil, nil)
	clients := make([]*client, 40)
	for i := range clients {
		clients[i] = r.dial()
		clients[i].send("x\n")
	}
	if served, _ := settled(t, clients); len(served) != len(clients) {
		t.Fatalf("%d of %d served", len(served), len(clients))
	}
	for i, l := range r.Loops() {
		if n := l.counters.clients.Load(); n < 8 || n > 12 {
			t.Errorf("loop %d has %d of %d clients", i, n, len(clients))
		}
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func TestTick(t *testing.T) {
	var ticks atomic.Int64
	r := start(t, Config{Loops: 1}, func(p *probe) {
		p.tick = func(*probe) { ticks.Add(1) }
	}, func(s *Server) { s.tickEvery = 10 * time.Millisecond })
	eventually(t, "ticks of an idle loop", func() bool { return ticks.Load() > 3 })
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				r.Loops()[0].Wake()
			}
		}
	})
	before := ticks.Load()
	eventually(t, "ticks of a busy loop", func() bool { return ticks.Load() > before+3 })
	close(stop)
	wg.Wait()
}
