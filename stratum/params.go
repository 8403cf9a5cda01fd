package stratum

import (
	"bytes"
	"math"
	"strconv"

	"github.com/ckpool/ckpool/internal/hexdigit"
	"github.com/ckpool/ckpool/internal/jsontext"
)

// SplitMethod cuts a trailing "(…)" off a method name, as in
// mining.suggest_difficulty(512), and returns the name and what is inside the
// parentheses; arg is nil when there are none.
func SplitMethod(method []byte) (name, arg []byte) {
	open := bytes.IndexByte(method, '(')
	if open < 0 || method[len(method)-1] != ')' {
		return method, nil
	}
	return method[:open], method[open+1 : len(method)-1]
}

// Params walks over the elements of a raw JSON array without allocating.
type Params struct {
	rest []byte // behind the bracket or comma; nil at the end
}

// ParseParams begins to walk over raw; ok is false when it is not an array.
func ParseParams(raw []byte) (p Params, ok bool) {
	if len(raw) < 2 || raw[0] != '[' {
		return Params{}, false
	}
	i := jsontext.Space(raw, 1)
	if i < len(raw) && raw[i] == ']' {
		return Params{}, true
	}
	return Params{rest: raw[i:]}, true
}

// Next returns the next element as a raw JSON value; ok is false at the end,
// and where the array is malformed.
func (p *Params) Next() (value []byte, ok bool) {
	end := jsontext.Value(p.rest, 0, 0)
	if end < 0 {
		p.rest = nil
		return nil, false
	}
	value = p.rest[:end:end]
	p.rest = afterComma(p.rest, end)
	return value, true
}

// field is an element that should be a short string.
type field struct {
	text    []byte // still with its escapes, nil when it is no string
	escaped bool
}

func (p *Params) nextField() (f field, ok bool) {
	if len(p.rest) == 0 || p.rest[0] != '"' {
		_, ok = p.Next()
		return field{}, ok
	}
	end, escaped := jsontext.String(p.rest, 0)
	if end < 0 {
		p.rest = nil
		return field{}, false
	}
	text := p.rest[1 : end-1 : end-1]
	p.rest = afterComma(p.rest, end)
	return field{text, escaped}, true
}

// unescape returns the content, in scratch if it has escapes.
func (f field) unescape(scratch []byte) []byte {
	if !f.escaped {
		return f.text
	}
	return unescape(f.text, scratch)
}

// Members walks over the members of a raw JSON object.
type Members struct {
	rest []byte
}

// ParseMembers begins to walk over raw; ok is false when it is not an object.
func ParseMembers(raw []byte) (m Members, ok bool) {
	if len(raw) < 2 || raw[0] != '{' {
		return Members{}, false
	}
	i := jsontext.Space(raw, 1)
	if i < len(raw) && raw[i] == '}' {
		return Members{}, true
	}
	return Members{rest: raw[i:]}, true
}

// Next returns the next unescaped key and its raw JSON value; ok is false at
// the end, and where the object is malformed.
func (m *Members) Next() (key, value []byte, ok bool) {
	raw, value, end := jsontext.Member(m.rest, 0, 0)
	if end < 0 {
		m.rest = nil
		return nil, nil, false
	}
	key, _ = String(raw, nil)
	m.rest = afterComma(m.rest, end)
	return key, value, true
}

// afterComma is what follows the comma behind the value that ends at b[end],
// nil when there is none.
func afterComma(b []byte, end int) []byte {
	i := jsontext.Space(b, end)
	if i >= len(b) || b[i] != ',' {
		return nil
	}
	return b[jsontext.Space(b, i+1):]
}

// Number reads a raw JSON number, or a string that holds one, as some miners
// write it. ok is false for anything else and for numbers beyond a float64.
func Number(raw []byte) (x float64, ok bool) {
	if s, isString := String(raw, nil); isString {
		raw = bytes.TrimSpace(s)
	}
	if len(raw) == 0 || jsontext.Number(raw, 0) != len(raw) {
		return 0, false
	}
	x, err := strconv.ParseFloat(string(raw), 64)
	return x, err == nil && !math.IsInf(x, 0)
}

// Hex32 reads 1 to 8 hexadecimal digits of either case, with or without a
// leading 0x, as a number: missing leading zeros are allowed, more digits are
// not.
func Hex32(s []byte) (v uint32, ok bool) {
	s = trim0x(s)
	if len(s) > 8 {
		return 0, false
	}
	v64, ok := hex64(s)
	return uint32(v64), ok
}

// JobID reads a job id: up to 16 hexadecimal digits, or 16 and two more that
// tell apart several announcements of one job; suffix is 0 when there are no
// such two.
func JobID(s []byte) (id uint64, suffix uint8, ok bool) {
	s = trim0x(s)
	if len(s) == 18 {
		low, ok := hex64(s[16:])
		if !ok {
			return 0, 0, false
		}
		s, suffix = s[:16], uint8(low)
	}
	if len(s) > 16 {
		return 0, 0, false
	}
	id, ok = hex64(s)
	return id, suffix, ok
}

// hex64 reads 1 to 16 hexadecimal digits.
func hex64(s []byte) (v uint64, ok bool) {
	var bad byte
	for _, c := range s {
		d := hexdigit.Value(c)
		bad |= d
		v = v<<4 | uint64(d&15)
	}
	if bad > 15 || len(s) == 0 {
		return 0, false
	}
	return v, true
}

func trim0x(s []byte) []byte {
	if len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' {
		return s[2:]
	}
	return s
}

// hexBytes decodes s into dst; false unless s is exactly 2*len(dst) digits.
func hexBytes(dst, s []byte) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	var bad byte
	for i := range dst {
		h, l := hexdigit.Value(s[2*i]), hexdigit.Value(s[2*i+1])
		bad |= h | l
		dst[i] = h<<4 | l&15
	}
	return bad <= 15
}
