package operator

import (
	"context"
	"fmt"
	"time"

	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
)

// origin is what work comes from.
func (o *Operator) origin() string {
	if o.Proxies != nil {
		return "upstream"
	}
	return "node"
}

// Alive returns nil when every loop gets to its work before ctx ends.
func (o *Operator) Alive(ctx context.Context) error {
	_, err := o.Miners.Count(ctx, func(*session.Handler) int { return 0 })
	return err
}

// Summary is what the pool does, in a line.
func (o *Operator) Summary(now time.Time) string {
	st := o.Users.Status(now, users.Sessions{})
	text := "no miners"
	if st.Workers > 0 {
		text = fmt.Sprintf("%s of %s, %s", figures.Things(st.Workers, "miner"), figures.Things(st.Users, "user"), figures.Rate(st.Hashrate[0]))
	}
	if o.Admission.Rejecting() {
		text += ", new connections wait"
	}
	if !o.Source.Usable() {
		places := o.Source.Status()
		if len(places) == 0 { // an operator has removed them
			return fmt.Sprintf("No %s; %s", o.origin(), text)
		}
		n := places[0]
		reason := n.Reason
		if reason == "" { // it was not heard of yet
			reason = "is " + n.State
		}
		return fmt.Sprintf("No usable %s: %s %s; %s", o.origin(), n.URL, reason, text)
	}
	if w := o.Jobs.Newest(); w != nil && w.Job.Template.Height > 0 { // which another pool may not tell
		text = fmt.Sprintf("Mining block %d: ", w.Job.Template.Height) + text
	}
	return text
}
