package upstream

import (
	"maps"
	"sync"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/source"
)

// Tally is how many shares, and the sum of their difficulties.
type Tally struct {
	Shares     int64
	Difficulty difficulty.Exact
}

func (t *Tally) add(d float64) {
	t.Shares++
	t.Difficulty = t.Difficulty.Add(difficulty.ExactOf(d))
}

// maxReasons is how many reasons are told apart; all others are counted under
// otherReasons.
const (
	maxReasons   = 32
	otherReasons = "other reasons"
)

// Figures are what became of shares of the jobs of a pool. The difficulty of what never
// left is that here.
type Figures struct {
	RefusedHere Tally // no pool heard of them
	NotSent     Tally // good here, and below what the pool asks
	Unsendable  Tally // the connection could not take it, and nobody above knows of it
	Accepted    Tally
	Unanswered  Tally
	Refused     Tally            // for whatever reason
	Reasons     map[string]Tally // of these, by what the pool said
	Open        int64            // sent, and not answered yet

	LastAccepted time.Time     // zero: none was
	Latency      time.Duration // of answers, an average in which later ones weigh more
	Slowest      time.Duration
	// Rates are the accepted difficulty a second, averaged over a minute, five, an hour
	// and a day.
	Rates [4]float64
}

var windows = [4]float64{60, 300, 3600, 86400} // seconds

// ledger counts Figures, for itself and for the one above it.
type ledger struct {
	above *ledger // nil: none
	began time.Time

	mu      sync.Mutex
	f       Figures // guarded by mu
	rates   [4]difficulty.Average
	fresh   float64   // accepted since decayed
	decayed time.Time // when rates were
	answers int64
}

func newLedger(above *ledger) *ledger {
	now := time.Now()
	return &ledger{above: above, began: now, decayed: now}
}

// sent notes a share that goes up.
func (l *ledger) sent() {
	for ; l != nil; l = l.above {
		l.mu.Lock()
		l.f.Open++
		l.mu.Unlock()
	}
}

// notTaken notes that one of which sent was told could not go up.
func (l *ledger) notTaken() {
	for ; l != nil; l = l.above {
		l.mu.Lock()
		l.f.Open--
		l.mu.Unlock()
	}
}

// unsendable notes a share that was to go up and could not.
func (l *ledger) unsendable(d float64) {
	for ; l != nil; l = l.above {
		l.mu.Lock()
		l.f.Unsendable.add(d)
		l.mu.Unlock()
	}
}

// refusedHere notes a share that went nowhere, since it is good for nobody.
func (l *ledger) refusedHere(d float64) {
	for ; l != nil; l = l.above {
		l.mu.Lock()
		l.f.RefusedHere.add(d)
		l.mu.Unlock()
	}
}

// notSent notes a share that counts here alone.
func (l *ledger) notSent(d float64) {
	for ; l != nil; l = l.above {
		l.mu.Lock()
		l.f.NotSent.add(d)
		l.mu.Unlock()
	}
}

// verdict notes what became of a share that went up.
func (l *ledger) verdict(d float64, v source.Verdict, took time.Duration) {
	now := time.Now()
	for ; l != nil; l = l.above {
		l.mu.Lock()
		l.f.Open--
		switch v.State {
		case source.AcceptedAbove:
			l.f.Accepted.add(d)
			l.f.LastAccepted = now
			l.fresh += d
			if now.Sub(l.decayed) >= time.Second {
				l.decay(now)
			}
		case source.RefusedAbove:
			l.f.Refused.add(d)
			l.reason(v.Text, d)
		default:
			l.f.Unanswered.add(d)
		}
		if v.State != source.Unanswered {
			l.f.Slowest = max(l.f.Slowest, took)
			l.answers++
			l.f.Latency += (took - l.f.Latency) / time.Duration(min(l.answers, 16))
		}
		l.mu.Unlock()
	}
}

// lost notes shares whose connection did not come along from another process.
func (l *ledger) lost(list []flight) {
	for i := range list {
		l.sent()
		l.verdict(list[i].credit, source.Verdict{State: source.Unanswered}, 0)
	}
}

func (l *ledger) reason(text string, d float64) {
	if l.f.Reasons == nil {
		l.f.Reasons = make(map[string]Tally)
	}
	if _, known := l.f.Reasons[text]; !known && len(l.f.Reasons) >= maxReasons {
		text = otherReasons
	}
	t := l.f.Reasons[text]
	t.add(d)
	l.f.Reasons[text] = t
}

// decay brings the averages to now. l.mu is held.
func (l *ledger) decay(now time.Time) {
	seconds := now.Sub(l.decayed).Seconds()
	if seconds <= 0 {
		return
	}
	for i := range l.rates {
		l.rates[i].Decay(l.fresh, seconds, windows[i])
	}
	l.fresh, l.decayed = 0, now
}

// figures is a copy as of now.
func (l *ledger) figures() Figures {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.decay(now)
	f := l.f
	f.Reasons = maps.Clone(l.f.Reasons)
	age := now.Sub(l.began).Seconds()
	for i, r := range l.rates {
		if bias := difficulty.Bias(age, windows[i]); bias > 0 {
			f.Rates[i] = float64(r) / bias
		}
	}
	return f
}
