package payout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/btcsuite/btcd/wire/v2"
)

// Sender carries payments out. Several may work on one book at once, in one process or
// in many: of two that want the same step one does it and the other is told who did.
type Sender struct {
	Book     Book
	Wallet   *Wallet
	Settings Settings
	By       string // who acts, for the book and for who loses
}

// Plan plans a run without the payees whose money is in a payment that was not sent yet.
// Nothing is stored.
func (s *Sender) Plan(ctx context.Context, payees []Payee) (*Plan, error) {
	open, err := s.Book.Open(ctx, s.Settings.Deep)
	if err != nil {
		return nil, err
	}
	in := map[int64]string{}
	for _, p := range open {
		if p.State == Planned || p.State == Exported {
			for _, o := range p.Outputs {
				in[o.Account] = fmt.Sprintf("in payment %d, %s", p.ID, p.State)
			}
		}
	}
	payees = slices.Clone(payees)
	for i, p := range payees {
		if reason := in[p.Account]; reason != "" && p.Held == "" {
			payees[i].Held = reason
		}
	}
	plan, err := Make(payees, s.Settings)
	for err == nil && s.Settings.PayeesPay && s.Wallet != nil {
		least := s.tooSmall(ctx, plan)
		if least == 0 {
			break
		}
		// What needs more than one round is at an end soon.
		for _, outputs := range plan.Payments {
			for _, o := range outputs {
				if o.Debit >= 2*least {
					continue
				}
				i := slices.IndexFunc(payees, func(p Payee) bool { return p.Account == o.Account })
				payees[i].Held = fmt.Sprintf("%s to %s do not carry their part of the network fee now, carried", FormatBitcoins(o.Debit), o.Address)
			}
		}
		plan, err = Make(payees, s.Settings)
	}
	return plan, err
}

// tooSmall is the least output of a payment that the wallet cannot make since an output
// of it does not carry its part of the fee; 0: there is none.
func (s *Sender) tooSmall(ctx context.Context, plan *Plan) (least int64) {
	for _, outputs := range plan.Payments {
		_, _, err := s.Fund(ctx, &Payment{Outputs: outputs, PayeesPay: true})
		if code(err) != codeWallet || !strings.Contains(err.Error(), "amount is too small") {
			continue
		}
		for _, o := range outputs {
			if least == 0 || o.Debit < least {
				least = o.Debit
			}
		}
	}
	return least
}

// Begin stores a plan as a run.
func (s *Sender) Begin(ctx context.Context, plan *Plan) ([]Payment, error) {
	var list []Payment
	for _, outputs := range plan.Payments {
		list = append(list, Payment{State: Planned, By: s.By, Outputs: outputs, PayeesPay: s.Settings.PayeesPay})
	}
	if len(list) == 0 {
		return nil, errors.New("payout: nobody is to be paid")
	}
	return s.Book.Begin(ctx, s.By, list)
}

// Replace plans the outputs of an exported payment anew: the new payment spends one of
// its inputs, so that only one of them can ever be confirmed. Who of the payees is not to be
// paid any more, or not there, is left out: he keeps what he is owed.
func (s *Sender) Replace(ctx context.Context, id int64, payees []Payee) (Payment, error) {
	p, err := s.Book.Payment(ctx, id)
	if err != nil {
		return Payment{}, err
	}
	if p.State != Exported {
		return Payment{}, fmt.Errorf("payout: payment %d is %s: only one that was exported is replaced", id, p.State)
	}
	open, err := s.Book.Open(ctx, s.Settings.Deep)
	if err != nil {
		return Payment{}, err
	}
	for _, o := range open {
		if o.Replaces == id {
			return Payment{}, fmt.Errorf("payout: payment %d replaces payment %d already", o.ID, id)
		}
	}
	outputs, reason := still(p.Outputs, payees)
	if len(outputs) == 0 {
		return Payment{}, fmt.Errorf("payout: nobody is to be paid by payment %d any more (%s): what ends it is another spend of %s", id, reason, p.Inputs[0].Point)
	}
	list, err := s.Book.Begin(ctx, s.By, []Payment{{State: Planned, By: s.By, Outputs: outputs, PayeesPay: p.PayeesPay, Replaces: id}})
	if err != nil {
		return Payment{}, err
	}
	return list[0], nil
}

