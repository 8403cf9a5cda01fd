package payout

import (
	"bytes"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/bitcoind"
)

// A signed payment whose input another transaction spends ends when that is 101 deep and
// not earlier: its payees have their money back, once, whether it was ever sent or was
// confirmed in a chain that is no more.
func TestEndedByChain(t *testing.T) { each(t, testEndedByChain) }

func testEndedByChain(t *testing.T, empty func(*testing.T) TestBook) {
	for _, was := range []State{Signed, Broadcast, Confirmed} {
		t.Run(string(was), func(t *testing.T) {
			t.Parallel()
			x := start(t, empty, 103)
			s := x.sender("op")
			p := x.planned(s)
			if was == Signed {
				x.fault = func(method string) error {
					if method == "sendrawtransaction" {
						return &bitcoind.RPCError{Code: -26, Message: "mempool full", Status: 500}
					}
					return nil
				}
				p = x.is(s.Send(t.Context(), p.ID))(Signed)
				x.fault = nil
			} else {
				p = x.is(s.Send(t.Context(), p.ID))(Broadcast)
			}
			if was == Broadcast { // each of its versions is ruled out
				p = x.is(s.Bump(t.Context(), p.ID, 20_000))(Broadcast)
			}
			fork := x.node.BestBlockHash()
			if was == Confirmed {
				x.node.Generate(1)
				p = x.is(s.Follow(t.Context(), p.ID))(Confirmed)
				if err := x.node.Call(t.Context(), nil, "invalidateblock", x.node.BestBlockHash()); err != nil {
					t.Fatal(err)
				}
			}
			in := p.Inputs[0]
			other, err := x.node.Wallet.Spend(in.Point, in.Value, 10_000)
			if err != nil {
				t.Fatal(err)
			}
			mine(t, x, fork, other)
			waits := func(deep string) {
				t.Helper()
				now, err := s.Follow(t.Context(), p.ID)
				if err != nil || !now.State.left() || !strings.Contains(now.Reason, other.TxHash().String()+", which has "+deep+" of the 101 confirmations") {
					t.Fatalf("%s deep: it is %s (%s), %v", deep, now.State, now.Reason, err)
				}
				dump := x.book.Dump()
				_, err = s.Cancel(t.Context(), p.ID)
				if err == nil || !strings.Contains(err.Error(), "the chain alone decides: its input is spent by "+other.TxHash().String()+", which has "+deep+" of the 101") {
					t.Errorf("cancelled %s deep: %v", deep, err)
				}
				if x.book.Dump() != dump {
					t.Error("the cancel that waits changed the book")
				}
				x.sums(was == Confirmed)
			}
			waits("1")
			x.node.Generate(99)
			waits("100")
			x.node.Generate(1)
			was := x.book.Postings()
			p = x.is(s.Follow(t.Context(), p.ID))(Cancelled)
			if !strings.Contains(p.Reason, other.TxHash().String()) || p.By != "op" {
				t.Errorf("%+v", p)
			}
			if audit := "cancelled, 180000000 satoshis to 3 addresses, transaction " + p.Versions[len(p.Versions)-1].Txid + ": its input is spent by " + other.TxHash().String(); !strings.Contains(x.book.Dump(), audit) {
				t.Errorf("the audit log does not say %q", audit)
			}
			for range 2 {
				if b := x.book.Balances(); b[1] != 150_000_000 || b[2] != 30_000_000 {
					t.Errorf("balances %v", b)
				}
				if m := x.book.Ledger(); m[Paying] != 0 || m[Fees] != 0 || m[Chain] != -180_000_000 {
					t.Errorf("ledger %v", m)
				}
				if got := x.book.Postings(); got != was+1 {
					t.Errorf("%d postings, %d before", got, was)
				}
				x.is(s.Follow(t.Context(), p.ID))(Cancelled)
				x.is(s.Cancel(t.Context(), p.ID))(Cancelled)
				if _, err := s.Send(t.Context(), p.ID); err == nil || !strings.Contains(err.Error(), "plan again") {
					t.Errorf("sent: %v", err)
				}
			}
			// They are paid, once the spend is booked.
			x.book.Known(other.TxHash().String())
			p = x.is(s.Send(t.Context(), x.planned(s).ID))(Broadcast)
			x.node.Generate(1)
			x.is(s.Follow(t.Context(), p.ID))(Confirmed)
			if got := x.paid(bob); got != 30_000_000 {
				t.Errorf("bob has %d", got)
			}
		})
	}
}

