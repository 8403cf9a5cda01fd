package store

import (
	"fmt"
	"maps"
	"testing"
)

// Totals are sums over all accounts of what was posted, also of what is posted later.
func TestTotals(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		people(t, s, "bob", "eve", "zoe")
		if v, err := s.Totals(t.Context()); err != nil || len(v.Books) != len(Books) || v.Owed != 0 || v.Blocks[InChain] != 0 || len(v.Payments) != 7 {
			t.Fatalf("of nothing: %+v, %v", v, err)
		}
		n := 0
		post := func(kind Posting, list ...Entry) {
			t.Helper()
			n++
			if _, err := s.Post(t.Context(), Transaction{Kind: kind, Reference: fmt.Sprint(n), Entries: list}); err != nil {
				t.Fatal(err)
			}
		}
		post(Maturity, Entry{Balance, user("bob"), 100}, Entry{Balance, user("eve"), 50}, Entry{Immature, user("zoe"), 7}, Entry{Fee, Owner{}, 3}, Entry{Chain, Owner{}, -160})
		check := func(what string, owed, debts, stopped, debited int64, books map[Book]int64) {
			t.Helper()
			v, err := s.Totals(t.Context())
			if err != nil || v.Owed != owed || v.Debts != debts || v.Stopped != stopped || v.Debited != debited {
				t.Errorf("%s: %+v, %v", what, v, err)
			}
			for _, b := range Books {
				books[b] += 0
			}
			if !maps.Equal(v.Books, books) {
				t.Errorf("%s: the books are %v, want %v", what, v.Books, books)
			}
		}
		check("rewards", 150, 0, 0, 0, map[Book]int64{Balance: 150, Immature: 7, Fee: 3, Chain: -160})
		// A debit, one that came back, and one of more than there was.
		post(Payout, Entry{Balance, user("bob"), -60}, Entry{Paying, Owner{}, 60})
		post(Payout, Entry{Balance, user("bob"), -10}, Entry{Paying, Owner{}, 10})
		post(Returned, Entry{Balance, user("bob"), 10}, Entry{Paying, Owner{}, -10})
		post(Orphaned, Entry{Balance, user("eve"), -80}, Entry{Chain, Owner{}, 80})
		check("payouts", 40, -30, 0, 60, map[Book]int64{Balance: 10, Immature: 7, Fee: 3, Paying: 60, Chain: -80})
		post(Confirmed, Entry{Paying, Owner{}, -60}, Entry{Chain, Owner{}, 60})
		if err := s.Hold(t.Context(), "op", user("bob"), "who is he"); err != nil {
			t.Fatal(err)
		}
		if err := s.Lock(t.Context(), "op", User, "eve", "x"); err != nil { // who owes
			t.Fatal(err)
		}
		check("holds", 40, -30, 40, 60, map[Book]int64{Balance: 10, Immature: 7, Fee: 3, Chain: -20})
	})
}
