package btcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

const (
	maturity = 100
	spendFee = 10_000 // satoshis
)

// Generate has the node mine count blocks with what is in its mempool, paying
// the wallet, and returns their hashes, as displayed.
func (n *Node) Generate(ctx context.Context, count int) ([]string, error) {
	var hashes []string
	err := n.Call(ctx, &hashes, "generate", count)
	return hashes, err
}

// EnsureCurrent generates a block if the tip is so old, or the chain so new,
// that the node would serve no template.
func (n *Node) EnsureCurrent(ctx context.Context) error {
	hash, err := n.BestBlockHash(ctx)
	if err != nil {
		return err
	}
	tip, err := n.Block(ctx, hash)
	if err != nil {
		return err
	}
	if time.Since(tip.Header.Timestamp) < 12*time.Hour {
		return nil
	}
	_, err = n.Generate(ctx, 1)
	return err
}

// MineEmpty adds count blocks without transactions to the tip: the mempool
// stays, and the next template shows all of it.
func (n *Node) MineEmpty(ctx context.Context, count int) ([]string, error) {
	hash, err := n.BestBlockHash(ctx)
	if err != nil {
		return nil, err
	}
	return n.Branch(ctx, hash, count)
}

// Reorg replaces the last depth blocks of the best chain by depth+1 empty ones
// and returns the hashes of the new ones, as displayed.
func (n *Node) Reorg(ctx context.Context, depth int) ([]string, error) {
	height, err := n.BlockCount(ctx)
	if err != nil {
		return nil, err
	}
	fork, err := n.BlockHash(ctx, height-int64(depth))
	if err != nil {
		return nil, err
	}
	hashes, err := n.Branch(ctx, fork, depth+1)
	if err != nil {
		return nil, err
	}
	best, err := n.BestBlockHash(ctx)
	if err != nil {
		return nil, err
	}
	if best != hashes[depth] {
		return nil, fmt.Errorf("reorg: best block is %s, not the %d new ones' last", best, depth+1)
	}
	return hashes, nil
}

// Branch adds count empty blocks on top of the block with hash parent, which
// may lie anywhere in the chain, and returns their hashes, as displayed.
func (n *Node) Branch(ctx context.Context, parent string, count int) ([]string, error) {
	var header struct {
		Height int64 `json:"height"`
	}
	prev, err := n.Block(ctx, parent)
	if err != nil {
		return nil, err
	}
	if err := n.Call(ctx, &header, "getblockheader", parent, true); err != nil {
		// btcd knows the heights of the best chain alone; its coinbase says it, too.
		height := txscript.MakeScriptTokenizer(0, prev.Transactions[0].TxIn[0].SignatureScript)
		if !height.Next() {
			return nil, err
		}
		switch n := height.Data(); {
		case n == nil && height.Opcode() > txscript.OP_1-1 && height.Opcode() <= txscript.OP_16:
			header.Height = int64(height.Opcode() - txscript.OP_1 + 1)
		default:
			for i := range n {
				header.Height |= int64(n[i]) << (8 * i)
			}
		}
	}
	hashes := make([]string, count)
	for i := range hashes {
		block, err := mineOn(prev, header.Height+1+int64(i), n.Wallet.Script())
		if err != nil {
			return nil, err
		}
		verdict, err := n.SubmitBlock(ctx, block)
		if err != nil {
			return nil, err
		}
		if verdict != "" {
			return nil, fmt.Errorf("own block refused: %s", verdict)
		}
		hashes[i] = block.BlockHash().String()
		prev = block
	}
	return hashes, nil
}

// mineOn makes a block that contains its coinbase alone.
func mineOn(parent *wire.MsgBlock, height int64, script []byte) (*wire.MsgBlock, error) {
	// The time makes the coinbase unlike that of any other block at this height.
	sig, err := txscript.NewScriptBuilder().AddInt64(height).AddInt64(time.Now().UnixNano()).Script()
	if err != nil {
		return nil, fmt.Errorf("coinbase: %w", err)
	}
	const halving = 150
	coinbase := wire.NewMsgTx(1)
	coinbase.AddTxIn(&wire.TxIn{
		PreviousOutPoint: wire.OutPoint{Index: math.MaxUint32},
		SignatureScript:  sig,
		Sequence:         wire.MaxTxInSequenceNum,
	})
	coinbase.AddTxOut(wire.NewTxOut(50*btcutil.SatoshiPerBitcoin>>(height/halving), script))
	now := time.Unix(time.Now().Unix(), 0)
	if earliest := parent.Header.Timestamp.Add(time.Second); now.Before(earliest) {
		now = earliest
	}
	block := &wire.MsgBlock{
		Header: wire.BlockHeader{
			Version:    0x20000000,
			PrevBlock:  parent.BlockHash(),
			MerkleRoot: coinbase.TxHash(),
			Timestamp:  now,
			Bits:       parent.Header.Bits,
		},
		Transactions: []*wire.MsgTx{coinbase},
	}
	target := blockchain.CompactToBig(block.Header.Bits)
	for {
		hash := block.BlockHash()
		if blockchain.HashToBig(&hash).Cmp(target) <= 0 {
			return block, nil
		}
		block.Header.Nonce++
	}
}

