package upstream

import "ckpool/internal/session"

// Sink counts the shares of other pools' jobs that these never hear of: the many that are
// good here alone, and what is refused here.
type Sink struct{}

// Share implements session.Sink.
func (Sink) Share(s *session.Share) {
	if s.Upstream == nil || s.WentUp || s.Reason.OfUpstream() {
		return // its Judge has counted it
	}
	j, ok := s.Upstream.Judge.(*job)
	switch {
	case !ok:
	case s.Reason == session.Accepted:
		j.line.ledger.notSent(s.Credit)
	default:
		j.line.ledger.refusedHere(s.Difficulty)
	}
}

// Flush implements session.Sink.
func (Sink) Flush(int) {}
