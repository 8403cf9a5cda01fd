package session

import "maps"

// minimums are the least difficulties of a connection's workers, which nothing that
// the miner asks for goes below. The connection has the largest. Few have any.
type minimums struct {
	most float64
	of   map[WorkerID]float64
}

// minimum is the least difficulty of the connection, 0 none.
func (c client) minimum() float64 {
	if !c.s.is(hasMinimum) {
		return 0
	}
	return c.minimums[c.slot].most
}

// setMinimum gives one of the connection's workers another least difficulty, 0 for
// none. What must rise does at once, what may fall is left to the miner's shares.
func (c client) setMinimum(w WorkerID, d float64) {
	m := c.minimums[c.slot]
	switch {
	case d > 0 && m.of == nil:
		m.of = map[WorkerID]float64{w: d}
	case d > 0:
		m.of[w] = d
	default:
		delete(m.of, w)
	}
	if len(m.of) == 0 {
		delete(c.minimums, c.slot)
		c.s.flags &^= hasMinimum
		return
	}
	m.most = 0
	for d := range maps.Values(m.of) {
		m.most = max(m.most, d)
	}
	c.minimums[c.slot] = m
	c.s.flags |= hasMinimum
	if least := c.clamp(0); c.s.want < least {
		c.s.want = least
		c.changeNow()
	}
}
