package httpserver_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/httpserver"
)

// patience is for a slow, busy machine.
const patience = time.Minute

// serve runs a server on a port of its own until the test ends.
func serve(t *testing.T, s httpserver.Server) (address string) {
	t.Helper()
	l, err := httpserver.Listen(t.Context(), "127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	if s.Handler == nil {
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			}
			_, _ = io.WriteString(w, "hello")
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
			c.Close()
			t.Error("the port is still open")
		}
	})
	return l.Addr().String()
}

// An address that another process has is tried again for as long as it was said to be,
// and no longer.
func TestListen(t *testing.T) {
	first, err := httpserver.Listen(t.Context(), "127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	address := first.Addr().String()
	for _, patience := range []time.Duration{0, 50 * time.Millisecond} {
		began := time.Now()
		if _, err := httpserver.Listen(t.Context(), address, patience); !errors.Is(err, syscall.EADDRINUSE) || time.Since(began) < patience {
			t.Errorf("%v after %v, with patience for %v", err, time.Since(began), patience)
		}
	}
	got := make(chan net.Listener)
	go func() {
		l, err := httpserver.Listen(t.Context(), address, patience)
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	first.Close()
	l := <-got
	if l == nil {
		t.FailNow()
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if l, err := httpserver.Listen(ctx, address, patience); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", l, err)
	}
}

// Ten thousand connections of one address that say nothing have no more than its places:
// another address is answered at once, and so is this one when they are gone.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	const ofAddress = 50
	address := serve(t, httpserver.Server{Connections: 100, AnswerTime: patience, OfAddress: ofAddress})
	var open []net.Conn
	closed := make(chan bool, 10_000)
	for range cap(closed) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		if len(open) > 500 { // who is left longest has a place, or was closed
			go waitClosed(open[0], closed)
			open = open[1:]
		}
	}
	other := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}}
	reply, err := other.Get("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	for _, c := range open {
		go waitClosed(c, closed)
	}
	for range cap(closed) {
		if ok := <-closed; !ok {
			t.Fatal("a connection that says nothing stays")
		}
	}
}

// waitClosed tells whether the other end closes a connection.
func waitClosed(c net.Conn, closed chan<- bool) {
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, c)
	var late net.Error
	closed <- !errors.As(err, &late) || !late.Timeout()
}

// A reverse proxy has as many as it needs, and a place is free when its connection ends.
func TestTrusted(t *testing.T) {
	var trusted atomic.Bool
	address := serve(t, httpserver.Server{Connections: 100, AnswerTime: patience, OfAddress: 1, Trusted: func(netip.Addr) bool { return trusted.Load() }})
	answered := func(c net.Conn) bool {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(patience))
		line, _ := bufio.NewReader(c).ReadString('\n')
		return strings.HasPrefix(line, "HTTP/1.1 200")
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	first := dial()
	if !answered(first) {
		t.Fatal("the first is not answered")
	}
	if answered(dial()) {
		t.Error("one too many is answered")
	}
	trusted.Store(true)
	for range 5 {
		if !answered(dial()) {
			t.Error("a proxy is not answered")
		}
	}
	trusted.Store(false)
	first.Close()
	for deadline := time.Now().Add(patience); !answered(dial()); {
		if time.Now().After(deadline) {
			t.Fatal("the place is not free")
		}
	}
}

// Who sends headers without end, or none, is closed.
func TestSlowHeaders(t *testing.T) {
	t.Parallel()
	address := serve(t, httpserver.Server{Connections: 100, AnswerTime: patience})
	for name, say := range map[string]string{
		"nothing": "", "half a line": "GET / HT", "half of the headers": "GET / HTTP/1.1\r\nHost: x\r\nX-A: b\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, say)
			closed := make(chan bool, 1)
			waitClosed(c, closed)
			if !<-closed {
				t.Error("it stays")
			}
		})
	}
	t.Run("big", func(t *testing.T) {
		request, _ := http.NewRequest("GET", "http://"+address, nil)
		request.Header.Set("X-Big", strings.Repeat("x", 100<<10))
		reply, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			return // closed while it was sent
		}
		reply.Body.Close()
		if reply.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%d", reply.StatusCode)
		}
	})
}
