package session

import "sync"

// seen remembers the accepted shares of one loop to find duplicates. A share's
// hash contains its extranonce1, so only the session that found it can repeat
// it; the lock is for a session that resumed on another loop and is otherwise
// uncontended.
//
// Shares are kept as 64-bit fingerprints: the low bytes of the hash, which are
// uniformly distributed whatever the difficulty.
type seen struct {
	mu      sync.Mutex
	young   fingerprints // guarded by mu
	old     fingerprints // guarded by mu
	rotated float64      // guarded by mu; loop seconds
	copied  copied       // guarded by mu
}

// rotateAfter is how long a share may still be repeated: jobs of the present
// tip are kept this many seconds.
const rotateAfter = 600

// has reports whether the fingerprint is known.
func (s *seen) has(fp uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.young.has(fp) || s.old.has(fp)
}

// add inserts the fingerprint and reports false when it was known.
func (s *seen) add(fp uint64, now float64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now-s.rotated >= rotateAfter {
		s.rotate(now)
	}
	if s.old.has(fp) || !s.young.add(fp) {
		return false
	}
	s.copied.added(fp)
	return true
}

// rotate is for a caller that holds mu.
func (s *seen) rotate(now float64) {
	s.young, s.old = s.old, s.young
	s.young.reset()
	s.rotated = now
	s.copied.changed(opRotate, now)
}

// reset forgets everything: shares of earlier tips are stale before they are
// duplicates.
func (s *seen) reset(now float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.young.reset()
	s.old.reset()
	s.rotated = now
	s.copied.changed(opReset, now)
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

func (f *fingerprints) len() (n int) {
	for i := range f.parts {
		n += f.parts[i].n
	}
	return n
}
