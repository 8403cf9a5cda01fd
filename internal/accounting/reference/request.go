package reference

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Request is one line of a request log. Its texts are decoded; they may have any
// character and need not be UTF-8.
type Request struct {
	Command string // in lower case
	ID      string
	fields  []field
}

type field struct{ name, value string }

// Value is that of a field. Numbers, true and false are as they are written, arrays
// and objects as JSON. A field that is null is not there; of two with one name the
// first counts.
func (r *Request) Value(name string) (value string, ok bool) {
	for i := range r.fields {
		if r.fields[i].name == name {
			return r.fields[i].value, true
		}
	}
	return "", false
}

// longestCommand is that of the reference's.
const longestCommand = 31

// ParseRequest reads a line without its line feed.
func ParseRequest(line []byte) (*Request, error) {
	line = bytes.TrimRight(line, "\r\n")
	command, rest, ok := bytes.Cut(line, []byte("."))
	if !ok || len(command) == 0 || len(command) > longestCommand {
		return nil, errors.New("no request: want command.id.fields")
	}
	for _, c := range command {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return nil, errors.New("no request: want command.id.fields")
		}
	}
	id, rest, ok := bytes.Cut(rest, []byte("."))
	if !ok {
		return nil, fmt.Errorf("%s request without fields", command)
	}
	r := &Request{Command: strings.ToLower(string(command)), ID: string(id)}
	if body, ok := bytes.CutPrefix(rest, []byte("json=")); ok && bytes.HasPrefix(body, []byte("{")) {
		s := scanner{text: body}
		if err := s.object(&r.fields); err != nil {
			return nil, fmt.Errorf("%s request, character %d of its JSON: %w", r.Command, s.at+1, err)
		}
		return r, nil
	}
	for part := range bytes.SplitSeq(rest, []byte("\t")) {
		name, value, ok := bytes.Cut(part, []byte("="))
		if !ok || len(name) == 0 {
			return nil, fmt.Errorf("%s request: want name=value, got %s", r.Command, shown(string(part)))
		}
		r.fields = append(r.fields, field{string(name), string(value)})
	}
	return r, nil
}

// shown is a text as people are shown it, not too long.
func shown(s string) string {
	const longest = 60
	if len(s) > longest {
		s = s[:longest] + "..."
	}
	return fmt.Sprintf("%q", s)
}

// scanner reads one JSON object. Texts may have control characters as they are, which
// JSON does not allow; the reference passes them on.
type scanner struct {
	text []byte
	at   int
}

func (s *scanner) blanks() {
	for s.at < len(s.text) && (s.text[s.at] == ' ' || s.text[s.at] == '\t') {
		s.at++
	}
}

// next is the next character behind blanks, 0 at the end.
func (s *scanner) next() byte {
	s.blanks()
	if s.at == len(s.text) {
		return 0
	}
	return s.text[s.at]
}

var errEnd = errors.New("it is cut off")

func (s *scanner) want(c byte) error {
	switch got := s.next(); got {
	case c:
		s.at++
		return nil
	case 0:
		return errEnd
	default:
		return fmt.Errorf("want %q, got %q", c, got)
	}
}

func (s *scanner) object(fields *[]field) error {
	if err := s.want('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		if s.next() == '}' && first {
			s.at++
			break
		}
		if s.next() != '"' {
			return s.want('"')
		}
		name, err := s.string()
		if err != nil {
			return err
		}
		if err := s.want(':'); err != nil {
			return err
		}
		value, null, err := s.value()
		if err != nil {
			return err
		}
		if !null {
			*fields = append(*fields, field{name, value})
		}
		if s.next() == ',' {
			s.at++
			continue
		}
		if err := s.want('}'); err != nil {
			return err
		}
		break
	}
	if s.next() != 0 || s.at < len(s.text) {
		return errors.New("something follows it")
	}
	return nil
}

func (s *scanner) value() (text string, null bool, err error) {
	switch c := s.next(); c {
	case 0:
		return "", false, errEnd
	case '"':
		text, err = s.string()
		return text, false, err
	case '[', '{':
		begin := s.at
		err = s.nested()
		return string(s.text[begin:s.at]), false, err
	}
	begin := s.at
	for s.at < len(s.text) && bytes.IndexByte([]byte(",}] \t"), s.text[s.at]) < 0 {
		s.at++
	}
	text = string(s.text[begin:s.at])
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '.' && c != '-' && c != '+' && c != 'E' {
			s.at = begin
			return "", false, fmt.Errorf("want a value, got %s", shown(text))
		}
	}
	if text == "" {
		return "", false, errors.New("want a value")
	}
	return text, text == "null", nil
}

// deepest is how far values may be nested: an error has three elements, one level.
const deepest = 16

// nested skips an array or object.
func (s *scanner) nested() error {
	var open []byte
	for {
		switch c := s.next(); c {
		case 0:
			return errEnd
		case '"':
			if _, err := s.string(); err != nil {
				return err
			}
			continue
		case '[', '{':
			if len(open) == deepest {
				return errors.New("nested too deep")
			}
			open = append(open, c+2) // what closes it
		case ']', '}':
			if c != open[len(open)-1] {
				return fmt.Errorf("want %q, got %q", open[len(open)-1], c)
			}
			if open = open[:len(open)-1]; len(open) == 0 {
				s.at++
				return nil
			}
		}
		s.at++
	}
}

// string reads what stands in quotes.
func (s *scanner) string() (string, error) {
	s.at++
	begin := s.at
	n := bytes.IndexAny(s.text[begin:], "\"\\")
	if n < 0 {
		s.at = len(s.text)
		return "", errEnd
	}
	s.at += n
	if s.text[s.at] == '"' {
		s.at++
		return string(s.text[begin : s.at-1]), nil
	}
	b := append([]byte(nil), s.text[begin:s.at]...)
	for s.at < len(s.text) {
		c := s.text[s.at]
		s.at++
		switch c {
		case '"':
			return string(b), nil
		case '\\':
			var err error
			if b, err = s.escaped(b); err != nil {
				return "", err
			}
		default:
			b = append(b, c)
		}
	}
	return "", errEnd
}

// escaped appends what stands behind a backslash.
func (s *scanner) escaped(b []byte) ([]byte, error) {
	if s.at == len(s.text) {
		return b, errEnd
	}
	c := s.text[s.at]
	s.at++
	switch c {
	case '"', '\\', '/':
		return append(b, c), nil
	case 'b':
		return append(b, '\b'), nil
	case 'f':
		return append(b, '\f'), nil
	case 'n':
		return append(b, '\n'), nil
	case 'r':
		return append(b, '\r'), nil
	case 't':
		return append(b, '\t'), nil
	case 'u':
		r, err := s.unit()
		if err != nil {
			return b, err
		}
		if utf16.IsSurrogate(r) {
			high := r
			r = utf8.RuneError
			if bytes.HasPrefix(s.text[s.at:], []byte(`\u`)) {
				back := s.at
				s.at += 2
				low, err := s.unit()
				if err != nil {
					return b, err
				}
				if r = utf16.DecodeRune(high, low); r == utf8.RuneError {
					s.at = back
				}
			}
		}
		return utf8.AppendRune(b, r), nil
	}
	return b, fmt.Errorf("no character is written \\%c", c)
}

func (s *scanner) unit() (r rune, err error) {
	if len(s.text)-s.at < 4 {
		s.at = len(s.text)
		return 0, errEnd
	}
	for range 4 {
		c := s.text[s.at]
		s.at++
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, fmt.Errorf("want a hex digit, got %q", c)
		}
		r = r<<4 | rune(c)
	}
	return r, nil
}
