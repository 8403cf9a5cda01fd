package bench

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/epoll"
	"github.com/ckpool/ckpool/internal/tlspipe"
	"github.com/ckpool/ckpool/stratum/client"
)

// tlsConfig takes any certificate and offers the key exchanges that mining
// firmware has; larger ones would measure them instead of the pool.
var tlsConfig = &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}}

// secured is the TLS of a connection.
type secured struct {
	*tlspipe.Conn
	ended atomic.Bool   // the handshake's goroutine says so by an event
	done  chan struct{} // it has returned
	err   error         // of the handshake, valid when ended
}

// newLimit keeps handshakes from taking the whole client.
func newLimit() tlspipe.Limit { return make(tlspipe.Limit, max(1, runtime.GOMAXPROCS(0)/2)) }

// begin says what comes before the first line.
func (l *loop) begin(c *conn) {
	if l.engine.opts.ProxyProtocol {
		header := appendProxyHeader(nil, l.engine.opts.source(c.number), l.engine.target)
		if n, _ := epoll.Send(c.fd, header); n < len(header) {
			l.drop(c, "PROXY header not taken")
			return
		}
	}
	if !l.engine.opts.TLS {
		l.subscribe(c)
		return
	}
	t := &secured{Conn: tlspipe.Client(tlsConfig), done: make(chan struct{})}
	c.tls, c.state = t, shaking
	fd, slot := c.fd, c.slot
	go func() {
		defer close(t.done)
		t.err = t.Handshake(l.engine.computing, func(b []byte) {
			if n, _ := epoll.Send(fd, b); n < len(b) {
				t.Abort()
			}
		})
		t.ended.Store(true)
		// A socket that can be written is an event at once.
		_ = l.poller.Control(unix.EPOLL_CTL_MOD, int(fd), readEvents|unix.EPOLLOUT, slot, 0)
	}()
}

// shaken goes on when the handshake has ended.
func (l *loop) shaken(c *conn) {
	if !c.tls.ended.Load() {
		return
	}
	<-c.tls.done // after its last use of the socket
	if c.tls.err != nil {
		l.drop(c, "TLS: "+c.tls.err.Error())
		return
	}
	c.tls.Established()
	l.watch(c, false)
	if c.state != dead {
		l.subscribe(c)
	}
}

// close ends the socket of c, after a handshake that still uses it.
func (c *conn) close() {
	if c.state == shaking {
		c.tls.Abort()
		<-c.tls.done
	}
	unix.Close(int(c.fd))
}

// decrypt hands on to its loop what was received, false when the connection is
// lost.
func (c *conn) decrypt(l *loop, data []byte) bool {
	if c.state == shaking {
		if !c.tls.Feed(data) {
			l.drop(c, "TLS: too much in the handshake")
		}
		return c.state != dead
	}
	if l.plain == nil {
		l.plain = make([]byte, 16<<10)
	}
	c.tls.Receive(data)
	for {
		n, err := c.tls.Read(l.plain)
		if n > 0 && !l.lines(c, l.plain[:n]) {
			return false
		}
		switch err {
		case nil:
		case tlspipe.ErrEmpty:
			return true
		default:
			l.drop(c, "TLS: "+err.Error())
			return false
		}
	}
}

// source is a made-up address of a miner. Those of 127.0.0.0/8 are without
// limits in a pool's default configuration.
func (o *Options) source(number int) netip.AddrPort {
	a := [4]byte{127}
	n := uint32(number + 2) // 127.0.0.1 is others'
	a[1], a[2], a[3] = byte(n>>16), byte(n>>8), byte(n)
	return netip.AddrPortFrom(netip.AddrFrom4(a), uint16(1024+number%60000))
}

// appendProxyHeader appends a header of the PROXY protocol, version 2.
func appendProxyHeader(b []byte, from, to netip.AddrPort) []byte {
	const proxy, tcp4 = 0x21, 0x11
	b = append(b, "\r\n\r\n\x00\r\nQUIT\n"...)
	b = append(b, proxy, tcp4, 0, 12)
	b = append(b, from.Addr().AsSlice()...)
	destination := [4]byte{127, 0, 0, 1}
	if to.Addr().Is4() {
		destination = to.Addr().As4()
	}
	b = append(b, destination[:]...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	return binary.BigEndian.AppendUint16(b, to.Port())
}

// endpoint is how a client of its own reaches the pool as the loops do.
func (o *Options) endpoint(number int, target netip.AddrPort) (client.Endpoint, client.Options) {
	address := o.Address
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	}
	scheme := "stratum+tcp://"
	if o.TLS {
		scheme = "stratum+ssl://"
	}
	set := client.Options{TLS: tlsConfig}
	if o.ProxyProtocol {
		header := appendProxyHeader(nil, o.source(number), target)
		set.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				if _, err = c.Write(header); err != nil {
					return nil, errors.Join(err, c.Close())
				}
			}
			return c, err
		}
	}
	return client.Endpoint{URL: scheme + address, User: o.worker(number), Password: o.Password}, set
}
