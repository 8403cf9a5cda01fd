package btcd

import (
	"crypto/sha256"
	"fmt"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// Wallet is one regtest key and its P2WPKH address.
type Wallet struct {
	key     *btcec.PrivateKey
	address string
	script  []byte
}

// NewWallet derives the key from seed: the same seed, the same key. It guards
// play money only.
func NewWallet(seed string) *Wallet {
	sum := sha256.Sum256([]byte("ckpool regtest wallet " + seed))
	key, pub := btcec.PrivKeyFromBytes(sum[:])
	addr, err := address.NewAddressWitnessPubKeyHash(
		address.Hash160(pub.SerializeCompressed()), &chaincfg.RegressionNetParams)
	if err != nil {
		panic("btcd: 20 bytes are always a key hash: " + err.Error())
	}
	script, err := txscript.PayToAddrScript(addr)
	if err != nil {
		panic("btcd: a P2WPKH address always has a script: " + err.Error())
	}
	return &Wallet{key: key, address: addr.EncodeAddress(), script: script}
}

// Address is the wallet's P2WPKH address on regtest.
func (w *Wallet) Address() string { return w.address }

// Script is the output script of Address.
func (w *Wallet) Script() []byte { return w.script }

// Spend makes a signed transaction of an output that pays the wallet into two
// outputs that pay it too; fee is in satoshis.
func (w *Wallet) Spend(from wire.OutPoint, value, fee int64) (*wire.MsgTx, error) {
	tx := wire.NewMsgTx(2)
	tx.AddTxIn(&wire.TxIn{PreviousOutPoint: from, Sequence: wire.MaxTxInSequenceNum - 2})
	half := (value - fee) / 2
	tx.AddTxOut(wire.NewTxOut(half, w.script))
	tx.AddTxOut(wire.NewTxOut(value-fee-half, w.script))
	outputs := txscript.NewCannedPrevOutputFetcher(w.script, value)
	witness, err := txscript.WitnessSignature(tx, txscript.NewTxSigHashes(tx, outputs), 0, value,
		w.script, txscript.SigHashAll, w.key, true)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	tx.TxIn[0].Witness = witness
	return tx, nil
}

// Sign signs every input of a transaction, all of which spend outputs to the wallet.
func (w *Wallet) Sign(tx *wire.MsgTx, coins txscript.PrevOutputFetcher) error {
	hashes := txscript.NewTxSigHashes(tx, coins)
	for i, in := range tx.TxIn {
		coin := coins.FetchPrevOutput(in.PreviousOutPoint)
		if coin == nil {
			return fmt.Errorf("sign: output %s is not known", in.PreviousOutPoint)
		}
		witness, err := txscript.WitnessSignature(tx, hashes, i, coin.Value, coin.PkScript, txscript.SigHashAll, w.key, true)
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		in.Witness = witness
	}
	return nil
}
