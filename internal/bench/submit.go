package bench

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/stratum"
)

// everyHash is the target that every hash meets: then none is computed.
var everyHash = difficulty.TargetFromDifficulty(0)

// refill puts as many shares into l.out as c's window has room for.
func (l *loop) refill(c *conn) {
	if l.engine.plan.every > 0 || l.engine.goal.Load() != submitting || !c.submits || c.state != ready || c.searching {
		return
	}
	for c.outstanding < l.engine.plan.window {
		if !l.submit(c) {
			return
		}
	}
}

// submit puts the next share of c into l.out. It is false when there is no
// room for it, or when none was found quickly: then c is on the list of
// searching miners.
func (l *loop) submit(c *conn) bool {
	if c.state != ready || l.engine.goal.Load() != submitting {
		return false
	}
	if l.totals.Submitted >= l.quota {
		l.spent.Store(true)
		return false
	}
	if c.owed == nil {
		places := maxOwed
		if l.engine.plan.every == 0 {
			places = l.engine.plan.window
		}
		c.owed = make([]owed, 2*places)
		c.nextID, c.stamped = firstShare, firstShare
	}
	place := &c.owed[c.nextID%uint64(len(c.owed))]
	if place.id != 0 {
		return false
	}
	if !l.find(c) {
		c.searching = true
		l.searching = append(l.searching, c.slot)
		return false
	}
	var digits [20]byte
	l.out = stratum.AppendSubmit(l.out, strconv.AppendUint(digits[:0], c.nextID, 10), c.worker, c.searched.JobID,
		c.extranonce2, c.searched.NTime, c.search.Nonce, 0, false)
	place.id, place.hash = c.nextID, c.search.Hash
	c.nextID++
	c.outstanding++
	l.owed++
	l.totals.Submitted++
	return true
}

// find searches the next share of the newest job, for a limited time.
func (l *loop) find(c *conn) bool {
	for range 2 {
		if c.jobChanged {
			l.newSearch(c)
		}
		if c.target == everyHash && l.engine.plan.answered == nil {
			if c.search.Count() {
				return true
			}
		} else if tried, found := l.hasher.Find(&c.search, &c.target, triesAtOnce); found {
			return true
		} else if tried > 0 {
			return false
		}
		c.jobChanged = true // all nonces are spent: another extranonce2
	}
	return false
}

// newSearch begins a header of the newest job with an extranonce2 of its own.
func (l *loop) newSearch(c *conn) {
	c.jobChanged = false
	c.searched = c.job
	c.counter++
	var digits [8]byte
	binary.LittleEndian.PutUint64(digits[:], c.counter)
	if n := c.extranonce.Extranonce2Len; n != len(c.extranonce2) {
		c.extranonce2 = make([]byte, n)
	}
	copy(c.extranonce2, digits[:])
	l.hasher.Start(&c.search, c.job, c.extranonce.Extranonce1, c.extranonce2, c.job.Version)
}

// verdict matches a reply with the share it answers.
func (l *loop) verdict(c *conn, id uint64, m *stratum.Message, now time.Duration) {
	if len(c.owed) == 0 || id < firstShare {
		l.totals.Unmatched++
		return
	}
	place := &c.owed[id%uint64(len(c.owed))]
	if place.id != id {
		l.totals.Unmatched++
		return
	}
	took := now - place.sent
	l.totals.latency.add(took)
	if int64(took) > l.slowest.Load() {
		l.slowest.Store(int64(took))
	}
	l.totals.lastReply = now
	hash := place.hash
	*place = owed{}
	c.outstanding--
	l.owed--
	if told := l.engine.plan.answered; told != nil {
		told(hash, m.Verdict() == nil)
	}
	if r := m.Verdict(); r != nil {
		l.totals.Rejected++
		l.totals.Rejects[r.String()]++
		return
	}
	l.totals.Accepted++
}
