package upstream

import (
	"cmp"
	"math"
	"slices"
)

// Miner is one session as its hash rate is divided: what it is known by, how much it
// mines, and at which place of the list of pools, -1 at none.
type Miner struct {
	Client uint64
	Rate   float64 // accepted difficulty a second
	Pool   int
}

// Portion is what one pool is to get, and has got.
type Portion struct {
	Weight   float64 // relative to the others'; 0: nothing
	Accepted float64 // difficulty within the time that is looked back on
}

// Move is a miner that is to go to another place of the list of pools.
type Move struct {
	Client uint64
	To     int
}

// Division is how hash rate is divided.
type Division struct {
	Moves []Move
	// Shares are the pools' parts of the hash rate after the moves, and Wanted those by
	// their weights; both have sum 1 where there is any.
	Shares, Wanted []float64
}

const (
	// exhaustive is how many divisions are looked at, one by one, if there are no more.
	exhaustive = 1 << 16
	// worthMoving is how much nearer to the weights a move must lead, as a part of all.
	worthMoving = 0.002
	// swapAmong is up to how many miners two are looked for to change places.
	swapAmong = 200
)

// Divide divides miners among pools so that what each pool has accepted, and gets over
// the coming seconds, is as near to the weights as whole miners allow, with at most so
// many moves. Miners that are at no pool are placed beyond that number.
func Divide(pools []Portion, miners []Miner, seconds float64, most int) Division {
	d := Division{Shares: make([]float64, len(pools)), Wanted: make([]float64, len(pools))}
	weights, accepted, rate := 0.0, 0.0, 0.0
	for _, p := range pools {
		weights += max(p.Weight, 0)
		accepted += p.Accepted
	}
	for _, m := range miners {
		rate += m.Rate
	}
	if weights == 0 || len(pools) == 0 {
		return d
	}
	b := &balance{pools: make([]float64, len(pools)), wanted: make([]float64, len(pools)), miners: slices.Clone(miners)}
	open := 0.0
	for i, p := range pools {
		d.Wanted[i] = max(p.Weight, 0) / weights
		// What is missing, or was too much, is made good for.
		b.wanted[i] = max(d.Wanted[i]*(accepted+rate*seconds)-p.Accepted, 0)
		if p.Weight <= 0 {
			b.wanted[i] = 0
		}
		open += b.wanted[i]
	}
	for i := range b.wanted {
		if open > 0 && seconds > 0 {
			b.wanted[i] *= rate / open // as a rate, of all there is
		}
	}
	b.total = rate
	b.allowed = func(pool int) bool { return pools[pool].Weight > 0 }
	b.place()
	if !b.search(most) {
		b.improve(most)
	}
	for i := range b.miners {
		if to := b.miners[i].Pool; to != miners[i].Pool {
			d.Moves = append(d.Moves, Move{miners[i].Client, to})
		}
	}
	for i := range b.pools {
		if rate > 0 {
			d.Shares[i] = b.pools[i] / rate
		}
	}
	return d
}

// balance is a division as it is worked on.
type balance struct {
	pools   []float64 // the rate each has
	wanted  []float64 // the rate each is to have
	total   float64
	miners  []Miner
	allowed func(pool int) bool
	moved   int
}

// place puts miners that are nowhere, or where none may be, where most is missing. The
// largest go first, so that the small ones fill up.
func (b *balance) place() {
	for _, m := range b.miners {
		if b.stands(&m) {
			b.pools[m.Pool] += m.Rate
		}
	}
	order := make([]int, len(b.miners))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(b.miners[y].Rate, b.miners[x].Rate) })
	for _, i := range order {
		m := &b.miners[i]
		if b.stands(m) {
			continue
		}
		best := -1
		for p := range b.pools {
			if b.allowed(p) && (best < 0 || b.wanted[p]-b.pools[p] > b.wanted[best]-b.pools[best]) {
				best = p
			}
		}
		m.Pool = best
		b.pools[best] += m.Rate
	}
}

