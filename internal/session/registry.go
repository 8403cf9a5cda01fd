package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/internal/recent"
)

// keepSession is how long a closed, authorised session can be resumed.
const keepSession = 10 * time.Minute

// Registry hands out client ids, session ids and extranonce1 values, and keeps
// what a reconnecting miner may resume. One for all loops.
type Registry struct {
	clients atomic.Uint64

	mu      sync.Mutex
	length  int                  // guarded by mu; bytes of extranonce1
	used    map[uint64]struct{}  // guarded by mu; extranonce1 values taken
	entries table[uint64, entry] // guarded by mu; by session id
	earlier map[uint64]earlier   // guarded by mu; difficulties, by the ids of the few sessions that have any
	reports map[uint64]uint64    // guarded by mu; likewise, numbers of the last reports on their shares, see Handler.Refused

	// Where there are several sources. Guarded by mu.
	jobs   Jobs
	spaces []*space                   // of extranonce1, by number from 1 on; nil: not in use
	places map[uint32]uint16          // numbers of spaces, by source
	hint   uint64                     // what the next session is to have, wherever it is
	owners recent.Map[uint64, string] // users of sessions that have ended, by session id
	aged   time.Time                  // when owners were

	// Closed sessions; guarded by mu. Those without any share cost their miners
	// nothing to make and nothing to lose.
	closed, shareless queue
}

// queue is closed sessions in the order in which they expire.
type queue struct {
	first, last uint32 // rows of entries, 0 none
	n           int
}

// maxOwners is how many users of ended sessions are remembered.
const maxOwners = 1 << 16

// remember notes whose a session was that ends, for when its miner comes again.
func (r *Registry) remember(id uint64, user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owners.Put(id, user)
}

// userOf is whose a session was that has ended, "" if that is not known.
func (r *Registry) userOf(id uint64) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	user, _ := r.owners.Get(id)
	return user
}

// maxShareless is how many closed sessions without a share are kept.
const maxShareless = 1 << 16

// entry is one session, open or resumable. There is one for each miner: what few
// have is beside it.
type entry struct {
	extranonce1 uint64
	name        uint64 // hash of the first authorised worker name, 0 before
	client      uint64 // client id of the open connection that owns it
	loops       uint64 // loops (modulo 64) that may hold shares of it

	// What its connections were sent: a later one goes on from there.
	job     uint64 // last announced again
	present change // difficulty, zero before the first

	until         uint32 // unix seconds; 0 while open
	before, after uint32 // rows in its queue, 0 none
	suffix        uint8  // how often job was announced again
	shares        bool   // a connection of it had one
	space         uint16 // that extranonce1 is of, 0: used
}

// expired: it was closed too long ago to be resumed.
func (e *entry) expired(now time.Time) bool { return e.until != 0 && int64(e.until) < now.Unix() }

// NewRegistry makes a registry whose extranonce1 values have length bytes (2 to
// 8) and whose client ids start at first.
func NewRegistry(length int, first uint64) *Registry {
	r := &Registry{
		length: length,
		used:   map[uint64]struct{}{},

		earlier: map[uint64]earlier{},
		reports: map[uint64]uint64{},

		spaces: []*space{nil}, places: map[uint32]uint16{}, hint: randomUint64(), owners: recent.New[uint64, string](maxOwners),
	}
	r.clients.Store(first - 1)
	return r
}

func randomUint64() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

func nameHash(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}

func (r *Registry) nextClient() uint64 { return r.clients.Add(1) }

// subscribe makes a new session. ok is false when every extranonce1 is taken.
func (r *Registry) subscribe(client uint64, loop int) (id, extranonce1 uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.length < 8 && uint64(len(r.used)) > r.mask() && !r.evict() {
		return 0, 0, false
	}
	// Nobody can know it before: for jobs that there are, a miner could find hashes with it
	// first, and choose the difficulty of the session after that.
	extranonce1 = r.free(randomUint64())
	id = r.newID()
	r.used[extranonce1] = struct{}{}
	r.entries.use(id, entry{extranonce1: extranonce1, client: client, loops: 1 << (loop % 64)})
	return id, extranonce1, true
}

// mask has the bits of an extranonce1. The caller holds mu.
func (r *Registry) mask() uint64 { return ^uint64(0) >> (64 - 8*r.length) }

// free is the first extranonce1 from a value on that nobody has; there is one. The caller
// holds mu.
func (r *Registry) free(from uint64) uint64 {
	for {
		if _, taken := r.used[from&r.mask()]; !taken {
			return from & r.mask()
		}
		from++
	}
}

// newID is a session id that nobody has. The caller holds mu.
func (r *Registry) newID() (id uint64) {
	for id == 0 || r.entries.find(id) != nil {
		id = randomUint64()
	}
	return id
}

// evict gives up the closed session that was closed first, one without a share
// if there is one: a miner that is here comes before one that may come back.
func (r *Registry) evict() bool {
	row := r.shareless.first
	if row == 0 {
		row = r.closed.first
	}
	if row == 0 {
		return false
	}
	r.forget(row)
	return true
}

func (r *Registry) entry(row uint32) *entry { return &r.entries.at(row).value }

// forget is for a caller that holds mu.
func (r *Registry) forget(row uint32) {
	e := r.entry(row)
	r.reopen(e)
	if e.space == 0 {
		delete(r.used, e.extranonce1)
	} else {
		r.leave(e, r.entries.at(row).key)
	}
	delete(r.earlier, r.entries.at(row).key)
	delete(r.reports, r.entries.at(row).key)
	r.entries.release(row)
}

func (r *Registry) queue(e *entry) *queue {
	if e.shares {
		return &r.closed
	}
	return &r.shareless
}

