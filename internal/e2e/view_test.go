package e2e

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
)

// What a page shows of a miner's work is what the miner was sent: its coinbase pays whom it
// says, as btcd reads it, and the merkle root is that over all transactions of the node.
func TestMinersWorkIsShown(t *testing.T) {
	t.Parallel()
	n := testkit.StartBtcd(t, btcd.Options{})
	txids := n.SegwitTemplate(5)
	for _, solo := range []bool{false, true} {
		p := setup{solo: solo, nodes: []keys{btcdEntry(n)}}.start(t)
		user := "alice"
		if solo {
			user = finders[2]
		}
		h := p.connect(t, user+".rig")
		j := h.job()
		w, ok, err := p.pool.View().Work(t.Context(), user)
		if err != nil || !ok {
			t.Fatalf("no work: %v", err)
		}
		extranonces := append(bytes.Clone(j.Extranonce.Extranonce1), make([]byte, j.Extranonce.Extranonce2Len)...)
		sent := append(append(bytes.Clone(j.Coinb1), extranonces...), j.Coinb2...)
		if w.Coinbase != hex.EncodeToString(sent) || w.Worker != user+".rig" || w.PrevHash != display(j.PrevHash) {
			t.Errorf("solo %v: shown %+v, sent %x", solo, w, sent)
		}
		var tx wire.MsgTx
		if err := tx.Deserialize(bytes.NewReader(sent)); err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		paid := map[string]int64{}
		for i, out := range tx.TxOut {
			total += out.Value
			shown := w.Outputs[i]
			if shown.Value != out.Value || shown.Script != hex.EncodeToString(out.PkScript) {
				t.Errorf("output %d is %+v, want %+v", i, shown, out)
			}
			paid[shown.Address] += shown.Value
		}
		to := poolAddress
		if solo {
			to = finders[2]
		}
		if w.TxID != tx.TxHash().String() || w.Reward != total || paid[to] != total || w.Transactions != int64(len(txids)) || w.Fees <= 0 {
			t.Errorf("solo %v: %+v", solo, w)
		}
		if root := blockchain.CalcMerkleRoot(transactions(t, n, &tx, txids), false); w.MerkleRoot != root.String() || w.Check != "ok" {
			t.Errorf("solo %v: merkle root %s, %s; want %s", solo, w.MerkleRoot, w.Check, root)
		}
		if _, ok, err := p.pool.View().Work(t.Context(), "nobody"); ok || err != nil {
			t.Errorf("work of nobody: %v", err)
		}
	}
}

// transactions are a coinbase and those of a node's mempool, in the order of its template.
func transactions(t *testing.T, n *testkit.Btcd, coinbase *wire.MsgTx, txids []string) []*btcutil.Tx {
	t.Helper()
	var template struct {
		Transactions []struct{ Data, TxID string }
	}
	if err := n.Call(t.Context(), &template, "getblocktemplate", map[string]any{"rules": []string{"segwit"}, "capabilities": []string{"coinbasevalue"}}); err != nil {
		t.Fatal(err)
	}
	list := []*btcutil.Tx{btcutil.NewTx(coinbase)}
	for _, of := range template.Transactions {
		raw, err := hex.DecodeString(of.Data)
		if err != nil || !slices.Contains(txids, of.TxID) {
			t.Fatalf("%+v: %v", of, err)
		}
		tx, err := btcutil.NewTxFromBytes(raw)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, tx)
	}
	return list
}
