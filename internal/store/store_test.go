package store

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/difficulty"
)

// Everything of a batch is read back as it was given.
func TestEverything(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		b := batch(in, 1, 6)
		b.Workers = append(b.Workers, Worker{User, "Alice", ""}, Worker{User, "bob\x00\xff", strings.Repeat("é", 200)})
		b.Agents = append(b.Agents, "bad\x00agent")
		b.Shares[4].Worker, b.Shares[5].Worker, b.Shares[5].Agent = 1, 2, 1
		tiny, huge := difficulty.ExactOf(1e-12), difficulty.ExactOf(1e18)
		b.Shares[0].Credit, b.Shares[1].Credit = tiny, huge
		b.Shares[2].Achieved = difficulty.MaxExact
		job := Job{Number: 3, ID: math.MaxUint64 - 5, Height: 840_000, PrevHash: [32]byte{1, 31: 2}, Bits: 0x1d00ffff, Difficulty: difficulty.ExactOf(83_148_355_189_239.77),
			Version: 0x20000000, NTime: uint32(started / 1_000_000), Reward: 312_500_000, Created: started, Record: []byte(`{"version":1}`)}
		b.Jobs = []Job{job}
		b.Shares[0].Job = job.ID
		b.Seen = []Seen{{0, started + 9_000_000}, {0, started + 5}}
		found := Block{Hash: [32]byte{9, 31: 8}, Height: 840_000, Job: job.ID, Worker: 1, Difficulty: job.Difficulty, Reward: 312_500_000, Found: started + 77}
		nobody := Block{Hash: [32]byte{7}, Height: 839_999, Job: 12345, Worker: -1, Difficulty: tiny, Found: started + 5}
		b.Blocks = []Block{found, nobody}
		b.Changes = []BlockChange{{found.Hash, started + 500, "confirmed", 3, "by node 1"}, {found.Hash, started + 100, "confirmed", 1, ""}}
		minute := Minute{At: started + 60_000_000, Users: 2, Workers: 3, Rate1m: tiny, Rate5m: huge, Rate1h: difficulty.ExactOf(0.5)}
		b.Minutes = []Minute{minute}
		b.Gaps = []Gap{{1, 2, 2, started + 3, "damaged"}, {1, 4, 4, started + 4, "lost"}}
		apply(t, s, b)

		list, warnings, err := s.Status(t.Context())
		want := []InstanceStatus{{Instance: in, At: b.To, Time: b.At, Shares: 6, Gaps: b.Gaps}}
		if diff := cmp.Diff(want, list); diff != "" || err != nil || len(warnings) != 0 {
			t.Errorf("%v %q -want +got:\n%s", err, warnings, diff)
		}
		got, err := s.StoredJob(t.Context(), in.ID, job.ID)
		if diff := cmp.Diff(job, got, cmp.Comparer(func(a, b difficulty.Exact) bool { return a == b })); diff != "" || err != nil {
			t.Errorf("%v -want +got:\n%s", err, diff)
		}
		if _, err := s.StoredJob(t.Context(), in.ID, 4); !errors.Is(err, ErrJob) {
			t.Error(err)
		}
		blocks, err := s.Blocks(t.Context(), 0)
		found.Worker = -1
		wantBlocks := []StoredBlock{
			{Block: found, Pool: in.Name, Finder: Worker{User, "Alice", ""}, State: "confirmed", Confirmations: 3, Changed: started + 500, Note: "by node 1"},
			{Block: nobody, Pool: in.Name, State: "pending", Changed: started + 5},
		}
		if diff := cmp.Diff(wantBlocks, blocks, exact); diff != "" || err != nil {
			t.Errorf("%v -want +got:\n%s", err, diff)
		}
		ms, err := s.Minutes(t.Context(), in.ID, started)
		if diff := cmp.Diff([]Minute{minute}, ms, exact); diff != "" || err != nil {
			t.Errorf("%v -want +got:\n%s", err, diff)
		}
		workers, err := s.Sums(t.Context(), Query{By: ByWorker, From: started / 3_600_000_000, To: started/3_600_000_000 + 1})
		if err != nil || len(workers) != 3 {
			t.Fatalf("%+v, %v", workers, err)
		}
		if w := workers[0]; w.Name != "rig" || w.Seen != started+9_000_000 || w.Best != difficulty.MaxExact || w.Accepted.Work.String() != "1000000000000000084.000000000001" {
			t.Errorf("%+v", w)
		}
		if w := workers[1]; w.Worker != (Worker{User, "Alice", ""}) || w.Accepted.Count != 1 {
			t.Errorf("%+v", w)
		}
		if w := workers[2]; w.Account != "bob\uFFFD\uFFFD" || w.Name != strings.Repeat("é", 128) {
			t.Errorf("%+v", w)
		}
		if list, err := s.Sums(t.Context(), Query{By: ByWorker, Account: "Alice"}); err != nil || len(list) != 1 {
			t.Errorf("%+v, %v", list, err)
		}
		if list, err := s.Sums(t.Context(), Query{By: ByWorker, From: started/3_600_000_000 + 1}); err != nil || len(list) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
		shifts, err := s.Shifts(t.Context(), ShiftQuery{Last: 1, Account: "bcrt1qexample"})
		if err != nil || len(shifts) != 1 || shifts[0].Accepted.Count != 1 || shifts[0].FirstJob != job.ID || shifts[0].Reason != "block 840000" || shifts[0].Ended != started+77 {
			t.Errorf("%+v, %v", shifts, err)
		}
		consistent(t, s)
	})
}

