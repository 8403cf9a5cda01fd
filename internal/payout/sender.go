package payout

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/btcsuite/btcd/wire/v2"

	"ckpool/internal/figures"
	"ckpool/internal/payout/psbt"
)

// Maturity is the number of confirmations from which a coinbase is spent: Bitcoin Core's
// wallet has this one; consensus, and so the mempool, takes one less.
const Maturity = 101

// Sender carries payments out. Several may work on one book at once, in one process or
// in many: of two that want the same step one does it and the other is told who did.
type Sender struct {
	Book     Book
	Wallet   *Wallet
	Settings Settings
	By       string // who acts, for the book and for who loses
}

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
// its inputs, so that only one of them can ever be confirmed.
func (s *Sender) Replace(ctx context.Context, id int64) (Payment, error) {
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
	list, err := s.Book.Begin(ctx, s.By, []Payment{{State: Planned, By: s.By, Outputs: p.Outputs, PayeesPay: p.PayeesPay, Replaces: id}})
	if err != nil {
		return Payment{}, err
	}
	return list[0], nil
}

// Guard reports spends of the wallet that the book does not know, as a *StrangeError.
// Nothing is stored.
func (s *Sender) Guard(ctx context.Context) error {
	_, _, err := s.strangers(ctx, "")
	return err
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
	txids, next, err := s.Wallet.Spends(ctx, since, false)
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
	rate := s.Settings.Rate
	if rate == 0 {
		if rate, err = s.Wallet.Rate(ctx, s.Settings.Blocks); err != nil {
			return nil, nil, err
		}
		if rate < s.Settings.MinRate || rate > s.Settings.MaxRate {
			return nil, nil, fmt.Errorf("payout: the node's estimate, %d satoshis per 1000 vbytes, is not within the bounds %d and %d: name one with --fee-rate",
				rate, s.Settings.MinRate, s.Settings.MaxRate)
		}
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
		// Only this payment ends. Its lock makes the next plan work.
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
	txid, confirmations, err := s.rival(ctx, p)
	switch {
	case err != nil:
		return ""
	case confirmations > 0:
		return "; " + waits(txid, confirmations)
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

// waits says what a signed payment waits for whose input another transaction spends.
func waits(txid string, confirmations int64) string {
	return fmt.Sprintf("its input is spent by %s, which has %d of the %d confirmations from which the payment is cancelled and its payees have their money back",
		txid, confirmations, Maturity)
}

// rival is a transaction that is no version of the payment and spends an input of it, the
// deepest one; where versions have inputs of their own, confirmations are those of the
// version that is ruled out the least.
func (s *Sender) rival(ctx context.Context, p *Payment) (txid string, confirmations int64, err error) {
	for i, v := range p.Versions {
		seen, err := s.Wallet.Seen(ctx, v.Txid, "")
		if err != nil {
			return "", 0, err
		}
		others := seen.Conflicts
		if !seen.Known { // it was never in the mempool: the wallet compares it with nothing
			if others, _, err = s.Wallet.Spends(ctx, "", true); err != nil {
				return "", 0, err
			}
		}
		by, deep := "", int64(0)
		for _, other := range others {
			if p.version(other) != nil {
				continue
			}
			tx, n, err := s.spending(ctx, other, v.Inputs)
			if err != nil {
				return "", 0, err
			}
			if tx != nil && n > deep {
				by, deep = other, n
			}
		}
		if i == 0 || deep < confirmations {
			txid, confirmations = by, deep
		}
	}
	return txid, confirmations, nil
}

// spending is a transaction that the node knows, if it spends one of the inputs.
func (s *Sender) spending(ctx context.Context, txid string, inputs []Input) (*wire.MsgTx, int64, error) {
	seen, err := s.Wallet.Seen(ctx, txid, "")
	if err != nil {
		return nil, 0, err
	}
	tx := new(wire.MsgTx)
	if err := tx.Deserialize(bytes.NewReader(seen.Raw)); err != nil {
		return nil, 0, nil
	}
	if !slices.ContainsFunc(tx.TxIn, func(in *wire.TxIn) bool { return slices.Contains(points(inputs), in.PreviousOutPoint) }) {
		return nil, 0, nil
	}
	return tx, seen.Confirmations, nil
}

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
		if !seen.Known {
			return p, fmt.Errorf("payout: payment %d: %w; nothing was debited", id, s.gone(ctx, in.Point))
		}
		v, err := s.check(ctx, &p, raw, p.Outputs, p.Inputs, p.PayeesPay)
		if err != nil {
			return p, err
		}
		p, err = s.Book.Change(ctx, id, p.Serial, Change{To: Signed, By: s.By, Version: v, Inputs: p.Inputs, Postings: []Posting{debit(&p)}})
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
	if err := s.covered(ctx, &p, v); err != nil {
		return p, err
	}
	p, err = s.Book.Change(ctx, id, p.Serial, Change{To: p.State, By: s.By, Version: v, Inputs: inputs})
	if err != nil {
		return p, err
	}
	return s.transmit(ctx, p)
}

// covered refuses a bump that the pool would pay with what it owes to others: payees get
// what they were promised, so the difference is the pool's. Where the settings say that
// the pool pays network fees, it is for its operator to see that it can.
func (s *Sender) covered(ctx context.Context, p *Payment, v *Version) error {
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
	if cost := next.cost(); cost > has {
		return fmt.Errorf("payout: the bump of payment %d would cost the pool %s, and of its own it has %s: the rest would be taken from what accounts are owed; name a lower --fee-rate, or say that the pool pays network fees, with coins of your own in the wallet: ckdb set networkfee pool; nothing was sent",
			p.ID, FormatBitcoins(cost), FormatBitcoins(max(has, 0)))
	}
	return nil
}

// Follow looks what the chain has of a payment that was signed, books its confirmation,
// and sends its bytes again where no block has them. What is refused for good ends: see
// [Cancelled]. An error changes nothing.
func (s *Sender) Follow(ctx context.Context, id int64) (Payment, error) {
	p, err := s.Book.Payment(ctx, id)
	if err != nil || !p.State.left() {
		return p, err
	}
	for i := range p.Versions {
		v := &p.Versions[i]
		hint := ""
		if p.Block != nil && p.Block.Txid == v.Txid {
			hint = p.Block.Hash
		}
		seen, err := s.Wallet.Seen(ctx, v.Txid, hint)
		if err != nil {
			return p, err
		}
		if seen.Confirmations <= 0 {
			continue
		}
		b := Block{v.Txid, seen.Block, seen.Height, seen.Confirmations}
		if p.State == Confirmed && p.Block != nil && *p.Block == b {
			return p, nil
		}
		c := Change{To: Confirmed, By: s.By, Block: &b, Postings: booking(&p, v)}
		if c.Postings != nil {
			c.Booked = v.Txid
		}
		return s.Book.Change(ctx, id, p.Serial, c)
	}
	if p.State == Confirmed {
		reason := fmt.Sprintf("block %s left the chain", p.Block.Hash)
		if p, err = s.Book.Change(ctx, id, p.Serial, Change{To: Broadcast, By: s.By, Reason: reason}); err != nil {
			return p, err
		}
	}
	if p, err = s.transmit(ctx, p); err != nil || p.Reason == "" {
		return p, err
	}
	txid, confirmations, err := s.rival(ctx, &p)
	if err != nil || confirmations < Maturity || !p.State.left() {
		return p, err
	}
	return s.Book.Change(ctx, id, p.Serial, Change{
		To: Cancelled, By: s.By, Postings: []Posting{giveBack(&p)},
		Reason: fmt.Sprintf("its input is spent by %s, with %d confirmations: its payees have their money back", txid, confirmations),
	})
}

// Cancel ends a payment that was not sent, or that the chain has ended. One that was exported ends only when another
// transaction that spends one of its inputs has enough confirmations.
func (s *Sender) Cancel(ctx context.Context, id int64) (Payment, error) {
	p, err := s.Book.Payment(ctx, id)
	if err != nil {
		return p, err
	}
	switch p.State {
	case Cancelled:
		return p, nil
	case Planned:
		return s.Book.Change(ctx, id, p.Serial, Change{To: Cancelled, By: s.By, Reason: "cancelled by " + s.By})
	case Exported:
	default:
		return s.cancelSigned(ctx, p)
	}
	txid, confirmations, err := s.spender(ctx, &p)
	if err != nil {
		return p, err
	}
	if confirmations < s.Settings.Final {
		what := "no transaction of the wallet spends an input of it"
		if txid != "" {
			what = fmt.Sprintf("%s, which spends an input of it, has %d of %d confirmations", txid, confirmations, s.Settings.Final)
		}
		return p, fmt.Errorf("payout: payment %d is with its signer and could still be sent: %s; to end it, replace it and let that be confirmed", id, what)
	}
	p, err = s.Book.Change(ctx, id, p.Serial, Change{To: Cancelled, By: s.By, Reason: "its input is spent by " + txid})
	if err != nil {
		return p, err
	}
	return p, s.Wallet.Lock(ctx, points(p.Inputs), false)
}

// cancelSigned ends a payment only as the chain has decided, and says else what it waits
// for.
func (s *Sender) cancelSigned(ctx context.Context, p Payment) (Payment, error) {
	why := "only a confirmation ends it, or one of another transaction that spends an input of it"
	if s.Wallet != nil {
		now, err := s.Follow(ctx, p.ID)
		if err != nil || now.State == Cancelled {
			return now, err
		}
		p = now
		txid, confirmations, err := s.rival(ctx, &p)
		if err != nil {
			return p, err
		}
		if confirmations > 0 {
			why = waits(txid, confirmations)
		}
	}
	return p, fmt.Errorf("payout: payment %d is %s: what was signed is never cancelled by a person, the chain alone decides: %s", p.ID, p.State, why)
}

// spender is a transaction of the wallet, not the payment itself, that spends one of the
// payment's inputs.
func (s *Sender) spender(ctx context.Context, p *Payment) (txid string, confirmations int64, err error) {
	txids, _, err := s.Wallet.Spends(ctx, "", true)
	if err != nil {
		return "", 0, err
	}
	for _, id := range txids {
		tx, n, err := s.spending(ctx, id, p.Inputs)
		if err != nil {
			return "", 0, err
		}
		if tx == nil {
			continue
		}
		strangers, err := s.Book.Strangers(ctx, []string{id})
		if err != nil {
			return "", 0, err
		}
		// One of the book is that of a replacement, which may be the same to the byte.
		if len(strangers) > 0 && p.is(tx) {
			return "", 0, fmt.Errorf("payout: payment %d was sent by its signer, as %s: give the signed file", p.ID, id)
		}
		if n >= confirmations {
			txid, confirmations = id, n
		}
	}
	return txid, confirmations, nil
}

// is reports whether a transaction is the payment as it was exported.
func (p *Payment) is(tx *wire.MsgTx) bool {
	f, err := psbt.Decode([]byte(p.PSBT))
	if err != nil || len(f.Tx.TxIn) != len(tx.TxIn) || len(f.Tx.TxOut) != len(tx.TxOut) {
		return false
	}
	bare := tx.Copy()
	for _, in := range bare.TxIn {
		in.SignatureScript, in.Witness = nil, nil
	}
	return bare.TxHash() == f.Tx.TxHash()
}

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
