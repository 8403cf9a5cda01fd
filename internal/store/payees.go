package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/store/table"
)

// PayoutSettings are the settings of payouts that hold now, and the limits of those that
// no person sends, which are 0 where there are to be none.
func (s *Store) PayoutSettings(ctx context.Context) (v payout.Settings, auto payout.Limits, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		var name string
		if err := one(ctx, tx, "select network from ckdb", nil, &name); err != nil {
			return err
		}
		network, ok := address.NetworkForChain(name)
		if !ok {
			return errors.New("the database is of no network yet: no journal was stored, and nobody is owed anything")
		}
		v = payout.Defaults(network)
		v.MaxMinimum = LeastMost
		height, err := s.tip(ctx, tx)
		if err != nil {
			return err
		}
		payer, _, err := s.setting(ctx, tx, SettingPayer, 0, now(), height)
		if err != nil {
			return err
		}
		v.PayeesPay = payer == "users"
		var first int64
		if err := one(ctx, tx, "select start from chain_head", nil, &first); err != nil {
			return err
		}
		if v.Start, err = s.starts(ctx, tx, first); err != nil {
			return err
		}
		if v.Start == nowhere {
			v.Start = 0
		}
		for _, n := range []struct {
			name string
			to   *int64
		}{{SettingLeast, &v.Minimum}, {SettingFeeMost, &v.MaxFee}, {SettingRateMost, &v.MaxRate}, {SettingAutopay, &auto.Run}, {SettingDay, &auto.Day}} {
			text, _, err := s.setting(ctx, tx, n.name, 0, now(), height)
			if err != nil {
				return err
			}
			if *n.to, err = strconv.ParseInt(text, 10, 64); err != nil {
				return fmt.Errorf("setting %q: %w", n.name, err)
			}
		}
		v.MinRate = min(v.MinRate, v.MaxRate)
		return nil
	})
	return v, auto, err
}

// tip is the height of the chain that is followed, for settings that hold from one on.
func (s *Store) tip(ctx context.Context, tx table.Tx) (height int64, err error) {
	err = one(ctx, tx, "select coalesce(max(height), 0) from chain", nil, &height)
	return height, err
}

// Payees are all accounts that have a balance, by number, with what was said of them.
func (s *Store) Payees(ctx context.Context) (list []payout.Payee, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		least, err := s.leasts(ctx, tx)
		if err != nil {
			return err
		}
		sets, err := addressSets(ctx, tx, "true") // what waits may take back what holds
		if err != nil {
			return err
		}
		stop, err := suspended(ctx, tx)
		if err != nil {
			return err
		}
		at := now()
		sum := s.db.Sum(table.Column{Name: "e.amount", Merge: table.Add})
		return rows(ctx, tx, "select a.id, a.kind, a.folded, a.name, a.locked, a.reason, a.held, a.held_reason, "+sum+` from ledger_entries e join accounts a on a.id = e.account
			where e.book = 'balance' group by a.id, a.kind, a.folded, a.name, a.locked, a.reason, a.held, a.held_reason having sum(e.amount) <> 0 order by a.id`, nil, func(scan func(...any) error) error {
			var p payout.Payee
			var o Owner
			var locked, held int64
			var lockedFor, heldFor string
			if err := scan(&p.Account, &o.Kind, &o.Name, &p.Name, &locked, &lockedFor, &held, &heldFor, &p.Balance); err != nil {
				return err
			}
			p.Minimum = least[p.Account]
			paid := holding(sets[o], o, at)
			for _, part := range paid.Parts {
				p.Targets = append(p.Targets, payout.Target{Address: part.Address, Parts: part.PPM})
			}
			switch {
			case stop:
				p.Held = ErrImplausible.Error()
			case locked != 0:
				p.Held = because("locked", lockedFor)
			case held != 0:
				p.Held = because("held", heldFor)
			case len(paid.Parts) == 0:
				p.Held = paid.Void
			}
			list = append(list, p)
			return nil
		})
	})
	return list, err
}

func because(what, reason string) string {
	if reason == "" {
		return what
	}
	return what + ": " + reason
}

// leasts are the minimum payouts that hold of one account alone.
func (s *Store) leasts(ctx context.Context, tx table.Tx) (map[int64]int64, error) {
	height, err := s.tip(ctx, tx)
	if err != nil {
		return nil, err
	}
	least := map[int64]int64{}
	return least, rows(ctx, tx, "select account, value from settings where name = $1 and account > 0 and since <= $2 and height <= $3 order by account, since desc, height desc, number desc",
		[]any{SettingLeast, now(), height}, func(scan func(...any) error) error {
			var id int64
			var text string
			if err := scan(&id, &text); err != nil {
				return err
			}
			if _, ok := least[id]; ok {
				return nil
			}
			n, err := strconv.ParseInt(text, 10, 64)
			least[id] = n
			return err
		})
}

// Paid is whose money it was that went to an address.
type Paid struct {
	Number int64 // of the account; 0: it is nobody's that is known
	Owner  Owner
	// Named is who has named the address and did not prove it, where it is nobody's.
	Named Owner
}

// AccountsPaid are the accounts that addresses belong to, by address: who has proved that
// one is his own, or else mines under it. Who has only named one is it where a payment was
// to pay him there.
func (s *Store) AccountsPaid(ctx context.Context, addresses []string) (paid map[string]Paid, err error) {
	paid = map[string]Paid{}
	err = s.db.Read(ctx, func(tx table.Tx) error {
		for _, a := range addresses {
			text := fold(Address, a)
			var owner, miner, proved, planned int64
			if err := one(ctx, tx, `select o.account, o.proved, (select count(*) from payment_outputs p where p.address = o.address and p.account = o.account)
				from address_owners o where o.address = $1`, []any{text}, &owner, &proved, &planned); err != nil {
				return err
			}
			if err := one(ctx, tx, "select id from accounts where kind = 'address' and folded = $1", []any{text}, &miner); err != nil {
				return err
			}
			id := owner
			if proved == 0 && miner != 0 {
				id = miner
			}
			if id == 0 {
				continue
			}
			v := Paid{Number: id}
			if err := one(ctx, tx, "select kind, folded from accounts where id = $1", []any{id}, &v.Owner.Kind, &v.Owner.Name); err != nil {
				return err
			}
			if id == owner && proved == 0 && planned == 0 && id != miner {
				v = Paid{Named: v.Owner}
			}
			paid[a] = v
		}
		return nil
	})
	return paid, err
}
