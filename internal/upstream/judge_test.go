package upstream

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/source"

	"github.com/google/go-cmp/cmp"
)

// btccom/btcpool-ABANDONED#360: the pool above builds each header itself, from its own
// parts: it finds the hash that was found here, whatever the sizes and the mask.
func TestHashesAgree(t *testing.T) {
	for one := 0; one <= 20; one++ {
		for two := 1; two <= 16; two++ {
			bubble(t, func(t *testing.T, f *farm) {
				c := otherpool.Config{
					Extranonce1: func(n int) string { return strings.Repeat(fmt.Sprintf("%02x", n+1), one) }, Extranonce2Len: two,
					Branches: rand.N(14), Difficulty: 1e-9, Pieces: two == 3,
				}
				if rand.N(2) == 0 {
					c.VersionMask = rand.Uint32() & 0x1fffe000
				}
				above := otherpool.New(t, c)
				p := f.started(above, Config{VersionMask: 0x1fffe000})
				u := f.job()
				if s := u.Upstream.Shape; two >= 3 && capacity(s) < 256 || s.Extranonce2 < min(two, 2) {
					t.Errorf("an extranonce2 of %d bytes is divided as %+v", two, s)
				}
				for range 3 {
					f.submit(u, 1, 1e-9, 0)
				}
				synctest.Wait()
				if n := f.counts()["accepted"]; n != 3 || above.Invalid.Load() != 0 {
					t.Errorf("extranonces of %d and %d bytes, mask %08x: %d of 3 accepted, %q, %v", one, two, c.VersionMask, n, above.Faults(), p.Status())
				}
			})
		}
	}
}

// stratum-mining/stratum#1006, #791: whatever reason a pool has and in whatever form it
// says so, the one who found the share hears it, and nothing is counted as accepted
// that the pool has not accepted.
func TestVerdicts(t *testing.T) {
	reasons := []string{"", "Stale", otherpool.LowDifficulty, otherpool.Duplicate, otherpool.UnknownJob, otherpool.Unauthorized, "ntime out of range", "Über \"alles\""}
	for name, form := range otherpool.Forms {
		for _, reverse := range []int{0, 4} {
			t.Run(fmt.Sprint(name, " ", reverse), func(t *testing.T) {
				bubble(t, func(t *testing.T, f *farm) {
					above := otherpool.New(t, otherpool.Config{Answer: form, Reverse: reverse, Difficulty: 1e-9,
						Refuse: func(_ string, n int) string { return reasons[n%len(reasons)] }})
					p := f.started(above, Config{})
					u := f.job()
					for range 2 * len(reasons) {
						f.submit(u, 1, 1e-9, 0)
					}
					synctest.Wait()
					for n := range uint64(2 * len(reasons)) {
						reason := reasons[(int(n)+1)%len(reasons)]
						got, _, _ := strings.Cut(f.verdict(n+1), " (")
						if want := "refused: " + reason; got != want && (reason != "" || got != "accepted") {
							t.Errorf("share %d: %q, the pool said %q", n+1, got, reason)
						}
					}
					sameAsBook(t, p, above)
				})
			})
		}
	}
}

// sameAsBook compares what is counted here with the pool's book, exactly.
func sameAsBook(t *testing.T, p *Pool, above *otherpool.Pool) {
	t.Helper()
	var accepted otherpool.Account
	for _, a := range above.Book() {
		accepted.Shares += a.Shares
		accepted.Difficulty += a.Difficulty
	}
	figures := p.Figures()
	got := otherpool.Account{Shares: int(figures.Accepted.Shares), Difficulty: figures.Accepted.Difficulty.Float64()}
	if diff := got.Difficulty - accepted.Difficulty; got.Shares != accepted.Shares || diff > 1e-12 || diff < -1e-12 {
		t.Errorf("accepted above: %+v here, %+v in the pool's book", got, accepted)
	}
	refused := map[string]int{}
	for reason, tally := range figures.Reasons {
		refused[reason] = int(tally.Shares)
	}
	if d := cmp.Diff(above.RefusedFor(), refused); d != "" {
		t.Errorf("refused: %s", d)
	}
	if figures.Open != 0 {
		t.Errorf("%d shares are open", figures.Open)
	}
}

