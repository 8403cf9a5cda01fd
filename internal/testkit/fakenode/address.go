package fakenode

import (
	"encoding/hex"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"
)

// networks are the address prefixes by the name getblockchaininfo gives.
var networks = map[string]*chaincfg.Params{
	"main":     &chaincfg.MainNetParams,
	"test":     &chaincfg.TestNet3Params,
	"testnet4": &chaincfg.TestNet3Params,
	"signet":   &chaincfg.SigNetParams,
	"regtest":  &chaincfg.RegressionNetParams,
}

// validateaddress answers as Core without a wallet does.
func validateaddress(text string, params *chaincfg.Params) any {
	a, err := address.DecodeAddress(text, params)
	if err != nil || !a.IsForNet(params) {
		return object{
			{"isvalid", false},
			{"error_locations", []int{}},
			{"error", "Invalid or unsupported Segwit (Bech32) or Base58 encoding."},
		}
	}
	script, err := txscript.PayToAddrScript(a)
	if err != nil {
		return object{{"isvalid", false}, {"error_locations", []int{}}, {"error", err.Error()}}
	}
	class := txscript.GetScriptClass(script)
	version, program, err := txscript.ExtractWitnessProgramInfo(script)
	witness := err == nil
	o := object{
		{"isvalid", true},
		{"address", a.EncodeAddress()},
		{"scriptPubKey", hex.EncodeToString(script)},
		{"isscript", class == txscript.ScriptHashTy || class == txscript.WitnessV0ScriptHashTy || witness && version > 0},
		{"iswitness", witness},
	}
	if witness {
		o = append(o, member{"witness_version", version}, member{"witness_program", hex.EncodeToString(program)})
	}
	return o
}