var exact = cmp.Comparer(func(a, b difficulty.Exact) bool { return a == b })

// The code of a shift's name is one that the reference gives.
func TestShiftName(t *testing.T) {
	for _, tt := range []struct {
		number, started int64
		want            string
	}{{1, 1_500_000_000_000_000, "8og3j alpha"}, {26, 1_500_000_000_000_000, "8og3j zulu"}, {27, 5, "2 alpha"}} {
		if got := shiftName(tt.number, tt.started); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestHashRate(t *testing.T) {
	if got := HashRate(difficulty.ExactOf(1000), 1000*time.Second); got != 1<<32 {
		t.Errorf("%v", got)
	}
}

// A block found on an older job takes the jobs after it, and their shares, to the next
// shift.
func TestLateBlock(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		s.foldLeast, s.foldMost = 0, 0
		b := batch(in, 1, 205)
		for i := range b.Shares {
			b.Jobs = append(b.Jobs, Job{Number: b.Shares[i].Number, ID: uint64(i + 1), Created: started + int64(i)})
			b.Shares[i].Job = uint64(i + 1)
		}
		apply(t, s, b)
		counts := func() (list []int64) {
			shifts, err := s.Shifts(t.Context(), ShiftQuery{})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range shifts {
				if v.Jobs != v.Accepted.Count {
					t.Errorf("%+v", v)
				}
				list = append(list, v.Jobs)
			}
			return list
		}
		if diff := cmp.Diff([]int64{5, 100, 100}, counts()); diff != "" {
			t.Error(diff)
		}
		late := batch(in, 206, 206)
		late.Shares = nil
		late.Blocks = []Block{{Hash: [32]byte{1}, Job: 150, Worker: -1, Found: started + 999}}
		apply(t, s, late)
		if diff := cmp.Diff([]int64{55, 50, 100}, counts()); diff != "" {
			t.Error(diff)
		}
		consistent(t, s)
	})
}

