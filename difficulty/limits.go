package difficulty

import "math"

// Limits bound what vardiff may choose. Zero Max, Floor and Network mean none.
// Where bounds contradict each other the upper one wins.
type Limits struct {
	Min, Max float64 // exact bounds; from 1 on the whole numbers within
	Floor    float64 // suggested or password floor, 0 = none
	Network  float64 // caps a session only down to max(Min, 1)
}

// Clamp applies the limits to a requested difficulty x and makes it wire-exact
// (whole when >= 1, as asked below). NaN and negative requests give the lower
// bound.
func (l Limits) Clamp(x float64) float64 {
	if x >= 1 {
		x = math.Round(x)
	}
	return l.bound(x)
}

// computed is Clamp for a difficulty nobody asked for in particular.
func (l Limits) computed(x float64) float64 { return l.bound(Round(x)) }

// bound keeps whole numbers whole: bounds from 1 on are moved inwards to one.
func (l Limits) bound(x float64) float64 {
	lo, hi := ceil(max(l.Min, l.Floor, 0)), math.Inf(1)
	if l.Max > 0 {
		hi = floor(l.Max)
	}
	if l.Network > 0 {
		hi = min(hi, max(floor(l.Network), ceil(l.Min), 1))
	}
	if !(x >= lo) {
		x = lo
	}
	return min(x, hi)
}

func ceil(x float64) float64 {
	if x >= 1 {
		return math.Ceil(x)
	}
	return x
}

func floor(x float64) float64 {
	if x >= 1 {
		return math.Floor(x)
	}
	return x
}
