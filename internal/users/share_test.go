package users

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/session"

	"pgregory.net/rapid"
)

func at(d time.Duration) time.Time { return start.Add(d) }

func TestShareCounts(t *testing.T) {
	s := newHarness(t, nil).Users
	rig1, rig2 := grant(t, s, "bob.rig1").Worker, grant(t, s, "bob.rig2").Worker
	s.SetNetworkDifficulty(1000)
	below := accepted(rig2, at(3*time.Second), 0, 300) // a block below its job's difficulty
	below.Difficulty = 900
	three := rejected(rig2, at(4*time.Second), 8, session.Duplicate)
	three.Also = 2
	for _, sh := range []*session.Share{
		accepted(rig1, at(1*time.Second), 42, 50),
		accepted(rig1, at(2*time.Second), 42, 43),
		accepted(rig2, at(3*time.Second), 0.5, 700),
		below,
		rejected(rig2, at(4*time.Second), 42, session.Stale),
		three,
		rejected(rig2, at(4*time.Second), 42, session.Malformed), // malformed: no count
		rejected(0, at(4*time.Second), 42, session.Unauthorized), // nobody's
		accepted(99, at(4*time.Second), 42, 50),
	} {
		s.take(sh)
	}
	st := s.Status(at(5*time.Second), Sessions{Idle: 3, Disconnected: 4})
	if st.Accepted != 84.5 || st.AcceptedCount != 4 || st.Rejected != 42+3*8 || st.RejectedCount != 4 || st.BestShare != 700 {
		t.Errorf("pool: %+v", st)
	}
	if s.cfg.Proxy = true; s.Status(start.Add(5*time.Second), Sessions{}).Effort != 0 {
		t.Error("a proxy has an effort")
	}
	if st.Effort != 8.45 || st.Idle != 3 || st.Disconnected != 4 || st.Runtime != 5 {
		t.Errorf("pool: %+v", st)
	}
	bob := s.directory.user("bob")
	if bob.shares != 84.5 || bob.best != 700 || bob.bestEver != 700 || s.wall(bob.lastShare, at(0)) != at(3*time.Second) {
		t.Errorf("bob: %+v", bob.tally)
	}
	if w := s.directory.table.get(rig2); w.rejects.counts[session.Duplicate] != 3 || w.rejects.counts[session.Stale] != 1 {
		t.Errorf("bob.rig2: %+v", w.rejects)
	}
	if w := s.directory.table.get(rig1); w.shares != 84 || w.best != 50 {
		t.Errorf("bob.rig1: %+v", w.tally)
	}
}

// A block is not the best share of the round, but that since the start, and rejected shares
// are none.
func TestBestShareOfThePool(t *testing.T) {
	s := newHarness(t, nil).Users
	w := grant(t, s, "bob").Worker
	block := accepted(w, at(1), 1, 5000)
	block.Computed.Block = true
	s.take(block)
	late := rejected(w, at(1), 1, session.Stale)
	late.Computed.Difficulty = 900
	s.take(late)
	if st := s.Status(at(2), Sessions{}); st.BestShare != 0 {
		t.Errorf("best share %v", st.BestShare)
	}
	if best := s.Totals().Best; best != 5000 {
		t.Errorf("best share since the start %v", best)
	}
	if u := s.directory.user("bob"); u.best != 5000 {
		t.Errorf("bob's best %v", u.best)
	}
}

func TestShareTellsBest(t *testing.T) {
	s := newHarness(t, nil).Users
	rig1, rig2 := grant(t, s, "bob.rig1").Worker, grant(t, s, "bob.rig2").Worker
	step := func(w session.WorkerID, achieved float64, want session.Best) {
		t.Helper()
		if got := s.take(accepted(w, at(1), 1, achieved)); got != want {
			t.Errorf("share of %v: %v, want %v", achieved, got, want)
		}
	}
	step(rig1, 10, session.BestUserEver)
	step(rig1, 10, session.BestNone)
	step(rig2, 5, session.BestWorkerEver)
	step(rig2, 7, session.BestWorkerEver)
	step(rig2, 20, session.BestUserEver)
	s.ResetRound()
	step(rig1, 4, session.BestUser)
	step(rig2, 3, session.BestWorker)
	step(rig1, 15, session.BestUser) // the user has had 20
	step(rig1, 30, session.BestUserEver)
	if got := s.take(rejected(rig1, at(1), 1e6, session.Duplicate)); got != session.BestNone {
		t.Errorf("rejected share: %v", got)
	}
}

