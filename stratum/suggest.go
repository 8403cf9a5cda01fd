package stratum

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"

	"github.com/ckpool/ckpool/difficulty"
)

// Argument is the first parameter of a request as text, whatever its JSON type and whether
// the raw params are an array or a bare value; without one it is arg, what stands in the
// method's parentheses: see SplitMethod. ok is false where there is none.
func Argument(params, arg []byte) (text string, ok bool) {
	raw := params
	if p, ok := ParseParams(raw); ok {
		if raw, ok = p.Next(); !ok {
			raw = nil
		}
	}
	if len(raw) == 0 || string(raw) == "null" {
		raw = arg
	}
	if len(raw) == 0 {
		return "", false
	}
	if raw[0] == '"' {
		v, ok := String(raw, nil)
		return strings.TrimSpace(string(v)), ok
	}
	return string(raw), true
}

// Suggestion reads the difficulty that a miner asks for by mining.suggest_difficulty, or by
// mining.suggest_target, whose target has up to 64 hex digits, most significant first. params
// and arg are those of Argument. ok is false where it is no positive number.
func Suggestion(method, params, arg []byte) (d float64, ok bool) {
	text, ok := Argument(params, arg)
	if !ok {
		return 0, false
	}
	if string(method) == "mining.suggest_target" {
		return target(text)
	}
	return PositiveNumber(text)
}

// PositiveNumber reads a difficulty as miners write it in texts: a positive number as C's
// strtod reads it, decimal, with an exponent or hexadecimal.
func PositiveNumber(s string) (float64, bool) {
	if s == "" || strings.ContainsAny(s, "_ \t") {
		return 0, false
	}
	if lower := strings.ToLower(s); strings.HasPrefix(lower, "0x") && !strings.Contains(lower, "p") {
		s += "p0"
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil && v > 0 && !math.IsInf(v, 0)
}

func target(s string) (float64, bool) {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "0x"), "0X")
	if s == "" || len(s) > 64 {
		return 0, false
	}
	var t difficulty.Target
	if _, err := hex.Decode(t[:], []byte(strings.Repeat("0", 64-len(s))+s)); err != nil {
		return 0, false
	}
	if t == (difficulty.Target{}) {
		return 0, false
	}
	return t.Difficulty(), true
}
