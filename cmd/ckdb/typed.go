package main

import (
	"context"
	"errors"
	"os"

	"golang.org/x/term"
)

// errInterrupted tells that a question was ended by Ctrl-C.
var errInterrupted = errors.New("interrupted: nothing was done")

// typed is what a person types at a question. Ctrl-C ends it, with errInterrupted, and leaves
// the terminal as it was. What reads goes on until the process ends, which is next: nothing
// else ends a read from a terminal.
func typed(ctx context.Context, read func() (string, error)) (string, error) {
	in := int(os.Stdin.Fd())
	before, noTerminal := term.GetState(in)
	type line struct {
		text string
		err  error
	}
	done := make(chan line, 1)
	go func() {
		text, err := read()
		done <- line{text, err}
	}()
	select {
	case l := <-done:
		return l.text, l.err
	case <-ctx.Done():
		if noTerminal == nil {
			_ = term.Restore(in, before) // a password is typed without echo
		}
		return "", errInterrupted
	}
}