// still are the outputs whose payees are to be paid as much, and there; reason is why the last
// of the others is not.
func still(outputs []Output, payees []Payee) (list []Output, reason string) {
	debits, by := map[int64]int64{}, map[int64]Payee{}
	for _, o := range outputs {
		debits[o.Account] += o.Debit
	}
	for _, p := range payees {
		by[p.Account] = p
	}
	for _, o := range outputs {
		p := by[o.Account]
		switch {
		case p.Held != "":
			reason = o.Name + ": " + p.Held
		case p.Balance < debits[o.Account]:
			reason = fmt.Sprintf("%s has %s", o.Name, FormatBitcoins(p.Balance))
		case !slices.ContainsFunc(p.Targets, func(t Target) bool { return t.Address == o.Address }):
			reason = fmt.Sprintf("%s is not paid to %s", o.Name, o.Address)
		default:
			list = append(list, o)
		}
	}
	return list, reason
}

// Guard reports spends of the wallet that the book does not know, as a *StrangeError.
// Nothing is stored.
func (s *Sender) Guard(ctx context.Context) error {
	_, _, err := s.strangers(ctx, "")
	return err
}

// KeptForNone are coins that the wallet keeps from being used, for no payment of the book: a
// person has locked them, or they are of a payment that was exported after the backup that was
// restored, which its signer may still send. That is no spend, which Guard would tell.
func (s *Sender) KeptForNone(ctx context.Context) (list []wire.OutPoint, err error) {
	kept, err := s.Wallet.Kept(ctx)
	if err != nil || len(kept) == 0 {
		return nil, err
	}
	open, err := s.Book.Open(ctx, s.Settings.Deep)
	if err != nil {
		return nil, err
	}
	known, err := s.Book.Gone(ctx)
	if err != nil {
		return nil, err
	}
	for i := range open {
		known = append(known, open[i].coins()...)
	}
	for _, at := range kept {
		if slices.Contains(known, at) {
			continue
		}
		coin, err := s.Wallet.Coin(ctx, at, true)
		if err != nil {
			return nil, err
		}
		if coin != nil {
			list = append(list, at)
		}
	}
	return list, nil
}

// guard is Guard, and stores how far the wallet was compared. It knows one more txid,
// unless that is "".
func (s *Sender) guard(ctx context.Context, known string) error {
	since, next, err := s.strangers(ctx, known)
	if err != nil || next == since || known != "" {
		return err
	}
	return s.Book.SetCursor(ctx, next)
}

func (s *Sender) strangers(ctx context.Context, known string) (since, next string, err error) {
	if since, err = s.Book.Cursor(ctx); err != nil {
		return since, since, err
	}
	from := since
	if since == "" {
		if from, err = s.first(ctx); err != nil {
			return since, since, err
		}
	}
	txids, next, err := s.Wallet.Spends(ctx, from, false)
	if err != nil {
		return since, next, err
	}
	list, err := s.Book.Strangers(ctx, txids)
	if err != nil {
		return since, next, err
	}
	if list = slices.DeleteFunc(list, func(txid string) bool { return txid == known }); len(list) > 0 {
		return since, next, &StrangeError{list}
	}
	return since, next, nil
}

// first is the block from which on a spend of the wallet may be strange, "" all.
func (s *Sender) first(ctx context.Context) (block string, err error) {
	if s.Settings.Start < 1 {
		return "", nil
	}
	tip, err := s.Wallet.Height(ctx)
	if err != nil || tip < s.Settings.Start {
		return "", err
	}
	return s.Wallet.BlockHash(ctx, s.Settings.Start-1)
}

// Send brings a payment into the network, from whatever state it is in, and returns it as
// it is then: done again, it does nothing twice. It signs with the node's wallet.
func (s *Sender) Send(ctx context.Context, id int64) (Payment, error) {
	p, err := s.Book.Payment(ctx, id)
	if err != nil {
		return p, err
	}
	switch p.State {
	case Confirmed:
		return p, nil
	case Cancelled:
		return p, fmt.Errorf("payout: payment %d is cancelled (%s): plan again", id, p.Reason)
	case Exported:
		return p, fmt.Errorf("payout: payment %d is with its signer: give the signed file", id)
	}
	if err := s.guard(ctx, ""); err != nil {
		return p, err
	}
	if p.State == Planned {
		if p, err = s.sign(ctx, p); err != nil {
			return p, err
		}
	}
	return s.transmit(ctx, p)
}

// sign makes the transaction, checks it, and puts debits and bytes into the book.
func (s *Sender) sign(ctx context.Context, p Payment) (Payment, error) {
	f, inputs, err := s.Fund(ctx, &p)
	if err != nil {
		return s.refused(ctx, p, err)
	}
	raw, err := s.Wallet.Sign(ctx, f.PSBT)
	if err != nil {
		return s.refused(ctx, p, err)
	}
	return s.commit(ctx, p, raw, inputs)
}

