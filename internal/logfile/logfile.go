// Package logfile writes the log file and the console in ckpool's line format,
// as a slog handler. It knows levels, lines and files, not what is logged. The
// caller of a log function never waits for a disk or a terminal.
package logfile

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

// The syslog levels as slog levels. Debug, Info, Warn and Error of slog are 7,
// 6, 4 and 3. A headline is 4 as well, and stands out on a terminal.
const (
	LevelEmergency slog.Level = 20
	LevelAlert     slog.Level = 16
	LevelCritical  slog.Level = 12
	LevelError                = slog.LevelError
	LevelHeadline  slog.Level = 5
	LevelWarning              = slog.LevelWarn
	LevelNotice    slog.Level = 2
	LevelInfo                 = slog.LevelInfo
	LevelDebug                = slog.LevelDebug
)

// levels by syslog number.
var levels = [8]slog.Level{
	LevelEmergency, LevelAlert, LevelCritical, LevelError,
	LevelWarning, LevelNotice, LevelInfo, LevelDebug,
}

// Level is the slog level of syslog number n, 0 (emergency) to 7 (debug).
func Level(n int) slog.Level { return levels[min(max(n, 0), len(levels)-1)] }

// Number is the syslog number of a slog level. A level between two counts as
// the less severe.
func Number(l slog.Level) int {
	for n, level := range levels {
		if l >= level {
			return n
		}
	}
	return len(levels) - 1
}

// consoleLevel is the least severe level the console shows.
const consoleLevel = 4

// Config says where lines go.
type Config struct {
	Path     string    // log file, appended to; empty: none
	Console  io.Writer // nil: none
	Terminal bool      // the console is one, and may have a status line, which is wiped
	Colours  bool      // on a terminal
	Level    int       // syslog number; less severe lines are left out
}

// Log is an open log. Its methods may be called from any goroutine.
type Log struct {
	file, console *sink // immutable, nil: none
	level         atomic.Int32
}

// Open opens the log file and starts the writers.
func Open(c Config) (*Log, error) {
	l := &Log{}
	l.SetLevel(c.Level)
	if c.Path != "" {
		f, err := openFile(c.Path)
		if err != nil {
			return nil, err
		}
		l.file = newSink(f, plain, l.tellConsole)
	}
	if c.Console != nil {
		lines := plain
		if c.Terminal {
			lines = terminal(c.Colours)
		}
		l.console = newSink(console{c.Console}, lines, func(string) {})
		go l.console.run()
	}
	if l.file != nil {
		go l.file.run()
	}
	return l, nil
}

// tellConsole is how trouble with the log file is told.
func (l *Log) tellConsole(text string) {
	l.console.add(LevelError, time.Now(), appendEscaped(nil, text))
}

// FlushConsole waits until the console has what was said until now, or ctx has
// ended.
func (l *Log) FlushConsole(ctx context.Context) { l.console.flush(ctx) }

// SetLevel changes the level for file and console.
func (l *Log) SetLevel(n int) { l.level.Store(int32(n)) }

// Level is the syslog number of the least severe lines that are written.
func (l *Log) Level() int { return int(l.level.Load()) }

// Reopen opens the log file anew after it was renamed. Lines logged after the
// call go to the new file.
func (l *Log) Reopen() { l.file.reopenNow() }

// Dropped counts the lines that file and console lost because they could not be
// written fast enough.
func (l *Log) Dropped() (file, console uint64) {
	return l.file.droppedLines(), l.console.droppedLines()
}

// Close writes what is pending, until ctx ends at most. Later lines are
// discarded.
func (l *Log) Close(ctx context.Context) error {
	err := l.file.close(ctx)
	return errors.Join(err, l.console.close(ctx))
}

// Logger is a logger that writes to l.
func (l *Log) Logger() *slog.Logger { return slog.New(&handler{log: l}) }

func (l *Log) write(level slog.Level, when time.Time, text []byte) {
	l.file.add(level, when, text)
	if Number(level) <= consoleLevel {
		l.console.add(level, when, text)
	}
}
