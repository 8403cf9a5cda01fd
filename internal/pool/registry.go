package pool

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"ckpool/address"
	"ckpool/internal/session"
)

// user owns workers; in solo mode it is an address.
type user struct {
	// immutable
	name string
	id   int64 // counts from 1 in every run

	mu sync.Mutex
	// guarded by mu
	tally
	payout     []byte // solo: output script, immutable; nil before the first login
	workers    []*worker
	authorised int64 // unix seconds of the first login ever, 0: none
	attached   int32 // connected miners
	loggedIn   bool  // in this run
}

// worker is what shares are counted for.
type worker struct {
	// immutable
	name string // user name included
	user *user
	id   session.WorkerID

	mu sync.Mutex
	// guarded by mu
	tally
	accepted  int64 // shares since it was first seen
	rejects   *rejects
	connected connections
}

// registry finds users and workers by name and workers by id. None is ever
// removed, so pointers and ids stay valid.
type registry struct {
	seed   maphash.Seed
	shards [64]shard // by user name
	table  workerTable
	lastID atomic.Int64 // of users
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
	u = &user{name: strings.Clone(name), id: r.lastID.Add(1), tally: newTally(now)}
	sh.users[u.name] = u
	return u, true
}

// makeWorker finds or makes a worker and its user.
func (r *registry) makeWorker(name string, now stamp) (w *worker, made bool) {
	userName, rest := splitName(name)
	sh := r.shard(userName)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if w := sh.workers[name]; w != nil {
		return w, false
	}
	u, _ := r.makeUserIn(sh, userName, now)
	w = &worker{name: u.name, user: u, tally: newTally(now)}
	if rest != "" {
		w.name = strings.Clone(name)
	}
	r.table.add(w)
	sh.workers[w.name] = w
	u.mu.Lock()
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
	return u.workers // only ever appended to
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
// list of them is replaced.
type workerTable struct {
	chunks atomic.Pointer[[]*[chunkSize]atomic.Pointer[worker]]

	mu   sync.Mutex
	last session.WorkerID // guarded by mu; ids begin at 1
}

func (t *workerTable) add(w *worker) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	w.id = t.last
	var chunks []*[chunkSize]atomic.Pointer[worker]
	if p := t.chunks.Load(); p != nil {
		chunks = *p
	}
	if int(w.id/chunkSize) == len(chunks) {
		grown := append(chunks[:len(chunks):len(chunks)], new([chunkSize]atomic.Pointer[worker]))
		t.chunks.Store(&grown)
		chunks = grown
	}
	chunks[w.id/chunkSize][w.id%chunkSize].Store(w)
}

// get is nil for ids that were never given out.
func (t *workerTable) get(id session.WorkerID) *worker {
	chunks := t.chunks.Load()
	if chunks == nil || int(id/chunkSize) >= len(*chunks) {
		return nil
	}
	return (*chunks)[id/chunkSize][id%chunkSize].Load()
}

// count is the number of workers.
func (t *workerTable) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int(t.last)
}

// workerName is the full name of a worker, "" for an id that was never given
// out.
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
