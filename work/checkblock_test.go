package work

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// serialised is a block as it goes to nodes.
func serialised(t testing.TB, b *wire.MsgBlock) []byte {
	t.Helper()
	var raw bytes.Buffer
	if err := b.Serialize(&raw); err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}

// A block that a node has made goes together, and none that anything of it is changed in.
func TestCheckBlock(t *testing.T) {
	text, err := os.ReadFile("testdata/regtest-block-400tx.hex")
	if err != nil {
		t.Fatal(err)
	}
	raw := unhex(t, string(text))
	read := func() *wire.MsgBlock {
		var b wire.MsgBlock
		if err := b.Deserialize(bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
		return &b
	}
	want, err := blockchain.ExtractCoinbaseHeight(btcutil.NewTx(read().Transactions[0]))
	if err != nil {
		t.Fatal(err)
	}
	if height, err := CheckBlock(raw); err != nil || height != int64(want) {
		t.Errorf("height %d, %v, want %d", height, err, want)
	}
	changed := func(change func(b *wire.MsgBlock)) []byte {
		b := read()
		change(b)
		return serialised(t, b)
	}
	for name, tt := range map[string]struct {
		block []byte
		want  string
	}{
		"nothing":         {nil, "not a block"},
		"a header":        {raw[:80], "without transactions"},
		"a byte less":     {raw[:len(raw)-1], "cannot be read"},
		"a byte more":     {append(bytes.Clone(raw), 0), "1 bytes behind"},
		"another root":    {changed(func(b *wire.MsgBlock) { b.Header.MerkleRoot[0]++ }), "merkle root"},
		"the last left":   {changed(func(b *wire.MsgBlock) { b.Transactions = b.Transactions[:len(b.Transactions)-1] }), "merkle root"},
		"the last again":  {changed(func(b *wire.MsgBlock) { b.Transactions = append(b.Transactions, b.Transactions[len(b.Transactions)-1]) }), "twice"},
		"another output":  {changed(func(b *wire.MsgBlock) { b.Transactions[7].TxOut[0].Value++ }), "merkle root"},
		"no reserved":     {changed(func(b *wire.MsgBlock) { b.Transactions[0].TxIn[0].Witness = nil }), "commit"},
		"another witness": {changed(func(b *wire.MsgBlock) { otherWitness(t, b) }), "commit"},
		"another reserved value": {changed(func(b *wire.MsgBlock) {
			b.Transactions[0].TxIn[0].Witness = wire.TxWitness{bytes.Repeat([]byte{1}, 32)}
		}), "commit"},
	} {
		if _, err := CheckBlock(tt.block); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// otherWitness changes the first witness behind the coinbase.
func otherWitness(t *testing.T, b *wire.MsgBlock) {
	t.Helper()
	for _, tx := range b.Transactions[1:] {
		for _, in := range tx.TxIn {
			for _, item := range in.Witness {
				if len(item) > 0 {
					item[0]++
					return
				}
			}
		}
	}
	t.Fatal("the block has no witness")
}

func FuzzCheckBlock(f *testing.F) {
	coinbase := wire.NewMsgTx(2)
	coinbase.AddTxIn(&wire.TxIn{PreviousOutPoint: wire.OutPoint{Index: wire.MaxPrevOutIndex}, SignatureScript: []byte{1, 17, 0}})
	coinbase.AddTxOut(wire.NewTxOut(5, []byte{0x51}))
	b := &wire.MsgBlock{Header: wire.BlockHeader{MerkleRoot: coinbase.TxHash()}, Transactions: []*wire.MsgTx{coinbase}}
	f.Add(serialised(f, b))
	f.Add(append(make([]byte, 80), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := CheckBlock(data)
		block, other := btcutil.NewBlockFromBytes(data)
		if other != nil || !bytes.Equal(serialised(t, block.MsgBlock()), data) {
			return // another form of the same, or none
		}
		if err == nil && blockchain.CalcMerkleRoot(block.Transactions(), false) != block.MsgBlock().Header.MerkleRoot {
			t.Errorf("%x goes together, and has another merkle root", data)
		}
	})
}
