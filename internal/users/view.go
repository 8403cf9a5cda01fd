package users

import (
	"cmp"
	"iter"
	"slices"
	"time"
	"unsafe"

	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/sharelog"
)

// User is what is known of one user at a time.
type User struct {
	Name      string
	ID        int64 // counts from 1 in every run
	Connected int64 // miners
	sharelog.Stats
}

// Worker is what is known of one worker at a time.
type Worker struct {
	Name    string // the user's name included
	User    string
	UserID  int64
	Idle    bool      // not connected, or no share for a minute
	Started time.Time // of the first connection there is, zero for none
	Rejects sharelog.Rejects
	sharelog.Stats
}

// Names are those of a worker and of its user; false for one that is not known.
func (s *Users) Names(id session.WorkerID) (user, worker string, ok bool) {
	w := s.directory.table.get(id)
	if w == nil {
		return "", "", false
	}
	return w.user.Name, w.name, true
}

// List are all users, by id, at most the newest limit of them.
func (s *Users) List(now time.Time, limit int) []User {
	all := newest(s.directory.all(), limit)
	list := make([]User, len(all))
	for i, u := range all {
		list[i] = s.user(u, now)
	}
	return list
}

// Workers are all workers in the order they were made, at most the newest limit
// of them.
func (s *Users) Workers(now time.Time, limit int) []Worker {
	var all []*worker
	for _, u := range s.directory.all() {
		all = append(all, u.listWorkers()...)
	}
	slices.SortFunc(all, func(a, b *worker) int { return cmp.Compare(a.id, b.id) })
	all = newest(all, limit)
	list := make([]Worker, len(all))
	for i, w := range all {
		list[i] = s.worker(w, now)
	}
	return list
}

// WorkersOf are the workers of a user in the order they were made, at most the newest
// limit of them; none of a user that is not known.
func (s *Users) WorkersOf(name string, now time.Time, limit int) []Worker {
	u := s.directory.user(canonicalName(name))
	if u == nil {
		return nil
	}
	all := u.newestWorkers(limit)
	list := make([]Worker, len(all))
	for i, w := range all {
		list[i] = s.worker(w, now)
	}
	return list
}

// WorkerCount is how many workers of a user are known, none of a user that is not.
func (s *Users) WorkerCount(name string) int {
	u := s.directory.user(canonicalName(name))
	if u == nil {
		return 0
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.workers)
}

// newestWorkers are a user's in the order they were made, at most limit.
func (u *user) newestWorkers(limit int) []*worker {
	all := u.listWorkers()
	slices.SortFunc(all, func(a, b *worker) int { return cmp.Compare(a.id, b.id) })
	return newest(all, limit)
}

// Payout is the output script that blocks of a user pay in solo, nil if there is none.
func (s *Users) Payout(name string) []byte {
	u := s.directory.user(canonicalName(name))
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.User.Payout
}

// newest is the end of a list.
func newest[T any](list []T, limit int) []T { return list[max(0, len(list)-limit):] }

// User is the user of a name, however an address is spelled. Asking makes none.
func (s *Users) User(name string, now time.Time) (User, bool) {
	u := s.directory.user(canonicalName(name))
	if u == nil {
		return User{}, false
	}
	return s.user(u, now), true
}

// Worker is the worker of a full name. Asking makes none.
func (s *Users) Worker(name string, now time.Time) (Worker, bool) {
	w := s.directory.worker(canonicalName(name))
	if w == nil {
		return Worker{}, false
	}
	return s.worker(w, now), true
}

func (s *Users) user(u *user, now time.Time) User {
	u.mu.Lock()
	defer u.mu.Unlock()
	return User{Name: u.Name, ID: u.id, Connected: int64(u.attached) + s.elsewhere.connected(u.Name), Stats: s.stats(&u.tally, now)}
}

func (s *Users) worker(w *worker, now time.Time) Worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Worker{
		Name: w.name, User: w.user.Name, UserID: w.user.id,
		Idle: w.connected.count() == 0 || w.idle(s.stamp(now)), Started: s.wall(w.connected.started(), now),
		Rejects: w.shown(s.clock, now), Stats: s.stats(&w.tally, now),
	}
}

// rateAfter is how long after a share a rate is of interest.
const rateAfter = stamp(24 * time.Hour)

