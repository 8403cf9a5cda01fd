package demo

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
)

// newest is how deep the pool's newest block may be.
const newest = 200

// Orphan has others replace the newest block of the pool that make run-pool runs in dir,
// and says which one that was. It is an orphan once more blocks are on top of theirs.
func Orphan(ctx context.Context, dir string) (string, error) {
	c, _, err := config.Load(filepath.Join(dir, moneyPlace, configFile), config.Pool)
	if err != nil {
		return "", fmt.Errorf("nothing of make run-pool in %s: %w", dir, err)
	}
	if len(c.Nodes) == 0 {
		return "", fmt.Errorf("%s names no node", filepath.Join(dir, moneyPlace, configFile))
	}
	pays, err := address.Parse(c.BTCAddress)
	if err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Join(dir, moneyPlace, configFile), err)
	}
	n := btcd.Attach(c.Nodes[0].URL, c.Nodes[0].User, c.Nodes[0].Pass)
	n.Wallet = btcd.NewWallet(others)
	tip, err := n.BlockCount(ctx)
	if err != nil {
		return "", fmt.Errorf("is make run-pool running? %w", err)
	}
	for height := tip; height > max(0, tip-newest); height-- {
		b, err := n.BlockAt(ctx, height)
		if err != nil {
			return "", err
		}
		if !bytes.Equal(b.Transactions[0].TxOut[0].PkScript, pays.Script()) {
			continue
		}
		if err := replace(ctx, n, b, int(tip-height)+2); err != nil {
			return "", err
		}
		return fmt.Sprintf("the pool's block %s was replaced by another: wait for \"block %[1]s orphaned\"", figures.Count(height)), nil
	}
	return "", fmt.Errorf("the pool has none of the last %d blocks", min(newest, tip))
}

// replace mines count blocks on the one before b, and more until theirs is the chain,
// which goes on meanwhile.
func replace(ctx context.Context, n *btcd.Node, b *wire.MsgBlock, count int) error {
	parent := b.Header.PrevBlock.String()
	const attempts = 100
	for range attempts {
		hashes, err := n.Branch(ctx, parent, count)
		if err != nil {
			return err
		}
		best, err := n.BestBlockHash(ctx)
		if err != nil {
			return err
		}
		if parent, count = hashes[len(hashes)-1], 1; best == parent {
			return nil
		}
	}
	return fmt.Errorf("the chain grows faster than others can mine")
}
