package corewallet

import (
	"context"
	"slices"

	"github.com/btcsuite/btcd/chainhash/v2"
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
	if err := w.read(ctx); err != nil {
		return nil, err
	}
	var pool []string
	if err := w.node.Call(ctx, &pool, "getrawmempool"); err != nil {
		return nil, err
	}
	v := &view{
		tip: int64(len(w.blocks)), place: map[string]int64{}, txs: map[string]*wire.MsgTx{}, coins: map[wire.OutPoint]coin{},
		mined: map[wire.OutPoint]string{}, pool: map[wire.OutPoint]string{}, mempool: map[string]bool{},
	}
	for i, b := range w.blocks {
		for n, tx := range b.txs {
			v.mine(tx, b.ids[n], int64(i)+1, n == 0)
		}
	}
	for txid, tx := range w.sent {
		v.txs[txid] = tx
	}
	for _, txid := range pool {
		v.mempool[txid] = true
		tx := v.txs[txid]
		if tx == nil { // not through here
			var err error
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

// read brings blocks to the node's tip: back from there to a block that is known.
func (w *Wallet) read(ctx context.Context) error {
	hash, err := w.node.BestBlockHash(ctx)
	if err != nil {
		return err
	}
	var fresh []block // newest first
	for {
		at := slices.IndexFunc(w.blocks, func(b block) bool { return b.hash == hash })
		if at >= 0 {
			w.blocks = w.blocks[:at+1]
			break
		}
		b, err := w.node.Block(ctx, hash)
		if err != nil {
			return err
		}
		if b.Header.PrevBlock == (chainhash.Hash{}) { // the first block is nobody's
			w.blocks = nil
			break
		}
		ids := make([]chainhash.Hash, len(b.Transactions))
		for i, tx := range b.Transactions {
			ids[i] = tx.TxHash()
		}
		fresh = append(fresh, block{hash, b.Transactions, ids})
		hash = b.Header.PrevBlock.String()
	}
	slices.Reverse(fresh)
	w.blocks = append(w.blocks, fresh...)
	return nil
}

func (v *view) mine(tx *wire.MsgTx, hash chainhash.Hash, height int64, coinbase bool) {
	id := hash.String()
	v.place[id], v.txs[id] = height, tx
	for _, in := range tx.TxIn {
		v.mined[in.PreviousOutPoint] = id
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
