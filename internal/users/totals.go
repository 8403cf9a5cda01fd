package users

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/session"
)

// poolWindows are those of the pool's averages in seconds: 1, 5, 15 minutes,
// 1, 6 hours, 1, 7 days. The first four serve shares per second too.
var poolWindows = [...]float64{60, 300, 900, 3600, 21600, 86400, 604800}

// totals are the counts of the whole pool. Loops add to counts of their own;
// collect brings them together.
type totals struct {
	loops []loopCounts

	mu        sync.Mutex
	poolTally // guarded by mu
}

// poolTally is what moves to another process of the totals beside the rejects.
type poolTally struct {
	round   roundCounts
	credit  float64 // not yet in the averages
	shares  float64 // likewise
	rates   [len(poolWindows)]difficulty.Average
	sps     [4]difficulty.Average
	decayed stamp
	passes  int
	ever    roundCounts // since the start, whatever rounds there were
}

// roundCounts are sums since the last own block, or since the start.
type roundCounts struct {
	accepted, rejected           float64 // difficulty
	acceptedCount, rejectedCount int64   // shares
	best                         float64
}

// loopCounts is added to by one loop and emptied by collect. Floats are kept
// as their bits.
type loopCounts struct {
	accepted, rejected           atomic.Uint64
	acceptedCount, rejectedCount atomic.Int64
	best, block                  atomic.Uint64                 // difficulties: of shares that are no block, and of blocks
	rejects                      [session.Reasons]atomic.Int64 // since the start
	_                            [24]byte                      // keeps loops off each other's cache lines
}

func (t *totals) init(loops int) { t.loops = make([]loopCounts, loops) }

func (t *totals) loop(i int) *loopCounts { return &t.loops[uint(i)%uint(len(t.loops))] }

func (c *loopCounts) accept(credit float64) {
	addFloat(&c.accepted, credit)
	c.acceptedCount.Add(1)
}

// reject counts n shares, each of a difficulty.
func (c *loopCounts) reject(difficulty float64, n int64) {
	addFloat(&c.rejected, difficulty*float64(n))
	c.rejectedCount.Add(n)
}

// rejects are sums by reason.
func (t *totals) rejects() (sums [session.Reasons]int64) {
	for i := range t.loops {
		for k := range sums {
			sums[k] += t.loops[i].rejects[k].Load()
		}
	}
	return sums
}

func raiseFloat(a *atomic.Uint64, v float64) {
	// Positive floats compare as their bits do.
	bits := math.Float64bits(v)
	for {
		old := a.Load()
		if bits <= old || a.CompareAndSwap(old, bits) {
			return
		}
	}
}

func addFloat(a *atomic.Uint64, v float64) {
	for {
		old := a.Load()
		if a.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

func takeFloat(a *atomic.Uint64) float64 { return math.Float64frombits(a.Swap(0)) }

// collect empties the loops' counts into the pool's.
func (t *totals) collect() {
	for i := range t.loops {
		c := &t.loops[i]
		credit, shares := takeFloat(&c.accepted), c.acceptedCount.Swap(0)
		t.credit += credit
		t.shares += float64(shares)
		rejected, refused := takeFloat(&c.rejected), c.rejectedCount.Swap(0)
		best, block := takeFloat(&c.best), takeFloat(&c.block)
		for _, sums := range []*roundCounts{&t.round, &t.ever} {
			sums.accepted += credit
			sums.acceptedCount += shares
			sums.rejected += rejected
			sums.rejectedCount += refused
			sums.best = max(sums.best, best)
		}
		t.ever.best = max(t.ever.best, block) // of a round, a block is the end
	}
}

// pass decays the averages and returns how many there were before.
func (t *totals) pass(now stamp) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.collect()
	if seconds := now.seconds(t.decayed); seconds > 0 {
		for i := range t.rates {
			t.rates[i].Decay(t.credit, seconds, poolWindows[i])
		}
		for i := range t.sps {
			t.sps[i].Decay(t.shares, seconds, poolWindows[i])
		}
		t.credit, t.shares = 0, 0
		t.decayed = now
	}
	t.passes++
	return t.passes - 1
}

// nextPass is how many passes there were.
func (t *totals) nextPass() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.passes
}

func (t *totals) resetRound() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.collect()
	t.round = roundCounts{}
}

// snapshot has what loops have counted until now; its averages are those of the
// last pass.
func (t *totals) snapshot() poolTally {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.collect()
	return t.poolTally
}
