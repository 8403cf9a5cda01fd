//go:build linux

package netserver

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// acceptsPerEvent bounds what one loop takes, so that all loops get a share.
const acceptsPerEvent = 8

// arrival is an accepted socket, whose place is held.
type arrival struct {
	fd       int32
	listener int
	remote   netip.AddrPort
}

// accept takes new connections and gives each to the loop that has the fewest:
// which loop the system wakes first is far from even, and a connection never
// moves later.
func (l *Loop) accept(k socket) {
	for range acceptsPerEvent {
		a, ok := l.gate.accept(k)
		if !ok {
			return
		}
		to := l.server.lightest(l)
		to.counters.assigned.Add(1)
		if to == l {
			l.admit(a)
		} else {
			to.mailbox.give(a)
		}
	}
}

// admit makes a client of an accepted socket.
func (l *Loop) admit(a arrival) {
	s, fd, remote := l.server, a.fd, a.remote
	flags, refusal := s.limits.admit(remote.Addr(), l.now)
	if refusal != "" {
		l.counters.drops[RateLimited].Add(1)
		abort(fd)
		s.freed(l)
		s.report(eventRefused, fmt.Sprintf("Refused a connection of %s: %s", remote.Addr(), refusal))
		return
	}
	slot, c := l.slab.take()
	if err := l.poller.ctl(unix.EPOLL_CTL_ADD, int(fd), readEvents, int32(slot), c.generation); err != nil {
		l.slab.release(slot)
		s.limits.forget(remote.Addr(), flags)
		abort(fd)
		l.counters.assigned.Add(-1)
		s.unhold() // not freed: loops without resources would wake each other
		l.gate.fail(fmt.Errorf("epoll_ctl: %w", err))
		return
	}
	c.fd, c.addr, c.port, c.flags = fd, remote.Addr().As16(), remote.Port(), flags|open
	l.counters.accepted.Add(1)
	l.counters.clients.Add(1)
	l.handler.Open(slot, remote, a.listener)
}
