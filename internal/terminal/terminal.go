// Package terminal gives a terminal back as it was, however the program that changes it
// ends. It knows neither keys nor screens.
package terminal

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// Keep remembers the settings of a terminal, which the caller then changes. They are
// restored, behind a call of leave, by the returned function, which may be called more
// than once, and by signals that end the process, which they then do. leave may be nil.
func Keep(tty *os.File, leave func()) (restore func(), err error) {
	fd := int(tty.Fd())
	old, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	once := sync.OnceFunc(func() {
		if leave != nil {
			leave()
		}
		_ = term.Restore(fd, old)
	})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	ended, watching := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case sig := <-signals:
			once()
			signal.Reset(sig)
			_ = syscall.Kill(os.Getpid(), sig.(syscall.Signal))
		case <-ended:
		}
	}()
	return sync.OnceFunc(func() {
		signal.Stop(signals)
		close(ended)
		<-watching
		once()
	}), nil
}
