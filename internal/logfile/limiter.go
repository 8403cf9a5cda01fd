package logfile

import (
	"fmt"
	"sync"
	"time"
)

// maxTexts bounds the memory of a Limiter.
const maxTexts = 10000

// Limiter lets the same text pass once per interval and counts the rest.
type Limiter struct {
	interval time.Duration

	mu     sync.Mutex // guards the rest
	recent map[string]*passed
	swept  time.Time
}

type passed struct {
	at       time.Time
	withheld int
}

// NewLimiter returns a Limiter with the given interval.
func NewLimiter(interval time.Duration) *Limiter {
	return &Limiter{interval: interval, recent: make(map[string]*passed)}
}

// Pass reports whether text may be logged now, and returns it with a note on
// how often it was withheld since the last time.
func (l *Limiter) Pass(text string) (string, bool) { return l.PassKind(text, text) }

// PassKind is Pass for texts of one kind that differ, for instance by who
// brought them about.
func (l *Limiter) PassKind(kind, text string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.sweep(now)
	p := l.recent[kind]
	if p == nil {
		l.recent[kind] = &passed{at: now}
		return text, true
	}
	if now.Sub(p.at) < l.interval {
		p.withheld++
		return "", false
	}
	withheld := p.withheld
	*p = passed{at: now}
	switch {
	case withheld == 0:
	case kind == text:
		text = fmt.Sprintf("%s (and %d times before)", text, withheld)
	default:
		text = fmt.Sprintf("%s (and %d others before)", text, withheld)
	}
	return text, true
}

// sweep forgets old texts, and all of them rather than grow without bound.
func (l *Limiter) sweep(now time.Time) {
	if len(l.recent) >= maxTexts {
		clear(l.recent)
	}
	if now.Sub(l.swept) < l.interval {
		return
	}
	l.swept = now
	for text, p := range l.recent {
		if now.Sub(p.at) >= 2*l.interval {
			delete(l.recent, text)
		}
	}
}
