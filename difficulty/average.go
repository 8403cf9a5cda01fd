package difficulty

import "math"

// Average is one exponentially decaying average per second. Fed a steady
// amount per second it converges to it.
type Average float64

// Decay adds amount spread over seconds to the average with the given window
// in seconds. seconds is the time since the last call, and on the first call
// the time since the object exists: an amount spread over a longer time is
// lost. Nothing happens if seconds is not positive.
func (a *Average) Decay(amount, seconds, window float64) {
	*a = Average(decay(float64(*a), amount, seconds, window))
}

func decay(f, amount, seconds, window float64) float64 {
	if !(seconds > 0) {
		return f
	}
	p := Bias(seconds, window)
	f = (f + amount/seconds*p) / (1 + p)
	if f < 2e-16 {
		return 0
	}
	return f
}

// maxWindows bounds the age of an average in windows: e⁻³⁶ vanishes next to 1.
const maxWindows = 36

// Bias is how full an average of the given window is after t seconds, 0 to 1:
// divide by it to correct an average that has been filled for t seconds only.
func Bias(t, window float64) float64 {
	return 1 - 1/math.Exp(min(maxWindows, t/window))
}
