// Package testkit gives tests a bitcoin node to mine on and miners to mine
// with: btcd on regtest, a fake bitcoind that answers and fails as Bitcoin Core
// does, and simulated firmware. This package ties their lives to a test's and
// turns errors into failures; package btcd, fakenode and firmware are the same
// without a test. It is for tests and ckbench alone and knows nothing of the
// pool's inside.
package testkit

import (
	"context"
	"testing"
	"time"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/internal/testkit/btcd"
)

// Btcd is a btcd node of a test. Its methods fail the test on errors; the
// embedded Node has more, with errors.
type Btcd struct {
	*btcd.Node
	t testing.TB
}

// StartBtcd starts a node on an empty regtest chain that ends with the test.
func StartBtcd(t testing.TB, o btcd.Options) *Btcd {
	t.Helper()
	// Building it for the first time takes minutes on a small machine.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	n, err := btcd.Start(ctx, t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Kill)
	return &Btcd{Node: n, t: t}
}

// StartBtcdPair starts two nodes that are connected to each other and agree on
// a first block, for failover: what one accepts reaches the other.
func StartBtcdPair(t testing.TB, w *btcd.Wallet) (a, b *Btcd) {
	t.Helper()
	a = StartBtcd(t, btcd.Options{Wallet: w, P2P: true})
	a.Generate(1)
	b = StartBtcd(t, btcd.Options{Wallet: w, Connect: []string{a.P2P}})
	b.WaitTip(a.BestBlockHash())
	return a, b
}

// Generate mines count blocks that pay the wallet and returns their hashes, as
// displayed.
func (n *Btcd) Generate(count int) []string {
	n.t.Helper()
	return must(n.Node.Generate(n.t.Context(), count))(n)
}

// MineEmpty mines count blocks that leave the mempool alone.
func (n *Btcd) MineEmpty(count int) []string {
	n.t.Helper()
	return must(n.Node.MineEmpty(n.t.Context(), count))(n)
}

// Reorg replaces the last depth blocks by depth+1 others.
func (n *Btcd) Reorg(depth int) []string {
	n.t.Helper()
	return must(n.Node.Reorg(n.t.Context(), depth))(n)
}

// SegwitTemplate fills the templates with count transactions that have
// witnesses and returns their txids, as displayed.
func (n *Btcd) SegwitTemplate(count int) []string {
	n.t.Helper()
	txids, err := n.Node.SendSegwit(n.t.Context(), count)
	n.check(err)
	n.MineEmpty(1)
	return txids
}

// BlockCount is the height of the best chain.
func (n *Btcd) BlockCount() int64 {
	n.t.Helper()
	return must(n.Node.BlockCount(n.t.Context()))(n)
}

// BlockHash is the hash of the best chain at height, as displayed.
func (n *Btcd) BlockHash(height int64) string {
	n.t.Helper()
	return must(n.Node.BlockHash(n.t.Context(), height))(n)
}

// BestBlockHash is the hash of the tip, as displayed.
func (n *Btcd) BestBlockHash() string {
	n.t.Helper()
	return must(n.Node.BestBlockHash(n.t.Context()))(n)
}

// BlockAt is the block of the best chain at height.
func (n *Btcd) BlockAt(height int64) *wire.MsgBlock {
	n.t.Helper()
	return must(n.Node.BlockAt(n.t.Context(), height))(n)
}

// Template is the node's present block template.
func (n *Btcd) Template() btcd.Template {
	n.t.Helper()
	return must(n.Node.Template(n.t.Context()))(n)
}

// WaitTip waits up to 30 s for hash, as displayed, to be the tip.
func (n *Btcd) WaitTip(hash string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 30*time.Second)
	defer cancel()
	n.check(n.Node.WaitTip(ctx, hash))
}

// must is the value of a call that may not fail.
func must[T any](v T, err error) func(*Btcd) T {
	return func(n *Btcd) T {
		n.t.Helper()
		n.check(err)
		return v
	}
}

func (n *Btcd) check(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}
