package users

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/sharelog"
)

// remotesVersion is that of the record of what is counted of other pools.
const remotesVersion = 1

// Mark is a record of another pool's journal: its epoch, and its number in that.
type Mark struct{ Epoch, Number uint64 }

// Before reports whether m is the earlier.
func (m Mark) Before(n Mark) bool {
	return cmp.Or(cmp.Compare(m.Epoch, n.Epoch), cmp.Compare(m.Number, n.Number)) < 0
}

// remotes is what is counted of other pools that report to this one. Each pool's records
// come in order. Whatever ends in between, each is counted once in every file: a file says
// up to which records it counts, and after a start those that come again are left out
// where a file has them.
type remotes struct {
	mu sync.Mutex // held while a record is counted, and while a file that says so is made
	// guarded by mu
	at      map[string]Mark            // up to where records are counted in memory, by pool
	begun   map[string]Mark            // the same, when the present round of files began; nil: none has yet
	safe    map[string]Mark            // up to where they are in all files
	inFiles map[string]map[string]Mark // by user, "" for the pool: what its file had at the start
	users   map[string]bool            // who have counts of other pools since
	moved   bool                       // another process counts
}

// elsewhere is the miners that are connected to other pools.
type elsewhere struct {
	mu    sync.Mutex
	pools map[string]map[string]int // guarded by mu; miners by user
}

func (r *remotes) init() {
	r.at, r.safe = map[string]Mark{}, map[string]Mark{}
	r.inFiles, r.users = map[string]map[string]Mark{}, map[string]bool{}
}

// marks is what the file of a user says, "" the pool's. The caller holds mu.
func (r *remotes) marks(user string) (list []sharelog.RemoteMark) {
	had := r.inFiles[user]
	pools := slices.Collect(maps.Keys(had))
	if user == "" || r.users[user] {
		pools = slices.AppendSeq(pools, maps.Keys(r.at))
	}
	slices.Sort(pools)
	for _, pool := range slices.Compact(pools) {
		m := r.at[pool]
		if m.Before(had[pool]) { // which is still to come again
			m = had[pool]
		}
		list = append(list, sharelog.RemoteMark{Pool: pool, Epoch: m.Epoch, Number: m.Number})
	}
	return list
}

// loaded notes what a file has.
func (r *remotes) loaded(user string, list []sharelog.RemoteMark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range list {
		if r.inFiles[user] == nil {
			r.inFiles[user] = map[string]Mark{}
		}
		r.inFiles[user][m.Pool] = Mark{m.Epoch, m.Number}
	}
}

// Nameable tells whether a worker may have a name.
func Nameable(worker string) bool { return checkName(worker) == "" }

// CountRemote counts the record of another pool that a mark is of, unless it is counted
// already; sh is nil for one that is no share. The fields of sh that are read are Time,
// Reason, Difficulty, Credit, and Difficulty and Block of Computed.
func (s *Users) CountRemote(pool string, at Mark, worker string, sh *session.Share) {
	r := &s.remotes
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.moved || !r.at[pool].Before(at) {
		return
	}
	r.at[pool] = at
	if sh == nil {
		return
	}
	if r.inFiles[""][pool].Before(at) {
		s.countPool(sh, true)
	}
	w, _ := s.directory.holdNew(worker, s.stamp(sh.Time))
	defer s.directory.release(w)
	if r.inFiles[w.user.Name][pool].Before(at) {
		s.countWorker(sh, w)
	}
	w.user.mu.Lock()
	w.user.loggedIn = true // its file is to be written
	s.touch(&w.user.tally)
	w.user.mu.Unlock()
	r.users[w.user.Name] = true
}

// With has something done with a worker of a pool elsewhere, which is made if there is none.
func (s *Users) With(worker string, now time.Time, do func(id session.WorkerID)) {
	w, _ := s.directory.holdNew(worker, s.stamp(now))
	defer s.directory.release(w)
	do(w.id)
	w.user.mu.Lock()
	w.user.loggedIn = true // its file is to be written
	s.touch(&w.user.tally)
	w.user.mu.Unlock()
}

// RemoteMark is up to where records of another pool are counted.
func (s *Users) RemoteMark(pool string) Mark {
	s.remotes.mu.Lock()
	defer s.remotes.mu.Unlock()
	return s.remotes.at[pool]
}

// RemotesSaved are up to where records of other pools are counted in all files: nobody
// asks for those again.
func (s *Users) RemotesSaved() map[string]Mark {
	s.remotes.mu.Lock()
	defer s.remotes.mu.Unlock()
	return maps.Clone(s.remotes.safe)
}

// SetRemoteWorkers tells how many miners of a user are connected at another pool.
func (s *Users) SetRemoteWorkers(pool, user string, n int) {
	e := &s.elsewhere
	e.mu.Lock()
	defer e.mu.Unlock()
	if n <= 0 {
		delete(e.pools[pool], user)
		return
	}
	if e.pools[pool] == nil {
		e.pools[pool] = map[string]int{}
	}
	e.pools[pool][user] = n
}

