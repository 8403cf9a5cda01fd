//go:build linux

package netserver

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stepped is a loop that a test drives itself, iteration by iteration.
type stepped struct {
	*Loop
	t     *testing.T
	probe *probe
}

func newStepped(t testing.TB, c Config) *stepped {
	c.Loops = 1
	p := &probe{rec: newRecord()}
	s, err := New(c, func(l *Loop) Handler {
		p.l = l
		return p
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	st := &stepped{Loop: s.loops[0], probe: p}
	st.t, _ = t.(*testing.T)
	if err := st.poller.Until(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	return st
}

// connect gives the loop one end of a socket pair and returns the other.
func (st *stepped) connect(t testing.TB, buffer int) (s Slot, peer int) {
	fds := socketpair(t, buffer)
	st.probe.open = func(_ *probe, slot Slot) { s = slot }
	st.server.hold()
	st.counters.assigned.Add(1)
	st.entrance.admit(arrival{fd: int32(fds[0]), at: &Listener{}, remote: netip.MustParseAddrPort("127.0.0.1:1")})
	return s, fds[1]
}

func socketpair(t testing.TB, buffer int) [2]int {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, buffer); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	return fds
}

func (st *stepped) once() {
	if err := st.iterate(false); err != nil {
		st.t.Fatal(err)
	}
}

func readAll(fd int) string {
	var b strings.Builder
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.Read(fd, buf)
		if n <= 0 || err != nil {
			return b.String()
		}
		b.Write(buf[:n])
	}
}

// Newer work replaces the older that a slow reader was not sent yet; replies
// stay, and what was begun is never cut.
func TestSlowReaderGetsNewestWork(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		st := newStepped(t, Config{})
		s, fd := st.connect(t, 4096)
		slowReader(t, st, s, far{fd: fd})
	})
	t.Run("TLS", func(t *testing.T) {
		st := newStepped(t, Config{})
		s, peer := st.connectTLS(t, 4096)
		slowReader(t, st, s, peer)
	})
}

func slowReader(t *testing.T, st *stepped, s Slot, peer far) {
	work := func(name string) string { return name + strings.Repeat(".", 3000) + "\n" }
	send := func(name string, tag uint8) (dropped uint8) {
		dropped = st.DropWork(s)
		st.WriteWork(s, []byte(work(name)), tag)
		st.Write(s, []byte("reply after "+name+"\n"))
		st.once()
		return dropped
	}
	if d := send("one", 1); d != 0 {
		t.Errorf("dropped %d of nothing", d)
	}
	var begun []string
	want := work("one") + "reply after one\n"
	for i := 2; st.counters.backlogClients.Load() == 0; i++ { // until the socket is full
		name := fmt.Sprint("w", i)
		send(name, 2)
		begun = append(begun, name)
		want += work(name) + "reply after " + name + "\n"
	}
	// The last of these may be begun or not; what follows it is not.
	dropped := send("x", 4)
	if dropped == 2 {
		last := begun[len(begun)-1]
		want = strings.Replace(want, work(last), "", 1)
	} else if dropped != 0 {
		t.Errorf("dropped tags %d, want 0 or 2", dropped)
	}
	want += "reply after x\n"
	if d := send("y", 8); d != 4 {
		t.Errorf("dropped tags %d, want 4 for x", d)
	}
	st.WriteWork(s, []byte(work("z")), 16)
	st.once()
	if d := send("end", 32); d != 8|16 {
		t.Errorf("dropped tags %d, want 24 for y and z", d)
	}
	want += "reply after y\n" + work("end") + "reply after end\n"
	if st.server.Stats().ReplacedNotifies < 3 {
		t.Errorf("replaced %d", st.server.Stats().ReplacedNotifies)
	}
	var got string
	for range 100 {
		got += peer.readAll()
		st.once()
	}
	if got != want {
		t.Errorf("peer got\n%.0s%q\nwant\n%q", "", shorten(got), shorten(want))
	}
	if stats := st.server.Stats(); stats.BacklogClients != 0 || stats.BacklogBytes != 0 || len(st.output.backlogs) != 0 {
		t.Errorf("backlog stays after it was read: %+v", stats)
	}
}

func shorten(s string) string { return strings.ReplaceAll(s, strings.Repeat(".", 3000), "…") }

// Any sequence of writes, drops and reads gives the peer every reply once and
// in order, and each unit of work whole or, when DropWork said so, not at all.
func TestOutputProperty(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		outputProperty(t, 300, func(st *stepped) (Slot, far) {
			s, fd := st.connect(t, 4608)
			return s, far{fd: fd}
		})
	})
	t.Run("TLS", func(t *testing.T) {
		outputProperty(t, 100, func(st *stepped) (Slot, far) { return st.connectTLS(t, 4608) })
	})
}

