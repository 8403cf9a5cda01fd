package payout

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	btcaddress "github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
)

// What Bitcoin Core signed is what was planned; its fee and size are those that the node
// says (cases 28 and 29), and every other plan, input or bound refuses it.
func TestCheckRecorded(t *testing.T) {
	raw := recordedHex(t)
	outputs, inputs := recordedPlan(t)
	s := Defaults(address.Regtest)
	c, err := Check(raw, outputs, inputs, false, &s, 111)
	if err != nil {
		t.Fatal(err)
	}
	if c.Txid != firstTxid || c.Fee != 1310 || c.Size != 262 || c.Change == nil || c.Change.Value != 4_524_988_690 {
		t.Errorf("%+v", c)
	}
	tests := map[string]struct {
		change func(raw []byte, o []Output, in []Input, s *Settings) ([]byte, []Output, []Input)
		says   string
	}{
		"an amount": {func(r []byte, o []Output, in []Input, _ *Settings) ([]byte, []Output, []Input) {
			o[1].Amount++
			return r, o, in
		}, "no output of 0.25000001"},
		"a payee more": {func(r []byte, o []Output, in []Input, _ *Settings) ([]byte, []Output, []Input) {
			return r, append(o, o[1]), in
		}, "no output of 0.25000000"},
		"a payee less": {func(r []byte, o []Output, in []Input, _ *Settings) ([]byte, []Output, []Input) {
			return r, o[1:], in
		}, "more outputs than those to payees"},
		"another script": {func(r []byte, o []Output, in []Input, _ *Settings) ([]byte, []Output, []Input) {
			o[0].Script = o[1].Script
			return r, o, in
		}, "no output of 1.50000000"},
		"another input": {func(r []byte, o []Output, in []Input, _ *Settings) ([]byte, []Output, []Input) {
			in[0].Point.Index++
			return r, o, in
		}, "input 0 spends"},
		"an input more": {func(r []byte, o []Output, in []Input, _ *Settings) ([]byte, []Output, []Input) {
			return r, o, append(in, Input{Point: wire.OutPoint{Index: 7}})
		}, "does not spend"},
		"fee above": {func(r []byte, o []Output, in []Input, s *Settings) ([]byte, []Output, []Input) {
			s.MaxFee = 1309
			return r, o, in
		}, "its fee is 0.00001310, more than 0.00001309"},
		"rate above": {func(r []byte, o []Output, in []Input, s *Settings) ([]byte, []Output, []Input) {
			s.MaxRate = 4999
			return r, o, in
		}, "more than 4999"},
		"rate below": {func(r []byte, o []Output, in []Input, s *Settings) ([]byte, []Output, []Input) {
			s.MinRate = 5001
			return r, o, in
		}, "less than 5001"},
		"the coin's amount": {func(r []byte, o []Output, in []Input, _ *Settings) ([]byte, []Output, []Input) {
			in[0].Value += 100
			return r, o, in
		}, "not signed as its coins demand"},
		"signature": {func(r []byte, o []Output, in []Input, _ *Settings) ([]byte, []Output, []Input) {
			r[len(r)-60] ^= 1
			return r, o, in
		}, "not signed"},
		"cut off": {func(r []byte, o []Output, in []Input, _ *Settings) ([]byte, []Output, []Input) {
			return r[:len(r)-1], o, in
		}, "cannot be read"},
		"more bytes": {func(r []byte, o []Output, in []Input, _ *Settings) ([]byte, []Output, []Input) {
			return append(r, 0), o, in
		}, "follow its end"},
		"weight": {func(r []byte, o []Output, in []Input, s *Settings) ([]byte, []Output, []Input) {
			s.MaxWeight = 1044
			return r, o, in
		}, "its weight is 1045, more than 1044"},
	}
	for name, tt := range tests {
		o, in := recordedPlan(t)
		s := Defaults(address.Regtest)
		r, o, in := tt.change(slices.Clone(raw), o, in, &s)
		if _, err := Check(r, o, in, false, &s, 111); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A bump that Bitcoin Core made has the same payee outputs, in another order.
func TestCheckRecordedLockTime(t *testing.T) {
	var r struct{ Hex string }
	result(t, "getrawtransaction-inblock", &r)
	raw, err := unhex("", r.Hex)
	if err != nil {
		t.Fatal(err)
	}
	outputs, inputs := recordedPlan(t)
	s := Defaults(address.Regtest)
	if c, err := Check(raw, outputs, inputs, false, &s, 111); err != nil || c.Txid != secondTxid || c.Fee != 3144 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Check(raw, outputs, inputs, false, &s, 110); err == nil || !strings.Contains(err.Error(), "could not be mined before block 111") {
		t.Error(err)
	}
}

// Only signatures that fix the whole transaction are taken, of P2WPKH and taproot keys.
func TestSighash(t *testing.T) {
	sum := sha256.Sum256([]byte("payout test"))
	key, pub := btcec.PrivKeyFromBytes(sum[:])
	witness := append([]byte{0, 20}, btcaddress.Hash160(pub.SerializeCompressed())...)
	tweaked := txscript.ComputeTaprootKeyNoScript(pub)
	taproot, err := txscript.PayToTaprootScript(tweaked)
	if err != nil {
		t.Fatal(err)
	}
	outputs, _ := recordedPlan(t)
	outputs = outputs[:1]
	for name, script := range map[string][]byte{"P2WPKH": witness, "P2TR": taproot} {
		for hash, good := range map[txscript.SigHashType]bool{
			txscript.SigHashAll: true, txscript.SigHashDefault: name == "P2TR", txscript.SigHashNone: false, txscript.SigHashSingle: false,
			txscript.SigHashAll | txscript.SigHashAnyOneCanPay: false, txscript.SigHashSingle | txscript.SigHashAnyOneCanPay: false,
		} {
			if hash == txscript.SigHashDefault && name != "P2TR" {
				continue
			}
			in := Input{wire.OutPoint{Index: 3}, outputs[0].Amount + 1000, script}
			tx := wire.NewMsgTx(2)
			tx.AddTxIn(&wire.TxIn{PreviousOutPoint: in.Point, Sequence: wire.MaxTxInSequenceNum - 2})
			tx.AddTxOut(wire.NewTxOut(outputs[0].Amount, outputs[0].Script))
			fetch := txscript.NewCannedPrevOutputFetcher(script, in.Value)
			hashes := txscript.NewTxSigHashes(tx, fetch)
			if name == "P2TR" {
				tx.TxIn[0].Witness, err = txscript.TaprootWitnessSignature(tx, hashes, 0, in.Value, script, hash, key)
			} else {
				tx.TxIn[0].Witness, err = txscript.WitnessSignature(tx, hashes, 0, in.Value, script, hash, key, true)
			}
			if err != nil {
				t.Fatal(err)
			}
			s := Defaults(address.Regtest)
			_, err := Check(serialize(tx), outputs, []Input{in}, false, &s, 1)
			if good && err != nil || !good && (err == nil || !strings.Contains(err.Error(), "SIGHASH_ALL")) {
				t.Errorf("%s signed with %#x: %v", name, hash, err)
			}
		}
	}
}

// Where payees pay the network fee, each has the same part of it taken off, the first
// what does not divide; nothing else.
func TestPayeesPay(t *testing.T) {
	outputs, _ := recordedPlan(t)
	var have []*wire.TxOut
	for i, o := range outputs {
		o.Amount = 0
		cut := int64(2)
		if i == 0 {
			cut = 5 // 11 = 4·2 + 3
		}
		have = append(have, wire.NewTxOut(o.Debit-cut, o.Script))
	}
	amounts, change, err := match(have, outputs, 11, true)
	if err != nil || change != nil || amounts[0] != outputs[0].Debit-5 || amounts[3] != outputs[3].Debit-2 {
		t.Errorf("%v, %v, %v", amounts, change, err)
	}
	have[1].Value--
	have[2].Value++
	if _, _, err := match(have, outputs, 11, true); err == nil {
		t.Error("the fee is divided otherwise, and taken")
	}
	have[2].Value--
	for fee, good := range map[int64]bool{10: false, 11: true, 15: true} {
		have[1].Value = outputs[1].Debit - 2
		if _, _, err := match(have, outputs, fee, true); (err == nil) != good {
			t.Errorf("without change, and a fee of %d: %v", fee, err)
		}
	}
	have[0].Value += 12
	if _, _, err := match(have, outputs, 11, true); err == nil {
		t.Error("payees have more than they are owed")
	}
}
