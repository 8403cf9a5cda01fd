package session

import (
	"math"
	"slices"
)

// space is the numbers that sessions of one source have as extranonce1 bytes of their
// own. A number is one session's at a time. After that it rests until no job counts any
// more that the session may have had under it: a miner that got it before would do the
// same work as another has done, or both would. The registry's lock guards it.
//
// Of all numbers each is free, used or resting; most are fresh: free, and never given.
type space struct {
	source uint32
	own    int    // bytes of each
	fresh  uint64 // lower numbers were given, or are in state

	used  int
	state map[uint64]owner // of numbers that are used or resting, by number
	free  []uint64         // numbers below fresh that are neither
	at    map[uint64]int   // where in free they are
	rest  fifo[resting]    // in the order in which they rest; those that are owned again are skipped
}

// owner is whose a number is.
type owner struct {
	session uint64 // id
	resting bool
	until   uint64 // it rests while jobs up to this one count
}

// resting is a number that a session has given back.
type resting struct {
	number uint64
	owner
}

func newSpace(from uint32, own int) *space {
	return &space{source: from, own: own, state: map[uint64]owner{}, at: map[uint64]int{}}
}

// mask has the bits of a number.
func (p *space) mask() uint64 {
	if p.own == 0 {
		return 0
	}
	return math.MaxUint64 >> (64 - 8*p.own)
}

// wake lets the numbers go that have rested. Jobs of the source before oldest count no
// more.
func (p *space) wake(oldest uint64) {
	for p.rest.len() > 0 && p.rest.front().until < oldest {
		r := *p.rest.front()
		p.rest.pop()
		if p.state[r.number] == r.owner { // nobody has taken it again
			delete(p.state, r.number)
			p.release(r.number)
		}
	}
}

// release makes a number free.
func (p *space) release(number uint64) {
	if number < p.fresh {
		p.at[number] = len(p.free)
		p.free = append(p.free, number)
	}
}

// takeFree takes a number out of the free ones.
func (p *space) takeFree(number uint64) {
	i, ok := p.at[number]
	if !ok {
		return
	}
	last := len(p.free) - 1
	p.free[i] = p.free[last]
	p.at[p.free[i]] = i
	p.free = p.free[:last]
	delete(p.at, number)
}

// take gives a session the wanted number if that is free, or rests after the same
// session had it; else any number, unless it is to be that one. Not ok: there is none.
func (p *space) take(session, wanted uint64, only bool, oldest uint64) (number uint64, ok bool) {
	p.wake(oldest)
	wanted &= p.mask()
	o, known := p.state[wanted]
	switch {
	case !known || o.resting && o.session == session:
		number = wanted
	case only:
		return 0, false
	default:
		if number, ok = p.any(); !ok {
			return 0, false
		}
	}
	p.takeFree(number)
	p.state[number] = owner{session: session}
	p.used++
	return number, true
}

// any is a number that is free.
func (p *space) any() (number uint64, ok bool) {
	if n := len(p.free); n > 0 {
		return p.free[n-1], true
	}
	for !p.exhausted() {
		if _, known := p.state[p.fresh]; !known {
			return p.fresh, true
		}
		p.fresh++
	}
	return 0, false
}

// exhausted tells that no number is fresh.
func (p *space) exhausted() bool { return p.fresh > p.mask() && p.mask() != math.MaxUint64 }

// give lets a session's number rest while jobs up to newest count.
func (p *space) give(session, number, newest uint64) {
	o := p.state[number]
	if o.resting || o.session != session {
		return
	}
	p.used--
	o = owner{session, true, newest}
	p.state[number] = o
	p.rest.push(resting{number, o})
}

// counts are how many numbers are free, used and resting; in floating point, since there
// may be 2^64.
func (p *space) counts() (free, used, rests float64) {
	used, rests = float64(p.used), float64(len(p.state)-p.used)
	return float64(p.mask()) + 1 - used - rests, used, rests
}

// follow tells a registry which jobs count where there are several sources.
func (r *Registry) follow(jobs Jobs) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs = jobs
}

// adopt takes what a number was in another process.
func (p *space) adopt(number uint64, o owner) {
	if number &= p.mask(); p.state[number].session == 0 {
		p.state[number] = o
		if o.resting {
			p.rest.push(resting{number, o})
		} else {
			p.used++
		}
	}
}

