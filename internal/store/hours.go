package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
)

// What work of an hour is beyond belief. Each is far from all that luck does: there is no
// false alarm, and what is just unusual, such as a rented burst, is none.
const (
	// beyondBest is how many times the difficulty of its best hash the credited work may
	// be: with work W, all hashes are below difficulty B with a chance of e^(-W/B), which
	// is less than one in 10¹⁷ from here on. Who keeps his better hashes back gets there as
	// well, and so each hash is looked at then.
	beyondBest = 40
	// beyondRates is how many times the greatest rate in the pool's own statistics, which
	// come once a minute and know nothing of credits that are stored. The last minute's
	// average, looked at each minute, has more than half of what there was.
	beyondRates = 8
	// ratesFrom is how many shares an hour has that is compared with statistics.
	ratesFrom = 100
	// beyondNetwork is how many times six blocks' work, of the main network alone: on
	// others blocks may come each second.
	beyondNetwork = 2
	// hourAfter is how much later an hour is looked at: the statistics of its last minute
	// are there.
	hourAfter = 5 * time.Minute
)

// implausible is what alarms of work are called.
const implausible = "implausible work"

// ErrImplausible tells that nothing is paid until a person has looked after an alarm.
var ErrImplausible = errors.New("work that cannot have been done was credited: nothing is paid until somebody has booked that, see \"ckdb status\"")

// hour is what an instance credited in one.
type hour struct {
	accounts map[Owner]*Sum
	all      Sum
}

// weigh looks at the hours that ended since the last time, of each instance by its own
// clock, and raises an alarm of each whose work is beyond belief.
func (s *Store) weigh(ctx context.Context) (told []string, err error) {
	type row struct {
		Instance
		id, from, to int64
	}
	var list []row
	if err := s.db.Read(ctx, func(tx table.Tx) error {
		// One without jobs that can be computed anew was imported.
		return rows(ctx, tx, "select i.id, i.uid, i.name, i.network, i.at, i.weighed from instances i where exists (select 1 from jobs j where j.instance = i.id and length(j.record) > 0) order by i.uid",
			nil, func(scan func(...any) error) error {
				var r row
				var uid []byte
				var at int64
				err := scan(&r.id, &uid, &r.Name, &r.Network, &at, &r.from)
				copy(r.ID[:], uid)
				// A clock that was ahead and was set back begins anew.
				if r.to = hourOf(at - hourAfter.Microseconds()); r.to != r.from {
					list = append(list, r)
				}
				return err
			})
	}); err != nil {
		return nil, err
	}
	for _, r := range list {
		var alarms []Alarm
		if err := s.db.Read(ctx, func(tx table.Tx) error {
			alarms, err = s.weighed(ctx, tx, r.id, r.Instance, r.from, r.to)
			return err
		}); err != nil {
			return told, err
		}
		var raised []string
		if err := s.change(ctx, func(tx table.Tx) error {
			raised = nil
			n, err := tx.Exec(ctx, "update instances set weighed = $2 where id = $1 and weighed = $3", r.id, r.to, r.from)
			if err != nil || n != 1 { // another process has weighed them
				return err
			}
			for _, a := range alarms { // of an hour that comes again, as the clock was set back, it may be booked
				n, err := tx.Exec(ctx, "insert into alarms (subject, what, at, text) values ($1, $2, $3, $4) on conflict do nothing", a.Subject, a.What, now(), a.Text)
				if err != nil {
					return err
				}
				if n > 0 {
					raised = append(raised, a.Text)
				}
			}
			return nil
		}); err != nil {
			return told, err
		}
		told = append(told, raised...)
	}
	return told, nil
}

