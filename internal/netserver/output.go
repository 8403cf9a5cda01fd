//go:build linux

package netserver

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/epoll"
)

// output is what a loop writes. It collects what is written in one iteration,
// so that each slot needs one system call at its end, and keeps what sockets do
// not take. Owned by the loop.
type output struct {
	poller   *epoll.Poller
	counters *counters
	limit    int // Config.Backlog
	linkMost int // Config.LinkBacklog

	arena    []byte
	segments []segment
	dirty    []Slot // with segments
	joined   []byte // scratch of bytes
	scratch  []byte // for one TLS record
	backlogs map[Slot]*backlog
	tls      map[Slot]*encrypted
}

// segment is output of one slot in the arena.
type segment struct {
	start, end int
	next       int32 // index plus one, 0 is the slot's last
	work       bool  // replaceable as one unit
	tag        uint8
}

const (
	flushAt  = 128 << 10 // bytes in the arena at which an iteration is flushed early
	keepRoom = 192 << 10 // bytes of buffer kept for the next iteration

	// muteAt is the backlog in bytes at which a client is not read any more
	// until it has read all of its answers: one that only sends costs this
	// much, not Config.Backlog.
	muteAt = 64 << 10
)

func (o *output) add(s Slot, c *conn, b []byte, work bool, tag uint8) {
	start := len(o.arena)
	o.arena = append(o.arena, b...)
	if c.last == 0 {
		o.dirty = append(o.dirty, s)
	} else {
		last := &o.segments[c.last-1]
		if !work && !last.work && last.end == start {
			last.end = len(o.arena)
			return
		}
		last.next = int32(len(o.segments) + 1)
	}
	o.segments = append(o.segments, segment{start: start, end: len(o.arena), work: work, tag: tag})
	c.last = int32(len(o.segments))
	if c.first == 0 {
		c.first = c.last
	}
}

// bytes is all output of c in one piece, valid until the next call.
func (o *output) bytes(c *conn) []byte {
	first := &o.segments[c.first-1]
	end := first.end
	for i := first.next; i != 0; i = o.segments[i-1].next {
		if o.segments[i-1].start != end {
			return o.join(c)
		}
		end = o.segments[i-1].end
	}
	return o.arena[first.start:end]
}

func (o *output) join(c *conn) []byte {
	o.joined = o.joined[:0]
	for i := c.first; i != 0; i = o.segments[i-1].next {
		o.joined = append(o.joined, o.arena[o.segments[i-1].start:o.segments[i-1].end]...)
	}
	return o.joined
}

// reset forgets what was collected, after every dirty slot was sent.
func (o *output) reset() {
	o.arena, o.joined = room(o.arena), room(o.joined)
	o.segments = o.segments[:0]
	o.dirty = o.dirty[:0]
}

func room(b []byte) []byte {
	if cap(b) > keepRoom {
		return nil
	}
	return b[:0]
}

// send writes what was collected of c; what the socket does not take goes to
// its backlog. When not ok the connection is to be closed.
func (o *output) send(s Slot, c *conn) (why Reason, ok bool) {
	p, n := o.bytes(c), 0
	var errno syscall.Errno
	if !c.is(backlogged) {
		n, errno = o.write(s, c, p)
	}
	why, ok = 0, true
	if errno != 0 && errno != unix.EAGAIN {
		why, ok = lost(errno), false
	} else if n < len(p) || errno != 0 {
		if most, _ := o.most(c); o.queue(s, c, p, n) > most {
			why, ok = BacklogFull, false
		}
	}
	c.first, c.last = 0, 0
	return why, ok
}

// most is how many bytes may be unsent, and at how many it is not read any more.
func (o *output) most(c *conn) (limit, mute int) {
	if c.is(linked) {
		return o.linkMost, o.linkMost / 2
	}
	return o.limit, muteAt
}

// queue puts what is left of p after n bytes behind the backlog of c and
// returns the length of that.
func (o *output) queue(s Slot, c *conn, p []byte, n int) int {
	b := o.backlogs[s]
	if b == nil {
		b = &backlog{}
		o.backlogs[s] = b
		o.counters.backlogClients.Add(1)
	}
	before := b.unsent()
	if n < len(p) {
		b.add(o, c, p, n)
	}
	o.count(s, c, b, before)
	flags := c.flags | backlogged
	if _, mute := o.most(c); b.unsent() > mute {
		flags |= muted
	}
	if flags != c.flags {
		c.flags = flags
		watch(o.poller, s, c)
	}
	return b.unsent()
}

// count brings the numbers of a backlog up to date.
func (o *output) count(s Slot, c *conn, b *backlog, before int) {
	if c.is(secure) {
		b.sealed = len(o.tls[s].unsent) + o.tls[s].Pending()
	}
	o.counters.backlogBytes.Add(int64(b.unsent() - before))
}

// drain sends from the backlog of c, if it has one. When not ok the connection
// is to be closed.
func (o *output) drain(s Slot, c *conn) (why Reason, ok bool) {
	if !c.is(backlogged) {
		return 0, true
	}
	b := o.backlogs[s]
	before := b.unsent()
	n, errno := o.write(s, c, b.buf[b.sent:])
	b.taken(n)
	o.count(s, c, b, before)
	if n > 0 || b.unsent() < before {
		b.stalled = 0
	}
	if errno != 0 && errno != unix.EAGAIN {
		return lost(errno), false
	}
	o.endBacklog(s, c, b)
	return 0, true
}

// dropWork removes the units of work that wait, not begun, in the backlog of c.
func (o *output) dropWork(s Slot, c *conn) (tags uint8) {
	if !c.is(backlogged) {
		return 0
	}
	b := o.backlogs[s]
	tags, units, bytes := b.dropWork()
	o.counters.replaced.Add(uint64(units))
	o.counters.backlogBytes.Add(int64(-bytes))
	o.endBacklog(s, c, b)
	return tags
}

// endBacklog ends a backlog that is empty.
func (o *output) endBacklog(s Slot, c *conn, b *backlog) {
	if b.unsent() == 0 {
		o.forget(s, c)
		watch(o.poller, s, c)
	}
}

// forget gives back the memory of the backlog of c, if it has one.
func (o *output) forget(s Slot, c *conn) {
	if !c.is(backlogged) {
		return
	}
	c.clear(backlogged | muted)
	o.counters.backlogBytes.Add(int64(-o.backlogs[s].unsent()))
	o.counters.backlogClients.Add(-1)
	delete(o.backlogs, s)
}
