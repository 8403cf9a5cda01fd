package pool

import (
	"fmt"
	"time"

	"ckpool/internal/session"
	"ckpool/sharelog"
)

// Solved is for a block the network has accepted: it logs who found it and
// what the round took, begins a new round and returns the text miners are
// shown.
func (s *State) Solved(height int64, id session.WorkerID, now time.Time) string {
	pool := s.settings.Load().Name
	text := fmt.Sprintf("Block solved by %s!", pool)
	if w := s.names.table.get(id); w != nil {
		text = fmt.Sprintf("Block %d solved by %s @ %s!", height, w.name, pool)
		s.cfg.Event(levelWarning, fmt.Sprintf("Solved and confirmed block %d by %s", height, logName(w.name)))
		s.cfg.Event(levelWarning, s.userLine(w.user, now))
		s.cfg.Event(levelWarning, s.workerLine(w, now))
	} else {
		s.cfg.Event(levelWarning, fmt.Sprintf("Solved and confirmed block %d", height))
	}
	round, _, _ := s.totals.snapshot()
	s.cfg.Event(levelWarning, fmt.Sprintf("Block solved after %.0f shares at %.1f%% diff",
		round.accepted, effort(round.accepted, s.networkDifficulty())))
	s.ResetRound()
	return text
}

func (s *State) userLine(u *user, now time.Time) string {
	u.mu.Lock()
	st := s.stats(&u.tally, now)
	authorised := u.authorised
	u.mu.Unlock()
	o := sharelog.NewObject([]byte("User " + logName(u.name) + ":"))
	st.PutHashrates(&o)
	o.Whole("shares", st.Shares)
	o.Int("authorised", authorised)
	return string(o.Close())
}

func (s *State) workerLine(w *worker, now time.Time) string {
	w.mu.Lock()
	st := s.stats(&w.tally, now)
	w.mu.Unlock()
	o := sharelog.NewObject([]byte("Worker " + logName(w.name) + ":"))
	st.PutHashrates(&o)
	return string(o.Close())
}
