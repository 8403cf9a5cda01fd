package payout

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/payout/psbt"
)

// Maturity is the number of confirmations from which a coinbase is spent: Bitcoin Core's
// wallet has this one; consensus, and so the mempool, takes one less.
const Maturity = 101

// GoneError is an input that is not in the chain, or spent.
type GoneError struct {
	Point wire.OutPoint
	Block string // that had it, "" not known
}

func (e *GoneError) Error() string {
	of := "a block that the node does not name"
	if e.Block != "" {
		of = "block " + e.Block
	}
	return fmt.Sprintf("input %s of %s is gone from the chain", e.Point, of)
}

// Gone reads the input of such an error's text.
func Gone(text string) (at wire.OutPoint, ok bool) {
	rest, ok := strings.CutPrefix(text, "input ")
	if !ok || !strings.HasSuffix(text, " is gone from the chain") {
		return at, false
	}
	point, _, _ := strings.Cut(rest, " ")
	p, err := wire.NewOutPointFromString(point)
	if err != nil {
		return at, false
	}
	return *p, true
}

// free lets the wallet use coins that were gone from the chain, and are there again.
func (s *Sender) free(ctx context.Context) error {
	gone, err := s.Book.Gone(ctx)
	if err != nil {
		return err
	}
	for _, at := range gone {
		coin, err := s.Wallet.Coin(ctx, at, true)
		if err != nil {
			return err
		}
		if coin == nil {
			continue
		}
		if err := s.Wallet.Lock(ctx, []wire.OutPoint{at}, false); err != nil {
			return err
		}
	}
	return nil
}

// Fund makes the unsigned transaction of a planned payment, and looks its inputs up in
// the chain. Nothing is stored and nothing locked: it is what a dry run shows.
func (s *Sender) Fund(ctx context.Context, p *Payment) (*Funded, []Input, error) {
	open, err := s.Book.Open(ctx, s.Settings.Deep)
	if err != nil {
		return nil, nil, err
	}
	with, err := s.shared(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	if err := s.free(ctx); err != nil {
		return nil, nil, err
	}
	if err := s.Wallet.Lock(ctx, with, false); err != nil {
		return nil, nil, err
	}
	for _, o := range open {
		if o.State == Exported || o.State == Signed || o.State == Unknown {
			// The wallet does not know what these spend, or lost its locks.
			held := slices.DeleteFunc(points(o.Inputs), func(at wire.OutPoint) bool { return slices.Contains(with, at) })
			if err := s.Wallet.Lock(ctx, held, true); err != nil {
				return nil, nil, err
			}
		}
	}
	rate, err := s.Rate(ctx)
	if err != nil {
		return nil, nil, err
	}
	f, err := s.Wallet.Fund(ctx, p.Outputs, with, rate, p.PayeesPay)
	if err != nil {
		return nil, nil, err
	}
	inputs, err := s.coins(ctx, f.Packet, nil)
	for _, at := range with {
		if err == nil && !slices.Contains(points(inputs), at) {
			err = fmt.Errorf("payout: the wallet's transaction does not spend %s: it would not replace payment %d; nothing was sent", at, p.Replaces)
		}
	}
	return f, inputs, err
}

// Rate is the fee rate that was named, or else the node's estimate. Where blocks are not full
// that may be below what the pool pays at least, which it is then.
func (s *Sender) Rate(ctx context.Context) (int64, error) {
	if s.Settings.Rate != 0 {
		return s.Settings.Rate, nil
	}
	rate, err := s.Wallet.Rate(ctx, s.Settings.Blocks)
	if err != nil {
		return 0, err
	}
	if rate > s.Settings.MaxRate {
		return 0, fmt.Errorf("payout: the node's estimate, %d satoshis per 1000 vbytes, is more than %d: name one with --fee-rate", rate, s.Settings.MaxRate)
	}
	return max(rate, s.Settings.MinRate), nil
}

// shared is an input of each payment that one replaces, and of what that replaces in
// turn: they all have left, and without an input in common two could be confirmed.
func (s *Sender) shared(ctx context.Context, p *Payment) (with []wire.OutPoint, err error) {
	for id := p.Replaces; id != 0; {
		replaced, err := s.Book.Payment(ctx, id)
		if err != nil {
			return nil, err
		}
		switch {
		case replaced.State == Cancelled && id != p.Replaces: // it never will be confirmed
		case replaced.State != Exported:
			return nil, fmt.Errorf("payout: payment %d replaces payment %d, which is %s now: cancel it", p.ID, id, replaced.State)
		case !slices.ContainsFunc(points(replaced.Inputs), func(at wire.OutPoint) bool { return slices.Contains(with, at) }):
			with = append(with, replaced.Inputs[0].Point)
		}
		id = replaced.Replaces
	}
	return with, nil
}

func points(inputs []Input) []wire.OutPoint {
	list := make([]wire.OutPoint, len(inputs))
	for i, in := range inputs {
		list[i] = in.Point
	}
	return list
}

// coins looks up what a transaction spends, unless it is known.
func (s *Sender) coins(ctx context.Context, p *psbt.Packet, known []Input) ([]Input, error) {
	var inputs []Input
	for i, in := range p.Tx.TxIn {
		at := in.PreviousOutPoint
		if n := slices.IndexFunc(known, func(k Input) bool { return k.Point == at }); n >= 0 {
			inputs = append(inputs, known[n])
			continue
		}
		coin, err := s.Wallet.Coin(ctx, at, true)
		switch {
		case err != nil:
			return nil, err
		case coin == nil:
			return nil, s.gone(ctx, at)
		case coin.Coinbase && coin.Confirmations < Maturity:
			return nil, fmt.Errorf("payout: input %s is of a coinbase with %s: it is spent from %d", at, figures.Things(coin.Confirmations, "confirmation"), Maturity)
		case coin.Confirmations < 1:
			return nil, fmt.Errorf("payout: input %s is not confirmed", at)
		}
		if says := p.Inputs[i].Output; says != nil && (says.Value != coin.Value || !bytes.Equal(says.PkScript, coin.Script)) {
			return nil, fmt.Errorf("payout: input %s has %s in the chain and %s in the PSBT", at, FormatBitcoins(coin.Value), FormatBitcoins(says.Value))
		}
		inputs = append(inputs, Input{at, coin.Value, coin.Script})
	}
	return inputs, nil
}

func (s *Sender) gone(ctx context.Context, at wire.OutPoint) error {
	seen, err := s.Wallet.Seen(ctx, at.Hash.String(), "")
	if err != nil {
		return err
	}
	return &GoneError{at, seen.Block}
}
