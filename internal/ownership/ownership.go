// Package ownership tells whether somebody has the key of a bitcoin address, by a
// message signed with it: BIP322 (simple and full), and what wallets signed before it
// (Bitcoin Core's signmessage, and BIP137 for addresses of segregated witness). It
// knows neither accounts nor a database, and trusts nothing that it is given: sizes
// are bounded, and scripts are run by btcd's engine.
//
// What is to be signed is the text of a [Claim], which names the pool, the account,
// what is to be done, and when, and is good for one use.
package ownership

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	btcaddress "github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
)

// Limits of what is looked at.
const (
	MaxMessage   = 2_000  // bytes
	MaxSignature = 16_000 // bytes, in base64: more than the largest script that may be spent
)

// ErrSignature tells that a signature is not one of the address over the message.
var ErrSignature = errors.New("the signature is not one of this address over this text: sign exactly the text, with the wallet of the address")

// Verify tells whether signature is one of a over message, in base64 as wallets give it:
//
//   - BIP322 simple for P2WPKH, P2WSH, P2TR and P2SH around the first two; full for all
//     that can be spent by one input, as P2PKH. The prefixes "smp" and "ful" may be
//     there. What could be spent at a later time only is no proof: who may have the
//     coins some day does not own them today.
//   - 65 bytes of a recovered key, as Core's signmessage makes, for P2PKH. BIP322 keeps
//     these for P2PKH alone, but Electrum, Sparrow and most hardware wallets sign so for
//     P2WPKH and P2SH-P2WPKH too (BIP137), and the address names the same key: they are
//     taken, with the header of BIP137 or that of P2PKH with a compressed key.
func Verify(a address.Address, message, signature string) error {
	locked, err := verify(a, message, signature)
	if err == nil && locked {
		return errors.New("the signature has a lock time: want one that is good at once")
	}
	return err
}

// verify also tells whether the signature is good only from some time on.
func verify(a address.Address, message, signature string) (locked bool, err error) {
	switch {
	case a.Payable() != nil:
		return false, a.Payable()
	case len(message) > MaxMessage:
		return false, fmt.Errorf("the text has %d bytes: want at most %d", len(message), MaxMessage)
	case len(signature) > MaxSignature:
		return false, fmt.Errorf("the signature has %d bytes: want at most %d", len(signature), MaxSignature)
	}
	text := strings.TrimSpace(signature)
	var form string
	for _, prefix := range []string{"smp", "ful", "pof"} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			form, text = prefix, rest
		}
	}
	if form == "pof" {
		return false, errors.New("the signature is a proof of funds: want one of the address alone")
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	switch {
	case err != nil:
		return false, errors.New("the signature is not base64")
	case len(raw) == 0:
		return false, errors.New("there is no signature")
	}
	if form == "" {
		switch {
		case len(raw) == 65 && raw[0] >= 27 && raw[0] <= 42:
			return false, verifyRecovered(a, message, raw)
		case len(raw) > 4 && raw[1] == 0 && raw[2] == 0 && raw[3] == 0: // a version; no stack begins so
			form = "ful"
		}
	}
	spend := toSpend(a.Script(), message)
	sign := toSign(spend)
	if form == "ful" {
		if err := readFull(raw, sign); err != nil {
			return false, err
		}
		if sign.TxIn[0].PreviousOutPoint != (wire.OutPoint{Hash: spend.TxHash()}) {
			return false, ErrSignature
		}
	} else {
		r := reader{raw}
		stack := r.stack()
		if stack == nil || len(r.rest) > 0 {
			return false, errors.New("the signature is neither one of BIP322 nor one of 65 bytes")
		}
		sign.TxIn[0].Witness = stack
		if a.Type() == address.P2SH {
			if sign.TxIn[0].SignatureScript, err = around(stack); err != nil {
				return false, err
			}
		}
	}
	if err := rules(a, sign.TxIn[0]); err != nil {
		return false, err
	}
	if err := run(a.Script(), sign); err != nil {
		return false, ErrSignature
	}
	return sign.LockTime != 0 || sign.TxIn[0].Sequence&wire.SequenceLockTimeDisabled == 0 && sign.TxIn[0].Sequence != 0, nil
}

// opReturn is the script of the only output.
var opReturn = []byte{txscript.OP_RETURN}

