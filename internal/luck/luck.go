// Package luck computes how lucky a pool was with its blocks: work done against work
// that a block takes on average. It is statistics in floating point, for showing, and
// has no part in who is paid how much.
package luck

import "math"

// Block of a pool.
type Block struct {
	Height     int64
	Difficulty float64 // the network's
	Work       float64 // of the pool, since its block before
	Reward     float64 // of the coinbase, in bitcoins
	Lost       bool    // orphaned or rejected: its work counts for the next block
}

// counts tells whether a block has figures of its own, with the work of lost ones before it: it
// was not lost, and neither that work nor its difficulty is unknown, which are 0 then, as of one
// that was imported without shares. Of two blocks of one height the second may have no work of
// its own.
func (b *Block) counts(work float64) bool { return !b.Lost && work > 0 && b.Difficulty > 0 }

// Figures of one block.
type Figures struct {
	Ratio   float64 // own work to the network's difficulty: 1 is what is expected
	Chance  float64 // that a block is found with at most that work
	Luck    float64 // 1 / Ratio
	History float64 // of the last 100 blocks up to it: number of blocks by work; 0 of one that is lost or not known
	Work    float64 // own and that of such blocks directly before; 0 of such a one
}

// history is how many blocks Figures.History is of.
const history = 100

// Of are the figures of blocks, the oldest first.
func Of(blocks []Block) []Figures {
	list := make([]Figures, len(blocks))
	ratios := valid(blocks)
	k := 0 // valid blocks so far
	var lost float64
	for i, b := range blocks {
		f := &list[i]
		f.Ratio = b.Work / b.Difficulty
		f.Chance = -math.Expm1(-f.Ratio)
		f.Luck = 1 / f.Ratio
		if lost += b.Work; !b.counts(lost) {
			continue
		}
		f.Work, lost = lost, 0
		k++
		var sum float64
		last := ratios[max(0, k-history):k]
		for _, v := range last {
			sum += v.work / v.difficulty
		}
		f.History = float64(len(last)) / sum
	}
	return list
}

// Range is the figures of some blocks together.
type Range struct {
	Blocks int     // that were not lost, and of which work and difficulty are known
	Ratio  float64 // work to difficulty, of all
	Mean   float64 // of the blocks' ratios
	Chance float64 // that as many blocks are found with at most that mean: [Erlang]
	Luck   float64 // 1 / Mean
	Income float64 // mean of reward to subsidy
}

// Last are the figures of the last n blocks that were not lost, or of all there are. The
// zero Range is that of none.
func Last(blocks []Block, n int) (r Range) {
	list := valid(blocks)
	list = list[max(0, len(list)-n):]
	if len(list) == 0 {
		return r
	}
	var work, difficulty float64
	for _, v := range list {
		work += v.work
		difficulty += v.difficulty
		r.Mean += v.work / v.difficulty
		r.Income += v.income
	}
	r.Blocks = len(list)
	r.Ratio = work / difficulty
	r.Mean /= float64(r.Blocks)
	r.Income /= float64(r.Blocks)
	r.Chance = Erlang(r.Blocks, float64(r.Blocks)*r.Mean)
	r.Luck = 1 / r.Mean
	return r
}

// Percent is what a pool with that fee (0.009 is 0.9 %) paid in these blocks, in
// percent of the subsidy that its work was worth.
func (r Range) Percent(fee float64) float64 { return 100 * (1 - fee) * r.Income / r.Mean }

// counted is a block that was not lost, with the work of lost ones before it.
type counted struct{ work, difficulty, income float64 }

func valid(blocks []Block) (list []counted) {
	var work float64
	for _, b := range blocks {
		if work += b.Work; !b.counts(work) {
			continue
		}
		list = append(list, counted{work, b.Difficulty, b.Reward / Subsidy(b.Height)})
		work = 0
	}
	return list
}

// Subsidy is the new bitcoins of a block of the main network, with the fractions of a
// satoshi that a node rounds down.
func Subsidy(height int64) float64 { return math.Ldexp(50, -int(height/210_000)) }

// Erlang is the chance that n blocks are found with at most x times the work that one
// takes on average: the regularised lower incomplete gamma function P(n, x).
func Erlang(n int, x float64) float64 {
	if !(x > 0) {
		return 0
	}
	// One less the chances of 0 to n-1 blocks, as logarithms: e⁻ˣ may be 0 where the
	// product is not. Where x is small the sum of the others is exact, and this is not.
	log := -x // of e⁻ˣ·xⁱ/i!
	var sum float64
	if x >= float64(n) {
		for i := range n {
			if i > 0 {
				log += math.Log(x / float64(i))
			}
			sum += math.Exp(log)
		}
		return max(0, 1-sum)
	}
	for i := 1; ; i++ {
		log += math.Log(x / float64(i))
		if i < n {
			continue
		}
		term := math.Exp(log)
		sum += term
		if term <= sum*1e-17 {
			return min(1, sum)
		}
	}
}
