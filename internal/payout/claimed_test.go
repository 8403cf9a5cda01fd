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

// A signer has sent an exported payment, and an account has less by then than it debits, since
// its block was orphaned, say: what is in the network is booked, and the account owes the rest.
func TestExportedShort(t *testing.T) { each(t, testExportedShort) }

func testExportedShort(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 104)
	s := x.sender("op")
	p := x.planned(s)
	text, err := s.Export(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	x.book.Credit(2, -10_000_000)
	var signed struct{ Hex string }
	if err := x.client.Call(t.Context(), &signed, "walletprocesspsbt", text); err != nil {
		t.Fatal(err)
	}
	was := x.book.Dump()
	if _, err := s.Import(t.Context(), p.ID, []byte(signed.Hex)); err == nil || !strings.Contains(err.Error(), "account 2 has 0.20000000, less than the 0.30000000") {
		t.Errorf("sent though the account is short: %v", err)
	}
	if x.book.Dump() != was {
		t.Error("the book changed")
	}
	if err := x.client.Call(t.Context(), nil, "sendrawtransaction", signed.Hex); err != nil {
		t.Fatal(err)
	}
	if err := s.Guard(t.Context()); err == nil {
		t.Error("it is not strange")
	}
	p = x.is(s.Import(t.Context(), p.ID, []byte(signed.Hex)))(Broadcast)
	if b := x.book.Balances(); b[1] != 0 || b[2] != -10_000_000 {
		t.Errorf("balances %v", b)
	}
	if err := s.Guard(t.Context()); err != nil {
		t.Error(err)
	}
	x.node.Generate(1)
	x.is(s.Follow(t.Context(), p.ID))(Confirmed)
}
