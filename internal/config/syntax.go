package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// root reads the file as JSON.
func (f *file) root() (value, error) {
	byteOrderMark := []byte("\xef\xbb\xbf")
	f.data = bytes.TrimPrefix(f.data, byteOrderMark)
	if format := otherFormat(f.data); format != "" {
		return value{}, f.syntax(firstLine(f.data), `this is `+format+`, want JSON like {"btcaddress": "bc1q…", "mindiff": 1}`)
	}
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
		return value{}, f.parserError(text, err)
	}
	root := value{Value: v, file: f}
	if root.kind() != '{' {
		return value{}, f.syntax(v.StartOffset, "want an object {…}, got "+root.got())
	}
	return root, nil
}

func (f *file) syntax(offset int, text string) error {
	line, column := f.lineColumn(offset)
	return &Error{File: f.name, Line: line, Column: column, Text: text}
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

// firstLine is where the first line begins that says something.
func firstLine(data []byte) int {
	n := 0
	for line := range bytes.Lines(data) {
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] != '#' && text[0] != ';' {
			break
		}
		n += len(line)
	}
	return n
}

var (
	tomlLine = regexp.MustCompile(`^(\[\[?[A-Za-z][\w. -]*\]\]?|[A-Za-z][\w.-]*\s*=.*)$`)
	yamlLine = regexp.MustCompile(`^(---|[A-Za-z][\w.-]*:(\s.*)?|- .*)$`)
)

// otherFormat names the format of a configuration that is no JSON, "" if it may be
// JSON.
func otherFormat(data []byte) string {
	line, _, _ := bytes.Cut(data[firstLine(data):], []byte("\n"))
	line = bytes.TrimSpace(line)
	switch {
	case tomlLine.Match(line):
		return "TOML, INI or a node's bitcoin.conf"
	case yamlLine.Match(line):
		return "YAML"
	case bytes.HasPrefix(line, []byte("<")):
		return "XML or HTML"
	}
	return ""
}

