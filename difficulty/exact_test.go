package difficulty_test

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ckpool/ckpool/difficulty"
)

// units is the number of units in the decimal of a float64, rounded half to even:
// the same by big numbers.
func units(d float64) *big.Int {
	r, _ := new(big.Rat).SetString(strconv.FormatFloat(d, 'e', -1, 64))
	r.Mul(r, new(big.Rat).SetInt64(1e12))
	n, rem := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	switch rem.Lsh(rem, 1).Cmp(r.Denom()) {
	case 1:
		n.Add(n, big.NewInt(1))
	case 0:
		n.Add(n, new(big.Int).And(n, big.NewInt(1)))
	}
	return n
}

// decimal is how many units are written.
func decimal(n *big.Int) string {
	s := new(big.Rat).SetFrac(n, big.NewInt(1e12)).FloatString(12)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

var amounts = rapid.Custom(func(t *rapid.T) float64 {
	mantissa := rapid.Float64Range(1, 10).Draw(t, "mantissa")
	if rapid.Bool().Draw(t, "round") {
		mantissa = math.Round(mantissa*100) / 100
	}
	d, _ := strconv.ParseFloat(strconv.FormatFloat(mantissa, 'f', -1, 64)+"e"+strconv.Itoa(rapid.IntRange(-16, 23).Draw(t, "power")), 64)
	return d
})

func TestExactOf(t *testing.T) {
	for _, tt := range []struct {
		d    float64
		want string
	}{
		{42, "42"},
		{0.1, "0.1"}, // not 0.1000000000000000055
		{0.0001, "0.0001"},
		{1e-12, "0.000000000001"},
		{1.5e-12, "0.000000000002"}, // half to even
		{2.5e-12, "0.000000000002"},
		{2.5000001e-12, "0.000000000003"},
		{4e-13, "0"},
		{1e18, "1000000000000000000"},
		{123456789.123456789, "123456789.12345679"},
		{1e24, "1000000000000000000000000"},
		{1e71, "1000000000000000000000000"},
		{math.Inf(1), "1000000000000000000000000"},
		{0, "0"}, {-1, "0"}, {math.NaN(), "0"},
	} {
		if got := difficulty.ExactOf(tt.d).String(); got != tt.want {
			t.Errorf("%v is %s, want %s", tt.d, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := amounts.Draw(t, "difficulty")
		x := difficulty.ExactOf(d)
		if want := decimal(units(d)); x.String() != want {
			t.Fatalf("%v is %s, want %s", d, x, want)
		}
		if back, err := difficulty.ParseExact(x.String()); err != nil || back != x {
			t.Fatalf("%s is read as %s, %v", x, back, err)
		}
		high, low := x.Split()
		n := new(big.Int).SetUint64(high)
		n.Mul(n, big.NewInt(1e18)).Add(n, new(big.Int).SetUint64(low))
		if decimal(n) != x.String() || low >= 1e18 || high > math.MaxInt64 {
			t.Fatalf("%s splits into %d and %d", x, high, low)
		}
		b, _ := x.AppendBinary(nil)
		var back difficulty.Exact
		if err := back.UnmarshalBinary(b); err != nil || back != x || units(d).Cmp(new(big.Int).SetBytes(b)) != 0 {
			t.Fatalf("%s is %x, read as %s, %v", x, b, back, err)
		}
	})
}

// Sums are those of big numbers, whatever their order.
func TestExactSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(amounts).Draw(t, "list")
		want := new(big.Int)
		var forth, back difficulty.Exact
		for i := range list {
			want.Add(want, units(list[i]))
			forth = forth.Add(difficulty.ExactOf(list[i]))
			back = back.Add(difficulty.ExactOf(list[len(list)-1-i]))
		}
		if forth != back || forth.String() != decimal(want) {
			t.Fatalf("%s forth, %s back, want %s", forth, back, decimal(want))
		}
		if i := len(list) - 1; i > 0 {
			a, b := difficulty.ExactOf(list[0]), difficulty.ExactOf(list[i])
			if a.Cmp(b) != units(list[0]).Cmp(units(list[i])) {
				t.Fatalf("%s and %s compare as %d", a, b, a.Cmp(b))
			}
			if got := forth.Sub(a); got.String() != decimal(want.Sub(want, units(list[0]))) {
				t.Fatalf("%s less %s is %s", forth, a, got)
			}
		}
	})
	defer func() {
		if recover() == nil {
			t.Error("a sum that is too large is not told")
		}
	}()
	x := difficulty.MaxExact
	for range 10 {
		x = x.Add(x)
	}
}

func TestExactSubTooMuch(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("negative work is not told")
		}
	}()
	difficulty.ExactOf(1).Sub(difficulty.ExactOf(2))
}

// FuzzParseExact: what is read is a decimal, and what is written is read again.
func FuzzParseExact(f *testing.F) {
	for _, s := range []string{"0", "42", "0.000000000001", "1.0000000000000", "1.0000000000001", "340282366920938463463374607.431768211455",
		"340282366920938463463374607.431768211456", ".5", "5.", "1e3", "-1", "", "1.2.3", "00012.5000"} {
		f.Add(s)
	}
	limit := new(big.Int).Lsh(big.NewInt(1), 128)
	f.Fuzz(func(t *testing.T, s string) {
		x, err := difficulty.ParseExact(s)
		plain := s != "" && strings.Trim(s, "0123456789.") == "" && strings.Count(s, ".") <= 1 && s[0] != '.' && s[len(s)-1] != '.'
		var n *big.Int
		if r, ok := new(big.Rat).SetString(s); plain && ok {
			r.Mul(r, new(big.Rat).SetInt64(1e12))
			if r.IsInt() && r.Num().Cmp(limit) < 0 {
				n = r.Num()
			}
		}
		switch {
		case (n != nil) != (err == nil):
			t.Fatalf("%q: %v", s, err)
		case n != nil && x.String() != decimal(n):
			t.Fatalf("%q is %s", s, x)
		}
	})
}
