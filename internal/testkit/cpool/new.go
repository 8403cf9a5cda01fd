package cpool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Took is what an instance got that was started with -H.
type Took struct {
	PID     int               // of the old process
	Sockets []*os.File        // listening ones, which the caller closes
	Replies map[string]string // as they came, with their lengths
	Ended   time.Duration     // from the reply to shutdown to the end of the process, at most EndTime in good health
}

// EndTime is what the old process has to be gone after shutdown.
const EndTime = 500 * time.Millisecond

// TakeOver does what ckpool -H does with the instance in dir, up to the end of
// the old process, for which it waits longer: asks for count listening sockets until one is not given,
// and sends it away. before is called with each request.
func TakeOver(dir string, count int, before func(request string)) (t Took, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "main.pid"))
	if err != nil {
		return t, err
	}
	if t.PID, err = strconv.Atoi(string(text)); err != nil { // no newline either
		return t, fmt.Errorf("main.pid: %w", err)
	}
	listener := filepath.Join(dir, "listener")
	t.Replies = map[string]string{}
	ask := func(request string) error {
		before(request)
		reply, err := Ask(listener, request)
		t.Replies[request] = string(reply)
		return err
	}
	if err := ask("ping"); err != nil {
		return t, err
	}
	for i := range count {
		request := "getxfd" + strconv.Itoa(i)
		before(request)
		fd, err := AskFD(listener, request)
		if err != nil {
			break
		}
		t.Sockets = append(t.Sockets, os.NewFile(uintptr(fd), request))
	}
	for _, request := range []string{"reject", "reconnect", "shutdown"} {
		if err := ask(request); err != nil {
			return t, fmt.Errorf("%s: %w", request, err)
		}
	}
	began := time.Now()
	for {
		t.Ended = time.Since(began)
		if errors.Is(syscall.Kill(t.PID, 0), syscall.ESRCH) {
			return t, nil
		}
		if t.Ended > patience {
			_ = syscall.Kill(t.PID, syscall.SIGTERM)
			return t, fmt.Errorf("old process pid %d failed to shutdown cleanly, terminating", t.PID)
		}
		time.Sleep(time.Millisecond) // as it does
	}
}
