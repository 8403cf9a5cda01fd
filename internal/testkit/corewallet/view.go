package corewallet

import (
	"context"

	"github.com/btcsuite/btcd/wire/v2"
)

// view is chain and mempool as they are when a call begins.
type view struct {
	tip     int64
	place   map[string]int64 // height by txid
	txs     map[string]*wire.MsgTx
	coins   map[wire.OutPoint]coin   // unspent in the chain
	mined   map[wire.OutPoint]string // txid of the spender in the chain
	pool    map[wire.OutPoint]string // txid of the spender in the mempool
	mempool map[string]bool          // by txid
	order   []wire.OutPoint          // of coins, oldest first
}

type coin struct {
	*wire.TxOut
	height   int64
	coinbase bool
}

func (v *view) confirmations(height int64) int64 { return v.tip - height + 1 }

// look reads what changed since the last call.
func (w *Wallet) look(ctx context.Context) (*view, error) {
	tip, err := w.node.BlockCount(ctx)
	if err != nil {
		return nil, err
	}
	// Back to where the chain is the one that was read.
	for len(w.blocks) > 0 {
		at := int64(len(w.blocks))
		if at <= tip {
			hash, err := w.node.BlockHash(ctx, at)
			if err != nil {
				return nil, err
			}
			if hash == w.blocks[at-1].hash {
				break
			}
		}
		w.blocks = w.blocks[:at-1]
	}
	for at := int64(len(w.blocks)) + 1; at <= tip; at++ {
		hash, err := w.node.BlockHash(ctx, at)
		if err != nil {
			return nil, err
		}
		b, err := w.node.Block(ctx, hash)
		if err != nil {
			return nil, err
		}
		w.blocks = append(w.blocks, block{hash, b.Transactions})
	}
	var pool []string
	if err := w.node.Call(ctx, &pool, "getrawmempool"); err != nil {
		return nil, err
	}
	v := &view{
		tip: tip, place: map[string]int64{}, txs: map[string]*wire.MsgTx{}, coins: map[wire.OutPoint]coin{},
		mined: map[wire.OutPoint]string{}, pool: map[wire.OutPoint]string{}, mempool: map[string]bool{},
	}
	for i, b := range w.blocks {
		for n, tx := range b.txs {
			v.mine(tx, int64(i)+1, n == 0)
		}
	}
	for txid, tx := range w.sent {
		v.txs[txid] = tx
	}
	for _, txid := range pool {
		v.mempool[txid] = true
		tx := v.txs[txid]
		if tx == nil { // not through here
			if tx, err = w.fetch(ctx, txid); err != nil {
				return nil, err
			}
			v.txs[txid] = tx
		}
		for _, in := range tx.TxIn {
			v.pool[in.PreviousOutPoint] = txid
		}
	}
	return v, nil
}

func (v *view) mine(tx *wire.MsgTx, height int64, coinbase bool) {
	hash := tx.TxHash()
	v.place[hash.String()], v.txs[hash.String()] = height, tx
	for _, in := range tx.TxIn {
		v.mined[in.PreviousOutPoint] = hash.String()
		delete(v.coins, in.PreviousOutPoint)
	}
	for i, out := range tx.TxOut {
		p := wire.OutPoint{Hash: hash, Index: uint32(i)}
		v.coins[p] = coin{out, height, coinbase}
		v.order = append(v.order, p)
	}
}

// spends reports whether a transaction spends an output to a script.
func (v *view) spends(tx *wire.MsgTx, script []byte) bool {
	for _, in := range tx.TxIn {
		if from := v.txs[in.PreviousOutPoint.Hash.String()]; from != nil && string(from.TxOut[in.PreviousOutPoint.Index].PkScript) == string(script) {
			return true
		}
	}
	return false
}

// out is an output of a transaction that is known.
func (v *view) out(p wire.OutPoint) *wire.TxOut {
	tx := v.txs[p.Hash.String()]
	if tx == nil || uint64(p.Index) >= uint64(len(tx.TxOut)) {
		return nil
	}
	return tx.TxOut[p.Index]
}
