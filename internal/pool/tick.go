package pool

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"ckpool/difficulty"
	"ckpool/sharelog"
)

// TickInterval is how often Tick wants to be called: 32 times a minute.
const TickInterval = 1875 * time.Millisecond

// Sessions are counts of sessions, which a State does not know.
type Sessions struct {
	Idle         int64 // without a share for a minute
	Disconnected int64 // that may be resumed
}

// Tick brings the pool's averages up to now. It reports true the first time
// and then once a minute: time for Minute.
func (s *State) Tick(now time.Time) (minute bool) {
	t := s.stamp(now)
	if s.totals.pass(t)%32 != 0 {
		return false
	}
	s.refusals.sweep(t)
	s.newNames.sweep(t)
	return true
}

// Minute lets the averages of idle users fall, writes the statistics files and
// logs them. It is for once a minute and the end of the pool. It does I/O:
// loops must not call it. The error names the first file that could not be
// written and how many others.
func (s *State) Minute(now time.Time, n Sessions) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	sums, err := s.saveUsers(now)
	status := s.Status(now, n)
	status.UserAgents = s.agents.list(sums, s.cfg.MaxUserAgents)
	for _, line := range status.Lines() {
		s.cfg.Event(levelNotice, "Pool:"+line)
	}
	return errors.Join(status.Write(s.poolFile()), err)
}

// Status is the pool's statistics at now, without user agents.
func (s *State) Status(now time.Time, n Sessions) sharelog.PoolStatus {
	round, rates, sps := s.totals.snapshot()
	st := sharelog.PoolStatus{
		Runtime:           int64(now.Sub(s.start).Seconds()),
		LastUpdate:        now,
		Users:             s.users.Load(),
		Workers:           s.workers.Load(),
		Idle:              n.Idle,
		Disconnected:      n.Disconnected,
		NetworkDifficulty: s.networkDifficulty(),
		Accepted:          round.accepted,
		Rejected:          round.rejected,
		BestShare:         round.best,
		AcceptedCount:     round.acceptedCount,
		RejectedCount:     round.rejectedCount,
	}
	for i, r := range rates {
		st.Hashrate[i] = hashrate(r)
	}
	for i, r := range sps {
		st.SPS[i] = float64(r)
	}
	st.Effort = math.Round(effort(st.Accepted, st.NetworkDifficulty)*100) / 100
	return st
}

// effort is the work of a round in percent of what a block takes on average.
func effort(accepted, networkDifficulty float64) float64 {
	if networkDifficulty == 0 {
		return 0
	}
	return accepted * 100 / networkDifficulty
}

func hashrate(a difficulty.Average) float64 { return float64(a) * difficulty.HashesPerDifficulty }

func (s *State) poolFile() string { return filepath.Join(s.cfg.LogDir, "pool", "pool.status") }

func (s *State) usersDir() string { return filepath.Join(s.cfg.LogDir, "users") }

// saveUsers writes the files of users and logs them; it returns
// what the connected workers of each user agent do.
func (s *State) saveUsers(now time.Time) (map[string]agentSum, error) {
	sums := make(map[string]agentSum)
	var first error
	failed := 0
	s.names.all(func(u *user) bool {
		stats, write := s.userStats(u, now, sums)
		if !write {
			return true
		}
		s.cfg.Event(levelNotice, "User "+logName(u.name)+":"+stats.Line())
		if err := s.saveUser(u.name, &stats); err != nil {
			if failed++; first == nil {
				first = err
			}
		}
		return true
	})
	if failed > 1 {
		return sums, fmt.Errorf("%w (and %d more users)", first, failed-1)
	}
	return sums, first
}

func (s *State) saveUser(name string, stats *sharelog.UserStats) error {
	file, err := sharelog.FileName(name)
	if err != nil {
		return err
	}
	return stats.Write(filepath.Join(s.usersDir(), file))
}

// userStats is what the user's file should hold, and whether it is to be
// written: for users that logged in in this run and ever had a share.
func (s *State) userStats(u *user, now time.Time, sums map[string]agentSum) (stats sharelog.UserStats, write bool) {
	t, round := s.stamp(now), s.round.Load()
	u.mu.Lock()
	u.decayIdle(t)
	forgot := u.settle(round) // the file must not bring back the best of an old round
	write = u.lastShare != never && (u.loggedIn || forgot)
	stats.Stats = s.stats(&u.tally, now)
	stats.Workers = int64(u.attached)
	if u.authorised != 0 {
		stats.Authorised = time.Unix(u.authorised, 0)
	}
	workers := u.workers
	u.mu.Unlock()

	if write {
		stats.Worker = make([]sharelog.WorkerStats, 0, len(workers))
	}
	for _, w := range workers {
		w.mu.Lock()
		w.decayIdle(t)
		w.settle(round)
		if w.connected.count > 0 {
			kind := w.connected.kind()
			sum := sums[kind]
			sum.rate += w.rates[1]
			sum.best = max(sum.best, w.best)
			sums[kind] = sum
		}
		if write {
			stats.Worker = append(stats.Worker, sharelog.WorkerStats{
				Name:      w.name,
				Stats:     s.stats(&w.tally, now),
				Started:   s.wall(w.connected.started(), now),
				UserAgent: w.connected.agentName(),
			})
		}
		w.mu.Unlock()
	}
	return stats, write
}

// stats are for a caller that holds the tally's lock.
func (s *State) stats(t *tally, now time.Time) sharelog.Stats {
	st := sharelog.Stats{
		LastShare:  s.wall(t.lastShare, now),
		Shares:     t.shares,
		BestShare:  t.best,
		BestEver:   t.bestEver,
		LastUpdate: now,
	}
	for i, r := range t.rates {
		st.Hashrate[i] = hashrate(r)
	}
	return st
}

// logName is a name as one word of a log line: what would break the line is
// escaped.
func logName(name string) string {
	if safe, err := sharelog.FileName(name); err == nil {
		return safe
	}
	return fmt.Sprintf("%q", name)
}
