package jobs

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// After a handover the work that was there is not replaced by work on an older
// block for ten seconds, in which the new process hears of the newest one.
func TestOutdatedTemplates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newJobClock(t) // whose jobs are of height 850000
		g := NewGenerator(nil, c.Jobs, Options{})
		want := func(when string, height int64, want bool) {
			t.Helper()
			update := &source.Update{Template: &work.Template{Height: height}}
			if got := g.outdated(update); got != want {
				t.Errorf("%s: a template of height %d is outdated: %v", when, height, got)
			}
		}
		want("no work", 849999, false)
		id := c.at(0)
		want("work of its own", 849999, false) // the node went back: it is followed
		g.inherit([]*session.Work{c.Find(id)}, nil)
		want("at once", 849999, true)
		want("at once", 850000, false)
		want("at once", 850001, false)
		time.Sleep(9900 * time.Millisecond)
		want("after 9.9 s", 849999, true)
		time.Sleep(200 * time.Millisecond)
		want("after 10.1 s", 849999, false)
	})
}

// silent is a source that gives nothing.
type silent struct{ Source }

func (silent) Templates() <-chan source.Update { return nil }
func (silent) Refresh(string)                  {}
func (silent) Chain() string                   { return "main" }

// With nodes that are silent for hours miners get another job before the present
// one can be announced no more, with transactions and tip as they were.
func TestSilentNodeJobIsRenewed(t *testing.T) {
	for _, tt := range []struct {
		age   time.Duration
		renew bool
	}{{20 * time.Minute, false}, {25 * time.Minute, true}, {3 * time.Hour, true}} {
		c := newJobClock(t)
		g := NewGenerator(silent{}, c.Jobs, Options{
			Config: func() *config.Config { return &config.Config{UpdateInterval: 30 * time.Second} },
			Wake:   func(*session.Work) {},
		})
		g.builder, g.shown = &c.builder, true
		c.start = time.Now().Add(-tt.age)
		id := c.at(0)
		update, ok := g.renewed(time.Now())
		if tt.renew {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			update, ok = g.await(ctx, time.NewTimer(0))
			cancel()
		}
		if ok != tt.renew {
			t.Errorf("after %v: renewed %v", tt.age, ok)
		}
		if !ok {
			continue
		}
		before := c.Find(id).Job.Template
		if got := update.Template; got.PrevHash != before.PrevHash || got.Height != before.Height || time.Unix(int64(got.CurTime), 0).Before(time.Now().Add(-time.Minute)) {
			t.Errorf("after %v: a template of height %d, time %d, was %d, %d", tt.age, got.Height, got.CurTime, before.Height, before.CurTime)
		}
		if err := g.publish(&c.builder, nil, &update); err != nil {
			t.Fatal(err)
		}
		if w := c.Work(0); w.Job.ID != id+1 || w.Tip != id {
			t.Errorf("after %v: job %x of tip %x", tt.age, w.Job.ID, w.Tip)
		}
	}
}
