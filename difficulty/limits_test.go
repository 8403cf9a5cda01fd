package difficulty

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestClamp(t *testing.T) {
	tests := []struct {
		name    string
		l       Limits
		x, want float64
	}{
		{"within", Limits{Min: 1, Max: 1000}, 42, 42},
		{"whole from 1 on", Limits{Min: 1}, 42.5, 43},
		{"as asked below 1", Limits{Min: 0.0001}, 0.00015, 0.00015},
		{"min", Limits{Min: 10}, 3, 10},
		{"min exact below 1", Limits{Min: 0.07}, 0.01, 0.07},
		{"min between whole numbers", Limits{Min: 2.3}, 1, 3},
		{"rounding does not go under min", Limits{Min: 2.3}, 2.4, 3},
		{"max", Limits{Min: 1, Max: 500}, 1e6, 500},
		{"max exact below 1", Limits{Min: 0.01, Max: 0.3}, 5, 0.3},
		{"max between whole numbers", Limits{Min: 1, Max: 41.8}, 41.7, 41},
		{"floor", Limits{Min: 1, Floor: 1000}, 331, 1000},
		{"floor under max", Limits{Min: 1, Max: 500, Floor: 1000}, 331, 500},
		{"network", Limits{Min: 1, Network: 1000}, 1e6, 1000},
		{"network rounds down", Limits{Min: 1, Network: 16307.42}, 1e6, 16307},
		{"network only down to 1", Limits{Min: 0.0001, Network: 4.6e-10}, 42, 1},
		{"network only down to min", Limits{Min: 42, Network: 1}, 100, 42},
		{"network caps the floor", Limits{Min: 1, Floor: 5000, Network: 1000}, 1, 1000},
		{"network leaves what is below 1", Limits{Min: 1e-9, Network: 4.6e-10}, 1e-8, 1e-8},
		{"zero", Limits{Min: 0.5}, 0, 0.5},
		{"negative", Limits{Min: 0.5}, -3, 0.5},
		{"not a number", Limits{Min: 0.5}, math.NaN(), 0.5},
		{"infinite", Limits{Min: 0.5, Max: 100}, math.Inf(1), 100},
		{"max below min", Limits{Min: 10, Max: 5}, 7, 5},
	}
	for _, tt := range tests {
		if got := tt.l.Clamp(tt.x); got != tt.want {
			t.Errorf("%s: %+v.Clamp(%v) = %v, want %v", tt.name, tt.l, tt.x, got, tt.want)
		}
	}
}

func TestComputedIsOneDigitWithinBounds(t *testing.T) {
	tests := []struct {
		l       Limits
		x, want float64
	}{
		{Limits{Min: 0.0001}, 0.000492, 0.0005},
		{Limits{Min: 0.00035}, 0.0003, 0.00035},
		{Limits{Min: 0.0001, Max: 0.0375}, 0.036, 0.0375},
		{Limits{Min: 1e-12}, 3.3e-9, 3e-9},
		{Limits{Min: 1}, 330.8, 331},
	}
	for _, tt := range tests {
		if got := tt.l.computed(tt.x); got != tt.want {
			t.Errorf("%+v.computed(%v) = %v, want %v", tt.l, tt.x, got, tt.want)
		}
	}
}

func TestClampKeepsItsBounds(t *testing.T) {
	positive := func(t *rapid.T, name string) float64 {
		return math.Pow(10, rapid.Float64Range(-9, 14).Draw(t, name))
	}
	rapid.Check(t, func(t *rapid.T) {
		l := Limits{Min: positive(t, "min")}
		if rapid.Bool().Draw(t, "max?") {
			l.Max = l.Min * (1 + positive(t, "max"))
		}
		if rapid.Bool().Draw(t, "floor?") {
			l.Floor = positive(t, "floor")
		}
		if rapid.Bool().Draw(t, "network?") {
			l.Network = positive(t, "network")
		}
		x := positive(t, "x")
		got := l.Clamp(x)
		if got >= 1 && got != math.Trunc(got) {
			t.Fatalf("%+v.Clamp(%v) = %v is not whole", l, x, got)
		}
		if got != l.Clamp(got) {
			t.Fatalf("%+v.Clamp(%v) = %v, again %v", l, x, got, l.Clamp(got))
		}
		hasWhole := l.Max == 0 || l.Max < 1 || math.Ceil(l.Min) <= math.Floor(l.Max)
		if got < l.Min && hasWhole || l.Max > 0 && got > l.Max || l.Network > 0 && got > max(l.Network, math.Ceil(l.Min), 1) {
			t.Fatalf("%+v.Clamp(%v) = %v is out of bounds", l, x, got)
		}
	})
}
