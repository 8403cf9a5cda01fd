package pool

import (
	"ckpool/internal/session"
	"ckpool/stratum"
)

// Share accounts one judged submit. It runs on the loop that read it.
func (s *State) Share(sh *session.Share) session.Best {
	w := s.names.table.get(sh.Worker)
	errn := shareError(sh.Reject)
	if w == nil || errn == errnFormat {
		s.totals.loop(sh.Loop).rejects[0].Add(1)
		return session.BestNone
	}
	if s.log != nil {
		s.log.add(sh, w, errn)
	}
	counts := s.totals.loop(sh.Loop)
	if errn != errnNone {
		counts.reject(sh.Difficulty, errn)
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

	now, round := s.stamp(sh.Time), s.round.Load()
	w.mu.Lock()
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

// Flush ends one iteration of a loop: what it logged goes to the writer.
func (s *State) Flush(loop int) {
	if s.log != nil {
		s.log.flush(loop)
	}
}

// Numbers of share logs for verdicts.
const (
	errnFormat = iota - 1 // a malformed submit: neither counted nor logged
	errnNone
	errnJobID
	errnStale
	errnNTime
	errnDuplicate
	errnAboveTarget
	errnVersionMask
)

// rejectNames are those of the numbers above, in words; errnFormat has the place
// of errnNone.
var rejectNames = [...]string{
	"malformed", "job not found", "stale", "ntime out of range", "duplicate", "above target", "invalid version mask",
}

func shareError(r *stratum.Reject) int {
	if r == nil {
		return errnNone
	}
	switch r.Code {
	case stratum.JobNotFound:
		if r.Text == "Stale" {
			return errnStale
		}
		return errnJobID
	case stratum.Duplicate:
		return errnDuplicate
	case stratum.LowDifficulty:
		return errnAboveTarget
	}
	switch r.Text {
	case "Ntime out of range":
		return errnNTime
	case "Invalid version mask":
		return errnVersionMask
	}
	return errnFormat
}
