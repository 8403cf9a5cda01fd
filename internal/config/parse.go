package config

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// file is one configuration being read.
type file struct {
	name     string
	data     []byte
	warnings []Warning
	offsets  map[string]int // of the values, by path
}

// lineColumn is where byte n stands, counted from 1.
func (f *file) lineColumn(n int) (line, column int) {
	n = min(n, len(f.data))
	return 1 + bytes.Count(f.data[:n], []byte("\n")), n - bytes.LastIndexByte(f.data[:n], '\n')
}

func (f *file) at(offset int, e *Error) error {
	e.File = f.name
	e.Line, e.Column = f.lineColumn(offset)
	return e
}

func (f *file) warnf(offset int, format string, args ...any) {
	line, _ := f.lineColumn(offset)
	f.warnings = append(f.warnings, Warning{f.name, line, fmt.Sprintf(format, args...)})
}

// located gives a verdict of Validate the place of the value it names, or of
// what contains that value.
func (f *file) located(err error) error {
	e := (*Error)(nil)
	if !errors.As(err, &e) {
		return err
	}
	e.File = f.name
	for path := e.Key; path != ""; path = path[:max(0, strings.LastIndexAny(path, ".["))] {
		if offset, ok := f.offsets[path]; ok {
			e.Line, e.Column = f.lineColumn(offset)
			break
		}
	}
	return e
}

// Parse reads data, one JSON object with comments and trailing commas allowed.
// Whatever follows the object is free text. name is for messages.
func Parse(name string, data []byte, m Mode) (Config, []Warning, error) {
	f := &file{name: name, data: data, offsets: make(map[string]int)}
	c, err := f.parse(m)
	if err != nil {
		return Config{}, f.warnings, err
	}
	return c, f.warnings, nil
}

func (f *file) parse(m Mode) (Config, error) {
	root, err := f.root()
	if err != nil {
		return Config{}, err
	}
	c := Default(m)
	c.File = f.name
	c.Nodes[0].ZMQ = nil // given below, like the nodes of the file
	r := reader{Config: &c}
	if err := root.members(r.fields()); err != nil {
		return Config{}, err
	}
	if err := r.finish(); err != nil {
		return Config{}, err
	}
	if err := c.Validate(m); err != nil {
		return Config{}, f.located(err)
	}
	return c, nil
}

func (f *file) root() (value, error) {
	byteOrderMark := []byte("\xef\xbb\xbf")
	f.data = bytes.TrimPrefix(f.data, byteOrderMark)
	end, err := firstValue(f.data)
	if err != nil {
		return value{}, f.syntax(end, err.Error())
	}
	text := f.data[:end]
	if n := validUTF8(text); n < len(text) {
		return value{}, f.syntax(n, "not UTF-8")
	}
	v, err := hujson.Parse(text)
	if err != nil {
		return value{}, f.parserError(err)
	}
	root := value{Value: v, file: f}
	if root.kind() != '{' {
		return value{}, f.syntax(v.StartOffset, "want an object {…}, got "+root.got())
	}
	return root, nil
}

// validUTF8 is the length of b's valid beginning.
func validUTF8(b []byte) int {
	n := 0
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

// parserError takes the position out of hujson's text, and a literal, which may
// be a password or many lines long.
func (f *file) parserError(err error) error {
	e := &Error{File: f.name}
	if _, scanErr := fmt.Sscanf(err.Error(), "hujson: line %d, column %d:", &e.Line, &e.Column); scanErr != nil {
		e.Text = strconv.Quote(err.Error())
		return e
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	text := err.Error()
	if literal, ok := strings.CutPrefix(text, "invalid literal: "); ok {
		text = "want a string, number, true, false or null, got " + strconv.Quote(cut(literal, 20))
		if literal[0] == '"' {
			text = "string without a closing quote, or with a wrong escape"
		}
	}
	e.Text = fmt.Sprintf("column %d: not JSON: %s", e.Column, text)
	return e
}

func (f *file) syntax(offset int, text string) error {
	line, column := f.lineColumn(offset)
	return &Error{File: f.name, Line: line, Column: column, Text: fmt.Sprintf("column %d: %s", column, text)}
}
