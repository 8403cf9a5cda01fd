package e2e

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
)

// scriptOf is the output script of a regtest address, by btcd's own code.
func scriptOf(t *testing.T, text string) []byte {
	t.Helper()
	a, err := address.DecodeAddress(text, &chaincfg.RegressionNetParams)
	if err != nil {
		t.Fatal(err)
	}
	script, err := txscript.PayToAddrScript(a)
	if err != nil {
		t.Fatal(err)
	}
	return script
}

// checkBlock looks at what is the same in both modes.
func checkBlock(t *testing.T, n *testkit.Btcd, b foundBlock) *wire.MsgBlock {
	t.Helper()
	if hash := n.BlockHash(b.Height); hash != b.Hash {
		t.Fatalf("height %d: the node has %s, blocks.json says %s", b.Height, hash, b.Hash)
	}
	block := n.BlockAt(b.Height)
	coinbase := block.Transactions[0]
	script := coinbase.TxIn[0].SignatureScript
	if !bytes.Contains(script, []byte("\x06ckpool")) || !bytes.Contains(script, []byte("/e2e sig/")) {
		t.Errorf("height %d: scriptSig %q lacks the tag or btcsig", b.Height, script)
	}
	reward := int64(0)
	for _, out := range coinbase.TxOut {
		reward += out.Value
	}
	if reward != b.Reward {
		t.Errorf("height %d: the coinbase pays %d, blocks.json says %d", b.Height, reward, b.Reward)
	}
	return block
}

// Blocks of miners become blocks of a real node, segwit transactions and all,
// and pay the pool.
func TestPoolModeOnBtcd(t *testing.T) {
	t.Parallel()
	n := testkit.StartBtcd(t, btcd.Options{})
	txids := n.SegwitTemplate(3)
	before := n.BlockCount()
	p := setup{nodes: []keys{btcdEntry(n)}, keys: keys{
		"btcsig": "/e2e sig/", "donation": 1.5, "donaddress": donationAddress,
	}}.start(t)
	miners := p.mine(t, 30, "alice.rig1", "bob")
	confirmed := func() (list []foundBlock) {
		for _, b := range p.blocks() {
			if strings.HasPrefix(b.State, "confirmed") {
				list = append(list, b)
			}
		}
		return list
	}
	eventually(t, patience, "3 confirmed blocks", func() bool { return len(confirmed()) >= 3 })
	miners.stop()
	miners.undisturbed()
	p.stop()

	found := confirmed()
	if rise := n.BlockCount() - before; rise < int64(len(found)) {
		t.Errorf("getblockcount rose by %d for %d blocks", rise, len(found))
	}
	for i, b := range found {
		block := checkBlock(t, n, b)
		coinbase := block.Transactions[0]
		donation := b.Reward * 15 / 1000
		if out := coinbase.TxOut[0]; !bytes.Equal(out.PkScript, scriptOf(t, poolAddress)) || out.Value != b.Reward-donation {
			t.Errorf("height %d: %d to %x", b.Height, out.Value, out.PkScript)
		}
		if out := coinbase.TxOut[1]; !bytes.Equal(out.PkScript, scriptOf(t, donationAddress)) || out.Value != donation {
			t.Errorf("height %d: donation of %d to %x, want %d", b.Height, out.Value, out.PkScript, donation)
		}
		if b.Worker != "alice.rig1" && b.Worker != "bob" {
			t.Errorf("height %d: found by %q", b.Height, b.Worker)
		}
		if i > 0 {
			continue
		}
		var in []string
		for _, tx := range block.Transactions[1:] {
			in = append(in, tx.TxHash().String())
			if !tx.HasWitness() {
				t.Errorf("transaction %s lost its witness", tx.TxHash())
			}
		}
		slices.Sort(in)
		slices.Sort(txids)
		if !slices.Equal(in, txids) {
			t.Errorf("transactions %v in the first block, want %v", in, txids)
		}
		if err := blockchain.ValidateWitnessCommitment(btcutil.NewBlock(block)); err != nil {
			t.Error(err)
		}
		if _, commits := blockchain.ExtractWitnessCommitment(btcutil.NewTx(coinbase)); !commits {
			t.Error("the first block commits to no witness")
		}
	}
}

// Finders are the addresses of solo miners, of every type.
var finders = []string{
	"mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn",                               // P2PKH
	"2MzQwSSnBHWHqSAqtTVQ6v47XtaisrJa1Vc",                              // P2SH
	"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",                     // P2WPKH
	"bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry", // P2WSH
	"bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6", // P2TR
}

func TestSoloModeOnBtcd(t *testing.T) {
	t.Parallel()
	n := testkit.StartBtcd(t, btcd.Options{})
	n.SegwitTemplate(2)
	p := setup{solo: true, nodes: []keys{btcdEntry(n)}, keys: keys{"btcsig": "/e2e sig/", "btcaddress": ""}}.start(t)
	for i, finder := range finders {
		worker := fmt.Sprintf("%s.rig%d", finder, i)
		h := p.connect(t, worker)
		tip := n.BestBlockHash()
		j, _ := h.jobOn(patience, tip)
		s := h.solveBlock(j)
		if reject := h.submit(s); reject != nil {
			t.Fatalf("%s: %v", finder, reject)
		}
		b := p.blockWhere(s.hash+" confirmed", func(b foundBlock) bool {
			return b.Hash == s.hash && strings.HasPrefix(b.State, "confirmed")
		})
		block := checkBlock(t, n, b)
		if out := block.Transactions[0].TxOut[0]; !bytes.Equal(out.PkScript, scriptOf(t, finder)) || out.Value != b.Reward {
			t.Errorf("%s: %d to %x", finder, out.Value, out.PkScript)
		}
		if b.Worker != worker {
			t.Errorf("%s: found by %q", finder, b.Worker)
		}
		if got := len(block.Transactions) > 1; got != (i == 0) {
			t.Errorf("%s: block of %d transactions", finder, len(block.Transactions))
		}
	}
}

// A mask that asks for bits which no block may be without does not cost the
// blocks.
func TestGreedyVersionMaskOnBtcd(t *testing.T) {
	t.Parallel()
	n := testkit.StartBtcd(t, btcd.Options{})
	p := setup{nodes: []keys{btcdEntry(n)}, keys: keys{"version_mask": "ffffffff"}}.start(t)
	p.block(p.connect(t, "alice").findBlock().hash, "confirmed 1")
}
