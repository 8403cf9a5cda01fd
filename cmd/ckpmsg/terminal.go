package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/ckpool/ckpool/internal/terminal"
)

// interact reads lines from a terminal, with editing and history, and runs them
// until one is the last, control-D or control-C. The terminal's settings are
// restored at the end and on signals.
func interact(in *os.File, out io.Writer, prompt string, run func(out io.Writer, line string) (done bool)) error {
	fd := int(in.Fd())
	restore, err := terminal.Keep(in, nil)
	if err != nil {
		return err
	}
	defer restore()
	if _, err := term.MakeRaw(fd); err != nil {
		return err
	}
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, prompt)
	if width, height, err := term.GetSize(fd); err == nil && width > 0 {
		_ = t.SetSize(width, height)
	}
	for {
		line, err := t.ReadLine()
		switch {
		case err == io.EOF:
			fmt.Fprintln(t)
			return nil
		case err != nil:
			return fmt.Errorf("read from the terminal: %w", err)
		case run(t, line):
			return nil
		}
	}
}
