package payout

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/internal/payout/psbt"
)

// Export makes the transaction of a payment for a signer elsewhere: the text is its PSBT
// in base64. Done again it is the same text.
func (s *Sender) Export(ctx context.Context, id int64) (string, error) {
	p, err := s.Book.Payment(ctx, id)
	if err != nil {
		return "", err
	}
	if p.State == Exported {
		return p.PSBT, s.Wallet.Lock(ctx, points(p.Inputs), true)
	}
	if p.State != Planned {
		return "", fmt.Errorf("payout: payment %d is %s: only one that is planned is exported", id, p.State)
	}
	if err := s.guard(ctx, ""); err != nil {
		return "", err
	}
	f, inputs, err := s.Fund(ctx, &p)
	if err != nil {
		_, err = s.refused(ctx, p, err)
		return "", err
	}
	p, err = s.Book.Change(ctx, id, p.Serial, Change{To: Exported, By: s.By, PSBT: f.PSBT, Inputs: inputs})
	if err != nil {
		return "", err
	}
	return p.PSBT, s.Wallet.Lock(ctx, points(p.Inputs), true)
}

// Import takes what the signer made of an exported payment, a PSBT or a transaction in
// hex, and sends it.
func (s *Sender) Import(ctx context.Context, id int64, file []byte) (Payment, error) {
	p, err := s.Book.Payment(ctx, id)
	if err != nil {
		return p, err
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(file)))
	if err != nil {
		text := string(file)
		if raw, err = s.Wallet.Finalize(ctx, text); err != nil {
			return p, err
		}
	}
	tx := new(wire.MsgTx)
	if err := tx.Deserialize(bytes.NewReader(raw)); err != nil {
		return p, fmt.Errorf("payout: the signed file is neither a PSBT nor a transaction in hex: %w", err)
	}
	txid := tx.TxHash().String()
	if p.State.left() && p.version(txid) != nil {
		return s.transmit(ctx, p)
	}
	if p.State != Exported {
		return p, fmt.Errorf("payout: payment %d is %s: it waits for no signed file", id, p.State)
	}
	if err := s.guard(ctx, txid); err != nil {
		return p, err
	}
	for _, in := range p.Inputs {
		coin, err := s.Wallet.Coin(ctx, in.Point, true)
		if err != nil {
			return p, err
		}
		if coin != nil {
			continue
		}
		// The signer may have sent it himself.
		seen, err := s.Wallet.Seen(ctx, txid, "")
		if err != nil {
			return p, err
		}
		if !seen.Known || seen.Confirmations < 0 { // or another one spends the same
			return p, fmt.Errorf("payout: payment %d: %w; nothing was debited", id, s.gone(ctx, in.Point))
		}
		v, err := s.check(ctx, &p, raw, p.Outputs, p.Inputs, p.PayeesPay)
		if err != nil {
			return p, err
		}
		p, err = s.Book.Change(ctx, id, p.Serial, Change{To: Signed, By: s.By, Version: v, Inputs: p.Inputs, Postings: []Posting{debit(&p)}, Left: true})
		if err != nil {
			return p, err
		}
		return s.transmit(ctx, p)
	}
	if p, err = s.commit(ctx, p, raw, p.Inputs); err != nil {
		return p, err
	}
	return s.transmit(ctx, p)
}

// Exported finds the exported payment that a signed file is of.
func (s *Sender) Exported(ctx context.Context, file []byte) (Payment, error) {
	tx := new(wire.MsgTx)
	if raw, err := hex.DecodeString(strings.TrimSpace(string(file))); err == nil {
		if err := tx.Deserialize(bytes.NewReader(raw)); err != nil {
			return Payment{}, fmt.Errorf("payout: the signed file is no transaction in hex: %w", err)
		}
	} else {
		p, err := psbt.Decode(file)
		if err != nil {
			return Payment{}, fmt.Errorf("payout: the signed file is neither a PSBT nor a transaction in hex: %w", err)
		}
		tx = p.Tx
	}
	open, err := s.Book.Open(ctx, s.Settings.Deep)
	if err != nil {
		return Payment{}, err
	}
	for _, p := range open {
		if p.PSBT != "" && p.is(tx) {
			return p, nil
		}
	}
	return Payment{}, errors.New("payout: the signed file is of no payment that was exported")
}
