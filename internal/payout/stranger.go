package payout

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"

	"github.com/btcsuite/btcd/wire/v2"

	"ckpool/address"
)

// Stranger is a transaction that spends the wallet's coins and is no payment: of a
// person, or one that a restored backup does not know.
type Stranger struct {
	Txid    string
	Fee     int64
	Outputs []Output // those that are not the wallet's; the caller says of which account
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
	v := &Stranger{Txid: txid}
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
