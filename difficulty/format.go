package difficulty

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// roundDigit rounds 0 < x < 1 to one significant decimal digit.
func roundDigit(x float64) float64 {
	if x == 0.25 {
		return 0.3 // the only tie that rounding half to even, below, takes the other way
	}
	var buf [32]byte
	f, _ := strconv.ParseFloat(string(strconv.AppendFloat(buf[:0], x, 'e', 0, 64)), 64)
	return f
}

// AppendWire appends d as miners are sent it: an integer when whole, else a
// plain decimal without exponent; both parse back to d.
func AppendWire(b []byte, d float64) []byte {
	return strconv.AppendFloat(b, d, 'f', -1, 64)
}

// FormatAchieved prints what a hash achieved as people are shown it: with six
// decimals, and below 0.001, where those say little, with seven significant
// digits.
func FormatAchieved(d float64) string {
	if d < 0.001 {
		return strconv.FormatFloat(d, 'g', 7, 64)
	}
	return strconv.FormatFloat(d, 'f', 6, 64)
}

// siUnits stand for 1e3, 1e6 and so on.
const siUnits = "KMGTPEZ"

// FormatSI prints a hash rate the way pool statistics files do: a whole number
// below 1000, else up to three significant digits and one of K M G T P E Z,
// such as 1.23K, 12.3M, 123G, 1T; never an exponent. Negative numbers and NaN
// print as 0, anything over 999Z as 999Z.
func FormatSI(v float64) string {
	switch {
	case !(v > 0):
		return "0"
	case v < 999.5:
		return strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	case v >= 999.5e21:
		return "999Z"
	}
	divisor, unit := 1e3, 0
	for v/divisor >= 999.5 {
		divisor *= 1e3
		unit++
	}
	// Just under a step the quotient may be 0.9995.
	return strconv.FormatFloat(max(v/divisor, 1), 'g', 3, 64) + siUnits[unit:unit+1]
}

// ParseSI reads what FormatSI prints and what other pools write: exponents
// (1e+03K), surrounding blanks and the small units m, u, n. Letter case tells
// m (1e-3) from M (1e6); k is taken as K.
func ParseSI(s string) (float64, error) {
	number := strings.TrimSpace(s)
	factor := 1.0
	if n := len(number) - 1; n >= 0 && number[n] > '9' {
		i := strings.IndexByte("num\x00"+siUnits, number[n])
		switch {
		case number[n] == 'k':
			i = 4
		case i < 0:
			return 0, fmt.Errorf("number %.40q has the unknown unit %q", s, number[n:])
		}
		factor = [...]float64{1e-9, 1e-6, 1e-3, 1, 1e3, 1e6, 1e9, 1e12, 1e15, 1e18, 1e21}[i]
		number = number[:n]
	}
	v, err := strconv.ParseFloat(number, 64)
	if strings.Trim(number, "0123456789.e+-") != "" || err != nil || !(v >= 0) || math.IsInf(v*factor, 0) {
		return 0, fmt.Errorf("%.40q is not a number with an optional unit (n u m K M G T P E Z)", s)
	}
	return v * factor, nil
}
