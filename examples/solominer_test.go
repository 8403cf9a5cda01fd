package examples_test

import (
	"encoding/hex"
	"strings"
	"testing"
)

// A block that the solo miner finds is in the chain, and pays its address.
func TestSoloMiner(t *testing.T) {
	node, url := theNode(t)
	solo := start(t, "solominer", url, minerAddress)
	line := solo.until("a block is in the chain", func(line string) bool { return strings.Contains(line, ": confirmed, ") })
	hash, _, _ := strings.Cut(line, ":")
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

// It mines no block that pays an address of another chain.
func TestSoloMinerChain(t *testing.T) {
	_, url := theNode(t)
	solo := start(t, "solominer", url, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")
	solo.until("it refuses", func(line string) bool { return strings.Contains(line, "is no address of the chain regtest") })
}