// stands tells that a miner is where it may be.
func (b *balance) stands(m *Miner) bool {
	return m.Pool >= 0 && m.Pool < len(b.pools) && b.allowed(m.Pool)
}

// off is the sum of the squares of what pools have too much or too little.
func (b *balance) off() (sum float64) {
	for p := range b.pools {
		d := b.pools[p] - b.wanted[p]
		sum += d * d
	}
	return sum
}

// gain is how much less off would be after a miner's move.
func (b *balance) gain(rate float64, from, to int) float64 {
	x, y := b.pools[from]-b.wanted[from], b.pools[to]-b.wanted[to]
	return x*x + y*y - (x-rate)*(x-rate) - (y+rate)*(y+rate)
}

func (b *balance) move(i, to int) {
	m := &b.miners[i]
	b.pools[m.Pool] -= m.Rate
	b.pools[to] += m.Rate
	m.Pool = to
	b.moved++
}

// enough is the least gain that a move, or two at once, is made for.
func (b *balance) enough() float64 { return (worthMoving * b.total) * (worthMoving * b.total) }

// improve makes the best moves, one after the other, and lets two miners change places
// where no single move helps.
func (b *balance) improve(most int) {
	for b.moved < most {
		best, at, to := b.enough(), -1, -1
		for i := range b.miners {
			m := &b.miners[i]
			for p := range b.pools {
				if p == m.Pool || !b.allowed(p) {
					continue
				}
				if g := b.gain(m.Rate, m.Pool, p); g > best {
					best, at, to = g, i, p
				}
			}
		}
		if at >= 0 {
			b.move(at, to)
			continue
		}
		if b.moved+2 > most || !b.swap() {
			return
		}
	}
}

// swap lets two miners change places if that helps.
func (b *balance) swap() bool {
	if len(b.miners) > swapAmong {
		return false
	}
	best, one, two := b.enough(), -1, -1
	for i := range b.miners {
		for j := range i {
			x, y := &b.miners[i], &b.miners[j]
			if x.Pool == y.Pool {
				continue
			}
			if g := b.gain(x.Rate-y.Rate, x.Pool, y.Pool); g > best {
				best, one, two = g, i, j
			}
		}
	}
	if one < 0 {
		return false
	}
	to := b.miners[two].Pool
	b.move(two, b.miners[one].Pool)
	b.move(one, to)
	return true
}

// search looks at all divisions there are, if they are few, and takes the best that so
// many moves lead to. It is false where they are many.
func (b *balance) search(most int) bool {
	places := []int{}
	for p := range b.pools {
		if b.allowed(p) {
			places = append(places, p)
		}
	}
	if math.Pow(float64(len(places)), float64(len(b.miners))) > exhaustive {
		return false
	}
	rates := slices.Clone(b.pools)
	at := make([]int, len(b.miners))
	for i := range b.miners {
		at[i] = b.miners[i].Pool
	}
	present := b.off()
	best, bestMoves, found := present-b.enough(), 0, []int(nil)
	var walk func(i, moves int)
	walk = func(i, moves int) {
		if moves > most {
			return
		}
		if i == len(b.miners) {
			off := 0.0
			for p := range rates {
				d := rates[p] - b.wanted[p]
				off += d * d
			}
			if off < best || off == best && found != nil && moves < bestMoves {
				best, bestMoves, found = off, moves, slices.Clone(at)
			}
			return
		}
		from := b.miners[i].Pool
		walk(i+1, moves)
		for _, p := range places {
			if p == from {
				continue
			}
			rates[from] -= b.miners[i].Rate
			rates[p] += b.miners[i].Rate
			at[i] = p
			walk(i+1, moves+1)
			rates[p] -= b.miners[i].Rate
			rates[from] += b.miners[i].Rate
			at[i] = from
		}
	}
	walk(0, b.moved)
	for i, p := range found {
		if p != b.miners[i].Pool {
			b.move(i, p)
		}
	}
	return true
}
