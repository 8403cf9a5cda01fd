package fakenode

import (
	"bytes"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// block is one block of the tree, immutable.
type block struct {
	header   wire.BlockHeader
	hash     chainhash.Hash // made up where the block is not mined
	parent   *block         // nil: the first one made up
	height   int64
	work     *big.Int // of the chain up to here
	sequence int      // chooses the transactions of the template on top of it
}

// template is what a block on top of the tip may contain.
type template struct {
	sequence   int // of the tip
	fees       int64
	json       []byte // of the transactions
	commitment chainhash.Hash
}

// genesis is the tip the node starts with.
func (n *Node) genesis() *block {
	work := blockchain.CalcWork(n.config.Bits)
	b := &block{
		header: wire.BlockHeader{
			Version:   0x20000000,
			Timestamp: time.Unix(time.Now().Unix()-600, 0),
			Bits:      n.config.Bits,
		},
		height: n.config.Height,
		work:   work.Mul(work, big.NewInt(n.config.Height+1)),
	}
	b.hash = madeUpHash(b.header, 0)
	return b
}

// foreign makes a block on top of parent that somebody else is said to have
// found: it has no proof of work.
func (n *Node) foreign(parent *block) *block {
	n.sequence++
	now := time.Unix(time.Now().Unix(), 0)
	if earliest := parent.medianTime().Add(time.Second); now.Before(earliest) {
		now = earliest
	}
	header := wire.BlockHeader{
		Version:    0x20000000,
		PrevBlock:  parent.hash,
		MerkleRoot: chainhash.HashH(fmt.Append(nil, "foreign ", n.sequence)),
		Timestamp:  now,
		Bits:       n.config.Bits,
	}
	return n.child(parent, header, madeUpHash(header, n.sequence))
}

func (n *Node) child(parent *block, header wire.BlockHeader, hash chainhash.Hash) *block {
	work := blockchain.CalcWork(header.Bits)
	return &block{
		header:   header,
		hash:     hash,
		parent:   parent,
		height:   parent.height + 1,
		work:     work.Add(work, parent.work),
		sequence: n.sequence,
	}
}

// madeUpHash looks as if it met the header's target.
func madeUpHash(header wire.BlockHeader, sequence int) chainhash.Hash {
	seed := header.BlockHash()
	hash := chainhash.DoubleHashH(fmt.Append(seed[:], sequence))
	target := blockchain.CompactToBig(header.Bits)
	value := blockchain.HashToBig(&hash)
	value.Mod(value, target)
	be := value.FillBytes(make([]byte, 32))
	slices.Reverse(be)
	return chainhash.Hash(be)
}

// newTemplate prepares the window of transactions txs.
func newTemplate(sequence int, txs []*mempoolTx) *template {
	t := &template{sequence: sequence}
	leaves := make([]chainhash.Hash, 1, len(txs)+2) // the coinbase counts as zero
	for i, tx := range txs {
		t.fees += tx.fee
		leaves = append(leaves, tx.hash)
		if i > 0 {
			t.json = append(t.json, ',')
		}
		t.json = append(t.json, tx.json...)
	}
	root := merkleRoot(leaves)
	t.commitment = chainhash.DoubleHashH(append(root[:], make([]byte, 32)...))
	return t
}

// merkleRoot overwrites the leaves.
func merkleRoot(level []chainhash.Hash) chainhash.Hash {
	var pair [64]byte
	for len(level) > 1 {
		if len(level)%2 == 1 {
			level = append(level, level[len(level)-1])
		}
		for i := range len(level) / 2 {
			copy(pair[:32], level[2*i][:])
			copy(pair[32:], level[2*i+1][:])
			level[i] = chainhash.DoubleHashH(pair[:])
		}
		level = level[:len(level)/2]
	}
	return level[0]
}

// medianTime is the median of the last eleven timestamps.
func (b *block) medianTime() time.Time {
	var times []time.Time
	for at := b; at != nil && len(times) < 11; at = at.parent {
		times = append(times, at.header.Timestamp)
	}
	slices.SortFunc(times, time.Time.Compare)
	return times[len(times)/2]
}

// subsidy is what a block of this height may create, in satoshis.
func (n *Node) subsidy(height int64) int64 {
	interval := int64(210_000)
	if n.config.Chain == "regtest" {
		interval = 150
	}
	if height/interval >= 64 {
		return 0
	}
	return 50e8 >> (height / interval)
}

func (n *Node) tip() *block { return n.active[len(n.active)-1] }

// connect makes b the tip. The caller holds mu, except at start.
func (n *Node) connect(b *block) {
	n.blocks[b.hash] = b
	var branch []*block
	for at := b; at != nil; at = at.parent {
		branch = append(branch, at)
	}
	slices.Reverse(branch)
	if n.prepared == nil || n.prepared.sequence != b.sequence {
		n.prepared = n.pool.template(b.sequence)
	}
	n.template = n.prepared
	n.active = branch
	close(n.tipChanged)
	n.tipChanged = make(chan struct{})
	if n.zmq != nil {
		n.zmq.Publish("hashblock", displayed(b.hash))
	}
}

// prepareAfter is when a pool is done with a new block.
const prepareAfter = 150 * time.Millisecond

// prepare makes the template for the next block of somebody else, so that its
// cost is not taken for that of the pool that waits for it.
func (n *Node) prepare(sequence int) {
	select {
	case <-n.served:
		return
	case <-time.After(prepareAfter):
	}
	t := n.pool.template(sequence)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.prepared = t
}

// at is the block of the best chain at height, nil outside what was made up.
func (n *Node) at(height int64) *block {
	i := height - n.active[0].height
	if i < 0 || i >= int64(len(n.active)) {
		return nil
	}
	return n.active[i]
}

// NewBlock moves the tip to a block found by somebody else and returns its
// hash, as displayed.
func (n *Node) NewBlock() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.foreign(n.tip())
	n.connect(b)
	if !n.closed {
		n.preparing.Go(func() { n.prepare(b.sequence + 1) })
	}
	return b.hash.String()
}

// Reorg replaces the last depth blocks by depth+1 of somebody else and returns
// the hash of the new tip, as displayed. At most all blocks since the start can
// be replaced.
func (n *Node) Reorg(depth int) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if depth < 0 || depth >= len(n.active) {
		return "", fmt.Errorf("reorg of %d blocks: only %d were made", depth, len(n.active)-1)
	}
	b := n.active[len(n.active)-1-depth]
	for range depth + 1 {
		b = n.foreign(b)
		n.blocks[b.hash] = b
	}
	n.connect(b)
	return b.hash.String(), nil
}

// Tip is the height and hash, as displayed, of the best block.
func (n *Node) Tip() (height int64, hash string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tip().height, n.tip().hash.String()
}

// TouchMempool makes long polls answer after their 60 s as if transactions had
// come.
func (n *Node) TouchMempool() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.updates++
}

// displayed reverses a hash into the order of RPC and ZMQ.
func displayed(h chainhash.Hash) []byte {
	b := bytes.Clone(h[:])
	slices.Reverse(b)
	return b
}
