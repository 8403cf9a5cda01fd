package payout

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
)

// kill runs a command whose sender is killed at a step, which is before or after a call of
// the node or a change of the book, and then repeats it. It was whole if it has no such step.
func (x *place) kill(at int, p Payment, command func(s *Sender, id int64) (Payment, error)) (now Payment, whole bool) {
	x.t.Helper()
	n, dead := 0, false
	step := func(bool) error {
		if n++; n == at {
			dead = true
		}
		if dead {
			return errKilled
		}
		return nil
	}
	s := x.sender("op")
	s.Book = &crashing{x.book, step}
	x.fault = func(string) error { return step(false) }
	x.after = func(string) error { return step(true) }
	_, err := command(s, p.ID)
	whole = !dead
	x.fault, x.after = nil, nil
	if whole && err != nil {
		x.t.Fatalf("nobody was killed: %v", err)
	}
	for range 3 {
		if now, err = command(x.sender("op"), p.ID); err != nil {
			x.t.Fatalf("step %d: repeated: %v", at, err)
		}
	}
	return now, whole
}

// killing kills a command at each of its steps in turn, and says how many there are.
// prepare makes what the command is about, and done judges what repeating it has made.
func (x *place) killing(prepare func() Payment, command func(s *Sender, id int64) (Payment, error), done func(at int, p Payment)) (steps int) {
	x.t.Helper()
	for at := 1; ; at++ {
		p, whole := x.kill(at, prepare(), command)
		done(at, p)
		if whole {
			return at - 1
		}
	}
}

// exported is a payment that left for its signer, and what he made of it.
func (x *place) exported() (Payment, string) {
	x.t.Helper()
	s := x.sender("op")
	p := x.planned(s)
	text, err := s.Export(x.t.Context(), p.ID)
	if err != nil {
		x.t.Fatal(err)
	}
	var signed struct{ PSBT string }
	if err := x.client.Call(x.t.Context(), &signed, "walletprocesspsbt", text); err != nil {
		x.t.Fatal(err)
	}
	if p, err = x.book.Payment(x.t.Context(), p.ID); err != nil {
		x.t.Fatal(err)
	}
	return p, signed.PSBT
}

// paidOnce mines, and fails unless the payees of the payment were debited and paid once.
func (x *place) paidOnce(at, rounds int, p Payment) {
	x.t.Helper()
	if pool := x.mempool(); len(pool) != 1 || !slices.Contains(pool, p.Versions[len(p.Versions)-1].Txid) {
		x.t.Fatalf("step %d: mempool %v, versions %+v", at, pool, p.Versions)
	}
	x.sums(false)
	x.node.Generate(1)
	x.is(x.sender("op").Follow(x.t.Context(), p.ID))(Confirmed)
	x.sums(true)
	if got, want := x.paid(bob), int64(rounds)*30_000_000; got != want {
		x.t.Fatalf("step %d: bob has %d, want %d", at, got, want)
	}
}

// Case 1: killed at each step of an export and of the import of what was signed: one PSBT
// whose inputs are the payment's, one debit, one transaction.
func TestCase1KilledExport(t *testing.T) { each(t, testCase1KilledExport) }

func testCase1KilledExport(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 102)
	texts := map[string]bool{}
	rounds := 0
	var now Payment
	steps := x.killing(func() Payment {
		if rounds > 0 {
			credit(x.book, payees())
		}
		now = x.planned(x.sender("op"))
		return now
	}, func(s *Sender, id int64) (Payment, error) {
		text, err := s.Export(t.Context(), id)
		if err != nil {
			return now, err
		}
		texts[text] = true
		return x.book.Payment(t.Context(), id)
	}, func(at int, p Payment) {
		if len(texts) != 1 || !texts[p.PSBT] || p.State != Exported {
			t.Fatalf("step %d: %d PSBTs, it is %s", at, len(texts), p.State)
		}
		clear(texts)
		var signed struct{ PSBT string }
		if err := x.client.Call(t.Context(), &signed, "walletprocesspsbt", p.PSBT); err != nil {
			t.Fatal(err)
		}
		p = x.is(x.sender("op").Import(t.Context(), p.ID, []byte(signed.PSBT)))(Broadcast)
		rounds++
		x.paidOnce(at, rounds, p)
	})
	if steps < 10 {
		t.Errorf("only %d steps", steps)
	}
}

func TestCase1KilledImport(t *testing.T) { each(t, testCase1KilledImport) }

func testCase1KilledImport(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 102)
	rounds, file := 0, ""
	steps := x.killing(func() (p Payment) {
		if rounds > 0 {
			credit(x.book, payees())
		}
		p, file = x.exported()
		return p
	}, func(s *Sender, id int64) (Payment, error) { return s.Import(t.Context(), id, []byte(file)) }, func(at int, p Payment) {
		rounds++
		if len(p.Versions) != 1 {
			t.Errorf("step %d: %d versions", at, len(p.Versions))
		}
		x.paidOnce(at, rounds, p)
	})
	if steps < 10 {
		t.Errorf("only %d steps", steps)
	}
}

