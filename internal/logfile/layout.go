package logfile

import (
	"log/slog"
	"time"
)

// layout makes a line of a text that is escaped already.
type layout func(level slog.Level, when time.Time, text []byte) []byte

// plain is the layout of files, pipes and journals.
func plain(_ slog.Level, when time.Time, text []byte) []byte {
	b := make([]byte, 0, len(text)+32)
	b = when.Local().AppendFormat(b, "[2006-01-02 15:04:05.000] ")
	return append(append(b, text...), '\n')
}

const (
	wipeLine  = "\x1b[2K\r" // the status line
	red       = "\x1b[31m"
	boldGreen = "\x1b[1;32m"
	noColour  = "\x1b[0m"
)

// terminal is the layout for people, who have little room and know the year.
func terminal(colours bool) layout {
	return func(level slog.Level, when time.Time, text []byte) []byte {
		b := append(make([]byte, 0, len(text)+48), wipeLine...)
		b = when.Local().AppendFormat(b, time.Stamp+" ")
		colour := ""
		switch {
		case !colours:
		case level == LevelHeadline:
			colour = boldGreen
		case level >= LevelError:
			colour = red
		}
		b = append(append(b, colour...), text...)
		if colour != "" {
			b = append(b, noColour...)
		}
		return append(b, '\n')
	}
}
