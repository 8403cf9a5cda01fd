// Package latency counts how long things took, in classes. Counting takes no lock and
// no memory, so that event loops can do it for each share.
package latency

import (
	"math"
	"sync/atomic"
	"time"
)

// Bounds are the upper ends of the classes; what took longer is in one more.
var Bounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Counter counts. One goroutine at a time does, any may read.
type Counter struct {
	classes [len(Bounds) + 1]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

// Count counts n things that took d each, 0 if that is negative.
func (c *Counter) Count(d time.Duration, n uint64) {
	d = max(d, 0)
	i := 0
	for i < len(Bounds) && d > Bounds[i] {
		i++
	}
	// There is one writer: nothing comes between reading and writing.
	c.classes[i].Store(c.classes[i].Load() + n)
	c.sum.Store(c.sum.Load() + int64(n)*int64(d))
}

// Counts are how many things were in each class, and how long all took together.
type Counts struct {
	Classes [len(Bounds) + 1]uint64
	Sum     time.Duration
}

// AddTo adds what was counted until now.
func (c *Counter) AddTo(k *Counts) {
	for i := range c.classes {
		k.Classes[i] += c.classes[i].Load()
	}
	k.Sum += time.Duration(c.sum.Load())
}

// Less is what was counted since k was before.
func (k Counts) Less(before Counts) Counts {
	for i := range k.Classes {
		k.Classes[i] -= before.Classes[i]
	}
	k.Sum -= before.Sum
	return k
}

// Number is how many things were counted.
func (k *Counts) Number() (n uint64) {
	for _, in := range k.Classes {
		n += in
	}
	return n
}

// Quantile is what a part of all things, 0 to 1, took at most, in seconds; within a
// class they are taken to be spread evenly, and those above all bounds to have taken the
// last. NaN where there was nothing.
func (k *Counts) Quantile(part float64) float64 {
	n := k.Number()
	if n == 0 {
		return math.NaN()
	}
	want, below := part*float64(n), 0.0
	for i, in := range k.Classes[:len(Bounds)] {
		if in := float64(in); in > 0 && below+in >= want {
			low := 0.0
			if i > 0 {
				low = Bounds[i-1].Seconds()
			}
			return low + (Bounds[i].Seconds()-low)*max(want-below, 0)/in
		} else {
			below += in
		}
	}
	return Bounds[len(Bounds)-1].Seconds()
}
