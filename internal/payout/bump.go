package payout

import (
	"context"
	"fmt"
	"slices"
)

// Bump replaces a payment by one with a higher fee, which the pool pays. The outputs to
// payees stay as they are; either version may be mined.
func (s *Sender) Bump(ctx context.Context, id, rate int64) (Payment, error) {
	p, err := s.Book.Payment(ctx, id)
	if err != nil {
		return p, err
	}
	if p.State != Broadcast && p.State != Unknown {
		return p, fmt.Errorf("payout: payment %d is %s: only one that waits for confirmation is bumped", id, p.State)
	}
	if rate < s.Settings.MinRate || rate > s.Settings.MaxRate {
		return p, fmt.Errorf("payout: fee rate %d is not within its bounds %d and %d", rate, s.Settings.MinRate, s.Settings.MaxRate)
	}
	if err := s.guard(ctx, ""); err != nil {
		return p, err
	}
	// The wallet bumps what it has: a version that was stored may never have been sent.
	if p, err = s.transmit(ctx, p); err != nil {
		return p, err
	}
	last := p.Versions[len(p.Versions)-1]
	f, err := s.Wallet.Bump(ctx, last.Txid, rate)
	if err != nil {
		return p, err
	}
	inputs, err := s.coins(ctx, f.Packet, last.Inputs)
	if err != nil {
		return p, err
	}
	for _, in := range last.Inputs {
		if !slices.Contains(points(inputs), in.Point) {
			return p, fmt.Errorf("payout: the bump of payment %d does not spend %s: both could be mined; nothing was sent", id, in.Point)
		}
	}
	raw, err := s.Wallet.Sign(ctx, f.PSBT)
	if err != nil {
		return p, err
	}
	outputs := slices.Clone(p.Outputs)
	for i := range outputs {
		outputs[i].Amount = last.Amounts[i]
	}
	v, err := s.check(ctx, &p, raw, outputs, inputs, false)
	if err != nil {
		return p, err
	}
	if v.Fee <= last.Fee {
		return p, fmt.Errorf("payout: the bump of payment %d has no higher fee; nothing was sent", id)
	}
	if err := s.covered(ctx, &p, v, "the bump of payment", "name a lower --fee-rate"); err != nil {
		return p, err
	}
	p, err = s.Book.Change(ctx, id, p.Serial, Change{To: p.State, By: s.By, Version: v, Inputs: inputs})
	if err != nil {
		return p, err
	}
	return s.transmit(ctx, p)
}

// covered refuses a version that the pool would pay with what it owes to others: what it
// spends beyond what payees are debited is the pool's, as of a bump, since payees get what
// they were promised, and of what is too little for a change output. Where the settings say
// that the pool pays network fees, it is for its operator to see that it can.
func (s *Sender) covered(ctx context.Context, p *Payment, v *Version, what, remedy string) error {
	if !s.Settings.PayeesPay {
		return nil
	}
	has, err := s.Book.Pool(ctx)
	if err != nil {
		return err
	}
	open, err := s.Book.Open(ctx, s.Settings.Deep)
	if err != nil {
		return err
	}
	for i := range open {
		if open[i].ID != p.ID && open[i].State.left() {
			has -= open[i].cost()
		}
	}
	next := *p
	next.Versions = append(slices.Clone(p.Versions), *v)
	if cost := next.cost(); cost > 0 && cost > has {
		return fmt.Errorf("payout: %s %d would cost the pool %s, and of its own it has %s: the rest would be taken from what accounts are owed; %s, or say that the pool pays network fees, with coins of your own in the wallet: ckdb set networkfee pool; nothing was sent",
			what, p.ID, FormatBitcoins(cost), FormatBitcoins(max(has, 0)), remedy)
	}
	return nil
}
