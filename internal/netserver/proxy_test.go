//go:build linux

package netserver

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// startProxied serves "name" with where the client is, behind proxies.
func startProxied(t *testing.T, c Config, proxies []netip.Prefix) *running {
	return start(t, c, func(p *probe) {
		p.line = func(p *probe, s Slot, line []byte) {
			p.l.Write(s, fmt.Appendf(nil, "%s from %v\n", line, p.l.Remote(s)))
		}
	}, func(s *Server) {
		if _, err := s.ListenAll(t.Context(), []Endpoint{{URL: ownAddress, Proxies: proxies}}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestProxyHeaderPieces(t *testing.T) {
	r := startProxied(t, Config{}, loopback)
	for name, header := range map[string]string{
		"v1": "PROXY TCP4 203.0.113.9 192.0.2.1 56506 3333\r\n",
		"v2": unhex(v2Signature + "21 11 000c" + v4Addresses),
	} {
		t.Run(name, func(t *testing.T) {
			c := dialFrom(t, r.second(), "", 0)
			c.send(header + "a\nb\n") // in one segment
			c.wantLine("a from 203.0.113.9:56506")
			c.wantLine("b from 203.0.113.9:56506")
			c = dialFrom(t, r.second(), "", 0)
			_ = c.SetNoDelay(true)
			for _, b := range []byte(header + "c\n") {
				c.send(string([]byte{b}))
			}
			c.wantLine("c from 203.0.113.9:56506")
		})
	}
}

// Of health checks and of what the proxy does not know the peer is the client.
func TestProxyKeepsPeer(t *testing.T) {
	r := startProxied(t, Config{}, loopback)
	for _, header := range []string{
		"PROXY UNKNOWN\r\n", "PROXY UNKNOWN 203.0.113.9 192.0.2.1 1 2\r\n",
		unhex(v2Signature + "20 00 0000"), unhex(v2Signature + "20 11 000c" + v4Addresses), unhex(v2Signature + "21 00 0000"),
	} {
		c := dialFrom(t, r.second(), "127.0.0.7", 0)
		c.send(header + "x\n")
		c.wantLine("x from " + c.LocalAddr().String())
	}
}

func TestProxyRefused(t *testing.T) {
	r := startProxied(t, Config{}, []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")})
	for i, v := range []struct {
		from, sends string
		why         Reason
	}{
		{"127.0.0.2", `{"id":1,"method":"mining.subscribe"}` + "\n", ProxyMissing},
		{"127.0.0.2", "PROXY TCP4 203.0.113.9 192.0.2.1 99999 3333\r\n", ProxyMalformed},
		{"127.0.0.2", unhex(v2Signature + "22 11 000c" + v4Addresses), ProxyMalformed},
		{"127.0.0.3", "PROXY TCP4 203.0.113.9 192.0.2.1 56506 3333\r\n", ProxyUntrusted},
	} {
		before := r.Stats().Drops[v.why]
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(v.from)}}
		if c, err := d.DialContext(t.Context(), "tcp", r.second()); err == nil { // else it is refused already
			_, _ = c.Write([]byte(v.sends))
			closedBy(t, c)
			c.Close()
		}
		if n := r.Stats().Drops[v.why] - before; n != 1 {
			t.Errorf("%d: %d drops as %v", i, n, v.why)
		}
	}
	// Who may send one can change.
	r.Listeners()[1].SetProxies(loopback)
	c := dialFrom(t, r.second(), "127.0.0.3", 0)
	c.send("PROXY TCP4 203.0.113.9 192.0.2.1 56506 3333\r\nx\n")
	c.wantLine("x from 203.0.113.9:56506")
	// Monitoring that only connects is nobody's fault.
	c = dialFrom(t, r.second(), "127.0.0.2", 0)
	_ = c.CloseWrite()
	closedBy(t, c)
	if n := r.Stats().Drops[PeerClosed]; n != 1 {
		t.Errorf("%d closed by their peer", n)
	}
	// Cut within the header.
	c = dialFrom(t, r.second(), "127.0.0.2", 0)
	c.send("PROXY TCP4 203.")
	_ = c.CloseWrite()
	closedBy(t, c)
	if n := r.Stats().Drops[ProxyMalformed]; n != 3 {
		t.Errorf("%d malformed", n)
	}
	for part, want := range map[string]int{
		"Dropped 127.0.0.2: no PROXY header": 1, "Dropped 127.0.0.2: malformed PROXY header: malformed PROXY line": 1,
		"Dropped 127.0.0.3: untrusted proxy: not in its trusted_networks": 1, "Dropped": 3,
	} {
		if n := r.rec.eventsWith(part); n != want {
			t.Errorf("%d lines with %q, want %d: %q", n, part, want, r.rec.events)
		}
	}
	if r.rec.opened != 1 {
		t.Errorf("the handler was told of %d", r.rec.opened)
	}
}

// Limits are those of the client, not of the proxy they all come from.
func TestProxyLimits(t *testing.T) {
	r := startProxied(t, Config{MaxPerAddress: 2, LimitExempt: []netip.Prefix{}}, loopback)
	dial := func(source string) *client {
		c := dialFrom(t, r.second(), "", 0)
		c.send("PROXY TCP6 " + source + " ::1 1 2\r\nx\n")
		return c
	}
	one, two := dial("2001:db8::1"), dial("2001:db8::2")
	one.wantLine("x from [2001:db8::1]:1")
	two.wantLine("x from [2001:db8::2]:1")
	closedBy(t, dial("2001:db8::3")) // of the same /64
	dial("2001:db8:0:1::3").wantLine("x from [2001:db8:0:1::3]:1")
	one.Close()
	eventually(t, "room again", func() bool { return r.Clients() == 2 })
	dial("2001:db8::4").wantLine("x from [2001:db8::4]:1")
	if n := r.rec.eventsWith("Dropped 2001:db8::3: rate limited: more than 2 connections"); n != 1 {
		t.Errorf("events %q", r.rec.events)
	}
}

// Nobody stays in front of the door.
func TestEntranceTimeout(t *testing.T) {
	for _, v := range []struct {
		name  string
		at    Endpoint
		sends string
		why   Reason
	}{
		{"no header", Endpoint{Proxies: loopback}, "", ProxyMissing},
		{"half a header", Endpoint{Proxies: loopback}, "PROXY ", ProxyMalformed},
		{"no hello", Endpoint{Certificate: getTestCertificate}, "", TLSTimeout},
		{"half a hello", Endpoint{Certificate: getTestCertificate}, "\x16\x03\x01\x01\x00", TLSTimeout},
		{"no hello behind a header", Endpoint{Certificate: getTestCertificate, Proxies: loopback}, "PROXY UNKNOWN\r\n", TLSTimeout},
	} {
		t.Run(v.name, func(t *testing.T) {
			r := start(t, Config{}, nil, func(s *Server) {
				s.tickEvery = 10 * time.Millisecond
				v.at.URL = ownAddress
				if _, err := s.ListenAll(t.Context(), []Endpoint{v.at}); err != nil {
					t.Fatal(err)
				}
			})
			c := dialFrom(t, r.second(), "", 0)
			c.send(v.sends)
			eventually(t, "it waits", func() bool { return r.Stats().Entering == 1 })
			for r.Stats().Drops[v.why] == 0 { // 9 seconds pass
				for _, l := range r.loops {
					onLoop(l, func() {
						for s, g := range l.entrance.guests {
							if c := l.slab.at(s); c.waits() && (g.tls == nil || g.tls.Waiting()) {
								g.waited = max(g.waited, entranceTimeout-50*time.Millisecond)
							}
						}
					})
				}
			}
			closedBy(t, c)
			if st := r.Stats(); st.Entering != 0 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}