// messageHash is what BIP322 makes of a message.
func messageHash(message string) *chainhash.Hash {
	return chainhash.TaggedHash([]byte("BIP0322-signed-message"), []byte(message))
}

// toSpend is the first of BIP322's two transactions, which commits to the message.
func toSpend(script []byte, message string) *wire.MsgTx {
	tx := wire.NewMsgTx(0)
	hash := messageHash(message)
	tx.AddTxIn(&wire.TxIn{PreviousOutPoint: wire.OutPoint{Index: 0xffffffff}, SignatureScript: append([]byte{txscript.OP_0, txscript.OP_DATA_32}, hash[:]...)})
	tx.AddTxOut(wire.NewTxOut(0, script))
	return tx
}

// toSign is the second one, which spends it.
func toSign(spend *wire.MsgTx) *wire.MsgTx {
	tx := wire.NewMsgTx(0)
	tx.AddTxIn(&wire.TxIn{PreviousOutPoint: wire.OutPoint{Hash: spend.TxHash()}})
	tx.AddTxOut(wire.NewTxOut(0, opReturn))
	return tx
}

// flags are the rules of BIP322.
const flags = txscript.StandardVerifyFlags | txscript.ScriptVerifySigPushOnly | txscript.ScriptVerifyConstScriptCode

// run spends the script.
func run(script []byte, sign *wire.MsgTx) error {
	prevouts := txscript.NewCannedPrevOutputFetcher(script, 0)
	vm, err := txscript.NewEngine(script, sign, 0, flags, nil, txscript.NewTxSigHashes(sign, prevouts), 0, prevouts)
	if err != nil {
		return err
	}
	return vm.Execute()
}

// around is the script of an input that spends P2SH around what the witness is of.
func around(witness wire.TxWitness) ([]byte, error) {
	last := []byte{}
	if len(witness) > 0 {
		last = witness[len(witness)-1]
	}
	var inner []byte
	if len(witness) == 2 && len(last) == 33 {
		inner = append([]byte{txscript.OP_0, txscript.OP_DATA_20}, btcaddress.Hash160(last)...)
	} else {
		inner = append([]byte{txscript.OP_0, txscript.OP_DATA_32}, chainhash.HashB(last)...)
	}
	return txscript.NewScriptBuilder().AddData(inner).Script()
}

// rules are those of BIP322 that the engine does not know: every signature signs all,
// and no script parts what is signed.
func rules(a address.Address, in *wire.TxIn) error {
	all := errors.New("a signature in it has another hash type than SIGHASH_ALL")
	if a.Type() == address.P2TR {
		stack := in.Witness
		if n := len(stack); n > 1 && len(stack[n-1]) > 0 && stack[n-1][0] == txscript.TaprootAnnexTag {
			return errors.New("its witness has an annex")
		}
		script := []byte(nil)
		if n := len(stack); n > 1 {
			script, stack = stack[n-2], stack[:n-2]
		}
		for _, item := range stack {
			if len(item) == 65 && item[64] != byte(txscript.SigHashAll) {
				return all
			}
		}
		return noSeparator(script)
	}
	items := [][]byte(in.Witness)
	for t := txscript.MakeScriptTokenizer(0, in.SignatureScript); t.Next(); {
		items = append(items, t.Data())
	}
	for i, item := range items {
		if len(item) > 8 && item[0] == 0x30 && int(item[1]) == len(item)-3 && item[len(item)-1] != byte(txscript.SigHashAll) {
			return all
		}
		// A script is the last of the witness or of what is pushed.
		if i == len(in.Witness)-1 || i == len(items)-1 {
			if err := noSeparator(item); err != nil {
				return err
			}
		}
	}
	return nil
}

func noSeparator(script []byte) error {
	for t := txscript.MakeScriptTokenizer(0, script); t.Next(); {
		if t.Opcode() == txscript.OP_CODESEPARATOR {
			return errors.New("its script has OP_CODESEPARATOR, which BIP322 does not allow")
		}
	}
	return nil
}

