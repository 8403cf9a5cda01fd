package payout

import (
	"strings"
	"testing"
)

// What the coins have beyond the payees' is too little for an output: the wallet makes it part
// of the network fee, and the payees have that much less to pay. It is the pool's that is spent,
// and nothing is sent where the pool has none of its own.
func TestNoChange(t *testing.T) { each(t, testNoChange) }

func testNoChange(t *testing.T, empty func(*testing.T) TestBook) {
	const coin, left = 5_000_000_000, 100
	x := start(t, empty, 103)
	s := x.sender("op")
	s.Settings.PayeesPay = true
	x.book.Credit(1, coin-left-150_000_000)
	plan, err := s.Plan(t.Context(), []Payee{one(1, coin-left, alice.Address())})
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Begin(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	var was string
	for again := range 2 {
		if _, err := s.Send(t.Context(), list[0].ID); err == nil || !strings.Contains(err.Error(), "payment 1 would cost the pool 0.00000100, and of its own it has 0.00000000: ") {
			t.Errorf("the pool has nothing: %v", err)
		}
		if now := x.book.Dump(); again == 0 { // how far the wallet was compared
			was = now
		} else if now != was || len(x.mempool()) != 0 {
			t.Error("it changed something")
		}
	}
	x.book.Earn(left)
	p := x.is(s.Send(t.Context(), list[0].ID))(Broadcast)
	v := p.Versions[0]
	if v.Amounts[0] != coin-v.Fee {
		t.Errorf("%d is paid with a fee of %d", v.Amounts[0], v.Fee)
	}
	x.node.Generate(1)
	x.is(s.Follow(t.Context(), p.ID))(Confirmed)
	if m := x.book.Ledger(); m[Fees] != -left || m[Paying] != 0 || x.book.Balances()[1] != 0 {
		t.Errorf("ledger %v", m)
	}
}
