package jobs

import (
	"testing"
	"testing/synctest"
	"time"

	"ckpool/internal/session"
	"ckpool/work"
)

// After a handover the work that was there is not replaced by work on an older
// block for ten seconds, in which the new process hears of the newest one.
func TestOutdatedTemplates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newJobClock(t) // whose jobs are of height 850000
		g := NewGenerator(nil, c.Jobs, Options{})
		want := func(when string, height int64, want bool) {
			t.Helper()
			update := &Update{Template: &work.Template{Height: height}}
			if got := g.outdated(update); got != want {
				t.Errorf("%s: a template of height %d is outdated: %v", when, height, got)
			}
		}
		want("no work", 849999, false)
		id := c.at(0)
		want("work of its own", 849999, false) // the node went back: it is followed
		g.inherit([]*session.Work{c.Find(id)})
		want("at once", 849999, true)
		want("at once", 850000, false)
		want("at once", 850001, false)
		time.Sleep(9900 * time.Millisecond)
		want("after 9.9 s", 849999, true)
		time.Sleep(200 * time.Millisecond)
		want("after 10.1 s", 849999, false)
	})
}
