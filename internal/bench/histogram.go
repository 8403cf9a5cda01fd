package bench

import (
	"math"
	"math/bits"
	"time"
)

// Latency sums up many latencies, in microseconds.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
	Max   float64 `json:"max_us"`
}

// histogram counts durations in buckets at most 1/32 of their value wide.
type histogram struct {
	counts [64 * histogramSteps]int64
	total  int64
	max    time.Duration
}

const histogramSteps = 32 // buckets for each doubling

func (h *histogram) add(d time.Duration) {
	h.counts[bucket(d)]++
	h.total++
	h.max = max(h.max, d)
}

func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < histogramSteps {
		return int(v)
	}
	shift := bits.Len64(v) - 6
	return (shift+1)*histogramSteps + int(v>>shift) - histogramSteps
}

// upper is the largest duration of a bucket.
func upper(i int) time.Duration {
	if i < histogramSteps {
		return time.Duration(i)
	}
	shift := i/histogramSteps - 1
	return time.Duration(uint64(i%histogramSteps+histogramSteps+1)<<shift - 1)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// quantile is the duration that the share q of all do not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(h.total)))
	for i, n := range h.counts {
		if rank -= n; rank <= 0 && h.total > 0 {
			return min(upper(i), h.max)
		}
	}
	return h.max
}

func (h *histogram) latency() Latency {
	return Latency{Count: h.total, P50: microseconds(h.quantile(0.5)), P99: microseconds(h.quantile(0.99)), Max: microseconds(h.max)}
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
