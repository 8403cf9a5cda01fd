package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// What is said of accounts is what is found, however their names are written, and is
// fed to pools in order: of what was said twice the last alone.
func TestAccounts(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		ctx := t.Context()
		name, number, err := s.Newest(ctx)
		if err != nil || number != 0 || len(name) != 32 {
			t.Fatalf("%q %d %v", name, number, err)
		}
		if a, err := s.Account(ctx, Worker{User, "nobody", "x"}); err != nil || a.Registered || a.Locked || a.Minimum != 0 {
			t.Errorf("%+v, %v", a, err)
		}
		const address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
		for _, err := range []error{
			s.SetPassword(ctx, "ann", User, "alice", "hash1"),
			s.SetPassword(ctx, "ann", User, "alice", "hash2"),
			s.Lock(ctx, "ann", User, "alice", "unpaid"),
			s.SetMinimum(ctx, "ann", Worker{User, "alice", "rig1"}, 4096),
			s.SetMinimum(ctx, "ann", Worker{User, "alice", "rig2"}, 0.001),
			s.SetMinimum(ctx, "ann", Worker{User, "alice", "rig2"}, 0),
			s.Lock(ctx, "ann", Address, strings.ToUpper(address), "stolen"),
			s.Unlock(ctx, "ann", Address, address),
			s.Message(ctx, "ann", User, "alice", "hello"),
			s.Message(ctx, "ann", User, "bob", "who are you"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for w, want := range map[Worker]Account{
			{User, "alice", "rig1"}: {Exists: true, Registered: true, Password: "hash2", Locked: true, Reason: "unpaid", Minimum: 4096},
			{User, "alice", "rig2"}: {Exists: true, Registered: true, Password: "hash2", Locked: true, Reason: "unpaid"},
			{User, "alice", "new"}:  {Exists: true, Registered: true, Password: "hash2", Locked: true, Reason: "unpaid"},
			{Address, address, ""}:  {Exists: true}, // a lock registers nobody
			{User, "bob", ""}:       {Exists: true}, // nor does a message
		} {
			want.Worker = w
			if a, err := s.Account(ctx, w); err != nil || a != want {
				t.Errorf("%+v, want %+v (%v)", a, want, err)
			}
		}
		// The pool has them as others: what is said of one is not of them.
		for _, name := range []string{"Alice", "ALICE", " alice"} {
			if a, err := s.Account(ctx, Worker{User, name, "rig1"}); err != nil || a != (Account{Worker: Worker{User, name, "rig1"}}) {
				t.Errorf("%+v, %v", a, err)
			}
		}
		if err := s.Add(ctx, "ann", User, "alice"); !errors.Is(err, ErrRegistered) {
			t.Errorf("registered twice: %v", err)
		}
		var similar *SimilarError
		for _, name := range []string{"Alice", " ALICE "} {
			if err := s.Add(ctx, "ann", User, name); !errors.As(err, &similar) || similar.Name != "alice" {
				t.Errorf("%q beside alice: %v", name, err)
			}
		}
		list, err := s.Changes(ctx, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, c := range list {
			if i > 0 && c.Number <= list[i-1].Number {
				t.Errorf("%d after %d", c.Number, list[i-1].Number)
			}
			got = append(got, fmt.Sprintf("%s %s %s %s %g", c.Kind, strings.ToLower(c.Account), c.Worker, c.Reason, c.Minimum))
		}
		want := "password alice   0, lock alice  unpaid 0, minimum alice rig1  4096, minimum alice rig2  0, unlock " + address + "   0, message alice  hello 0, message bob  who are you 0"
		if strings.Join(got, ", ") != want {
			t.Errorf("%s\nwant %s", strings.Join(got, ", "), want)
		}
		if _, number, err = s.Newest(ctx); err != nil || number != list[len(list)-1].Number {
			t.Errorf("newest is %d, %v", number, err)
		}
		if rest, err := s.Changes(ctx, list[2].Number, 2); err != nil || len(rest) != 2 || rest[0] != list[3] {
			t.Errorf("%+v, %v", rest, err)
		}
	})
}

// No change is passed over by who reads behind the last number he saw, whoever makes
// them at the same time.
func TestChangesInOrder(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		const writers, each = 8, 20
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					if err := s.Message(t.Context(), "ann", User, "alice", fmt.Sprintf("%d %d", w, i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		seen := map[string]bool{}
		for last := uint64(0); len(seen) < writers*each && !t.Failed(); {
			list, err := s.Changes(t.Context(), last, 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				seen[c.Reason], last = true, c.Number
			}
			if _, newest, _ := s.Newest(t.Context()); newest == writers*each && last == newest && len(seen) < writers*each {
				t.Fatalf("%d of %d were seen", len(seen), writers*each)
			}
		}
		wg.Wait()
	})
}

// Users whose names differ in case alone are two accounts, as they are two users of
// the pool; an address in any case is one.
func TestCaseOfNames(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		const address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
		b := batch(in, 1, 6)
		b.Workers = []Worker{{User, "alice", "rig"}, {User, "Alice", "rig"}, {User, " alice", "rig"}, {Address, address, "rig"}, {Address, strings.ToUpper(address), "rig"}, {Address, address, "RIG"}}
		for i := range b.Shares {
			b.Shares[i].Worker = int32(i)
		}
		apply(t, s, b)
		for name, want := range map[string]int64{"alice": 1, "Alice": 1, " alice": 1, "ALICE": 0, address: 3, strings.ToUpper(address): 3} {
			list, err := s.Sums(t.Context(), Query{By: ByAccount, Account: name})
			if err != nil {
				t.Fatal(err)
			}
			got := int64(0)
			for _, r := range list {
				got += r.Accepted.Count
			}
			if got != want {
				t.Errorf("%q has %d shares, want %d", name, got, want)
			}
		}
	})
}

