//go:build linux

package epoll

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newPoller(t *testing.T) *Poller {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// watched is a socket in p and its other end.
func watched(t *testing.T, p *Poller, index int32, generation uint32) (in, out int32) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	if err := p.Control(unix.EPOLL_CTL_ADD, fds[0], unix.EPOLLIN, index, generation); err != nil {
		t.Fatal(err)
	}
	return int32(fds[0]), int32(fds[1])
}

// An event carries the index and generation that its socket was added with, and
// what was sent is read.
func TestEvents(t *testing.T) {
	p := newPoller(t)
	in, out := watched(t, p, 7, 9)
	if err := p.Wait(false); err != nil || len(p.Events) != 0 {
		t.Fatalf("before anything was sent: %v, %v", p.Events, err)
	}
	if err := p.Until(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, errno := Send(out, []byte("hello")); n != 5 || errno != 0 {
		t.Fatal(n, errno)
	}
	if err := p.Wait(true); err != nil || len(p.Events) != 1 || p.Events[0].Fd != 7 || p.Events[0].Pad != 9 {
		t.Fatalf("events %+v, %v", p.Events, err)
	}
	b := make([]byte, 10)
	if n, errno := Receive(in, b); string(b[:n]) != "hello" || errno != 0 {
		t.Errorf("received %q, %v", b[:n], errno)
	}
	if n, errno := Receive(in, b); n != 0 || errno != unix.EAGAIN {
		t.Errorf("received %d bytes more, %v", n, errno)
	}
}

// A parked wait ends by an event that comes meanwhile, or in time without one.
func TestPark(t *testing.T) {
	p := newPoller(t)
	_, out := watched(t, p, 0, 1)
	if err := p.Until(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go Send(out, []byte("x"))
	if err := p.Wait(true); err != nil || len(p.Events) != 1 {
		t.Fatalf("events %+v, %v", p.Events, err)
	}
	if err := p.Control(unix.EPOLL_CTL_MOD, int(out), 0, 0, 1); err == nil {
		t.Error("a socket that was not added is modified")
	}
	q := newPoller(t)
	end := time.Now().Add(10 * time.Millisecond)
	if err := q.Until(end); err != nil || !q.End().Equal(end) {
		t.Fatal(q.End(), err)
	}
	if err := q.Wait(true); err != nil || len(q.Events) != 0 || time.Now().Before(end) {
		t.Errorf("at the end: %+v, %v, %v early", q.Events, err, time.Until(end))
	}
}

// A poller that does not work says so instead of waiting for ever.
func TestBroken(t *testing.T) {
	p := newPoller(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := unix.Dup3(int(null.Fd()), p.fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(true); err == nil || !strings.Contains(err.Error(), "epoll_wait") {
		t.Errorf("wait: %v", err)
	}
}

// The other end being gone is an error of Send, and no signal that ends the
// program.
func TestSendToNobody(t *testing.T) {
	p := newPoller(t)
	in, out := watched(t, p, 0, 1)
	if err := unix.Shutdown(int(in), unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	if _, errno := Send(out, []byte("x")); errno != unix.EPIPE {
		t.Errorf("error %v, want EPIPE", errno)
	}
}

// Waiting, reading and writing are what a loop does for each share.
func TestAllocations(t *testing.T) {
	p := newPoller(t)
	in, out := watched(t, p, 0, 1)
	b := []byte("x")
	if n := testing.AllocsPerRun(100, func() {
		Send(out, b)
		_ = p.Wait(true)
		Receive(in, b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
