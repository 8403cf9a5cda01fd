package work

import (
	"bytes"
	"testing"

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
		if bytes.Contains(raw, []byte{0xfd}) {
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

func FuzzDecodeCoinbase(f *testing.F) {
	j := newBuilder(f).mustJob(f, vectorTemplate(f), extras(3)...)
	f.Add(j.CoinbaseTx(&Miner{limitHuge, nil, make([]byte, 4)}, &Solution{Extranonce2: make([]byte, 8)}))
	f.Add([]byte{1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, raw []byte) { sameCoinbase(t, raw) })
}
