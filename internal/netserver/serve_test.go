//go:build linux

package netserver

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestEcho(t *testing.T) {
	r := start(t, Config{}, nil, nil)
	c := r.dial()
	c.send("hello\r\nwor")
	c.wantLine("hello")
	c.send("ld\n")
	c.wantLine("world")
	if st := r.Stats(); st.Accepted != 1 || st.Clients != 1 || r.Clients() != 1 {
		t.Errorf("stats %+v, clients %d", st, r.Clients())
	}
}

func TestByteByByte(t *testing.T) {
	r := start(t, Config{}, nil, nil)
	c := r.dial()
	_ = c.SetNoDelay(true)
	for _, b := range []byte("split everywhere\r\nand again\n") {
		c.send(string(b))
	}
	c.wantLine("split everywhere")
	c.wantLine("and again")
}

func TestPipelined(t *testing.T) {
	r := start(t, Config{}, nil, nil)
	c := r.dial()
	var in strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&in, "line %d %s\n", i, strings.Repeat("x", i%300))
	}
	go func() { _, _ = io.WriteString(c, in.String()) }()
	for i := range 1000 {
		c.wantLine(fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%300)))
	}
}

// All replies to what one read brought go out in one piece, after Flush.
func TestRepliesOfOneEventAreOneWrite(t *testing.T) {
	flushed := 0
	r := start(t, Config{Loops: 1}, func(p *probe) {
		lines := 0
		p.line = func(p *probe, s Slot, line []byte) {
			lines++
			p.l.Write(s, []byte(fmt.Sprintf("%s flushed=%d\n", line, flushed)))
		}
		p.flush = func(*probe) { flushed, lines = flushed+lines, 0 }
	}, nil)
	c := r.dial()
	c.send(strings.Repeat("x\n", 50))
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(buf[:n]), "x flushed=0\n"); got != 50 {
		t.Errorf("first read has %d replies, want 50", got)
	}
	c.send("y\n")
	c.wantLine("y flushed=50")
}

func TestCloseInsideLine(t *testing.T) {
	r := start(t, Config{}, func(p *probe) {
		p.line = func(p *probe, s Slot, line []byte) {
			p.l.Write(s, append(line, '\n'))
			if string(line) == "bad" {
				p.l.Close(s, BadInput)
				p.l.Close(s, Idle) // the first counts
				p.l.Write(s, []byte("never\n"))
			}
		}
	}, nil)
	c := r.dial()
	c.send("good\nbad\nlater\nlatest\n")
	if got, err := c.rest(); got != "good\nbad\n" || err != nil {
		t.Errorf("got %q, %v; want what was written before Close, then the end", got, err)
	}
	c.Close()
	eventually(t, "closed", func() bool { return r.rec.closes(BadInput) == 1 })
	if st := r.Stats(); st.Drops[BadInput] != 1 || st.Drops[Idle] != 0 {
		t.Errorf("drops %v", st.Drops)
	}
}

// The answer to an over-long line arrives although the peer is still sending:
// closing with unread input would reset the connection under it.
func TestTooLongIsAnswered(t *testing.T) {
	r := start(t, Config{}, func(p *probe) {
		p.long = func(p *probe, s Slot) { p.l.Write(s, []byte("line too long\n")) }
	}, nil)
	c := r.dial()
	c.send("ok\n" + strings.Repeat("x", 8192))
	c.wantLine("ok")
	for range 20 {
		c.send(strings.Repeat("x", 64<<10))
	}
	c.wantLine("line too long")
	if rest, err := c.rest(); rest != "" || err != nil {
		t.Errorf("after the answer: %q, %v, want the end", rest, err)
	}
	if n := r.rec.closes(LineTooLong); n != 1 {
		t.Errorf("closed %d times as too long", n)
	}
}

// A closed connection whose peer stays keeps its socket for a while, but is no
// client any more.
func TestLingeringEnds(t *testing.T) {
	st := newStepped(t, Config{})
	s, peer := st.connect(t, 4096)
	st.Write(s, []byte("bye\n"))
	st.Close(s, Dropped)
	st.once()
	if got := readAll(peer); got != "bye\n" {
		t.Errorf("peer read %q", got)
	}
	for range 3 {
		_, _ = unix.Write(peer, []byte("still here\n"))
		st.once()
	}
	if st.probe.rec.closes(Dropped) != 1 || st.server.held.Load() != 1 {
		t.Errorf("closed %d times, %d sockets held; want one and one", st.probe.rec.closes(Dropped), st.server.held.Load())
	}
	st.now = st.now.Add(lingerFor)
	st.tick()
	if st.server.held.Load() != 0 || len(st.lingering) != 0 {
		t.Error("socket is kept for ever")
	}
}

