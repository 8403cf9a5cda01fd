//go:build linux

package netserver

import (
	"fmt"
	"iter"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/wire"
)

// Movable gives the connections of a frozen loop that can be exported: those
// where all there is to it is the socket and what the loop keeps of it. TLS is
// more than that once it has begun.
func Movable(l *Loop) iter.Seq[Slot] {
	return func(yield func(Slot) bool) {
		for s := range l.slab.used {
			if c := l.slab.at(s); c.flags&(secure|channel) == 0 && (c.live() || c.waits()) && !yield(s) {
				return
			}
		}
	}
}

// Immovable gives the clients of a frozen loop that cannot be exported.
func Immovable(l *Loop) iter.Seq[Slot] {
	return func(yield func(Slot) bool) {
		for s := range l.slab.used {
			if c := l.slab.at(s); c.is(secure) && c.live() && !yield(s) {
				return
			}
		}
	}
}

// Export writes the record of the movable connection in s, for Import in another
// process, and gives its descriptor, which stays the loop's: nothing changes here
// until Frozen.Release. The handler knows only those that are open.
func Export(l *Loop, s Slot, w *wire.Codec) (fd int, isOpen bool) {
	c := l.slab.at(s)
	l.moved = append(l.moved, s)
	k := connRecord{addr: c.remote().Addr(), port: c.port, unauthorized: c.is(unauthorized), kind: movedOpen}
	if !c.is(open) {
		g := l.entrance.guests[s]
		k.kind, k.guest = movedGuest, guestRecord{uint8(g.at.index), g.stage, g.header, g.waited}
	}
	if c.is(partial) {
		k.partial = l.partials.lines[s]
	}
	if k.backlogged = c.is(backlogged); k.backlogged {
		k.backlog = l.output.backlogs[s].record()
	}
	w.Versioned(connectionVersion, k.fields)
	return int(c.fd), k.kind == movedOpen
}

// Import makes a socket received from another process, fd, a connection of the
// loop: the next record of r says the rest. fd is non-blocking, as it was there, and
// the loop's from then on, also after an error. Handler.Open is not called; isOpen
// tells whether the handler is to know the connection. listener gives the index here
// of a listener there. Only before Run, one call at a time on a loop.
func Import(l *Loop, fd int, r *wire.Codec, listener func(int) int) (s Slot, isOpen bool, err error) {
	var k connRecord
	r.Versioned(connectionVersion, k.fields)
	if err := r.Err(); err != nil {
		unix.Close(fd)
		return 0, false, fmt.Errorf("netserver: import of a connection: %w", err)
	}
	s, c := l.slab.take()
	c.fd = int32(fd)
	c.setRemote(netip.AddrPortFrom(k.addr, k.port))
	c.flags = l.server.limits.readmit(k.addr, k.unauthorized)
	l.server.held.Add(1)
	l.counters.assigned.Add(1)
	if k.kind == movedOpen {
		importOpen(l, s, c, &k)
	} else if !importGuest(l, s, c, &k.guest, listener(int(k.guest.listener))) {
		l.moved = append(l.moved, s)
		abandon(l)
		return 0, false, nil
	}
	events := uint32(readEvents)
	if c.is(backlogged) {
		events |= unix.EPOLLOUT
	}
	if c.is(muted) {
		events &^= unix.EPOLLIN
	}
	if err := l.poller.Control(unix.EPOLL_CTL_ADD, fd, events, int32(s), c.generation); err != nil {
		l.moved = append(l.moved, s)
		abandon(l)
		return 0, false, fmt.Errorf("netserver: import of a connection: epoll_ctl: %w", err)
	}
	return s, k.kind == movedOpen, nil
}

func importOpen(l *Loop, s Slot, c *conn, k *connRecord) {
	c.set(open)
	l.counters.clients.Add(1)
	if len(k.partial) > 0 {
		l.partials.add(s, c, k.partial)
	}
	if len(k.backlog.unsent) == 0 {
		return
	}
	b := &backlog{buf: append([]byte(nil), k.backlog.unsent...), work: k.backlog.work, stalled: k.backlog.stalled}
	l.output.backlogs[s] = b
	l.counters.backlogClients.Add(1)
	l.counters.backlogBytes.Add(int64(b.unsent()))
	c.set(backlogged)
	if b.unsent() > muteAt {
		c.set(muted)
	}
}

// importGuest is false where nothing is to be waited for any more.
func importGuest(l *Loop, s Slot, c *conn, k *guestRecord, listener int) bool {
	listeners := l.server.Listeners()
	if listener < 0 || listener >= len(listeners) {
		return false
	}
	g := &guest{at: listeners[listener], stage: k.stage, header: append([]byte(nil), k.header...), waited: k.waited}
	if g.stage == stageHeader && g.at.proxied || g.stage == stageHello && g.at.tls != nil {
		l.entrance.wait(s, c, g)
		return true
	}
	return false
}

// Disown lets go of what was imported, for a process that does not become its
// owner after all. Only before Run.
func Disown(s *Server) {
	for _, l := range s.loops {
		for slot := range l.slab.used {
			if l.slab.at(slot).flags&(open|entering) != 0 {
				l.moved = append(l.moved, slot)
			}
		}
		abandon(l)
	}
}

// ExportLimits appends the record of what the server counts beside its
// connections: the limits per address, accepted and dropped connections. Any
// goroutine may call.
func (s *Server) ExportLimits(b []byte) []byte {
	st := s.Stats()
	k := limitsRecord{accepted: st.Accepted, replaced: st.ReplacedNotifies, drops: st.Drops[:], buckets: s.limits.notFull(time.Now())}
	c := wire.Append(b)
	c.Versioned(limitsVersion, k.fields)
	return c.Written()
}

// ImportLimits is the inverse of ExportLimits, before Run.
func (s *Server) ImportLimits(record []byte) error {
	var k limitsRecord
	r := wire.Read(record)
	r.Versioned(limitsVersion, k.fields)
	if err := r.Done(); err != nil {
		return fmt.Errorf("netserver: import of limits: %w", err)
	}
	c := &s.loops[0].counters
	c.accepted.Store(k.accepted)
	c.replaced.Store(k.replaced)
	for i, n := range k.drops[:min(len(k.drops), int(Reasons))] {
		c.drops[i].Store(n)
	}
	s.limits.adopt(k.buckets, time.Now())
	return nil
}

// notFull gives the buckets that are not known to be full.
func (l *limiter) notFull(now time.Time) []bucketRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]bucketRecord, 0, l.buckets.Len())
	for key, k := range l.buckets.All() {
		list = append(list, bucketRecord{key, k.tokens, now.Sub(k.at)})
	}
	return list
}

func (l *limiter) adopt(buckets []bucketRecord, now time.Time) {
	burst := l.limits.Load().burst
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range buckets {
		l.buckets.Put(k.key, bucket{min(k.tokens, burst), now.Add(-max(k.age, 0))})
	}
}

// readmit counts a connection another process has admitted.
func (l *limiter) readmit(addr netip.Addr, unauthorised bool) (flags connFlags) {
	set := l.limits.Load()
	if set.isExempt(addr) {
		return 0
	}
	key := keyOf(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.clients[key]
	if set.maxClient > 0 {
		u.open++
		flags |= counted
	}
	if set.maxUnauthorized > 0 && unauthorised {
		u.unauthorized++
		flags |= unauthorized
	}
	if flags != 0 {
		l.clients[key] = u
	}
	return flags
}
