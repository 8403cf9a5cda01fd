package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/page"
)

// Levels of output lines, as in syslog.
const (
	levelError  = 3
	levelNotice = 5
	levelDebug  = 7
)

// session sends one message per line of input and prints what happens.
type session struct {
	client  *control.Client
	out     io.Writer
	level   int // lines above it are not printed
	counter bool
	replies int
	failed  bool // some message had no good reply
}

// lines returns a function that reads r line by line, io.EOF at the end.
func lines(r io.Reader) func() (string, error) {
	in := bufio.NewReader(r)
	return func() (string, error) {
		line, err := in.ReadString('\n')
		if err == io.EOF && line != "" {
			err = nil
		}
		return strings.TrimRight(line, "\r\n"), err
	}
}

// run returns at the end of input, or when the instance cannot be reached.
func (s *session) run(next func() (string, error)) error {
	for {
		line, err := next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read input: %w", err)
		}
		switch {
		case line == "":
			s.stamped(levelError, "No message")
		case line[0] == '#':
			s.stamped(levelDebug, "Got comment: "+line)
		default:
			s.stamped(levelDebug, "Got message: "+line)
			if !s.send(line) {
				return nil
			}
		}
	}
}

// send reports whether to go on.
func (s *session) send(message string) bool {
	ctx := context.Background()
	reply, err := "", error(nil)
	if message == statusCommand.Name { // of ckpmsg, not of the pool
		var b strings.Builder
		err = writeStatusJSON(ctx, &b, s.client)
		reply = b.String()
	} else {
		reply, err = s.client.Do(ctx, message)
	}
	switch {
	case errors.Is(err, control.ErrConnect):
		s.failed = true
		s.print(levelError, "Failed to open socket: "+s.client.Path)
		return false
	case errors.Is(err, control.ErrSend):
		s.failed = true
		s.print(levelError, "Failed to send unix msg: "+message)
		return false
	}
	s.print(levelDebug, "Opened client path "+s.client.Path+" successfully")
	if err != nil {
		s.failed = true
		s.print(levelError, "Received empty reply")
		return true
	}
	if control.Failed(reply) {
		s.failed = true
	}
	s.stamped(levelNotice, "Received response: "+page.OneLine(reply))
	s.replies++
	if s.counter && s.replies%100 == 0 {
		fmt.Fprintf(s.out, "%8d\r", s.replies)
	}
	return true
}

func (s *session) stamped(level int, text string) {
	s.print(level, "["+stamp(time.Now())+"] "+text)
}

// stamp prints the zone as hours, with minutes only where it has them.
func stamp(t time.Time) string {
	layout := "2006-01-02 15:04:05-07"
	if _, offset := t.Zone(); offset%3600 != 0 {
		layout += ":00"
	}
	return t.Format(layout)
}

func (s *session) print(level int, text string) {
	if level <= s.level {
		fmt.Fprintln(s.out, text)
	}
}
