package payout

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/internal/payout/psbt"
)

// rival is what rules a payment out.
type rival struct {
	why           string
	txid          string // of the transaction that spends an input of the payment; "" if it spends what an input is of
	confirmations int64  // 0: nothing does
}

// waits says what a signed payment waits for that a rival rules out.
func (r rival) waits() string {
	return fmt.Sprintf("%s, which has %d of the %d confirmations from which the payment is cancelled and its payees have their money back",
		r.why, r.confirmations, Maturity)
}

// rival looks for a transaction that is no version of a payment and spends an input of it, or
// keeps from being confirmed what an input is of; the deepest one. Where versions have inputs
// of their own, it is that of the version that is ruled out the least.
func (s *Sender) rival(ctx context.Context, p *Payment) (least rival, err error) {
	for i, v := range p.Versions {
		seen, err := s.Wallet.Seen(ctx, v.Txid, "")
		if err != nil {
			return rival{}, err
		}
		others := seen.Conflicts
		if !seen.Known { // it was never in the mempool: the wallet compares it with nothing
			if others, err = s.spends(ctx, v.Inputs); err != nil {
				return rival{}, err
			}
		}
		var deepest rival
		for _, in := range v.Inputs {
			other, n, err := s.ruledOut(ctx, in.Point.Hash.String())
			if err != nil {
				return rival{}, err
			}
			if n > deepest.confirmations {
				deepest = rival{fmt.Sprintf("its input is of %s, ruled out by %s", in.Point.Hash, other), "", n}
			}
		}
		for _, other := range others {
			if p.version(other) != nil {
				continue
			}
			tx, n, err := s.spending(ctx, other, v.Inputs)
			if err != nil {
				return rival{}, err
			}
			if tx != nil && n > deepest.confirmations {
				deepest = rival{"its input is spent by " + other, other, n}
			}
		}
		if i == 0 || deepest.confirmations < least.confirmations {
			least = deepest
		}
	}
	return least, nil
}

// ruledOut is a transaction of the chain that spends what another one does, which so never
// will be confirmed.
func (s *Sender) ruledOut(ctx context.Context, txid string) (by string, confirmations int64, err error) {
	seen, err := s.Wallet.Seen(ctx, txid, "")
	tx := new(wire.MsgTx)
	if err != nil || seen.Confirmations >= 0 || tx.Deserialize(bytes.NewReader(seen.Raw)) != nil {
		return "", 0, err
	}
	var spent []Input
	for _, in := range tx.TxIn {
		spent = append(spent, Input{Point: in.PreviousOutPoint})
	}
	for _, other := range seen.Conflicts {
		found, n, err := s.spending(ctx, other, spent)
		if err != nil {
			return "", 0, err
		}
		if found != nil && n > confirmations {
			by, confirmations = other, n
		}
	}
	return by, confirmations, nil
}

// spends are the txids of what the wallet sent since the oldest of the inputs came into the
// chain: nothing spent one before. All that a wallet ever sent is more than is read of an
// answer, after some ten thousand outputs.
func (s *Sender) spends(ctx context.Context, inputs []Input) (txids []string, err error) {
	since := ""
	if height, err := s.oldest(ctx, inputs); err != nil {
		return nil, err
	} else if height > 0 {
		if since, err = s.Wallet.BlockHash(ctx, height-1); err != nil {
			return nil, err
		}
	}
	txids, _, err = s.Wallet.Spends(ctx, since, true)
	return txids, err
}

// oldest is the height at which the oldest of the inputs came into the chain; 0: not known.
func (s *Sender) oldest(ctx context.Context, inputs []Input) (height int64, err error) {
	for i, in := range inputs {
		seen, err := s.Wallet.Seen(ctx, in.Point.Hash.String(), "")
		if err != nil || seen.Height < 1 {
			return 0, err
		}
		if i == 0 || seen.Height < height {
			height = seen.Height
		}
	}
	return height, nil
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

// Follow looks what the chain has of a payment that was signed, books its confirmation,
// and sends its bytes again where no block has them. What is refused for good ends: see
// [Cancelled], but for what the payment's own bump rules out, which the book of a restored
// backup does not know: see [Sender.Adopt]. An error changes nothing.
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
	r, err := s.rival(ctx, &p)
	if err != nil || !p.State.left() {
		return p, err
	}
	if r.txid != "" {
		// What cannot be adopted is not the payment's, whatever the reason.
		if v, err := s.Stranger(ctx, r.txid); err == nil {
			if now, own, err := s.Adopt(ctx, v); own {
				return now, err
			}
		}
	}
	if r.confirmations < Maturity {
		return p, nil
	}
	if p, err = s.Book.Change(ctx, id, p.Serial, Change{
		To: Cancelled, By: s.By, Postings: []Posting{giveBack(&p)},
		Reason: fmt.Sprintf("%s, with %d confirmations: its payees have their money back", r.why, r.confirmations),
	}); err != nil {
		return p, err
	}
	return p, s.unlock(ctx, &p)
}

// unlock lets the wallet use the coins of a payment that ended, which [Sender.Fund] has locked,
// but those of payments that have not.
func (s *Sender) unlock(ctx context.Context, p *Payment) error {
	open, err := s.Book.Open(ctx, s.Settings.Deep)
	if err != nil {
		return err
	}
	free := p.coins()
	for i := range open {
		if o := &open[i]; o.State != Planned {
			held := o.coins()
			free = slices.DeleteFunc(free, func(at wire.OutPoint) bool { return slices.Contains(held, at) })
		}
	}
	return s.Wallet.Lock(ctx, free, false)
}

// coins are what any version of a payment spends.
func (p *Payment) coins() []wire.OutPoint {
	list := points(p.Inputs)
	for _, v := range p.Versions {
		for _, at := range points(v.Inputs) {
			if !slices.Contains(list, at) {
				list = append(list, at)
			}
		}
	}
	return list
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
		if s.Wallet == nil || len(p.coins()) == 0 {
			return p, nil
		}
		return p, s.unlock(ctx, &p) // who cancelled it may have been interrupted
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
	return p, s.unlock(ctx, &p)
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
		r, err := s.rival(ctx, &p)
		if err != nil {
			return p, err
		}
		if r.confirmations > 0 {
			why = r.waits()
		}
	}
	return p, fmt.Errorf("payout: payment %d is %s: what was signed is never cancelled by a person, the chain alone decides: %s", p.ID, p.State, why)
}

// spender is a transaction of the wallet, not the payment itself, that spends one of the
// payment's inputs.
func (s *Sender) spender(ctx context.Context, p *Payment) (txid string, confirmations int64, err error) {
	txids, err := s.spends(ctx, p.Inputs)
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
