package upstream

import "github.com/ckpool/ckpool/internal/session"

// Sink counts the shares of other pools' jobs that these never hear of: the many that are
// good here alone, what is refused here, and what could not go up.
type Sink struct{}

// Share implements session.Sink.
func (Sink) Share(s *session.Share) {
	if s.Upstream == nil || s.WentUp {
		return // its Judge has counted it
	}
	var l *line
	switch judge := s.Upstream.Judge.(type) {
	case *job:
		l = judge.line
	case *line: // of a job that came from another process
		l = judge
	default:
		return
	}
	switch s.Reason {
	case session.Accepted:
		l.ledger.notSent(s.Credit)
	case session.Unanswered:
		l.ledger.unsendable(s.Upstream.Difficulty)
	default:
		l.ledger.refusedHere(s.Difficulty)
	}
}

// Flush implements session.Sink.
func (Sink) Flush(int) {}