// close puts an open session into its queue; until is not before that of any
// other there.
func (r *Registry) close(row, until uint32) {
	e := r.entry(row)
	q := r.queue(e)
	e.until, e.before, e.after = until, q.last, 0
	if q.last != 0 {
		r.entry(q.last).after = row
	} else {
		q.first = row
	}
	q.last = row
	q.n++
	if r.shareless.n > maxShareless {
		r.forget(r.shareless.first)
	}
}

// reopen takes a session out of its queue, if it is in one.
func (r *Registry) reopen(e *entry) {
	if e.until == 0 {
		return
	}
	q := r.queue(e)
	if e.before != 0 {
		r.entry(e.before).after = e.after
	} else {
		q.first = e.after
	}
	if e.after != 0 {
		r.entry(e.after).before = e.before
	} else {
		q.last = e.before
	}
	q.n--
	e.until, e.before, e.after = 0, 0, 0
}

// resume finds the session of an id a miner presents. It stays with its owner
// until claim. Ids may be tried without a limit: 64 random bits are not guessed.
// A session that has used up its announcements of the present job is not resumed:
// its miner would have no work until the next.
func (r *Registry) resume(id, job uint64, now time.Time) (e entry, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.entries.find(id)
	if k == nil || k.name == 0 || k.space != 0 || k.expired(now) || r.full(id) || k.job == job && k.suffix == maxSuffix {
		return entry{}, false
	}
	return *k, true
}

// full tells that no further difficulty of a session can be kept for its next
// connection.
func (r *Registry) full(id uint64) bool { return len(r.earlier[id])+1 >= maxEarlier }

// inheritance is what an owner of a session takes over from the one before.
type inheritance struct {
	open         uint64 // client id of that one where it is still connected, else 0
	difficulties earlier
}

// claim makes client the owner of session id under the given worker name. It
// fails when the session belongs to another name. loops are those of the session.
// from is nil where the session is the client's own.
func (r *Registry) claim(id uint64, name string, client uint64, loop int) (loops uint64, from *inheritance, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries.find(id)
	h := nameHash(name)
	if e == nil || e.name != 0 && e.name != h || e.client != client && r.full(id) {
		return 0, nil, false
	}
	if e.client != client {
		from = &inheritance{difficulties: slices.Clone(r.earlier[id])}
		if e.present.difficulty != 0 {
			from.difficulties = append(from.difficulties, e.present)
		}
		if e.until == 0 {
			from.open = e.client
		}
	}
	r.reopen(e)
	e.name, e.client = h, client
	e.loops |= 1 << (loop % 64)
	return e.loops, from, true
}

// announce is the next suffix, up to most, of a job that is announced again in session
// id. It counts over all connections of the session, so that no two announcements are
// the same work. ok is false when there is none left.
func (r *Registry) announce(id, job uint64, most uint8) (suffix uint8, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries.find(id)
	if e == nil {
		return 0, false
	}
	if e.job != job {
		e.job, e.suffix = job, 0
	}
	if e.suffix >= most {
		return 0, false
	}
	e.suffix++
	return e.suffix, true
}

// changed keeps a difficulty that the owner of session id was sent. Jobs before
// oldest are gone.
func (r *Registry) changed(id, client uint64, to change, oldest uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries.find(id)
	if e == nil || e.client != client || e.present.difficulty == to.difficulty { // it goes on
		return
	}
	if e.present.difficulty != 0 {
		r.earlier[id] = r.earlier[id].add(e.present, oldest)
	}
	e.present = to
}

// reported notes the number of a report on shares of session id, and tells whether it is
// another one than the last.
func (r *Registry) reported(id, client, number uint64) (fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries.find(id); e == nil || e.client != client || r.reports[id] == number {
		return false
	}
	r.reports[id] = number
	return true
}

// forgetEarlier forgets all difficulties of session id but the present one, for
// its owner: there are no jobs any more that they concern.
func (r *Registry) forgetEarlier(id, client uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries.find(id); e != nil && e.client == client {
		delete(r.earlier, id)
	}
}

// release ends client's ownership: an authorised session is kept for a while, any
// other, and one of several sources, is forgotten. shares tells whether the client had any.
func (r *Registry) release(id, client uint64, shares bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row := r.entries.row(id)
	if row == 0 {
		return
	}
	e := r.entry(row)
	if e.client != client || e.until != 0 {
		return
	}
	e.shares = e.shares || shares
	if e.name == 0 || e.space != 0 {
		r.forget(row)
		return
	}
	r.close(row, uint32(now.Add(keepSession).Unix()))
}

// Sweep forgets what has expired and returns how many sessions can be resumed.
// Call it about once a minute.
func (r *Registry) Sweep(now time.Time) (resumable int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, q := range []*queue{&r.closed, &r.shareless} {
		for q.first != 0 && r.entry(q.first).expired(now) {
			r.forget(q.first)
			if n++; n%walkStep == 0 {
				r.letOthers()
			}
		}
	}
	r.dropSpaces()
	if now.Sub(r.aged) >= keepSession {
		r.owners.Age()
		r.aged = now
	}
	return r.closed.n + r.shareless.n
}

// Resumable is how many sessions can be resumed, of which some may have expired
// since the last Sweep.
func (r *Registry) Resumable() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed.n + r.shareless.n
}

// walkStep is how many sessions are visited before others get the registry: a
// loop that has to wait for it serves nobody.
const walkStep = 1024

// letOthers gives up the lock for a moment. A map may change while it is walked,
// as long as nobody else does so at that very moment.
func (r *Registry) letOthers() {
	r.mu.Unlock()
	r.mu.Lock()
}
