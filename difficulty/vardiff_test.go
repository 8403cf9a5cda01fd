package difficulty

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"unsafe"
)

func TestVardiffSize(t *testing.T) {
	if n := unsafe.Sizeof(Vardiff{}); n > 80 {
		t.Errorf("a Vardiff takes %d bytes of each session, at most 80", n)
	}
}

// Clients connect at 0 with the given difficulty and solve shares at exactly
// difficulty/rate seconds spacing, the first after one spacing.
func TestVardiffFirstChange(t *testing.T) {
	tests := []struct {
		name        string
		rate, start float64
		l           Limits
		share       int
		at          float64
		perSecond   float64
		want        Decision
	}{
		{"fast", 100, 42, Limits{Min: 1}, 72, 30.24, 2.368153, Decision{331, false}},
		{"flood", 5000, 42, Limits{Min: 1}, 72, 0.605, 110.610660, Decision{15470, true}},
		{"slow", 1, 42, Limits{Min: 1}, 7, 294, 0.021841, Decision{3, false}},
		{"suggested 1000", 100, 42, Limits{Min: 1, Floor: 1000}, 72, 30.24, 2.368153, Decision{1000, false}},
		{"below 1", 0.00015, 0.001, Limits{Min: 0.0001}, 37, 246.667, 0.147853, Decision{0.0005, false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.l.Network = 1e14
			var v Vardiff
			v.Start(0)
			for i := 1; i <= tt.share; i++ {
				now := float64(i) * tt.start / tt.rate
				got := v.Share(now, tt.start, tt.start, tt.l)
				if i < tt.share {
					if got != (Decision{}) {
						t.Fatalf("share %d at %v: %+v", i, now, got)
					}
					continue
				}
				rate, _ := v.rate(now)
				if got != tt.want || math.Abs(now-tt.at) > 0.001 || math.Abs(rate/tt.start-tt.perSecond) > max(1e-6, 1e-5*tt.perSecond) {
					t.Errorf("at %v with %.6f per second: %+v; want at %v with %.6f: %+v",
						now, rate/tt.start, got, tt.at, tt.perSecond, tt.want)
				}
			}
		})
	}
}

// feed gives v n shares of difficulty cur with the given spacing and returns
// the first decision, the number of shares it took and the time of the last.
func feed(v *Vardiff, now, spacing, cur float64, n int, l Limits) (Decision, int, float64) {
	for i := 1; i <= n; i++ {
		now += spacing
		if d := v.Share(now, cur, cur, l); d != (Decision{}) {
			return d, i, now
		}
	}
	return Decision{}, n, now
}

func TestVardiffSteadyRateIsLeftAlone(t *testing.T) {
	var v Vardiff
	v.Start(0)
	if d, n, now := feed(&v, 0, 3.33, 42, 10000, Limits{Min: 1}); d != (Decision{}) {
		t.Errorf("share %d at %v: %+v", n, now, d)
	}
}

// A flood that arrives faster than the averages are updated must not look like
// silence.
func TestVardiffFloodBeforeTheFirstAverage(t *testing.T) {
	var v Vardiff
	v.Start(0)
	d, n, now := feed(&v, 0, 0.0001, 42, 1000, Limits{Min: 1})
	if d.Difficulty < 42*1000 || !d.Urgent {
		t.Errorf("10,000 shares per second: %+v at share %d, %v s", d, n, now)
	}
}

func TestVardiffAtMostOneChangeIn10Seconds(t *testing.T) {
	l := Limits{Min: 1}
	var v Vardiff
	v.Start(0)
	_, _, now := feed(&v, 0, 3.33, 42, 100, l)

	v.Changed(now)
	if d, n, at := feed(&v, now, 0.05, 42, 199, l); d.Difficulty == 0 || !d.Urgent || at-now >= changeInterval {
		t.Errorf("upward out of a flood: %+v after %d shares, %v s", d, n, at-now)
	}

	// After an idle step 8 shares would do, but not within 10 s of a change.
	v = Vardiff{}
	v.Start(0)
	if d := v.Idle(300, 640, l); d.Difficulty != 10 {
		t.Fatalf("idle: %+v", d)
	}
	d, n, at := feed(&v, 300, 0.5, 10, 100, l)
	if d.Difficulty == 0 || d.Urgent || at < 310 || n < 20 {
		t.Errorf("rise after %d shares, %v s: %+v", n, at-300, d)
	}
}

