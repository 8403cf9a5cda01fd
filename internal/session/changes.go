package session

import "math"

// change is a difficulty with the first job announced under it.
type change struct {
	difficulty float64
	at         float64
	job        uint64
	suffix     uint8
}

const (
	// raiseGrace is how long jobs sent before a raise keep their lower
	// difficulty, in seconds.
	raiseGrace = 120
	// changeLife is how long shares may still come for jobs sent before a
	// change, in seconds: longer than any job is kept.
	changeLife = 900
	// maxEarlier bounds what a connection may cost. It is more than a miner can
	// bring about in changeLife: of forgotten changes it could choose the
	// difficulty of its older jobs.
	maxEarlier = 256
)

// earlier are the difficulties before the present one, oldest first. Few
// sessions have any: they are not part of the session.
type earlier []change

// add appends a difficulty that another one has replaced at now, and forgets
// those whose jobs are gone.
func (e earlier) add(c change, now float64) earlier {
	gone := 0
	for gone < len(e) && (now-e.end(gone, &c) > changeLife || len(e)-gone >= maxEarlier) {
		gone++
	}
	return append(append(e[:0], e[gone:]...), c)
}

// end is when the difficulty at i was replaced.
func (e earlier) end(i int, present *change) float64 {
	if i+1 < len(e) {
		return e[i+1].at
	}
	return present.at
}

// judge gives the difficulty a share of the job must meet to be accepted, and
// the one it must meet to be credited, which is the credit: exactly what the
// job was sent with.
//
// A lowering is accepted on older jobs at once, credited nothing below the
// job's own difficulty: a miner that switches at once and one that switches
// with the next job are both paid exactly what they hashed. A raise leaves
// older jobs their difficulty for raiseGrace seconds.
func (e earlier) judge(present *change, job uint64, suffix uint8, now float64) (accept, credit float64) {
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
		if k == n-1 || now-at(k+1).at <= raiseGrace {
			accept = min(accept, at(k).difficulty)
		}
	}
	return accept, credit
}

// record notes that a difficulty was sent together with job and suffix.
func (c client) record(difficulty float64, job uint64, suffix uint8, now float64) {
	if c.s.sent() != 0 {
		c.earlier[c.slot] = c.earlier[c.slot].add(c.s.present, now)
		c.s.flags |= hasEarlier
	}
	c.s.present = change{difficulty, now, job, suffix}
	c.g.registry.changed(c.s.id, c.s.client, c.s.present, now)
}

// judge is that of the session's difficulties.
func (c client) judge(job uint64, suffix uint8, now float64) (accept, credit float64) {
	if !c.s.is(hasEarlier) {
		return c.s.present.difficulty, c.s.present.difficulty
	}
	return c.earlier[c.slot].judge(&c.s.present, job, suffix, now)
}

// forgetEarlier gives back the memory of earlier difficulties.
func (c client) forgetEarlier() {
	delete(c.earlier, c.slot)
	c.s.flags &^= hasEarlier
}
