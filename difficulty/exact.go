package difficulty

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strconv"
)

// exactDigits are the decimal places of an Exact.
const exactDigits = 12

// unitsPerOne is how many units an Exact of 1 has.
const unitsPerOne = 1_000_000_000_000

// Exact is an amount of work, as a sum of difficulties: a whole number of units of
// 10⁻¹², below 2¹²⁸ of them. Sums of it are exact and do not depend on their order,
// which those of float64 do; what is credited and paid is counted in it. The zero
// Exact is 0. It is comparable.
type Exact struct{ hi, lo uint64 } // hi·2⁶⁴ + lo units

// MaxExact is what [ExactOf] makes of anything above it, a difficulty of 10²⁴:
// some hundred sums of as many fit into an Exact.
var MaxExact = Exact{0xc097ce7bc90715, 0xb34b9f1000000000}

// ExactOf is the amount that the shortest decimal of d stands for, as miners are
// sent it ([AppendWire]), rounded half to even at the 12th place. NaN and what is
// not above 0 are 0, what is above MaxExact is MaxExact.
func ExactOf(d float64) Exact {
	switch {
	case !(d > 0):
		return Exact{}
	case d >= 1e24:
		return MaxExact
	case d < 1<<53 && d == math.Trunc(d):
		hi, lo := bits.Mul64(uint64(d), unitsPerOne)
		return Exact{hi, lo}
	}
	var buf [400]byte
	x, _ := parseExact(strconv.AppendFloat(buf[:0], d, 'f', -1, 64), true)
	return x
}

// ParseExact reads a plain decimal without sign and exponent, of at most 12 places
// after the point but for zeros, as [Exact.String] writes it.
func ParseExact(s string) (Exact, error) {
	x, ok := parseExact([]byte(s), false)
	if !ok {
		return Exact{}, fmt.Errorf("%.60q is not a plain decimal of at most %d places below 3.4e26", s, exactDigits)
	}
	return x, nil
}

// parseExact reads digits with an optional point between them. What stands behind
// the 12th place is rounded, half to even, or has to be zeros.
func parseExact(s []byte, round bool) (x Exact, ok bool) {
	places := -1    // behind the point
	next := byte(0) // the digit at the 13th place
	more := false   // one behind it is not 0
	for i, c := range s {
		switch {
		case c == '.' && places < 0 && i > 0 && i < len(s)-1:
			places = 0
			continue
		case c < '0' || c > '9':
			return Exact{}, false
		case next != 0:
			more = more || c != '0'
			continue
		case places == exactDigits:
			next = c
			continue
		}
		if places >= 0 {
			places++
		}
		if x, ok = x.shift(uint64(c - '0')); !ok {
			return Exact{}, false
		}
	}
	for places = max(places, 0); places < exactDigits; places++ {
		if x, ok = x.shift(0); !ok {
			return Exact{}, false
		}
	}
	if len(s) == 0 || !round && (next > '0' || more) {
		return Exact{}, false
	}
	if next > '5' || next == '5' && (more || x.lo&1 == 1) {
		x = x.Add(Exact{lo: 1})
	}
	return x, true
}

// shift is 10x + digit, if that is an Exact.
func (x Exact) shift(digit uint64) (Exact, bool) {
	over, hi := bits.Mul64(x.hi, 10)
	up, lo := bits.Mul64(x.lo, 10)
	lo, carry := bits.Add64(lo, digit, 0)
	hi, carry = bits.Add64(hi, up, carry)
	return Exact{hi, lo}, over == 0 && carry == 0
}

// Add is x + y. It panics where that is no Exact, above 3.4·10²⁶: all work of
// Bitcoin until 2026 is less than 10²⁰.
func (x Exact) Add(y Exact) Exact {
	lo, carry := bits.Add64(x.lo, y.lo, 0)
	hi, carry := bits.Add64(x.hi, y.hi, carry)
	if carry != 0 {
		panic("difficulty: sum of " + x.String() + " and " + y.String() + " is too large")
	}
	return Exact{hi, lo}
}

