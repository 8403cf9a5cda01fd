package relay

import (
	"fmt"

	"github.com/ckpool/ckpool/poolproto"
)

// Feed is who has the work and the blocks that nodes get. Its methods are called on loops,
// and return at once.
type Feed interface {
	// Newest is the job of the newest work, 0 before the first.
	Newest() uint64
	// Joined tells of a node that has linked; work is the job of the last work that it had
	// from another process, 0 none. Left tells of its end.
	Joined(n *NodeLink, work uint64)
	Left(n *NodeLink)
	// Asked tells that a node wants transactions, by their txids, or with none the present
	// work. It asks no more until it gets NodeLink.Send with answer.
	Asked(n *NodeLink, txids [][32]byte)
}

// Feed has nodes get work and blocks of f. It is for before serving.
func (l *Links) Feed(f Feed) { l.feed = f }

// NodeLink is a link of a node. Its methods may be called from any goroutine.
type NodeLink struct{ link *link }

// Short tells that it speaks our own dialect.
func (n *NodeLink) Short() bool { return n.link.dialect > 0 }

func (n *NodeLink) String() string { return n.link.String() }

// Messages are what is said to nodes, once in each dialect, that of trusted remotes which are
// ckpool in C among them. Immutable.
type Messages struct{ C, RemoteC, Short []byte }

// Add adds one, of a kind that is for nodes.
func (m *Messages) Add(kind poolproto.Kind, message []byte) {
	m.C = poolproto.AppendNodeLine(m.C, message, tags[kind])
	m.RemoteC = poolproto.AppendRemoteLine(m.RemoteC, message, tags[kind])
	m.Short = poolproto.AppendFrame(m.Short, &poolproto.Frame{Kind: kind, Text: message})
}

// Whole is a block of another pool, whose work nodes do not have. Nodes that are ckpool in C
// take none.
func Whole(b *poolproto.WholeBlock) *Messages {
	return &Messages{Short: poolproto.AppendFrame(nil, &poolproto.Frame{Kind: poolproto.Whole, Text: b.Append(nil)})}
}

var tags = map[poolproto.Kind]string{
	poolproto.Work: poolproto.TagWorkInfo, poolproto.Transactions: poolproto.TagTransactions, poolproto.Solved: poolproto.TagBlock,
}

// of are those for a link.
func (m *Messages) of(l *link) []byte {
	switch {
	case l.dialect > 0:
		return m.Short
	case l.role == poolproto.Remote:
		return m.RemoteC
	}
	return m.C
}

// Work brings messages that end with the work of a job: miners behind the link get that
// job after them.
func (n *NodeLink) Work(m *Messages, job uint64) {
	n.post(func(l *link) {
		l.handler.loop.Write(l.slot, m.of(l))
		if l.work = max(l.work, job); l.work >= l.handler.shared.feed.Newest() {
			l.release()
		}
	})
}

// Answer brings the answer to a request.
func (n *NodeLink) Answer(m *Messages) {
	n.post(func(l *link) {
		l.asking = false
		l.say(m.of(l))
	})
}

func (n *NodeLink) post(do func(l *link)) {
	l := n.link
	l.handler.loop.Post(func() {
		if !l.ended {
			do(l)
		}
	})
}

// Solved brings a solved block to all nodes but the one behind which the client of a loop
// has found it, before all else that waits for them.
func (l *Links) Solved(m *Messages, loop int, client uint64) {
	for _, h := range l.handlers {
		h.loop.Post(func() {
			var finder *link
			if slot, here := h.Slot(client); here && h.loop.Index() == loop {
				if c := h.channels.at(slot); c != nil {
					finder = c.link
				}
			}
			for slot, k := range h.links {
				if said := m.of(k); k.node != nil && k != finder && len(said) > 0 {
					h.loop.WriteFirst(slot, said)
				}
			}
		})
	}
}

// join has a link get what nodes get; work is the job of the last work that it has.
func (l *link) join(work uint64) {
	l.node, l.work = &NodeLink{l}, work
	l.handler.shared.feed.Joined(l.node, work)
}

// keptRoom is how much of a buffer is kept for next time.
const keptRoom = 64 << 10

// maxHeld is how many bytes wait for work that comes before them.
const maxHeld = 16 << 20

// say writes lines. Those for a node wait until it has the newest work, which they may be
// about. What is for a link that has ended goes nowhere: its slot may be another client's.
func (l *link) say(lines []byte) {
	if l.ended {
		return
	}
	if l.node == nil || len(l.held) == 0 && l.work >= l.handler.shared.feed.Newest() {
		l.handler.loop.Write(l.slot, lines)
		return
	}
	if l.held = append(l.held, lines...); len(l.held) > maxHeld {
		l.release()
	}
}

// release writes what was held.
func (l *link) release() {
	l.handler.loop.Write(l.slot, l.held)
	if l.held = l.held[:0]; cap(l.held) > keptRoom {
		l.held = nil
	}
}

// maxAsked is how many transactions one request may name: those of the largest block.
const maxAsked = 1 << 16

// request handles a request of a node.
func (l *link) request(message []byte) {
	txids, err := poolproto.ParseRequest(message)
	switch {
	case l.node == nil:
		l.complain("a request for transactions, and this is no node")
	case err != nil:
		l.complain(err.Error())
	case len(txids) > maxAsked:
		l.complain(fmt.Sprintf("a request for %d transactions", len(txids)))
	case l.asking:
		l.complain("a request before the answer to another")
	default:
		l.asking = true
		l.handler.shared.feed.Asked(l.node, txids)
	}
}
