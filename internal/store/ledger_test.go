package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ckpool/ckpool/internal/store/table"
)

// money is a dump of all that is of money.
func money(t testing.TB, s *Store) string {
	t.Helper()
	var b strings.Builder
	for _, name := range []string{"ledger_head", "ledger", "ledger_entries", "settings", "audit", "accounts", "payment_head", "payment_runs", "payments", "payment_outputs", "payment_inputs",
		"payment_versions", "payment_amounts", "payment_strangers"} {
		b.WriteString(dumpTable(t, s, name))
	}
	return b.String()
}

// people makes accounts of users.
func people(t testing.TB, s *Store, names ...string) {
	t.Helper()
	for _, n := range names {
		change(t, s, "insert into accounts (kind, folded, name, created) values ('user', $1, $2, 1)", n, n)
	}
}

func user(name string) Owner { return Owner{User, name} }

// balances are those of all books as a text.
func balances(t testing.TB, s *Store) string {
	t.Helper()
	list, err := s.Balances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	total := int64(0)
	for _, v := range list {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %d", v.Owner.Name, v.Book, v.Amount)))
		total += v.Amount
	}
	if total != 0 {
		t.Errorf("all books have %d satoshis", total)
	}
	return strings.Join(lines, ", ")
}

func reward(reference string, alice, bob, fee int64) Transaction {
	return Transaction{Kind: Reward, Reference: reference, Entries: []Entry{
		{Immature, user("alice"), alice}, {Immature, user("bob"), bob}, {FeeImmature, Owner{}, fee}, {Chain, Owner{}, -alice - bob - fee},
	}}
}

// 46: a transaction is posted once by its kind and reference, whoever posts it at once.
// With the same entries the first answer comes again, with others an error.
func TestCase46(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		people(t, s, "alice", "bob")
		const writers = 50
		var wg sync.WaitGroup
		var mu sync.Mutex
		first := map[int64]int64{} // number by amount
		var others int
		for w := range writers {
			wg.Go(func() {
				r := reward("block", 70+int64(w%2), 30, 5)
				if w%3 == 0 { // the same
					slices.Reverse(r.Entries)
				}
				p, err := s.Post(t.Context(), r)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, ErrPosted):
					others++
				case err != nil:
					t.Error(err)
				default:
					first[int64(w%2)] = p.Number
				}
			})
		}
		wg.Wait()
		if len(first) != 1 || others != writers/2 {
			t.Errorf("%v were posted, %d refused", first, others)
		}
		for w, number := range first {
			if number != 1 {
				t.Errorf("posted as number %d", number)
			}
			want := fmt.Sprintf("chain %d, fee immature 5, alice immature %d, bob immature 30", -105-w, 70+w)
			if got := balances(t, s); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		consistent(t, s)
	})
}