// braiins/farm-proxy#17, duckaxe/bassin#19, xmrig/xmrig-proxy#292: each share is counted
// once, as one thing, in number and difficulty; what is accepted is what the pool above
// has in its book.
func TestFigures(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 4e-9, RejectEvery: 7, Reverse: 3, RepeatEvery: 2, Delay: 2 * time.Second})
		p := f.started(above, Config{})
		u := f.job()
		for range 210 {
			f.submit(u, 1, 4e-9, 0)
			time.Sleep(time.Second)
		}
		for range 10 { // the session judged them by less
			f.submit(u, 1, 1e-9, 4e-9)
		}
		time.Sleep(10 * time.Second)
		sameAsBook(t, p, above)
		figures := p.Figures()
		if figures.Accepted.Shares != 180 || figures.Refused.Shares != 30 || figures.NotSent.Shares != 10 || figures.Unanswered.Shares != 0 {
			t.Errorf("%+v", figures)
		}
		if figures.Latency < 2*time.Second || figures.Slowest > 5*time.Second || figures.Latency > figures.Slowest {
			t.Errorf("answers took %v, at most %v", figures.Latency, figures.Slowest)
		}
		if rate := figures.Rates[0] / 4e-9; rate < 0.7 || rate > 1.0 {
			t.Errorf("%v a second accepted", rate)
		}
		above.Silence(true)
		f.submit(u, 1, 4e-9, 0)
		f.submit(u, 1, 4e-9, 0)
		time.Sleep(31 * time.Second)
		if n := p.Figures().Unanswered.Shares; n != 2 {
			t.Errorf("%d shares unanswered", n)
		}
	})
}

// A pool that does not answer some shares, stale ones say, keeps its connection: each is given
// up alone, as timed out. One that answers none any more has none after 30 s.
func TestTimedOut(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e-9, SilentEvery: 2})
		p := f.started(above, Config{})
		u := f.job()
		f.log()
		const shares = 60
		for n := range shares {
			f.submit(u, uint64(n%3), 1e-9, 0)
			time.Sleep(10 * time.Second)
		}
		time.Sleep(10 * time.Second) // the last one is 20 s old, and the first to go unanswered would be dead by now
		figures := p.Figures()
		if figures.Accepted.Shares != shares/2 || figures.Unanswered.Shares != shares/2-1 || figures.Open != 1 || figures.Refused.Shares != 0 {
			t.Errorf("%+v", figures)
		}
		if above.Connections.Load() != 1 || len(f.log()) != 0 {
			t.Errorf("%d connections", above.Connections.Load())
		}
		f.mu.Lock()
		timedOut := 0
		for _, v := range f.verdicts {
			if v.State == source.Unanswered && v.TimedOut && v.Difficulty == 1e-9 {
				timedOut++
			}
		}
		f.mu.Unlock()
		if timedOut != shares/2-1 {
			t.Errorf("%d of %d timed out", timedOut, shares/2-1)
		}
		above.Configure(func(c *otherpool.Config) { c.SilentEvery = 1 })
		time.Sleep(15 * time.Second)
		if log := f.log(); len(log) != 2 || !strings.HasPrefix(log[0], "Upstream pool.example.org:3333 is lost: pool has not answered any share for 30s; again in ") {
			t.Errorf("%q", log)
		}
		if v := p.Figures(); v.Unanswered.Shares != shares/2 || v.Open != 0 || f.counts()["unanswered"] != shares/2 {
			t.Errorf("%+v", v)
		}
	})
}

