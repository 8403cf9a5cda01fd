package pool

import (
	"context"
	"fmt"
	"time"

	"ckpool/internal/figures"
	"ckpool/internal/session"
)

// Health is how a pool does.
type Health struct{ *Pool }

// Alive returns nil when every loop gets to its work before ctx ends.
func (p Health) Alive(ctx context.Context) error {
	_, err := p.countOnLoops(ctx, func(*session.Handler) int { return 0 })
	return err
}

// Summary is what the pool does, in a line.
func (p Health) Summary(now time.Time) string {
	st := p.Status(now, Sessions{})
	text := "no miners"
	if st.Workers > 0 {
		text = fmt.Sprintf("%s of %s, %s", figures.Things(st.Workers, "miner"), figures.Things(st.Users, "user"), figures.Rate(st.Hashrate[0]))
	}
	if p.rejecting.Load() {
		text += ", new connections wait"
	}
	if p.nodes.Current() == nil {
		n := p.nodes.Status()[0]
		reason := n.Reason
		if reason == "" { // it was not heard of yet
			reason = "is " + n.State
		}
		return fmt.Sprintf("No usable node: %s %s; %s", n.URL, reason, text)
	}
	if w := p.Work(); w != nil {
		text = fmt.Sprintf("Mining block %d: ", w.Job.Template.Height) + text
	}
	return text
}