// A share that is better than all of its user's before is an event, and no other.
func TestBestShareIsAnEvent(t *testing.T) {
	var told []any
	s := newHarness(t, func(c *Config) { c.Events = func(e event.Event) { told = append(told, e.What, e.Text) } }).Users
	rig1, rig2 := grant(t, s, "bob.rig1").Worker, grant(t, s, "bob.rig2").Worker
	for _, sh := range []*session.Share{
		accepted(rig1, at(1), 1, 10), accepted(rig2, at(1), 1, 9), rejected(rig2, at(1), 1, session.Stale), accepted(rig2, at(1), 1, 2e6),
	} {
		s.Share(sh)
	}
	s.ResetRound()
	s.Share(accepted(rig1, at(1), 1, 1e6)) // of the round alone
	want := []any{
		BestShare{"bob", "bob.rig1", 10}, "New best share ever for user bob, of worker bob.rig1: 10.000000",
		BestShare{"bob", "bob.rig2", 2e6}, "New best share ever for user bob, of worker bob.rig2: 2000000.000000",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told %v\nwant %v", told, want)
	}
}

func TestResetRound(t *testing.T) {
	s := newHarness(t, nil).Users
	w := grant(t, s, "bob").Worker
	s.take(accepted(w, at(time.Second), 42, 50))
	s.take(rejected(w, at(time.Second), 42, session.AboveTarget))
	s.ResetRound()
	if st := s.Status(at(time.Second), Sessions{}); st.Accepted != 0 || st.AcceptedCount != 0 || st.Rejected != 0 || st.RejectedCount != 0 || st.BestShare != 0 {
		t.Errorf("pool after a reset: %+v", st)
	}
	if got := s.Totals(); got != (Totals{42, 42, 1, 1, 50}) {
		t.Errorf("since the start: %+v", got)
	}
	if _, err := s.directory.user("bob"), s.Save(at(time.Second), Sessions{}); err != nil {
		t.Fatal(err)
	}
	u := s.directory.user("bob")
	if u.best != 0 || u.bestEver != 50 || u.shares != 42 {
		t.Errorf("bob after a reset: %+v", u.tally)
	}
	// what came before the reset still counts as hash rate
	s.tick(at(2 * time.Second))
	if st := s.Status(at(2*time.Second), Sessions{}); st.Hashrate[0] == 0 || st.SPS[0] == 0 {
		t.Errorf("averages after a reset: %+v", st)
	}
}

