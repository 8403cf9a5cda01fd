//go:build linux

package netserver

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// echoOnce connects, has one line echoed and closes with a reset.
func echoOnce(addr string) error {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("x\n")); err != nil {
		return err
	}
	if s, err := bufio.NewReader(c).ReadString('\n'); err != nil || s != "x\n" {
		return errors.Join(err, errors.New("answer is "+s))
	}
	return nil
}

// refused tells that a connection from local was closed without an answer.
func (r *running) refused(local string) bool {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
	c, err := d.DialContext(r.t.Context(), "tcp", r.addr)
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err = c.Write([]byte("x\n")); err == nil {
			_, err = c.Read(make([]byte, 2))
		}
	}
	if err != nil && err != io.EOF && !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		r.t.Fatalf("neither answered nor refused: %v", err)
	}
	return err != nil
}

func TestConnectRate(t *testing.T) {
	r := start(t, Config{ConnectRate: 1, ConnectBurst: 5, LimitExempt: []netip.Prefix{}}, nil, nil)
	began := time.Now()
	for i := range 5 {
		if r.refused("127.0.0.2") {
			t.Fatalf("connection %d of a burst of 5 refused", i+1)
		}
	}
	for more := 1; !r.refused("127.0.0.2"); more++ {
		if took := time.Since(began); more > int(took.Seconds()) { // one more a second is allowed
			t.Fatalf("%d were served within %v", 5+more, took)
		}
	}
	if r.refused("127.0.0.3") {
		t.Error("another address is refused too")
	}
	eventually(t, "a token after a second", func() bool { return !r.refused("127.0.0.2") })
	if st := r.Stats(); st.Drops[RateLimited] == 0 {
		t.Error("not counted")
	}
	if n := r.rec.eventsWith("Dropped 127.0.0.2: rate limited: more than 1 new connections per second"); n != 1 {
		t.Errorf("%d lines about it, want 1", n)
	}
}

func TestMaxUnauthorized(t *testing.T) {
	r := start(t, Config{MaxUnauthorized: 2, LimitExempt: []netip.Prefix{}}, func(p *probe) {
		p.line = func(p *probe, s Slot, line []byte) {
			if string(line) == "auth" {
				p.l.Authorized(s)
				p.l.Authorized(s) // counts once
			}
			p.l.Write(s, []byte("ok\n"))
		}
	}, nil)
	say := func(c *client, text string) {
		c.send(text + "\n")
		c.wantLine("ok")
	}
	a, b := dialFrom(t, r.addr, "127.0.0.2", 0), dialFrom(t, r.addr, "127.0.0.2", 0)
	say(a, "hello")
	say(b, "hello")
	if !r.refused("127.0.0.2") {
		t.Error("a third unauthorised connection was served")
	}
	say(a, "auth")
	c := dialFrom(t, r.addr, "127.0.0.2", 0)
	say(c, "hello")
	if !r.refused("127.0.0.2") {
		t.Error("b and c are unauthorised, and one more was served")
	}
	b.Close()
	eventually(t, "place of a closed connection", func() bool { return !r.refused("127.0.0.2") })
}

func TestMaxPerAddress(t *testing.T) {
	r := start(t, Config{MaxPerAddress: 2, LimitExempt: []netip.Prefix{}}, nil, nil)
	a, b := dialFrom(t, r.addr, "127.0.0.2", 0), dialFrom(t, r.addr, "127.0.0.2", 0)
	a.send("x\n")
	a.wantLine("x")
	b.send("x\n")
	b.wantLine("x")
	if !r.refused("127.0.0.2") || r.refused("127.0.0.3") {
		t.Error("want a third from 127.0.0.2 refused, 127.0.0.3 served")
	}
	a.Close()
	eventually(t, "place of a closed connection", func() bool { return !r.refused("127.0.0.2") })
}

func TestLocalAddressesAreExempt(t *testing.T) {
	r := start(t, Config{ConnectRate: 1, ConnectBurst: 1, MaxUnauthorized: 1, MaxPerAddress: 1}, nil, nil)
	for range 5 {
		c := r.dial()
		c.send("x\n")
		c.wantLine("x")
	}
	for addr, want := range map[string]bool{
		"127.9.9.9": true, "10.1.2.3": true, "172.16.0.1": true, "172.32.0.1": false, "192.168.7.7": true,
		"8.8.8.8": false, "::1": true, "fd00::1": true, "fe80::1": true, "2001:db8::1": false,
	} {
		if got := r.limits.limits.Load().isExempt(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s exempt: %v, want %v", addr, got, want)
		}
	}
}

func TestLimiterKeys(t *testing.T) {
	c := Config{ConnectRate: 1, ConnectBurst: 1, MaxUnauthorized: 1, MaxPerAddress: -1, LimitExempt: []netip.Prefix{}}
	now := time.Now()
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"1.2.3.4", "1.2.3.4", true},
		{"1.2.3.4", "1.2.3.5", false},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::2", true},
		{"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"::", "0.0.0.0", false},
	} {
		l := newLimiter(&c, now)
		if _, no := l.admit(netip.MustParseAddr(tt.a), now); no != "" {
			t.Fatal(no)
		}
		_, no := l.admit(netip.MustParseAddr(tt.b), now)
		if (no != "") != tt.same {
			t.Errorf("%s then %s: %q, want shared limits: %v", tt.a, tt.b, no, tt.same)
		}
	}
}

// Over any time a bucket lets pass burst + rate × time, however its maps are
// rotated, and forgets an address that went away.
func TestConnectRateOverTime(t *testing.T) {
	c := Config{ConnectRate: 10, ConnectBurst: 50, MaxUnauthorized: -1, LimitExempt: []netip.Prefix{}}
	begin := time.Now()
	l := newLimiter(&c, begin)
	addr := netip.MustParseAddr("1.2.3.4")
	passed := 0
	const steps = 2000
	for i := range steps { // 100 attempts a second for 20 s
		_, no := l.admit(addr, begin.Add(time.Duration(i)*10*time.Millisecond))
		if no == "" {
			passed++
		} else if !strings.Contains(no, "more than 10 new connections per second") {
			t.Fatal(no)
		}
	}
	if want := 50 + 10*20; passed < want-2 || passed > want {
		t.Errorf("%d of %d passed, want %d", passed, steps, want)
	}
	other := netip.MustParseAddr("1.2.3.5")
	for _, after := range []time.Duration{30, 40, 50} {
		l.admit(other, begin.Add(after*time.Second))
	}
	if n := l.buckets.Len(); n > 2 {
		t.Errorf("%d buckets kept, want only those of the other address", n)
	}
}
