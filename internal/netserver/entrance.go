//go:build linux

package netserver

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/epoll"
	"github.com/ckpool/ckpool/internal/tlspipe"
)

const (
	// acceptsPerEvent bounds what one loop takes, so that all loops get a share.
	acceptsPerEvent = 8
	// entranceTimeout is what a peer may take for PROXY header and TLS handshake.
	// The time this side needs in a storm of handshakes does not count.
	entranceTimeout = 10 * time.Second
)

// entrance is where connections are between the listening socket and
// Handler.Open: limits, PROXY header, TLS handshake. Owned by the loop.
type entrance struct {
	loop   *Loop
	guests map[Slot]*guest // those that have to wait
}

// guest is a connection that its handler does not know yet.
type guest struct {
	at     *Listener
	header []byte // of the PROXY protocol, incomplete
	// stage says what is waited for.
	stage  stage
	tls    *tlspipe.Conn // from the handshake's first byte on
	waited time.Duration
}

type stage uint8

const (
	stageHeader stage = iota
	stageHello        // the first byte of TLS
	stageHandshake
)

// arrival is an accepted socket, whose place is held.
type arrival struct {
	fd     int32
	at     *Listener
	remote netip.AddrPort
}

// accept takes new connections and gives each to the loop that has the fewest:
// which loop the system wakes first is far from even, and a connection never
// moves later.
func (e *entrance) accept(k socket) {
	l := e.loop
	for range acceptsPerEvent {
		a, ok := l.gate.accept(k)
		if !ok {
			return
		}
		to := l.server.lightest(l)
		to.counters.assigned.Add(1)
		if to == l {
			e.admit(a)
		} else {
			to.mailbox.give(a)
		}
	}
}

// admit gives an accepted socket its slot. Limits go by the address of the
// client, which with the PROXY protocol is not known yet.
func (e *entrance) admit(a arrival) {
	l, flags := e.loop, connFlags(0)
	if a.at.proxied {
		if !a.at.trusts(a.remote.Addr()) {
			e.refuse(a, ProxyUntrusted, "not in its trusted_networks")
			return
		}
	} else {
		limited, refusal := l.server.limits.admit(a.remote.Addr(), l.now)
		if refusal != "" {
			e.refuse(a, RateLimited, refusal)
			return
		}
		flags = limited
	}
	slot, c := l.slab.take()
	if err := l.poller.Control(unix.EPOLL_CTL_ADD, int(a.fd), readEvents, int32(slot), c.generation); err != nil {
		l.slab.release(slot)
		l.server.limits.forget(a.remote.Addr(), flags)
		abort(a.fd)
		l.counters.assigned.Add(-1)
		l.server.unhold() // not freed: loops without resources would wake each other
		l.gate.fail(fmt.Errorf("epoll_ctl: %w", err))
		return
	}
	c.fd, c.flags = a.fd, flags
	c.setRemote(a.remote)
	switch {
	case a.at.proxied:
		e.wait(slot, c, &guest{at: a.at, stage: stageHeader})
	case a.at.tls != nil:
		e.wait(slot, c, &guest{at: a.at, stage: stageHello})
	default:
		e.open(slot, c, a.at)
	}
}

// refuse closes an accepted socket that gets no slot.
func (e *entrance) refuse(a arrival, why Reason, detail string) {
	l := e.loop
	l.counters.drops[why].Add(1)
	l.server.reportDrop(why, a.remote.Addr(), detail)
	abort(a.fd)
	l.server.freed(l)
}

func (e *entrance) wait(s Slot, c *conn, g *guest) {
	c.set(entering)
	e.guests[s] = g
	e.loop.counters.entering.Add(1)
}

// leave ends the waiting of c, if it waits. A handshake that runs ends soon.
func (e *entrance) leave(s Slot, c *conn) {
	if !c.is(entering) {
		return
	}
	c.clear(entering)
	if g := e.guests[s]; g.tls != nil {
		g.tls.Abort()
	}
	delete(e.guests, s)
	e.loop.counters.entering.Add(-1)
}

// open makes c a client.
func (e *entrance) open(s Slot, c *conn, at *Listener) {
	c.set(open | fresh)
	e.loop.counters.accepted.Add(1)
	e.loop.counters.clients.Add(1)
	e.loop.handler.Open(s, c.remote(), at.index)
}

// fail drops a guest; detail is for the log.
func (e *entrance) fail(s Slot, c *conn, why Reason, detail string) {
	e.loop.end(s, c, why)
	e.loop.server.reportDrop(why, c.remote().Addr(), detail)
}

// event handles what epoll says of a guest.
func (e *entrance) event(s Slot, c *conn, events uint32) {
	l := e.loop
	if events&unix.EPOLLOUT != 0 {
		if why, ok := l.output.drain(s, c); !ok {
			l.end(s, c, why)
			return
		}
	}
	if events&(unix.EPOLLIN|hangups) == 0 {
		return
	}
	n, errno := epoll.Receive(c.fd, l.input)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
	case errno != 0 || n == 0:
		e.gone(s, c)
	default:
		e.received(s, c, l.input[:n])
	}
}

// gone ends a guest whose peer has left. One that never said anything, as
// monitoring does, is no failure.
func (e *entrance) gone(s Slot, c *conn) {
	switch g := e.guests[s]; {
	case g.stage == stageHandshake:
		e.fail(s, c, TLSFailed, "closed by the peer in the handshake; does it trust the certificate?")
	case len(g.header) > 0:
		e.fail(s, c, ProxyMalformed, "closed by the peer within the header")
	default:
		e.loop.end(s, c, PeerClosed)
	}
}