// Averages of pool, user and worker converge to the rate they are fed, and
// fall when shares stop.
func TestAverages(t *testing.T) {
	s := newHarness(t, nil).Users
	w := grant(t, s, "bob").Worker
	const rate = 21.0 // difficulty per second
	now := start
	pass := func(feed bool) {
		now = now.Add(TickInterval)
		if feed {
			s.take(accepted(w, now, rate*TickInterval.Seconds(), 1))
		}
		s.tick(now)
	}
	for range 32 * 120 {
		pass(true)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > want*0.02 {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	st := s.Status(now, Sessions{})
	u := s.directory.user("bob")
	for i := range 3 {
		near("pool", st.Hashrate[i], rate*difficulty.HashesPerDifficulty)
		near("shares per second", st.SPS[i], 1/TickInterval.Seconds())
	}
	for i := range 2 {
		near("user", float64(u.rates[i]), rate)
		near("worker", float64(s.directory.table.get(w).rates[i]), rate)
	}
	for range 32 * 10 {
		pass(false)
	}
	st = s.Status(now, Sessions{})
	if limit := rate * difficulty.HashesPerDifficulty * 0.001; st.Hashrate[0] > limit {
		t.Errorf("ten minutes later the pool still has %v", st.Hashrate[0])
	}
	if u.rates[0] > rate*0.05 || u.rates[4] == 0 {
		t.Errorf("ten minutes later bob still has %v", u.rates)
	}
}

// The first share after a login counts, and bursts within 50 ms add up.
func TestFirstShareAndBursts(t *testing.T) {
	s := newHarness(t, nil).Users
	w := grant(t, s, "bob").Worker
	s.take(accepted(w, at(10*time.Second), 42, 1))
	u := s.directory.user("bob")
	var want difficulty.Average
	want.Decay(42, 10, 60)
	if u.rates[0] != want {
		t.Errorf("after the first share %v, want %v", u.rates[0], want)
	}
	for i := range 5 {
		s.take(accepted(w, at(10*time.Second+time.Duration(i)*10*time.Millisecond), 1, 1))
	}
	if u.rates[0] != want {
		t.Errorf("a burst was not gathered: %v", u.rates[0])
	}
	s.take(accepted(w, at(10060*time.Millisecond), 1, 1))
	want.Decay(6, 0.06, 60)
	if math.Abs(float64(u.rates[0]-want)) > 1e-12 {
		t.Errorf("after the burst %v, want %v", u.rates[0], want)
	}
}

func TestShareAllocatesNothing(t *testing.T) {
	for _, logged := range []bool{false, true} {
		s := newHarness(t, func(c *Config) { c.LogShares = logged }).Users
		w := grant(t, s, "bob.rig1").Worker
		s.Share(accepted(w, at(0), 42, 1e9)) // only what is better than that may be told
		s.ResetRound()
		good := accepted(w, at(0), 42, 50)
		bad := rejected(w, at(0), 42, session.Stale)
		now := start
		step := func() {
			now = now.Add(100 * time.Millisecond)
			good.Time = now
			good.Computed.Difficulty++
			s.take(good)
			s.take(bad)
			s.flush(0)
		}
		if logged { // buffers grow once, as far as they may
			for range maxQueued {
				step()
			}
		}
		if n := testing.AllocsPerRun(1000, step); n != 0 {
			t.Errorf("share logs %v: %v allocations", logged, n)
		}
	}
}

// Loops count at the same time as passes, resets and queries run: nothing is
// lost and nothing counted twice.
func TestTotalsAreSumsOfShares(t *testing.T) {
	type step struct {
		worker         int
		credit         float64
		reject, format bool
	}
	rapid.Check(t, func(rt *rapid.T) {
		const loops = 4
		s := New(Config{Loops: loops - 1, LogDir: t.TempDir()}, start) // two share a count
		var workers []session.WorkerID
		for i := range 6 {
			workers = append(workers, grant(t, s, fmt.Sprintf("user%d.rig%d", i%2, i)).Worker)
		}
		steps := make([][]step, loops)
		var credit, reject float64
		var creditCount, rejectCount int64
		byWorker := make([]float64, len(workers))
		for loop := range steps {
			steps[loop] = rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
				return step{
					worker: rapid.IntRange(0, len(workers)-1).Draw(rt, "worker"),
					credit: float64(rapid.IntRange(0, 1<<20).Draw(rt, "credit")) / 1024, // sums are exact
					reject: rapid.Bool().Draw(rt, "reject"), format: rapid.Bool().Draw(rt, "format"),
				}
			}), 0, 50).Draw(rt, "steps")
			for _, st := range steps[loop] {
				switch {
				case st.reject && st.format:
				case st.reject:
					reject += st.credit
					rejectCount++
				default:
					credit += st.credit
					creditCount++
					byWorker[st.worker] += st.credit
				}
			}
		}
		var run, pass sync.WaitGroup
		done := make(chan struct{})
		pass.Go(func() {
			for now := start; ; now = now.Add(time.Second) {
				s.tick(now)
				s.Status(now, Sessions{})
				s.Workers(now, 1000)
				select {
				case <-done:
					return
				default:
				}
			}
		})
		for loop := range steps {
			run.Go(func() {
				for i, st := range steps[loop] {
					w, now := workers[st.worker], at(time.Duration(i)*time.Second)
					sh := accepted(w, now, st.credit, st.credit)
					if st.reject {
						sh = rejected(w, now, st.credit, session.Duplicate)
						if st.format {
							sh.Reason = session.Malformed
						}
					}
					sh.Loop = loop
					s.take(sh)
					s.flush(loop)
				}
			})
		}
		run.Wait()
		close(done)
		pass.Wait()
		st := s.Status(start, Sessions{})
		if st.Accepted != credit || st.Rejected != reject || st.AcceptedCount != creditCount || st.RejectedCount != rejectCount {
			rt.Fatalf("pool has %v/%d and %v/%d, shares gave %v/%d and %v/%d", st.Accepted, st.AcceptedCount,
				st.Rejected, st.RejectedCount, credit, creditCount, reject, rejectCount)
		}
		var users [2]float64
		for i, id := range workers {
			if w := s.directory.table.get(id); w.shares != byWorker[i] {
				rt.Fatalf("worker %d has %v, shares gave %v", i, w.shares, byWorker[i])
			}
			users[i%2] += byWorker[i]
		}
		for i, want := range users {
			if u := s.directory.user(fmt.Sprint("user", i)); u.shares != want {
				rt.Fatalf("user %d has %v, shares gave %v", i, u.shares, want)
			}
		}
	})
}

func BenchmarkShare(b *testing.B) {
	for _, logged := range []bool{false, true} {
		b.Run(fmt.Sprintf("log=%v", logged), func(b *testing.B) {
			s := newHarness(b, func(c *Config) { c.LogShares = logged }).Users
			var workers []session.WorkerID
			for i := range 200 {
				workers = append(workers, grant(b, s, fmt.Sprintf("bob%d.rig%d", i, i)).Worker)
			}
			sh := accepted(0, start, 42, 50)
			now, i := start, 0
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(500 * time.Microsecond)
				i++
				sh.Time, sh.Worker = now, workers[i%len(workers)]
				s.take(sh)
				s.flush(0)
			}
		})
	}
}
