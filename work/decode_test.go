package work

import (
	"bytes"
	"math"
	"testing"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// What btcd reads of a coinbase is what is read of it here.
func sameCoinbase(t testing.TB, raw []byte) {
	t.Helper()
	scriptSig, outputs, err := DecodeCoinbase(raw)
	if err != nil {
		return
	}
	tx := wire.NewMsgTx(0)
	if err := tx.DeserializeNoWitness(bytes.NewReader(raw)); err != nil {
		if bytes.IndexByte(raw, 0xfd) >= 0 || bytes.IndexByte(raw, 0xfe) >= 0 {
			return // btcd wants the shortest form of a number
		}
		t.Fatalf("%x: %v", raw, err)
	}
	if !bytes.Equal(tx.TxIn[0].SignatureScript, scriptSig) || len(tx.TxOut) != len(outputs) {
		t.Fatalf("script %x, %d outputs", scriptSig, len(outputs))
	}
	for i, o := range outputs {
		if o.Value != tx.TxOut[i].Value || !bytes.Equal(o.Script, tx.TxOut[i].PkScript) {
			t.Fatalf("output %d is %v, want %v", i, o, tx.TxOut[i])
		}
	}
}

func TestDecodeCoinbase(t *testing.T) {
	for _, n := range []int{0, 3, 300} {
		j := newBuilder(t).mustJob(t, roomyTemplate(t), extras(n)...)
		raw := j.CoinbaseTx(&Miner{limitHuge, nil, make([]byte, 4)}, &Solution{Extranonce2: make([]byte, 8)})
		if _, outputs, err := DecodeCoinbase(raw); err != nil || len(outputs) != n+3 {
			t.Fatalf("%d outputs, %v", len(outputs), err)
		}
		sameCoinbase(t, raw)
		for end := range raw {
			if _, _, err := DecodeCoinbase(raw[:end]); err == nil {
				t.Fatalf("the first %d of %d bytes are taken for all", end, len(raw))
			}
		}
		if _, _, err := DecodeCoinbase(append(raw, 0)); err == nil {
			t.Error("a byte too many is not seen")
		}
	}
}

// Coinbases of others may have whatever a block has room for: an output with a long script,
// or very many.
func TestDecodeLargeCoinbase(t *testing.T) {
	for _, v := range []struct{ outputs, script int }{{1, 0xffff}, {1, 0x10000}, {2, 900_000}, {0xffff, 0}, {0x10000, 0}, {100_000, 1}} {
		tx := wire.NewMsgTx(1)
		tx.AddTxIn(wire.NewTxIn(wire.NewOutPoint(&chainhash.Hash{}, math.MaxUint32), []byte{3, 1, 2, 3}, nil))
		for i := range v.outputs {
			tx.AddTxOut(wire.NewTxOut(int64(i), bytes.Repeat([]byte{0x6a}, v.script)))
		}
		var raw bytes.Buffer
		if err := tx.SerializeNoWitness(&raw); err != nil {
			t.Fatal(err)
		}
		if _, outputs, err := DecodeCoinbase(raw.Bytes()); err != nil || len(outputs) != v.outputs {
			t.Errorf("%d outputs with scripts of %d bytes: %d, %v", v.outputs, v.script, len(outputs), err)
		}
		sameCoinbase(t, raw.Bytes())
	}
	// More than there is.
	raw := coinbaseWith([]byte{0xfe, 0xff, 0xff, 0xff, 0xff})
	if _, outputs, err := DecodeCoinbase(raw); err == nil {
		t.Errorf("%d outputs of none", len(outputs))
	}
}

// coinbaseWith has what follows its only input, and a lock time.
func coinbaseWith(outputs []byte) []byte {
	head := append([]byte{1, 0, 0, 0, 1}, make([]byte, 32)...)
	head = append(head, 0xff, 0xff, 0xff, 0xff, 1, 0x51, 0xff, 0xff, 0xff, 0xff)
	return append(append(head, outputs...), 0, 0, 0, 0)
}

func FuzzDecodeCoinbase(f *testing.F) {
	j := newBuilder(f).mustJob(f, vectorTemplate(f), extras(3)...)
	f.Add(j.CoinbaseTx(&Miner{limitHuge, nil, make([]byte, 4)}, &Solution{Extranonce2: make([]byte, 8)}))
	f.Add([]byte{1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, raw []byte) { sameCoinbase(t, raw) })
}
