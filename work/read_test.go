package work

import (
	"bytes"
	"testing"

	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"
)

// Transactions are read as btcd reads them, with their ids.
func TestReadTransaction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawTx(t, rapid.Bool().Draw(t, "witness"))
		var b bytes.Buffer
		if err := want.Serialize(&b); err != nil {
			t.Fatal(err)
		}
		tx, err := ReadTransaction(b.Bytes())
		if err != nil || tx.TxID != want.TxHash() || tx.WTxID != want.WitnessHash() {
			t.Errorf("%x is read as %x, %x, %v", b.Bytes(), tx.TxID, tx.WTxID, err)
		}
		cut := rapid.IntRange(0, b.Len()-1).Draw(t, "cut")
		if tx, err := ReadTransaction(b.Bytes()[:cut]); err == nil {
			t.Errorf("the first %d bytes of it are read as %x", cut, tx.TxID)
		}
	})
}

// A block put together of what is known elsewhere is the one that its job makes, with the
// witness of its coinbase or without.
func TestAssembleBlock(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		list := []any{}
		var txs []*Transaction
		witness := rapid.Bool().Draw(rt, "witness")
		for range rapid.IntRange(0, 5).Draw(rt, "transactions") {
			tx := drawTx(rt, witness)
			var b bytes.Buffer
			if err := tx.Serialize(&b); err != nil {
				rt.Fatal(err)
			}
			read, err := ReadTransaction(b.Bytes())
			if err != nil {
				rt.Fatal(err)
			}
			list, txs = append(list, gbtTx(tx)), append(txs, &read)
		}
		j := newBuilder(t).mustJob(t, newGBT().with("bits", "207fffff", "transactions", list).parse(t))
		m, s := Miner{Limit: 750, Extranonce1: []byte{1, 2, 3, 4}}, Solution{Extranonce2: make([]byte, 8), Time: 1795327613, Version: j.Version}
		sh := solve(rt, j, &m, &s)
		block, err := AssembleBlock(&sh.Header, j.CoinbaseTx(&m, &s), txs)
		if err != nil || !bytes.Equal(block, j.Block(sh, &m, &s)) {
			rt.Errorf("%v: the block is\n%x, want\n%x", err, block, j.Block(sh, &m, &s))
		}
		if height, err := CheckBlock(block); err != nil || height != 850000 {
			rt.Errorf("it does not go together, or is of height %d: %v", height, err)
		}
	})
	if _, err := AssembleBlock(new([80]byte), []byte{1}, nil); err == nil {
		t.Error("a block with a coinbase that is none")
	}
}

// The output of a commitment may have more in it than that (BIP141).
func TestAssembleLongCommitment(t *testing.T) {
	tx := wire.NewMsgTx(1)
	tx.AddTxIn(&wire.TxIn{SignatureScript: []byte{1, 2}, PreviousOutPoint: wire.OutPoint{Index: 1<<32 - 1}})
	tx.AddTxOut(wire.NewTxOut(5, []byte{0x51}))
	tx.AddTxOut(wire.NewTxOut(0, append(CommitmentScript([][32]byte{{}}), 1, 7)))
	var coinbase, want bytes.Buffer
	if err := tx.SerializeNoWitness(&coinbase); err != nil {
		t.Fatal(err)
	}
	tx.TxIn[0].Witness = wire.TxWitness{make([]byte, 32)}
	block := wire.MsgBlock{Header: wire.BlockHeader{Version: 4, MerkleRoot: tx.TxHash()}, Transactions: []*wire.MsgTx{tx}}
	if err := block.Serialize(&want); err != nil {
		t.Fatal(err)
	}
	got, err := AssembleBlock((*[80]byte)(want.Bytes()), coinbase.Bytes(), nil)
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%v: the block is\n%x, want\n%x", err, got, want.Bytes())
	}
	if _, err := CheckBlock(got); err != nil {
		t.Error(err)
	}
}

func FuzzReadTransaction(f *testing.F) {
	var b bytes.Buffer
	tx := wire.NewMsgTx(2)
	tx.AddTxIn(&wire.TxIn{Witness: wire.TxWitness{{1}}})
	tx.AddTxOut(wire.NewTxOut(5, []byte{0x51}))
	if err := tx.Serialize(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ReadTransaction(data)
		want := wire.NewMsgTx(0)
		r := bytes.NewReader(data)
		known := want.Deserialize(r) == nil && r.Len() == 0 && len(want.TxIn) > 0
		var again bytes.Buffer
		if known {
			if want.Serialize(&again) != nil || !bytes.Equal(again.Bytes(), data) {
				return // another form of the same
			}
			if err != nil || got.TxID != want.TxHash() {
				t.Errorf("%x is read as %x, %v", data, got.TxID, err)
			}
		}
	})
}
