//go:build linux

package netserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"ckpool/internal/wire"
)

// recordVersion is that of every record of this file; older ones are read.
const recordVersion = 1

// What a moved connection is.
const (
	movedOpen  = 1 // known to the handler
	movedGuest = 2 // waiting for its PROXY header or the first byte of TLS
)

// Movable gives the connections of a frozen loop that can be exported: those
// where all there is to it is the socket and what the loop keeps of it. TLS is
// more than that once it has begun.
func Movable(l *Loop) iter.Seq[Slot] {
	return func(yield func(Slot) bool) {
		for s := range l.slab.used {
			if c := l.slab.at(s); !c.is(secure) && (c.live() || c.waits()) && !yield(s) {
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

// Export appends the record of the movable connection in s, for Import in
// another process, and gives its descriptor, which stays the loop's: nothing
// changes here until Frozen.Release. The handler knows only those that are
// open.
func Export(l *Loop, s Slot, b []byte) (record []byte, fd int, isOpen bool) {
	c := l.slab.at(s)
	l.moved = append(l.moved, s)
	b = append(b, recordVersion)
	b = wire.AppendAddr(b, c.remote().Addr())
	b = binary.BigEndian.AppendUint16(b, c.port)
	b = wire.AppendBool(b, c.is(unauthorized))
	if !c.is(open) {
		g := l.entrance.guests[s]
		b = append(b, movedGuest, uint8(g.at.index), uint8(g.stage))
		b = wire.AppendBytes(b, g.header)
		return binary.BigEndian.AppendUint64(b, uint64(g.waited)), int(c.fd), false
	}
	b = append(b, movedOpen)
	if c.is(partial) {
		b = wire.AppendBytes(b, l.partials.lines[s])
	} else {
		b = append(b, 0)
	}
	if !c.is(backlogged) {
		return append(b, 0), int(c.fd), true
	}
	return l.output.backlogs[s].append(b), int(c.fd), true
}

func (k *backlog) append(b []byte) []byte {
	b = wire.AppendBytes(b, k.buf[k.sent:])
	b = binary.AppendUvarint(b, uint64(len(k.work)))
	for _, u := range k.work {
		b = binary.BigEndian.AppendUint32(b, uint32(u.start-k.sent))
		b = binary.BigEndian.AppendUint32(b, uint32(u.end-k.sent))
		b = append(b, u.tag)
	}
	return binary.BigEndian.AppendUint64(b, uint64(k.stalled))
}

// connRecord is what Export writes.
type connRecord struct {
	remote       netip.AddrPort
	unauthorized bool
	partial      []byte
	backlog      *backlog // nil for none
	guest        *guest   // nil for one that is open
	listener     int      // of the guest, in the other process
}

// readConn reads a record from the front of what r has.
func readConn(r *wire.Reader) (k connRecord) {
	r.Version(recordVersion)
	k.remote = netip.AddrPortFrom(r.Addr(), r.Uint16())
	k.unauthorized = r.Bool()
	switch kind := r.Uint8(); kind {
	case movedOpen:
		k.partial = r.Bytes()
		k.backlog = readBacklog(r)
	case movedGuest:
		k.listener = int(r.Uint8())
		k.guest = &guest{stage: stage(r.Uint8()), header: append([]byte(nil), r.Bytes()...), waited: time.Duration(r.Uint64())}
	default:
		r.Fail(fmt.Errorf("a connection of kind %d", kind))
	}
	return k
}

func readBacklog(r *wire.Reader) *backlog {
	unsent := r.Bytes()
	if len(unsent) == 0 {
		return nil
	}
	k := &backlog{buf: append([]byte(nil), unsent...)}
	end := 0
	for range r.Count(9) {
		u := unit{int(r.Uint32()), int(r.Uint32()), r.Uint8()}
		if u.start < end || u.end <= u.start || u.end > len(unsent) {
			r.Fail(errors.New("replaceable output is not where it can be"))
			return nil
		}
		end = u.end
		k.work = append(k.work, u)
	}
	if k.stalled = time.Duration(r.Uint64()); k.stalled < 0 {
		r.Fail(errors.New("output is stalled for a negative time"))
	}
	return k
}

// Import makes the socket fd, received from another process and non-blocking as it
// was there, a connection of the loop with what the record at the front of r says of it; Handler.Open is
// not called, and isOpen tells whether the handler is to know it. listener gives
// the index here of a listener there. fd is the loop's from then on, also after
// an error. Only before Run, one call at a time on a loop.
func Import(l *Loop, fd int, r *wire.Reader, listener func(int) int) (s Slot, isOpen bool, err error) {
	k := readConn(r)
	err = r.Err()
	if err == nil && !k.remote.IsValid() {
		err = errors.New("no address of the peer")
	}
	if err != nil {
		unix.Close(fd)
		return 0, false, fmt.Errorf("netserver: import of a connection: %w", err)
	}
	s, c := l.slab.take()
	c.fd = int32(fd)
	c.setRemote(k.remote)
	c.flags = l.server.limits.readmit(k.remote.Addr(), k.unauthorized)
	l.server.held.Add(1)
	l.counters.assigned.Add(1)
	if k.guest == nil {
		importOpen(l, s, c, &k)
	} else if !importGuest(l, s, c, k.guest, listener(k.listener)) {
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
	if err := l.poller.ctl(unix.EPOLL_CTL_ADD, fd, events, int32(s), c.generation); err != nil {
		l.moved = append(l.moved, s)
		abandon(l)
		return 0, false, fmt.Errorf("netserver: import of a connection: epoll_ctl: %w", err)
	}
	return s, k.guest == nil, nil
}

func importOpen(l *Loop, s Slot, c *conn, k *connRecord) {
	c.set(open)
	l.counters.clients.Add(1)
	if len(k.partial) > 0 {
		l.partials.add(s, c, k.partial)
	}
	if k.backlog == nil {
		return
	}
	l.output.backlogs[s] = k.backlog
	l.counters.backlogClients.Add(1)
	l.counters.backlogBytes.Add(int64(k.backlog.unsent()))
	c.set(backlogged)
	if k.backlog.unsent() > muteAt {
		c.set(muted)
	}
}

// importGuest is false where nothing is to be waited for any more.
func importGuest(l *Loop, s Slot, c *conn, g *guest, listener int) bool {
	listeners := l.server.Listeners()
	if listener < 0 || listener >= len(listeners) {
		return false
	}
	g.at = listeners[listener]
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
	b = append(b, recordVersion)
	st := s.Stats()
	b = binary.BigEndian.AppendUint64(b, st.Accepted)
	b = binary.BigEndian.AppendUint64(b, st.ReplacedNotifies)
	b = binary.AppendUvarint(b, uint64(len(st.Drops)))
	for _, n := range st.Drops {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return s.limits.append(b, time.Now())
}

// ImportLimits is the inverse of ExportLimits, before Run.
func (s *Server) ImportLimits(r *wire.Reader) error {
	r.Version(recordVersion)
	accepted, replaced := r.Uint64(), r.Uint64()
	drops := make([]uint64, r.Count(8))
	for i := range drops {
		drops[i] = r.Uint64()
	}
	buckets := readBuckets(r, time.Now())
	if err := r.Err(); err != nil {
		return fmt.Errorf("netserver: import of limits: %w", err)
	}
	c := &s.loops[0].counters
	c.accepted.Store(accepted)
	c.replaced.Store(replaced)
	for i, n := range drops[:min(len(drops), int(Reasons))] {
		c.drops[i].Store(n)
	}
	s.limits.adopt(buckets)
	return nil
}

// append appends the buckets that are not known to be full.
func (l *limiter) append(b []byte, now time.Time) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	b = binary.AppendUvarint(b, uint64(l.buckets.Len()))
	for key, k := range l.buckets.All() {
		b = binary.BigEndian.AppendUint64(b, uint64(key))
		b = wire.AppendFloat(b, k.tokens)
		b = binary.BigEndian.AppendUint64(b, uint64(now.Sub(k.at)))
	}
	return b
}

func readBuckets(r *wire.Reader, now time.Time) map[addrKey]bucket {
	n := r.Count(24)
	buckets := make(map[addrKey]bucket, n)
	for range n {
		key := addrKey(r.Uint64())
		tokens := r.Float()
		buckets[key] = bucket{tokens, now.Add(-max(time.Duration(r.Uint64()), 0))}
	}
	return buckets
}

func (l *limiter) adopt(buckets map[addrKey]bucket) {
	burst := l.limits.Load().burst
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, k := range buckets {
		k.tokens = min(k.tokens, burst)
		l.buckets.Put(key, k)
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
