package payout

import (
	"errors"
	"fmt"
	"strings"
)

// maxMoney is all the satoshis there can be.
const maxMoney = 21_000_000 * 100_000_000

// Bitcoins is an amount in satoshis that nodes write as a decimal number of bitcoins.
// It is read and written as text: 20999999.9769 and 0.00000001 come out exactly.
type Bitcoins int64

// ParseBitcoins reads a decimal number of bitcoins, to satoshis. A part of a satoshi is
// an error, as is more than there can be.
func ParseBitcoins(s string) (int64, error) {
	text, negative := strings.CutPrefix(s, "-")
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 { // 1e-08, as some encoders have it
		mantissa = text[:i]
		if _, err := fmt.Sscanf(text[i+1:], "%d", &exponent); err != nil || exponent < -16 || exponent > 16 ||
			fmt.Sprint(exponent) != strings.TrimLeft(strings.Replace(text[i+1:], "-0", "-", 1), "+") {
			return 0, fmt.Errorf("amount %q is not a number", s)
		}
	}
	whole, part, _ := strings.Cut(mantissa, ".")
	digits := whole + part
	if whole == "" || len(digits) > 40 || strings.Trim(digits, "0123456789") != "" || strings.HasSuffix(mantissa, ".") {
		return 0, fmt.Errorf("amount %q is not a number", s)
	}
	shift := 8 + exponent - len(part)
	for ; shift < 0; shift++ {
		last := len(digits) - 1
		if last < 0 {
			break
		}
		if digits[last] != '0' {
			return 0, fmt.Errorf("amount %q has parts of a satoshi", s)
		}
		digits = digits[:last]
	}
	digits += strings.Repeat("0", max(shift, 0))
	var n int64
	for _, d := range []byte(digits) {
		n = n*10 + int64(d-'0')
		if n > maxMoney {
			return 0, fmt.Errorf("amount %q is more than there can be", s)
		}
	}
	if negative {
		n = -n
	}
	return n, nil
}

// FormatBitcoins writes satoshis as bitcoins, with eight decimals as nodes do.
func FormatBitcoins(satoshis int64) string {
	sign := ""
	u := uint64(satoshis)
	if satoshis < 0 {
		sign, u = "-", -u
	}
	return fmt.Sprintf("%s%d.%08d", sign, u/100_000_000, u%100_000_000)
}

// UnmarshalJSON reads a number, not a text.
func (b *Bitcoins) UnmarshalJSON(text []byte) error {
	if len(text) == 0 || text[0] == '"' || string(text) == "null" {
		return errors.New("an amount is no number")
	}
	n, err := ParseBitcoins(string(text))
	*b = Bitcoins(n)
	return err
}

// MarshalJSON writes a number of eight decimals.
func (b Bitcoins) MarshalJSON() ([]byte, error) { return []byte(FormatBitcoins(int64(b))), nil }
