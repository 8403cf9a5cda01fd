//go:build linux

package netserver

import (
	"fmt"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/epoll"
)

// gate is the accepting side of one loop. Its listeners leave epoll while
// nothing can be accepted, so that waiting costs nothing. Owned by the loop.
type gate struct {
	server   *Server
	counters *counters // of the loop
	poller   *epoll.Poller
	sockets  []socket
	open     bool                // listeners are in epoll
	waiting  bool                // for room
	closed   bool                // for good
	peer     unix.RawSockaddrAny // scratch of accept
}

// socket is one listening socket.
type socket struct {
	fd int
	at *Listener
}

// accept takes one connection; false when there is none that may stay. The
// place of the connection is held. Who may not stay is accepted and closed, so
// that a miner goes to its next pool at once: in the system's queue it would
// wait for minutes.
func (g *gate) accept(k socket) (a arrival, ok bool) {
	for range acceptsPerEvent {
		if !g.open {
			break
		}
		why, refused := g.server.refusal()
		detail := ""
		if !refused && !g.server.hold() {
			why, refused = Full, true
			detail = fmt.Sprintf("%d clients", g.server.MaxClients())
		}
		fd, err := g.server.spare.accept(k.fd, &g.peer)
		if err == 0 && !refused {
			return arrival{fd, k.at, peerAddress(&g.peer)}, true
		}
		if !refused {
			g.server.unhold()
		}
		switch err {
		case 0:
			g.turnAway(fd, why, detail)
			continue
		case unix.EINTR, unix.ECONNABORTED, unix.EPROTO, unix.ENETDOWN, unix.ENOPROTOOPT,
			unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH, unix.ENETUNREACH:
			continue // that connection is gone; the next may be there
		case unix.EAGAIN:
			return a, false
		case unix.EMFILE, unix.ENFILE:
			if g.acceptWithSpare(k, err) {
				continue
			}
			return a, false
		}
		g.fail(err)
		return a, false
	}
	return a, false
}

// turnAway closes a connection that may not stay.
func (g *gate) turnAway(fd int32, why Reason, detail string) {
	g.counters.drops[why].Add(1)
	g.server.reportEnd("Refused", why, peerAddress(&g.peer).Addr(), detail)
	abort(fd)
}

// acceptWithSpare turns away one connection when there is no descriptor for it,
// but a spare one. False when there is no connection, or it has to wait.
func (g *gate) acceptWithSpare(k socket, cause error) bool {
	s := &g.server.spare
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lend() {
		g.fail(cause)
		return false
	}
	fd, err := accept(k.fd, &g.peer)
	if err == 0 {
		g.turnAway(fd, NoDescriptor, cause.Error()+"; raise the open file limit (ulimit -n, LimitNOFILE=) or lower maxclients")
	}
	s.keep()
	if err == unix.EMFILE || err == unix.ENFILE {
		return true // somebody else was quicker: with the next one
	}
	return err == 0
}

// spares is how many descriptors are kept. One would do, if the rest of the
// program did not want some too at the very moment it is given up.
const spares = 8

// spare are descriptors that are given up for a moment, so that a connection
// can be closed when there is no other left.
type spare struct {
	mu    sync.RWMutex // held to read: descriptors are taken only while none is lent
	files []int        // guarded by mu
}

// accept takes a connection, but not with a descriptor that another loop lent.
func (s *spare) accept(fd int, peer *unix.RawSockaddrAny) (int32, syscall.Errno) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return accept(fd, peer)
}

// keep opens the spare descriptors, as far as they are to be had. The caller
// holds mu.
func (s *spare) keep() {
	for len(s.files) < spares {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			return
		}
		s.files = append(s.files, fd)
	}
}

// lend closes a spare descriptor; false if there is none. The caller holds mu.
func (s *spare) lend() bool {
	last := len(s.files) - 1
	if last < 0 {
		return false
	}
	unix.Close(s.files[last])
	s.files = s.files[:last]
	return true
}

// fail waits because a resource of the system is used up.
func (g *gate) fail(err error) {
	g.server.report(eventNoResources, fmt.Sprintf("Accepting paused with %d clients: %v", g.server.Clients(), err))
	g.wait()
}

// wait stops accepting until a connection of any loop ends, or the next tick
// tries again.
func (g *gate) wait() {
	if !g.waiting {
		g.waiting = true
		g.server.waiting.Add(1)
	}
	g.update()
}

func (g *gate) again() {
	if g.waiting {
		g.waiting = false
		g.server.waiting.Add(-1)
	}
	g.update()
}

// add takes further listening sockets.
func (g *gate) add(sockets []socket) {
	first := len(g.sockets)
	g.sockets = append(g.sockets, sockets...)
	if !g.open {
		return
	}
	for i, k := range sockets {
		if err := g.poller.Control(unix.EPOLL_CTL_ADD, k.fd, unix.EPOLLIN, int32(first+i), 0); err != nil {
			g.fail(fmt.Errorf("epoll_ctl: %w", err))
			return
		}
	}
}

// close stops accepting for good.
func (g *gate) close() {
	g.closed = true
	g.again()
}

// update puts the listeners into epoll or takes them out of it.
func (g *gate) update() {
	open := !g.waiting && !g.closed && !g.server.leaving.Load() && !g.server.frozen.Load()
	if open == g.open {
		return
	}
	g.open = open
	op := unix.EPOLL_CTL_ADD
	if !open {
		op = unix.EPOLL_CTL_DEL
	}
	for i, k := range g.sockets {
		// Generation 0 marks what is not a client.
		if err := g.poller.Control(op, k.fd, unix.EPOLLIN, int32(i), 0); err != nil && open {
			g.fail(fmt.Errorf("epoll_ctl: %w", err))
			return
		}
	}
}
