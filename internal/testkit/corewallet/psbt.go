package corewallet

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/payout/psbt"
)

// sizes, in vbytes: of an input that spends a P2WPKH output, and of all but inputs and
// outputs.
const (
	inputSize = 68
	baseSize  = 11
	dust      = 294
)

func (w *Wallet) fund(_ context.Context, v *view, p params) (any, error) {
	version := 2
	if w.old {
		version = 0
		if len(p) > 5 {
			return nil, refuse(-1, "walletcreatefundedpsbt ( [{\"txid\":\"hex\",\"vout\":n,...},...] ) [{...}] ...")
		}
	}
	var preset []outpoint
	var outputs []map[string]json.RawMessage
	var options struct {
		Rate     json.RawMessage `json:"fee_rate"`
		Subtract []int           `json:"subtractFeeFromOutputs"`
		Position *int            `json:"changePosition"`
		Minimum  int64           `json:"minconf"`
	}
	if err := errors.Join(p.get(0, &preset), p.get(1, &outputs), p.get(3, &options), p.get(5, &version)); err != nil {
		return nil, err
	}
	rate, err := satoshis(options.Rate, 3)
	if err != nil || rate == 0 {
		return nil, refuse(-4, "Fee estimation failed. Fallbackfee is disabled. Wait a few blocks or enable -fallbackfee.")
	}
	tx := wire.NewMsgTx(2)
	var want int64
	paid := map[string]bool{}
	for _, o := range outputs {
		for to, amount := range o {
			a, err := address.Parse(to)
			if err != nil || !a.On(address.Regtest) {
				return nil, refuse(-5, "Invalid Bitcoin address: %s", to)
			}
			value, err := satoshis(amount, 8)
			if err != nil {
				return nil, err
			}
			if paid[string(a.Script())] {
				return nil, refuse(-8, "Invalid parameter, duplicated address: %s", to)
			}
			paid[string(a.Script())] = true
			if value < dust {
				return nil, refuse(-4, "Transaction amount too small")
			}
			tx.AddTxOut(wire.NewTxOut(value, a.Script()))
			want += value
		}
	}
	chosen := map[wire.OutPoint]bool{}
	var in int64
	add := func(at wire.OutPoint) {
		if out := v.out(at); out != nil && !chosen[at] {
			chosen[at] = true
			in += out.Value
			tx.AddTxIn(&wire.TxIn{PreviousOutPoint: at, Sequence: wire.MaxTxInSequenceNum - 2})
		}
	}
	for _, o := range preset {
		at, err := o.point()
		if err != nil {
			return nil, err
		}
		if v.coins[at].TxOut == nil {
			return nil, refuse(-4, "Unable to find UTXO for external input")
		}
		add(at)
	}
	change := wire.NewTxOut(0, w.node.Wallet.Script())
	size := func() int64 {
		n := int64(baseSize + inputSize*len(tx.TxIn) + change.SerializeSize())
		for _, o := range tx.TxOut {
			n += int64(o.SerializeSize())
		}
		return n
	}
	fee := func() int64 { return (size()*rate + 999) / 1000 }
	need := func() int64 {
		if len(options.Subtract) > 0 {
			return want
		}
		return want + fee()
	}
	for _, at := range w.spendable(v, options.Minimum) {
		if in >= need() && len(tx.TxIn) > 0 {
			break
		}
		add(at)
	}
	if in < need() || len(tx.TxIn) == 0 {
		return nil, refuse(-4, "Insufficient funds")
	}
	pays := fee()
	if n := int64(len(options.Subtract)); n > 0 {
		change.Value = in - want
		cut := pays
		if change.Value < dust { // is part of the fee, and nobody's to pay
			cut, pays = pays-change.Value, pays-change.Value
		}
		for i, at := range options.Subtract {
			tx.TxOut[at].Value -= cut / n
			if i == 0 {
				tx.TxOut[at].Value -= cut % n
			}
			if tx.TxOut[at].Value < dust {
				return nil, refuse(-4, "The transaction amount is too small to pay the fee")
			}
		}
	} else {
		change.Value = in - want - pays
	}
	position := -1
	if change.Value >= dust {
		position = len(tx.TxOut)
		tx.AddTxOut(change)
	} else {
		pays += change.Value
	}
	return map[string]any{"psbt": encode(version, tx, v, nil), "fee": money(pays), "changepos": position}, nil
}

func (w *Wallet) process(_ context.Context, v *view, p params) (any, error) {
	var text string
	sign := true
	if err := errors.Join(p.get(0, &text), p.get(1, &sign)); err != nil {
		return nil, err
	}
	packet, err := w.decode(text)
	if err != nil {
		return nil, err
	}
	if !sign {
		return map[string]any{"psbt": text, "complete": false}, nil
	}
	if w.closed {
		return nil, refuse(-13, "Error: Please enter the wallet passphrase with walletpassphrase first.")
	}
	coins := map[wire.OutPoint]*wire.TxOut{}
	for _, in := range packet.Tx.TxIn {
		out := v.out(in.PreviousOutPoint)
		if out == nil || !w.own(out.PkScript) {
			return map[string]any{"psbt": text, "complete": false}, nil
		}
		coins[in.PreviousOutPoint] = out
	}
	tx := packet.Tx.Copy()
	if err := w.node.Wallet.Sign(tx, txscript.NewMultiPrevOutFetcher(coins)); err != nil {
		return nil, err
	}
	return map[string]any{"psbt": encode(int(packet.Version), packet.Tx, v, tx), "complete": true, "hex": hex.EncodeToString(serialize(tx))}, nil
}