// weighed are the alarms of an instance's hours.
func (s *Store) weighed(ctx context.Context, tx table.Tx, id int64, in Instance, from, to int64) (alarms []Alarm, err error) {
	hours, err := s.hours(ctx, tx, id, from, to)
	if err != nil {
		return nil, err
	}
	for _, at := range sortedHours(hours) {
		h := hours[at]
		start := time.UnixMicro(at * 3600 * 1_000_000).UTC()
		raise := func(of, who, format string, args ...any) {
			subject := fmt.Sprintf("%s/%s/%s", start.Format("2006-01-02T15"), hex.EncodeToString(in.ID[:4]), of)
			alarms = append(alarms, Alarm{Subject: subject, What: implausible, Text: fmt.Sprintf("Work of %s at pool %s in the hour from %s UTC cannot have been done: %s. Nothing is paid until somebody says \"ckdb alarm book %s REASON\"",
				who, in.Name, start.Format("2006-01-02 15:04"), fmt.Sprintf(format, args...), subject)})
		}
		for _, o := range sortedOwners(h.accounts) {
			v := h.accounts[o]
			if !exceeds(v.Accepted.Work, beyondBest, v.Best) {
				continue
			}
			if done, err := s.done(ctx, tx, id, o, at, v.Accepted.Count); err != nil {
				return nil, err
			} else if !done {
				raise(string(o.Kind)+":"+o.Name, o.String(), "%s is credited, and its best hash is of difficulty %s", v.Accepted.Work, v.Best)
			}
		}
		if h.all.Accepted.Count >= ratesFrom {
			greatest, found, err := s.greatestRate(ctx, tx, id, at)
			if err != nil {
				return nil, err
			}
			if found && exceeds(h.all.Accepted.Work, beyondRates*3600, greatest) {
				raise("all", "all accounts", "%s is credited, and by the pool's own statistics it was never more than %s in a second", h.all.Accepted.Work, greatest)
			}
		}
		if in.Network != "main" {
			continue
		}
		var network difficulty.Exact
		if err := one(ctx, tx, "select "+s.db.Same(table.Column{Name: "difficulty", Kind: table.Exact})+" from jobs where instance = $1 and length(record) > 0 order by epoch desc, number desc limit 1",
			[]any{id}, table.Amount{To: &network}); err != nil {
			return nil, err
		}
		if exceeds(h.all.Accepted.Work, beyondNetwork*6, network) {
			raise("network", "all accounts", "%s is credited, and the whole network does six times its difficulty of %s", h.all.Accepted.Work, network)
		}
	}
	return alarms, nil
}

// hours are what an instance credited in some, by account.
func (s *Store) hours(ctx context.Context, tx table.Tx, id, from, to int64) (map[int64]*hour, error) {
	hours := map[int64]*hour{}
	work := s.db.Sum(table.Column{Name: "p.accepted_work", Kind: table.Exact, Merge: table.Add})
	best := s.db.Sum(table.Column{Name: "p.best", Kind: table.Peak, Merge: table.Greatest})
	for _, of := range []string{workerHours.Name, pending.Name} {
		if err := rows(ctx, tx, "select p.hour, a.kind, a.folded, "+s.db.Sum(table.Column{Name: "p.accepted", Merge: table.Add})+", "+work+", "+best+" from "+of+
			" p join workers w on w.id = p.worker join accounts a on a.id = w.account where p.instance = $1 and p.hour >= $2 and p.hour < $3 and p.accepted > 0 group by p.hour, a.kind, a.folded",
			[]any{id, from, to}, func(scan func(...any) error) error {
				var at int64
				var o Owner
				var v Sum
				if err := scan(&at, &o.Kind, &o.Name, &v.Accepted.Count, table.Amount{To: &v.Accepted.Work}, table.Amount{To: &v.Best}); err != nil {
					return err
				}
				h := hours[at]
				if h == nil {
					h = &hour{accounts: map[Owner]*Sum{}}
					hours[at] = h
				}
				if h.accounts[o] == nil {
					h.accounts[o] = &Sum{}
				}
				h.accounts[o].Add(&v)
				h.all.Add(&v)
				return nil
			}); err != nil {
			return nil, err
		}
	}
	return hours, nil
}

