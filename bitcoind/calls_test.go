package bitcoind

import (
	"testing"

	"github.com/btcsuite/btcd/chaincfg/v2"
)

// A node that does not tell its chain is known by its genesis block.
func TestChainOfGenesisBlock(t *testing.T) {
	for want, params := range map[string]*chaincfg.Params{
		"main": &chaincfg.MainNetParams, "test": &chaincfg.TestNet3Params, "testnet4": &chaincfg.TestNet4Params,
		"signet": &chaincfg.SigNetParams, "regtest": &chaincfg.RegressionNetParams, "": &chaincfg.SimNetParams,
	} {
		if got := ChainOf(*params.GenesisHash); got != want {
			t.Errorf("%s: %q, want %q", params.Name, got, want)
		}
	}
}
