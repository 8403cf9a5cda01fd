package address

import "github.com/btcsuite/btcd/btcec/v2/schnorr"

func parsesAsKey(x []byte) bool {
	_, err := schnorr.ParsePubKey(x)
	return err == nil
}
