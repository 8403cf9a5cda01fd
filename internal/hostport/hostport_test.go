package hostport

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

func TestSplit(t *testing.T) {
	for in, want := range map[string]struct {
		host, port string
		hasPort    bool
		err        string
	}{
		"":                                 {},
		":3333":                            {"", "3333", true, ""},
		"pool.example.com:3333":            {"pool.example.com", "3333", true, ""},
		"pool.example.com":                 {"pool.example.com", "", false, ""},
		"pool.example.com:":                {"pool.example.com", "", true, ""},
		"stratum+tcp://192.0.2.1:3333/a":   {"192.0.2.1", "3333", true, ""},
		"//192.0.2.1:3333":                 {"192.0.2.1", "3333", true, ""},
		"192.0.2.1:3333/a//b":              {"192.0.2.1", "3333", true, ""},
		"tcp://[2001:db8::1]:3333":         {"2001:db8::1", "3333", true, ""},
		"[2001:db8::1]":                    {"2001:db8::1", "", false, ""},
		"2001:db8::1":                      {"2001:db8::1", "", false, ""},
		"[2001:db8::1":                     {err: "want [address]:port"},
		"[2001:db8::1]3333":                {err: "want [address]:port"},
		"[pool.example.com]:3333":          {err: `"pool.example.com" is not an IPv6 address`},
		"stratum+tcp://a.example:1:2/path": {err: "want host:port, or [address]:port for IPv6"},
	} {
		host, port, hasPort, err := Split(in)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if host != want.host || port != want.port || hasPort != want.hasPort || text != want.err {
			t.Errorf("%q is %q, %q, %v, %v; want %+v", in, host, port, hasPort, err, want)
		}
	}
}

// What an address is written as is taken apart again.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"", ":3333", "a:1", "[::1]:2", "::1", "tcp://a:1/b", "[", "a:b:c", "//", "a//b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, hasPort, err := Split(s)
		if err != nil || !hasPort {
			return
		}
		if _, err := netip.ParseAddr(host); err != nil && (host == "" || host[0] == '[') {
			return
		}
		h, p, has, err := Split(net.JoinHostPort(host, port))
		if h != host || p != port || !has || err != nil {
			t.Errorf("%q is %q, %q, which is %q, %q, %v", s, host, port, h, p, err)
		}
	})
}

func TestReason(t *testing.T) {
	at := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:3333"))
	for _, own := range []string{"10.0.0.1:51234", "[2001:db8::1]:51235"} {
		err := fmt.Errorf("no answer: %w", &net.OpError{Op: "read", Net: "tcp", Source: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(own)), Addr: at, Err: syscall.ECONNRESET})
		if got, want := Reason(err), "no answer: read tcp 192.0.2.1:3333: connection reset by peer"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
