package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/web"
)

// payoutRun is one that somebody has agreed to on a page.
type payoutRun struct {
	by, rate string
	payments []int64 // planned
}

// runsMost is how many of them may wait.
const runsMost = 16

// payingFor prepares what pays for a user of pages.
func (s *service) payingFor(ctx context.Context, wallet bool, by, rate string) (p *paying, done func(), err error) {
	o := *s.options
	o.feeRate = rate
	return (&call{options: &o}).paying(ctx, s.store, wallet, byUser(by))
}

// planRun is a plan with its digest, which is that of who is debited what for which
// address.
func planRun(ctx context.Context, p *paying) (plan *payout.Plan, shown *planned, digest string, err error) {
	if plan, shown, err = p.plan(ctx); err != nil {
		return nil, nil, "", err
	}
	sum := sha256.New()
	for n, outputs := range plan.Payments {
		for _, o := range outputs {
			fmt.Fprintf(sum, "%d %d %s %d\n", n, o.Account, o.Address, o.Debit)
		}
	}
	return plan, shown, hex.EncodeToString(sum.Sum(nil)), nil
}

// PlanPayout implements web.StaffSource. What keeps a payout from being made is for who
// makes it to read.
func (b book) PlanPayout(ctx context.Context, by, rate string) (web.PayoutPlan, error) {
	p, done, err := b.service.payingFor(ctx, false, by, rate)
	if err != nil {
		return web.PayoutPlan{}, &web.RefusedError{Err: err}
	}
	defer done()
	_, shown, digest, err := planRun(ctx, p)
	if err != nil {
		return web.PayoutPlan{}, &web.RefusedError{Err: err}
	}
	v := web.PayoutPlan{
		Debit: shown.Total, NetworkFee: shown.Fee, Payer: shown.Payer, Transactions: shown.Transactions, Digest: digest, FeeRate: rate,
		Payees: []web.Payee{}, Left: []web.LeftPayee{},
	}
	for _, o := range shown.Payees {
		v.Payees = append(v.Payees, web.Payee{User: o.User, Amount: o.Amount, Debit: o.Debit, Address: o.Address})
	}
	for _, l := range shown.Left {
		v.Left = append(v.Left, web.LeftPayee{User: l.User, Balance: l.Balance, Reason: l.Reason})
	}
	return v, nil
}

// SendPayout implements web.StaffSource: it stores the run, which who follows payments
// sends.
func (b book) SendPayout(ctx context.Context, by, rate, digest string) error {
	b.service.planning.Lock()
	defer b.service.planning.Unlock()
	p, done, err := b.service.payingFor(ctx, true, by, rate)
	if err != nil {
		return &web.RefusedError{Err: err}
	}
	defer done()
	begun, err := b.service.beginRun(ctx, p, digest)
	if err != nil {
		return &web.RefusedError{Err: err}
	}
	select {
	case b.service.runs <- payoutRun{by, rate, begun}:
		return nil
	default:
		return &web.RefusedError{Err: fmt.Errorf("it is planned, and not sent since other runs wait: \"ckdb payout send %d\" sends it", begun[0])}
	}
}

// errOtherPlan tells that what somebody has agreed to is not what would be sent.
var errOtherPlan = errors.New("the plan is another one by now: look at it again; nothing was changed")

func (s *service) beginRun(ctx context.Context, p *paying, digest string) (begun []int64, err error) {
	if s.chain == nil {
		return nil, errNoNode
	}
	if err := errors.Join(p.unlocked(ctx), p.sender.Guard(ctx)); err != nil {
		return nil, err
	}
	plan, _, now, err := planRun(ctx, p)
	switch {
	case err != nil:
		return nil, err
	case now != digest:
		return nil, errOtherPlan
	}
	list, err := p.sender.Begin(ctx, plan)
	for i := range list {
		begun = append(begun, list[i].ID)
	}
	return begun, err
}

// sendRun sends the payments of a run, each on its own.
func (s *service) sendRun(ctx context.Context, r *payoutRun) error {
	p, done, err := s.payingFor(ctx, true, r.by, r.rate)
	if err != nil {
		return fmt.Errorf("%w; \"ckdb payout send ID\" sends what is planned", err)
	}
	defer done()
	var failed []error
	for _, id := range r.payments {
		now, err := p.sender.Send(ctx, id)
		if err != nil {
			failed = append(failed, fmt.Errorf("payment %d: %w; \"ckdb payout send %d\" sends it", id, err, id))
			continue
		}
		s.events.Say(event.Notice, paymentText(&now))
	}
	return errors.Join(failed...)
}
