package e2e

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/firmware"
	"github.com/ckpool/ckpool/internal/users"
)

// Half an hour of every family: its hash rate rises and falls, vardiff follows,
// it suggests higher and lower difficulties, and it submits all the time. No
// share is lost, what is credited is what was worked, share by share, and over
// all it is one difficulty for every 2^32 hashes.
func TestDifficultyFollowsHashRate(t *testing.T) {
	t.Parallel()
	tips := templates(t, 3)
	for _, f := range firmware.Families() {
		t.Run(f.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := startVirtual(t, tips, min(8, f.MaxExtranonce2))
				o := firmware.Options{Suggest: 1e-9, HashRate: 100, Dial: v.dial}
				d, err := f.Dial(t.Context(), "pool:3333", userOf(f), o)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				l := &longRun{device: device{d, t}}

				l.run(5*time.Minute, "raised by vardiff", higher)
				d.SetHashRate(4)
				l.run(15*time.Minute, "lowered by vardiff", lower)
				l.suggest(3e-7)
				l.suggest(2e-9)
				d.SetHashRate(1500)
				l.run(time.Minute, "raised out of a flood", higher)
				d.SetHashRate(30)
				l.run(10*time.Minute, "lowered by vardiff", lower)

				s := d.Stats()
				t.Logf("%d shares, difficulties %v", s.Accepted, s.Difficulties)
				credited := v.Status(time.Now(), users.Sessions{}).Accepted
				if !near(credited, s.Worked) && !slices.Contains(inexact, f.Name) {
					t.Errorf("credited %g for work of %g", credited, s.Worked)
				}
				deviation := (credited - float64(s.Hashes)/(1<<32)) / math.Sqrt(l.variance)
				if deviation > 6 || deviation < -6 && f.Name != "SV2 translator" {
					t.Errorf("credited %g for %d hashes, %.1f standard deviations off", credited, s.Hashes, deviation)
				}
			})
		})
	}
}

// inexact are the families that mine at another difficulty than that of the
// job: at the next power of two, or, for a moment, at a new one on the old job.
var inexact = []string{"SV2 translator", "Bitaxe 2024", "NerdMiner", "SparkMiner"}

// longRun is a device in virtual time.
type longRun struct {
	device
	variance float64 // of the difficulty that is credited for the hashes done
	seen     firmware.Stats
}

func higher(before, after float64) bool { return after > before }
func lower(before, after float64) bool  { return after < before }

// run mines for a while, after which the difficulty must have changed like that.
func (l *longRun) run(d time.Duration, what string, changed func(before, after float64) bool) {
	l.t.Helper()
	end := time.Now().Add(d)
	l.until(what, func(firmware.Stats) bool { return !time.Now().Before(end) }, changed)
}

// suggest must take effect within 12 s, since two changes are 10 s apart, and
// last.
func (l *longRun) suggest(difficulty float64) {
	l.t.Helper()
	if err := l.Suggest(difficulty); err != nil {
		l.t.Fatal(err)
	}
	end := time.Now().Add(12 * time.Second)
	is := func(_, after float64) bool { return after == difficulty }
	l.until("suggestion", func(s firmware.Stats) bool { return is(0, last(s)) || time.Now().After(end) }, is)
	l.run(30*time.Second, "suggestion", is)
}

func last(s firmware.Stats) float64 {
	if len(s.Difficulties) == 0 {
		return 0
	}
	return s.Difficulties[len(s.Difficulties)-1]
}

func (l *longRun) until(what string, end func(firmware.Stats) bool, changed func(before, after float64) bool) {
	l.t.Helper()
	before := last(l.Stats())
	s, err := l.Mine(l.t.Context(), func(s firmware.Stats) bool {
		l.variance += float64(s.Hashes-l.seen.Hashes) / (1 << 32) * s.Difficulty
		l.seen = s
		return end(s)
	})
	if err != nil {
		l.t.Fatalf("%s: %v", what, err)
	}
	l.lossless(what, s)
	if after := last(s); !changed(before, after) {
		l.t.Fatalf("not %s: %g, then %g: %v", what, before, after, s.Difficulties)
	}
}
