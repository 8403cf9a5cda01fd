package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

func readLimited(f *os.File) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return nil, pathErr.Err // the path is said already
	}
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return data, nil
}

// firstValue is the length of the leading comments and the first JSON object or
// array of data: what follows is free text. It is len(data) when there is no
// such value or no end to it, for the parser to complain about.
func firstValue(data []byte) (int, error) {
	depth := 0
	for i := 0; i < len(data); i++ {
		rest := data[i:]
		switch data[i] {
		case '"':
			n := stringLength(rest)
			if n < 0 {
				return len(data), nil
			}
			i += n - 1
		case '/':
			n := commentLength(rest)
			if n < 0 {
				return len(data), nil
			}
			i += n - 1
		case '{', '[':
			if depth++; depth > maxDepth {
				return i, errors.New("nested too deep")
			}
		case '}', ']':
			if depth--; depth <= 0 {
				return i + 1, nil
			}
		}
	}
	return len(data), nil
}

const maxDepth = 32

// stringLength is the length of the string literal b begins with, -1 without
// an end.
func stringLength(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

func commentLength(b []byte) int {
	var end []byte
	switch {
	case bytes.HasPrefix(b, []byte("//")):
		end = []byte("\n")
	case bytes.HasPrefix(b, []byte("/*")):
		end = []byte("*/")
	default:
		return -1
	}
	n := bytes.Index(b[2:], end)
	if n < 0 {
		return -1
	}
	return 2 + n + len(end)
}

// value is one JSON value and where it stands.
type value struct {
	hujson.Value
	path   string // "btcd[1].url"
	file   *file
	secret bool // its text is not repeated in errors
}

func (v value) kind() hujson.Kind { return v.Value.Value.Kind() }

// wants is the error of a value that is not what is wanted.
func (v value) wants(want string) error {
	return v.file.at(v.StartOffset, &Error{Key: v.path, Want: want, Got: v.got()})
}

func (v value) warnf(format string, args ...any) { v.file.warnf(v.StartOffset, format, args...) }

// got shows the value in an error.
func (v value) got() string {
	switch v.kind() {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		if v.secret {
			return "a string"
		}
		text := v.literal().String()
		if before, _, has := strings.Cut(text, "@"); has && strings.Contains(before, ":") && !strings.ContainsFunc(before, unicode.IsSpace) {
			return "one with a user and a password, which are keys of their own"
		}
		return strconv.Quote(cut(text, 60))
	}
	if v.secret && v.kind() == '0' {
		return "a number"
	}
	return cut(string(v.literal()), 60)
}

// cut shortens s to at most n bytes of whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// literal is the value's text; only for values that are no object or array.
func (v value) literal() hujson.Literal {
	l, _ := v.Value.Value.(hujson.Literal)
	return l
}

func (v value) text() (string, error) {
	if v.kind() != '"' {
		return "", v.wants("a string")
	}
	return v.literal().String(), nil
}

func (v value) boolean() (bool, error) {
	switch v.kind() {
	case 't':
		return true, nil
	case 'f':
		return false, nil
	}
	return false, v.wants("true or false")
}

func (v value) number(want string, fits func(float64) bool) (float64, error) {
	f, err := strconv.ParseFloat(string(v.literal()), 64)
	if v.kind() != '0' || err != nil || !fits(f) {
		return 0, v.wants(want)
	}
	return f, nil
}

// integer is the value between lo and hi; want describes that.
func (v value) integer(want string, lo, hi int) (int, error) {
	n, err := strconv.Atoi(string(v.literal()))
	if v.kind() != '0' || err != nil || n < lo || n > hi {
		return 0, v.wants(want)
	}
	return n, nil
}

// elements are the values of an array.
func (v value) elements(want string) ([]value, error) {
	array, ok := v.Value.Value.(*hujson.Array)
	if !ok {
		return nil, v.wants(want)
	}
	list := make([]value, len(array.Elements))
	for i, e := range array.Elements {
		list[i] = value{Value: e, path: fmt.Sprintf("%s[%d]", v.path, i), file: v.file}
		v.file.offsets[list[i].path] = e.StartOffset
	}
	return list, nil
}

// oneOrMore takes a single value for an array of one.
func (v value) oneOrMore() []value {
	if v.kind() != '[' {
		return []value{v}
	}
	list, _ := v.elements("")
	return list
}

// members hands each member of an object to its setter, and notes what is wrong
// with one. A key given twice counts as it was given last.
func (v value) members(fields map[string]setter) error {
	object, ok := v.Value.Value.(*hujson.Object)
	if !ok {
		return v.wants("an object {…}")
	}
	last := make(map[string]int, len(object.Members))
	for i, m := range object.Members {
		key := m.Name.Value.(hujson.Literal).String()
		if _, again := last[key]; again && fields[key] != nil {
			v.file.warnf(m.Name.StartOffset, "%q is given twice, this one counts", v.member(key))
		}
		last[key] = i
	}
	for i, m := range object.Members {
		key := m.Name.Value.(hujson.Literal).String()
		if last[key] != i {
			continue
		}
		set := fields[key]
		if set == nil {
			continue // below, when all the others are known
		}
		member := value{Value: m.Value, path: v.member(key), file: v.file}
		v.file.offsets[member.path] = m.Value.StartOffset
		v.file.note(set(member))
	}
	for i, m := range object.Members {
		if key := m.Name.Value.(hujson.Literal).String(); last[key] == i && fields[key] == nil {
			v.tellUnknown(key, m.Name.StartOffset, fields)
		}
	}
	return nil
}

func (v value) member(key string) string {
	if v.path == "" {
		return key
	}
	return v.path + "." + key
}

// has tells whether the object has a member.
func (v value) has(key string) bool {
	_, ok := v.file.offsets[v.member(key)]
	return ok
}

// require notes the members the object lacks.
func (v value) require(keys ...string) {
	for _, key := range keys {
		if !v.has(key) {
			v.file.note(v.file.at(v.StartOffset, &Error{Key: v.member(key), Want: "a value", Got: "none", missing: []string{v.member(key)}}))
		}
	}
}
