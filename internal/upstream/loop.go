package upstream

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/ckpool/ckpool/stratum/client"
)

// ErrItself is why a pool is not mined for that is this instance.
var ErrItself = errors.New("that is this instance itself")

// errLeadsBack is why a pool is not mined for that mines for this instance, perhaps through
// others: none of them would ever have work but its own.
var errLeadsBack = errors.New("what it gives is work of this instance: one mines for the other")

// Own tells whether an address is one of those that an instance listens at, of which an
// unspecified one is every local one.
func Own(at netip.AddrPort, listening []netip.AddrPort, local func(netip.Addr) bool) bool {
	ip := at.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(listening, func(l netip.AddrPort) bool {
		own := l.Addr().Unmap().WithZone("")
		return l.Port() == at.Port() && (own == ip || own.IsUnspecified() && local(ip))
	})
}

// OwnConn is [Own] for a connection that was made.
func OwnConn(conn net.Conn, listening []netip.AddrPort) bool {
	to, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	from, err2 := netip.ParseAddrPort(conn.LocalAddr().String())
	return err == nil && err2 == nil && Own(to, listening, func(ip netip.Addr) bool { return ip == from.Addr().Unmap().WithZone("") })
}

// given is the work that connections have given lately, by which it is known again when it
// comes back: whoever gives it on lengthens the part of the coinbase before the free bytes,
// where the extranonce1 stands that only one connection has.
type given struct {
	mu    sync.Mutex
	lines map[*line]*recentWork
}

// recentWork is that of one connection.
type recentWork struct {
	works [4]coinbase
	next  int
}

// coinbase is what is given of one.
type coinbase struct {
	prevHash   [32]byte
	head, tail []byte
	size       int // of all of it
}

func coinbaseOf(n *client.Notify) coinbase {
	return coinbase{
		prevHash: n.PrevHash, head: slices.Concat(n.Coinb1, n.Extranonce.Extranonce1), tail: n.Coinb2,
		size: len(n.Coinb1) + len(n.Extranonce.Extranonce1) + n.Extranonce.Extranonce2Len + len(n.Coinb2),
	}
}

// add notes a job that a line gives on. One without an extranonce1 could be anybody's.
func (g *given) add(l *line, n *client.Notify) {
	if len(n.Extranonce.Extranonce1) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	k := g.lines[l]
	if k == nil {
		k = new(recentWork)
		g.lines[l] = k
	}
	k.works[k.next] = coinbaseOf(n)
	k.next = (k.next + 1) % len(k.works)
}

// remove forgets a line.
func (g *given) remove(l *line) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.lines, l)
}

// comesBack tells that a job was made of one that was given.
func (g *given) comesBack(n *client.Notify) bool {
	c := coinbaseOf(n)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range g.lines {
		for i := range k.works {
			w := &k.works[i]
			if w.size == c.size && len(w.head) < len(c.head) && w.prevHash == c.prevHash && bytes.HasPrefix(c.head, w.head) && bytes.Equal(c.tail, w.tail) {
				return true
			}
		}
	}
	return false
}
