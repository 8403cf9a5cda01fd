//go:build linux

package netserver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListenURL(t *testing.T) {
	tests := []struct {
		url, host string
		port      uint16
		err       string
	}{
		{"", "", 3333, ""},
		{":3334", "", 3334, ""},
		{"*:3334", "", 3334, ""},
		{"0.0.0.0:3334", "0.0.0.0", 3334, ""},
		{"0.0.0.0", "0.0.0.0", 3333, ""},
		{"pool.example.org", "pool.example.org", 3333, ""},
		{"pool.example.org:", "pool.example.org", 3333, ""},
		{"stratum+tcp://pool.example.org:80/path?x", "pool.example.org", 80, ""},
		{"http://[::1]:8080/", "::1", 8080, ""},
		{"[::]:3333", "::", 3333, ""},
		{"[::1]", "::1", 3333, ""},
		{"[fe80::1%eth0]:1", "fe80::1%eth0", 1, ""},
		{"::1", "::1", 3333, ""},
		{" 127.0.0.1:65535\n", "127.0.0.1", 65535, ""},
		{"127.0.0.1:65536", "", 0, `port "65536" is not a number from 1 to 65535`},
		{"127.0.0.1:-1", "", 0, `port "-1" is not`},
		{"127.0.0.1:http", "", 0, `port "http" is not`},
		{"[::1:3333", "", 0, "want [address]:port"},
		{"[::1]3333", "", 0, "want [address]:port"},
		{"[nonsense]:3333", "", 0, `"nonsense" is not an IPv6 address`},
		{"a:b:c", "", 0, "want host:port, or [address]:port"},
	}
	for _, tt := range tests {
		host, port, err := listenURL(tt.url)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), fmt.Sprintf("%q", tt.url)) {
				t.Errorf("%q: error %v, want one with %q", tt.url, err, tt.err)
			}
			continue
		}
		if err != nil || host != tt.host || port != tt.port {
			t.Errorf("%q is %q port %d, %v; want %q port %d", tt.url, host, port, err, tt.host, tt.port)
		}
	}
}

func newIdle(t *testing.T) (*Server, *record) {
	t.Helper()
	rec := newRecord()
	s, err := New(Config{Loops: 1, Events: rec.event}, func(l *Loop) Handler { return &probe{l: l, rec: rec} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, rec
}

func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	s, _ := newIdle(t)
	tests := []struct {
		url   string
		errno error
		want  []string
	}{
		{fmt.Sprintf("127.0.0.1:%d", port), unix.EADDRINUSE,
			[]string{fmt.Sprintf("port %d is used by another program", port), "choose another port"}},
		{"203.0.113.77:3333", unix.EADDRNOTAVAIL, []string{"203.0.113.77:3333", "does not have that address", "0.0.0.0 or [::]"}},
		{"no-such-host.invalid:3333", nil, []string{`cannot resolve "no-such-host.invalid"`}},
		{"3333", nil, []string{`want host:port, such as "0.0.0.0:3333"`}},
		{"127.0.0.1:99999", nil, []string{`port "99999"`}},
	}
	for _, tt := range tests {
		_, err := s.Listen(t.Context(), tt.url)
		if err == nil {
			t.Errorf("%s: listening", tt.url)
			continue
		}
		if tt.errno != nil && !errors.Is(err, tt.errno) {
			t.Errorf("%s: %v does not wrap %v", tt.url, err, tt.errno)
		}
		for _, w := range append(tt.want, fmt.Sprintf("%q", tt.url)) {
			if !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error is %q, want one line with %q", tt.url, err, w)
			}
		}
	}
	if n := len(s.Listeners()); n != 0 {
		t.Errorf("%d listeners after failures", n)
	}
	// Ports below 1024 are free to root here, so the errno is made up.
	text := (&BindError{URL: "0.0.0.0:80", Addr: netip.MustParseAddrPort("0.0.0.0:80"), op: "bind", Err: unix.EACCES}).Error()
	if !strings.Contains(text, "port 80 is privileged") || !strings.Contains(text, "cap_net_bind_service") {
		t.Errorf("privileged port: %q", text)
	}
}

