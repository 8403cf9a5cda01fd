package payout

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
)

// Stranger is a transaction that spends the wallet's coins and is no payment: of a
// person, or one that a restored backup does not know.
type Stranger struct {
	Txid    string
	Fee     int64
	Outputs []Output // those that are not the wallet's; the caller says of which account

	tx     *wire.MsgTx
	inputs []Input
}

// Stranger reads what a transaction of the chain spent.
func (s *Sender) Stranger(ctx context.Context, txid string) (*Stranger, error) {
	tx, confirmations, err := s.transaction(ctx, txid)
	if err != nil {
		return nil, err
	}
	if confirmations < 1 {
		return nil, fmt.Errorf("payout: transaction %s is not confirmed: wait until the chain has it", txid)
	}
	v := &Stranger{Txid: txid, tx: tx}
	for n, in := range tx.TxIn {
		from, _, err := s.transaction(ctx, in.PreviousOutPoint.Hash.String())
		if err != nil {
			return nil, err
		}
		if int64(in.PreviousOutPoint.Index) >= int64(len(from.TxOut)) {
			return nil, fmt.Errorf("payout: input %d of transaction %s spends what is not there", n, txid)
		}
		coin := from.TxOut[in.PreviousOutPoint.Index]
		own, err := s.Wallet.Own(ctx, coin.PkScript)
		if err != nil {
			return nil, err
		}
		if !own {
			return nil, fmt.Errorf("payout: input %d of transaction %s is not the wallet's", n, txid)
		}
		v.Fee += coin.Value
		v.inputs = append(v.inputs, Input{in.PreviousOutPoint, coin.Value, coin.PkScript})
	}
	for _, o := range tx.TxOut {
		v.Fee -= o.Value
		own, err := s.Wallet.Own(ctx, o.PkScript)
		if err != nil {
			return nil, err
		}
		if own {
			continue
		}
		to := "script " + hex.EncodeToString(o.PkScript)
		if a, err := address.FromScript(o.PkScript, s.Settings.Network); err == nil {
			to = a.String()
		}
		v.Outputs = append(v.Outputs, Output{Address: to, Script: o.PkScript, Debit: o.Value, Amount: o.Value})
	}
	return v, nil
}

// Adopt looks whether the transaction is a payment's own that the book does not know: it
// spends an input of one that was signed, and pays its payees the same, as a bump that is
// younger than a backup. Then it becomes a version of the payment, and nobody is debited
// again. An error are others that must not be booked as strange.
func (s *Sender) Adopt(ctx context.Context, v *Stranger) (p Payment, own bool, err error) {
	open, err := s.Book.Open(ctx, s.Settings.Deep)
	if err != nil {
		return p, false, err
	}
	for _, p := range open {
		inputs := slices.Clone(p.Inputs)
		for _, version := range p.Versions {
			inputs = append(inputs, version.Inputs...)
		}
		if !slices.ContainsFunc(v.inputs, func(in Input) bool { return slices.Contains(points(inputs), in.Point) }) {
			continue
		}
		if p.State == Exported && p.is(v.tx) {
			return p, false, fmt.Errorf("payout: transaction %s is payment %d, which its signer sent: give the signed file; nothing was booked", v.Txid, p.ID)
		}
		if !p.State.left() || p.version(v.Txid) != nil {
			continue
		}
		outputs := slices.Clone(p.Outputs)
		for i := range outputs {
			outputs[i].Amount = p.Versions[len(p.Versions)-1].Amounts[i]
		}
		amounts, change, err := match(v.tx.TxOut, outputs, 0, false)
		if err != nil && !slices.ContainsFunc(outputs, func(o Output) bool {
			return slices.ContainsFunc(v.Outputs, func(to Output) bool { return bytes.Equal(to.Script, o.Script) })
		}) {
			continue // nobody is paid by it who is paid by the payment
		}
		if err != nil {
			return p, false, fmt.Errorf("payout: transaction %s spends an input of payment %d, which debited its payees, and pays some of them otherwise: %w; nothing was booked", v.Txid, p.ID, err)
		}
		if change != nil {
			mine, err := s.Wallet.Own(ctx, change.PkScript)
			if err != nil {
				return p, false, err
			}
			if !mine {
				return p, false, fmt.Errorf("payout: transaction %s pays the payees of payment %d, and %s to somebody else; nothing was booked", v.Txid, p.ID, FormatBitcoins(change.Value))
			}
		}
		size := int64(3*v.tx.SerializeSizeStripped()+v.tx.SerializeSize()+3) / 4
		if p, err = s.Book.Change(ctx, p.ID, p.Serial, Change{
			To: p.State, By: s.By, Reason: p.Reason, Block: p.Block, Inputs: v.inputs,
			Version: &Version{v.Txid, serialize(v.tx), v.Fee, size, amounts, v.inputs},
		}); err != nil {
			return p, false, err
		}
		p, err = s.Follow(ctx, p.ID)
		return p, true, err
	}
	return p, false, nil
}

func (s *Sender) transaction(ctx context.Context, txid string) (*wire.MsgTx, int64, error) {
	seen, err := s.Wallet.Seen(ctx, txid, "")
	if err != nil {
		return nil, 0, err
	}
	tx := new(wire.MsgTx)
	if !seen.Known || tx.Deserialize(bytes.NewReader(seen.Raw)) != nil || tx.TxHash().String() != txid {
		return nil, 0, fmt.Errorf("payout: the node's wallet knows no transaction %s", txid)
	}
	return tx, seen.Confirmations, nil
}

// Entries are what it is booked as: an account that was paid is debited, all else is the
// pool's.
func (v *Stranger) Entries() []Entry {
	total := v.Fee
	list := []Entry{{Fees, 0, -v.Fee}}
	for _, o := range v.Outputs {
		total += o.Amount
		if o.Account == 0 {
			list = append(list, Entry{Pool, 0, -o.Amount})
		} else {
			list = append(list, Entry{Balance, o.Account, -o.Amount})
		}
	}
	return append(list, Entry{Chain, 0, total})
}
