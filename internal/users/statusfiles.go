package users

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/sharelog"
)

// TickInterval is how often Tick wants to be called.
const TickInterval = time.Minute / passes

// passes in a minute: work that is due once a minute is spread over them.
const passes = 32

// Sessions are counts of sessions, which Users do not know.
type Sessions struct {
	Idle         int64 // without a share for a minute
	Disconnected int64 // that may be resumed
}

// MinuteBegins tells whether the next Tick wants the counts of sessions: the
// first of a minute does.
func (s *Users) MinuteBegins() bool { return s.totals.nextPass()%passes == 0 }

// Tick brings the pool's averages up to now. For a 32nd of the users it lets the
// averages fall, writes the files and logs the lines; the first Tick of a minute
// does so for the pool. It does I/O: loops must not call it.
func (s *Users) Tick(now time.Time, n Sessions) error {
	_ = s.HoldFiles(context.Background())
	defer s.ReleaseFiles()
	if s.moved {
		return nil // the files are another process's
	}
	t := s.stamp(now)
	pass := s.totals.pass(t) % passes
	var trouble trouble
	if pass == 0 {
		s.refusals.sweep(t)
		s.newNames.sweep(t)
		s.forgetUsers(t, &trouble)
		s.remotes.forget(func(user string) bool { return s.directory.user(user) != nil })
		s.remotes.roundBegins()
		trouble.add(s.savePool(now, n))
		s.sums = make(map[string]agentSum)
	}
	s.saveUsers(now, pass, &trouble)
	s.saved(pass == passes-1, &trouble)
	return trouble.err()
}

// forgetUsers forgets the users that are too many, and removes their files.
func (s *Users) forgetUsers(now stamp, trouble *trouble) {
	forgotten := 0
	for _, u := range s.directory.excess(now) {
		if !s.directory.remove(u) {
			continue
		}
		forgotten++
		file, err := sharelog.FileName(u.Name)
		if err == nil {
			err = os.Remove(filepath.Join(s.usersDir(), file))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			trouble.add(err)
		}
	}
	if forgotten > 0 {
		s.cfg.Events.Say(event.Notice, fmt.Sprintf("Forgot %d users with the least shares: %d that nobody is connected to are kept", forgotten, keptUsers))
	}
}

// saved notes that files were written, all of a round with the last.
func (s *Users) saved(last bool, trouble *trouble) {
	switch {
	case trouble.first != nil:
		s.remotes.roundFails()
	case last:
		s.remotes.roundEnds()
	}
}

// Save writes all files at once, for the end of the pool.
func (s *Users) Save(now time.Time, n Sessions) error {
	_ = s.HoldFiles(context.Background())
	defer s.ReleaseFiles()
	s.sums = make(map[string]agentSum)
	s.remotes.roundBegins()
	var trouble trouble
	for pass := range passes {
		s.saveUsers(now, pass, &trouble)
	}
	trouble.add(s.savePool(now, n))
	s.saved(true, &trouble)
	return trouble.err()
}

// HoldFiles waits until no file is being written and keeps it so until
// ReleaseFiles or LeaveFiles. The error is that of ctx.
func (s *Users) HoldFiles(ctx context.Context) error {
	select {
	case s.files <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("files are being written all the time: %w", context.Cause(ctx))
	}
}

// ReleaseFiles ends HoldFiles.
func (s *Users) ReleaseFiles() { <-s.files }

// LeaveFiles ends HoldFiles when the files have become another process's.
func (s *Users) LeaveFiles() {
	s.moved = true
	s.ReleaseFiles()
}

// trouble makes one line of what may be thousands of files.
type trouble struct {
	first error
	more  int
}

func (t *trouble) add(err error) {
	switch {
	case err == nil:
	case t.first == nil:
		t.first = err
	default:
		t.more++
	}
}

func (t *trouble) err() error {
	if t.more > 0 {
		return fmt.Errorf("write statistics: %w (and %d more files)", t.first, t.more)
	}
	if t.first != nil {
		return fmt.Errorf("write statistics: %w", t.first)
	}
	return nil
}

func (s *Users) savePool(now time.Time, n Sessions) error {
	s.remotes.mu.Lock() // nothing is counted between what is written and what it says
	defer s.remotes.mu.Unlock()
	status := s.Status(now, n)
	status.Workers += s.elsewhere.connected("")
	status.Remotes = s.remotes.marks("")
	status.UserAgents = s.agents.list(s.sums, s.settings.Load().MaxUserAgents)
	for _, line := range status.Lines() {
		s.cfg.Events.Say(event.Notice, "Pool:"+line)
	}
	return status.Write(s.poolFile())
}