func outputProperty(t *testing.T, seeds int, connect func(st *stepped) (Slot, far)) {
	for seed := range uint64(seeds) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		st := newStepped(t, Config{Backlog: 1 << 30})
		var slots [3]Slot
		var peers [3]far
		var want, got [3][]string // messages not dropped
		var raw [3]strings.Builder
		var waiting [3]map[string]uint8 // work that may be dropped, by message
		for i := range slots {
			slots[i], peers[i] = connect(st)
			waiting[i] = make(map[string]uint8)
		}
		id := 0
		message := func() string {
			id++
			return fmt.Sprintf("%d-%s\n", id, strings.Repeat("x", rnd.IntN(2000)))
		}
		for range 150 {
			i := rnd.IntN(3)
			switch rnd.IntN(6) {
			case 0, 1:
				m := message()
				st.Write(slots[i], []byte(m))
				want[i] = append(want[i], m)
			case 2:
				m, tag := message(), uint8(1)<<rnd.IntN(8)
				st.WriteWork(slots[i], []byte(m), tag)
				want[i] = append(want[i], m)
				waiting[i][m] = tag
			case 3:
				var tags uint8
				var before []unit
				var buf string
				if b := st.output.backlogs[slots[i]]; b != nil {
					before, buf = slices.Clone(b.work), string(b.buf)
				}
				for _, u := range before {
					m := buf[u.start:u.end]
					if waiting[i][m] != u.tag {
						t.Fatalf("seed %d: unit is not a message that was written as work: %q", seed, m)
					}
					tags |= u.tag
					want[i] = slices.DeleteFunc(want[i], func(w string) bool { return w == m })
				}
				if d := st.DropWork(slots[i]); d != tags {
					t.Fatalf("seed %d: dropped %b, want %b", seed, d, tags)
				}
			case 4:
				st.once()
			case 5:
				raw[i].WriteString(peers[i].read(rnd.IntN(6000) + 1))
			}
		}
		for range 400 {
			st.once()
			for i := range peers {
				raw[i].WriteString(peers[i].readAll())
			}
			if len(st.output.backlogs) == 0 {
				break
			}
		}
		for i := range slots {
			got[i] = strings.SplitAfter(raw[i].String(), "\n")
			got[i] = got[i][:len(got[i])-1]
			if !slices.Equal(got[i], want[i]) {
				t.Fatalf("seed %d, client %d: got %d messages, want %d, or others", seed, i, len(got[i]), len(want[i]))
			}
		}
		if b := st.counters.backlogBytes.Load(); b != 0 || st.counters.backlogClients.Load() != 0 {
			t.Fatalf("seed %d: %d bytes counted in empty backlogs", seed, b)
		}
		st.shutdown(0)
	}
}

func TestBacklogFull(t *testing.T) {
	r := start(t, Config{Backlog: 100 << 10}, func(p *probe) {
		p.open = smallSendBuffer
		p.line = func(p *probe, s Slot, line []byte) { p.l.Write(s, make([]byte, 1<<20)) }
	}, nil)
	c := r.dialSlow()
	c.send("x\n")
	eventually(t, "closed", func() bool { return r.rec.closes(BacklogFull) == 1 })
	if _, err := c.rest(); err == nil {
		t.Error("a client with a full backlog is to be reset, not ended as if it had everything")
	}
}

func TestWriteStalled(t *testing.T) {
	r := start(t, Config{WriteTimeout: 1500 * time.Millisecond}, func(p *probe) {
		p.open = smallSendBuffer
		p.line = func(p *probe, s Slot, line []byte) { p.l.Write(s, make([]byte, 900<<10)) }
	}, func(s *Server) { s.tickEvery = 50 * time.Millisecond })
	stalled, slow := r.dialSlow(), r.dialSlow()
	began := time.Now()
	stalled.send("x\n")
	slow.send("x\n")
	eventually(t, "backlogs", func() bool { return r.Stats().BacklogClients == 2 })
	buf := make([]byte, 1024)
	for r.rec.closes(WriteStalled) == 0 { // slow reads a little all the time
		if _, err := slow.Read(buf); err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * time.Millisecond)
	}
	if d := time.Since(began); d < 1400*time.Millisecond { // a tick counts all since the one before, up to 100 ms
		t.Errorf("dropped after %v, not 1.5 s", d)
	}
	if n := r.Clients(); n != 1 {
		t.Errorf("%d clients left, want the one that reads slowly", n)
	}
}

