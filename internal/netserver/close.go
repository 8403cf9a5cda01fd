//go:build linux

package netserver

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/epoll"
)

const (
	// lingerFor is how long a connection we close may take to read the last
	// answer. Closing while its input is unread would reset it, and the answer
	// with it.
	lingerFor = 2 * time.Second
	// flushAtEnd is what pending output may take when the server stops.
	flushAtEnd = 300 * time.Millisecond
)

// Close flushes what can be written at once and closes. Closed is called later
// in the same iteration; the handler gets no more lines of the slot and its
// writes are ignored.
func (l *Loop) Close(s Slot, why Reason) {
	if c := l.slab.live(s); c != nil {
		l.end(s, c, why)
	}
}

// end is Close for connections that need not be open yet.
func (l *Loop) end(s Slot, c *conn, why Reason) {
	c.set(closing)
	c.why = why
	l.counters.drops[why].Add(1)
	l.closing = append(l.closing, s)
}

// finish ends a connection whose output was flushed.
func (l *Loop) finish(s Slot) {
	c := l.slab.at(s)
	if c.is(channel) {
		l.finishChannel(s, c)
		return
	}
	why := c.why
	if !why.abortive() {
		l.output.drain(s, c)
	}
	l.output.forget(s, c)
	l.output.farewell(s, c, c.is(open) && !why.abortive())
	l.partials.reuse(l.partials.take(s, c))
	l.entrance.leave(s, c)
	l.server.limits.forget(c.remote().Addr(), c.flags)
	if c.is(open) {
		l.handler.Closed(s, why)
		l.counters.clients.Add(-1)
		l.server.reportDrop(why, c.remote().Addr(), "")
	}
	c.flags = 0
	switch {
	case why.polite() && unix.Shutdown(int(c.fd), unix.SHUT_WR) == nil:
		c.set(lingering)
		l.lingering[s] = l.now.Add(lingerFor)
		watch(l.poller, s, c)
	case why.abortive():
		l.release(s, abort)
	default:
		l.release(s, closeSocket)
	}
}

// release closes the socket and frees the slot.
func (l *Loop) release(s Slot, closeFD func(fd int32)) {
	closeFD(l.slab.at(s).fd)
	delete(l.lingering, s)
	l.slab.release(s)
	l.server.freed(l)
}

// ended reads what a lingering peer still sends, until it closes.
func ended(fd int32, scratch []byte) bool {
	n, errno := epoll.Receive(fd, scratch)
	return n == 0 && errno != unix.EAGAIN && errno != unix.EINTR
}

func closeSocket(fd int32) { unix.Close(int(fd)) }

// abort closes with a reset: no TIME_WAIT, nothing kept for the peer.
func abort(fd int32) {
	_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	closeSocket(fd)
}

// shutdown ends every connection, after giving pending output at most limit.
func (l *Loop) shutdown(limit time.Duration) error {
	l.now = time.Now()
	l.gate.close()
	l.mailbox.run()
	l.flush()
	for s := range l.slab.used {
		if c := l.slab.at(s); c.waits() || c.live() && !c.is(backlogged) {
			l.end(s, c, Shutdown)
		}
	}
	l.flush()
	err := l.flushBacklogs(l.now.Add(limit))
	for s := range l.slab.used {
		l.Close(s, Shutdown)
	}
	l.flush()
	for s := range l.lingering {
		l.release(s, closeSocket)
	}
	return err
}

// flushBacklogs sends what is unsent until it is done or end comes, and does
// not read meanwhile.
func (l *Loop) flushBacklogs(end time.Time) error {
	for s := range l.output.backlogs {
		c := l.slab.at(s)
		c.set(muted)
		watch(l.poller, s, c)
	}
	if err := l.poller.Until(end); err != nil {
		return err
	}
	for len(l.output.backlogs) > 0 && l.now.Before(end) {
		if err := l.poller.Wait(true); err != nil {
			return err
		}
		l.now = time.Now()
		events := l.poller.Events
		for i := range events {
			l.lastEvent(&events[i])
		}
		l.flush()
	}
	return nil
}

// lastEvent is event while the server stops: output goes on, input does not.
func (l *Loop) lastEvent(e *unix.EpollEvent) {
	if e.Pad == 0 {
		l.mailbox.seen()
		return
	}
	s := Slot(e.Fd)
	c := l.slab.at(s)
	if c.generation != uint32(e.Pad) {
		return
	}
	switch {
	case c.is(lingering):
		if ended(c.fd, l.input) {
			l.release(s, closeSocket)
		}
	case e.Events&hangups != 0:
		l.Close(s, PeerClosed)
	default:
		if l.output.drain(s, c); !c.is(backlogged) {
			l.Close(s, Shutdown)
		}
	}
}