// SendSegwit puts count transactions with witnesses into the mempool, each
// spending a matured coinbase that pays the wallet, and returns their txids, as
// displayed. Blocks are mined first if there are not enough of those. The
// transactions are in the node's templates from the next tip on.
func (n *Node) SendSegwit(ctx context.Context, count int) ([]string, error) {
	tip, err := n.BlockCount(ctx)
	if err != nil {
		return nil, err
	}
	var txids []string
	for height := int64(1); len(txids) < count; height++ {
		// Empty blocks, lest they confirm what was just sent.
		if missing := height + maturity - 1 - tip; missing > 0 {
			if _, err := n.MineEmpty(ctx, int(missing)); err != nil {
				return nil, err
			}
			tip += missing
		}
		tx, err := n.spendCoinbase(ctx, height)
		if err != nil {
			return nil, err
		}
		if tx == nil {
			continue
		}
		txid, err := n.SendRawTransaction(ctx, tx)
		if err != nil {
			return nil, err
		}
		txids = append(txids, txid)
	}
	return txids, nil
}

// spendCoinbase is nil if the coinbase of that height is not the wallet's or
// already spent, if only in the mempool.
func (n *Node) spendCoinbase(ctx context.Context, height int64) (*wire.MsgTx, error) {
	block, err := n.BlockAt(ctx, height)
	if err != nil {
		return nil, err
	}
	coinbase := block.Transactions[0]
	for i, out := range coinbase.TxOut {
		if !bytes.Equal(out.PkScript, n.Wallet.Script()) || out.Value < 2*spendFee {
			continue
		}
		point := wire.OutPoint{Hash: coinbase.TxHash(), Index: uint32(i)}
		unspent, err := n.unspent(ctx, point)
		if err != nil {
			return nil, err
		}
		if unspent {
			return n.Wallet.Spend(point, out.Value, spendFee)
		}
	}
	return nil, nil
}

func (n *Node) unspent(ctx context.Context, point wire.OutPoint) (bool, error) {
	var out *struct{}
	if err := n.Call(ctx, &out, "gettxout", point.Hash.String(), point.Index, true); err != nil || out == nil {
		return false, err
	}
	var spenders []struct {
		By string `json:"spendingtxid"`
	}
	err := n.Call(ctx, &spenders, "gettxspendingprevout",
		[]map[string]any{{"txid": point.Hash.String(), "vout": point.Index}})
	return err == nil && len(spenders) == 1 && spenders[0].By == "", err
}

// WaitTip waits until the node's tip is hash, as displayed.
func (n *Node) WaitTip(ctx context.Context, hash string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		best, err := n.BestBlockHash(ctx)
		if err == nil && best == hash {
			return nil
		}
		select {
		case <-n.exited:
			return errors.New("btcd has ended")
		case <-ctx.Done():
			return fmt.Errorf("tip is %s, not %s: %w", best, hash, ctx.Err())
		case <-tick.C:
		}
	}
}

// Template is the node's answer to getblocktemplate, as a pool asks for it.
func (n *Node) Template(ctx context.Context) (Template, error) {
	var t Template
	err := n.Call(ctx, &t, "getblocktemplate",
		map[string]any{"rules": []string{"segwit", "signet"}, "capabilities": []string{"longpoll"}})
	return t, err
}

// Template is what tests look at in a block template.
type Template struct {
	Height       int64  `json:"height"`
	PreviousHash string `json:"previousblockhash"`
	Commitment   string `json:"default_witness_commitment"`
	Value        int64  `json:"coinbasevalue"`
	Transactions []struct {
		Data string `json:"data"`
		TxID string `json:"txid"`
		Hash string `json:"hash"`
	} `json:"transactions"`
}