// Shares of older jobs, credited at their own difficulty, must not start a
// decision right after a change.
func TestVardiffSharesOfOlderJobs(t *testing.T) {
	l := Limits{Min: 1}
	var v Vardiff
	v.Start(0)
	d, _, now := feed(&v, 0, 0.42, 42, 100, l)
	v.Changed(now)
	for i := range 200 {
		now += 0.42
		if got := v.Share(now, 42, d.Difficulty, l); got != (Decision{}) {
			t.Fatalf("share %d of an older job: %+v", i+1, got)
		}
	}
	if got, n, _ := feed(&v, now, 3.31, d.Difficulty, 100, l); got != (Decision{}) {
		t.Errorf("in the band afterwards, share %d: %+v", n, got)
	}
}

func TestVardiffUncreditedSharesAddNoRate(t *testing.T) {
	l := Limits{Min: 1}
	var v Vardiff
	v.Start(0)
	_, _, now := feed(&v, 0, 3.33, 10, 50, l)
	v.Changed(now)
	for range 300 {
		now += 0.1
		if d := v.Share(now, 0, 5, l); d != (Decision{}) {
			t.Fatalf("%+v", d)
		}
	}
}

func TestVardiffRepeatsUntilChanged(t *testing.T) {
	l := Limits{Min: 1}
	var v Vardiff
	v.Start(0)
	d, _, now := feed(&v, 0, 0.42, 42, 100, l)
	again, n, now := feed(&v, now, 0.42, 42, 1, l)
	if again.Difficulty < d.Difficulty || n != 1 {
		t.Errorf("after %+v: %+v", d, again)
	}
	v.Changed(now)
	if d, n, _ := feed(&v, now, 3.33, 331, 71, l); d != (Decision{}) {
		t.Errorf("share %d after the change: %+v", n, d)
	}
}

func TestIdleWithoutAnyShare(t *testing.T) {
	l := Limits{Min: 0.0001}
	var v Vardiff
	v.Start(1000)
	cur := 42.0
	var got []float64
	for now := 1000.0; now <= 1000+6*240; now++ {
		if d := v.Idle(now, cur, l); d.Difficulty != 0 {
			if !d.Urgent {
				t.Error("not urgent")
			}
			if math.Mod(now-1000, 240) != 0 {
				t.Errorf("step at %v s", now-1000)
			}
			cur = d.Difficulty
			v.Changed(now)
			got = append(got, cur)
		}
	}
	if want := []float64{0.7, 0.01, 0.0002, 0.0001}; !equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
}

func TestIdleAfterShares(t *testing.T) {
	l := Limits{Min: 1}
	var v Vardiff
	v.Start(0)
	_, _, last := feed(&v, 0, 3.33, 6400, 100, l)
	cur := 6400.0
	var got []float64
	now := last
	for ; now <= last+3000; now++ {
		if d := v.Idle(now, cur, l); d.Difficulty != 0 {
			cur = d.Difficulty
			got = append(got, cur)
		}
	}
	if want := []float64{1600, 400, 100}; !equal(got, want) {
		t.Fatalf("steps %v, want %v", got, want)
	}

	// Back with its old hash rate: 64 times as many shares, at once up again.
	d, n, _ := feed(&v, now, 3.33/64, cur, 20, l)
	if n != recoveryShares || !d.Urgent || d.Difficulty < 4500 || d.Difficulty > 8000 {
		t.Errorf("back: %+v after %d shares", d, n)
	}
	// The next silence may step down three times again.
	v.Changed(now + 1)
	if d := v.Idle(now+2000, 6400, l); d.Difficulty != 1600 {
		t.Errorf("next silence: %+v", d)
	}
}

func TestRiseAfterIdleStepNeedsNoFlood(t *testing.T) {
	l := Limits{Min: 0.0001}
	var v Vardiff
	v.Start(0)
	d := v.Idle(240, 64, l)
	if d.Difficulty != 1 {
		t.Fatalf("%+v", d)
	}
	v.Changed(240)
	up, n, _ := feed(&v, 250, 1.5, 1, 20, l)
	if n != recoveryShares || up.Difficulty != 2 {
		t.Errorf("%+v after %d shares, want 2 after %d", up, n, recoveryShares)
	}
}

// Eight shares are too few to go down on.
func TestNoFallOnFewShares(t *testing.T) {
	l := Limits{Min: 0.0001}
	var v Vardiff
	v.Start(0)
	v.Idle(240, 64, l)
	v.Changed(240)
	if d, n, now := feed(&v, 250, 8, 1, 29, l); d != (Decision{}) {
		t.Errorf("%+v after %d shares at %v", d, n, now)
	}
}