func TestPeerCloses(t *testing.T) {
	t.Run("half", func(t *testing.T) {
		r := start(t, Config{}, nil, nil)
		c := r.dial()
		c.send("last words\n" + strings.Repeat("y", 100<<10)[:7000] + "\n")
		_ = c.CloseWrite()
		got, err := c.rest()
		if err != nil || !strings.HasPrefix(got, "last words\nyyy") || len(got) != 11+7001 {
			t.Errorf("got %d bytes, %v: lines before a half-close are to be answered", len(got), err)
		}
		eventually(t, "closed", func() bool { return r.rec.closes(PeerClosed) == 1 })
	})
	t.Run("reset", func(t *testing.T) {
		r := start(t, Config{}, nil, nil)
		c := r.dial()
		c.send("x\n")
		c.wantLine("x")
		_ = c.SetLinger(0)
		c.Close()
		eventually(t, "closed", func() bool { return r.rec.closes(PeerReset) == 1 })
	})
	t.Run("more than one read before the end", func(t *testing.T) {
		r := start(t, Config{}, nil, nil)
		c := r.dial()
		line := strings.Repeat("z", 1000) + "\n"
		go func() {
			_, _ = io.WriteString(c, strings.Repeat(line, 500))
			_ = c.CloseWrite()
		}()
		got, err := c.rest()
		if len(got) != 500*len(line) || err != nil {
			t.Errorf("got %d bytes of %d, %v", len(got), 500*len(line), err)
		}
	})
}

func TestShutdown(t *testing.T) {
	r := start(t, Config{}, func(p *probe) {
		p.open = smallSendBuffer
		p.line = func(p *probe, s Slot, line []byte) { p.l.Write(s, make([]byte, 600<<10)) }
	}, func(s *Server) { s.flushTime = 10 * flushAtEnd }) // which the one that reads has on a busy machine, too
	idle, slow, dead := r.dial(), r.dial(), r.dialSlow()
	slow.send("x\n")
	dead.send("x\n")
	eventually(t, "backlogs", func() bool { return r.Stats().BacklogClients == 2 })
	got := make(chan int, 1)
	go func() {
		s, _ := slow.rest()
		got <- len(s)
	}()
	began := time.Now()
	r.stop()
	if d := time.Since(began); d > 30*time.Second {
		t.Errorf("stopping took %v", d)
	}
	if _, err := idle.rest(); err != nil {
		t.Errorf("idle client: %v, want the end", err)
	}
	if n := <-got; n != 600<<10 {
		t.Errorf("a client that reads got %d bytes of its pending output", n)
	}
	if n := r.rec.closes(Shutdown); n != 3 {
		t.Errorf("%d clients closed by shutdown, want 3", n)
	}
}