// 48: what is refused leaves all tables as they were.
func TestCase48(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		people(t, s, "alice", "bob")
		if _, err := s.Post(t.Context(), reward("block", 70, 30, 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Set(t.Context(), Setting{Name: SettingFee, Value: "10000", Height: 100, By: "ann"}); err != nil {
			t.Fatal(err)
		}
		before := money(t, s)
		post := func(entries ...Entry) func() error {
			return func() error {
				_, err := s.Post(t.Context(), Transaction{Kind: Reward, Reference: "other", Entries: entries})
				return err
			}
		}
		set := func(v Setting) func() error {
			return func() error {
				_, err := s.Set(t.Context(), v)
				return err
			}
		}
		raw := func(queries ...string) func() error {
			return func() error {
				return s.db.Write(t.Context(), func(tx table.Tx) error {
					for _, q := range queries {
						if _, err := tx.Exec(t.Context(), q); err != nil {
							return err
						}
					}
					return nil
				})
			}
		}
		const entry = "insert into ledger_entries (number, book, account, amount) values "
		const closed = "insert into ledger (number, at, kind, reference, note) values "
		for what, f := range map[string]func() error{
			"not zero":        post(Entry{Fee, Owner{}, 1}, Entry{Chain, Owner{}, -2}),
			"nothing":         post(),
			"unknown":         post(Entry{Balance, user("eve"), 1}, Entry{Chain, Owner{}, -1}),
			"unknown, last":   post(Entry{Chain, Owner{}, -1}, Entry{Fee, Owner{}, 0}, Entry{Balance, user("zoe"), 1}),
			"no owner":        post(Entry{Balance, Owner{}, 1}, Entry{Chain, Owner{}, -1}),
			"pool's with one": post(Entry{Fee, user("bob"), 1}, Entry{Chain, Owner{}, -1}),
			"no book":         post(Entry{"purse", Owner{}, 1}, Entry{Chain, Owner{}, -1}),
			"too much":        post(Entry{Fee, Owner{}, 2_100_000_000_000_001}, Entry{Chain, Owner{}, -2_100_000_000_000_001}),
			"others":          func() error { _, err := s.Post(t.Context(), reward("block", 71, 29, 0)); return err },
			"no such": func() error {
				_, err := s.Correct(t.Context(), "ann", 77, user("alice"), user("bob"), 1, "x")
				return err
			},
			"no amount": func() error {
				_, err := s.Correct(t.Context(), "ann", 1, user("alice"), user("bob"), 0, "x")
				return err
			},
			"to itself": func() error {
				_, err := s.Correct(t.Context(), "ann", 1, user("alice"), user("Alice"), 1, "x")
				return err
			},
			"no reason": func() error {
				_, err := s.Correct(t.Context(), "ann", 1, user("alice"), user("bob"), 1, "")
				return err
			},
			"to a stranger": func() error {
				_, err := s.Correct(t.Context(), "ann", 1, user("alice"), user("eve"), 1, "x")
				return err
			},
			"by nobody": func() error {
				_, err := s.Correct(t.Context(), "", 1, user("alice"), user("bob"), 1, "x")
				return err
			},
			"no setting":    set(Setting{Name: "colour", Value: "1", By: "ann"}),
			"no value":      set(Setting{Name: SettingFee, Value: "1 %", By: "ann"}),
			"too high":      set(Setting{Name: SettingLeast, Value: "1000000001", By: "ann"}),
			"nobody":        set(Setting{Name: SettingFee, Value: "1"}),
			"of a stranger": set(Setting{Name: SettingFee, Owner: user("eve"), Value: "1", By: "ann"}),
			"of one alone":  set(Setting{Name: SettingTimes, Owner: user("bob"), Value: "1", By: "ann"}),
			"half, then ended": func() error {
				return s.db.Write(t.Context(), func(tx table.Tx) error {
					if _, err := s.post(t.Context(), tx, reward("third", 1, 1, 1)); err != nil {
						return err
					}
					return context.Canceled
				})
			},
			// Past the program, the database itself refuses.
			"sum in the database": raw(entry+"(2, 'fee', 0, 1)", closed+"(2, 1, 'x', 'y', '')"),
			"no entries":          raw(closed + "(2, 1, 'x', 'y', '')"),
			"never closed":        raw(entry + "(2, 'fee', 0, 0)"),
			"entry too late":      raw(entry + "(1, 'fee', 0, 0)"),
			"gap":                 raw(entry+"(3, 'fee', 0, 0)", closed+"(3, 1, 'x', 'y', '')"),
			"twice":               raw(entry+"(2, 'fee', 0, 0)", closed+"(2, 1, 'reward', 'block', '')"),
			"nobody's entry":      raw(entry+"(2, 'balance', 99, 0)", closed+"(2, 1, 'x', 'y', '')"),
			"changed":             raw("update ledger_entries set amount = amount + 1"),
			"changed transaction": raw("update ledger set note = 'x'"),
			"deleted":             raw("delete from ledger_entries where book = 'fee immature'"),
			"deleted transaction": raw("delete from ledger"),
			"changed setting":     raw("update settings set value = '0'"),
			"deleted audit":       raw("delete from audit"),
		} {
			if err := f(); err == nil {
				t.Errorf("%s: taken", what)
			} else if len(strings.Split(err.Error(), "\n")) > 1 {
				t.Errorf("%s: %q", what, err)
			}
			if after := money(t, s); after != before {
				t.Fatalf("%s: changed:\n%s\n%s", what, before, after)
			}
		}
		if _, err := s.Post(t.Context(), reward("block", 70, 30, 0)); err != nil || money(t, s) != before {
			t.Errorf("the same again: %v, or changed", err)
		}
		consistent(t, s)
	})
}

