package users

import (
	"fmt"

	"ckpool/difficulty"
	"ckpool/event"
	"ckpool/internal/session"
)

// BestShare is an event: a share is better than all of its user's before. Of a user
// with n shares about ln n were.
type BestShare struct {
	User, Worker string
	Difficulty   float64 // of its hash
}

// Share accounts one judged submit. It runs on the loop that read it.
func (s *Users) Share(sh *session.Share) session.Best {
	w := s.names.table.get(sh.Worker)
	counts := s.totals.loop(sh.Loop)
	_, isShare := sh.Reason.Logged()
	if sh.Reason != session.Accepted {
		counts.rejects[sh.Reason].Add(1)
	}
	if w == nil {
		return session.BestNone
	}
	if s.log != nil && isShare {
		s.log.add(sh, w)
	}
	now, round := s.stamp(sh.Time), s.round.Load()
	if sh.Reason != session.Accepted {
		if isShare {
			counts.reject(sh.Difficulty)
		}
		w.mu.Lock()
		w.refuse(sh.Reason, now)
		s.touch(&w.tally)
		w.mu.Unlock()
		return session.BestNone
	}
	achieved, block := 0.0, false
	if sh.Computed != nil {
		achieved, block = sh.Computed.Difficulty, sh.Computed.Block
	}
	counts.accept(sh.Credit)
	if !block {
		counts.offerBest(achieved)
	}

	w.mu.Lock()
	w.accepted++
	workerBest, workerEver := w.credit(now, sh.Credit, achieved, round)
	s.touch(&w.tally)
	w.mu.Unlock()
	u := w.user
	u.mu.Lock()
	userBest, userEver := u.credit(now, sh.Credit, achieved, round)
	s.touch(&u.tally)
	u.mu.Unlock()

	switch {
	case userBest && userEver:
		if s.cfg.Events != nil {
			s.tellBest(w, achieved)
		}
		return session.BestUserEver
	case userBest:
		return session.BestUser
	case workerBest && workerEver:
		return session.BestWorkerEver
	case workerBest:
		return session.BestWorker
	}
	return session.BestNone
}

func (s *Users) tellBest(w *worker, achieved float64) {
	s.cfg.Events.Tell(event.Event{
		Level: event.Debug,
		Text: fmt.Sprintf("New best share ever for user %s, of worker %s: %s",
			LogName(w.user.name), LogName(w.name), difficulty.FormatAchieved(achieved)),
		What: BestShare{User: w.user.name, Worker: w.name, Difficulty: achieved},
	})
}

// Flush ends one iteration of a loop: what it logged goes to the writer.
func (s *Users) Flush(loop int) {
	if s.log != nil {
		s.log.flush(loop)
	}
}