// Nobody who does not read, or is gone, holds up the end, nor does the end
// turn round waiting for them.
func TestShutdownWithDeadPeers(t *testing.T) {
	st := newStepped(t, Config{})
	const length = 300 << 10
	var peers []int
	for range 3 {
		s, peer := st.connect(t, 4096)
		st.Write(s, make([]byte, length))
		peers = append(peers, peer)
	}
	st.once()
	if err := unix.Shutdown(peers[0], unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	read := make(chan int)
	go func() {
		n := 0
		buf := make([]byte, 1<<16)
		for {
			switch got, err := unix.Read(peers[1], buf); {
			case err == unix.EAGAIN:
				_, _ = unix.Poll([]unix.PollFd{{Fd: int32(peers[1]), Events: unix.POLLIN}}, 100)
			case got <= 0:
				read <- n
				return
			default:
				n += got
			}
		}
	}()
	const limit = 10 * flushAtEnd // for the peer that reads, on a busy machine too
	cpu, began := cpuTime(), time.Now()
	if err := st.shutdown(limit); err != nil {
		t.Fatal(err)
	}
	if d, cpu := time.Since(began), cpuTime()-cpu; d < limit || d > 10*limit || cpu > limit/2 {
		t.Errorf("took %v and %v of CPU, want %v of waiting", d, cpu, limit)
	}
	if n := <-read; n != length {
		t.Errorf("the peer that reads got %d bytes of %d", n, length)
	}
	if a, b := st.probe.rec.closes(Shutdown), st.probe.rec.closes(PeerClosed); a != 2 || b != 1 {
		t.Errorf("%d closed by shutdown, %d by the peer; want 2 and 1", a, b)
	}
}

// Writing to a connection that broke ends it, without a signal.
func TestWriteToBrokenConnection(t *testing.T) {
	st := newStepped(t, Config{})
	s, peer := st.connect(t, 4096)
	if err := unix.Shutdown(peer, unix.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	st.Write(s, []byte("hello\n"))
	st.once()
	if st.Open(s) || st.probe.rec.closes(PeerReset) != 1 {
		t.Errorf("open %v, closes %v", st.Open(s), st.probe.rec.closed)
	}
}

// A loop that fails ends the server with an error instead of leaving it half
// alive.
func TestLoopFailure(t *testing.T) {
	rec := newRecord()
	s, err := New(Config{Loops: 2}, func(l *Loop) Handler { return &probe{l: l, rec: rec} })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	ctx := t.Context()
	go func() { done <- s.Run(ctx) }()
	var clients []*client
	for range 4 {
		c := dialFrom(t, s.Listeners()[0].Addrs[0].String(), "", 0)
		c.send("x\n")
		c.wantLine("x")
		clients = append(clients, c)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	l := s.Loops()[1]
	poller := int(reflect.ValueOf(l.poller).Elem().FieldByName("fd").Int())
	l.Post(func() { _ = unix.Dup3(int(null.Fd()), poller, unix.O_CLOEXEC) })
	if err := <-done; err == nil || !strings.Contains(err.Error(), "epoll_wait") {
		t.Errorf("Run returned %v", err)
	}
	for _, c := range clients {
		if _, err := c.rest(); err != nil {
			t.Error(err)
		}
	}
	if rec.closes(Shutdown) != 4 {
		t.Errorf("closed %v", rec.closed)
	}
}

func TestReasonText(t *testing.T) {
	seen := make(map[string]bool)
	for r := range Reasons {
		text := r.String()
		if text == "" || seen[text] {
			t.Errorf("reason %d is %q", r, text)
		}
		seen[text] = true
	}
	if got := Reason(200).String(); got != "reason 200" {
		t.Errorf("unknown reason is %q", got)
	}
}

// Who is refused is closed at once, never left to wait.
func TestRefuse(t *testing.T) {
	r := start(t, Config{}, nil, func(s *Server) { s.Refuse(Rejecting) })
	for range 3 {
		if !r.refused("127.0.0.2") {
			t.Error("served while refusing")
		}
	}
	if n := r.Stats().Drops[Rejecting]; n != 3 {
		t.Errorf("%d counted", n)
	}
	if n := r.rec.eventsWith("Refused 127.0.0.2: rejected by operator"); n != 1 {
		t.Errorf("%d lines in a minute: %q", n, r.rec.events)
	}
	r.Refuse(NoWork)
	if !r.refused("127.0.0.2") || r.Stats().Drops[NoWork] != 1 {
		t.Errorf("without work: %v", r.Stats().Drops)
	}
	r.Admit()
	c := r.dial()
	c.send("x\n")
	c.wantLine("x")
}

// What is another process's waits for it.
func TestLeaveToOthers(t *testing.T) {
	r := start(t, Config{}, nil, func(s *Server) { s.LeaveToOthers() })
	c := r.dial() // into the system's queue
	c.send("x\n")
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !isTimeout(err) {
		t.Errorf("not left alone: %v", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	r.Admit()
	c.wantLine("x")
}

func TestSocketOptions(t *testing.T) {
	got := make(chan [6]int, 1)
	r := start(t, Config{}, func(p *probe) {
		p.open = func(p *probe, s Slot) {
			fd := int(p.l.slab.at(s).fd)
			var v [6]int
			for i, o := range [][2]int{
				{unix.IPPROTO_TCP, unix.TCP_NODELAY},
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE},
				{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
				{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
				{unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
				{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
			} {
				v[i], _ = unix.GetsockoptInt(fd, o[0], o[1])
			}
			got <- v
		}
	}, nil)
	r.dial()
	if v, want := <-got, [6]int{1, 1, 45, 30, 3, 135000}; v != want {
		t.Errorf("nodelay, keepalive, idle, interval, probes, user timeout are %v, want %v", v, want)
	}
}
