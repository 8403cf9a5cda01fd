package upstream

import (
	"testing"

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
		s := &session.Share{Upstream: u, Reason: session.Accepted, Credit: 0.5}
		if n := testing.AllocsPerRun(100, func() { Sink{}.Share(s) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