// Who is private is in the feed for pools, of each account the last that was said, and in
// the audit log.
func TestPrivacy(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		people(t, s, "bob")
		_, before, err := s.Newest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, private := range []bool{true, false, true} {
			if err := s.SetPrivate(t.Context(), "ann", User, "bob", private); err != nil {
				t.Fatal(err)
			}
			a, err := s.Account(t.Context(), Worker{Kind: User, Account: "bob"})
			if err != nil || a.Private != private {
				t.Errorf("%+v, %v", a, err)
			}
		}
		list, err := s.Changes(t.Context(), before, 10)
		if err != nil || len(list) != 1 || list[0] != (Change{Number: before + 3, Kind: NewPrivacy, Account: "bob", Private: true}) {
			t.Errorf("%+v, %v", list, err)
		}
		rows, err := s.Audit(t.Context(), 1)
		if err != nil || rows[0].By != "ann" || rows[0].What != "privacy" || rows[0].Subject != "user bob" || rows[0].Before != "public" || rows[0].After != "private" {
			t.Errorf("%+v, %v", rows, err)
		}
	})
}

// A name that is only logged in with leaves nothing behind, however many a stranger has of
// them; who has sent a share is seen when it comes back.
func TestSilentNames(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		login := func(number int64, account, rig string) {
			apply(t, s, &Batch{Instance: in.ID, From: Position{Epoch: 1, Number: number - 1}, To: Position{Epoch: 1, Number: number}, At: started + number,
				Workers: []Worker{{User, account, rig}}, Agents: []string{"x"}, Seen: []Seen{{0, started + number*1_000_000}}})
		}
		apply(t, s, batch(in, 1, 1))
		before := dumpTable(t, s, "accounts") + dumpTable(t, s, "workers") + dumpTable(t, s, "seen")
		login(2, "stranger", "a")
		login(3, "stranger", "b")
		login(4, "bcrt1qexample", "other rig of somebody who is known")
		if after := dumpTable(t, s, "accounts") + dumpTable(t, s, "workers") + dumpTable(t, s, "seen"); after != before {
			t.Errorf("%s became %s", before, after)
		}
		b := batch(in, 5, 5)
		b.Workers = []Worker{{User, "stranger", "b"}}
		apply(t, s, b)
		login(6, "stranger", "b")
		list, err := s.Sums(t.Context(), Query{By: ByWorker, Account: "stranger"})
		if err != nil || len(list) != 1 || list[0].Name != "b" || list[0].Seen != started+6_000_000 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}