// Sub is x - y. It panics where y is more than x: there is no negative work.
func (x Exact) Sub(y Exact) Exact {
	lo, borrow := bits.Sub64(x.lo, y.lo, 0)
	hi, borrow := bits.Sub64(x.hi, y.hi, borrow)
	if borrow != 0 {
		panic("difficulty: " + y.String() + " is more than " + x.String())
	}
	return Exact{hi, lo}
}

// Cmp is -1, 0 or +1 where x is less than, equal to or more than y.
func (x Exact) Cmp(y Exact) int {
	switch {
	case x == y:
		return 0
	case x.hi < y.hi || x.hi == y.hi && x.lo < y.lo:
		return -1
	}
	return 1
}

// IsZero reports whether x is 0.
func (x Exact) IsZero() bool { return x == Exact{} }

// Float64 is the nearest float64, for rates and for showing.
func (x Exact) Float64() float64 {
	f, _ := strconv.ParseFloat(x.String(), 64)
	return f
}

// Split is x in two parts, x = high·10⁶ + low·10⁻¹², low below 10¹⁸: what fits into
// two columns of a database without decimals. Up to MaxExact both are below 2⁶³. It panics
// where high is no uint64, from 1.8·10²⁵ on.
func (x Exact) Split() (high, low uint64) {
	const limb = 1_000_000_000_000_000_000
	// The quotient of a full Exact has 69 bits; none that is stored comes near.
	return bits.Div64(x.hi, x.lo, limb)
}

// Units is x in units of 10⁻¹², high·2⁶⁴ + low.
func (x Exact) Units() (high, low uint64) { return x.hi, x.lo }

// String is the plain decimal, without zeros at its end: 42, 0.000000000001.
func (x Exact) String() string { return string(x.Append(nil)) }

// Append appends what String gives.
func (x Exact) Append(b []byte) []byte {
	var digits [40]byte
	i := len(digits)
	for x.hi != 0 || x.lo != 0 || len(digits)-i <= exactDigits {
		// Division by a constant, digit by digit of 10¹⁸.
		hi, rem := x.hi/1e18, x.hi%1e18
		lo, rem := bits.Div64(rem, x.lo, 1e18)
		x = Exact{hi, lo}
		for n := 0; n < 18 && i > 0; n++ {
			i--
			digits[i] = byte('0' + rem%10)
			rem /= 10
		}
	}
	whole := bytes.TrimLeft(digits[i:len(digits)-exactDigits], "0")
	if len(whole) == 0 {
		whole = []byte("0")
	}
	b = append(b, whole...)
	if fraction := bytes.TrimRight(digits[len(digits)-exactDigits:], "0"); len(fraction) > 0 {
		b = append(append(b, '.'), fraction...)
	}
	return b
}

// MarshalText gives the decimal of String, so that no reader of JSON takes an
// amount for a float64.
func (x Exact) MarshalText() ([]byte, error) { return x.Append(nil), nil }

// UnmarshalText reads what ParseExact does.
func (x *Exact) UnmarshalText(b []byte) (err error) {
	*x, err = ParseExact(string(b))
	return err
}

// AppendBinary appends the number of units as 16 bytes, the most significant first:
// they sort as the amounts do.
func (x Exact) AppendBinary(b []byte) ([]byte, error) {
	b = binary.BigEndian.AppendUint64(b, x.hi)
	return binary.BigEndian.AppendUint64(b, x.lo), nil
}

// UnmarshalBinary reads the 16 bytes of AppendBinary.
func (x *Exact) UnmarshalBinary(b []byte) error {
	if len(b) != 16 {
		return fmt.Errorf("an exact difficulty has 16 bytes, not %d", len(b))
	}
	*x = Exact{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
	return nil
}
