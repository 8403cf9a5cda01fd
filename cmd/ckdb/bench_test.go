package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store"
)

// manyAccounts is a database with so many of them, a worker each but for the first, which
// has as many as it may; all with a share and, but for two, a balance.
func manyAccounts(b *testing.B, n int) *store.Store {
	b.Helper()
	s, err := store.Open(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	in := store.Instance{ID: [16]byte{1}, Name: "pool", Network: "regtest"}
	if _, err := s.Register(b.Context(), in); err != nil {
		b.Fatal(err)
	}
	const size = 10_000
	at, began := store.Position{}, time.Now().Add(-time.Minute).UnixMicro()
	for first := 0; first < n+store.WorkersPerAccount-1; first += size {
		v := &store.Batch{Instance: in.ID, From: at, At: began, Agents: []string{"miner/1"}}
		if first == 0 {
			v.Jobs = []store.Job{{Number: 1, ID: 1, Height: 100, NTime: uint32(began / 1_000_000), Created: began}}
		}
		for i := range size {
			w := store.Worker{Kind: store.User, Account: fmt.Sprintf("user%06d", first+i-store.WorkersPerAccount)}
			if first+i < store.WorkersPerAccount {
				w.Account, w.Name = "many", fmt.Sprintf("rig%d", i)
			}
			v.Workers = append(v.Workers, w)
			one := store.Share{Number: at.Number + int64(i) + 1, Received: began, NTime: uint32(began / 1_000_000), Worker: int32(i), Job: 1, Credit: difficulty.ExactOf(42), Achieved: difficulty.ExactOf(43)}
			copy(one.Hash[:], fmt.Sprintf("%016d", first+i))
			v.Shares = append(v.Shares, one)
		}
		at = store.Position{Epoch: 1, Number: at.Number + size}
		v.To = at
		if _, err := s.Apply(b.Context(), v); err != nil {
			b.Fatal(err)
		}
	}
	reward := store.Transaction{Kind: store.Maturity, Reference: strings.Repeat("0", 64)}
	for i := range n - 1 {
		reward.Entries = append(reward.Entries, store.Entry{Book: store.Balance, Owner: store.Owner{Kind: store.User, Name: fmt.Sprintf("user%06d", i)}, Amount: int64(i + 1)})
	}
	reward.Entries = append(reward.Entries, store.Entry{Book: store.Chain, Amount: -int64(n-1) * int64(n) / 2})
	if _, err := s.Post(b.Context(), reward); err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkUsers is what pages cost where there are 100,000 accounts, one of which has 10,000
// workers: the first part of all accounts, a late one, those whose name has a text, parts of
// workers, and the figures of metrics.
func BenchmarkUsers(b *testing.B) {
	const n, part = 100_000, 100
	s := manyAccounts(b, n)
	list := book{Store: s, payments: s.Payments()}
	run := func(name string, want int, of func() (int, error)) {
		b.Run(name, func(b *testing.B) {
			begun := processed()
			for b.Loop() {
				if got, err := of(); err != nil || got != want {
					b.Fatalf("%d, want %d: %v", got, want, err)
				}
			}
			b.ReportMetric(float64((processed()-begun).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
	users := func(search string, from, want int) func() (int, error) {
		return func() (int, error) {
			list, total, err := list.Users(b.Context(), search, from, part)
			if total != want {
				return total, err
			}
			return len(list), err
		}
	}
	workers := func(of string, from, want int) func() (int, error) {
		return func() (int, error) {
			list, total, err := list.Workers(b.Context(), of, from, part)
			if total != want {
				return total, err
			}
			return len(list), err
		}
	}
	run("users", part, users("", 0, n+1))
	run("users behind", part, users("", 90_000, n+1))
	run("users found", 10, users("R00012", 0, 10))
	run("workers", part, workers("many", 0, store.WorkersPerAccount))
	run("workers behind", part, workers("many", 9_900, store.WorkersPerAccount))
	run("few workers", 1, workers("user000007", 0, 1))
	run("totals", (n-1)*n/2, func() (int, error) {
		v, err := s.Totals(b.Context())
		return int(v.Owed), err
	})
}

// processed is the time that this process has had a processor for, which tells more than a
// clock on a machine that is busy with other things.
func processed() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // never fails
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
