package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ckpool/ckpool/internal/store/table"
)

const secondsPerDay = 86_400

func dayOf(ntime uint32) int64 { return int64(ntime) / secondsPerDay }

// dayTable is the name of the table of a day's shares.
func dayTable(day int64) string {
	return "shares_" + time.Unix(day*secondsPerDay, 0).UTC().Format("20060102")
}

// days that shares are kept of, and the last one that was dropped.
func (s *Store) days(ctx context.Context, tx table.Tx) (kept []int64, dropped int64, err error) {
	dropped = -1
	err = rows(ctx, tx, "select day, dropped from share_days order by day", nil, func(scan func(...any) error) error {
		var day, state int64
		if err := scan(&day, &state); err != nil {
			return err
		}
		if state == dayKept {
			kept = append(kept, day)
		} else {
			dropped = max(dropped, day)
		}
		return nil
	})
	return kept, dropped, err
}

// Days are those that single shares are kept of, counted since 1970, the oldest first.
func (s *Store) Days(ctx context.Context) (kept []int64, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		kept, _, err = s.days(ctx, tx)
		return err
	})
	return kept, err
}

// makeDays makes the tables of the batch's days and of the two days after the last
// of them, so that they are there before they are needed. A day before one that was
// dropped gets none.
func (s *Store) makeDays(ctx context.Context, b *Batch) error {
	if len(b.Shares) == 0 {
		return nil
	}
	wanted := map[int64]bool{}
	for i := range b.Shares {
		wanted[dayOf(b.Shares[i].NTime)] = true
	}
	last := slices.Max(slices.Collect(maps.Keys(wanted)))
	wanted[last+1], wanted[last+2] = true, true
	var missing []int64
	err := s.db.Read(ctx, func(tx table.Tx) error {
		kept, dropped, err := s.days(ctx, tx)
		for _, day := range kept {
			delete(wanted, day)
		}
		for day := range wanted {
			if day > dropped {
				missing = append(missing, day)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(missing)
	for _, day := range missing {
		if err := s.db.Split(ctx, shares, dayTable(day), day*secondsPerDay, (day+1)*secondsPerDay); err != nil {
			return fmt.Errorf("make table %s: %w", dayTable(day), err)
		}
		if err := s.db.Write(ctx, func(tx table.Tx) error {
			_, err := tx.Exec(ctx, "insert into share_days (day) values ($1) on conflict do nothing", day)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// keptDays are those that shares can be stored in. Where one is dropped meanwhile its
// table is gone, and the batch is applied again.
func (a *application) keptDays(ctx context.Context) (map[int64]bool, error) {
	kept, _, err := a.store.days(ctx, a.tx)
	days := map[int64]bool{}
	for _, day := range kept {
		days[day] = true
	}
	return days, err
}

// States of a day, of which there is a row from its table's making on.
const (
	dayKept = iota
	dayDropping
	dayDropped
	dayJoined // and the sums of its jobs are joined
)

// Retain drops the shares of all days that end before a time, in seconds since 1970.
// Their sums stay, those of jobs joined as [Store.joinDay] says. Days that a reward may
// still need stay as well. It waits for who reads them, without being in anybody's way;
// where ctx ends that, the next call goes on.
func (s *Store) Retain(ctx context.Context, before int64) error {
	day := before / secondsPerDay
	if err := s.db.Read(ctx, func(tx table.Tx) error {
		needed, err := s.needed(ctx, tx)
		day = min(day, needed)
		return err
	}); err != nil {
		return err
	}
	if err := s.db.Write(ctx, func(tx table.Tx) error {
		_, err := tx.Exec(ctx, "update share_days set dropped = $1 where dropped = $2 and day < $3", dayDropping, dayKept, day)
		return err
	}); err != nil {
		return err
	}
	if err := s.advance(ctx, dayDropping, func(day int64) error {
		if err := s.db.Drop(ctx, shares, dayTable(day)); err != nil {
			return fmt.Errorf("drop table %s: %w", dayTable(day), err)
		}
		return nil
	}); err != nil {
		return err
	}
	return s.advance(ctx, dayDropped, func(day int64) error {
		if err := s.joinDay(ctx, day); err != nil {
			return fmt.Errorf("join the sums of the jobs of %s: %w", dayTable(day), err)
		}
		return nil
	})
}

// advance does what is to be done with days in a state, which then have the next one.
func (s *Store) advance(ctx context.Context, state int64, do func(day int64) error) error {
	var list []int64
	if err := s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, "select day from share_days where dropped = $1 order by day", []any{state}, func(scan func(...any) error) error {
			var day int64
			err := scan(&day)
			list = append(list, day)
			return err
		})
	}); err != nil {
		return err
	}
	for _, day := range list {
		if err := do(day); err != nil {
			return err
		}
		if err := s.db.Write(ctx, func(tx table.Tx) error {
			_, err := tx.Exec(ctx, "update share_days set dropped = $1 where day = $2 and dropped = $3", state+1, day, state)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
