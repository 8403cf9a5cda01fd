package latency

import (
	"math"
	"testing"
	"time"
)

func TestCounter(t *testing.T) {
	var c Counter
	c.Count(-time.Second, 1) // a clock was set back
	c.Count(50*time.Microsecond, 1)
	c.Count(51*time.Microsecond, 2)
	c.Count(10*time.Second, 3)
	c.Count(time.Minute, 4)
	var k Counts
	c.AddTo(&k)
	if k.Classes[0] != 2 || k.Classes[1] != 2 || k.Classes[len(Bounds)-1] != 3 || k.Classes[len(Bounds)] != 4 || k.Number() != 11 {
		t.Errorf("%+v", k)
	}
	if want := 152*time.Microsecond + 270*time.Second; k.Sum != want {
		t.Errorf("together %v, want %v", k.Sum, want)
	}
	before := k
	c.Count(time.Millisecond, 7)
	c.AddTo(&k) // twice of what was before
	k = k.Less(before)
	if k.Number() != 18 {
		t.Errorf("%d since", k.Number())
	}
	for i := 1; i < len(Bounds); i++ {
		if Bounds[i] <= Bounds[i-1] {
			t.Errorf("bound %v after %v", Bounds[i], Bounds[i-1])
		}
	}
	if n := testing.AllocsPerRun(100, func() { c.Count(time.Second, 1) }); n != 0 {
		t.Errorf("counting allocates %v times", n)
	}
}

func TestQuantile(t *testing.T) {
	counts := func(in map[time.Duration]uint64) *Counts {
		var c Counter
		for d, n := range in {
			c.Count(d, n)
		}
		k := new(Counts)
		c.AddTo(k)
		return k
	}
	for _, tt := range []struct {
		in   map[time.Duration]uint64
		part float64
		want float64
	}{
		{nil, 0.5, math.NaN()},
		{map[time.Duration]uint64{time.Second: 10}, 0.5, 0.75}, // between 0.5 and 1 s
		{map[time.Duration]uint64{time.Second: 10}, 1, 1},
		{map[time.Duration]uint64{30 * time.Microsecond: 98, time.Second: 2}, 0.5, 50e-6 * 50 / 98},
		{map[time.Duration]uint64{30 * time.Microsecond: 98, time.Second: 2}, 0.99, 0.75},
		{map[time.Duration]uint64{time.Minute: 1}, 0.5, 10},
		{map[time.Duration]uint64{time.Second: 1}, 0, 0.5},
	} {
		got := counts(tt.in).Quantile(tt.part)
		if math.Abs(got-tt.want) > 1e-12 || math.IsNaN(got) != math.IsNaN(tt.want) {
			t.Errorf("%v of %v: %v, want %v", tt.part, tt.in, got, tt.want)
		}
	}
}

func BenchmarkCount(b *testing.B) {
	var c Counter
	for b.Loop() {
		c.Count(300*time.Microsecond, 1)
	}
}
