package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/logfile"
	"github.com/ckpool/ckpool/internal/payout"
)

const (
	// followTime is between two looks at what became of payments.
	followTime = 5 * time.Second
	// autopayTime is between two runs that no person sends.
	autopayTime = time.Hour
	// payTell is how often one trouble is told.
	payTell = 10 * time.Minute
)

// pay follows payments until ctx ends: what no block has is sent again, what is
// confirmed is booked. It starts runs itself only where settings allow it.
func (s *service) pay(ctx context.Context) {
	client := s.options.walletNode()
	defer client.Close()
	ready := func() error { return rightNode(ctx, s.store, s.chain.Node) }
	limiter := logfile.NewLimiter(payTell)
	tell := func(what string, err error) {
		if err == nil || ctx.Err() != nil {
			return
		}
		if text, ok := limiter.Pass(oneLine(err)); ok {
			s.events.Say(event.Warning, what+": "+text)
		}
	}
	var next time.Time // of autopay
	for {
		sender := &payout.Sender{Book: s.store.Payments(), By: s.options.name}
		settings, auto, err := s.store.PayoutSettings(ctx)
		if err == nil { // else nothing was stored yet
			sender.Settings, sender.Wallet = settings, payout.NewWallet(client, settings.Network)
			tell("Payments are not followed", s.followPayments(ctx, sender, ready))
			if auto.Run > 0 && !time.Now().Before(next) {
				next = time.Now().Add(autopayTime)
				tell("No payout", s.autopay(ctx, sender, auto, ready))
			}
		}
		select {
		case <-ctx.Done():
			return
		case o := <-s.orders:
			s.carry(ctx, &o)
		case <-time.After(followTime):
		}
	}
}

// followPayments looks at each payment that may be in the network.
func (s *service) followPayments(ctx context.Context, sender *payout.Sender, ready func() error) error {
	open, err := sender.Book.Open(ctx, sender.Settings.Deep)
	if err != nil {
		return err
	}
	asked := false
	var failed []error
	for _, was := range open {
		if was.State == payout.Planned || was.State == payout.Exported {
			continue
		}
		if !asked {
			if err := ready(); err != nil {
				return err
			}
			asked = true
		}
		now, err := sender.Follow(ctx, was.ID)
		if err != nil {
			failed = append(failed, fmt.Errorf("payment %d: %w", was.ID, err))
			continue
		}
		if now.State != was.State || now.Reason != was.Reason {
			s.events.Say(event.Notice, paymentText(&now))
		}
	}
	return errors.Join(failed...)
}

// paymentText says what became of a payment.
func paymentText(p *payout.Payment) string {
	text := fmt.Sprintf("Payment %d of %s BTC is %s", p.ID, payout.FormatBitcoins(payout.Debits(p.Outputs)), p.State)
	if p.Block != nil {
		text += fmt.Sprintf(" at height %d by transaction %s", p.Block.Height, p.Block.Txid)
	}
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return oneLine(errors.New(text))
}

// autopay pays who is to be paid, within limits.
func (s *service) autopay(ctx context.Context, sender *payout.Sender, limits payout.Limits, ready func() error) error {
	payees, err := s.store.Payees(ctx)
	if err != nil {
		return err
	}
	plan, err := sender.Plan(ctx, payees)
	if err != nil || len(plan.Payments) == 0 {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	has, err := accounting.SolvencyOf(ctx, s.store, sender.Wallet)
	if err != nil {
		return err
	}
	solvency := has.Line()
	open, err := sender.Book.Open(ctx, sender.Settings.Deep)
	if err != nil {
		return err
	}
	for _, p := range open {
		if p.State == payout.Signed || p.State == payout.Unknown {
			solvency -= payout.Debits(p.Outputs) // its coins may still be in the wallet
		}
	}
	list, err := sender.Auto(ctx, payees, limits, solvency, time.Now())
	for i := range list {
		s.events.Say(event.Notice, paymentText(&list[i]))
	}
	return err
}
