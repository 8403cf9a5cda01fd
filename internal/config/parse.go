package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// file is one configuration being read.
type file struct {
	name     string
	mode     Mode
	data     []byte
	errors   Errors
	warnings []Warning
	offsets  map[string]int // of the values, by path
}

// lineColumn is where byte n stands, counted from 1.
func (f *file) lineColumn(n int) (line, column int) {
	n = min(n, len(f.data))
	return 1 + bytes.Count(f.data[:n], []byte("\n")), n - bytes.LastIndexByte(f.data[:n], '\n')
}

// note keeps an error, so that reading goes on and tells of the others too.
func (f *file) note(err error) {
	if e := (*Error)(nil); errors.As(err, &e) && len(f.errors) < maxFindings {
		f.errors = append(f.errors, e)
	}
}

// maxFindings is how many errors, and how many warnings, are told of a file. One
// with more is no configuration of ckpool.
const maxFindings = 100

// faulty tells that something is wrong already with a key or a part of it, so
// that what follows from that is not worth telling.
func (f *file) faulty(key string) bool {
	return slices.ContainsFunc(f.errors, func(e *Error) bool {
		rest, ok := strings.CutPrefix(e.Key, key)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

func (f *file) at(offset int, e *Error) error {
	e.File = f.name
	if len(f.errors) < maxFindings { // else note drops it, and lines take time to count
		e.Line, e.Column = f.lineColumn(offset)
	}
	return e
}

func (f *file) warnf(offset int, format string, args ...any) {
	if len(f.warnings) == maxFindings {
		return
	}
	line, _ := f.lineColumn(offset)
	f.warnings = append(f.warnings, Warning{f.name, line, fmt.Sprintf(format, args...)})
}

// located gives a verdict of Validate the place of the value it names, or of
// what contains that value.
func (f *file) located(e *Error) *Error {
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
// Whatever follows the object is free text. name is for messages. The error is of
// type Errors, each a line that names its place; in the Config what is wrong has its
// default then, and File is empty if nothing could be read.
func Parse(name string, data []byte, m Mode) (Config, []Warning, error) {
	f := &file{name: name, data: data, offsets: make(map[string]int)}
	c := f.parse(m)
	slices.SortStableFunc(f.errors, func(a, b *Error) int { return ByLine(a.Line, b.Line) })
	slices.SortStableFunc(f.warnings, func(a, b Warning) int { return ByLine(a.Line, b.Line) })
	if len(f.errors) > 0 {
		return c, f.warnings, f.errors
	}
	return c, f.warnings, nil
}

// ByLine compares lines of a file; what is said of the file as a whole, line 0, is
// behind all else.
func ByLine(a, b int) int {
	const whole = math.MaxInt
	return cmp.Compare(cmp.Or(a, whole), cmp.Or(b, whole))
}

func (f *file) parse(m Mode) Config {
	c := Default(m)
	f.mode = m
	root, err := f.root()
	if err != nil {
		f.note(err)
		return c
	}
	c.File = f.name
	c.Nodes[0].ZMQ = nil // given below, like the nodes of the file
	r := reader{Config: &c}
	f.note(root.members(r.fields()))
	r.finish()
	if m == Pool && c.Solo {
		m = Solo
	}
	for _, e := range c.Validate(m) {
		if e.Key == "" || !f.faulty(e.Key) {
			f.note(f.located(e))
		}
	}
	return c
}