// readFull reads a signed transaction into what toSign made. It takes nothing but one
// input and the one output, so that its size bounds what it costs.
func readFull(raw []byte, sign *wire.MsgTx) error {
	r := reader{raw}
	in := sign.TxIn[0]
	sign.Version = int32(r.uint32())
	witness := len(r.rest) > 1 && r.rest[0] == 0 && r.rest[1] == 1
	if witness {
		r.take(2)
	}
	if n := r.varint(); n != 1 {
		return fmt.Errorf("its transaction has %d inputs: want 1, the funds of others are not looked at", n)
	}
	copy(in.PreviousOutPoint.Hash[:], r.take(chainhash.HashSize))
	in.PreviousOutPoint.Index = r.uint32()
	in.SignatureScript = r.take(r.varint())
	in.Sequence = r.uint32()
	outputs, value, script := r.varint(), r.take(8), r.take(r.varint())
	if witness {
		in.Witness = r.stack()
	}
	sign.LockTime = r.uint32()
	switch {
	case r.rest == nil || len(r.rest) > 0:
		return errors.New("its transaction is cut off or goes on behind its end")
	case sign.Version != 0 && sign.Version != 2:
		return fmt.Errorf("its transaction has version %d: want 0 or 2", sign.Version)
	case outputs != 1 || !bytes.Equal(value, make([]byte, 8)) || !bytes.Equal(script, opReturn):
		return errors.New("its transaction has other outputs than BIP322's")
	}
	return nil
}

// reader reads a transaction. Where it is too short rest is nil from then on.
type reader struct{ rest []byte }

func (r *reader) take(n uint64) []byte {
	if uint64(len(r.rest)) < n {
		r.rest = nil
	}
	if r.rest == nil {
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint32() uint32 {
	b := r.take(4)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

func (r *reader) varint() uint64 {
	b := r.take(1)
	if b == nil {
		return 0
	}
	if b[0] < 0xfd {
		return uint64(b[0])
	}
	wide := r.take(1 << (b[0] - 0xfc))
	if wide == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(append(bytes.Clone(wide), make([]byte, 8-len(wide))...))
}

// stack is a witness; nil where there is none.
func (r *reader) stack() wire.TxWitness {
	n := r.varint()
	if r.rest == nil || n > uint64(len(r.rest)) {
		r.rest = nil
		return nil
	}
	stack := make(wire.TxWitness, n)
	for i := range stack {
		stack[i] = r.take(r.varint())
	}
	if r.rest == nil {
		return nil
	}
	return stack
}

// verifyRecovered recovers the key from a signature and compares it with the address.
func verifyRecovered(a address.Address, message string, raw []byte) error {
	header := raw[0]
	compressed := header >= 31
	switch a.Type() {
	case address.P2PKH:
		if header > 34 {
			return errors.New("the signature is one of another type of address")
		}
	case address.P2SH, address.P2WPKH:
		if own := map[address.Type]byte{address.P2SH: 35, address.P2WPKH: 39}[a.Type()]; header < 31 || header > 34 && (header < own || header > own+3) {
			return errors.New("the signature is one of another type of address")
		}
	default:
		return fmt.Errorf("a %s address cannot be proved by a signature of 65 bytes: want one of BIP322", a.Type())
	}
	normal := bytes.Clone(raw)
	if header > 34 {
		normal[0] = 31 + (header-35)%4
	}
	key, _, err := ecdsa.RecoverCompact(normal, signedHash(message))
	if err != nil {
		return ErrSignature
	}
	serialized := key.SerializeUncompressed()
	if compressed {
		serialized = key.SerializeCompressed()
	}
	hash := btcaddress.Hash160(serialized)
	var script []byte
	switch a.Type() {
	case address.P2PKH:
		script = append(append([]byte{txscript.OP_DUP, txscript.OP_HASH160, txscript.OP_DATA_20}, hash...), txscript.OP_EQUALVERIFY, txscript.OP_CHECKSIG)
	case address.P2WPKH:
		script = append([]byte{txscript.OP_0, txscript.OP_DATA_20}, hash...)
	case address.P2SH:
		inner := append([]byte{txscript.OP_0, txscript.OP_DATA_20}, hash...)
		script = append(append([]byte{txscript.OP_HASH160, txscript.OP_DATA_20}, btcaddress.Hash160(inner)...), txscript.OP_EQUAL)
	}
	if !bytes.Equal(script, a.Script()) {
		return ErrSignature
	}
	return nil
}

// signedHash is what signmessage signs.
func signedHash(message string) []byte {
	var b bytes.Buffer
	for _, s := range []string{"Bitcoin Signed Message:\n", message} {
		_ = wire.WriteVarString(&b, 0, s) // a buffer takes all
	}
	return chainhash.DoubleHashB(b.Bytes())
}
