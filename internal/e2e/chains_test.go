package e2e

import (
	"bytes"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/firmware"
)

// The pool mines on every network; signet's templates are refused to who does
// not name its rule.
func TestNetworks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		chain, address string
		params         *chaincfg.Params
	}{
		{"main", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", &chaincfg.MainNetParams},
		{"test", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", &chaincfg.TestNet3Params},
		{"testnet4", "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", &chaincfg.TestNet3Params},
		{"signet", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", &chaincfg.SigNetParams},
	} {
		t.Run(c.chain, func(t *testing.T) {
			t.Parallel()
			n := testkit.StartFakeNode(t, fakenode.Config{Chain: c.chain, Transactions: 10})
			p := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"btcaddress": c.address}}.start(t)
			if found := p.block(p.connect(t, "alice").findBlock().hash, "confirmed 1"); found.Chain != c.chain {
				t.Errorf("the block is said to be of chain %q", found.Chain)
			}
			a, err := address.DecodeAddress(c.address, c.params)
			if err != nil {
				t.Fatal(err)
			}
			script, err := txscript.PayToAddrScript(a)
			if err != nil {
				t.Fatal(err)
			}
			if out := n.Submissions()[0].Block.Transactions[0].TxOut[0]; !bytes.Equal(out.PkScript, script) {
				t.Errorf("the block pays %x", out.PkScript)
			}
		})
	}
}

// A solo miner's address must be of the node's network.
func TestSoloAddressOfNetwork(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Chain: "signet"})
	p := setup{solo: true, nodes: []keys{fakeEntry(n)}, keys: keys{"btcaddress": ""}}.start(t)
	p.block(p.connect(t, "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx.rig").findBlock().hash, "confirmed 1")
	for user, want := range map[string]string{
		"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4.rig": "mining.authorize refused: Address is for mainnet, this pool mines on testnet or signet (24)",
		"alice": "mining.authorize refused: Username must be a bitcoin address",
	} {
		if err := p.refused(user); err == nil || !strings.HasPrefix(err.Error(), p.addr+": "+want) {
			t.Errorf("%s: %v", user, err)
		}
	}
}

// A template whose version has bits that miners roll: whether they replace,
// OR or XOR them, they mean the same header; with vbrequired the bit stays.
func TestTemplateWithRolledVersionBits(t *testing.T) {
	t.Parallel()
	families := []string{"Antminer S19", "Bitaxe", "cgminer", "ePIC", "NiceHash"}
	for name, required := range map[string]uint32{"free": 0, "required": 1 << 28} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := fakenode.Config{Version: 0x30000000, VBRequired: required, Bits: 0x1d00ffff}
			p := setup{nodes: []keys{fakeEntry(testkit.StartFakeNode(t, config))}}.start(t)
			for _, family := range families {
				d := p.device(t, family, "alice", firmware.Options{ShareRate: 100, Suggest: 1e-8})
				d.shares(20)
				if mask := d.Session().VersionMask; mask&required != 0 {
					t.Errorf("%s may roll %08x", family, mask)
				}
			}

			config.Bits = 0x207fffff
			n := testkit.StartFakeNode(t, config)
			p = setup{nodes: []keys{fakeEntry(n)}}.start(t)
			for _, family := range families {
				d := p.device(t, family, "alice", firmware.Options{ShareRate: 20, Suggest: 1e-8})
				if _, err := d.Mine(t.Context(), func(s firmware.Stats) bool { return s.Blocks > 0 }); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, patience, "blocks", func() bool { return len(n.Submissions()) >= len(families) })
			for _, s := range n.Submissions() {
				version := uint32(s.Block.Header.Version)
				if s.Verdict != "" && s.Verdict != "inconclusive" || version&required != required || version>>29 != 1 {
					t.Errorf("block of version %08x: %s", version, s.Verdict)
				}
			}
		})
	}
}
