//go:build linux

package netserver

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// acceptsPerEvent bounds what one loop takes, so that all loops get a share.
const acceptsPerEvent = 8

func (l *Loop) accept(k socket) {
	for range acceptsPerEvent {
		fd, remote, ok := l.gate.accept(k)
		if !ok {
			return
		}
		l.admit(fd, remote, k.listener)
	}
}

// admit makes a client of an accepted socket.
func (l *Loop) admit(fd int32, remote netip.AddrPort, listener int) {
	s := l.server
	flags, refusal := s.limits.admit(remote.Addr(), l.now)
	if refusal != "" {
		l.counters.drops[RateLimited].Add(1)
		abort(fd)
		s.freed()
		s.report(eventRefused, fmt.Sprintf("Refused a connection of %s: %s", remote.Addr(), refusal))
		return
	}
	slot, c := l.slab.take()
	if err := l.poller.ctl(unix.EPOLL_CTL_ADD, int(fd), readEvents, int32(slot), c.generation); err != nil {
		l.slab.release(slot)
		s.limits.forget(remote.Addr(), flags)
		abort(fd)
		s.unhold() // not freed: loops without resources would wake each other
		l.gate.fail(fmt.Errorf("epoll_ctl: %w", err))
		return
	}
	c.fd, c.addr, c.port, c.flags = fd, remote.Addr().As16(), remote.Port(), flags|open
	l.counters.accepted.Add(1)
	l.counters.clients.Add(1)
	l.handler.Open(slot, remote, listener)
}
