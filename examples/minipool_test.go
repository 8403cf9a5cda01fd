package examples_test

import (
	"encoding/hex"
	"net"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/port"
)

// A block of a miner of the small pool is in the chain, and pays its address.
func TestMinipool(t *testing.T) {
	node, url := theNode(t)
	free, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", free)
	pool := start(t, "minipool", url, minerAddress, addr, "1e-6")
	pool.until("it has work", func(line string) bool { return strings.Contains(line, " transactions") })
	for _, s := range mined(t, addr, "bob.rig1", 2) {
		if s.Err != nil {
			t.Error(s.Err)
		}
	}
	accepted, confirmed := false, "" // the node may be faster than the line about the share
	pool.until("a share is accepted and a block in the chain", func(line string) bool {
		accepted = accepted || strings.Contains(line, "share of bob.rig1, difficulty ")
		if strings.Contains(line, ": confirmed") {
			confirmed = line
		}
		return accepted && confirmed != ""
	})
	words := strings.Fields(confirmed)
	hash := ""
	for i, w := range words {
		if w == "block" {
			hash = strings.TrimSuffix(words[i+1], ":")
		}
	}
	block, err := node.Block(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	// BIP173: the program of the address, as a script.
	const script = "0014751e76e8199196d454941c45d1b3a323f1433bd6"
	if pays := hex.EncodeToString(block.Transactions[0].TxOut[0].PkScript); pays != script {
		t.Errorf("the block pays %s, not %s", pays, script)
	}
}
