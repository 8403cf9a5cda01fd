package testkit

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"

	"github.com/ckpool/ckpool/internal/testkit/btcd"
)

func TestBtcdSegwitTemplate(t *testing.T) {
	t.Parallel()
	n := StartBtcd(t, btcd.Options{})
	txids := n.SegwitTemplate(5)

	tmpl := n.Template()
	in := map[string]bool{}
	for _, tx := range tmpl.Transactions {
		in[tx.TxID] = true
		if tx.TxID == tx.Hash {
			t.Errorf("transaction %s carries no witness", tx.TxID)
		}
	}
	for _, txid := range txids {
		if !in[txid] {
			t.Errorf("template lacks %s", txid)
		}
	}
	if tmpl.Commitment == "" {
		t.Error("template lacks the witness commitment")
	}
	if want := n.BlockCount() + 1; tmpl.Height != want {
		t.Errorf("template height %d, want %d", tmpl.Height, want)
	}

	n.Generate(1)
	block := n.BlockAt(n.BlockCount())
	if got := len(block.Transactions); got != 6 {
		t.Errorf("generated block has %d transactions, want 6", got)
	}
	if err := blockchain.ValidateWitnessCommitment(btcutil.NewBlock(block)); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(block.Transactions[0].TxOut[0].PkScript, n.Wallet.Script()) {
		t.Error("generated block does not pay the wallet")
	}
	if more := n.SegwitTemplate(1); in[more[0]] {
		t.Error("a spent coinbase was used twice")
	}
}

func TestBtcdReorg(t *testing.T) {
	t.Parallel()
	n := StartBtcd(t, btcd.Options{})
	old := n.Generate(5)
	count := n.BlockCount()
	now := n.Reorg(2)
	if got := n.BlockCount(); got != count+1 {
		t.Errorf("height %d after replacing 2 blocks by 3, was %d", got, count)
	}
	if got := n.BlockHash(count - 2); got != old[2] {
		t.Errorf("block below the fork changed to %s", got)
	}
	if got := n.BlockHash(count); got == old[4] || got != now[1] {
		t.Errorf("block at %d is %s, want %s", count, got, now[1])
	}
}

func TestBtcdPair(t *testing.T) {
	t.Parallel()
	a, b := StartBtcdPair(t, nil)
	b.WaitTip(a.MineEmpty(1)[0])
	a.WaitTip(b.Generate(1)[0])
	a.Kill()
	if got := b.Generate(1); len(got) != 1 {
		t.Error("survivor does not mine")
	}
}

// A node started again continues its chain, also when saving was cut off; no
// process is left after Stop.
func TestBtcdRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var tip string
	for run := range 3 {
		n, err := btcd.Start(t.Context(), dir, btcd.Options{})
		if err != nil {
			t.Fatal(err)
		}
		hash, err := n.BestBlockHash(t.Context())
		if err != nil {
			t.Error(err)
		}
		if run > 0 && hash != tip {
			t.Errorf("tip %s after a restart, want %s", hash, tip)
		}
		if err := n.EnsureCurrent(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := n.Template(t.Context()); err != nil {
			t.Errorf("no template: %v", err)
		}
		hashes, err := n.Generate(t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		tip = hashes[2]
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
		if err := syscall.Kill(n.Pid(), 0); err != syscall.ESRCH {
			t.Errorf("process %d still exists: %v", n.Pid(), err)
		}
		if run == 1 {
			saved := filepath.Join(dir, "blocks.hex")
			st, err := os.Stat(saved)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(saved, st.Size()-10); err != nil {
				t.Fatal(err)
			}
			tip = hashes[1]
		}
	}
}

func TestBtcdStartFailureSaysWhy(t *testing.T) {
	t.Parallel()
	n := StartBtcd(t, btcd.Options{})
	_, err := btcd.Start(t.Context(), t.TempDir(), btcd.Options{RPC: n.RPC})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("second node on the same port: %v", err)
	}
}
