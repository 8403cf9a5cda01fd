package sharelog

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"
)

// Object appends one JSON object to a buffer in the layout of ckpool's files
// and control replies: keys in the order of the calls, ", " and ": " between
// them, real numbers as [AppendReal] prints them. Use [NewObject].
type Object struct {
	buf   []byte
	lead  string // before the first key
	sep   string // after a comma
	end   string // before the closing brace
	begun bool
}

// NewObject starts an object on one line; it appends to b.
func NewObject(b []byte) Object {
	return Object{buf: append(b, '{'), sep: " "}
}

// newIndented starts an object with one key a line, indent holding the line
// break and the indentation of its keys.
func newIndented(b []byte, indent string) Object {
	return Object{buf: append(b, '{'), lead: indent, sep: indent, end: indent[:len(indent)-1]}
}

func (o *Object) key(key string) {
	if o.begun {
		o.buf = append(o.buf, ',')
		o.buf = append(o.buf, o.sep...)
	} else {
		o.buf = append(o.buf, o.lead...)
		o.begun = true
	}
	o.buf = append(AppendString(o.buf, key), ": "...)
}

// Int adds a whole number.
func (o *Object) Int(key string, v int64) {
	o.key(key)
	o.buf = strconv.AppendInt(o.buf, v, 10)
}

// Real adds a real number with at most the given significant digits.
func (o *Object) Real(key string, v float64, digits int) {
	o.key(key)
	o.buf = AppendReal(o.buf, v, digits)
}

// Whole adds v rounded to the nearest whole number, without an exponent, so
// that readers with 64-bit integers understand it.
func (o *Object) Whole(key string, v float64) {
	o.key(key)
	o.buf = strconv.AppendInt(o.buf, whole(v), 10)
}

// String adds a string.
func (o *Object) String(key, v string) {
	o.key(key)
	o.buf = AppendString(o.buf, v)
}

// Bool adds true or false.
func (o *Object) Bool(key string, v bool) {
	o.key(key)
	o.buf = strconv.AppendBool(o.buf, v)
}

// Raw adds a value that is JSON already.
func (o *Object) Raw(key string, v []byte) {
	o.key(key)
	o.buf = append(o.buf, v...)
}

// Close ends the object and returns the buffer.
func (o *Object) Close() []byte {
	if o.begun {
		o.buf = append(o.buf, o.end...)
	}
	return append(o.buf, '}')
}

// AppendReal appends v as C's printf prints it with %.{digits}g, made a JSON
// real: ".0" is added where neither a point nor an exponent stands, an exponent
// has no '+' and no leading zeros. 17 digits give back the same double. What
// JSON cannot hold (infinities, NaN) is printed as 0.0.
func AppendReal(b []byte, v float64, digits int) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		v = 0
	}
	start := len(b)
	b = strconv.AppendFloat(b, v, 'g', digits, 64)
	if e := bytes.IndexByte(b[start:], 'e'); e >= 0 {
		return trimExponent(b, start+e+1)
	}
	if bytes.IndexByte(b[start:], '.') < 0 {
		b = append(b, ".0"...)
	}
	return b
}

// trimExponent drops the '+' and the leading zeros of the exponent at b[i:].
func trimExponent(b []byte, i int) []byte {
	digits := i + 1
	for digits < len(b)-1 && b[digits] == '0' {
		digits++
	}
	if b[i] == '-' {
		i++
	}
	return append(b[:i], b[digits:]...)
}

// whole rounds v to the nearest number a 64-bit integer holds.
func whole(v float64) int64 {
	switch v = math.Round(v); {
	case math.IsNaN(v):
		return 0
	case v >= math.MaxInt64:
		return math.MaxInt64
	case v <= math.MinInt64:
		return math.MinInt64
	}
	return int64(v)
}

// AppendString appends s as a JSON string. Slashes and characters beyond ASCII
// stay as they are; bytes that are not UTF-8 become U+FFFD.
func AppendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
		i++
	}
	return append(b, '"')
}