// A statement has all of an account, a correction names what it corrects and is made
// once, and check finds what was changed behind the ledger's back.
func TestLedger(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		people(t, s, "alice", "bob")
		for _, p := range []Transaction{
			reward("a", 70, 30, 1),
			{Kind: Maturity, Reference: "a", Entries: []Entry{{Immature, user("alice"), -70}, {Balance, user("alice"), 70}}},
			reward("b", 7, 3, 0),
		} {
			if _, err := s.Post(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if p, err := s.Correct(t.Context(), "ann", 3, user("alice"), user("bob"), 2, "counted twice"); err != nil || p.Number != 4 || p.Reference != "reward of b" {
				t.Errorf("%+v, %v", p, err)
			}
		}
		if _, err := s.Correct(t.Context(), "ann", 3, user("alice"), user("bob"), 1, "again"); !errors.Is(err, ErrPosted) {
			t.Errorf("a second correction: %v", err)
		}
		list, err := s.Statement(t.Context(), user("alice"))
		var got []string
		for _, p := range list {
			for _, e := range p.Entries {
				got = append(got, fmt.Sprintf("%d %s %s %s %d", p.Number, p.Kind, p.Reference, e.Book, e.Amount))
			}
		}
		want := "1 reward a immature 70, 2 maturity a balance 70, 2 maturity a immature -70, 3 reward b immature 7, 4 correction reward of b balance -2"
		if err != nil || strings.Join(got, ", ") != want {
			t.Errorf("%v, %v", got, err)
		}
		if _, err := s.Statement(t.Context(), user("eve")); !errors.Is(err, ErrAccount) {
			t.Errorf("a stranger's statement: %v", err)
		}
		if got := balances(t, s); got != "chain -111, fee immature 1, alice balance 68, alice immature 7, bob balance 2, bob immature 33" {
			t.Error(got)
		}
		// the audit's row is written once per call that changed nothing as well: by whom and what
		rows, err := s.Audit(t.Context(), 0)
		if err != nil || len(rows) != 1 || rows[0].By != "ann" || rows[0].What != "correction" || rows[0].Subject != "reward of b" ||
			rows[0].After != "balance user alice -2, balance user bob +2: counted twice" {
			t.Errorf("%+v, %v", rows, err)
		}
		consistent(t, s)
	})
}

// What holds is what was set last of what has begun by time and height, of the account
// before that of all; each change is in the audit log with what it was before.
func TestSettings(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		people(t, s, "alice", "bob")
		for _, v := range []Setting{
			{Name: SettingFee, Value: "10000", Height: 100, By: "ann"},
			{Name: SettingFee, Value: "20000", Height: 200, By: "ann"},
			{Name: SettingFee, Value: "15000", Height: 150, By: "bea"},
			{Name: SettingFee, Value: "30000", Since: 5000, By: "ann"},
			{Name: SettingFee, Owner: user("alice"), Value: "0", Height: 120, By: "ann"},
			{Name: SettingFee, Value: "20001", Height: 200, By: "cora"}, // in the place of the second
		} {
			if _, err := s.Set(t.Context(), v); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct {
			of         Owner
			at, height int64
			want       string
		}{
			{Owner{}, 0, 99, "0"}, {Owner{}, 0, 100, "10000"}, {Owner{}, 4999, 199, "15000"}, {Owner{}, 0, 200, "20001"},
			{Owner{}, 5000, 0, "30000"}, {Owner{}, 5000, 300, "30000"}, {user("bob"), 0, 150, "15000"},
			{user("alice"), 0, 119, "10000"}, {user("alice"), 6000, 120, "0"},
		} {
			if got, err := s.SettingAt(t.Context(), SettingFee, tt.of, tt.at, tt.height); err != nil || got != tt.want {
				t.Errorf("%+v: %q, %v", tt, got, err)
			}
		}
		for name, want := range map[string]string{SettingScheme: "pplns", SettingTimes: "5", SettingAdd: "0", SettingScripts: ""} {
			if got, err := s.SettingAt(t.Context(), name, Owner{}, 0, 0); err != nil || got != want {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		list, err := s.Audit(t.Context(), 2)
		if err != nil || len(list) != 2 || list[0].By != "cora" || list[0].Before != "30000" || list[0].After != "20001 from time 0, height 200" ||
			list[1].Subject != "fee of user alice" || list[1].Before != "0" {
			t.Errorf("%+v, %v", list, err)
		}
		if list, err := s.Settings(t.Context()); err != nil || len(list) != 6 || list[4].Owner != user("alice") || list[5].By != "cora" {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// A window without any work, by which no block could be divided, is not set.
func TestNoWindow(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		for _, v := range []struct {
			name, value string
			height      int64
			ok          bool
		}{
			{SettingTimes, "0", 0, false}, {SettingTimes, "0.000", 500, false}, {SettingAdd, "0", 0, true}, {SettingAdd, "7", 100, true},
			{SettingTimes, "0", 0, false}, {SettingTimes, "0", 100, true}, {SettingAdd, "0", 200, false}, {SettingTimes, "1", 200, true}, {SettingAdd, "0", 200, true},
		} {
			_, err := s.Set(t.Context(), Setting{Name: v.name, Value: v.value, Height: v.height, By: "ann"})
			if (err == nil) != v.ok || err != nil && !strings.Contains(err.Error(), "no share would count") {
				t.Errorf("%+v: %v", v, err)
			}
		}
		if list, err := s.Audit(t.Context(), 0); err != nil || len(list) != 5 {
			t.Errorf("%v, %v", list, err)
		}
	})
}
