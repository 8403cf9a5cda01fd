package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
)

// proxied takes the PROXY header off a connection before its first byte.
type proxied struct {
	net.Conn
	from func(netip.AddrPort)
	read bool
}

func (p *proxied) Read(b []byte) (int, error) {
	if !p.read {
		p.read = true
		header := make([]byte, 28)
		if _, err := io.ReadFull(p.Conn, header); err != nil {
			return 0, err
		}
		if !bytes.HasPrefix(header, []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c")) {
			return 0, fmt.Errorf("header %x", header)
		}
		p.from(netip.AddrPortFrom(netip.AddrFrom4([4]byte(header[16:20])), uint16(header[24])<<8|uint16(header[25])))
	}
	return p.Conn.Read(b)
}

// Every mode does over TLS and behind a proxy what it does without.
func TestTransports(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{certificate.New(t, "pool.example", 1).TLS(t)}}
	for _, v := range []struct {
		name       string
		tls, proxy bool
	}{{"TLS", true, false}, {"PROXY", false, true}, {"TLS behind PROXY", true, true}} {
		t.Run(v.name, func(t *testing.T) {
			var mu sync.Mutex
			sources := map[netip.Addr]int{}
			p := otherpool.Start(t, otherpool.Config{Difficulty: 1e-10, Branches: 12, Wrap: func(c net.Conn) net.Conn {
				if v.proxy {
					c = &proxied{Conn: c, from: func(a netip.AddrPort) {
						mu.Lock()
						defer mu.Unlock()
						sources[a.Addr()]++
					}}
				}
				if v.tls {
					c = tls.Server(c, config)
				}
				return c
			}})
			o := options(p, 20)
			o.TLS, o.ProxyProtocol, o.Loops = v.tls, v.proxy, 2
			from := func(miners int) {
				t.Helper()
				mu.Lock()
				defer mu.Unlock()
				want := 0
				if v.proxy {
					want = miners
				}
				if len(sources) != want {
					t.Errorf("miners came from %d addresses, want %d", len(sources), want)
				}
				for a := range sources {
					if !a.IsLoopback() {
						t.Errorf("a miner came from %v", a)
					}
				}
				clear(sources)
			}
			r, err := Shares(t.Context(), SharesConfig{Options: o, Window: 8, Duration: 2 * time.Second, Idle: 5})
			if err != nil || r.Accepted < 100 || r.Accepted != p.Accepted.Load() || r.Failed() {
				t.Errorf("shares: %v, %s", err, show(r))
			}
			from(25)
			notify, err := Notify(t.Context(), NotifyConfig{Options: o, Block: p.NewBlock, Rounds: 3, Interval: time.Millisecond})
			if err != nil || notify.Failed() {
				t.Errorf("notify: %v, %s", err, show(notify))
			}
			from(20)
			o.Miners = 300
			storm, err := Storm(t.Context(), StormConfig{o})
			if err != nil || storm.Failed() {
				t.Errorf("storm: %v, %s", err, show(storm))
			}
			from(300)
			o.Miners = 3
			idle, err := Idle(t.Context(), IdleConfig{Options: o, Duration: 10 * time.Millisecond})
			if err != nil || idle.Failed() {
				t.Errorf("idle: %v, %s", err, show(idle))
			}
			from(3)
			ctx, enough := context.WithCancel(t.Context())
			before := p.Accepted.Load()
			go func() {
				defer enough()
				for ctx.Err() == nil {
					mu.Lock()
					came := !v.proxy || len(sources) == o.Miners
					mu.Unlock()
					if came && p.Accepted.Load() > before {
						return
					}
					<-time.After(time.Millisecond)
				}
			}()
			mine, err := Mine(ctx, MineConfig{Options: o, HashRate: 1000, Duration: time.Minute})
			enough()
			if err != nil || mine.Failed() {
				t.Errorf("mine: %v, %s", err, show(mine))
			}
			from(3)
		})
	}
}

// A pool that does not speak TLS is told from one that is not there.
func TestNoTLS(t *testing.T) {
	p := otherpool.Start(t, otherpool.Config{})
	o := options(p, 3)
	o.TLS, o.Ready = true, 2*time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := Storm(ctx, StormConfig{o}); err == nil {
		t.Error("no error")
	}
}

// One address has not ports for 100,000 miners.
func TestManyMinersHaveSeveralAddresses(t *testing.T) {
	for number, want := range map[int]string{0: "0.0.0.0", addressMiners - 1: "0.0.0.0", addressMiners: "127.0.0.2", 99_999: "127.0.0.5"} {
		c := conn{number: number}
		if err := c.socket(netip.MustParseAddrPort("127.0.0.1:3333")); err != nil {
			t.Fatal(err)
		}
		from, err := unix.Getsockname(int(c.fd))
		unix.Close(int(c.fd))
		if err != nil {
			t.Fatal(err)
		}
		if got := netip.AddrFrom4(from.(*unix.SockaddrInet4).Addr).String(); got != want {
			t.Errorf("miner %d comes from %s, want %s", number, got, want)
		}
	}
}
