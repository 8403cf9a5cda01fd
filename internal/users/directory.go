package users

import (
	"cmp"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/internal/session"
)

// directory finds users and workers by name and workers by id. A worker that
// nobody holds and that never had a share is forgotten, and with its last worker
// a user who never had one. Of those who had, some remain.
type directory struct {
	seed   maphash.Seed
	shards [64]shard // by user name
	table  workerTable
	lastID atomic.Int64 // of users
	users  atomic.Int64
	// perUser is how many workers of a user that nobody is connected to are kept.
	perUser atomic.Int64
}

type shard struct {
	mu sync.RWMutex
	// guarded by mu
	users   map[string]*user
	workers map[string]*worker
}

func (r *directory) init() {
	r.seed = maphash.MakeSeed()
	r.perUser.Store(keptWorkers)
	for i := range r.shards {
		r.shards[i].users = make(map[string]*user)
		r.shards[i].workers = make(map[string]*worker)
	}
}

func (r *directory) shard(userName string) *shard {
	return &r.shards[maphash.String(r.seed, userName)%uint64(len(r.shards))]
}

// user and worker are nil where there is none.
func (r *directory) user(name string) *user {
	sh := r.shard(name)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.users[name]
}

func (r *directory) worker(name string) *worker {
	userName, _ := splitName(name)
	sh := r.shard(userName)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.workers[name]
}

// makeUser finds or makes a user.
func (r *directory) makeUser(name string, now stamp) (u *user, made bool) {
	sh := r.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return r.makeUserIn(sh, name, now)
}

func (r *directory) makeUserIn(sh *shard, name string, now stamp) (u *user, made bool) {
	if u := sh.users[name]; u != nil {
		return u, false
	}
	u = &user{id: r.lastID.Add(1), User: session.User{Name: strings.Clone(name)}, userState: userState{tally: newTally(now)}}
	sh.users[u.Name] = u
	r.users.Add(1)
	return u, true
}

// hold finds a worker for somebody who gives it back with release; nil where
// there is none.
func (r *directory) hold(name string) *worker {
	userName, _ := splitName(name)
	sh := r.shard(userName)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	w := sh.workers[name]
	if w != nil {
		w.holds.Add(1)
	}
	return w
}

// holdNew is hold, but makes the worker and its user if there are none.
func (r *directory) holdNew(name string, now stamp) (w *worker, made bool) {
	userName, _ := splitName(name)
	sh := r.shard(userName)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	w, made = r.makeWorkerIn(sh, name, now)
	w.holds.Add(1)
	return w, made
}

// release gives back what hold or holdNew gave.
func (r *directory) release(w *worker) {
	if w.holds.Add(-1) == 0 {
		r.forgetUnused(w)
	}
}

// forgetUnused forgets a worker that nobody holds and that never had a share.
func (r *directory) forgetUnused(w *worker) {
	if w.holds.Load() == 0 && !w.had() {
		r.forget(w, func() bool { return !w.had() })
	}
}

// forget forgets a worker that nobody holds, if it still may be.
func (r *directory) forget(w *worker, may func() bool) {
	u := w.user
	sh := r.shard(u.Name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.workers[w.name] != w || w.holds.Load() != 0 || !may() {
		return
	}
	delete(sh.workers, w.name)
	r.table.remove(w)
	u.mu.Lock()
	last := len(u.workers) - 1
	u.workers[w.place] = u.workers[last]
	u.workers[w.place].place = w.place
	u.workers[last] = nil
	u.workers = u.workers[:last]
	u.mu.Unlock()
	sh.forgetUser(r, u)
}

// forgetUser forgets a user without workers who never had a share. The caller
// holds mu.
func (sh *shard) forgetUser(r *directory, u *user) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if sh.users[u.Name] == u && len(u.workers) == 0 && u.lastShare == never {
		delete(sh.users, u.Name)
		r.users.Add(-1)
	}
}

// Whoever finds shares can make as many workers and users as he likes. Of those that
// nobody is connected to so many are kept.
const (
	keptWorkers = 20_000 // of a user
	keptUsers   = 100_000
	keptInAll   = 500_000 // workers
)

// returnTime is what miners get to come back after a start, before anything of
// theirs is forgotten.
const returnTime = stamp(10 * time.Minute)

