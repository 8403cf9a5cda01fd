package stratum

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/ckpool/ckpool/internal/jsontext"
)

// String returns the unescaped content of a raw JSON string value; ok is false
// when raw is not a string. The result is a part of raw when it has no
// escapes, and is appended to scratch[:0] when it has. Half a surrogate pair
// becomes U+FFFD.
func String(raw, scratch []byte) (s []byte, ok bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return nil, false
	}
	raw = raw[1 : len(raw)-1 : len(raw)-1]
	if bytes.IndexByte(raw, '\\') >= 0 {
		raw = unescape(raw, scratch)
	}
	return raw, raw != nil
}

// unescape appends to scratch[:0] what raw, the inside of a string, stands
// for; nil when raw is malformed.
func unescape(raw, scratch []byte) []byte {
	s := scratch[:0]
	for {
		plain := bytes.IndexByte(raw, '\\')
		if plain < 0 {
			return append(s, raw...)
		}
		s = append(s, raw[:plain]...)
		raw = raw[plain:]
		n := jsontext.EscapeLen(raw)
		if n == 0 {
			return nil
		}
		switch raw[1] {
		case 'b':
			s = append(s, '\b')
		case 'f':
			s = append(s, '\f')
		case 'n':
			s = append(s, '\n')
		case 'r':
			s = append(s, '\r')
		case 't':
			s = append(s, '\t')
		case 'u':
			r := jsontext.EscapedUnit(raw)
			if utf16.IsSurrogate(r) {
				r = utf16.DecodeRune(r, jsontext.EscapedUnit(raw[6:]))
				if r != utf8.RuneError {
					n = 12
				}
			}
			s = utf8.AppendRune(s, r)
		default:
			s = append(s, raw[1])
		}
		raw = raw[n:]
	}
}

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD.
func AppendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(b, s[start:i]...)
				b = append(b, "\uFFFD"...)
				start = i + n
			}
			i += n
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
