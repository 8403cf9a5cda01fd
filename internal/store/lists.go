package store

import (
	"context"
	"strings"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
)

// Lists of what there may be very much of come in parts: of what is not in the part that is
// asked for nothing is summed up.

// AccountLine is an account in a list.
type AccountLine struct {
	Owner
	Name      string // as it was written first
	Hold      string // why it is not paid; "": it is
	Locked    bool
	Workers   int64
	LastShare int64            // accepted, microseconds since 1970; 0: none
	Recent    difficulty.Exact // work since Since
	Since     int64            // microseconds: the hour before this one, or its first share since
	Balance   int64            // satoshis
	Immature  int64
}

// Accounts are those whose name has a text, in any case, by kind and name: at most limit of
// them from one on; and how many there are.
func (s *Store) Accounts(ctx context.Context, text string, from, limit int) (list []AccountLine, total int, err error) {
	like := "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(strings.ToLower(clean(text))) + "%"
	err = s.db.Read(ctx, func(tx table.Tx) error {
		const where = ` from accounts where lower(name) like $1 escape '\'`
		if err := one(ctx, tx, "select count(*)"+where, []any{like}, &total); err != nil {
			return err
		}
		at := map[int64]int{}
		var ids []int64
		if err := rows(ctx, tx, "select id, kind, folded, name, held_reason, locked"+where+" order by kind, folded limit $2 offset $3", []any{like, int64(limit), int64(from)}, func(scan func(...any) error) error {
			var id, locked int64
			var a AccountLine
			err := scan(&id, &a.Kind, &a.Owner.Name, &a.Name, &a.Hold, &locked)
			a.Locked, at[id] = locked > 0, len(list)
			ids, list = append(ids, id), append(list, a)
			return err
		}); err != nil || len(ids) == 0 {
			return err
		}
		return s.fillAccounts(ctx, tx, ids, at, list)
	})
	return list, total, err
}

func (s *Store) fillAccounts(ctx context.Context, tx table.Tx, ids []int64, at map[int64]int, list []AccountLine) error {
	of, in := []any{s.db.List(ids)}, s.db.In(1)
	var id, n int64
	// The newest day of each worker has its last share; what is pending may be newer.
	const newest = "(select d.last_accepted from worker_days d where d.worker = w.id and d.last_accepted > 0 order by d.day desc limit 1)"
	if err := rows(ctx, tx, "select w.account, count(*), coalesce(max("+newest+"), 0) from workers w where w.account "+in+" group by w.account", of, func(scan func(...any) error) error {
		var last int64
		err := scan(&id, &n, &last)
		list[at[id]].Workers, list[at[id]].LastShare = n, last
		return err
	}); err != nil {
		return err
	}
	if err := rows(ctx, tx, "select w.account, max(p.last_accepted) from pending p join workers w on w.id = p.worker where w.account "+in+" group by w.account", of, func(scan func(...any) error) error {
		err := scan(&id, &n)
		list[at[id]].LastShare = max(list[at[id]].LastShare, n)
		return err
	}); err != nil {
		return err
	}
	if err := rows(ctx, tx, "select e.account, e.book, "+s.db.Sum(table.Column{Name: "e.amount", Merge: table.Add})+" from ledger_entries e where e.account "+in+" group by e.account, e.book", of,
		func(scan func(...any) error) error {
			var b Book
			err := scan(&id, &b, &n)
			if b == Balance {
				list[at[id]].Balance = n
			} else {
				list[at[id]].Immature = n
			}
			return err
		}); err != nil {
		return err
	}
	hour := time.Now().Unix() / 3600
	sums, err := s.sums(ctx, tx, Query{By: ByAccount, From: hour - 1, To: hour + 1, accounts: ids})
	if err != nil {
		return err
	}
	places := make(map[Owner]int, len(list))
	for i := range list {
		places[Owner{list[i].Kind, list[i].Name}] = i
	}
	for i := range sums {
		a := &list[places[Owner{sums[i].Kind, sums[i].Account}]]
		a.Recent, a.Since = sums[i].Accepted.Work, max((hour-1)*3600*1_000_000, sums[i].FirstShare)
	}
	return nil
}

// WorkersOf are the numbers of an account's workers by name, for [Query.Of]: at most limit
// of them from one on; and how many there are.
func (s *Store) WorkersOf(ctx context.Context, of Owner, from, limit int) (numbers []int64, total int, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		const where = " from workers w join accounts a on a.id = w.account where a.kind = $1 and a.folded = $2"
		args := []any{string(of.Kind), fold(of.Kind, of.Name)}
		if err := one(ctx, tx, "select count(*)"+where, args, &total); err != nil {
			return err
		}
		return rows(ctx, tx, "select w.id"+where+" order by w.name limit $3 offset $4", append(args, int64(limit), int64(from)), func(scan func(...any) error) error {
			var id int64
			err := scan(&id)
			numbers = append(numbers, id)
			return err
		})
	})
	return numbers, total, err
}

// Of is a query of workers by their numbers, which [Store.WorkersOf] gave, alone.
func (q Query) Of(workers []int64) Query {
	q.workers = workers
	return q
}
