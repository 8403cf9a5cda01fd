package upstream

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// hour mines for an hour: every minute miners are divided anew, and what each mines is
// accepted where it is. It returns the parts that the pools have accepted, and how many
// moves there were after the first minute.
func hour(weights []float64, rates []float64, most int) (parts []float64, moves int) {
	miners := make([]Miner, len(rates))
	for i, r := range rates {
		miners[i] = Miner{Client: uint64(i), Rate: r, Pool: -1}
	}
	accepted := make([]float64, len(weights))
	for minute := range 60 {
		pools := make([]Portion, len(weights))
		for i, w := range weights {
			pools[i] = Portion{Weight: w, Accepted: accepted[i]}
		}
		for _, m := range Divide(pools, miners, 3600-60*float64(minute), most).Moves {
			if miners[m.Client].Pool >= 0 {
				moves++
			}
			miners[m.Client].Pool = m.To
		}
		for _, m := range miners {
			accepted[m.Pool] += 60 * m.Rate
		}
	}
	total := 0.0
	for _, a := range accepted {
		total += a
	}
	for _, a := range accepted {
		parts = append(parts, a/total)
	}
	return parts, moves
}

func repeat(rate float64, n int) []float64 { return slices.Repeat([]float64{rate}, n) }

// 100 equal miners are divided as the weights say, within 2 % over an hour; unequal ones
// too, and by what they mine, not by how many they are.
func TestWeights(t *testing.T) {
	for name, tt := range map[string]struct {
		weights, rates []float64
	}{
		"equal":           {[]float64{70, 30}, repeat(5, 100)},
		"three pools":     {[]float64{50, 30, 20}, repeat(5, 100)},
		"a giant":         {[]float64{70, 30}, append(repeat(1, 100), 80)},
		"one gets little": {[]float64{99, 1}, repeat(5, 100)},
		"nothing for one": {[]float64{1, 0, 1}, repeat(5, 100)},
		"2,000":           {[]float64{0.7, 0.3}, slices.Concat(repeat(1, 1000), repeat(30, 500), repeat(200, 500))},
	} {
		t.Run(name, func(t *testing.T) {
			parts, moves := hour(tt.weights, tt.rates, 16)
			sum := 0.0
			for _, w := range tt.weights {
				sum += w
			}
			for i, w := range tt.weights {
				if off := math.Abs(parts[i] - w/sum); off > 0.02 {
					t.Errorf("pool %d has %.4f of the shares, wants %.4f", i, parts[i], w/sum)
				}
			}
			if moves > len(tt.rates)/10 {
				t.Errorf("%d moves of miners that had a place", moves)
			}
		})
	}
}

// With few miners the division is the best that whole ones allow, which is found here by
// looking at all.
func TestWeightsOfFewMiners(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 10} {
		for range 50 {
			rates := make([]float64, n)
			for i := range rates {
				rates[i] = 1 + 99*r.Float64()*r.Float64()
			}
			weight := 0.05 + 0.9*r.Float64()
			miners, total := []Miner{}, 0.0
			for i, rate := range rates {
				miners = append(miners, Miner{uint64(i), rate, -1})
				total += rate
			}
			best := 1.0
			for set := range 1 << n {
				part := 0.0
				for i, rate := range rates {
					if set>>i&1 == 1 {
						part += rate / total
					}
				}
				best = min(best, math.Abs(part-weight))
			}
			d := Divide([]Portion{{Weight: weight}, {Weight: 1 - weight}}, miners, 600, n)
			if off := off(&d); off > best+2*worthMoving {
				t.Errorf("%d miners of %v at %v: off by %v, %v is possible: %+v", n, rates, weight, off, best, d)
			}
			part := 0.0
			for _, m := range d.Moves {
				if m.To == 0 {
					part += rates[m.Client] / total
				}
			}
			if math.Abs(part-d.Shares[0]) > 1e-9 || math.Abs(d.Shares[0]+d.Shares[1]-1) > 1e-9 || math.Abs(d.Wanted[0]-weight) > 1e-9 {
				t.Errorf("%+v, by its moves %v", d, part)
			}
		}
	}
}

// A division that is right is left alone, and a wrong one is put right in few moves at a
// time.
func TestMovesAreSpread(t *testing.T) {
	miners := make([]Miner, 1000)
	for i := range miners {
		miners[i] = Miner{Client: uint64(i), Rate: 1}
		if i >= 700 {
			miners[i].Pool = 1
		}
	}
	pools := []Portion{{Weight: 7}, {Weight: 3}}
	if d := Divide(pools, miners, 60, 10); len(d.Moves) != 0 || off(&d) != 0 {
		t.Errorf("%+v", d)
	}
	pools = []Portion{{Weight: 5}, {Weight: 5}}
	for round := range 21 {
		d := Divide(pools, miners, 60, 10)
		for _, m := range d.Moves {
			miners[m.Client].Pool = m.To
		}
		if want := min(10, max(200-10*round, 0)); len(d.Moves) > 10 || len(d.Moves) < want-2 {
			t.Errorf("round %d: %d moves", round, len(d.Moves))
		}
	}
	// A pool that is gone, and miners at places that are none, do not count.
	d := Divide([]Portion{{Weight: 0}, {Weight: 1}}, []Miner{{1, 5, 0}, {2, 5, 7}, {3, 0, -1}}, 60, 0)
	if fmt.Sprint(d.Moves) != "[{1 1} {2 1} {3 1}]" {
		t.Error(d.Moves)
	}
	if d := Divide([]Portion{{Weight: 0}}, miners, 60, 10); len(d.Moves) != 0 {
		t.Error(d.Moves)
	}
}

// What a pool has got too little, as after an outage, is made good for.
func TestMissingIsMadeGood(t *testing.T) {
	miners := make([]Miner, 100)
	for i := range miners {
		miners[i] = Miner{Client: uint64(i), Rate: 1}
	}
	pools := []Portion{{Weight: 1, Accepted: 30_000}, {Weight: 1, Accepted: 0}}
	d := Divide(pools, miners, 600, 100)
	if math.Abs(d.Shares[1]-45.0/60) > 0.006 { // of 60,000 to come, for 45,000 each
		t.Errorf("%+v", d.Shares)
	}
	pools[1].Accepted = 20_000
	if d = Divide(pools, miners, 600, 100); math.Abs(d.Shares[1]-35.0/60) > 0.006 {
		t.Errorf("%+v", d.Shares)
	}
}

// off is how far the worst of the shares is from what is wanted.
func off(d *Division) float64 {
	worst := 0.0
	for i := range d.Shares {
		worst = max(worst, math.Abs(d.Shares[i]-d.Wanted[i]))
	}
	return worst
}
