package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/rewards"
	"github.com/ckpool/ckpool/internal/store/table"
	"github.com/ckpool/ckpool/work"
)

// PoolBlock is a block that a pool has told of, or that pays the pool, as the node has it
// that is followed.
type PoolBlock struct {
	Place
	State         Fate
	Confirmations int64  // 0: not in the chain
	Value         int64  // satoshis of its outputs that are the pool's
	Told          bool   // by a pool, or booked
	Held          bool   // since no pool told of it
	Rewarded      int64  // when; 0: not yet
	Posted        string // what is in the ledger: PostedMature if its reward is in balances
	Passed        bool   // by name: higher blocks do not wait for it
}

// PoolBlocks are the pool's blocks, the highest first, at most so many; 0: all.
func (s *Store) PoolBlocks(ctx context.Context, last int) (list []PoolBlock, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		order := "true order by height desc, hash"
		if last > 0 {
			order += fmt.Sprintf(" limit %d", last)
		}
		blocks, err := s.poolBlocks(ctx, tx, order)
		for _, b := range blocks {
			list = append(list, PoolBlock{
				Place: b.Place, State: b.state, Confirmations: b.confirmations, Value: b.value, Told: b.told,
				Held: b.held != 0 && b.rewarded == 0, Rewarded: b.rewarded, Posted: b.posted, Passed: b.passed,
			})
		}
		return err
	})
	return list, err
}

// ErrBlock tells that there is no such block of the pool's.
var ErrBlock = errors.New("no block of the pool")

func (s *Store) poolBlock(ctx context.Context, tx table.Tx, hash [32]byte, lock string) (poolBlock, error) {
	list, err := s.poolBlocks(ctx, tx, "hash = $1"+lock, hash[:])
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%w: %s", ErrBlock, work.FormatHash(hash))
	}
	if err != nil {
		return poolBlock{}, err
	}
	return list[0], nil
}

// ErrDropped tells that a reward cannot be computed anew.
var ErrDropped = errors.New("the single shares that it was computed from are not kept any more: what was posted stands")

// Reward computes the reward of a block anew; with to it also writes all of its inputs,
// as [rewards.Export] does. The error is [ErrDropped] where shares were dropped that it was
// made with.
func (s *Store) Reward(ctx context.Context, hash [32]byte, to io.Writer) (*rewards.Reward, error) {
	var b poolBlock
	err := s.db.Read(ctx, func(tx table.Tx) (err error) {
		b, err = s.poolBlock(ctx, tx, hash, "")
		return err
	})
	if err == nil && b.rewarded != 0 && b.parameters == "" {
		err = fmt.Errorf("block %s was booked to the pool as a whole, and not divided", b.name())
	}
	if err != nil {
		return nil, err
	}
	c, err := s.compute(ctx, &b, to)
	return c.Reward, err
}

// Booking is what is done with the money of a coinbase that no pool has told of.
type Booking string

// Bookings.
const (
	ToMiners Booking = "miners" // as of any block: its share says who found it
	ToPool   Booking = "pool"   // all of it is fee
)

// Book books a block whose money is held. It is rewarded by the next call of Settle.
func (s *Store) Book(ctx context.Context, by string, hash [32]byte, to Booking) error {
	return s.sayOf(ctx, by, "book", hash, func(tx table.Tx, b *poolBlock) (before, after string, err error) {
		switch {
		case b.held == 0:
			return "", "", errors.New("its money is not held")
		case b.rewarded != 0 || b.told:
			return "", "", errors.New("it is booked already")
		case b.posted != postedHeld:
			return "", "", errors.New("it is not in the chain")
		}
		if _, err := tx.Exec(ctx, "update alarms set ended = $3 where subject = $1 and what = $2 and ended = 0", b.name(), unknownCoinbase, now()); err != nil {
			return "", "", err
		}
		before, after = fmt.Sprintf("%s held", figures.Things(b.value, "satoshi")), "to "+string(to)
		switch to {
		case ToMiners:
			f, err := s.findShare(ctx, tx, b)
			if err == nil && f.at == (Position{}) {
				err = fmt.Errorf("its share is not in the database: it can be booked to %q", ToPool)
			}
			if err == nil {
				_, err = tx.Exec(ctx, "update chain_blocks set told = 1 where hash = $1", b.Hash[:])
			}
			return before, after, err
		case ToPool:
			posted, err := s.post(ctx, tx, Transaction{Kind: Reward, Reference: b.name(), Note: fmt.Sprintf("block %d, booked to the pool", b.Height),
				Entries: []Entry{{Held, Owner{}, -b.value}, {FeeImmature, Owner{}, b.value}}})
			if err == nil {
				_, err = tx.Exec(ctx, "update chain_blocks set told = 1, rewarded = $2, posted = $3 where hash = $1", b.Hash[:], posted.At, postedReward)
			}
			return before, after, err
		}
		return "", "", fmt.Errorf("%q: want %q or %q", to, ToMiners, ToPool)
	})
}

// Pass lets higher blocks be rewarded before one that is not.
func (s *Store) Pass(ctx context.Context, by string, hash [32]byte) error {
	return s.sayOf(ctx, by, "pass", hash, func(tx table.Tx, b *poolBlock) (before, after string, err error) {
		if b.rewarded != 0 || b.passed {
			return "", "", errors.New("no other waits for it")
		}
		_, err = tx.Exec(ctx, "update chain_blocks set passed = $2 where hash = $1", b.Hash[:], now())
		return "others wait", "others do not wait", err
	})
}

