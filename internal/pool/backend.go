package pool

import (
	"time"

	"ckpool/internal/session"
	"ckpool/stratum"
)

// backend is the pool as sessions see it.
type backend struct{ pool *Pool }

func (b backend) Settings() *session.Settings  { return b.pool.settings.Load() }
func (b backend) Work() *session.Work          { return b.pool.jobs.Work() }
func (b backend) Find(id uint64) session.Found { return b.pool.jobs.Find(id) }
func (b backend) Authorize(l *session.Login) (session.Grant, *stratum.Reject) {
	return b.pool.users.Authorize(l)
}
func (b backend) Attach(w session.WorkerID, client uint64, userAgent string, at time.Time) {
	b.pool.users.Attach(w, client, userAgent, at)
}
func (b backend) Detach(w session.WorkerID, client uint64, userAgent string) {
	b.pool.users.Detach(w, client, userAgent)
}
func (b backend) Share(s *session.Share) session.Best { return b.pool.users.Share(s) }
func (b backend) Block(s *session.Share)              { b.pool.blocks.Take(s) }
func (b backend) Flush(loop int)                      { b.pool.users.Flush(loop) }
func (b backend) Notice(kind, text string)            { b.pool.notice(kind, text) }