// slush0/stratum-mining-proxy#56: the difficulty goes up and down by 8, with and without
// a job behind it, before pools that apply it at once, or from the next job on. What is
// refused is at most what was needed to find out how the pool does it.
func TestDifficultyChanges(t *testing.T) {
	const d = 1.0 / (1 << 26)
	for name, policy := range map[string]otherpool.Policy{"at once": otherpool.AtOnce, "from the next job on": otherpool.NextJob, "lenient": otherpool.Lenient} {
		for _, behind := range []bool{false, true} {
			for _, factor := range []float64{8, 1.0 / 8} {
				t.Run(fmt.Sprint(name, ", job behind ", behind, ", times ", factor), func(t *testing.T) {
					bubble(t, func(t *testing.T, f *farm) {
						above := otherpool.New(t, otherpool.Config{Difficulty: d, Policy: policy})
						p := f.started(above, Config{})
						u := f.job()
						most := u.Upstream.Difficulty
						if most != d {
							t.Fatalf("difficulty %v", most)
						}
						work := func(n int) {
							for range n {
								for _, update := range f.took() {
									u = update
								}
								// The session has its miners find what the job asks, at most.
								f.submit(u, uint64(n%3), u.Upstream.Difficulty, 0)
								synctest.Wait()
							}
						}
						for round := range 6 {
							work(100)
							next := d
							if round%2 == 0 {
								next = d * factor
							}
							above.SetDifficulty(next)
							if behind {
								above.NewJob()
							}
							old := u
							synctest.Wait()
							for range 20 { // of the job from before
								f.submit(old, 5, min(d, d*factor), 0)
								synctest.Wait()
							}
							time.Sleep(time.Second)
							work(100)
							if u.Upstream.Difficulty > next && policy != otherpool.NextJob {
								t.Errorf("round %d: miners are asked for %v, the pool for %v", round, u.Upstream.Difficulty, next)
							}
							above.NewJob()
							time.Sleep(time.Second)
						}
						if n := above.Invalid.Load(); n > mostAsking {
							t.Errorf("%d refused: %v", n, f.counts())
						}
						if n := p.Figures().Accepted.Shares; n < 900 {
							t.Errorf("%d accepted", n)
						}
						book := 0.0
						for _, a := range above.Book() {
							book += a.Difficulty
						}
						if got := p.Figures().Accepted.Difficulty.Float64(); got < 0.97*book || got > 1.03*book {
							t.Errorf("accepted difficulty %v, in the pool's book %v", got, book)
						}
					})
				})
			}
		}
	}
}

// How a pool applies a lower difficulty is found out by a few shares, though it takes
// long to answer; from then on all go up that it takes, and no others.
func TestHabitIsLearnt(t *testing.T) {
	for policy, sent := range map[otherpool.Policy]int{otherpool.AtOnce: 100, otherpool.NextJob: 0} {
		bubble(t, func(t *testing.T, f *farm) {
			above := otherpool.New(t, otherpool.Config{Difficulty: 8e-9, Policy: policy, Delay: time.Second})
			f.started(above, Config{})
			u := f.job()
			above.SetDifficulty(1e-9)
			synctest.Wait()
			submit := func() (sent int) {
				before := above.Accepted.Load() + above.Invalid.Load()
				for range 100 {
					f.submit(u, 1, 1e-9, 8e-9)
				}
				time.Sleep(2 * time.Second)
				return int(above.Accepted.Load() + above.Invalid.Load() - before)
			}
			if n := submit(); n != mostAsking {
				t.Errorf("policy %d: %d of 100 were sent to find out", policy, n)
			}
			if n := submit(); n != sent {
				t.Errorf("policy %d: %d of 100 were sent then, %d are right", policy, n, sent)
			}
			// The pool changes its ways: from the lower one at once, to it within the hour.
			above.Configure(func(c *otherpool.Config) { c.Policy = otherpool.AtOnce + otherpool.NextJob - policy })
			time.Sleep(askAgain)
			submit()
			if n := submit(); n != 100-sent {
				t.Errorf("policy %d has become another: %d of 100 were sent, %d are right", policy, n, 100-sent)
			}
		})
	}
}

// parasitepool/para#370: one miner's refusals move nobody, those of all do: after 150
// seconds without an accepted share, from several miners and 20 shares on.
func TestOnlyRefusals(t *testing.T) {
	run := func(t *testing.T, miners int, refuse func(n int) string, every time.Duration) (lost time.Duration) {
		bubble(t, func(t *testing.T, f *farm) {
			above := otherpool.New(t, otherpool.Config{Refuse: func(_ string, n int) string { return refuse(n) }})
			p := f.started(above, Config{})
			u := f.job()
			began := time.Now()
			for n := range int(10 * time.Minute / every) {
				f.submit(u, uint64(n%miners), 1e-10, 0)
				time.Sleep(every)
				synctest.Wait()
				if above.Connections.Load() > 1 || !p.Up() {
					lost = time.Since(began)
					if log := strings.Join(f.log(), "\n"); !strings.Contains(log, "refused every share for 2m30s, the last as: no") {
						t.Error(log)
					}
					return
				}
			}
		})
		return lost
	}
	all := func(int) string { return "no" }
	if d := run(t, 3, all, time.Second); d < 150*time.Second || d > 155*time.Second {
		t.Errorf("refused everything, given up after %v", d)
	}
	if d := run(t, 3, all, 20*time.Second); d < 380*time.Second || d > 410*time.Second {
		t.Errorf("refused everything, 20 shares in 400 s, given up after %v", d)
	}
	if d := run(t, 1, all, time.Second); d != 0 {
		t.Errorf("one miner is refused everything, the pool is given up after %v", d)
	}
	if d := run(t, 100, func(n int) string { return []string{"", "no"}[min(n%100, 1)] }, time.Second); d != 0 {
		t.Errorf("one of 100 shares is accepted, the pool is given up after %v", d)
	}
}

