package store

import (
	"context"
	"maps"

	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/store/table"
)

// Totals is what there is of all accounts together, for who watches a pool. Amounts are
// satoshis.
type Totals struct {
	Books   map[Book]int64 // of users, all of them together
	Owed    int64          // balances that are not negative
	Debts   int64          // balances that are, as a negative amount
	Stopped int64          // of Owed, of accounts that are held or locked
	Debited int64          // by all payouts that did not come back

	Blocks   map[Fate]int64         // how many there are
	Waiting  int64                  // of these, how many are in the chain or may come to be, without a reward
	Payments map[payout.State]int64 // how many there are
	Gaps     int64
	Alarms   int64 // that nobody has ended
}

// ledgerTotals is what of Totals is the ledger's, up to a number.
type ledgerTotals struct {
	last                 int64
	books                map[Book]int64
	owed, debts, debited int64
}

// Totals are those of now. The ledger is added up anew only when it has grown.
func (s *Store) Totals(ctx context.Context) (v Totals, err error) {
	s.totalsMu.Lock()
	defer s.totalsMu.Unlock()
	v = Totals{Blocks: map[Fate]int64{New: 0, InChain: 0, Mature: 0, IsOrphan: 0}, Payments: map[payout.State]int64{}}
	for _, state := range payout.States {
		v.Payments[state] = 0
	}
	err = s.db.Read(ctx, func(tx table.Tx) error {
		var last int64
		if err := one(ctx, tx, "select last from ledger_head", nil, &last); err != nil {
			return err
		}
		if s.totals.books == nil || s.totals.last != last {
			t, err := s.addLedger(ctx, tx)
			if err != nil {
				return err
			}
			t.last, s.totals = last, t
		}
		sum := "coalesce(" + s.db.Sum(table.Column{Name: "e.amount", Merge: table.Add}) + ", 0)"
		if err := rows(ctx, tx, "select "+sum+" from accounts a join ledger_entries e on e.account = a.id and e.book = 'balance' where a.held > 0 or a.locked > 0 group by a.id", nil,
			func(scan func(...any) error) error {
				var amount int64
				err := scan(&amount)
				v.Stopped += max(amount, 0)
				return err
			}); err != nil {
			return err
		}
		if err := counts(ctx, tx, "select state, count(*) from chain_blocks group by state", v.Blocks); err != nil {
			return err
		}
		if err := counts(ctx, tx, "select state, count(*) from payments group by state", v.Payments); err != nil {
			return err
		}
		return one(ctx, tx, `select (select count(*) from chain_blocks where rewarded = 0 and state <> 'orphaned'), (select count(*) from gaps),
			(select count(*) from alarms where ended = 0)`, nil, &v.Waiting, &v.Gaps, &v.Alarms)
	})
	v.Books, v.Owed, v.Debts, v.Debited = maps.Clone(s.totals.books), s.totals.owed, s.totals.debts, s.totals.debited
	return v, err
}

// counts reads rows of a name and how often it is there.
func counts[K ~string](ctx context.Context, tx table.Tx, query string, to map[K]int64) error {
	return rows(ctx, tx, query, nil, func(scan func(...any) error) error {
		var name K
		var n int64
		err := scan(&name, &n)
		to[name] = n
		return err
	})
}

// addLedger adds up all of it.
func (s *Store) addLedger(ctx context.Context, tx table.Tx) (t ledgerTotals, err error) {
	t.books = map[Book]int64{}
	for _, b := range Books {
		t.books[b] = 0
	}
	sum := s.db.Sum(table.Column{Name: "e.amount", Merge: table.Add})
	if err := rows(ctx, tx, "select e.book, "+sum+" from ledger_entries e group by e.book, e.account", nil, func(scan func(...any) error) error {
		var b Book
		var amount int64
		err := scan(&b, &amount)
		if t.books[b] += amount; b == Balance {
			t.owed, t.debts = t.owed+max(amount, 0), t.debts+min(amount, 0)
		}
		return err
	}); err != nil {
		return t, err
	}
	var debited int64
	err = one(ctx, tx, "select coalesce("+sum+", 0) from ledger t join ledger_entries e on e.number = t.number where t.kind in ('payout', 'returned') and e.book = 'balance'", nil, &debited)
	t.debited = -debited
	return t, err
}
