package upstream

import (
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/source"
)

// What a pool never hears of is counted beside what it judges: by reason, once, and
// without memory of its own.
func TestSink(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		p := f.started(otherpool.New(t, otherpool.Config{}), Config{})
		u := f.job().Upstream
		moved := *u
		moved.Judge = p.lineOf(u.Source) // as in another process
		for _, s := range []session.Share{
			{Upstream: u, Reason: session.Accepted, Credit: 0.5, Difficulty: 2},
			{Upstream: u, Reason: session.Stale, Difficulty: 2},
			{Upstream: u, Reason: session.Refused, Difficulty: 8, WentUp: true},
			{Upstream: u, Reason: session.Accepted, Credit: 8, WentUp: true, Above: source.NotSent},
			{Upstream: u, Reason: session.Unanswered, Difficulty: 8}, // the connection did not take it
			{Upstream: &moved, Reason: session.Accepted, Credit: 0.25},
			{Reason: session.Malformed, Difficulty: 8},
			{Upstream: &source.Upstream{}, Reason: session.Accepted, Credit: 8},
		} {
			Sink{}.Share(&s)
		}
		got := p.Figures()
		if n, r := got.NotSent, got.RefusedHere; n.Shares != 2 || n.Difficulty.Float64() != 0.75 || r.Shares != 1 || r.Difficulty.Float64() != 2 {
			t.Errorf("not sent %+v, refused here %+v", n, r)
		}
		if n := got.Unsendable; n.Shares != 1 || n.Difficulty.Float64() != u.Difficulty {
			t.Errorf("cannot be sent %+v, want one of difficulty %g", n, u.Difficulty)
		}
		s := &session.Share{Upstream: u, Reason: session.Accepted, Credit: 0.5}
		if n := testing.AllocsPerRun(100, func() { Sink{}.Share(s) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// A share that its connection does not take any more, since it has ended, is one thing: too late
// where it was good for nothing but the pool, else one that cannot be sent.
func TestSinkOfAnEndedConnection(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		a := otherpool.New(t, otherpool.Config{})
		p := f.started(a, Config{})
		job := f.job()
		u := job.Upstream
		a.DropAll()
		time.Sleep(10 * time.Second)
		for _, reason := range []session.Reason{session.Stale, session.Unanswered} {
			if u.Judge.Submit(f.find(job, 1, 1e-10, 0)) {
				t.Error("a share of an ended connection is taken")
			}
			Sink{}.Share(&session.Share{Upstream: u, Reason: reason, Difficulty: 2})
		}
		if k := p.Figures(); k.RefusedHere.Shares != 1 || k.Unsendable.Shares != 1 || k.Open != 0 {
			t.Errorf("%d refused here, %d cannot be sent, %d wait; want 1, 1 and 0", k.RefusedHere.Shares, k.Unsendable.Shares, k.Open)
		}
	})
}
