//go:build linux

package netserver

import "net/netip"

type connFlags uint16

const (
	open         connFlags = 1 << iota // between Handler.Open and Handler.Closed
	closing                            // Close was called, Closed not yet
	lingering                          // closed for the handler, the socket waits for its peer
	unauthorized                       // counted so by the limiter
	counted                            // counted per address by the limiter
	partial                            // has an entry in Loop.partial
	backlogged                         // has an entry in Loop.backlogs, EPOLLOUT is armed
	muted                              // not read until its backlog is gone, EPOLLIN is not armed
	entering                           // has an entry in entrance.guests, Handler.Open is to come
	secure                             // has an entry in output.tls
	computing                          // its handshake has what it needs, nothing is read meanwhile
	fresh                              // it is not known yet that a miner speaks
	channel                            // has no socket
	linked                             // carries channels
)

// conn is what a loop keeps of each connection. It has no pointers, so that the
// collector has nothing to scan; what few connections have is in maps.
type conn struct {
	fd          int32
	generation  uint32 // never 0
	first, last int32  // segments of the present iteration's output, plus one; 0 is none
	addr        [16]byte
	port        uint16
	flags       connFlags
	why         Reason // valid when closing
}

func (c *conn) is(f connFlags) bool { return c.flags&f != 0 }
func (c *conn) set(f connFlags)     { c.flags |= f }
func (c *conn) clear(f connFlags)   { c.flags &^= f }

// live tells that the handler may still read from and write to c.
func (c *conn) live() bool { return c.flags&(open|closing) == open }

// waits tells that c is a guest that was not dropped.
func (c *conn) waits() bool { return c.flags&(entering|closing) == entering }

// handle names c for other goroutines, see Loop.Handle.
func (c *conn) handle(s Slot) uint64 { return uint64(c.generation)<<32 | uint64(s) }

func (c *conn) setRemote(a netip.AddrPort) { c.addr, c.port = a.Addr().As16(), a.Port() }

func (c *conn) remote() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(c.addr).Unmap(), c.port)
}

const chunkSize = 1024

// slab holds the connections of a loop by slot, in chunks so that growing
// neither copies nor moves them.
type slab struct {
	chunks []*[chunkSize]conn
	used   Slot // slots ever given out
	free   []Slot
}

// at is the connection of a slot that was given out.
func (a *slab) at(s Slot) *conn { return &a.chunks[s/chunkSize][s%chunkSize] }

// find is at for slots from outside, nil when never given out.
func (a *slab) find(s Slot) *conn {
	if s >= a.used {
		return nil
	}
	return a.at(s)
}

// live is the connection of a slot from outside if it is live, else nil.
func (a *slab) live(s Slot) *conn {
	if c := a.find(s); c != nil && c.live() {
		return c
	}
	return nil
}

// take gives out the slot freed last, or a new one.
func (a *slab) take() (Slot, *conn) {
	if n := len(a.free); n > 0 {
		s := a.free[n-1]
		a.free = a.free[:n-1]
		return s, a.at(s)
	}
	s := a.used
	if int(s/chunkSize) == len(a.chunks) {
		a.chunks = append(a.chunks, new([chunkSize]conn))
	}
	a.used++
	c := a.at(s)
	c.generation = 1
	return s, c
}

// release makes s free for the next connection and everything that remembers
// its generation stale.
func (a *slab) release(s Slot) {
	c := a.at(s)
	generation := c.generation + 1
	if generation == 0 {
		generation = 1
	}
	*c = conn{generation: generation}
	a.free = append(a.free, s)
}