func (w *Wallet) decode(text string) (*psbt.Packet, error) {
	if strings.ContainsAny(text, " \t\r\n") {
		return nil, refuse(-22, "TX decode failed invalid base64")
	}
	packet, err := psbt.Decode([]byte(text))
	if err != nil || w.old && packet.Version != 0 {
		return nil, refuse(-22, "TX decode failed invalid PSBT")
	}
	return packet, nil
}

func (w *Wallet) finalize(_ context.Context, _ *view, p params) (any, error) {
	var text string
	if err := p.get(0, &text); err != nil {
		return nil, err
	}
	packet, err := w.decode(text)
	if err != nil {
		return nil, err
	}
	tx, ok := packet.Final()
	if !ok {
		return map[string]any{"psbt": text, "complete": false}, nil
	}
	return map[string]any{"hex": hex.EncodeToString(serialize(tx)), "complete": true}, nil
}

// bump takes the higher fee from the change, and from further coins where that is not enough,
// as Bitcoin Core does.
func (w *Wallet) bump(_ context.Context, v *view, p params) (any, error) {
	var txid string
	var options struct {
		Rate json.RawMessage `json:"fee_rate"`
	}
	if err := errors.Join(p.get(0, &txid), p.get(1, &options)); err != nil {
		return nil, err
	}
	tx := v.txs[txid]
	if tx == nil || !v.spends(tx, w.node.Wallet.Script()) {
		return nil, refuse(-5, "Invalid or non-wallet transaction id")
	}
	if _, mined := v.place[txid]; mined {
		return nil, refuse(-4, "Transaction has been mined, or is conflicted with a mined transaction")
	}
	rate, err := satoshis(options.Rate, 3)
	if err != nil {
		return nil, err
	}
	var old int64
	for _, in := range tx.TxIn {
		old += v.out(in.PreviousOutPoint).Value
	}
	change := -1
	for i, o := range tx.TxOut {
		old -= o.Value
		if w.own(o.PkScript) {
			change = i
		}
	}
	size := int64(3*tx.SerializeSizeStripped()+tx.SerializeSize()+3) / 4
	fee := (size*rate + 999) / 1000
	if fee < old+size {
		return nil, refuse(-8, "Insufficient total fee %s, must be at least %s", money(fee), money(old+size))
	}
	bumped := tx.Copy()
	for _, in := range bumped.TxIn {
		in.Witness, in.SignatureScript = nil, nil
	}
	if change < 0 {
		change = len(bumped.TxOut)
		bumped.AddTxOut(wire.NewTxOut(0, w.node.Wallet.Script()))
		size += int64(bumped.TxOut[change].SerializeSize())
		fee = (size*rate + 999) / 1000
	}
	left := bumped.TxOut[change].Value - (fee - old)
	for _, at := range w.spendable(v, 1) {
		if left >= dust {
			break
		}
		bumped.AddTxIn(&wire.TxIn{PreviousOutPoint: at, Sequence: wire.MaxTxInSequenceNum - 2})
		size += inputSize
		left += v.out(at).Value + fee
		fee = (size*rate + 999) / 1000
		left -= fee
	}
	if left < dust {
		return nil, refuse(-4, "Unable to create transaction. Insufficient funds")
	}
	bumped.TxOut[change].Value = left
	version := 2
	if w.old {
		version = 0
	}
	return map[string]any{"psbt": encode(version, bumped, v, nil), "origfee": money(old), "fee": money(fee), "errors": []any{}}, nil
}

// encode writes a PSBT of a transaction, with the outputs it spends and, where signed is
// given, its final witnesses.
func encode(version int, tx *wire.MsgTx, v *view, signed *wire.MsgTx) string {
	b := bytes.NewBufferString("psbt\xff")
	field := func(key byte, value []byte) {
		_ = wire.WriteVarBytes(b, 0, []byte{key})
		_ = wire.WriteVarBytes(b, 0, value)
	}
	u32 := func(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
	if version == 0 {
		var raw bytes.Buffer
		bare := tx.Copy()
		for _, in := range bare.TxIn {
			in.Witness = nil
		}
		_ = bare.SerializeNoWitness(&raw)
		field(0x00, raw.Bytes())
	} else {
		field(0x02, u32(uint32(tx.Version)))
		field(0x03, u32(tx.LockTime))
		field(0x04, count(len(tx.TxIn)))
		field(0x05, count(len(tx.TxOut)))
		field(0xfb, u32(2))
	}
	b.WriteByte(0)
	for i, in := range tx.TxIn {
		if from := v.txs[in.PreviousOutPoint.Hash.String()]; from != nil {
			field(0x00, serialize(from))
			var out bytes.Buffer
			_ = wire.WriteTxOut(&out, 0, 0, from.TxOut[in.PreviousOutPoint.Index])
			field(0x01, out.Bytes())
		}
		if signed != nil {
			var witness bytes.Buffer
			_ = wire.WriteVarInt(&witness, 0, uint64(len(signed.TxIn[i].Witness)))
			for _, item := range signed.TxIn[i].Witness {
				_ = wire.WriteVarBytes(&witness, 0, item)
			}
			field(0x08, witness.Bytes())
		}
		if version == 2 {
			field(0x0e, in.PreviousOutPoint.Hash[:])
			field(0x0f, u32(in.PreviousOutPoint.Index))
			field(0x10, u32(in.Sequence))
		}
		b.WriteByte(0)
	}
	for _, out := range tx.TxOut {
		if version == 2 {
			field(0x03, binary.LittleEndian.AppendUint64(nil, uint64(out.Value)))
			field(0x04, out.PkScript)
		}
		b.WriteByte(0)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func count(n int) []byte {
	var b bytes.Buffer
	_ = wire.WriteVarInt(&b, 0, uint64(n))
	return b.Bytes()
}
