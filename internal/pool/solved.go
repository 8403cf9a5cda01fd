package pool

import (
	"fmt"
	"time"

	"ckpool/difficulty"
	"ckpool/internal/figures"
	"ckpool/sharelog"
)

// Solved is for a block the network has accepted: it logs who found it and what
// the round took, and begins a new round. The headline says all of that to the
// operator, in a line for one screen; shown is the text for miners.
func (s *State) Solved(b *Block, now time.Time) (headline, shown string) {
	pool := s.settings.Load().Name
	headline = "BLOCK " + figures.Count(b.Height) + " FOUND"
	shown = fmt.Sprintf("Block solved by %s!", pool)
	if w := s.names.worker(b.Worker); w != nil {
		headline += " by " + figures.Worker(logName(w.name))
		shown = fmt.Sprintf("Block %d solved by %s @ %s!", b.Height, w.name, pool)
		s.cfg.Event(levelNotice, fmt.Sprintf("Solved and confirmed block %d by %s", b.Height, logName(w.name)))
		s.cfg.Event(levelNotice, s.userLine(w.user, now))
		s.cfg.Event(levelNotice, s.workerLine(w, now))
	} else {
		s.cfg.Event(levelNotice, fmt.Sprintf("Solved and confirmed block %d", b.Height))
	}
	if b.Reward > 0 { // else an earlier run found it
		headline += ": " + figures.Bitcoins(b.Reward)
	}
	round, _, _ := s.totals.snapshot()
	s.cfg.Event(levelNotice, fmt.Sprintf("Block solved after %.0f shares at %.1f%% diff",
		round.accepted, effort(round.accepted, s.networkDifficulty())))
	if round.accepted > 0 { // else the round that it ended was another one
		headline += ", odds " + figures.Odds(difficulty.Chance(round.accepted, s.networkDifficulty()))
	}
	s.ResetRound()
	return headline, shown
}

func (s *State) userLine(u *user, now time.Time) string {
	u.mu.Lock()
	st := s.stats(&u.tally, now)
	authorised := u.authorised
	u.mu.Unlock()
	o := sharelog.NewObject([]byte("User " + logName(u.Name) + ":"))
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
