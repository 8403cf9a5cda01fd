package users

import (
	"fmt"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/session"
)

// BestShare is an event: a share is better than all of its user's before. Of n
// shares about ln n are.
type BestShare struct {
	User, Worker string
	Difficulty   float64 // of its hash
}

// Share implements session.Sink: it counts one judged submit and notes what it
// improved. It runs on the loop that read it.
func (s *Users) Share(sh *session.Share) {
	w := s.directory.table.get(sh.Worker)
	s.countPool(sh, w != nil)
	if w != nil {
		s.countWorker(sh, w)
	}
}

// countPool counts a submit for the pool; known tells that its worker is.
func (s *Users) countPool(sh *session.Share, known bool) {
	counts := s.totals.loop(sh.Loop)
	_, isShare := sh.Reason.Logged()
	switch {
	case sh.Reason != session.Accepted:
		n := 1 + int64(sh.Also)
		counts.rejects[sh.Reason].Add(n)
		if isShare && known {
			counts.reject(sh.Difficulty, n)
		}
	case known:
		counts.accept(sh.Credit)
		best := &counts.best
		if sh.Computed.Block {
			best = &counts.block
		}
		raiseFloat(best, sh.Computed.Difficulty)
	}
}

// countWorker counts a submit for its worker and the user of it.
func (s *Users) countWorker(sh *session.Share, w *worker) {
	now, round := s.stamp(sh.Time), s.round.Load()
	if sh.Reason != session.Accepted {
		w.mu.Lock()
		w.refuse(sh.Reason, 1+int64(sh.Also), now)
		s.touch(&w.tally)
		w.mu.Unlock()
		return
	}
	achieved := sh.Computed.Difficulty

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
		sh.Best = session.BestUserEver
		if s.cfg.Events != nil {
			s.tellBest(w, achieved)
		}
	case userBest:
		sh.Best = session.BestUser
	case workerBest && workerEver:
		sh.Best = session.BestWorkerEver
	case workerBest:
		sh.Best = session.BestWorker
	}
}

func (s *Users) tellBest(w *worker, achieved float64) {
	s.cfg.Events.Tell(event.Event{
		Level: event.Debug,
		Text: fmt.Sprintf("New best share ever for user %s, of worker %s: %s",
			LogName(w.user.Name), LogName(w.name), difficulty.FormatAchieved(achieved)),
		What: BestShare{User: w.user.Name, Worker: w.name, Difficulty: achieved},
	})
}

// Flush implements session.Sink.
func (s *Users) Flush(int) {}

// Sinks are what every judged submit goes to: these statistics, and the share log
// if there is one.
func (s *Users) Sinks() []session.Sink {
	if s.shareLog == nil {
		return []session.Sink{s}
	}
	return []session.Sink{s, s.shareLog}
}