// spaceRecords are the spaces for another process, without what open sessions have. The
// numbers of sessions whose connections end, by row, rest there. The caller holds mu.
func (r *Registry) spaceRecords(leaving []uint32) (list []spaceRecord) {
	newest := uint64(0)
	if r.jobs != nil && r.jobs.Newest() != nil {
		newest = r.jobs.Newest().Job.ID
	}
	for n, p := range r.spaces {
		if p == nil {
			continue
		}
		k := spaceRecord{source: p.source, own: uint8(p.own)}
		for _, o := range p.rest.list[p.rest.begun:] {
			if p.state[o.number] == o.owner {
				k.rest = append(k.rest, restingRecord{o.number, o.session, o.until})
			}
		}
		for _, row := range leaving {
			if e := r.entry(row); int(e.space) == n {
				k.rest = append(k.rest, restingRecord{e.extranonce1, r.entries.at(row).key, newest})
			}
		}
		list = append(list, k)
	}
	return list
}

// spaceAt is the number of the space of a source, 0 for the pool's own.
func (r *Registry) spaceAt(from uint32, own int) uint16 {
	if from == 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.space(from, own)
}

// spaceOf is space for a source's work.
func (r *Registry) spaceOf(w *Work) uint16 { return r.space(w.Source(), w.Upstream.Shape.Own) }

// space is the number of the space of a source, whose sessions have so many bytes of
// their own; 0 where there is no room for more spaces. The caller holds mu.
func (r *Registry) space(from uint32, own int) uint16 {
	if n, ok := r.places[from]; ok {
		return n
	}
	n := slices.Index(r.spaces[1:], nil) + 1
	if n == 0 {
		if n = len(r.spaces); n > math.MaxUint16 {
			return 0
		}
		r.spaces = append(r.spaces, nil)
	}
	r.spaces[n] = newSpace(from, own)
	r.places[from] = uint16(n)
	return uint16(n)
}

// subscribeTo makes a new session that gets the work of a source of several. ok is
// false when every extranonce1 of it is taken.
func (r *Registry) subscribeTo(w *Work, client uint64, loop int) (id, extranonce1 uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.spaceOf(w)
	if n == 0 {
		return 0, 0, false
	}
	id = r.newID()
	// Sessions of all sources get different numbers as long as there are enough, so that
	// each finds its own free when it moves.
	extranonce1, ok = r.spaces[n].take(id, r.hint, false, w.OldestOfSource)
	if !ok {
		return 0, 0, false
	}
	r.hint++
	r.entries.use(id, entry{extranonce1: extranonce1, client: client, loops: 1 << (loop % 64), space: n})
	return id, extranonce1, true
}

// move gives client's session id an extranonce1 of another source, the one that it has
// if that is free there, or only that one; the former rests. ok is false if there is none.
func (r *Registry) move(id, client uint64, to *Work, only bool) (extranonce1 uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries.find(id)
	if e == nil || e.client != client {
		return 0, false
	}
	n := r.spaceOf(to)
	if n == 0 {
		return 0, false
	}
	if extranonce1, ok = r.spaces[n].take(id, e.extranonce1, only, to.OldestOfSource); !ok {
		return 0, false
	}
	r.leave(e, id)
	e.extranonce1, e.space = extranonce1, n
	return extranonce1, true
}

// leave lets the extranonce1 of session id rest. The caller holds mu.
func (r *Registry) leave(e *entry, id uint64) {
	newest := uint64(0)
	if w := r.jobs.Newest(); w != nil {
		newest = w.Job.ID
	}
	r.spaces[e.space].give(id, e.extranonce1, newest)
}

// dropSpaces forgets the spaces of sources that have ended and that no session has. The
// caller holds mu.
func (r *Registry) dropSpaces() {
	for n, p := range r.spaces {
		if p != nil && p.used == 0 && r.jobs.Work(p.source) == nil {
			delete(r.places, p.source)
			r.spaces[n] = nil
		}
	}
}

// Space is how many extranonce1 values of a source sessions have, how many rest after
// they had them, and how many there are.
func (r *Registry) Space(from uint32) (used, resting, all float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.places[from]
	if !ok {
		return 0, 0, 0
	}
	p := r.spaces[n]
	if w := r.jobs.Work(from); w != nil {
		p.wake(w.OldestOfSource)
	}
	free, used, resting := p.counts()
	return used, resting, free + used + resting
}
