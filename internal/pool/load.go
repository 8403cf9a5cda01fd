package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"ckpool/address"
	"ckpool/difficulty"
	"ckpool/sharelog"
)

// Load makes the directories of the statistics files and reads back what an
// earlier run, of this or of an older version, has left in them. Averages are
// decayed for the time since. Files that cannot be read are reported as events
// and left out. Load is for before the first login.
func (s *State) Load(now time.Time) error {
	for _, dir := range []string{filepath.Dir(s.poolFile()), s.usersDir()} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("make log directory: %w", err)
		}
	}
	s.loadPool(now)
	if err := s.loadUsers(now); err != nil {
		return err
	}
	if err := s.loadWorkers(now); err != nil {
		return err
	}
	users := s.names.lastID.Load()
	s.cfg.Event(levelWarning, fmt.Sprintf("Loaded %d users and %d workers", users, s.names.table.count()))
	return nil
}

func (s *State) loadPool(now time.Time) {
	st, err := sharelog.ReadPoolStatus(s.poolFile())
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		s.unreadable(err)
		return
	}
	t := &s.totals
	t.mu.Lock()
	defer t.mu.Unlock()
	t.round = roundCounts{
		accepted: st.Accepted, rejected: st.Rejected,
		acceptedCount: st.AcceptedCount, rejectedCount: st.RejectedCount,
		best: st.BestShare,
	}
	gap := now.Round(0).Sub(st.LastUpdate)
	for i := range t.rates {
		t.rates[i] = decayed(st.Hashrate[i]/difficulty.HashesPerDifficulty, gap, poolWindows[i])
	}
	for i := range t.sps {
		t.sps[i] = decayed(st.SPS[i], gap, poolWindows[i])
	}
}

// decayed is an average after a gap without shares. Unlike a single step of
// [difficulty.Average.Decay], which never more than halves, this is the limit
// of many small ones.
func decayed(rate float64, gap time.Duration, window float64) difficulty.Average {
	if gap > 0 {
		rate *= math.Exp(-gap.Seconds() / window)
	}
	if rate < 2e-16 {
		return 0
	}
	return difficulty.Average(rate)
}

func (s *State) unreadable(err error) {
	s.cfg.Event(levelWarning, fmt.Sprintf("Statistics left out: %v", err))
}

// loadUsers reads users/*. Where two files stand for one user, the one named
// as this version names it counts.
func (s *State) loadUsers(now time.Time) error {
	files, err := listFiles(s.usersDir())
	if err != nil {
		return err
	}
	var foreign []string
	for _, file := range files {
		if name, own := userOfFile(file); own {
			s.loadUser(file, name, now)
		} else if name != "" {
			foreign = append(foreign, file)
		}
	}
	for _, file := range foreign {
		if name, _ := userOfFile(file); s.names.user(name) == nil {
			s.loadUser(file, name, now)
		}
	}
	return nil
}

// userOfFile is the user a file stands for, empty for other files, and whether
// the file is named as this version names it.
func userOfFile(file string) (name string, own bool) {
	name = sharelog.NameOfFile(file)
	if a, err := address.Parse(name); err == nil {
		name = a.String()
	}
	if _, rest := splitName(name); rest != "" {
		return "", false
	}
	canonical, err := sharelog.FileName(name)
	if err != nil {
		return "", false
	}
	return name, canonical == file
}

// listFiles lists the regular files of dir and removes what a killed process
// has left unfinished.
func listFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read statistics: %w", err)
	}
	var files []string
	for _, e := range entries {
		switch {
		case !e.Type().IsRegular():
		case sharelog.IsTemporary(e.Name()):
			os.Remove(filepath.Join(dir, e.Name()))
		default:
			files = append(files, e.Name())
		}
	}
	return files, nil
}

func (s *State) loadUser(file, name string, now time.Time) {
	st, err := sharelog.ReadUser(filepath.Join(s.usersDir(), file))
	if err != nil {
		s.unreadable(err)
		return
	}
	u, _ := s.names.makeUser(name, s.stamp(now))
	u.mu.Lock()
	s.restore(&u.tally, &st.Stats, now)
	if !st.Authorised.IsZero() {
		u.authorised = st.Authorised.Unix()
	}
	u.mu.Unlock()
	for i := range st.Worker {
		w := &st.Worker[i]
		user, rest := splitName(w.Name)
		if a, err := address.Parse(user); err == nil {
			user = a.String()
		}
		if user == name {
			s.loadWorker(user+rest, w, now)
		}
	}
}

func (s *State) loadWorker(name string, st *sharelog.WorkerStats, now time.Time) {
	w, _ := s.names.makeWorker(name, s.stamp(now))
	w.mu.Lock()
	defer w.mu.Unlock()
	s.restore(&w.tally, &st.Stats, now)
	w.connected.remember(st.UserAgent)
}

// restore is for a caller that holds the tally's lock.
func (s *State) restore(t *tally, st *sharelog.Stats, now time.Time) {
	gap := now.Round(0).Sub(st.LastUpdate)
	for i := range t.rates {
		t.rates[i] = decayed(st.Hashrate[i]/difficulty.HashesPerDifficulty, gap, windows[i])
	}
	t.lastShare = s.loaded(st.LastShare, now)
	if t.lastShare == never && st.Shares > 0 { // versions until 2017 did not tell
		t.lastShare = s.loaded(st.LastUpdate, now)
	}
	t.shares, t.best, t.bestEver = st.Shares, st.BestShare, st.BestEver
	t.round = s.round.Load()
}

// loadWorkers reads workers/*, where versions until 2017 kept what is in the
// users' files today. A worker that is there already is newer.
func (s *State) loadWorkers(now time.Time) error {
	dir := filepath.Join(s.cfg.LogDir, "workers")
	files, err := listFiles(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, file := range files {
		user, rest := splitName(sharelog.NameOfFile(file))
		if a, err := address.Parse(user); err == nil {
			user = a.String()
		}
		name := user + rest
		if s.names.user(user) == nil || s.names.worker(name) != nil {
			continue
		}
		st, err := sharelog.ReadWorker(filepath.Join(dir, file))
		if err != nil {
			s.unreadable(err)
			continue
		}
		s.loadWorker(name, &st, now)
	}
	return nil
}