// Case 1: killed at each step of a bump: whatever versions there are by then, one is
// mined, its fee is booked, and payees are debited once.
func TestCase1KilledBump(t *testing.T) { each(t, testCase1KilledBump) }

func testCase1KilledBump(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 102)
	rounds, rate, fees := 0, int64(0), int64(0)
	steps := x.killing(func() Payment {
		if rounds > 0 {
			credit(x.book, payees())
		}
		rate = 10_000
		s := x.sender("op")
		return x.is(s.Send(t.Context(), x.planned(s).ID))(Broadcast)
	}, func(s *Sender, id int64) (Payment, error) {
		rate += 10_000 // each bump has to pay more than the one before
		return s.Bump(t.Context(), id, rate)
	}, func(at int, p Payment) {
		rounds++
		if n := len(p.Versions); n < 4 || n > 5 {
			t.Errorf("step %d: %d versions", at, n)
		}
		x.paidOnce(at, rounds, p)
		fees -= p.Versions[len(p.Versions)-1].Fee
		if got := x.book.Ledger()[Fees]; got != fees {
			t.Errorf("step %d: fees %d, want %d", at, got, fees)
		}
	})
	if steps < 10 {
		t.Errorf("only %d steps", steps)
	}
}

// replaced sends what replaces a payment, which may be there already.
func replaced(ctx context.Context, s *Sender, id int64) (Payment, error) {
	open, err := s.Book.Open(ctx, s.Settings.Deep)
	if err != nil {
		return Payment{}, err
	}
	i := slices.IndexFunc(open, func(p Payment) bool { return p.Replaces == id })
	if i >= 0 {
		if _, err := s.Replace(ctx, id, payees()); err == nil {
			return Payment{}, errors.New("it was replaced twice")
		}
		return s.Send(ctx, open[i].ID)
	}
	r, err := s.Replace(ctx, id, payees())
	if err != nil {
		return r, err
	}
	return s.Send(ctx, r.ID)
}

// replacedOnce fails unless what replaces a payment was sent alone, and is confirmed.
func (x *place) replacedOnce(at, rounds int, first, r Payment, file string) {
	x.t.Helper()
	if !r.spends(first.Inputs[0].Point) {
		x.t.Fatalf("step %d: the replacement spends nothing of what it replaces", at)
	}
	s := x.sender("op")
	if _, err := s.Import(x.t.Context(), first.ID, []byte(file)); err == nil {
		x.t.Fatalf("step %d: both were sent", at)
	}
	x.paidOnce(at, rounds, r)
	if _, err := s.Cancel(x.t.Context(), first.ID); err == nil {
		x.t.Fatalf("step %d: cancelled before it is final", at)
	}
	x.node.Generate(5)
}

// Case 7: killed at each step of replacing an exported payment and sending what replaces
// it: they have an input in common, one is paid, and the first is cancelled then.
func TestCase7KilledReplace(t *testing.T) { each(t, testCase7KilledReplace) }

func testCase7KilledReplace(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 102)
	rounds, file := 0, ""
	var first Payment
	steps := x.killing(func() Payment {
		if rounds > 0 {
			credit(x.book, payees())
		}
		first, file = x.exported()
		return first
	}, func(s *Sender, id int64) (Payment, error) { return replaced(t.Context(), s, id) }, func(at int, r Payment) {
		rounds++
		x.replacedOnce(at, rounds, first, r, file)
		x.is(x.sender("op").Cancel(t.Context(), first.ID))(Cancelled)
	})
	if steps < 20 {
		t.Errorf("only %d steps", steps)
	}
}

// Case 7: killed at each step of cancelling what was replaced. The steps are as many as the
// wallet has spends, so each round has a chain of its own.
func TestCase7KilledCancel(t *testing.T) { each(t, testCase7KilledCancel) }

func testCase7KilledCancel(t *testing.T, empty func(*testing.T) TestBook) {
	for at, whole := 1, false; !whole; at++ {
		good := t.Run(strconv.Itoa(at), func(t *testing.T) {
			x := start(t, empty, 102)
			first, file := x.exported()
			r, err := replaced(t.Context(), x.sender("op"), first.ID)
			if err != nil {
				t.Fatal(err)
			}
			x.replacedOnce(at, 1, first, r, file)
			booked := x.book.Postings()
			p, all := x.kill(at, first, func(s *Sender, id int64) (Payment, error) { return s.Cancel(t.Context(), id) })
			if p.State != Cancelled || x.book.Postings() != booked {
				t.Errorf("it is %s, with %d postings after %d", p.State, x.book.Postings(), booked)
			}
			x.sums(true)
			if whole = all; whole && at < 6 {
				t.Errorf("only %d steps", at-1)
			}
		})
		if !good {
			return
		}
	}
}
