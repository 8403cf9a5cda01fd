package session

import (
	"fmt"

	"github.com/ckpool/ckpool/internal/wire"
)

// Fingerprints move to another process as a row of numbers: each is one to be
// added, but a 0 is followed by an operation and the id of the job it is about. A
// set that is in use goes as a copy first, then as the changes since.
const (
	opReset  = 1 // forget everything; the job is the first of which there may be shares
	opRotate = 2 // what was young is old, and of jobs before this one
)

// copied follows the changes of a set after it was copied.
type copied struct {
	on      bool
	changes []uint64
	breaks  int // resets and rotations ever
}

// maxChanges bounds the memory that a copy nobody fetches costs: it is given
// up and made anew when asked for.
const maxChanges = 4 << 20

func (c *copied) added(fp uint64) {
	if c.on {
		c.changes = append(c.changes, max(fp, 1))
		if len(c.changes) > maxChanges {
			c.stop()
		}
	}
}

func (c *copied) changed(op, job uint64) {
	c.breaks++
	if !c.on {
		return
	}
	if op == opReset { // makes what was before it void
		c.changes = c.changes[:0]
	}
	c.changes = append(c.changes, 0, op, job)
}

func (c *copied) stop() { c.on, c.changes = false, nil }

// changesSince gives what has changed since the last call; at first, and where
// that is not known, all of the set.
func (s *seen) changesSince() []uint64 {
	s.mu.Lock()
	if s.copied.on {
		changes := s.copied.changes
		s.copied.changes = nil
		s.mu.Unlock()
		return changes
	}
	s.mu.Unlock()
	for {
		if all, ok := s.copyAll(); ok {
			return all
		}
	}
}

// copyAll copies a part at a time, so that the loop never waits for long; not
// ok when the set was reset or rotated meanwhile.
func (s *seen) copyAll() (all []uint64, ok bool) {
	s.mu.Lock()
	forgotten, next, breaks := s.forgotten, s.next, s.copied.breaks
	all = make([]uint64, 0, s.young.len()+s.old.len()+16)
	s.copied.on, s.copied.changes = true, nil
	s.mu.Unlock()
	take := func(set *fingerprints) {
		for i := range set.parts {
			s.mu.Lock()
			for _, fp := range set.parts[i].table {
				if fp != 0 {
					all = append(all, fp)
				}
			}
			s.mu.Unlock()
		}
	}
	all = append(all, 0, opReset, forgotten)
	take(&s.old)
	all = append(all, 0, opRotate, next)
	take(&s.young)
	s.mu.Lock()
	defer s.mu.Unlock()
	ok = s.copied.breaks == breaks
	if !ok {
		s.copied.stop()
	}
	return all, ok
}

// stopCopying forgets that there was a copy.
func (s *seen) stopCopying() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copied.stop()
}

// apply does to s what was done to the set the changes are of.
func (s *seen) apply(changes []uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(changes); i++ {
		if changes[i] != 0 {
			s.young.add(changes[i])
			continue
		}
		if i+2 >= len(changes) {
			return wire.ErrShort
		}
		op, job := changes[i+1], changes[i+2]
		i += 2
		switch op {
		case opReset:
			s.reset(job)
		case opRotate:
			s.rotate(job)
		default:
			return fmt.Errorf("operation %d", op)
		}
	}
	return nil
}

// seenChunk is how many numbers go into a record, so that records stay of a size
// that is easily passed on.
const seenChunk = 64 << 10

// appendSeen makes records of changes, each at most seenChunk numbers long and
// none cut within an operation.
func appendSeen(loop int, changes []uint64, send func(record []byte) error) error {
	c := wire.Append(nil)
	for len(changes) > 0 {
		n := min(len(changes), seenChunk)
		for n < len(changes) && (changes[n-1] == 0 || n > 1 && changes[n-2] == 0) {
			n--
		}
		k := seenRecord{uint16(loop), changes[:n]}
		c.Reset(0)
		c.Versioned(seenVersion, k.fields)
		if err := send(c.Written()); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}
