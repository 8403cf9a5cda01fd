package store

import (
	"errors"
	"reflect"
	"testing"
)

// A journal goes on where the database is, unless it has other epochs of the same
// numbers: then where both parted.
func TestPlace(t *testing.T) {
	at := Position{5, 1000, "e"}
	p := progress{at: at, before: []Position{{3, 300, "c"}, {4, 400, "d"}, {1, 100, "a"}, {4, 44, "d2"}}}
	for _, tt := range []struct {
		name   string
		epochs []Epoch
		want   Position
	}{
		{"nothing is known of it", nil, at},
		{"the same", []Epoch{{4, "d"}, {5, "e"}}, at},
		{"it has gone on", []Epoch{{4, "d"}, {5, "e"}, {6, "f"}}, at},
		{"the epoch was deleted", []Epoch{{6, "f"}, {7, "g"}}, at},
		{"its header is damaged", []Epoch{{4, "d"}, {5, ""}}, at},
		{"an older copy, as it is", []Epoch{{1, "a"}, {3, "c"}}, Position{3, 300, "c"}},
		{"with one epoch", []Epoch{{3, "c"}, {4, "d"}, {5, "x"}}, Position{4, 400, "d"}},
		{"with two", []Epoch{{3, "c"}, {4, "x"}, {5, "y"}}, Position{3, 300, "c"}},
		{"with later ones", []Epoch{{3, "c"}, {4, "x"}, {5, "y"}, {6, "z"}}, Position{3, 300, "c"}},
		{"of which one was read before", []Epoch{{3, "c"}, {4, "d2"}, {5, "y"}}, Position{4, 44, "d2"}},
		{"before anything was stored", []Epoch{{2, "x"}, {3, "y"}}, Position{}},
	} {
		if got := p.place(tt.epochs); got != tt.want {
			t.Errorf("%s: it goes on after %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// A batch of records that were replaced changes nothing, although the numbers are right.
func TestOtherLife(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		first := batch(in, 1, 10)
		first.To.Life = "a"
		apply(t, s, first)
		next := batch(in, 11, 20)
		next.From.Life, next.To.Life = "b", "b"
		before := dump(t, s)
		var moved *CursorError
		if _, err := s.Apply(t.Context(), next); !errors.As(err, &moved) || moved.Present != first.To {
			t.Errorf("a batch of another life: %v", err)
		}
		if after := dump(t, s); after != before {
			t.Error("it has changed the database")
		}
		next.From.Life, next.To.Life = "a", "a"
		if r := apply(t, s, next); r.New != 10 {
			t.Errorf("%+v", r)
		}
	})
}

// A newer copy of a journal is put back after an older one: its epochs that were stored are
// not stored again, and it goes on behind them.
func TestNewerCopyPutBack(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		epochs := []Epoch{{1, "a"}, {2, "b"}}
		of := func(epoch int64, after Position, first, last int64) *Batch {
			b := batch(in, first+100*epoch, last+100*epoch)
			for i := range b.Shares {
				b.Shares[i].Number -= 100 * epoch
			}
			b.From, b.To = after, Position{epoch, last, epochs[epoch-1].Life}
			return b
		}
		begin := func(list []Epoch, want Start) {
			t.Helper()
			if start, err := s.Begin(t.Context(), in, list); err != nil || start != want {
				t.Fatalf("begins %+v, %v, want %+v", start, err, want)
			}
		}
		one, two := Position{1, 10, "a"}, Position{2, 20, "b"}
		apply(t, s, of(1, Position{}, 1, 10))
		apply(t, s, of(2, one, 1, 20))
		want := total(t, s)
		begin(epochs[:1], Start{At: one, Replaced: two})
		begin(epochs, Start{At: one})
		for range 2 { // the second is late: the first has moved it
			_, err := s.Apply(t.Context(), of(2, one, 1, 15))
			var moved *CursorError
			if !errors.As(err, &moved) || *moved != (CursorError{one, two}) {
				t.Fatalf("a batch that was stored: %v", err)
			}
		}
		if got := total(t, s); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		begin(epochs, Start{At: two})
		if list, _, err := s.Status(t.Context()); err != nil || len(list) != 1 || len(list[0].Gaps) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
		if r := apply(t, s, of(2, two, 21, 30)); r.New != 10 {
			t.Errorf("%+v", r)
		}
		consistent(t, s)
	})
}
