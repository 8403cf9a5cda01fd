package rewards

import (
	"math/big"
	"slices"
)

// divide makes the reward of a window that is complete.
func (w *window) divide() (*Reward, error) {
	r := &Reward{Block: w.block, Parameters: w.parameters, Window: w.Window}
	if w.parameters.Scheme == Solo {
		r.solo()
		return r, nil
	}
	for n, a := range w.accounts {
		if !w.work[n].IsZero() {
			r.Credits = append(r.Credits, Credit{Account: a, Work: w.work[n], Fee: w.parameters.fee(a)})
		}
	}
	if len(r.Credits) == 0 {
		return nil, errNothing
	}
	slices.SortFunc(r.Credits, func(a, b Credit) int { return a.Account.Compare(b.Account) })
	r.divide()
	return r, nil
}

// solo gives the finder all but the fee. Where the coinbase paid the finder, it has
// divided the block: what it paid the pool is the fee.
func (r *Reward) solo() {
	c := Credit{Account: r.Block.Finder, Fee: r.Parameters.fee(r.Block.Finder), Weight: new(big.Int), Remainder: new(big.Int), Rank: 1}
	if r.Block.Direct > 0 {
		r.Fee = r.Block.Value
	} else {
		fee := new(big.Int).Mul(big.NewInt(r.Block.Value), big.NewInt(c.Fee))
		r.Fee = fee.Quo(fee, big.NewInt(million)).Int64()
	}
	r.Divided = r.Block.Value + r.Block.Direct - r.Fee
	c.Whole, c.Amount = r.Divided, r.Divided
	r.Weights = new(big.Int)
	r.Credits = []Credit{c}
}

// divide gives each of the credits its part, by work and fee.
func (r *Reward) divide() {
	whole, fees := new(big.Int), new(big.Int) // W·10⁶ and Σ w·f
	r.Weights = new(big.Int)
	for i := range r.Credits {
		c := &r.Credits[i]
		work := units(c.Work)
		fees.Add(fees, new(big.Int).Mul(work, big.NewInt(c.Fee)))
		whole.Add(whole, new(big.Int).Mul(work, big.NewInt(million)))
		c.Weight = work.Mul(work, big.NewInt(million-c.Fee))
		r.Weights.Add(r.Weights, c.Weight)
	}
	fees.Mul(fees, big.NewInt(r.Block.Value))
	r.Fee = fees.Quo(fees, whole).Int64()
	r.Divided = r.Block.Value - r.Fee
	r.Left = r.Divided
	divided := big.NewInt(r.Divided)
	ranks := make([]int, len(r.Credits))
	for i := range r.Credits {
		c := &r.Credits[i]
		ranks[i] = i
		c.Remainder = new(big.Int)
		if r.Weights.Sign() > 0 { // else the fee is all
			var q big.Int
			q.QuoRem(q.Mul(divided, c.Weight), r.Weights, c.Remainder)
			c.Whole = q.Int64()
		}
		c.Amount = c.Whole
		r.Left -= c.Whole
	}
	slices.SortStableFunc(ranks, func(a, b int) int { return r.Credits[b].Remainder.Cmp(r.Credits[a].Remainder) })
	for rank, i := range ranks {
		r.Credits[i].Rank = rank + 1
		if int64(rank) < r.Left {
			r.Credits[i].Amount++
		}
	}
}
