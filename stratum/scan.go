package stratum

import (
	"bytes"
	"unicode/utf8"

	"github.com/ckpool/ckpool/internal/jsontext"
)

// Scan reads one line, given without its LF, into m. Text behind the first
// JSON value is ignored, but NUL is refused there too. m is filled for an
// Object and cleared for all else.
func Scan(line []byte, m *Message) Kind {
	*m = Message{}
	i := jsontext.Space(line, 0)
	if i == len(line) {
		return Empty
	}
	if bytes.IndexByte(line, 0) >= 0 {
		return Invalid
	}
	kind, end := Scalar, 0
	switch line[i] {
	case '{':
		kind, end = Object, m.scan(line, i)
	case '[':
		kind, end = Array, jsontext.Value(line, i, 0)
	default:
		end = jsontext.Value(line, i, 0)
	}
	if end < 0 || !utf8.Valid(line[:end]) || escapesNul(line[:end]) {
		*m = Message{}
		return Invalid
	}
	return kind
}

// escapesNul reports whether a string may have a \u0000.
func escapesNul(line []byte) bool {
	for {
		i := bytes.IndexByte(line, '\\')
		if i < 0 {
			return false
		}
		if line = line[i:]; bytes.HasPrefix(line, []byte(`\u0000`)) {
			return true
		}
		line = line[min(2, len(line)):]
	}
}

// scan reads the object that begins at line[i], and returns the index behind it or -1.
func (m *Message) scan(line []byte, i int) int {
	i = jsontext.Space(line, i+1)
	if i < len(line) && line[i] == '}' {
		return i + 1
	}
	for {
		key, value, end := jsontext.Member(line, i, 1)
		if end < 0 {
			return -1
		}
		m.set(key, value)
		i = jsontext.Space(line, end)
		if i >= len(line) {
			return -1
		}
		switch line[i] {
		case '}':
			return i + 1
		case ',':
			i = jsontext.Space(line, i+1)
		default:
			return -1
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