// Status is the pool's statistics at now, without user agents.
func (s *Users) Status(now time.Time, n Sessions) sharelog.PoolStatus {
	all := s.totals.snapshot()
	st := sharelog.PoolStatus{
		Runtime:           int64(now.Sub(s.start).Seconds()),
		LastUpdate:        now,
		Users:             s.active.Load(),
		Workers:           s.workers.Load(),
		Idle:              n.Idle,
		Disconnected:      n.Disconnected,
		NetworkDifficulty: s.networkDifficulty(),
		Accepted:          all.round.accepted,
		Rejected:          all.round.rejected,
		BestShare:         all.round.best,
		AcceptedCount:     all.round.acceptedCount,
		RejectedCount:     all.round.rejectedCount,
	}
	for i, r := range all.rates {
		st.Hashrate[i] = hashrate(r)
	}
	for i, r := range all.sps {
		st.SPS[i] = float64(r)
	}
	if !s.cfg.Proxy {
		st.Effort = math.Round(effort(st.Accepted, st.NetworkDifficulty)*100) / 100
	}
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

func (s *Users) poolFile() string { return filepath.Join(s.cfg.LogDir, "pool", "pool.status") }

func (s *Users) usersDir() string { return filepath.Join(s.cfg.LogDir, "users") }

// saveUsers writes the files of one pass's users and logs them.
func (s *Users) saveUsers(now time.Time, pass int, trouble *trouble) {
	for i := pass; i < len(s.directory.shards); i += passes {
		for _, u := range s.directory.shards[i].list() {
			s.saveUser(u, now, trouble)
		}
	}
}

// saveUser writes the file of a user and logs it.
func (s *Users) saveUser(u *user, now time.Time, trouble *trouble) {
	workers := s.directory.sweep(u, s.stamp(now))
	s.refreshWorkers(workers, s.stamp(now))
	s.remotes.mu.Lock() // as in savePool
	defer s.remotes.mu.Unlock()
	stats, write := s.userStats(u, now)
	if !write {
		return
	}
	stats.Remotes = s.remotes.marks(u.Name)
	stats.Workers += s.elsewhere.connected(u.Name)
	s.cfg.Events.Say(event.Notice, "User "+LogName(u.Name)+":"+stats.Line())
	trouble.add(s.writeUser(u.Name, &stats, workers, now))
}

func (s *Users) writeUser(name string, stats *sharelog.UserStats, workers []*worker, now time.Time) error {
	file, err := sharelog.FileName(name)
	if err != nil {
		return err
	}
	return stats.WriteWith(filepath.Join(s.usersDir(), file), func(yield func(*sharelog.WorkerStats) bool) {
		for _, w := range workers {
			st := s.workerStats(w, now)
			if !yield(&st) {
				return
			}
		}
	})
}

// workerStats is what the file of its user says of a worker.
func (s *Users) workerStats(w *worker, now time.Time) sharelog.WorkerStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return sharelog.WorkerStats{
		Name:      w.name,
		Stats:     s.stats(&w.tally, now),
		Started:   s.wall(w.connected.started(), now),
		UserAgent: w.connected.agentName(),
		Rejects:   w.shown(s.clock, now),
	}
}

// PoolFile is pool.status as it was last written. The error is that of reading it.
func (s *Users) PoolFile() ([]byte, error) { return os.ReadFile(s.poolFile()) }

// UserFile is the content of a user's file at now, with the newest workers up to limit.
// false: there is no such user.
func (s *Users) UserFile(name string, now time.Time, limit int) ([]byte, bool) {
	u := s.directory.user(canonicalName(name))
	if u == nil {
		return nil, false
	}
	stats, _ := s.userStats(u, now)
	stats.Workers += s.elsewhere.connected(u.Name)
	for _, w := range u.newestWorkers(limit) {
		stats.Worker = append(stats.Worker, s.workerStats(w, now))
	}
	return stats.Append(nil), true
}

// refreshWorkers brings workers up to a time, and adds up what user agents do.
func (s *Users) refreshWorkers(workers []*worker, t stamp) {
	round := s.round.Load()
	for _, w := range workers {
		w.mu.Lock()
		w.decayIdle(t)
		w.enterRound(round)
		s.touch(&w.tally)
		if w.connected.count() > 0 {
			kind := w.connected.kind()
			sum := s.sums[kind]
			sum.rate += w.rates[1]
			sum.best = max(sum.best, w.best)
			s.sums[kind] = sum
		}
		w.mu.Unlock()
	}
}

// userStats is what the user's file should hold, without workers, and whether it
// is to be written: for users that logged in in this run and ever had a share.
func (s *Users) userStats(u *user, now time.Time) (stats sharelog.UserStats, write bool) {
	t, round := s.stamp(now), s.round.Load()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.decayIdle(t)
	s.touch(&u.tally)
	forgot := u.enterRound(round) // the file must not bring back the best of an old round
	write = u.lastShare != never && (u.loggedIn || forgot)
	stats.Stats = s.stats(&u.tally, now)
	stats.Workers = int64(u.attached)
	if u.authorised != 0 {
		stats.Authorised = time.Unix(u.authorised, 0)
	}
	return stats, write
}

// stats are for a caller that holds the tally's lock.
func (s *Users) stats(t *tally, now time.Time) sharelog.Stats {
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

// LogName is a name as one word of a log line: what would break the line is
// escaped.
func LogName(name string) string {
	if safe, err := sharelog.FileName(name); err == nil {
		return safe
	}
	return fmt.Sprintf("%q", name)
}
