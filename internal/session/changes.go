package session

import "math"

// change is a difficulty with the first job announced under it.
type change struct {
	difficulty float64
	job        uint64
	at         moment
	suffix     uint8
}

const (
	// raiseGrace is how long jobs sent before a raise keep their lower
	// difficulty, in seconds.
	raiseGrace = 120
	// maxEarlier bounds what a connection may cost. Where so many are still
	// needed, the difficulty stays as it is: of a forgotten change a miner could
	// choose the difficulty of its older jobs.
	maxEarlier = 256
)

// earlier are the difficulties before the present one, oldest first. Few
// sessions have any: they are not part of the session.
type earlier []change

// add appends a difficulty, and forgets those that concern only jobs before
// oldest.
func (e earlier) add(c change, oldest uint64) earlier {
	if n := len(e); n == 0 || e[n-1].difficulty != c.difficulty { // or it goes on
		e = append(e, c)
	}
	return append(e[:0], e[e.gone(oldest):]...)
}

// gone counts the difficulties that concern only jobs before oldest. The last is
// none of them: it is still in force.
func (e earlier) gone(oldest uint64) (n int) {
	for n+1 < len(e) && e[n+1].job < oldest {
		n++
	}
	return n
}

// full reports that there is no room for another one.
func (e earlier) full(oldest uint64) bool { return len(e)-e.gone(oldest) >= maxEarlier }

// ofJob gives the difficulty a share of the job must meet to be accepted, and
// the one it must meet to be credited, which is the credit: exactly what the
// job was sent with.
//
// A lowering is accepted on older jobs at once, credited nothing below the
// job's own difficulty: a miner that switches at once and one that switches
// with the next job are both paid exactly what they hashed. A raise leaves
// older jobs their difficulty for raiseGrace seconds.
func (e earlier) ofJob(present *change, job uint64, suffix uint8, now float64) (accept, credit float64) {
	at := func(i int) *change {
		if i < len(e) {
			return &e[i]
		}
		return present
	}
	n := len(e) + 1
	i := n - 1
	for i > 0 && (job < at(i).job || job == at(i).job && suffix < at(i).suffix) {
		i--
	}
	credit = at(i).difficulty
	accept = math.Inf(1)
	for k := i; k < n; k++ {
		if k == n-1 || at(k+1).at.since(now) <= raiseGrace {
			accept = min(accept, at(k).difficulty)
		}
	}
	return accept, credit
}

// record notes that a difficulty was sent. Jobs before oldest are gone.
func (c client) record(to change, oldest uint64) {
	if c.s.sent() != 0 {
		c.earlier[c.slot] = c.earlier[c.slot].add(c.s.present, oldest)
		c.s.flags |= hasEarlier
	}
	c.s.present = to
	c.g.registry.changed(c.s.id, c.s.client, to, oldest)
}

// difficultyOfJob is ofJob for the session's difficulties.
func (c client) difficultyOfJob(job uint64, suffix uint8, now float64) (accept, credit float64) {
	if !c.s.is(hasEarlier) {
		return c.s.present.difficulty, c.s.present.difficulty
	}
	return c.earlier[c.slot].ofJob(&c.s.present, job, suffix, now)
}

// wasSent is false of a job, and of an announcement of one, from before the session had any:
// of such the miner could choose the difficulty. It is for a session with a difficulty.
func (c client) wasSent(job uint64, suffix uint8) bool {
	first := &c.s.present
	if c.s.is(hasEarlier) {
		if e := c.earlier[c.slot]; len(e) > 0 {
			first = &e[0]
		}
	}
	return job > first.job || job == first.job && suffix >= first.suffix
}

// forgetEarlier gives back the memory of earlier difficulties.
func (c client) forgetEarlier() {
	delete(c.earlier, c.slot)
	c.s.flags &^= hasEarlier
}
