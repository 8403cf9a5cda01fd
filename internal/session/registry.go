package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// keepSession is how long a closed, authorised session can be resumed.
const keepSession = 10 * time.Minute

// unknownIDs is how many unknown session ids an address may present a minute
// before its ids are ignored: ids cannot be guessed by trying.
const unknownIDs = 10

// Registry hands out client ids, session ids and extranonce1 values, and keeps
// what a reconnecting miner may resume. One for all loops.
type Registry struct {
	clients atomic.Uint64

	mu      sync.Mutex
	length  int                       // guarded by mu; bytes of extranonce1
	next    uint64                    // guarded by mu; next extranonce1 to try
	used    map[uint64]struct{}       // guarded by mu; extranonce1 values taken
	entries map[uint64]entry          // guarded by mu; by session id
	guesses map[netip.Addr]guessCount // guarded by mu
}

// entry is one session, open or resumable.
type entry struct {
	extranonce1 uint64
	name        uint64 // hash of the first authorised worker name, 0 before
	client      uint64 // client id of the open connection that owns it
	loops       uint64 // loops (modulo 64) that may hold shares of it
	until       int64  // unix seconds; 0 while open

	// What its connections were sent: a later one goes on from there.
	difficulties earlier
	job          uint64 // last announced again
	suffix       uint8  // how often
}

type guessCount struct {
	n     int
	since time.Time
}

// NewRegistry makes a registry whose extranonce1 values have length bytes (2 to
// 8) and whose client ids start at first.
func NewRegistry(length int, first uint64) *Registry {
	r := &Registry{
		length:  length,
		next:    randomUint64(),
		used:    map[uint64]struct{}{},
		entries: map[uint64]entry{},
		guesses: map[netip.Addr]guessCount{},
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
	mask := ^uint64(0) >> (64 - 8*r.length)
	if r.length < 8 && uint64(len(r.used)) > mask && !r.evict() {
		return 0, 0, false
	}
	for {
		extranonce1 = r.next & mask
		r.next++
		if _, taken := r.used[extranonce1]; !taken {
			break
		}
	}
	for id == 0 {
		id = randomUint64()
		if _, taken := r.entries[id]; taken {
			id = 0
		}
	}
	r.used[extranonce1] = struct{}{}
	r.entries[id] = entry{extranonce1: extranonce1, client: client, loops: 1 << (loop % 64)}
	return id, extranonce1, true
}

// evict gives up the closed session that would be forgotten first: a miner that
// is here comes before one that may come back.
func (r *Registry) evict() bool {
	first, until := uint64(0), int64(math.MaxInt64)
	for id, e := range r.entries {
		if e.until != 0 && e.until < until {
			first, until = id, e.until
		}
	}
	if first == 0 {
		return false
	}
	delete(r.used, r.entries[first].extranonce1)
	delete(r.entries, first)
	return true
}

// resume finds the session of an id a miner presents. It stays with its owner
// until claim.
func (r *Registry) resume(id uint64, from netip.Addr, now time.Time) (e entry, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.guesses[from]
	if now.Sub(g.since) >= time.Minute {
		g = guessCount{since: now}
	}
	if g.n >= unknownIDs {
		return entry{}, false
	}
	e, ok = r.entries[id]
	if ok && (e.name == 0 || e.until != 0 && e.until < now.Unix()) {
		ok = false
	}
	if !ok {
		g.n++
		r.guesses[from] = g
	}
	return e, ok
}

// claim makes client the owner of session id under the given worker name. It
// fails when the session belongs to another name. previous is the client that
// owned it and may still be open. inherited tells that the owner was another
// client.
func (r *Registry) claim(id uint64, name string, client uint64, loop int) (e entry, previous uint64, inherited, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, known := r.entries[id]
	h := nameHash(name)
	if !known || e.name != 0 && e.name != h {
		return e, 0, false, false
	}
	previous, inherited = e.client, e.client != client
	if e.until != 0 {
		previous = 0
	}
	e.name, e.client, e.until = h, client, 0
	e.loops |= 1 << (loop % 64)
	r.entries[id] = e
	if inherited {
		e.difficulties = slices.Clone(e.difficulties)
	}
	return e, previous, inherited, true
}

// announce is the next suffix of a job that is announced again in session id. It
// counts over all connections of the session, so that no two announcements are
// the same work. ok is false when there is none left.
func (r *Registry) announce(id, job uint64) (suffix uint8, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[id]
	if e.job != job {
		e.job, e.suffix = job, 0
	}
	if e.suffix == maxSuffix {
		return 0, false
	}
	e.suffix++
	r.entries[id] = e
	return e.suffix, true
}

// changed keeps a difficulty that the owner of session id was sent.
func (r *Registry) changed(id, client uint64, to change, now float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.entries[id]; ok && e.client == client {
		e.difficulties = e.difficulties.add(to, now)
		r.entries[id] = e
	}
}

// release ends client's ownership: an authorised session is kept for a while, any
// other is forgotten.
func (r *Registry) release(id, client uint64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[id]
	if !ok || e.client != client {
		return
	}
	if e.name == 0 {
		delete(r.entries, id)
		delete(r.used, e.extranonce1)
		return
	}
	e.until = now.Add(keepSession).Unix()
	r.entries[id] = e
}

// Sweep forgets what has expired and returns how many sessions can be resumed.
// Call it about once a minute.
func (r *Registry) Sweep(now time.Time) (resumable int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for id, e := range r.entries {
		if n++; n%walkStep == 0 {
			r.letOthers()
		}
		switch {
		case e.until == 0:
		case e.until < now.Unix():
			delete(r.entries, id)
			delete(r.used, e.extranonce1)
		default:
			resumable++
		}
	}
	for a, g := range r.guesses {
		if now.Sub(g.since) >= time.Minute {
			delete(r.guesses, a)
		}
	}
	return resumable
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
