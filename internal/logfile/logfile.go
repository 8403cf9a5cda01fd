// Package logfile writes the log file and the console in ckpool's line format.
// It knows levels, lines and files, not what is logged. Who tells an event never
// waits for a disk or a terminal.
package logfile

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/event"
)

// consoleLevel is the least severe level the console shows.
const consoleLevel = event.Warning

// Config says where lines go.
type Config struct {
	Path     string      // log file, appended to; empty: none
	Console  io.Writer   // nil: none
	Terminal bool        // the console is one, and may have a status line, which is wiped
	Colours  bool        // on a terminal
	Level    event.Level // less severe lines are left out
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
	l.console.add(event.Event{Level: event.Error, Text: text}, time.Now())
}

// FlushConsole waits until the console has what was said until now, or ctx has
// ended.
func (l *Log) FlushConsole(ctx context.Context) { l.console.flush(ctx) }

// SetLevel changes the level for file and console.
func (l *Log) SetLevel(n event.Level) { l.level.Store(int32(n)) }

// Level is that of the least severe lines that are written.
func (l *Log) Level() event.Level { return event.Level(l.level.Load()) }

// Wants tells whether lines of a level are written at present.
func (l *Log) Wants(level event.Level) bool { return level <= l.Level() }

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

// Tell writes an event's text as a line, if its level is wanted; it is an
// [event.Func].
func (l *Log) Tell(e event.Event) { l.tell(e, time.Now()) }

func (l *Log) tell(e event.Event, when time.Time) {
	if !l.Wants(e.Level) {
		return
	}
	l.file.add(e, when)
	if e.Level <= consoleLevel {
		l.console.add(e, when)
	}
}