// A payment spends the change of another one, whose bump is confirmed in its place when the
// chain has gone back: what it spends never will be there, and it ends as if that was spent.
func TestEndedBelow(t *testing.T) { each(t, testEndedBelow) }

func testEndedBelow(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 101) // one coin is mature
	s := x.sender("op")
	first := x.is(s.Send(t.Context(), x.planned(s).ID))(Broadcast)
	first = x.is(s.Bump(t.Context(), first.ID, 20_000))(Broadcast)
	version := func(n int) *wire.MsgTx {
		tx := new(wire.MsgTx)
		if err := tx.Deserialize(bytes.NewReader(first.Versions[n].Raw)); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	fork := x.node.BestBlockHash()
	mine(t, x, fork, version(0))
	x.is(s.Follow(t.Context(), first.ID))(Confirmed)
	const all = 90_0000_0000 // of two coins
	x.book.Credit(2, all)
	list, err := s.Begin(t.Context(), &Plan{Payments: [][]Output{{{Account: 2, Name: "u2", Address: bob.Address(), Script: bob.Script(), Debit: all, Amount: all}}}})
	if err != nil {
		t.Fatal(err)
	}
	p := x.is(s.Send(t.Context(), list[0].ID))(Broadcast)
	if len(p.Inputs) != 2 || p.Inputs[1].Point.Hash.String() != first.Versions[0].Txid {
		t.Fatalf("it spends %+v", p.Inputs)
	}
	if _, err := x.node.Branch(t.Context(), fork, 2); err != nil {
		t.Fatal(err)
	}
	mine(t, x, x.node.BestBlockHash(), version(1))
	first = x.is(s.Follow(t.Context(), first.ID))(Confirmed)
	if first.Block.Txid != first.Versions[1].Txid {
		t.Fatalf("%+v", first.Block)
	}
	x.node.Generate(99)
	want := "its input is of " + first.Versions[0].Txid + ", ruled out by " + first.Versions[1].Txid + ", which has 100 of the 101 confirmations"
	if p, err = s.Follow(t.Context(), p.ID); err != nil || !p.State.left() || !strings.Contains(p.Reason, want) {
		t.Fatalf("%s (%s), %v", p.State, p.Reason, err)
	}
	x.node.Generate(1)
	p = x.is(s.Follow(t.Context(), p.ID))(Cancelled)
	if b := x.book.Balances(); b[2] != all || x.book.Ledger()[Paying] != 0 {
		t.Errorf("balances %v, ledger %v", b, x.book.Ledger())
	}
	again, err := s.Begin(t.Context(), &Plan{Payments: [][]Output{p.Outputs}})
	if err != nil {
		t.Fatal(err)
	}
	x.is(s.Send(t.Context(), again[0].ID))(Broadcast)
}

// What a payment that ended would have spent besides, and was locked for, the wallet spends
// again; if who ended it was interrupted, once it is cancelled again.
func TestEndedUnlocks(t *testing.T) { each(t, testEndedUnlocks) }