// DropRemoteWorkers forgets the miners of another pool.
func (s *Users) DropRemoteWorkers(pool string) {
	s.elsewhere.mu.Lock()
	delete(s.elsewhere.pools, pool)
	s.elsewhere.mu.Unlock()
}

// connected is how many miners of a user, and of all with "".
func (e *elsewhere) connected(user string) (n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, users := range e.pools {
		if user != "" {
			n += int64(users[user])
			continue
		}
		for _, k := range users {
			n += int64(k)
		}
	}
	return n
}

// Connected is how many miners each user has here who has any.
func (s *Users) Connected() map[string]int {
	list := map[string]int{}
	for _, u := range s.directory.all() {
		u.mu.Lock()
		if u.attached > 0 {
			list[u.Name] = int(u.attached)
		}
		u.mu.Unlock()
	}
	return list
}

// forget lets go of users who are not known any more. Of each name that a share of another
// pool was ever refused under, something would stay else.
func (r *remotes) forget(known func(user string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := func(user string) bool { return user != "" && !known(user) }
	maps.DeleteFunc(r.users, func(user string, _ bool) bool { return gone(user) })
	maps.DeleteFunc(r.inFiles, func(user string, _ map[string]Mark) bool { return gone(user) })
}

// roundBegins is for before the first of a round of files is written, roundEnds for after
// the last.
func (r *remotes) roundBegins() {
	r.mu.Lock()
	r.begun = maps.Clone(r.at)
	r.mu.Unlock()
}

func (r *remotes) roundEnds() {
	r.mu.Lock()
	if r.begun != nil {
		r.safe, r.begun = r.begun, nil
	}
	r.mu.Unlock()
}

// roundFails is for a file that could not be written.
func (r *remotes) roundFails() {
	r.mu.Lock()
	r.begun = nil
	r.mu.Unlock()
}

// HoldRemotes has nothing counted of other pools until ReleaseRemotes, or ever if it has
// moved to another process.
func (s *Users) HoldRemotes() { s.remotes.mu.Lock() }

// ReleaseRemotes ends HoldRemotes; moved tells that another process counts from here on.
func (s *Users) ReleaseRemotes(moved bool) {
	s.remotes.moved = moved
	s.remotes.mu.Unlock()
}

// remotesRecord is what is moved of remotes.
type remotesRecord struct {
	at    []sharelog.RemoteMark
	users []remotesOfUser
}

// remotesOfUser is whose file has counts of other pools, "" the pool's, and up to where
// it had them at the start.
type remotesOfUser struct {
	user    string
	inFiles []sharelog.RemoteMark
}

func (k *remotesRecord) fields(c *wire.Codec) {
	wire.List(c, &k.at, markFields)
	wire.List(c, &k.users, func(u *remotesOfUser, c *wire.Codec) {
		c.Text(&u.user)
		wire.List(c, &u.inFiles, markFields)
	})
}

func markFields(m *sharelog.RemoteMark, c *wire.Codec) {
	c.Text(&m.Pool)
	wire.Word(c, &m.Epoch)
	wire.Word(c, &m.Number)
}

// ExportRemotes is the record of what is counted of other pools, between HoldRemotes and
// ReleaseRemotes.
func (s *Users) ExportRemotes() []byte {
	r := &s.remotes
	k := remotesRecord{at: listOf(r.at)}
	users := maps.Clone(r.users)
	for user := range r.inFiles {
		users[user] = true
	}
	for _, user := range slices.Sorted(maps.Keys(users)) {
		k.users = append(k.users, remotesOfUser{user, listOf(r.inFiles[user])})
	}
	c := wire.Append(nil)
	c.Versioned(remotesVersion, k.fields)
	return c.Written()
}

func listOf(marks map[string]Mark) (list []sharelog.RemoteMark) {
	for _, pool := range slices.Sorted(maps.Keys(marks)) {
		list = append(list, sharelog.RemoteMark{Pool: pool, Epoch: marks[pool].Epoch, Number: marks[pool].Number})
	}
	return list
}

// ImportRemotes reads that record.
func (s *Users) ImportRemotes(record []byte) error {
	var k remotesRecord
	c := wire.Read(record)
	c.Versioned(remotesVersion, k.fields)
	if err := c.Done(); err != nil {
		return fmt.Errorf("shares of other pools: %w", err)
	}
	r := &s.remotes
	for _, u := range k.users {
		r.loaded(u.user, u.inFiles)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range k.at {
		r.at[m.Pool] = Mark{m.Epoch, m.Number}
	}
	for _, u := range k.users {
		r.users[u.user] = true
	}
	return nil
}
