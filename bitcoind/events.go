package bitcoind

// NodeChange is an event: a node has become usable, or unusable, which is told
// again each minute while it lasts.
type NodeChange struct {
	Node   string // host:port
	State  string // as NodeStatus has it
	Reason string // why it cannot be used, or not well; "" that it can be
}

// NodeFollowed is an event: work comes from another node than before.
type NodeFollowed struct {
	Node string // host:port
}

// NoNode is an event, told each minute while it lasts: no node can be used.
type NoNode struct{}

// BlockChange is an event: what became of a block of the pool's. More
// confirmations are none.
type BlockChange struct {
	Height int64
	Hash   [32]byte // in internal byte order
	BlockState
	Before string // BlockState.State until then; "" where that is not known
}
