package users

import (
	"errors"
	"time"

	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/sharelog"
)

// rejects are a worker's refused submits since it was first seen. Most workers
// never have any.
type rejects struct {
	counts [session.Reasons]int64
	last   session.Reason
	at     stamp // of the last one
}

// refuse counts n submits. It is for a caller that holds mu.
func (w *worker) refuse(reason session.Reason, n int64, now stamp) {
	if w.rejects == nil {
		w.rejects = new(rejects)
	}
	w.rejects.counts[reason] += n
	w.rejects.last, w.rejects.at = reason, now
}

// shown is what files and replies show. The caller holds mu.
func (w *worker) shown(c clock, now time.Time) (r sharelog.Rejects) {
	r.Accepted = w.accepted
	if w.rejects == nil {
		return r
	}
	for reason, n := range w.rejects.counts {
		if n > 0 {
			r.Counts = append(r.Counts, sharelog.RejectCount{Reason: session.Reason(reason).String(), Count: n})
		}
	}
	r.Last, r.LastTime = w.rejects.last.String(), c.wall(w.rejects.at, now)
	return r
}

// restoreRejects is the inverse. The caller holds mu. Reasons this version does
// not know are left out.
func (l loader) restoreRejects(w *worker, r *sharelog.Rejects) {
	w.accepted = r.Accepted
	last, ok := session.ReasonNamed(r.Last)
	if !ok || last == session.Accepted {
		return
	}
	w.rejects = &rejects{last: last, at: l.users.loaded(r.LastTime, l.now)}
	for _, count := range r.Counts {
		if reason, ok := session.ReasonNamed(count.Reason); ok && reason != session.Accepted {
			w.rejects.counts[reason] = count.Count
		}
	}
}

func (r *rejects) fields(c *wire.Codec) {
	rejectFields(c, &r.counts)
	wire.Uint(c, &r.last)
	if wire.Int(c, &r.at); r.last == session.Accepted {
		c.Fail(errors.New("an accepted share among rejects"))
	}
}