func testEndedUnlocks(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 108)
	const more = 60_0000_0000 // than one coin
	x.book.Credit(2, more)
	s := x.sender("op")
	list, err := s.Begin(t.Context(), &Plan{Payments: [][]Output{{{Account: 2, Name: "u2", Address: bob.Address(), Script: bob.Script(), Debit: more, Amount: more}}}})
	if err != nil {
		t.Fatal(err)
	}
	x.fault = func(method string) error {
		if method == "sendrawtransaction" {
			return &bitcoind.RPCError{Code: -26, Message: "mempool full", Status: 500}
		}
		return nil
	}
	p := x.is(s.Send(t.Context(), list[0].ID))(Signed)
	if x.fault = nil; len(p.Inputs) != 2 {
		t.Fatalf("%d inputs", len(p.Inputs))
	}
	if _, err := s.Export(t.Context(), x.planned(s).ID); err != nil { // meanwhile others hold what is theirs
		t.Fatal(err)
	}
	other, err := x.node.Wallet.Spend(p.Inputs[0].Point, p.Inputs[0].Value, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	mine(t, x, x.node.BestBlockHash(), other)
	x.node.Generate(100)
	locked := func(at wire.OutPoint) bool {
		t.Helper()
		err := x.Call(t.Context(), nil, "lockunspent", true, []any{map[string]any{"txid": at.Hash.String(), "vout": at.Index}})
		if err != nil && code(err) != codeParameter {
			t.Fatal(err)
		}
		if err == nil {
			err = s.Wallet.Lock(t.Context(), []wire.OutPoint{at}, true)
		}
		return err == nil
	}
	if !locked(p.Inputs[1].Point) {
		t.Fatal("it was never locked")
	}
	x.fault = func(method string) error {
		if method == "lockunspent" {
			return errKilled
		}
		return nil
	}
	if _, err := s.Follow(t.Context(), p.ID); err == nil {
		t.Error("nobody was interrupted")
	}
	x.fault = nil
	x.is(s.Cancel(t.Context(), p.ID))(Cancelled)
	if locked(p.Inputs[1].Point) {
		t.Error("it stays locked")
	}
	held, err := x.book.Payment(t.Context(), p.ID+1)
	if err != nil || held.State != Exported || !locked(held.Inputs[0].Point) {
		t.Errorf("%+v, %v", held, err)
	}
}

// What a payment that ended had in common with the one that replaces it, which is with its signer,
// stays locked.
func TestEndedKeepsShared(t *testing.T) { each(t, testEndedKeepsShared) }

func testEndedKeepsShared(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 108)
	rich := x.rich(60_0000_0000) // more than one coin
	s := x.sender("op")
	export := func(id int64) Payment {
		t.Helper()
		if _, err := s.Export(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		return x.is(x.book.Payment(t.Context(), id))(Exported)
	}
	first := export(x.plannedFor(s, rich).ID)
	next, err := s.Replace(t.Context(), first.ID, rich)
	if err != nil {
		t.Fatal(err)
	}
	next = export(next.ID)
	var shared, own []Input
	for _, in := range first.Inputs {
		if next.spends(in.Point) {
			shared = append(shared, in)
		} else {
			own = append(own, in)
		}
	}
	if len(shared) == 0 || len(own) == 0 {
		t.Fatalf("inputs %+v and %+v", first.Inputs, next.Inputs)
	}
	other, err := x.node.Wallet.Spend(own[0].Point, own[0].Value, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	mine(t, x, x.node.BestBlockHash(), other)
	x.node.Generate(int(s.Settings.Final))
	x.is(s.Cancel(t.Context(), first.ID))(Cancelled)
	at := shared[0].Point
	if err := x.Call(t.Context(), nil, "lockunspent", true, []any{map[string]any{"txid": at.Hash.String(), "vout": at.Index}}); err != nil {
		t.Errorf("what the next one spends is not locked: %v", err)
	}
}

// The chain goes back before that: the payment is not ended, and is confirmed.
func TestEndedNotYet(t *testing.T) { each(t, testEndedNotYet) }

func testEndedNotYet(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 103)
	s := x.sender("op")
	p := x.is(s.Send(t.Context(), x.planned(s).ID))(Broadcast)
	in := p.Inputs[0]
	other, err := x.node.Wallet.Spend(in.Point, in.Value, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	fork := x.node.BestBlockHash()
	mine(t, x, fork, other)
	x.node.Generate(99)
	if now, err := s.Follow(t.Context(), p.ID); err != nil || now.State == Cancelled {
		t.Fatalf("%+v, %v", now, err)
	}
	if _, err := x.node.Branch(t.Context(), fork, 101); err != nil {
		t.Fatal(err)
	}
	if now, err := s.Follow(t.Context(), p.ID); err != nil || now.State == Cancelled {
		t.Fatalf("%+v, %v", now, err)
	}
	x.sums(false)
	tx := new(wire.MsgTx)
	if err := tx.Deserialize(bytes.NewReader(p.Versions[0].Raw)); err != nil {
		t.Fatal(err)
	}
	mine(t, x, x.node.BestBlockHash(), tx)
	x.is(s.Follow(t.Context(), p.ID))(Confirmed)
	x.sums(true)
}
