package logfile

import (
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ckpool/ckpool/event"
)

// layout makes a line of an event.
type layout func(e event.Event, when time.Time) []byte

// plain is the layout of files, pipes and journals.
func plain(e event.Event, when time.Time) []byte {
	b := make([]byte, 0, len(e.Text)+32)
	b = when.Local().AppendFormat(b, "[2006-01-02 15:04:05.000] ")
	return append(appendEscaped(b, e.Text), '\n')
}

const (
	wipeLine  = "\x1b[2K\r" // the status line
	red       = "\x1b[31m"
	boldGreen = "\x1b[1;32m"
	noColour  = "\x1b[0m"
)

// terminal is the layout for people, who have little room and know the year.
func terminal(colours bool) layout {
	return func(e event.Event, when time.Time) []byte {
		b := append(make([]byte, 0, len(e.Text)+48), wipeLine...)
		b = when.Local().AppendFormat(b, time.Stamp+" ")
		colour := ""
		switch {
		case !colours:
		case e.Headline:
			colour = boldGreen
		case e.Level <= event.Error:
			colour = red
		}
		b = appendEscaped(append(b, colour...), e.Text)
		if colour != "" {
			b = append(b, noColour...)
		}
		return append(b, '\n')
	}
}

// appendEscaped keeps text on its line and keeps what miners send from steering
// the terminal: control characters and broken UTF-8 are written as in Go.
func appendEscaped(b []byte, s string) []byte {
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if unicode.IsControl(r) || r == utf8.RuneError && n == 1 || r == '\u2028' || r == '\u2029' {
			quoted := strconv.Quote(s[:n])
			b = append(b, quoted[1:len(quoted)-1]...)
		} else {
			b = append(b, s[:n]...)
		}
		s = s[n:]
	}
	return b
}
