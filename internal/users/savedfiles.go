package users

import (
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

// Load makes the directories of the statistics files and reads back what an
// earlier run, of this or of an older version, has left in them. Averages are
// decayed for the time since. Files that cannot be read are reported as events
// and put aside. Load is for before the first login.
func (s *Users) Load(now time.Time) error {
	for _, dir := range []string{filepath.Dir(s.poolFile()), s.usersDir()} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("make log directory: %w", err)
		}
	}
	l := loader{s, now}
	if _, err := l.listFiles(filepath.Dir(s.poolFile())); err != nil {
		return err
	}
	l.loadPool()
	if err := l.loadUsers(); err != nil {
		return err
	}
	if err := l.loadWorkers(); err != nil {
		return err
	}
	if users := s.directory.users.Load(); users > 0 {
		s.cfg.Events.Say(event.Warning, fmt.Sprintf("Loaded %d users and %d workers", users, s.directory.table.count()))
	}
	return nil
}

// loader reads files as of a time.
type loader struct {
	users *Users
	now   time.Time
}

func (l loader) loadPool() {
	st, err := sharelog.ReadPoolStatus(l.users.poolFile())
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		l.unreadable(l.users.poolFile(), err)
		return
	}
	l.users.remotes.loaded("", st.Remotes)
	l.users.written = st.LastUpdate
	t := &l.users.totals
	t.mu.Lock()
	defer t.mu.Unlock()
	t.round = roundCounts{
		accepted: st.Accepted, rejected: st.Rejected,
		acceptedCount: st.AcceptedCount, rejectedCount: st.RejectedCount,
		best: st.BestShare,
	}
	gap := l.now.Round(0).Sub(st.LastUpdate)
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

func (l loader) unreadable(path string, err error) {
	l.users.cfg.Events.Say(event.Warning, "Statistics left out: "+sharelog.PutAside(path, err))
}

// loadUsers reads users/*. Where two files stand for one user, the one named
// as this version names it counts.
func (l loader) loadUsers() error {
	files, err := l.listFiles(l.users.usersDir())
	if err != nil {
		return err
	}
	var foreign []string
	for _, file := range files {
		if name, own := userOfFile(file); own {
			l.loadUser(file, name)
		} else if name != "" {
			foreign = append(foreign, file)
		}
	}
	for _, file := range foreign {
		if name, _ := userOfFile(file); l.users.directory.user(name) == nil {
			l.loadUser(file, name)
		}
	}
	return nil
}

// userOfFile is the user a file stands for, empty for other files, and whether
// the file is named as this version names it.
func userOfFile(file string) (name string, own bool) {
	name = canonicalName(sharelog.NameOfFile(file))
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
// has left unfinished a while ago: a younger one may belong to a live process.
func (l loader) listFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read statistics: %w", err)
	}
	var files []string
	for _, e := range entries {
		switch {
		case !e.Type().IsRegular():
		case sharelog.IsTemporary(e.Name()):
			if info, err := e.Info(); err == nil && l.now.Sub(info.ModTime()) > time.Minute {
				os.Remove(filepath.Join(dir, e.Name()))
			}
		default:
			files = append(files, e.Name())
		}
	}
	return files, nil
}

func (l loader) loadUser(file, name string) {
	path := filepath.Join(l.users.usersDir(), file)
	st, err := sharelog.ReadUser(path)
	if err != nil {
		l.unreadable(path, err)
		return
	}
	l.users.remotes.loaded(name, st.Remotes)
	u, _ := l.users.directory.makeUser(name, l.users.stamp(l.now))
	u.mu.Lock()
	l.restore(&u.tally, &st.Stats)
	if !st.Authorised.IsZero() {
		u.authorised = st.Authorised.Unix()
	}
	u.mu.Unlock()
	for i := range st.Worker {
		w := &st.Worker[i]
		worker := canonicalName(w.Name)
		if user, _ := splitName(worker); user == name {
			l.loadWorker(worker, w)
		}
	}
}

func (l loader) loadWorker(name string, st *sharelog.WorkerStats) {
	w := l.users.directory.makeWorker(name, l.users.stamp(l.now))
	w.mu.Lock()
	defer w.mu.Unlock()
	l.restore(&w.tally, &st.Stats)
	l.restoreRejects(w, &st.Rejects)
	w.connected.remember(st.UserAgent)
}

// restore is for a caller that holds the tally's lock.
func (l loader) restore(t *tally, st *sharelog.Stats) {
	gap := l.now.Round(0).Sub(st.LastUpdate)
	for i := range t.rates {
		t.rates[i] = decayed(st.Hashrate[i]/difficulty.HashesPerDifficulty, gap, windows[i])
	}
	t.lastShare = l.users.loaded(st.LastShare, l.now)
	if t.lastShare == never && st.Shares > 0 { // versions until 2017 did not tell
		t.lastShare = l.users.loaded(st.LastUpdate, l.now)
	}
	t.shares, t.best, t.bestEver = st.Shares, st.BestShare, st.BestEver
	t.round = l.users.round.Load()
}

// loadWorkers reads workers/*, where versions until 2017 kept what is in the
// users' files today. A worker that is there already is newer.
func (l loader) loadWorkers() error {
	dir := filepath.Join(l.users.cfg.LogDir, "workers")
	files, err := l.listFiles(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, file := range files {
		name := canonicalName(sharelog.NameOfFile(file))
		if user, _ := splitName(name); l.users.directory.user(user) == nil || l.users.directory.worker(name) != nil {
			continue
		}
		st, err := sharelog.ReadWorker(filepath.Join(dir, file))
		if err != nil {
			l.users.cfg.Events.Say(event.Warning, fmt.Sprintf("Statistics left out: %v", err)) // it is never written
			continue
		}
		l.loadWorker(name, &st)
	}
	return nil
}