// done tells whether each of so many shares of an account in an hour has a hash as good as what
// it is credited with. Then the work was done, however poor the best of them is: who keeps his
// better hashes back is to stop nobody's payouts. It is false where not all shares are kept.
func (s *Store) done(ctx context.Context, tx table.Tx, id int64, of Owner, hour, count int64) (bool, error) {
	const second, around = 1_000_000, 6 * 3600 // of headers' times, which are miners' to choose within bounds
	start := hour * 3600
	least, most := start-around, start+3600+around
	kept, _, err := s.days(ctx, tx)
	if err != nil {
		return false, err
	}
	same := func(name string, kind table.Kind) string { return s.db.Same(table.Column{Name: name, Kind: kind}) }
	done := true
	for _, day := range kept {
		if day < least/secondsPerDay || day > most/secondsPerDay {
			continue
		}
		err := rows(ctx, tx, "select "+same("x.credit", table.Exact)+", "+same("x.achieved", table.Peak)+" from "+dayTable(day)+` x join workers w on w.id = x.worker join accounts a on a.id = w.account
			where x.instance = $1 and x.ntime >= $2 and x.ntime <= $3 and x.received >= $4 and x.received < $5 and a.kind = $6 and a.folded = $7`,
			[]any{id, least, most, start * second, (start + 3600) * second, string(of.Kind), of.Name}, func(scan func(...any) error) error {
				var credit, achieved difficulty.Exact
				err := scan(table.Amount{To: &credit}, table.Amount{To: &achieved})
				count--
				// Both are rounded, to much less than a millionth.
				if limit := units(achieved); err == nil && units(credit).Cmp(limit.Add(limit, new(big.Int).Quo(limit, big.NewInt(1_000_000)))) > 0 {
					done = false
					err = errEnough
				}
				return err
			})
		if !done {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return count == 0, nil
}

// greatestRate is that of an instance's statistics of an hour; found is false where it has none.
func (s *Store) greatestRate(ctx context.Context, tx table.Tx, id, hour int64) (greatest difficulty.Exact, found bool, err error) {
	const second = 1_000_000
	start := hour * 3600 * second
	rate := func(name string) string { return s.db.Same(table.Column{Name: name, Kind: table.Exact}) }
	err = rows(ctx, tx, "select "+rate("rate_1m")+", "+rate("rate_5m")+" from pool_minutes where instance = $1 and at > $2 and at <= $3", []any{id, start, start + 3600*second + hourAfter.Microseconds()}, func(scan func(...any) error) error {
		var a, b difficulty.Exact
		err := scan(table.Amount{To: &a}, table.Amount{To: &b})
		for _, r := range []difficulty.Exact{a, b} {
			if r.Cmp(greatest) > 0 {
				greatest = r
			}
		}
		found = true
		return err
	})
	return greatest, found, err
}

// exceeds tells whether work is more than a multiple.
func exceeds(work difficulty.Exact, times int64, of difficulty.Exact) bool {
	limit := units(of)
	return units(work).Cmp(limit.Mul(limit, big.NewInt(times))) > 0
}

func sortedHours(hours map[int64]*hour) (list []int64) {
	for at := range hours {
		list = append(list, at)
	}
	slices.Sort(list)
	return list
}

func sortedOwners(accounts map[Owner]*Sum) (list []Owner) {
	for o := range accounts {
		list = append(list, o)
	}
	slices.SortFunc(list, Owner.compare)
	return list
}

// suspended tells that an alarm of work is open.
func suspended(ctx context.Context, tx table.Tx) (yes bool, err error) {
	var n int64
	err = one(ctx, tx, "select count(*) from alarms where what = $1 and ended = 0", []any{implausible}, &n)
	return n > 0, err
}

// BookWork ends an alarm of work by its subject, as somebody has looked after it and says
// what it was. What was rewarded wrongly is put right by corrections.
func (s *Store) BookWork(ctx context.Context, by, subject, reason string) error {
	fail := func(err error) error { return fmt.Errorf("alarm %s: %w", clean(subject), err) }
	switch {
	case by == "" || by != clean(by):
		return fail(errors.New("it has to be somebody who says so"))
	case reason == "" || reason != clean(reason):
		return fail(errors.New("want a reason, of one line"))
	}
	if err := s.change(ctx, func(tx table.Tx) error {
		row, err := s.nextAudit(ctx, tx)
		if err != nil {
			return err
		}
		at := now()
		n, err := tx.Exec(ctx, "update alarms set ended = $3 where subject = $1 and what = $2 and ended = 0", subject, implausible, at)
		if err == nil && n == 0 {
			err = errors.New("there is none of work that is not booked: \"ckdb status\" shows them")
		}
		if err != nil {
			return err
		}
		return s.audit(ctx, tx, AuditRow{Number: row, At: at, By: by, What: "alarm", Subject: subject, Before: "open", After: reason})
	}); err != nil {
		return fail(err)
	}
	return nil
}
