package payout

import (
	"strings"
	"testing"
)

// What an exported payment would pay is not paid by another one, which was planned as well
// before that: its signer may send it at any time.
func TestExportedTwice(t *testing.T) { each(t, testExportedTwice) }

func testExportedTwice(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 106)
	s := x.sender("op")
	plan, err := s.Plan(t.Context(), payees())
	if err != nil {
		t.Fatal(err)
	}
	var list []Payment
	for range 3 { // as by people who look at it at the same time
		begun, err := s.Begin(t.Context(), plan)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, begun...)
	}
	first, second, third := list[0], list[1], list[2]
	text, err := s.Export(t.Context(), first.ID)
	if err != nil {
		t.Fatal(err)
	}
	was := x.book.Dump()
	const why = "is in payment 1, which is exported; nothing was debited: cancel it and plan again"
	if _, err := s.Export(t.Context(), second.ID); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("exported twice: %v", err)
	}
	if _, err := s.Send(t.Context(), third.ID); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("exported and sent: %v", err)
	}
	if x.book.Dump() != was {
		t.Error("the book changed")
	}

	// A replacement is for the same money, and what is owed besides is paid.
	r, err := s.Replace(t.Context(), first.ID)
	if err != nil {
		t.Fatal(err)
	}
	credit(x.book, payees())
	x.is(s.Send(t.Context(), third.ID))(Broadcast)
	x.is(s.Send(t.Context(), r.ID))(Broadcast)
	if b := x.book.Balances(); b[1] != 0 || b[2] != 0 {
		t.Errorf("balances %v", b)
	}
	var signed struct{ Hex string }
	if err := x.client.Call(t.Context(), &signed, "walletprocesspsbt", text); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), first.ID, []byte(signed.Hex)); err == nil {
		t.Error("the first was sent as well")
	}
}
