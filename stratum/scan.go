package stratum

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// maxDepth is how deep values may nest, as in encoding/json.
const maxDepth = 10000

// Scan reads one line, given without its LF, into m. Text behind the first
// JSON value is ignored, but NUL is refused there too. m is filled for an
// Object and cleared for all else.
func Scan(line []byte, m *Message) Kind {
	*m = Message{}
	i := skipSpace(line, 0)
	if i == len(line) {
		return Empty
	}
	if bytes.IndexByte(line, 0) >= 0 {
		return Invalid
	}
	switch line[i] {
	case '{':
		if !m.scan(line, i) {
			*m = Message{}
			return Invalid
		}
		return Object
	case '[':
		if skipValue(line, i, 0) < 0 {
			return Invalid
		}
		return Array
	default:
		if skipValue(line, i, 0) < 0 {
			return Invalid
		}
		return Scalar
	}
}

// scan reads the object that begins at line[i].
func (m *Message) scan(line []byte, i int) bool {
	i = skipSpace(line, i+1)
	if i < len(line) && line[i] == '}' {
		return true
	}
	for {
		key, value, end := member(line, i, 1)
		if end < 0 {
			return false
		}
		m.set(key, value)
		i = skipSpace(line, end)
		if i >= len(line) {
			return false
		}
		switch line[i] {
		case '}':
			return true
		case ',':
			i = skipSpace(line, i+1)
		default:
			return false
		}
	}
}

// set stores one member; key is the raw JSON string.
func (m *Message) set(key, value []byte) {
	switch string(key) {
	case `"id"`:
		m.ID = value
	case `"method"`:
		m.MethodPresent = true
		m.Method, _ = String(value, nil)
	case `"params"`:
		m.Params = value
	case `"result"`:
		m.Result = value
	case `"error"`:
		m.Error = value
	case `"reject-reason"`:
		m.RejectReason = value
	default:
		if bytes.IndexByte(key, '\\') >= 0 {
			m.setEscaped(key, value)
		}
	}
}

// setEscaped is set for a key with escapes.
func (m *Message) setEscaped(key, value []byte) {
	name, _ := String(key, nil)
	if bytes.IndexByte(name, '\\') < 0 {
		m.set(append(append([]byte{'"'}, name...), '"'), value)
	}
}

// member reads the "key":value that begins at b[i]. Key is the raw string,
// end is the index behind the value or -1.
func member(b []byte, i, depth int) (key, value []byte, end int) {
	if i >= len(b) || b[i] != '"' {
		return nil, nil, -1
	}
	end = skipString(b, i)
	if end < 0 {
		return nil, nil, -1
	}
	key = b[i:end]
	i = skipSpace(b, end)
	if i >= len(b) || b[i] != ':' {
		return nil, nil, -1
	}
	i = skipSpace(b, i+1)
	end = skipValue(b, i, depth)
	if end < 0 {
		return nil, nil, -1
	}
	return key, b[i:end:end], end
}

// skipValue returns the index behind the JSON value that begins at b[i], or -1.
func skipValue(b []byte, i, depth int) int {
	if i >= len(b) {
		return -1
	}
	switch c := b[i]; c {
	case '"':
		return skipString(b, i)
	case '{', '[':
		if depth >= maxDepth {
			return -1
		}
		return skipContainer(b, i, depth+1)
	case 't':
		return skipLiteral(b, i, "true")
	case 'f':
		return skipLiteral(b, i, "false")
	case 'n':
		return skipLiteral(b, i, "null")
	default:
		return skipNumber(b, i)
	}
}

func skipContainer(b []byte, i, depth int) int {
	object := b[i] == '{'
	closing := b[i] + 2 // '}' for '{', ']' for '['
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == closing {
		return i + 1
	}
	for {
		if object {
			_, _, i = member(b, i, depth)
		} else {
			i = skipValue(b, i, depth)
		}
		if i < 0 {
			return -1
		}
		i = skipSpace(b, i)
		if i >= len(b) {
			return -1
		}
		switch b[i] {
		case closing:
			return i + 1
		case ',':
			i = skipSpace(b, i+1)
		default:
			return -1
		}
	}
}

func skipLiteral(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

func skipNumber(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i >= len(b) || !isDigit(b[i]):
		return -1
	case b[i] == '0':
		i++
	default:
		i = skipDigits(b, i)
	}
	if i < len(b) && b[i] == '.' {
		if i+1 >= len(b) || !isDigit(b[i+1]) {
			return -1
		}
		i = skipDigits(b, i+1)
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if i >= len(b) || !isDigit(b[i]) {
			return -1
		}
		i = skipDigits(b, i)
	}
	return i
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i
}

func isDigit(c byte) bool { return c-'0' < 10 }

func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// skipString returns the index behind the string whose opening quote is at
// b[i], or -1.
func skipString(b []byte, i int) int {
	end, _ := scanString(b, i)
	return end
}

// scanString is skipString that also tells whether the string has escapes.
// Bytes that need no attention are passed eight at a time.
func scanString(b []byte, i int) (end int, escaped bool) {
	const ones = 0x0101010101010101
	i++
	for i < len(b) {
		if len(b)-i >= 8 {
			w := binary.LittleEndian.Uint64(b[i:])
			// The lowest top bit set marks the first byte that is below 0x20,
			// a quote, a backslash or not ASCII; borrows only disturb those above it.
			stop := (w - ones*0x20) | (w ^ ones*'"' - ones) | (w ^ ones*'\\' - ones) | w
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
			n := escapeLen(b[i:])
			if n == 0 {
				return -1, false
			}
			i += n
			escaped = true
		case c < 0x20:
			return -1, false
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				return -1, false
			}
			i += n
		}
	}
	return -1, false
}

// escapeLen is the length of the escape sequence b begins with, 0 when it is
// none, or NUL.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if r := escapedUnit(b); r > 0 {
			return 6
		}
	}
	return 0
}

// escapedUnit is the UTF-16 code unit of a \uXXXX that b begins with, or -1.
func escapedUnit(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range b[2:6] {
		d := hexDigit(c)
		if d > 15 {
			return -1
		}
		r = r<<4 | rune(d)
	}
	return r
}
