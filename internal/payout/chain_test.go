package payout

import (
	"context"
	"encoding/base64"
	"math"
	"testing"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/mining"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/payout/psbt"
)

// mine puts a transaction into a block on top of parent, whatever the mempool has.
func mine(t *testing.T, x *place, parent string, tx *wire.MsgTx) {
	t.Helper()
	prev, err := x.node.Block(t.Context(), parent)
	if err != nil {
		t.Fatal(err)
	}
	height := x.node.BlockCount() + 1
	sig, err := txscript.NewScriptBuilder().AddInt64(height).AddInt64(1).Script()
	if err != nil {
		t.Fatal(err)
	}
	coinbase := wire.NewMsgTx(1)
	coinbase.AddTxIn(&wire.TxIn{PreviousOutPoint: wire.OutPoint{Index: math.MaxUint32}, SignatureScript: sig, Sequence: wire.MaxTxInSequenceNum})
	coinbase.AddTxOut(wire.NewTxOut(50*btcutil.SatoshiPerBitcoin>>(height/150), x.node.Wallet.Script()))
	list := []*btcutil.Tx{btcutil.NewTx(coinbase), btcutil.NewTx(tx)}
	mining.AddWitnessCommitment(list[0], list)
	block := &wire.MsgBlock{
		Header: wire.BlockHeader{
			Version: 0x20000000, PrevBlock: prev.BlockHash(), MerkleRoot: blockchain.CalcMerkleRoot(list, false),
			Timestamp: time.Unix(max(prev.Header.Timestamp.Unix()+1, time.Now().Unix()), 0), Bits: prev.Header.Bits,
		},
		Transactions: []*wire.MsgTx{list[0].MsgTx(), tx},
	}
	target := blockchain.CompactToBig(block.Header.Bits)
	for {
		hash := block.BlockHash()
		if blockchain.HashToBig(&hash).Cmp(target) <= 0 {
			break
		}
		block.Header.Nonce++
	}
	if verdict, err := x.node.SubmitBlock(t.Context(), block); err != nil || verdict != "" {
		t.Fatalf("%s, %v", verdict, err)
	}
}

// encodePacket is a packet of version 0 of a transaction with one input.
func encodePacket(t *testing.T, tx *wire.MsgTx) *psbt.Packet {
	t.Helper()
	raw := serialize(tx)
	b := append([]byte("psbt\xff\x01\x00"), byte(len(raw)))
	b = append(append(b, raw...), 0, 0)
	p, err := psbt.Decode([]byte(base64.StdEncoding.EncodeToString(b)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// alteredBump is a node whose psbtbumpfee takes the fee from a payee.
type alteredBump struct {
	Node
	t *testing.T
}

func (a *alteredBump) Call(ctx context.Context, result any, method string, params ...any) error {
	err := a.Node.Call(ctx, result, method, params...)
	if method != "psbtbumpfee" || err != nil {
		return err
	}
	raw := result.(*struct {
		PSBT   string   `json:"psbt"`
		Errors []string `json:"errors"`
	})
	b, err := base64.StdEncoding.DecodeString(raw.PSBT)
	if err != nil {
		return err
	}
	p, err := psbt.Decode(b)
	if err != nil {
		return err
	}
	// Its first output has the amount as eight bytes after the key 03.
	value := uint64(p.Tx.TxOut[0].Value)
	for i := range len(b) - 8 {
		if b[i] == 8 && b[i+1] == byte(value) && b[i+2] == byte(value>>8) && b[i+3] == byte(value>>16) && b[i+4] == byte(value>>24) {
			b[i+1]--
		}
	}
	raw.PSBT = base64.StdEncoding.EncodeToString(b)
	return nil
}

// falseBump is a node whose psbtbumpfee gives the transaction that was made first again,
// or one with the same outputs that spends other coins.
type falseBump struct {
	Node
	other bool
	made  string // PSBT
}

func (f *falseBump) Call(ctx context.Context, result any, method string, params ...any) error {
	if method != "psbtbumpfee" {
		err := f.Node.Call(ctx, result, method, params...)
		if method == "walletcreatefundedpsbt" && err == nil {
			f.made = result.(*struct {
				PSBT string `json:"psbt"`
			}).PSBT
		}
		return err
	}
	raw := result.(*struct {
		PSBT   string   `json:"psbt"`
		Errors []string `json:"errors"`
	})
	if raw.PSBT = f.made; !f.other {
		return nil
	}
	p, err := psbt.Decode([]byte(f.made))
	if err != nil {
		return err
	}
	var outputs []any
	for _, o := range p.Tx.TxOut[:3] {
		a, err := address.FromScript(o.PkScript, address.Regtest)
		if err != nil {
			return err
		}
		outputs = append(outputs, map[string]Bitcoins{a.String(): Bitcoins(o.Value)})
	}
	return f.Node.Call(ctx, raw, "walletcreatefundedpsbt", []any{}, outputs, 0, map[string]any{"fee_rate": rateText(20_000), "changePosition": 3, "minconf": 1}, true, 0)
}
