package session

import (
	"sync"
	"sync/atomic"
)

// seen remembers the accepted shares of one loop to find duplicates. A share's
// hash contains its extranonce1, so only the session that found it can repeat
// it; the lock is for a session that resumed on another loop and is otherwise
// uncontended.
//
// Shares are kept as 64-bit fingerprints: the low bytes of the hash, which are
// uniformly distributed whatever the difficulty. What may be forgotten follows
// from the ids of jobs alone, which only ever grow: a share is remembered as
// long as the pool takes shares for its job.
type seen struct {
	forgives *atomic.Bool // of the group; nil: it does not. Immutable

	mu    sync.Mutex
	young fingerprints // guarded by mu
	old   fingerprints // guarded by mu
	// Shares of jobs before forgotten may be missing, those in old are of jobs
	// before next. Guarded by mu.
	forgotten, next uint64
	replaced        map[uint64]bool // clients of this loop whose session another connection has taken; guarded by mu
	copied          copied          // guarded by mu
}

// repeat is what a set knows of a share.
type repeat uint8

const (
	neverSeen repeat = iota
	alreadySeen
	maybeSeen // its job is older than what is remembered, or another connection has the session
)

// look tells what is known of a fingerprint of a job.
func (s *seen) look(fp, job uint64) repeat {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case job < s.forgotten:
		return maybeSeen
	case s.young.has(fp) || s.old.has(fp):
		return alreadySeen
	}
	return neverSeen
}

// add tells what was known of a fingerprint of a client's share of a job, and
// inserts it.
func (s *seen) add(fp, job, client uint64, w *Work) repeat {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(w)
	switch {
	case job < s.forgotten, s.replaced[client]:
		return maybeSeen
	case s.old.has(fp) || !s.young.add(fp):
		return alreadySeen
	}
	s.copied.added(fp)
	return neverSeen
}

// replace lets a client's shares count no more: the connection that took its
// session looks for its own shares here, but not the other way round. It holds
// until the loop has closed the client.
func (s *seen) replace(client uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replaced == nil {
		s.replaced = make(map[uint64]bool)
	}
	s.replaced[client] = true
}

// closed is for a client that sends no more shares.
func (s *seen) closed(client uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.replaced, client)
}

// follow forgets what the new work makes void.
func (s *seen) follow(w *Work) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(w)
}

// forget is for a caller that holds mu, at any time and any number of times.
// All shares of earlier tips go at once, those of a tip by halves. Where there are
// several sources w is the newest work of them; each has a tip of its own, and all go
// by halves, as where late shares count.
func (s *seen) forget(w *Work) {
	tip := w.Tip
	if w.Upstream != nil || s.forgives != nil && s.forgives.Load() {
		tip = 0
	} else if s.next <= tip {
		s.reset(tip)
	}
	if s.next <= max(tip, w.Oldest) {
		s.rotate(w.Job.ID + 1)
	}
}

// rotate is for a caller that holds mu. All shares so far are of jobs before
// next.
func (s *seen) rotate(next uint64) {
	s.young, s.old = s.old, s.young
	s.young.reset()
	s.forgotten, s.next = s.next, next
	s.copied.changed(opRotate, next)
}

// reset is for a caller that holds mu. Nothing is known of jobs from first on.
func (s *seen) reset(first uint64) {
	s.young.reset()
	s.old.reset()
	s.forgotten, s.next = first, first
	s.copied.changed(opReset, first)
}

// fingerprints is an open-addressing set in 16 parts, so that growing one
// stalls the loop for a sixteenth only.
type fingerprints struct {
	parts [16]part
}

type part struct {
	table []uint64 // power of two, 0 is free
	n     int
}

// keepTable is the largest table a reset keeps for reuse.
const keepTable = 1 << 12

func (f *fingerprints) has(fp uint64) bool {
	fp = max(fp, 1)
	p := &f.parts[fp>>60]
	if p.n == 0 {
		return false
	}
	mask := uint64(len(p.table) - 1)
	for i := fp & mask; ; i = (i + 1) & mask {
		switch p.table[i] {
		case 0:
			return false
		case fp:
			return true
		}
	}
}

func (f *fingerprints) add(fp uint64) bool {
	fp = max(fp, 1)
	p := &f.parts[fp>>60]
	if 4*(p.n+1) > 3*len(p.table) {
		p.grow()
	}
	if !p.insert(fp) {
		return false
	}
	p.n++
	return true
}

func (p *part) insert(fp uint64) bool {
	mask := uint64(len(p.table) - 1)
	for i := fp & mask; ; i = (i + 1) & mask {
		switch p.table[i] {
		case 0:
			p.table[i] = fp
			return true
		case fp:
			return false
		}
	}
}

func (p *part) grow() {
	old := p.table
	p.table = make([]uint64, max(16, 2*len(old)))
	for _, fp := range old {
		if fp != 0 {
			p.insert(fp)
		}
	}
}

func (f *fingerprints) reset() {
	for i := range f.parts {
		p := &f.parts[i]
		if p.n == 0 {
			continue
		}
		if len(p.table) > keepTable {
			p.table = nil
		} else {
			clear(p.table)
		}
		p.n = 0
	}
}

func (s *seen) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.young.len() + s.old.len()
}

func (f *fingerprints) len() (n int) {
	for i := range f.parts {
		n += f.parts[i].n
	}
	return n
}