// refused keeps with a payment why it cannot be made. Who lost to somebody else, or was
// interrupted, keeps nothing.
func (s *Sender) refused(ctx context.Context, p Payment, why error) (Payment, error) {
	c := Change{To: p.State, By: s.By, Reason: why.Error()}
	if e, ok := errors.AsType[*GoneError](why); ok && p.State == Planned {
		// Only this payment ends. Its lock makes the next plan work, until it is back.
		if err := s.Wallet.Lock(ctx, []wire.OutPoint{e.Point}, true); err != nil {
			return p, err
		}
		c.To = Cancelled
		why = fmt.Errorf("payout: payment %d is cancelled, nothing was debited: %w; plan again", p.ID, e)
		c.Reason = e.Error()
	} else if code(why) == 0 {
		return p, why
	}
	if c.To == p.State && c.Reason == p.Reason {
		return p, why
	}
	now, err := s.Book.Change(ctx, p.ID, p.Serial, c)
	if err != nil {
		return p, errors.Join(why, err)
	}
	return now, why
}

// commit checks a signed transaction and puts debits and bytes into the book.
func (s *Sender) commit(ctx context.Context, p Payment, raw []byte, inputs []Input) (Payment, error) {
	v, err := s.check(ctx, &p, raw, p.Outputs, inputs, p.PayeesPay)
	if err != nil {
		return p, err
	}
	if p.PayeesPay {
		if err := s.covered(ctx, &p, v, "payment", "its coins have that much beyond its payees', too little for change; pay when balances are others"); err != nil {
			return p, err
		}
	}
	if reason, err := s.Wallet.Accepted(ctx, raw); err != nil {
		return p, err
	} else if reason != "" {
		why := fmt.Errorf("payout: the node would refuse payment %d: %s; nothing was debited", p.ID, reason)
		now, err := s.Book.Change(ctx, p.ID, p.Serial, Change{To: p.State, By: s.By, Reason: reason})
		if err != nil {
			return p, errors.Join(why, err)
		}
		return now, why
	}
	return s.Book.Change(ctx, p.ID, p.Serial, Change{
		To: Signed, By: s.By, Inputs: inputs, Version: v, Postings: []Posting{debit(&p)},
	})
}

func (s *Sender) check(ctx context.Context, p *Payment, raw []byte, outputs []Output, inputs []Input, payeesPay bool) (*Version, error) {
	height, err := s.Wallet.Height(ctx)
	if err != nil {
		return nil, err
	}
	c, err := Check(raw, outputs, inputs, payeesPay, &s.Settings, height+1)
	if err != nil {
		return nil, err
	}
	if c.Change != nil {
		own, err := s.Wallet.Own(ctx, c.Change.PkScript)
		if err != nil {
			return nil, err
		}
		if !own {
			return nil, fmt.Errorf("payout: transaction %s of payment %d pays %s to a script that is not the wallet's; nothing was sent",
				c.Txid, p.ID, FormatBitcoins(c.Change.Value))
		}
	}
	return &Version{c.Txid, c.Raw, c.Fee, c.Size, c.Amounts, inputs}, nil
}

// transmit sends the bytes of a payment, the newest version first, and stores what the
// node says.
func (s *Sender) transmit(ctx context.Context, p Payment) (Payment, error) {
	to, reason := p.State, ""
	for _, v := range slices.Backward(p.Versions) {
		verdict, why := s.Wallet.Send(ctx, v.Raw, v.Txid)
		if verdict == Taken || verdict == Mined {
			to, reason = Broadcast, ""
			break
		}
		if reason != "" {
			reason += "; "
		}
		reason += v.Txid + ": " + why
		if verdict == Unclear {
			to = Unknown
			break
		}
	}
	if reason != "" && to != Unknown {
		reason += s.refusal(ctx, &p)
	}
	if to == p.State && reason == p.Reason {
		return p, nil
	}
	now, err := s.Book.Change(ctx, p.ID, p.Serial, Change{To: to, By: s.By, Reason: reason, Block: p.Block})
	if e, ok := errors.AsType[*LostError](err); ok && e.Now.State.left() {
		return e.Now, nil // another sent the same bytes, and stored it
	}
	return now, err
}

// refusal says more of why a payment is refused, if it is known.
func (s *Sender) refusal(ctx context.Context, p *Payment) string {
	r, err := s.rival(ctx, p)
	switch {
	case err != nil:
		return ""
	case r.confirmations > 0:
		return "; " + r.waits()
	}
	for _, in := range p.Inputs {
		coin, err := s.Wallet.Coin(ctx, in.Point, false)
		if err != nil {
			return ""
		}
		if coin == nil {
			e, ok := errors.AsType[*GoneError](s.gone(ctx, in.Point))
			if ok {
				return "; " + e.Error()
			}
		}
	}
	return ""
}
