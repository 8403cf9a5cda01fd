//go:build linux

package netserver

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// gate is the accepting side of one loop. Its listeners leave epoll while
// nothing can be accepted, so that waiting costs nothing. Owned by the loop.
type gate struct {
	server  *Server
	poller  *poller
	sockets []socket
	open    bool                // listeners are in epoll
	waiting bool                // for room
	closed  bool                // for good
	peer    unix.RawSockaddrAny // scratch of accept
}

// socket is one listening socket.
type socket struct {
	fd int
	at *Listener
}

// accept takes one connection; false when there is none or no room for it. The
// place of the connection is held.
func (g *gate) accept(k socket) (a arrival, ok bool) {
	if !g.open {
		return a, false
	}
	if !g.server.hold() {
		g.server.report(eventFull, fmt.Sprintf("Server full with %d clients", g.server.MaxClients()))
		g.wait()
		if !g.server.full() { // one was freed before we waited
			g.again()
		}
		return a, false
	}
	for range acceptsPerEvent {
		fd, err := accept(k.fd, &g.peer)
		switch err {
		case 0:
			return arrival{fd, k.at, peerAddress(&g.peer)}, true
		case unix.EINTR, unix.ECONNABORTED, unix.EPROTO, unix.ENETDOWN, unix.ENOPROTOOPT,
			unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH, unix.ENETUNREACH:
			continue // that connection is gone; the next may be there
		case unix.EAGAIN:
		default:
			g.fail(err)
		}
		break
	}
	g.server.unhold()
	return a, false
}

// fail waits because a resource of the system is used up.
func (g *gate) fail(err error) {
	text := fmt.Sprintf("Accepting paused with %d clients: %v", g.server.Clients(), err)
	if err == unix.EMFILE {
		text += "; raise the open file limit (ulimit -n, LimitNOFILE=) or lower maxclients"
	}
	g.server.report(eventNoDescriptor, text)
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
		if err := g.poller.ctl(unix.EPOLL_CTL_ADD, k.fd, unix.EPOLLIN, int32(first+i), 0); err != nil {
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
	open := !g.waiting && !g.closed && !g.server.paused.Load() && !g.server.frozen.Load()
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
		if err := g.poller.ctl(op, k.fd, unix.EPOLLIN, int32(i), 0); err != nil && open {
			g.fail(fmt.Errorf("epoll_ctl: %w", err))
			return
		}
	}
}
