//go:build linux

package netserver

import (
	"time"
)

// took is what was written since the last flush of which it is counted how long it
// took. Owned by the loop.
type took struct {
	answers  uint64    // to shares that came in this iteration
	notifies uint64    // of work on a new tip
	since    time.Time // when there was that work
}

// Answered says that a share which came in this iteration has been answered: until the
// answer is handed to the kernel, or put behind others that the client does not take,
// counts as its latency.
func (l *Loop) Answered() { l.took.answers++ }

// Notified says that a client has been written work on a new tip, which there is since a
// time.
func (l *Loop) Notified(since time.Time) {
	l.took.notifies++
	l.took.since = since
}

// count counts what was sent. The answers are to what came when the iteration began.
func (t *took) count(began time.Time, c *counters) {
	if t.answers == 0 && t.notifies == 0 {
		return
	}
	now := time.Now()
	if t.answers > 0 {
		c.answers.Count(now.Sub(began), t.answers)
	}
	if t.notifies > 0 {
		d := now.Sub(t.since)
		c.notifies.Count(d, t.notifies)
		c.tip.Store(t.since.UnixNano())
		c.notified.Store(int64(d))
	}
	*t = took{}
}