// answer shows the page to a web browser that does not know that the port has TLS.
func (e *entrance) answer(s Slot, c *conn, first []byte) {
	_, _ = epoll.Send(c.fd, e.loop.server.page(true, first)) // nothing was sent before: it fits
	e.fail(s, c, HTTPRequest, "without TLS on a port with it")
}

func (e *entrance) received(s Slot, c *conn, data []byte) {
	g := e.guests[s]
	switch g.stage {
	case stageHeader:
		e.readHeader(s, c, g, data)
	case stageHello:
		if first := data[:min(len(data), greetingSize)]; recognise(first, len(data)) == greetingHTTP {
			e.answer(s, c, first)
			return
		}
		e.handshake(s, c, g)
		e.feed(s, c, g, data)
	case stageHandshake:
		e.feed(s, c, g, data)
	}
}

// readHeader waits for the whole PROXY header and goes on with what follows it.
func (e *entrance) readHeader(s Slot, c *conn, g *guest, data []byte) {
	l := e.loop
	if len(g.header) > 0 {
		data = append(g.header, data...)
	}
	source, n, err := parseProxyHeader(data)
	switch {
	case err == errNoProxyHeader:
		e.fail(s, c, ProxyMissing, "")
		return
	case err != nil:
		e.fail(s, c, ProxyMalformed, err.Error())
		return
	case n == 0:
		g.header = append([]byte(nil), data...)
		return
	}
	g.header, data = nil, data[n:]
	if source.IsValid() {
		c.setRemote(source)
	}
	flags, refusal := l.server.limits.admit(c.remote().Addr(), l.now)
	if refusal != "" {
		e.fail(s, c, RateLimited, refusal)
		return
	}
	c.set(flags)
	if g.at.tls != nil {
		g.stage = stageHello
		if len(data) > 0 {
			e.received(s, c, data)
		}
		return
	}
	e.leave(s, c)
	e.open(s, c, g.at)
	l.lines(s, c, data)
}

// handshake starts the goroutine of a TLS handshake.
func (e *entrance) handshake(s Slot, c *conn, g *guest) {
	l, pipe, handle := e.loop, tlspipe.Server(g.at.tls), c.handle(s)
	g.tls, g.stage = pipe, stageHandshake
	l.output.encrypt(s, c, pipe)
	pipe.OnNeed(func() {
		l.Post(func() {
			if e.guest(handle) == g {
				e.read(s, c, true)
			}
		})
	})
	l.server.handshakes.Go(func() {
		err := pipe.Handshake(l.server.computing, func(b []byte) {
			b = append([]byte(nil), b...)
			l.Post(func() {
				if e.guest(handle) == g {
					e.send(s, c, b)
				}
			})
		})
		l.Post(func() {
			if e.guest(handle) == g {
				e.shaken(s, c, g, err)
			}
		})
	})
}

// guest is that of a handle, nil when it was dropped.
func (e *entrance) guest(handle uint64) *guest {
	s := Slot(handle)
	c := e.loop.slab.at(s)
	if c.handle(s) != handle || !c.waits() {
		return nil
	}
	return e.guests[s]
}

// feed gives the handshake what was received. Nothing more is read before it
// asks for it: what a peer sends behind its handshake, or that it has sent all,
// is for the connection that comes of it.
func (e *entrance) feed(s Slot, c *conn, g *guest, data []byte) {
	if !g.tls.Feed(data) {
		e.fail(s, c, TLSFailed, "too much input for a handshake")
		return
	}
	e.read(s, c, false)
}

// read begins or ends reading from a peer in its handshake.
func (e *entrance) read(s Slot, c *conn, read bool) {
	if read != c.is(computing) {
		return
	}
	c.flags ^= computing
	watch(e.loop.poller, s, c)
}

// send sends what a handshake has to say.
func (e *entrance) send(s Slot, c *conn, b []byte) {
	l := e.loop
	l.output.sealed(s, b)
	if why, ok := l.output.push(s, c); !ok {
		l.end(s, c, why)
	}
}

// shaken takes the result of a handshake.
func (e *entrance) shaken(s Slot, c *conn, g *guest, err error) {
	if err != nil {
		e.fail(s, c, TLSFailed, explainTLS(err))
		return
	}
	e.read(s, c, true)
	g.tls.Established()
	g.tls = nil
	e.leave(s, c)
	e.open(s, c, g.at)
	e.loop.decrypt(s, c)
}

func explainTLS(err error) string {
	if _, ok := err.(tls.RecordHeaderError); ok {
		return "the peer does not speak TLS; is its URL stratum+ssl://?"
	}
	return err.Error()
}

// overdue drops a guest that takes too long.
func (e *entrance) overdue(s Slot, c *conn, elapsed time.Duration) bool {
	g := e.guests[s]
	if g.tls != nil && !g.tls.Waiting() {
		return false
	}
	if g.waited += elapsed; g.waited < entranceTimeout {
		return false
	}
	switch {
	case g.stage != stageHeader:
		e.fail(s, c, TLSTimeout, "")
	case len(g.header) > 0:
		e.fail(s, c, ProxyMalformed, "incomplete after "+entranceTimeout.String())
	default:
		e.fail(s, c, ProxyMissing, "nothing received in "+entranceTimeout.String())
	}
	return true
}
