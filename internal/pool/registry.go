package pool

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ckpool/address"
	"ckpool/internal/session"
)

// user owns workers; in solo mode it is an address.
type user struct {
	// immutable
	id           int64 // counts from 1 in every run
	session.User       // Payout: nil before the first login, which sets it under mu

	mu sync.Mutex
	// guarded by mu
	tally
	workers    []*worker // in no order
	authorised int64     // unix seconds of the first login ever, 0: none
	attached   int32     // connected miners
	loggedIn   bool      // in this run
}

// worker is what shares are counted for.
type worker struct {
	// immutable
	name string // user name included
	user *user
	id   session.WorkerID

	// holds are the grants that are out. One is taken under the lock of the shard,
	// so that a worker without any cannot get one while it is being forgotten.
	holds atomic.Int32

	place uint32 // in user.workers; guarded by user.mu

	mu sync.Mutex
	// guarded by mu
	tally
	accepted  int64 // shares since it was first seen
	rejects   *rejects
	connected connections
}

// registry finds users and workers by name and workers by id. A worker that
// nobody holds and that never had a share is forgotten, and with its last worker
// a user who never had one.
type registry struct {
	seed   maphash.Seed
	shards [64]shard // by user name
	table  workerTable
	lastID atomic.Int64 // of users
	users  atomic.Int64
}

type shard struct {
	mu sync.RWMutex
	// guarded by mu
	users   map[string]*user
	workers map[string]*worker
}

func (r *registry) init() {
	r.seed = maphash.MakeSeed()
	for i := range r.shards {
		r.shards[i].users = make(map[string]*user)
		r.shards[i].workers = make(map[string]*worker)
	}
}

func (r *registry) shard(userName string) *shard {
	return &r.shards[maphash.String(r.seed, userName)%uint64(len(r.shards))]
}

// user and worker are nil where there is none.
func (r *registry) user(name string) *user {
	sh := r.shard(name)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.users[name]
}

func (r *registry) worker(name string) *worker {
	userName, _ := splitName(name)
	sh := r.shard(userName)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.workers[name]
}

// makeUser finds or makes a user.
func (r *registry) makeUser(name string, now stamp) (u *user, made bool) {
	sh := r.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return r.makeUserIn(sh, name, now)
}

func (r *registry) makeUserIn(sh *shard, name string, now stamp) (u *user, made bool) {
	if u := sh.users[name]; u != nil {
		return u, false
	}
	u = &user{id: r.lastID.Add(1), User: session.User{Name: strings.Clone(name)}, tally: newTally(now)}
	sh.users[u.Name] = u
	r.users.Add(1)
	return u, true
}

