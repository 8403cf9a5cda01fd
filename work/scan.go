package work

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/ckpool/ckpool/internal/jsontext"
)

// span is a part of a scanned text: the content of a string, without quotes.
// No string begins at 0, so the zero span means none.
type span struct{ from, to uint32 }

func (s span) ok() bool { return s.from > 0 }

// scanner walks over one JSON text (RFC 8259) without building values. The
// first error sticks; after it every method returns at once and opens nothing.
type scanner struct {
	body []byte
	i    int
	err  error

	// unescaped holds the content of strings that had escapes. Spans of them
	// begin at len(body) and go on from there.
	unescaped []byte
}

func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("byte %d: %s", s.i, fmt.Sprintf(format, args...))
	}
	s.i = len(s.body)
}

// peek skips white space and returns the byte behind it, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.i < len(s.body); s.i++ {
		switch c := s.body[s.i]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) expect(c byte) {
	if got := s.peek(); got != c || s.i == len(s.body) {
		s.unexpected(string(c))
		return
	}
	s.i++
}

func (s *scanner) unexpected(wanted string) {
	if s.i >= len(s.body) {
		s.fail("the text ends where %s is expected", wanted)
		return
	}
	s.fail("%q where %s is expected", s.body[s.i], wanted)
}

// end fails unless only white space is left.
func (s *scanner) end() {
	if s.peek(); s.i < len(s.body) {
		s.unexpected("the end")
	}
}

// open begins an object or array and reports whether it has an element.
func (s *scanner) open(bracket byte) bool {
	s.expect(bracket)
	if s.err == nil && s.peek() == closing(bracket) {
		s.i++
		return false
	}
	return s.err == nil
}

// more ends an element and reports whether another follows.
func (s *scanner) more(bracket byte) bool {
	switch s.peek() {
	case ',':
		s.i++
		return true
	case closing(bracket):
		s.i++
		return false
	}
	s.unexpected("a comma or " + string(closing(bracket)))
	return false
}

func closing(bracket byte) byte { return bracket + 2 } // { } and [ ] in ASCII

// key reads a member's name and the colon.
func (s *scanner) key() []byte {
	k := s.text()
	s.expect(':')
	return k
}

// null consumes a null value if there is one.
func (s *scanner) null() bool {
	if s.peek() != 'n' {
		return false
	}
	s.literal("null")
	return true
}

func (s *scanner) literal(word string) {
	if !bytes.HasPrefix(s.body[s.i:], []byte(word)) {
		s.fail("neither a value nor %s", word)
		return
	}
	s.i += len(word)
}

// raw reads a string whose content the caller checks; control characters in it
// are not looked for.
func (s *scanner) raw() span {
	s.expect('"')
	from := s.i
	n := bytes.IndexByte(s.body[from:], '"')
	if n < 0 {
		s.fail("a string without end")
		return span{}
	}
	if bytes.IndexByte(s.body[from:from+n], '\\') >= 0 {
		return s.rawEscaped(from)
	}
	s.i = from + n + 1
	return span{uint32(from), uint32(from + n)}
}

func (s *scanner) rawEscaped(from int) span {
	for i := from; i < len(s.body); i++ {
		switch s.body[i] {
		case '\\':
			i++
		case '"':
			var v string
			if err := json.Unmarshal(s.body[from-1:i+1], &v); err != nil {
				s.fail("a string with a wrong escape")
				return span{}
			}
			s.i = i + 1
			begin := len(s.body) + len(s.unescaped)
			s.unescaped = append(s.unescaped, v...)
			return span{uint32(begin), uint32(begin + len(v))}
		}
	}
	s.fail("a string without end")
	return span{}
}

// at is the content of a span.
func (s *scanner) at(p span) []byte {
	if !p.ok() {
		return nil
	}
	if n := uint32(len(s.body)); p.from >= n {
		return s.unescaped[p.from-n : p.to-n]
	}
	return s.body[p.from:p.to]
}

// text reads a string and returns its content.
func (s *scanner) text() []byte {
	s.expect('"')
	if s.err != nil {
		return nil
	}
	from := s.i
	end, escaped := jsontext.String(s.body, from-1)
	switch {
	case end < 0:
		s.fail("a string without end, or with what may not stand in one")
		return nil
	case escaped:
		return s.at(s.rawEscaped(from))
	}
	s.i = end
	return s.body[from : end-1]
}

// number reads a number and returns its text.
func (s *scanner) number() []byte {
	s.peek()
	end := jsontext.Number(s.body, s.i)
	if end < 0 {
		s.unexpected("a value")
		return nil
	}
	text := s.body[s.i:end]
	s.i = end
	return text
}

// integer reads a whole number from lo to hi; a null is nil.
func (s *scanner) integer(name string, lo, hi int64) *int64 {
	if s.null() {
		return nil
	}
	text := s.number()
	if s.err != nil {
		s.err = fmt.Errorf("%s: %w", name, s.err)
		return nil
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < lo || n > hi {
		s.fail("%s %s is not a whole number from %d to %d", name, text, lo, hi)
	}
	return &n
}

// count reads a whole number below some billions; -1 is any other value.
func (s *scanner) count() int64 {
	s.peek()
	from, i, n := s.i, s.i, int64(0)
	for ; i < len(s.body) && jsontext.IsDigit(s.body[i]) && n < 1<<32; i++ {
		n = 10*n + int64(s.body[i]-'0')
	}
	if i < len(s.body) && i > from && (i == from+1 || s.body[from] != '0') {
		switch s.body[i] {
		case ',', '}', ' ', '\t', '\n', '\r':
			s.i = i
			return n
		}
	}
	s.skip()
	return -1
}

// skip reads over any value.
func (s *scanner) skip() {
	s.peek()
	end := jsontext.Value(s.body, s.i, 0)
	if end < 0 {
		s.unexpected("a value that ends")
		return
	}
	s.i = end
}