func TestIdleRespectsBounds(t *testing.T) {
	for _, tt := range []struct {
		name string
		l    Limits
		want float64
	}{
		{"min", Limits{Min: 40}, 40},
		{"floor", Limits{Min: 1, Floor: 41}, 41},
		{"at min already", Limits{Min: 42}, 0},
	} {
		var v Vardiff
		v.Start(0)
		if d := v.Idle(240, 42, tt.l); d.Difficulty != tt.want {
			t.Errorf("%s: %+v, want %v", tt.name, d, tt.want)
		}
	}
}

// Without Idle being called, too, the first share of a miner that comes back
// says nothing.
func TestFirstShareAfterAPause(t *testing.T) {
	l := Limits{Min: 1}
	var v Vardiff
	v.Start(0)
	_, _, now := feed(&v, 0, 3.33, 100, 50, l)
	v.Changed(now)
	if d, n, _ := feed(&v, now+1000, 3.33, 100, 1000, l); d != (Decision{}) {
		t.Errorf("%+v after %d shares", d, n)
	}
}

func TestVardiffAllocatesNothing(t *testing.T) {
	l := Limits{Min: 1, Max: 1e6, Network: 1e14}
	var v Vardiff
	v.Start(0)
	now := 0.0
	if n := testing.AllocsPerRun(1000, func() {
		now += 3.33
		v.Share(now, 42, 42, l)
		v.Idle(now, 42, l)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestVardiffConverges runs miners of constant hash rate, with shares arriving
// at random, for six hours under a pool that sends new work every 30 s.
func TestVardiffConverges(t *testing.T) {
	for exp := 3.0; exp <= 15; exp += 0.5 {
		hashRate := math.Pow(10, exp)
		t.Run(strconv.FormatFloat(exp, 'g', -1, 64), func(t *testing.T) {
			for seed := range uint64(4) {
				r := simulate(hashRate, rand.New(rand.NewPCG(seed, math.Float64bits(exp))))
				if r.settled > 3600 {
					t.Errorf("seed %d: settled only after %.0f s", seed, r.settled)
				}
				if r.shareRate < 0.2 || r.shareRate > 0.4 {
					t.Errorf("seed %d: %.3f shares per second", seed, r.shareRate)
				}
				if r.outside > 0.05 {
					t.Errorf("seed %d: out of the band for %.1f %% of the time", seed, 100*r.outside)
				}
				if perHour := float64(r.changes) / 5; perHour > 6 {
					t.Errorf("seed %d: %.1f changes an hour after settling", seed, perHour)
				}
			}
		})
	}
}

type simulation struct {
	settled   float64 // seconds until difficulty was first near the ideal
	shareRate float64 // per second, after the first hour
	outside   float64 // part of the time not within half and double the ideal
	changes   int     // after the first hour
}

func simulate(hashRate float64, random *rand.Rand) simulation {
	const hour, length = 3600.0, 6 * 3600.0
	l := Limits{Min: 1e-9, Network: 1e14}
	perSecond := hashRate / HashesPerDifficulty
	ideal := max(perSecond*perTarget, l.Min)
	cur, pending := 42.0, 0.0
	result := simulation{settled: length}
	shares := 0

	var v Vardiff
	v.Start(0)
	now, nextTick := 0.0, 1.0
	share := func() float64 { return now + random.ExpFloat64()*cur/perSecond }
	nextShare := share()
	for now < length {
		old := cur
		if nextShare < nextTick {
			now = nextShare
			d := v.Share(now, cur, cur, l)
			if d.Difficulty != 0 {
				pending = d.Difficulty
			}
			if d.Urgent {
				cur = pending
			}
			if now > hour {
				shares++
			}
			nextShare = share()
		} else {
			now = nextTick
			nextTick++
			if d := v.Idle(now, cur, l); d.Difficulty != 0 {
				cur = d.Difficulty
			} else if pending != 0 && math.Mod(now, 30) == 0 {
				cur = pending
			}
			near := cur > ideal/2 && cur < ideal*2
			if near && now < result.settled {
				result.settled = now
			}
			if !near && now > hour {
				result.outside += 1 / (length - hour)
			}
		}
		if cur != old {
			v.Changed(now)
			pending = 0
			nextShare = share()
			if now > hour {
				result.changes++
			}
		}
	}
	result.shareRate = float64(shares) / (length - hour)
	return result
}

func equal(a, b []float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func BenchmarkVardiffShare(b *testing.B) {
	l := Limits{Min: 1, Max: 1e6, Network: 1e14}
	var v Vardiff
	v.Start(0)
	now := 0.0
	for b.Loop() {
		now += 3.33
		v.Share(now, 42, 42, l)
	}
}