// hold finds a worker for somebody who gives it back with release; nil where
// there is none.
func (r *registry) hold(name string) *worker {
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
func (r *registry) holdNew(name string, now stamp) (w *worker, made bool) {
	userName, _ := splitName(name)
	sh := r.shard(userName)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	w, made = r.makeWorkerIn(sh, name, now)
	w.holds.Add(1)
	return w, made
}

// release gives back what hold or holdNew gave.
func (r *registry) release(w *worker) {
	if w.holds.Add(-1) == 0 {
		r.forgetUnused(w)
	}
}

// forgetUnused forgets a worker that nobody holds and that never had a share.
func (r *registry) forgetUnused(w *worker) {
	if w.holds.Load() == 0 && !w.had() {
		r.forget(w, func() bool { return !w.had() })
	}
}

// forget forgets a worker that nobody holds, if it still may be.
func (r *registry) forget(w *worker, may func() bool) {
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
func (sh *shard) forgetUser(r *registry, u *user) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if sh.users[u.Name] == u && len(u.workers) == 0 && u.lastShare == never {
		delete(sh.users, u.Name)
		r.users.Add(-1)
	}
}

// keptWorkers is how many workers of a user that nobody is connected to are
// kept. Whoever finds shares can make as many as he likes.
const keptWorkers = 20_000

// returnTime is what miners get to come back after a start, before anything of
// theirs is forgotten.
const returnTime = stamp(10 * time.Minute)

// tidy forgets workers of u that nobody needs, those whose last share is the
// longest ago first, and returns the others.
func (r *registry) tidy(u *user, now stamp) []*worker {
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
	if excess := len(unheld) - keptWorkers; excess > 0 && now >= returnTime {
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

// had tells whether the worker ever had a share.
func (w *worker) had() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lastShare != never
}

// makeWorker finds or makes a worker and its user, which nobody holds.
func (r *registry) makeWorker(name string, now stamp) *worker {
	userName, _ := splitName(name)
	sh := r.shard(userName)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	w, _ := r.makeWorkerIn(sh, name, now)
	return w
}

func (r *registry) makeWorkerIn(sh *shard, name string, now stamp) (w *worker, made bool) {
	if w := sh.workers[name]; w != nil {
		return w, false
	}
	userName, rest := splitName(name)
	u, _ := r.makeUserIn(sh, userName, now)
	w = &worker{name: u.Name, user: u, tally: newTally(now)}
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

// list returns the users of a shard.
func (sh *shard) list() []*user {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	users := make([]*user, 0, len(sh.users))
	for _, u := range sh.users {
		users = append(users, u)
	}
	return users
}

// all returns all users, by id.
func (r *registry) all() []*user {
	var users []*user
	for i := range r.shards {
		users = append(users, r.shards[i].list()...)
	}
	slices.SortFunc(users, func(a, b *user) int { return cmp.Compare(a.id, b.id) })
	return users
}

// listWorkers returns the workers u has now.
func (u *user) listWorkers() []*worker {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.workers)
}

// splitName cuts a worker name before the first '.' or '_'.
func splitName(worker string) (user, rest string) {
	if i := strings.IndexAny(worker, "._"); i >= 0 {
		return worker[:i], worker[i:]
	}
	return worker, ""
}

// canonicalName is the one form of a user's or worker's name: addresses that
// may be written in upper case are in lower case.
func canonicalName(name string) string {
	user, rest := splitName(name)
	if a, err := address.Parse(user); err == nil {
		return a.String() + rest
	}
	return name
}

const chunkSize = 1024

// workerTable finds workers by id without a lock: chunks never move, only the
// list of them is replaced. An id is a place in the low half and, above it, how
// many workers there had been: places are used again, ids are not, and ids are
// in the order in which workers were made.
type workerTable struct {
	chunks atomic.Pointer[[]*[chunkSize]atomic.Pointer[worker]]

	mu sync.Mutex
	// guarded by mu
	made   uint32 // workers ever
	places uint32 // ever used
	free   []uint32
}

func (t *workerTable) add(w *worker) {
	t.mu.Lock()
	defer t.mu.Unlock()
	place := t.places
	if n := len(t.free); n > 0 {
		place, t.free = t.free[n-1], t.free[:n-1]
	} else {
		t.places++
	}
	t.made++
	w.id = session.WorkerID(max(t.made, 1))<<32 | session.WorkerID(place)
	var chunks []*[chunkSize]atomic.Pointer[worker]
	if p := t.chunks.Load(); p != nil {
		chunks = *p
	}
	if int(place/chunkSize) == len(chunks) {
		grown := append(chunks[:len(chunks):len(chunks)], new([chunkSize]atomic.Pointer[worker]))
		t.chunks.Store(&grown)
		chunks = grown
	}
	chunks[place/chunkSize][place%chunkSize].Store(w)
}

func (t *workerTable) remove(w *worker) {
	t.mu.Lock()
	defer t.mu.Unlock()
	place := uint32(w.id)
	(*t.chunks.Load())[place/chunkSize][place%chunkSize].Store(nil)
	t.free = append(t.free, place)
}

// get is nil for ids that were never given out, and for workers that were
// forgotten.
func (t *workerTable) get(id session.WorkerID) *worker {
	chunks, place := t.chunks.Load(), uint32(id)
	if chunks == nil || int(place/chunkSize) >= len(*chunks) {
		return nil
	}
	w := (*chunks)[place/chunkSize][place%chunkSize].Load()
	if w == nil || w.id != id {
		return nil
	}
	return w
}

// count is the number of workers.
func (t *workerTable) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int(t.places) - len(t.free)
}

// workerName is the full name of a worker, "" for an id that get does not know.
func (r *registry) workerName(id session.WorkerID) string {
	if w := r.table.get(id); w != nil {
		return w.name
	}
	return ""
}

// workerID is 0 for a name that no worker has.
func (r *registry) workerID(name string) session.WorkerID {
	if w := r.worker(name); w != nil {
		return w.id
	}
	return 0
}
