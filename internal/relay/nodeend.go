package relay

import (
	"net/netip"

	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum"
)

// NodeEnd makes a node of an Edge: it gets the work of pools, and sees what miners find.
type NodeEnd interface {
	// Linked tells of a link to a pool. moved: it comes from another process, whose messages
	// are not here.
	Linked(p *NodePool, moved bool)
	// Message brings what a pool says to nodes, of kind Work, Transactions, Solved or Whole. It is
	// called on the goroutine of the link, which it may keep waiting, and keeps nothing of
	// message.
	Message(p *NodePool, kind poolproto.Kind, message []byte)
	// Watch begins to watch a miner, on its loop. id is its channel, and record what its
	// Watcher has written in another process; nil: it is new.
	Watch(loop int, id uint32, remote netip.AddrPort, record []byte) Watcher
}

// Watcher sees what is said by and to one miner, on its loop. It keeps nothing of messages.
type Watcher interface {
	// Said tells of a request of the miner, which its pool gets.
	Said(m *stratum.Message)
	// Heard tells of what the pool says to the miner. What is shared is the same for many
	// miners: its bytes never change.
	Heard(m *stratum.Message, shared bool)
	// Left tells that the miner has left.
	Left()
	// Record is what Watch makes the same of in another process.
	Record() []byte
}

// NodePool is a link of a node to a pool. Its methods may be called from any goroutine.
type NodePool struct{ wire *wire }

func (p *NodePool) String() string { return p.wire.url }

// Asks tells that it may be asked for transactions: ckpool in C may not.
func (p *NodePool) Asks() bool { return p.wire.dialect > 0 }

// Ask wants transactions, by their txids, or with none the present work.
func (p *NodePool) Ask(txids [][32]byte) {
	request := poolproto.AppendRequest(nil, txids)
	p.wire.send(poolproto.AppendFrame(nil, &poolproto.Frame{Kind: poolproto.Request, Text: request}))
}

// kinds are those that tags stand for.
var kinds = map[string]poolproto.Kind{
	poolproto.TagWorkInfo: poolproto.Work, poolproto.TagTransactions: poolproto.Transactions, poolproto.TagBlock: poolproto.Solved,
}

// role is what links are for.
func (e *Edge) role() poolproto.Role {
	if e.options.Node != nil {
		return poolproto.Node
	}
	return poolproto.Passthrough
}

// watch begins to watch a miner where this is a node.
func (h *EdgeHandler) watch(id uint32, remote netip.AddrPort, record []byte) Watcher {
	if h.edge.options.Node == nil {
		return nil
	}
	return h.edge.options.Node.Watch(h.loop.Index(), id, remote, record)
}

// heardShared tells who follows a miner of a line for many.
func (h *EdgeHandler) heardShared(m *edgeMiner, line []byte) {
	if m.watch == nil && m.checks == nil {
		return
	}
	if len(h.sharedLine) == 0 || &h.sharedLine[0] != &line[0] {
		h.sharedLine = line
		if stratum.Scan(line[:len(line)-1], &h.sharedMsg) != stratum.Object {
			h.sharedMsg = stratum.Message{}
		}
	}
	if m.watch != nil {
		m.watch.Heard(&h.sharedMsg, true)
	}
	if m.checks != nil {
		h.sent(m.checks, &h.sharedMsg, true)
	}
}
