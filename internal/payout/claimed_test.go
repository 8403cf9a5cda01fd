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
	r, err := s.Replace(t.Context(), first.ID, payees())
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

// A payee is held, or paid elsewhere, after a payment was exported: it is replaced without him,
// and he is paid once it is cancelled.
func TestReplacedWithout(t *testing.T) { each(t, testReplacedWithout) }

func testReplacedWithout(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 105)
	s := x.sender("op")
	s.Settings.Final = 1
	p := x.planned(s)
	if _, err := s.Export(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	now := payees()
	now[0].Targets = []Target{{bob.Address(), 1}}
	now[1].Held = "held: who is he"
	was := x.book.Dump()
	if _, err := s.Replace(t.Context(), p.ID, now); err == nil || !strings.Contains(err.Error(), "nobody is to be paid by payment 1 any more (u2: held: who is he): what ends it is another spend of ") || x.book.Dump() != was {
		t.Errorf("%v, or the book changed", err)
	}
	now[0].Targets = payees()[0].Targets[1:]
	now[1].Held, now[1].Balance = "", now[1].Balance-1
	r, err := s.Replace(t.Context(), p.ID, now)
	if err != nil || len(r.Outputs) != 1 || r.Outputs[0].Address != p2tr || r.Outputs[0].Debit != 50_000_000 {
		t.Fatalf("%+v, %v", r.Outputs, err)
	}
	r = x.is(s.Send(t.Context(), r.ID))(Broadcast)
	if b := x.book.Balances(); b[1] != 100_000_000 || b[2] != 30_000_000 {
		t.Errorf("balances %v", b)
	}
	x.node.Generate(1)
	x.is(s.Follow(t.Context(), r.ID))(Confirmed)
	x.is(s.Cancel(t.Context(), p.ID))(Cancelled)
	rest := payees()
	rest[0].Balance = 100_000_000
	plan, err := s.Plan(t.Context(), rest)
	if err != nil || plan.Total() != 130_000_000 {
		t.Errorf("%+v, %v", plan, err)
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
