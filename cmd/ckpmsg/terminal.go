package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// interact reads lines from a terminal, with editing and history, and runs them
// until one is the last, control-D or control-C. The terminal's settings are
// restored at the end and on signals.
func interact(in *os.File, out io.Writer, prompt string, run func(out io.Writer, line string) (done bool)) error {
	fd := int(in.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return err
	}
	defer func() { _ = term.Restore(fd, old) }()

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	ended := make(chan struct{})
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case sig := <-signals:
			_ = term.Restore(fd, old)
			signal.Reset(sig)
			_ = syscall.Kill(os.Getpid(), sig.(syscall.Signal))
		case <-ended:
		}
	}()
	defer func() {
		signal.Stop(signals)
		close(ended)
		<-watching
	}()

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
