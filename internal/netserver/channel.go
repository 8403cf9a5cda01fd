//go:build linux

package netserver

import (
	"iter"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A channel is a peer that is reached through another connection, a link: it has a slot,
// an address and an end like any client, and no socket. What is written to it is for the
// handler to carry.

// OpenChannel gives a channel a slot, for a peer with that address. Handler.Open is not
// called, Handler.Closed is.
func (l *Loop) OpenChannel(remote netip.AddrPort) Slot {
	s, c := l.slab.take()
	c.setRemote(remote)
	c.flags = open | channel
	l.counters.channels.Add(1)
	return s
}

// Channel tells whether a slot is a channel that was not closed.
func (l *Loop) Channel(s Slot) bool {
	c := l.slab.live(s)
	return c != nil && c.is(channel)
}

// RoundTrip is the shortest time that the system has seen a client's connection take there and
// back, 0 if it does not know.
func (l *Loop) RoundTrip(s Slot) time.Duration {
	c := l.slab.live(s)
	if c == nil || c.is(channel) {
		return 0
	}
	info, err := unix.GetsockoptTCPInfo(int(c.fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil || info.Min_rtt == math.MaxUint32 {
		return 0
	}
	return time.Duration(info.Min_rtt) * time.Microsecond
}

// MakeLink makes a link of a client: its lines and its unsent output may be as long as
// Config says for links, and it counts no more as unauthorised.
func (l *Loop) MakeLink(s Slot) {
	if c := l.slab.live(s); c != nil {
		c.set(linked)
		l.Authorized(s)
	}
}

// Unsent is how many bytes of output wait in the backlog of a slot.
func (l *Loop) Unsent(s Slot) int {
	if c := l.slab.live(s); c != nil && c.is(backlogged) {
		return l.output.backlogs[s].unsent()
	}
	return 0
}

// Channels gives the channels of a frozen loop. After Leave they are another process's.
func Channels(l *Loop) iter.Seq[Slot] {
	return func(yield func(Slot) bool) {
		for s := range l.slab.used {
			if c := l.slab.at(s); c.is(channel) && c.live() && !yield(s) {
				return
			}
		}
	}
}

// LeaveChannel says that a channel of a frozen loop goes to another process: Release
// forgets it without Handler.Closed.
func LeaveChannel(l *Loop, s Slot) { l.moved = append(l.moved, s) }

// finishChannel is finish for channels.
func (l *Loop) finishChannel(s Slot, c *conn) {
	l.handler.Closed(s, c.why)
	l.forgetChannel(s)
}

func (l *Loop) forgetChannel(s Slot) {
	l.counters.channels.Add(-1)
	l.slab.release(s)
}

// Channels is the number of channels, from any goroutine.
func (s *Server) Channels() int {
	n := int64(0)
	for _, l := range s.loops {
		n += l.counters.channels.Load()
	}
	return int(max(n, 0))
}
