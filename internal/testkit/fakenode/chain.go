package fakenode

import (
	"bytes"
	"context"
	"fmt"
	"math/big"
	"slices"
	"sync"
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
	sequence   int // of the tip, or later
	fees       int64
	json       []byte // of the transactions
	commitment chainhash.Hash
}

// chain is the tree of blocks and what may be built on its tip.
type chain struct {
	// immutable
	bits    uint32
	halving int64 // blocks between halvings of the subsidy
	pool    *mempool
	tell    func(tip chainhash.Hash) // of a new tip; must not block

	// guarded by mu
	mu       sync.Mutex
	blocks   map[chainhash.Hash]*block
	active   []*block  // the best chain, from the first made-up block to the tip
	template *template // on top of the tip
	prepared *template // perhaps that of the next tip
	changed  chan struct{}
	updates  int // of the mempool
	sequence int // of blocks made, for their variety
}

func newChain(c Config, pool *mempool, tell func(chainhash.Hash)) *chain {
	n := &chain{
		bits: c.Bits, halving: 210_000, pool: pool, tell: tell,
		blocks: map[chainhash.Hash]*block{}, changed: make(chan struct{}),
	}
	if c.Chain == "regtest" {
		n.halving = 150
	}
	n.connect(n.genesis(c.Height))
	return n
}

// genesis is the tip the node starts with.
func (n *chain) genesis(height int64) *block {
	work := blockchain.CalcWork(n.bits)
	b := &block{
		header: wire.BlockHeader{
			Version:   0x20000000,
			Timestamp: time.Unix(time.Now().Unix()-600, 0),
			Bits:      n.bits,
		},
		height: height,
		work:   work.Mul(work, big.NewInt(height+1)),
	}
	b.hash = madeUpHash(b.header, 0)
	return b
}

// foreign makes a block on top of parent that somebody else is said to have
// found: it has no proof of work.
func (n *chain) foreign(parent *block) *block {
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
		Bits:       n.bits,
	}
	return n.child(parent, header, madeUpHash(header, n.sequence))
}

func (n *chain) child(parent *block, header wire.BlockHeader, hash chainhash.Hash) *block {
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
func (n *chain) subsidy(height int64) int64 {
	if height/n.halving >= 64 {
		return 0
	}
	return 50e8 >> (height / n.halving)
}

func (n *chain) tip() *block { return n.active[len(n.active)-1] }

// connect makes b the tip. The caller holds mu, except at start.
func (n *chain) connect(b *block) {
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
	close(n.changed)
	n.changed = make(chan struct{})
	n.tell(b.hash)
}

// prepareAfter is when a pool is done with a new block.
const prepareAfter = 150 * time.Millisecond

// prepare makes the template of the next foreign block beforehand until done is
// closed, so that its cost is not taken for that of the pool that waits for it.
func (n *chain) prepare(done <-chan struct{}) {
	for {
		n.mu.Lock()
		changed, next := n.changed, n.sequence+1
		n.mu.Unlock()
		select {
		case <-done:
			return
		case <-time.After(prepareAfter):
		}
		t := n.pool.template(next)
		n.mu.Lock()
		n.prepared = t
		n.mu.Unlock()
		select {
		case <-done:
			return
		case <-changed:
		}
	}
}

// at is the block of the best chain at height, nil outside what was made up.
func (n *chain) at(height int64) *block {
	i := height - n.active[0].height
	if i < 0 || i >= int64(len(n.active)) {
		return nil
	}
	return n.active[i]
}

// grow adds a foreign block to the tip.
func (n *chain) grow() *block {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.foreign(n.tip())
	n.connect(b)
	return b
}

// reorg replaces the last depth blocks by depth+1 foreign ones.
func (n *chain) reorg(depth int) (*block, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if depth < 0 || depth >= len(n.active) {
		return nil, fmt.Errorf("reorg of %d blocks: only %d were made", depth, len(n.active)-1)
	}
	b := n.active[len(n.active)-1-depth]
	for range depth + 1 {
		b = n.foreign(b)
		n.blocks[b.hash] = b
	}
	n.connect(b)
	return b, nil
}

// now is the tip, what may be built on it, and the state of the mempool.
func (n *chain) now() (tip *block, t *template, updates int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tip(), n.template, n.updates
}

// touch updates the mempool: some transactions leave the template, others come.
func (n *chain) touch() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.updates++
	n.template = n.pool.template(n.template.sequence + 1)
}

// wait waits until the tip is another than hash, the mempool was updated since
// (looked at from 60 s on, as Core does) or ctx ends.
func (n *chain) wait(ctx context.Context, hash chainhash.Hash, updates int) {
	const patience, recheck = 60 * time.Second, 10 * time.Second
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		n.mu.Lock()
		changed, tip, now := n.changed, n.tip().hash, n.updates
		n.mu.Unlock()
		if tip != hash {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-timer.C:
			if now != updates {
				return
			}
			timer.Reset(recheck)
		}
	}
}

// displayed reverses a hash into the order of RPC and ZMQ.
func displayed(h chainhash.Hash) []byte {
	b := bytes.Clone(h[:])
	slices.Reverse(b)
	return b
}