func TestListenTwice(t *testing.T) {
	s, _ := newIdle(t)
	if _, err := s.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	url := s.Listeners()[0].Addrs[0].String()
	_, err := s.Listen(t.Context(), url)
	if err == nil || !strings.Contains(err.Error(), `this server has it already by its listen address "127.0.0.1:0"`) {
		t.Errorf("error is %v", err)
	}
}

func hasIPv6(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	l.Close()
}

func TestDualStack(t *testing.T) {
	hasIPv6(t)
	r := start(t, Config{}, nil, func(s *Server) {
		if i, err := s.Listen(t.Context(), ":0"); err != nil || i != 1 {
			t.Fatal(i, err)
		}
	})
	port := r.Listeners()[1].Addrs[0].Port()
	for _, host := range []string{"127.0.0.1", "::1"} {
		c := dialFrom(t, netip.AddrPortFrom(netip.MustParseAddr(host), port).String(), "", 0)
		c.send("x\n")
		c.wantLine("x")
	}
}

// 0.0.0.0 and [::] on one port are two listeners.
func TestAllOfBothFamilies(t *testing.T) {
	hasIPv6(t)
	s, _ := newIdle(t)
	if _, err := s.Listen(t.Context(), "0.0.0.0:0"); err != nil {
		t.Fatal(err)
	}
	port := s.Listeners()[0].Addrs[0].Port()
	if _, err := s.Listen(t.Context(), fmt.Sprintf("[::]:%d", port)); err != nil {
		t.Error(err)
	}
}

// Every address of a name is bound; one that this machine lacks is told, not
// fatal.
func TestEveryAddressIsBound(t *testing.T) {
	addrs, err := resolve(t.Context(), "localhost")
	if err != nil {
		t.Skip(err)
	}
	s, rec := newIdle(t)
	if _, err := s.Listen(t.Context(), "localhost:0"); err != nil {
		t.Fatal(err)
	}
	if got := len(s.Listeners()[0].Addrs) + rec.eventsWith("Not listening on one address of several"); got != len(addrs) {
		t.Errorf("bound or told %d of %v", got, addrs)
	}
}

// The handler is told which listener a client came by, and the client's IPv4
// address as such also on a listener for both families.
func TestOpenTellsListener(t *testing.T) {
	hasIPv6(t)
	type came struct {
		remote   netip.AddrPort
		listener int
	}
	got := make(chan came, 1)
	s, err := New(Config{}, func(l *Loop) Handler {
		return &openProbe{probe: &probe{l: l, rec: newRecord()}, opened: func(a netip.AddrPort, i int) { got <- came{a, i} }}
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for _, url := range []string{"127.0.0.1:0", "[::]:0"} {
		if _, err := s.Listen(t.Context(), url); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for i, l := range s.Listeners() {
		c := dialFrom(t, fmt.Sprintf("127.0.0.1:%d", l.Addrs[0].Port()), "", 0)
		if g := <-got; g.listener != i || g.remote.String() != c.LocalAddr().String() {
			t.Errorf("listener %d, remote %v; want %d, %v", g.listener, g.remote, i, c.LocalAddr())
		}
	}
}

type openProbe struct {
	*probe
	opened func(netip.AddrPort, int)
}

func (p *openProbe) Open(_ Slot, a netip.AddrPort, i int) { p.opened(a, i) }
func (p *openProbe) Closed(Slot, Reason)                  {}

// The sockets can be passed on: connections are still accepted by a duplicate
// after the server ended.
func TestListenerFiles(t *testing.T) {
	r := start(t, Config{}, nil, nil)
	files, err := r.Listeners()[0].Files()
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	heir, err := net.FileListener(files[0])
	files[0].Close()
	if err != nil {
		t.Fatal(err)
	}
	defer heir.Close()
	r.stop()
	c := dialFrom(t, r.addr, "", 0)
	accepted, err := heir.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if accepted.RemoteAddr().String() != c.LocalAddr().String() {
		t.Error("another connection")
	}
	if _, err := r.Listeners()[0].Files(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("files of a closed listener: %v", err)
	}
}