// A process that was stopped for longer than the write timeout does not blame
// its clients.
func TestStallIgnoresTimeStopped(t *testing.T) {
	st := newStepped(t, Config{WriteTimeout: time.Minute})
	s, _ := st.connect(t, 4096)
	st.Write(s, make([]byte, 100<<10))
	st.once()
	st.lastTick = time.Now().Add(-time.Hour)
	st.now = time.Now()
	st.tick()
	if !st.Open(s) {
		t.Error("dropped for an hour in which the process did not run")
	}
	for range 59 {
		st.now = st.now.Add(time.Second)
		st.tick()
	}
	if st.Open(s) {
		t.Error("not dropped after a minute without progress")
	}
}

// A client that only sends is not read beyond a backlog of its answers, and is
// served on when it reads.
func TestOnlySendingIsMuted(t *testing.T) {
	const lines, answer = 3000, 1000
	r := start(t, Config{}, func(p *probe) {
		p.open = smallSendBuffer
		p.line = func(p *probe, s Slot, line []byte) {
			p.l.Write(s, append([]byte(strings.Repeat("a", answer-1)), '\n'))
		}
	}, nil)
	c := r.dialSlow()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range lines { // 3 MB of answers: more than the backlog may hold
			_, _ = c.Write([]byte("0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 012345678\n" +
				""))
		}
	}()
	// It is muted at muteAt, and of that the sockets take a part before they are full.
	eventually(t, "a backlog", func() bool { return r.Stats().BacklogBytes > muteAt/4 })
	for range lines {
		if got := c.line(); len(got) != answer-1 {
			t.Fatalf("answer of %d bytes", len(got))
		}
	}
	<-sent
	if st := r.Stats(); st.Drops != [Reasons]uint64{} {
		t.Errorf("dropped: %v", st.Drops)
	}
	eventually(t, "backlog given back", func() bool { return r.Stats().BacklogClients == 0 })
}

// When many clients have stalled, as after an outage, a loop ends them a few at a
// time, and each one's time goes on once a tick however long the round takes.
func TestStalledClientsEndInSteps(t *testing.T) {
	const clients = 3*roundEnds + 1
	st := newStepped(t, Config{WriteTimeout: time.Minute})
	for range clients {
		s, _ := st.connect(t, 4096)
		st.Write(s, make([]byte, 100<<10))
	}
	st.once()
	tick := func(d time.Duration) {
		st.now = st.lastTick.Add(d)
		st.tick()
	}
	tick(0)
	for st.round.underway {
		st.once()
	}
	for range 30 {
		tick(2 * time.Second) // as much as counts
		for range 3 {
			if n := len(st.closing); n > roundEnds {
				t.Fatalf("%d clients ended in one step", n)
			}
			st.once()
		}
	}
	for st.round.underway {
		st.once()
	}
	if n := st.counters.drops[WriteStalled].Load(); n != clients {
		t.Errorf("%d of %d clients dropped", n, clients)
	}
	// A round that ticks overtake gives the next one their time.
	s, _ := st.connect(t, 4096)
	st.Write(s, make([]byte, 100<<10))
	st.once()
	st.round = round{}
	stalled := st.output.backlogs[s].stalled
	tick(0)
	st.round.underway = true
	tick(time.Second)
	tick(time.Second)
	for st.round.underway {
		st.once()
	}
	tick(0)
	if got := st.output.backlogs[s].stalled - stalled; got != 2*time.Second {
		t.Errorf("stalled for %v, want 2 s", got)
	}
}

// A tick with 100,000 clients that do not read, and the longest a loop is away.
func BenchmarkTick(b *testing.B) {
	st := newStepped(b, Config{})
	for range 100_000 {
		s, c := st.slab.take()
		c.set(open | backlogged)
		st.output.backlogs[s] = &backlog{buf: make([]byte, 64)}
	}
	var longest time.Duration
	for b.Loop() {
		for first := true; first || st.round.underway; first = false {
			began := time.Now()
			if first {
				st.now, st.lastTick = began, began
				st.tick()
			} else {
				st.stepRound()
			}
			longest = max(longest, time.Since(began))
		}
	}
	b.ReportMetric(float64(longest.Microseconds()), "µs/longest")
}

// What a handler has to say of clients that have ended, to whomever, goes out at once and not
// with the next event.
func TestFlushAfterClosed(t *testing.T) {
	st := newStepped(t, Config{})
	s, peer := st.connect(t, 4096)
	st.once()
	seen := 0 // of the ended, by the last Flush
	st.probe.flush = func(p *probe) { seen = p.rec.closed[PeerClosed] }
	if err := unix.Shutdown(peer, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	st.once()
	if st.slab.live(s) != nil || seen != 1 {
		t.Errorf("the last flush saw %d ended clients", seen)
	}
}