// A batch of elsewhere has nothing in it that no database takes: SQLite has amounts of work in
// two columns, which have no room for all that there may be in a message.
func TestBatchTooLarge(t *testing.T) {
	large := difficulty.MaxExact.Add(difficulty.ExactOf(1))
	for name, change := range map[string]func(*Batch){
		"block":      func(b *Batch) { b.Blocks = []Block{{Worker: -1, Difficulty: large}} },
		"job":        func(b *Batch) { b.Jobs = []Job{{Difficulty: large}} },
		"statistics": func(b *Batch) { b.Minutes = []Minute{{Rate24h: large}} },
	} {
		b := batch(instance(1), 1, 20)
		if err := b.Check(); err != nil {
			t.Fatal(err)
		}
		if change(b); b.Check() == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// What was changed by hand is told.
func TestCheck(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		b := batch(in, 1, 20)
		b.Jobs = []Job{{Number: 1, ID: 1, NTime: uint32(started / 1_000_000), Created: started}}
		for i := range b.Shares {
			b.Shares[i].Job = 1
		}
		apply(t, s, b)
		consistent(t, s)
		for _, tt := range []struct{ change, back, want string }{
			{"update worker_hours set accepted = 19", "update worker_hours set accepted = 20", "worker_hours: instance 1, hour 495564, worker 1: computed as 20 "},
			{"update worker_days set last_share = last_share + 1", "update worker_days set last_share = last_share - 1", "worker_days: "},
			{"update shift_workers set worker = 5", "update shift_workers set worker = 1", "shift_workers: instance 1, shift 1, worker 5: stored as 20 "},
			{"update shares_20260714 set received = received + 3600000000 where number = 3", "update shares_20260714 set received = received - 3600000000 where number = 3",
				"shares and job_sums: instance 1, job 1, hour 495565, worker 1, agent 1, scheme 0: computed as 1 "},
			{"update shares_20260714 set scheme = 1 where number = 3", "update shares_20260714 set scheme = 0 where number = 3",
				"shares and job_sums: instance 1, job 1, hour 495564, worker 1, agent 1, scheme 1: computed as 1 "},
			{"update shifts set jobs = 2", "update shifts set jobs = 1", "shifts: instance 1, shift 1: "},
		} {
			change(t, s, tt.change)
			list, err := s.Check(t.Context(), nil)
			if err != nil || len(list) == 0 || !strings.Contains(strings.Join(list, "\n"), tt.want) {
				t.Errorf("%s: %q, %v", tt.change, list, err)
			}
			change(t, s, tt.back)
			consistent(t, s)
		}
	})
}

// Pools write at once, the same shares in other orders: each is credited once. Two
// readers of one journal do not both store a batch.
func TestWriters(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		const pools, batches, size = 4, 6, 200
		done := make(chan error)
		for n := range byte(pools) {
			if _, err := s.Register(t.Context(), instance(n+1)); err != nil {
				t.Fatal(err)
			}
			for range 2 { // processes
				go func() {
					other, err := Open(t.Context(), where)
					for i := int64(0); i < batches && err == nil; i++ {
						b := batch(instance(n+1), i*size+1, (i+1)*size)
						for k := range b.Shares {
							// The others' shares, beginning elsewhere, under names of workers in another order.
							v := share((i*size+int64(k)+int64(n)*317)%(batches*size)+1, 42)
							v.Number, v.Worker = b.Shares[k].Number, int32(k%50)
							b.Shares[k] = v
						}
						b.Workers = nil
						for k := range 50 {
							b.Workers = append(b.Workers, Worker{Address, fmt.Sprint("bcrt1q", (k*7+int(n))%50), fmt.Sprint(k % 3)})
						}
						_, err = other.Apply(t.Context(), b)
						if moved := (*CursorError)(nil); errors.As(err, &moved) && !b.To.After(moved.Present) {
							err = nil
						}
					}
					if other != nil {
						err = errors.Join(err, other.Close())
					}
					done <- err
				}()
			}
		}
		for range 2 * pools {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if sum := total(t, s); sum.Accepted.Count != batches*size || sum.Repeated.Count != (pools-1)*batches*size {
			t.Errorf("%d accepted, %d repeated", sum.Accepted.Count, sum.Repeated.Count)
		}
		consistent(t, s)
	})
}