// An unknown id costs one share, and pools that repeat themselves nothing.
func TestForeignAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{RepeatEvery: 1})
		p := f.started(above, Config{})
		u := f.job()
		for range 5 {
			above.Send(`{"id":41,"result":true,"error":null}`)
			above.Send(`{"id":0,"result":null,"error":[20,"mining.suggest is not known",null]}`)
			f.submit(u, 1, 1e-10, 0)
		}
		synctest.Wait()
		if n := f.counts(); !maps.Equal(n, map[string]int{"accepted": 5}) {
			t.Error(n)
		}
		sameAsBook(t, p, above)
	})
}

// bitaxeorg/ESP-Miner#1451: a share of one pool's job is never sent to another, nor to the
// same pool over another connection: it is not taken.
func TestShareOfAnEndedConnection(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		a, b := otherpool.New(t, otherpool.Config{}), otherpool.New(t, otherpool.Config{})
		f.started(a, Config{URL: "a.example.org:1", User: "wallet-a"})
		ua := f.job()
		f.started(b, Config{URL: "b.example.org:1", User: "wallet-b"})
		ub := f.job()
		f.submit(ua, 1, 1e-10, 0)
		f.submit(ub, 1, 1e-10, 0)
		a.DropAll()
		time.Sleep(10 * time.Second) // and a is back
		if late := f.find(ua, 1, 1e-10, 0); ua.Upstream.Judge.Submit(late) {
			t.Error("a share of an ended connection is taken")
		}
		again := f.job()
		if again.Upstream.Source == ua.Upstream.Source {
			t.Error("two connections have one number")
		}
		f.submit(again, 1, 1e-10, 0)
		synctest.Wait()
		for name, p := range map[string]*otherpool.Pool{"wallet-a": a, "wallet-b": b} {
			if book := p.Book(); len(book) != 1 || book[name].Shares == 0 || p.Invalid.Load() != 0 {
				t.Errorf("the book of %s: %v, %v", name, book, p.Faults())
			}
		}
	})
}

// Stratehm/stratum-proxy#12: each name is authorized once on a connection, and one that
// the pool refuses is not used. Without Workers there is one name.
func TestNames(t *testing.T) {
	for _, workers := range []bool{false, true} {
		bubble(t, func(t *testing.T, f *farm) {
			above := otherpool.New(t, otherpool.Config{AuthorizeOne: true})
			f.started(above, Config{Workers: workers})
			u := f.job()
			for range 5 {
				for miner := range uint64(3) {
					f.submit(u, miner, 1e-10, 0)
					synctest.Wait()
				}
			}
			want := map[string]otherpool.Account{"farm": {Shares: 15}}
			if workers {
				want = map[string]otherpool.Account{"farm": {Shares: 3}, "farm.rig0": {Shares: 4}, "farm.rig1": {Shares: 4}, "farm.rig2": {Shares: 4}}
			}
			got := above.Book()
			for name, a := range got {
				got[name] = otherpool.Account{Shares: a.Shares}
			}
			if d := cmp.Diff(want, got); d != "" || above.Invalid.Load() != 0 {
				t.Error(d, above.Faults())
			}
			authorized := 0
			for _, line := range above.Lines() {
				if strings.Contains(line, "mining.authorize") {
					authorized++
				}
			}
			if authorized != len(want) {
				t.Errorf("%d authorized, %d names", authorized, len(want))
			}
		})
	}
}

// A share that solves a block goes up whatever the difficulty is.
func TestBlockGoesUp(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e-7})
		f.started(above, Config{})
		u := f.job()
		found := f.find(u, 1, 1e-9, 1e-7)
		found.Block = true
		if !u.Upstream.Judge.Submit(found) {
			t.Error("not taken")
		}
		synctest.Wait()
		if v := f.verdict(found.Share); v != "refused: Low difficulty share (23)" {
			t.Errorf("%q", v)
		}
		if v := f.verdict(f.submit(u, 1, 1e-9, 1e-7)); v != "not sent" {
			t.Errorf("%q", v)
		}
		var _ source.Judge = u.Upstream.Judge
	})
}