// parserError says in the words of the file what hujson complains of. A string is
// not repeated: it may be a password, or many lines long.
func (f *file) parserError(data []byte, err error) error {
	var line, column int
	if _, scanErr := fmt.Sscanf(err.Error(), "hujson: line %d, column %d:", &line, &column); scanErr != nil {
		return &Error{File: f.name, Text: strconv.Quote(err.Error())}
	}
	at := column - 1
	for range line - 1 {
		at += bytes.IndexByte(data[at-column+1:], '\n') + 1
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	at, text := complaint(data, min(at, len(data)), err.Error())
	return f.syntax(at, text)
}

// complaint is what is wrong at a byte of data where hujson stopped, and where to
// look for it.
func complaint(data []byte, at int, text string) (int, string) {
	here := token(data[at:])
	literal, isLiteral := strings.CutPrefix(text, "invalid literal: ")
	switch {
	case strings.Contains(text, "unexpected EOF"):
		return unfinished(data, at, text)
	case isLiteral && bytes.HasPrefix(bytes.TrimLeft(data[min(at+len(literal), len(data)):], " \t"), []byte(":")):
		return at, "a key stands in double quotes, got " + printable(literal)
	case isLiteral:
		return at, wrongLiteral(literal)
	case strings.Contains(text, "after object value"), strings.Contains(text, "after array value"):
		if unclosed := missingQuote(data, at); unclosed >= 0 {
			return unclosed, "a string without its closing quote"
		}
		if missing := map[string]string{"}": "]", "]": "}"}[here]; missing != "" {
			return at, "a " + missing + " is missing before " + here
		}
		return at, "a comma is missing before " + here
	case strings.Contains(text, "after object name"):
		if here == "=" {
			return at, `a key is followed by a colon, as in "mindiff": 1, not by =`
		}
		return at, "a colon is missing before " + here
	case strings.HasPrefix(here, "'"):
		return at, `strings stand in double quotes ("), not in single ones (')`
	case strings.HasPrefix(here, "“"), strings.HasPrefix(here, "”"), strings.HasPrefix(here, "„"):
		return at, `strings stand in straight quotes ("), not in typographic ones`
	case here == "#":
		return at, "comments begin with //, not with #"
	case here == ",":
		return at, "a comma too many"
	case here == "}", here == "]":
		return at, "a value is missing before " + here
	case strings.Contains(text, "at start of object name"):
		return at, "a key stands in double quotes, got " + here
	}
	return at, "want a value, got " + here
}

// token shows what stands at the beginning of b: a key or string with its quotes,
// a word, or a character.
func token(b []byte) string {
	if len(b) > 0 && b[0] == '"' {
		if n := stringLength(b); n > 0 && n <= 60 && !bytes.ContainsAny(b[:n], "\r\n") {
			if after := bytes.TrimLeft(b[n:], " \t"); len(after) > 0 && after[0] == ':' {
				return string(b[:n]) // a key, which is no secret
			}
		}
		return "a string"
	}
	n := 0
	for n < len(b) && n < 30 && (b[n] >= 0x80 || strings.IndexByte(" \t\r\n,:{}[]\"", b[n]) < 0) {
		n++
	}
	if n > 0 {
		return printable(string(b[:n]))
	}
	if len(b) == 0 {
		return "the end"
	}
	return printable(string(b[:1]))
}

// printable keeps an error on one line.
func printable(s string) string {
	quoted := strconv.Quote(cut(s, 30))
	return quoted[1 : len(quoted)-1]
}

// missingQuote finds a string that ran into the next line and so turned strings and
// what is between them around: where it begins, -1 if there is none.
func missingQuote(data []byte, at int) int {
	for i := 0; i < at; i++ {
		switch data[i] {
		case '"':
			n := stringLength(data[i:])
			if n < 0 {
				return -1
			}
			if bytes.ContainsAny(data[i:i+n], "\r\n") {
				return i
			}
			i += n - 1
		case '/':
			if n := commentLength(data[i:]); n > 0 {
				i += n - 1
			}
		}
	}
	return -1
}

func wrongLiteral(literal string) string {
	if literal == "" || literal[0] == '"' {
		return "a string without its closing quote, or with a wrong escape"
	}
	if wants, ok := map[string]string{
		"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false", "none": "null", "nil": "null", "null": "null",
	}[strings.ToLower(literal)]; ok {
		return fmt.Sprintf("want %s, got %s", wants, literal)
	}
	return fmt.Sprintf("want a string in double quotes, a number, true or false, got %s", printable(literal))
}

// unfinished is a file that ends too early.
func unfinished(data []byte, at int, text string) (int, string) {
	if strings.Contains(text, "string") {
		if first := missingQuote(data, len(data)); first >= 0 {
			at = first
		}
		return lastString(data, at), "a string without its closing quote"
	}
	if strings.Contains(text, "comment") {
		return at, "a comment without its end */"
	}
	open := unclosed(data)
	if open < 0 {
		return 0, "the file is empty, want an object {…}"
	}
	return open, fmt.Sprintf("the %c of this line is never closed", data[open])
}

// lastString is where the string begins that has no end, at if all have one.
func lastString(data []byte, at int) int {
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			n := stringLength(data[i:])
			if n < 0 {
				return min(i, max(at, 0))
			}
			i += n - 1
		case '/':
			if n := commentLength(data[i:]); n > 0 {
				i += n - 1
			}
		}
	}
	return at
}

// unclosed is where the innermost open object or array begins, -1 without one.
func unclosed(data []byte) int {
	var open []int
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			n := stringLength(data[i:])
			if n < 0 {
				return -1
			}
			i += n - 1
		case '/':
			if n := commentLength(data[i:]); n > 0 {
				i += n - 1
			}
		case '{', '[':
			open = append(open, i)
		case '}', ']':
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
		}
	}
	if len(open) == 0 {
		return -1
	}
	return open[len(open)-1]
}
