package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/web"
)

// order is what somebody has agreed to on a page, for who follows payments: so two of them
// are not carried out at a time, and none ends with the browser that gave it.
type order struct {
	by, rate string
	do       func(ctx context.Context, p *paying) error
	done     chan error // capacity 1
}

// ordersMost is how many of them may wait.
const ordersMost = 16

// orderTime is how long a page waits for one.
const orderTime = 10 * time.Second

// carryOut has an order carried out. What takes longer than a page waits goes on: the error
// is nil then.
func (s *service) carryOut(ctx context.Context, by, rate, later string, do func(context.Context, *paying) error) error {
	if s.chain == nil {
		return &web.RefusedError{Err: errNoNode}
	}
	o := order{by, rate, do, make(chan error, 1)}
	select {
	case s.orders <- o:
	default:
		return &web.RefusedError{Err: errors.New("too much waits to be carried out: " + later)}
	}
	select {
	case err := <-o.done:
		if err != nil {
			err = &web.RefusedError{Err: err}
		}
		return err
	case <-time.After(orderTime):
	case <-ctx.Done():
	}
	return nil
}

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
	begun, err := b.service.beginRun(ctx, p, digest, true)
	if err != nil {
		return &web.RefusedError{Err: err}
	}
	later := fmt.Sprintf("it is planned, and \"ckdb payout send %d\" sends it", begun[0])
	return b.service.carryOut(ctx, by, rate, later, func(ctx context.Context, p *paying) error { return b.service.send(ctx, p, begun) })
}

// SendPayment implements web.StaffSource.
func (b book) SendPayment(ctx context.Context, by string, id int64) error {
	return b.service.carryOut(ctx, by, "", "try again", func(ctx context.Context, p *paying) error {
		if err := p.unlocked(ctx); err != nil {
			return err
		}
		return b.service.send(ctx, p, []int64{id})
	})
}

// BumpPayment implements web.StaffSource.
func (b book) BumpPayment(ctx context.Context, by string, id int64, rate string) error {
	return b.service.carryOut(ctx, by, rate, "try again", func(ctx context.Context, p *paying) error {
		if err := p.unlocked(ctx); err != nil {
			return err
		}
		now, err := p.bump(ctx, id)
		if err == nil {
			b.service.events.Say(event.Notice, paymentText(&now))
		}
		return err
	})
}

// CancelPayment implements web.StaffSource.
func (b book) CancelPayment(ctx context.Context, by string, id int64) error {
	return b.paying(ctx, by, "", func(p *paying) error {
		_, err := p.cancel(ctx, id)
		return err
	})
}

// ExportPayment implements web.StaffSource.
func (b book) ExportPayment(ctx context.Context, by string, id int64) (text string, err error) {
	err = b.paying(ctx, by, "", func(p *paying) error {
		text, err = p.sender.Export(ctx, id)
		return err
	})
	return text, err
}

// ExportPayout implements web.StaffSource.
func (b book) ExportPayout(ctx context.Context, by, rate, digest string) (begun []int64, err error) {
	b.service.planning.Lock()
	defer b.service.planning.Unlock()
	err = b.paying(ctx, by, rate, func(p *paying) error {
		if begun, err = b.service.beginRun(ctx, p, digest, false); err != nil {
			return err
		}
		for _, id := range begun {
			if _, err := p.sender.Export(ctx, id); err != nil {
				return fmt.Errorf("%w; \"ckdb payout export FILE %d\" writes payment %d", err, id, id)
			}
		}
		return nil
	})
	return begun, err
}

// paying does something about payments for a user of pages, who reads what is wrong.
func (b book) paying(ctx context.Context, by, rate string, f func(p *paying) error) error {
	p, done, err := b.service.payingFor(ctx, b.service.chain != nil, by, rate)
	if err == nil {
		defer done()
		err = f(p)
	}
	if err != nil {
		err = &web.RefusedError{Err: err}
	}
	return err
}

// errOtherPlan tells that what somebody has agreed to is not what would be sent.
var errOtherPlan = errors.New("the plan is another one by now: look at it again; nothing was changed")

// beginRun stores a run, which the wallet is to sign or a signer elsewhere.
func (s *service) beginRun(ctx context.Context, p *paying, digest string, wallet bool) (begun []int64, err error) {
	if s.chain == nil {
		return nil, errNoNode
	}
	if err := p.sender.Guard(ctx); err != nil {
		return nil, err
	}
	if wallet {
		if err := p.unlocked(ctx); err != nil {
			return nil, err
		}
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

// carry carries an order out.
func (s *service) carry(ctx context.Context, o *order) {
	p, done, err := s.payingFor(ctx, true, o.by, o.rate)
	if err == nil {
		defer done()
		err = o.do(ctx, p)
	}
	if o.done <- err; err != nil {
		s.events.Say(event.Error, fmt.Sprintf("What user %s asked for on a page was not done: %s", o.by, oneLine(err)))
	}
}

// send sends payments, each on its own.
func (s *service) send(ctx context.Context, p *paying, payments []int64) error {
	var failed []error
	for _, id := range payments {
		now, err := p.sender.Send(ctx, id)
		if err != nil {
			failed = append(failed, fmt.Errorf("payment %d: %w; \"ckdb payout send %d\" sends it", id, err, id))
			continue
		}
		s.events.Say(event.Notice, paymentText(&now))
	}
	return errors.Join(failed...)
}
