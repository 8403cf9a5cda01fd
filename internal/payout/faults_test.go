package payout

import (
	"context"
	"slices"
	"testing"
)

// backwards stores inputs in another order, as wallets put them in any.
type backwards struct{ Book }

func (b *backwards) Change(ctx context.Context, id, serial int64, c Change) (Payment, error) {
	c.Inputs = slices.Clone(c.Inputs)
	slices.Reverse(c.Inputs)
	return b.Book.Change(ctx, id, serial, c)
}

// Case 7: what replaces a replacement that was exported spends an input of each: all of
// them have left, and one can be confirmed.
func TestCase7ReplacedTwice(t *testing.T) { each(t, testCase7ReplacedTwice) }

func testCase7ReplacedTwice(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 108)
	rich := payees()
	rich[0].Balance = 60_0000_0000 // more than one coin
	x.book.Credit(1, rich[0].Balance-payees()[0].Balance)
	s := x.sender("op")
	s.Book = &backwards{x.book}
	plan, err := s.Plan(t.Context(), rich)
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Begin(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	out := list[:1]
	for i := range 2 {
		if _, err := s.Export(t.Context(), out[i].ID); err != nil {
			t.Fatal(err)
		}
		if out[i], err = x.book.Payment(t.Context(), out[i].ID); err != nil || len(out[i].Inputs) < 2 {
			t.Fatalf("%+v, %v", out[i], err)
		}
		next, err := s.Replace(t.Context(), out[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, next)
	}
	last := x.is(s.Send(t.Context(), out[2].ID))(Broadcast)
	for _, p := range out[:2] {
		if !slices.ContainsFunc(p.Inputs, func(in Input) bool { return last.spends(in.Point) }) {
			t.Errorf("payment %d and payment %d, which ends it, have no input in common: both can be confirmed", p.ID, last.ID)
		}
	}
	x.sums(false)
}
