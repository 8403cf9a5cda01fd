package users

import (
	"fmt"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/sharelog"
)

// EndRound is for a block of a worker that the network has accepted: it logs what
// the round took and begins a new one. The reward is in satoshis, 0 unknown. The
// headline is a line for the operator's screen; shown is the text for miners.
func (s *Users) EndRound(height int64, worker string, reward int64, now time.Time) (headline, shown string) {
	pool := s.settings.Load().Name
	headline = "BLOCK " + figures.Count(height) + " FOUND"
	shown = fmt.Sprintf("Block solved by %s!", pool)
	if w := s.directory.worker(worker); w != nil {
		headline += " by " + figures.Worker(LogName(w.name))
		shown = fmt.Sprintf("Block %d solved by %s @ %s!", height, w.name, pool)
		s.cfg.Events.Say(event.Notice, fmt.Sprintf("Solved and confirmed block %d by %s", height, LogName(w.name)))
		s.cfg.Events.Say(event.Notice, s.userLine(w.user, now))
		s.cfg.Events.Say(event.Notice, s.workerLine(w, now))
	} else {
		s.cfg.Events.Say(event.Notice, fmt.Sprintf("Solved and confirmed block %d", height))
	}
	if reward > 0 { // else an earlier run found it
		headline += ": " + figures.Bitcoins(reward)
	}
	round := s.totals.snapshot().round
	s.cfg.Events.Say(event.Notice, fmt.Sprintf("Block solved after %.0f shares at %.1f%% diff",
		round.accepted, effort(round.accepted, s.networkDifficulty())))
	if round.accepted > 0 { // else the round that it ended was another one
		headline += ", odds " + figures.Odds(difficulty.Chance(round.accepted, s.networkDifficulty()))
	}
	s.ResetRound()
	return headline, shown
}

func (s *Users) userLine(u *user, now time.Time) string {
	u.mu.Lock()
	st := s.stats(&u.tally, now)
	authorised := u.authorised
	u.mu.Unlock()
	o := sharelog.NewObject([]byte("User " + LogName(u.Name) + ":"))
	st.PutHashrates(&o)
	o.Whole("shares", st.Shares)
	o.Int("authorised", authorised)
	return string(o.Close())
}

func (s *Users) workerLine(w *worker, now time.Time) string {
	w.mu.Lock()
	st := s.stats(&w.tally, now)
	w.mu.Unlock()
	o := sharelog.NewObject([]byte("Worker " + LogName(w.name) + ":"))
	st.PutHashrates(&o)
	return string(o.Close())
}
