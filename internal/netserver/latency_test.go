//go:build linux

package netserver

import (
	"testing"
	"time"
)

// What was answered and told is counted once, by the time until it was sent; the last
// one to hear of the newest tip is the latest of all loops.
func TestLatencies(t *testing.T) {
	now := time.Now()
	loops := [2]Loop{}
	for i := range loops {
		l := &loops[i]
		l.now = now.Add(-30 * time.Millisecond)
		l.Answered()
		l.Answered()
		l.took.count(l.now, &l.counters)
		l.took.count(l.now, &l.counters) // nothing more
		l.Notified(now.Add(-time.Hour))
		l.took.count(l.now, &l.counters)
	}
	loops[1].Notified(now.Add(-3 * time.Second))
	loops[1].took.count(now, &loops[1].counters)
	loops[0].Notified(now.Add(-3 * time.Second))
	loops[0].took.count(now, &loops[0].counters)
	var st Stats
	for i := range loops {
		loops[i].counters.addTo(&st)
	}
	if n := st.Answers.Number(); n != 4 || st.Answers.Sum < 4*30*time.Millisecond {
		t.Errorf("%d answers in %v", n, st.Answers.Sum)
	}
	if n := st.Notifies.Number(); n != 4 || st.Notifies.Sum < 2*time.Hour {
		t.Errorf("%d told in %v", n, st.Notifies.Sum)
	}
	if !st.Tip.Equal(now.Add(-3*time.Second)) || st.LastNotified < 3*time.Second || st.LastNotified > time.Hour {
		t.Errorf("the last was told %v after %v", st.LastNotified, st.Tip)
	}
}

// A loop that the iteration gives to the handler counts by itself.
func TestAnswersOfALoopAreCounted(t *testing.T) {
	l := Loop{now: time.Now().Add(-time.Second), handler: silent{}}
	l.Answered()
	l.flush()
	var st Stats
	l.counters.addTo(&st)
	if st.Answers.Number() != 1 || st.Answers.Sum < time.Second {
		t.Errorf("%+v", st.Answers)
	}
}

// silent is a handler to which nothing happens.
type silent struct{ Handler }

func (silent) Flush() {}
