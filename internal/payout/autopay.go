package payout

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Limits of paying without a person, in satoshis.
type Limits struct{ Run, Day int64 }

// Autopay is who the sender is in the book when nobody sends.
const Autopay = "autopay"

// Auto plans and sends without a person, within limits. Solvency is what the pool has
// less what it owes, mature coins against payable balances: below zero nothing is sent.
func (s *Sender) Auto(ctx context.Context, payees []Payee, l Limits, solvency int64, now time.Time) ([]Payment, error) {
	if l.Run < 1 || l.Day < 1 {
		return nil, errors.New("payout: autopay has no limits: set them for a run and for a day")
	}
	if solvency < 0 {
		return nil, fmt.Errorf("payout: autopay stopped: the pool owes %s more than it has: run ckdb check", FormatBitcoins(-solvency))
	}
	if err := s.guard(ctx, ""); err != nil {
		return nil, err
	}
	auto := *s
	auto.By = Autopay
	open, err := s.Book.Open(ctx, s.Settings.Deep)
	if err != nil {
		return nil, err
	}
	for _, p := range open { // what an interrupted run left is planned anew
		if p.State == Planned && p.By == Autopay {
			if _, err := auto.Cancel(ctx, p.ID); err != nil {
				return nil, err
			}
		}
	}
	plan, err := auto.Plan(ctx, payees)
	if err != nil || len(plan.Payments) == 0 {
		return nil, err
	}
	paid, err := s.Book.Debited(ctx, now.Add(-24*time.Hour))
	if err != nil {
		return nil, err
	}
	total := plan.Total()
	if total > l.Run || paid+total > l.Day {
		return nil, fmt.Errorf("payout: autopay stopped: %s are to be paid, and %s were since yesterday: the limits are %s for a run and %s for a day; send it by hand",
			FormatBitcoins(total), FormatBitcoins(paid), FormatBitcoins(l.Run), FormatBitcoins(l.Day))
	}
	if err := auto.possible(ctx, plan); err != nil {
		return nil, err
	}
	list, err := auto.Begin(ctx, plan)
	if err != nil {
		return nil, err
	}
	var failed []error
	for i, p := range list {
		if list[i], err = auto.Send(ctx, p.ID); err != nil {
			failed = append(failed, err)
		}
	}
	return list, errors.Join(failed...)
}

// possible refuses what the wallet would not make or sign now: it is tried every hour, and
// a run that is stored each time would be much after some months.
func (s *Sender) possible(ctx context.Context, plan *Plan) error {
	switch locked, err := s.Wallet.Locked(ctx); {
	case err != nil:
		return err
	case locked:
		return errors.New("payout: autopay stopped: the node's wallet is locked: unlock it with walletpassphrase of the node")
	}
	for _, outputs := range plan.Payments {
		_, _, err := s.Fund(ctx, &Payment{Outputs: outputs, PayeesPay: s.Settings.PayeesPay})
		// An input that is gone ends the payment, and is locked by that.
		if _, gone := errors.AsType[*GoneError](err); err != nil && !gone {
			return err
		}
	}
	return nil
}