// UserRates are the users that had a share within a day, each once and in no order,
// with their hashes per second over five minutes. No lock is held for more than one.
func (s *Users) UserRates(now time.Time) iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		for u := range s.directory.each() {
			u.mu.Lock()
			rate, ok := u.rate(s.stamp(now))
			u.mu.Unlock()
			if ok && !yield(u.Name, rate) {
				return
			}
		}
	}
}

// WorkerRates is UserRates for workers.
func (s *Users) WorkerRates(now time.Time) iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		for u := range s.directory.each() {
			for _, w := range u.listWorkers() {
				w.mu.Lock()
				rate, ok := w.rate(s.stamp(now))
				w.mu.Unlock()
				if ok && !yield(w.name, rate) {
					return
				}
			}
		}
	}
}

// rate is hashes per second over five minutes; false: there was no share for long. The
// caller holds the tally's lock.
func (t *tally) rate(now stamp) (float64, bool) {
	return hashrate(t.rates[1]), t.lastShare != never && now-t.lastShare < rateAfter
}

// UserID is the number of a worker's user, 0 for a worker that is not known.
func (s *Users) UserID(id session.WorkerID) int64 {
	if w := s.directory.table.get(id); w != nil {
		return w.user.id
	}
	return 0
}

// OfUser chooses the workers of a user.
func (s *Users) OfUser(name string) func(session.WorkerID) bool {
	u := s.directory.user(canonicalName(name))
	return func(id session.WorkerID) bool {
		w := s.directory.table.get(id)
		return w != nil && w.user == u
	}
}

// OfWorker chooses one worker.
func (s *Users) OfWorker(name string) func(session.WorkerID) bool {
	w := s.directory.worker(canonicalName(name))
	return func(id session.WorkerID) bool { return w != nil && id == w.id }
}

// Best are the best shares of a user.
type Best struct {
	User        string
	Round, Ever float64
}

// BestShares is the best share of the round, and the users with the best ones
// ever, the best first, at most limit of them.
func (s *Users) BestShares(limit int) (round float64, list []Best) {
	current := s.round.Load()
	for _, u := range s.directory.all() {
		u.mu.Lock()
		b := Best{User: u.Name, Ever: u.bestEver}
		if u.round == current {
			b.Round = u.best
		}
		u.mu.Unlock()
		if b.Ever > 0 {
			list = append(list, b)
		}
	}
	slices.SortStableFunc(list, func(a, b Best) int { return cmp.Compare(b.Ever, a.Ever) })
	return s.totals.snapshot().round.best, list[:min(len(list), limit)]
}

// Totals are what is counted since the start, over however many rounds.
type Totals struct {
	Accepted, Rejected           float64 // difficulty
	AcceptedCount, RejectedCount int64   // shares
	Best                         float64 // difficulty
}

// Totals are sums since the start. An upgrade is none.
func (s *Users) Totals() Totals {
	e := s.totals.snapshot().ever
	return Totals{e.accepted, e.rejected, e.acceptedCount, e.rejectedCount, e.best}
}

// Written is when the statistics that Load has read were written, zero where there are none.
func (s *Users) Written() time.Time { return s.written }

// RoundWork is the difficulty of accepted shares since the pool's last block.
func (s *Users) RoundWork() float64 { return s.totals.snapshot().round.accepted }

// Rejects counts refused submits by reason, since the start.
func (s *Users) Rejects() [session.Reasons]int64 { return s.totals.rejects() }

// Known is how many users there are, and whether there was any, if not in this
// run.
func (s *Users) Known() (users int64, ever bool) {
	return s.directory.users.Load(), s.directory.lastID.Load() > 0
}

// Memory is what users and workers take in memory, in bytes, about.
func (s *Users) Memory() int64 {
	const names = 48 // a long address
	return s.directory.users.Load()*(int64(unsafe.Sizeof(user{}))+names) +
		int64(s.directory.table.count())*int64(unsafe.Sizeof(worker{}))
}

// ListenerURLs are the addresses that miners come by, by listener index.
func (s *Users) ListenerURLs() []string { return s.settings.Load().ListenerURLs }

// Started is when what is counted began: with the first of the processes that
// handed on to each other.
func (s *Users) Started() time.Time { return s.start }

// WorkerName is the full name of a worker, "" for one that is not known. It
// implements session.Workers.
func (s *Users) WorkerName(id session.WorkerID) string { return s.directory.workerName(id) }