// sweep forgets workers of u that nobody needs, those whose last share is the
// longest ago first, and returns the others.
func (r *directory) sweep(u *user, now stamp) []*worker {
	all := u.listWorkers()
	type idle struct {
		*worker
		last stamp
	}
	var unheld []idle
	for _, w := range all {
		if w.holds.Load() != 0 {
			continue
		}
		w.mu.Lock()
		last := w.lastShare
		w.mu.Unlock()
		if last == never {
			r.forgetUnused(w)
		} else {
			unheld = append(unheld, idle{w, last})
		}
	}
	if excess := len(unheld) - int(r.perUser.Load()); excess > 0 && now >= returnTime {
		slices.SortFunc(unheld, func(a, b idle) int { return cmp.Compare(a.last, b.last) })
		for _, w := range unheld[:excess] {
			r.forget(w.worker, func() bool { return true })
		}
	}
	if len(all) == 0 {
		sh := r.shard(u.Name)
		sh.mu.Lock()
		defer sh.mu.Unlock()
		sh.forgetUser(r, u)
	}
	return u.listWorkers()
}

// excess is the users to be forgotten so that keptUsers remain: of those that
// nobody is connected to, and whose last share is longer ago than returnTime, the
// ones with the least shares. So whoever wants others to be forgotten has to do
// more work under each of his names than they did. Where there are more workers than
// keptInAll, each user keeps as many as the others from then on.
func (r *directory) excess(now stamp) []*user {
	if now < returnTime {
		return nil
	}
	type idle struct {
		*user
		shares float64
	}
	var all []idle
	users, workers := 0, 0 // workers that nobody is connected to
	for u := range r.each() {
		users++
		u.mu.Lock()
		for _, w := range u.workers {
			if w.holds.Load() == 0 {
				workers++
			}
		}
		if u.attached == 0 && u.lastShare != never && now-u.lastShare > returnTime {
			all = append(all, idle{u, u.shares})
		}
		u.mu.Unlock()
	}
	perUser := keptWorkers
	if workers > keptInAll {
		perUser = max(keptInAll/users, 1)
	}
	r.perUser.Store(int64(perUser))
	if len(all) <= keptUsers {
		return nil
	}
	slices.SortFunc(all, func(a, b idle) int { return cmp.Compare(a.shares, b.shares) })
	forget := make([]*user, len(all)-keptUsers)
	for i := range forget {
		forget[i] = all[i].user
	}
	return forget
}

// remove forgets a user with all workers, unless somebody holds one of them.
func (r *directory) remove(u *user) bool {
	sh := r.shard(u.Name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	held := func(w *worker) bool { return w.holds.Load() != 0 }
	if sh.users[u.Name] != u || slices.ContainsFunc(u.workers, held) {
		return false
	}
	for _, w := range u.workers {
		delete(sh.workers, w.name)
		r.table.remove(w)
	}
	u.workers = nil
	delete(sh.users, u.Name)
	r.users.Add(-1)
	return true
}

// makeWorker finds or makes a worker and its user, which nobody holds.
func (r *directory) makeWorker(name string, now stamp) *worker {
	userName, _ := splitName(name)
	sh := r.shard(userName)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	w, _ := r.makeWorkerIn(sh, name, now)
	return w
}

func (r *directory) makeWorkerIn(sh *shard, name string, now stamp) (w *worker, made bool) {
	if w := sh.workers[name]; w != nil {
		return w, false
	}
	userName, rest := splitName(name)
	u, _ := r.makeUserIn(sh, userName, now)
	w = &worker{name: u.Name, user: u, workerState: workerState{tally: newTally(now)}}
	if rest != "" {
		w.name = strings.Clone(name)
	}
	r.table.add(w)
	sh.workers[w.name] = w
	u.mu.Lock()
	w.place = uint32(len(u.workers))
	u.workers = append(u.workers, w)
	u.mu.Unlock()
	return w, true
}

func (sh *shard) list() []*user {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	users := make([]*user, 0, len(sh.users))
	for _, u := range sh.users {
		users = append(users, u)
	}
	return users
}

// each is all users, in no order, those of one shard in memory at a time.
func (r *directory) each() iter.Seq[*user] {
	return func(yield func(*user) bool) {
		for i := range r.shards {
			for _, u := range r.shards[i].list() {
				if !yield(u) {
					return
				}
			}
		}
	}
}

// all returns all users, by id.
func (r *directory) all() []*user {
	users := slices.Collect(r.each())
	slices.SortFunc(users, func(a, b *user) int { return cmp.Compare(a.id, b.id) })
	return users
}

// workerName is the full name of a worker, "" for an id that get does not know.
func (r *directory) workerName(id session.WorkerID) string {
	if w := r.table.get(id); w != nil {
		return w.name
	}
	return ""
}

// WorkerID is 0 for a name that no worker has.
func (s *Users) WorkerID(name string) session.WorkerID { return s.directory.workerID(name) }

// workerID is 0 for a name that no worker has.
func (r *directory) workerID(name string) session.WorkerID {
	if w := r.worker(name); w != nil {
		return w.id
	}
	return 0
}
