package users

import (
	"math"
	"time"

	"github.com/ckpool/ckpool/difficulty"
)

// stamp is a time in nanoseconds since the pool's start, by the monotonic
// clock: eight bytes that survive steps of the wall clock.
type stamp int64

const never stamp = math.MinInt64

// clock makes and reads stamps.
type clock struct {
	start time.Time // of the pool
}

func (c clock) stamp(t time.Time) stamp { return stamp(t.Sub(c.start)) }

// wall is the wall clock time of a stamp, seen from now; zero for never.
func (c clock) wall(t stamp, now time.Time) time.Time {
	if t == never {
		return time.Time{}
	}
	return now.Add(time.Duration(t - c.stamp(now))).Round(0)
}

// loaded is the stamp of a time read from a file; now where that is later. Files
// hold whole seconds: the middle of one keeps it the same second when clocks
// drift against each other.
func (c clock) loaded(t, now time.Time) stamp {
	if t.IsZero() {
		return never
	}
	t = t.Truncate(time.Second).Add(time.Second / 2)
	return c.stamp(now) - stamp(max(now.Round(0).Sub(t), 0))
}

// seconds from earlier to t.
func (t stamp) seconds(earlier stamp) float64 {
	return time.Duration(t - earlier).Seconds()
}

// tally is what is counted for a worker and for a user alike.
type tally struct {
	rates     [len(windows)]difficulty.Average
	pending   float64 // credit not yet in the averages
	decayed   stamp   // when the averages were true
	lastShare stamp
	shares    float64 // credit in all
	best      float64 // of the round numbered round
	bestEver  float64
	round     uint32
	changed   uint32 // Users.copies at its last change
}

// windows of the averages of users and workers, in seconds: 1, 5 minutes, 1
// hour, 1, 7 days.
var windows = [...]float64{60, 300, 3600, 86400, 604800}

func newTally(now stamp) tally {
	// An average that begins now loses nothing of the first share; one that
	// begins at the epoch would lose all of it.
	return tally{decayed: now, lastShare: never}
}

// credit counts an accepted share whose hash reached the difficulty achieved
// and reports whether it is the best of the round and the best ever.
func (t *tally) credit(now stamp, credit, achieved float64, round uint32) (best, ever bool) {
	t.shares += credit
	t.pending += credit
	t.lastShare = max(t.lastShare, now) // one of another pool comes late
	t.decay(now)
	t.enterRound(round)
	if best = achieved > t.best; best {
		t.best = achieved
	}
	if ever = achieved > t.bestEver; ever {
		t.bestEver = achieved
	}
	return best, ever
}

// decay brings the averages up to now. Below 50 ms they wait for more.
func (t *tally) decay(now stamp) {
	seconds := now.seconds(t.decayed)
	if seconds < 0.05 {
		return
	}
	for i := range t.rates {
		t.rates[i].Decay(t.pending, seconds, windows[i])
	}
	t.pending = 0
	t.decayed = now
}

// enterRound forgets the best share of an earlier round and reports whether there
// was one.
func (t *tally) enterRound(round uint32) bool {
	if t.round == round {
		return false
	}
	had := t.best != 0
	t.best, t.round = 0, round
	return had
}

// idleAfter is how long a worker counts as busy after a share.
const idleAfter = stamp(time.Minute)

func (t *tally) idle(now stamp) bool {
	return t.lastShare == never || now-t.lastShare > idleAfter
}

// decayIdle lets the averages fall where no share does it.
func (t *tally) decayIdle(now stamp) {
	if t.idle(now) {
		t.decay(now)
	}
}
