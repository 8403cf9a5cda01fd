package history

import (
	"errors"
	"math"
	"time"
)

// ErrClosed is that there is no history at present: it is not open yet, not any more,
// or its file cannot be used.
var ErrClosed = errors.New("there is no history at present")

// Curve is what series had over a time. Value i is of the period that begins at Start
// and i times Period, NaN where there is none.
type Curve struct {
	Start  time.Time // UTC, a multiple of Period since 1970
	Period time.Duration
	Values [][]float64 // of each series that was asked for
}

// choose is the finest resolution that has the periods from a time on, or the one that
// goes back furthest, and the first period of it that there can be.
func (t *table) choose(now, from time.Time) (r int, first int64) {
	for r = range t.resolutions {
		first = t.period(r, from)
		oldest := t.period(r, now) - int64(t.resolutions[r].Periods) + 1
		if first >= oldest {
			return r, first
		}
		first = oldest
	}
	return r, first
}

// curve reads series from one time to another, and none of times after now. Where that
// are more than most values, but at least two, each is the mean of several periods. A series that there is
// not has no values.
func (t *table) curve(now time.Time, names []string, from, to time.Time, most int) (Curve, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.file == nil {
		return Curve{}, ErrClosed
	}
	if to.After(now) {
		to = now
	}
	r, first := t.choose(now, from)
	last := t.period(r, to)
	n, limit := max(last-first+1, 0), max(int64(most), 2)
	each := max((n+limit-1)/limit, 1)
	for last/each-first/each+1 > limit {
		each++ // they begin before first
	}
	first -= first % each
	c := Curve{
		Start:  time.Unix(first*t.seconds(r), 0).UTC(),
		Period: time.Duration(each) * t.resolutions[r].Period,
		Values: make([][]float64, len(names)),
	}
	for i, name := range names {
		c.Values[i] = make([]float64, 0, n/each+1)
		for k := first; n > 0 && k <= last; k += each {
			c.Values[i] = append(c.Values[i], math.NaN())
		}
		slot, known := t.index[key(name)]
		if !known || n == 0 {
			continue
		}
		if err := t.fill(c.Values[i], r, slot, first, last, each); err != nil {
			return Curve{}, err
		}
	}
	return c, nil
}

// fill puts the means of each so many periods into values. The caller holds mu.
func (t *table) fill(values []float64, r, slot int, first, last, each int64) error {
	sums, counts := make([]float64, len(values)), make([]float64, len(values))
	ring := int64(t.resolutions[r].Periods)
	for k := max(first, last-ring+1); k <= last; {
		n := min(last-k+1, ring-k%ring) // up to the end of the ring
		err := t.columns(t.file, r, k%ring, n, slot, func(i int64, b []byte) {
			if v := getValue(b); t.has(r, k+i) && t.of(slot, r, k+i) && !math.IsNaN(v) {
				group := (k + i - first) / each
				sums[group] += v
				counts[group]++
			}
		})
		if err != nil {
			return err
		}
		k += n
	}
	for i := range values {
		values[i] = sums[i] / counts[i] // 0/0: none
	}
	return nil
}
