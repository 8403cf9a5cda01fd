// Package figures writes what people read on screens of limited width: amounts,
// rates, odds, long names. It knows no screen.
package figures

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/ckpool/ckpool/difficulty"
)

// Count is a whole number with commas: 1,234,567.
func Count(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, text = text[:1], text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

// Things counts things of a kind, which is named in the singular: 1 miner, 2
// miners.
func Things(n int64, kind string) string {
	if n == 1 {
		return "1 " + kind
	}
	return Count(n) + " " + kind + "s"
}

// Bitcoins are satoshis as bitcoins, without needless zeros: 3.125 BTC.
func Bitcoins(satoshis int64) string {
	text := strconv.FormatFloat(float64(satoshis)/1e8, 'f', 8, 64)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".") + " BTC"
}

// Rate is a hash rate: 1.23 TH/s.
func Rate(hashesPerSecond float64) string {
	switch {
	case !(hashesPerSecond >= 0.001):
		return "0 H/s"
	case hashesPerSecond < 99.95:
		return Number(hashesPerSecond) + " H/s"
	}
	text := large(hashesPerSecond)
	if unit := len(text) - 1; text[unit] > '9' {
		return text[:unit] + " " + text[unit:] + "H/s"
	}
	return text + " H/s"
}

// Number has three digits and a unit, also below 1: 1.23G, 42.5, 4.66e-10.
func Number(v float64) string {
	switch {
	case v != v:
		return "0"
	case v < 999.5:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	return large(v)
}

// large is [difficulty.FormatSI], which ends with Z as files have it, with the larger
// units.
func large(v float64) string {
	const zetta = 1e21
	switch {
	case v < 999.5*zetta || v != v:
		return difficulty.FormatSI(v)
	case v >= 999.5e30:
		return "999Q"
	}
	divisor, unit := 1e24, 0
	for v/divisor >= 999.5 {
		divisor *= 1e3
		unit++
	}
	return strconv.FormatFloat(max(v/divisor, 1), 'g', 3, 64) + "YRQ"[unit:unit+1]
}

// Percent has digits enough to tell little from nothing: 43%, 4.3%, 0.012%.
func Percent(share float64) string {
	percent := share * 100
	switch {
	case percent == 0:
		return "0%"
	case percent < 1e-4:
		return "under 0.0001%"
	case percent >= 99.5:
		return strconv.FormatFloat(percent, 'f', 0, 64) + "%"
	}
	return strconv.FormatFloat(percent, 'g', 2, 64) + "%"
}

// Odds is a probability: 43%, or where that says little, 1 in 1,234.
func Odds(probability float64) string {
	const little, never = 0.1, 1e-18
	switch {
	case probability < never:
		return "none"
	case probability < little:
		return "1 in " + Count(int64(math.Round(1/probability)))
	}
	return Percent(probability)
}

// Duration has the two largest units: 3d 4h, 12m 5s.
func Duration(d time.Duration) string {
	seconds := int64(max(d, 0).Seconds())
	units := []struct {
		name    string
		seconds int64
	}{{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}}
	for i, u := range units[:len(units)-1] {
		if seconds < u.seconds {
			continue
		}
		next := units[i+1]
		return strconv.FormatInt(seconds/u.seconds, 10) + u.name + " " +
			strconv.FormatInt(seconds%u.seconds/next.seconds, 10) + next.name
	}
	return strconv.FormatInt(seconds, 10) + "s"
}

// Short leaves out the middle of a hash, an address or another long word:
// bc1qw5…f3t4. What has at most 16 letters stays as it is, but for control
// characters, which could steer a terminal.
func Short(word string) string {
	const whole, head, tail = 16, 6, 4
	r := []rune(harmless(word))
	if len(r) <= whole {
		return string(r)
	}
	return string(r[:head]) + "…" + string(r[len(r)-tail:])
}

// Worker shortens the parts of a worker's name: bc1qw5…f3t4.rig1.
func Worker(name string) string {
	i := strings.IndexAny(name, "._")
	if i < 0 {
		return Short(name)
	}
	return Short(name[:i]) + name[i:i+1] + Short(name[i+1:])
}

// Cut is a text of at most n letters, without control characters.
func Cut(text string, n int) string {
	r := []rune(harmless(text))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n-1]) + "…"
}

func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '.'
		}
		return r
	}, text)
}