// sayOf does what a person says of a block, and writes it into the audit log.
func (s *Store) sayOf(ctx context.Context, by, what string, hash [32]byte, f func(table.Tx, *poolBlock) (before, after string, err error)) error {
	if by == "" || by != clean(by) {
		return fmt.Errorf("block %s: it has to be somebody who says so", work.FormatHash(hash))
	}
	return s.change(ctx, func(tx table.Tx) error {
		b, err := s.poolBlock(ctx, tx, hash, s.db.Lock())
		if err != nil {
			return err
		}
		before, after, err := f(tx, &b)
		if err != nil {
			return fmt.Errorf("block %s: %w", b.name(), err)
		}
		return s.audit(ctx, tx, AuditRow{By: by, What: what, Subject: b.name(), Before: before, After: after})
	})
}

// Alarm is something that a person has to look after.
type Alarm struct {
	Subject, What, Text string
	At, Ended           int64 // 0: not yet
}

func (s *Store) alarm(ctx context.Context, tx table.Tx, subject, what, text string) error {
	_, err := tx.Exec(ctx, "insert into alarms (subject, what, at, text) values ($1, $2, $3, $4) on conflict (subject, what) do update set ended = 0", subject, what, now(), text)
	return err
}

// Alarms are all that were raised, the newest first.
func (s *Store) Alarms(ctx context.Context) (list []Alarm, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, "select subject, what, text, at, ended from alarms order by at desc, subject, what", nil, func(scan func(...any) error) error {
			var a Alarm
			err := scan(&a.Subject, &a.What, &a.Text, &a.At, &a.Ended)
			list = append(list, a)
			return err
		})
	})
	return list, err
}

// came is what the reward of a block took from outside, or from what was held of it: what
// its coinbase paid the pool, since what it paid who found it went outside again.
func (s *Store) came(ctx context.Context, tx table.Tx, b *poolBlock) (total int64, err error) {
	list, err := transactions(ctx, tx, "t.kind in ('reward', 'payout') and t.reference = $1", b.name())
	for _, t := range list {
		for _, e := range t.Entries {
			if e.Book == Chain || e.Book == Held {
				total -= e.Amount
			}
		}
	}
	return total, err
}

// checkBlocks compares what is in the ledger of each block with its state, and its reward
// with what is computed anew, as long as its shares are kept.
func (s *Store) checkBlocks(ctx context.Context, tell func(string, ...any), progress func(what string, step, steps int)) error {
	var list []poolBlock
	if err := s.db.Read(ctx, func(tx table.Tx) (err error) {
		list, err = s.poolBlocks(ctx, tx, "true order by height, hash")
		return err
	}); err != nil {
		return err
	}
	for i := range list {
		progress("rewards", i, len(list))
		b := &list[i]
		var posted []Transaction
		var net []Entry
		var value, came int64
		if err := s.db.Read(ctx, func(tx table.Tx) (err error) {
			// It may have been rewarded since the list was read.
			again, err := s.poolBlocks(ctx, tx, "hash = $1", b.Hash[:])
			if err != nil || len(again) == 0 {
				return err
			}
			*b = again[0]
			if value, err = s.ownValue(ctx, tx, b); err != nil {
				return err
			}
			came, err = s.came(ctx, tx, b)
			if err != nil {
				return err
			}
			if posted, err = transactions(ctx, tx, "t.kind = 'reward' and t.reference = $1", b.name()); err != nil {
				return err
			}
			if b.posted == "" && b.rewarded == 0 && b.held == 0 {
				return nil
			}
			net, err = s.whole(ctx, tx, b)
			return err
		}); err != nil {
			return err
		}
		for _, e := range net {
			bad := b.posted == "" || b.posted == PostedMature && (e.Book == Immature || e.Book == FeeImmature) || e.Book == Held && b.posted != postedHeld
			if bad && e.Amount != 0 {
				tell("ledger: block %s is %s, and there is %s of it in book %q of %q", b.name(), b.state, figures.Things(e.Amount, "satoshi"), e.Book, e.Owner.Name)
			}
		}
		if (b.rewarded != 0) != (len(posted) == 1) {
			tell("ledger: block %s is rewarded: %t, posted of it: %s", b.name(), b.rewarded != 0, figures.Things(int64(len(posted)), "reward"))
			continue
		}
		if len(b.coinbase) > 0 && value != b.value {
			tell("chain: the coinbase of block %s pays the pool %s, stored are %s", b.name(), figures.Things(value, "satoshi"), figures.Count(b.value))
		}
		if b.rewarded != 0 && came != b.value {
			tell("ledger: block %s pays the pool %s, its reward is of %s", b.name(), figures.Things(b.value, "satoshi"), figures.Count(came))
		}
		if b.rewarded == 0 || b.parameters == "" { // booked to the pool
			continue
		}
		c, err := s.compute(ctx, b, nil)
		if err != nil {
			if !errors.Is(err, ErrDropped) {
				tell("rewards: block %s cannot be computed anew: %v", b.name(), err)
			}
			continue
		}
		want := map[string]int64{string(FeeImmature) + "  ": c.Fee}
		for _, k := range c.Credits {
			want[string(Immature)+" "+k.Account.String()] = k.Amount
		}
		for _, e := range posted[0].Entries {
			if e.Book == Chain || e.Book == Held {
				continue
			}
			key := string(e.Book) + " " + e.Owner.String()
			if want[key] != e.Amount {
				tell("rewards: block %s, %s: computed as %s, posted as %s", b.name(), strings.TrimSpace(key), figures.Things(want[key], "satoshi"), figures.Count(e.Amount))
			}
			delete(want, key)
		}
		for key, amount := range want {
			if amount != 0 {
				tell("rewards: block %s, %s: computed as %s, not posted", b.name(), strings.TrimSpace(key), figures.Things(amount, "satoshi"))
			}
		}
	}
	return nil
}
