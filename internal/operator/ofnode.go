package operator

import (
	"context"
	"time"
)

// OfNode registers what a node answers beside what a passthrough does: the users among its
// miners, and its bitcoin nodes. Of o it needs Users and Source.
func (o *Operator) OfNode(r Registrar) {
	r.about("getuser", found(o.findUser, user))
	r.about("getworker", found(o.findWorker, worker))
	r.Ask("users", func(_ context.Context, now time.Time) any { return o.users(now) })
	r.Ask("workers", func(_ context.Context, now time.Time) any { return o.workers(now) })
	r.Ask("bestshares", func(context.Context, time.Time) any { return o.bestShares() })
	r.Ask("rejects", func(context.Context, time.Time) any { return o.rejects() })
	r.Ask("nodes", func(context.Context, time.Time) any { return o.nodesReply() })
}
