package work

import (
	"testing"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"
)

// numberedTxs are n transactions that differ, without the expense of random ones.
func numberedTxs(n int) (txs []*btcutil.Tx, txids [][32]byte) {
	for i := range n {
		tx := wire.NewMsgTx(int32(i))
		tx.AddTxIn(&wire.TxIn{})
		txs = append(txs, btcutil.NewTx(tx))
		txids = append(txids, tx.TxHash())
	}
	return txs, txids
}

func TestMerkleRootOfEverySize(t *testing.T) {
	txs, txids := numberedTxs(130)
	for n := 1; n <= len(txs); n++ {
		branch := MerkleBranch(txids[1:n])
		want := blockchain.CalcMerkleRoot(txs[:n], false)
		if got := MerkleRoot(txids[0], branch); got != [32]byte(want) {
			t.Fatalf("root over %d transactions is %x, want %x", n, got, want)
		}
	}
}

func TestMerkleBranchLeavesItsArgument(t *testing.T) {
	_, txids := numberedTxs(9)
	before := append([][32]byte(nil), txids...)
	MerkleBranch(txids)
	for i := range txids {
		if txids[i] != before[i] {
			t.Fatalf("txid %d was changed", i)
		}
	}
}

// A branch does not depend on the coinbase, whatever the transactions are.
func TestMerkleProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 32, 32), 1, 40).Draw(t, "ids")
		tree := make([][32]byte, len(ids))
		for i := range ids {
			tree[i] = [32]byte(ids[i])
		}
		got := MerkleRoot(tree[0], MerkleBranch(tree[1:]))
		if want := naiveRoot(tree); got != want {
			t.Fatalf("root is %x, want %x", got, want)
		}
		zero := append([][32]byte{{}}, tree[1:]...)
		root, reserved := naiveRoot(zero), [32]byte{}
		want := chainhash.DoubleHashH(append(root[:], reserved[:]...))
		if got := witnessCommitment(zero); got != [32]byte(want) {
			t.Fatalf("commitment is %x, want %x", got, want)
		}
	})
}

func naiveRoot(level [][32]byte) [32]byte {
	for len(level) > 1 {
		if len(level)%2 == 1 {
			level = append(level[:len(level):len(level)], level[len(level)-1])
		}
		var next [][32]byte
		for i := 0; i < len(level); i += 2 {
			next = append(next, chainhash.DoubleHashH(append(append([]byte(nil), level[i][:]...), level[i+1][:]...)))
		}
		level = next
	}
	return level[0]
}
