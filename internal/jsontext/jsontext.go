// Package jsontext finds where the values of a JSON text (RFC 8259) end, without
// building them. It knows nothing of what they mean.
package jsontext

import (
	"encoding/binary"
	"math/bits"

	"github.com/ckpool/ckpool/internal/hexdigit"
)

// MaxDepth is how deep values may nest, as in encoding/json.
const MaxDepth = 10000

// Member reads the "key":value that begins at b[i]. Key is the raw string,
// end is the index behind the value or -1.
func Member(b []byte, i, depth int) (key, value []byte, end int) {
	if i >= len(b) || b[i] != '"' {
		return nil, nil, -1
	}
	end, _ = String(b, i)
	if end < 0 {
		return nil, nil, -1
	}
	key = b[i:end]
	i = Space(b, end)
	if i >= len(b) || b[i] != ':' {
		return nil, nil, -1
	}
	i = Space(b, i+1)
	end = Value(b, i, depth)
	if end < 0 {
		return nil, nil, -1
	}
	return key, b[i:end:end], end
}

// Value returns the index behind the JSON value that begins at b[i], or -1.
func Value(b []byte, i, depth int) int {
	if i >= len(b) {
		return -1
	}
	switch c := b[i]; c {
	case '"':
		end, _ := String(b, i)
		return end
	case '{', '[':
		if depth >= MaxDepth {
			return -1
		}
		return container(b, i, depth+1)
	case 't':
		return literal(b, i, "true")
	case 'f':
		return literal(b, i, "false")
	case 'n':
		return literal(b, i, "null")
	default:
		return Number(b, i)
	}
}

func container(b []byte, i, depth int) int {
	object := b[i] == '{'
	closing := b[i] + 2 // '}' for '{', ']' for '['
	i = Space(b, i+1)
	if i < len(b) && b[i] == closing {
		return i + 1
	}
	for {
		if object {
			_, _, i = Member(b, i, depth)
		} else {
			i = Value(b, i, depth)
		}
		if i < 0 {
			return -1
		}
		i = Space(b, i)
		if i >= len(b) {
			return -1
		}
		switch b[i] {
		case closing:
			return i + 1
		case ',':
			i = Space(b, i+1)
		default:
			return -1
		}
	}
}

func literal(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// Number returns the index behind the number that begins at b[i], or -1.
func Number(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i >= len(b) || !IsDigit(b[i]):
		return -1
	case b[i] == '0':
		i++
	default:
		i = digits(b, i)
	}
	if i < len(b) && b[i] == '.' {
		if i+1 >= len(b) || !IsDigit(b[i+1]) {
			return -1
		}
		i = digits(b, i+1)
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if i >= len(b) || !IsDigit(b[i]) {
			return -1
		}
		i = digits(b, i)
	}
	return i
}

func digits(b []byte, i int) int {
	for i < len(b) && IsDigit(b[i]) {
		i++
	}
	return i
}

// IsDigit reports whether c is a decimal digit.
func IsDigit(c byte) bool { return c-'0' < 10 }

// Space returns the index behind the white space that begins at b[i].
func Space(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// String returns the index behind the string whose opening quote is at b[i], or -1,
// and whether it has escapes. Whether it is UTF-8 is not looked at. Bytes that need no
// attention are passed eight at a time.
func String(b []byte, i int) (end int, escaped bool) {
	const ones = 0x0101010101010101
	i++
	for i < len(b) {
		if len(b)-i >= 8 {
			w := binary.LittleEndian.Uint64(b[i:])
			// The lowest top bit set marks the first byte that is below 0x20, a quote
			// or a backslash; borrows only disturb those above it, and bytes that are
			// not ASCII only stop it for a look.
			stop := (w - ones*0x20) | (w ^ ones*'"' - ones) | (w ^ ones*'\\' - ones)
			stop &= ones * 0x80
			if stop == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(stop) / 8
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, escaped
		case c == '\\':
			n := EscapeLen(b[i:])
			if n == 0 {
				return -1, false
			}
			i += n
			escaped = true
		case c < 0x20:
			return -1, false
		default:
			i++
		}
	}
	return -1, false
}

// EscapeLen is the length of the escape sequence b begins with, 0 when it is
// none.
func EscapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if r := EscapedUnit(b); r >= 0 {
			return 6
		}
	}
	return 0
}

// EscapedUnit is the UTF-16 code unit of a \uXXXX that b begins with, or -1.
func EscapedUnit(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range b[2:6] {
		d := hexdigit.Value(c)
		if d > 15 {
			return -1
		}
		r = r<<4 | rune(d)
	}
	return r
}
