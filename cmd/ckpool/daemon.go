package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// detachedKey tells a program started by detach which descriptor wants to hear
// that it is up.
const detachedKey = "CKPOOL_DETACHED"

// detach runs the program again in a session of its own and waits until that
// one is up, or has said on stderr why not.
func detach(ctx context.Context, argv []string) error {
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	up, child, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	defer up.Close()
	const firstExtra = 3
	c := exec.Command(path)
	c.Args = argv
	c.Env = append(os.Environ(), detachedKey+"="+strconv.Itoa(firstExtra))
	c.ExtraFiles = []*os.File{child}
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = c.Start()
	child.Close()
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = c.Process.Signal(syscall.SIGTERM) })()
	if n, _ := up.Read(make([]byte, 1)); n == 1 {
		return nil
	}
	err = c.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return errLogged
	}
	return fmt.Errorf("the detached process ended: %w", errors.Join(err, ctx.Err()))
}

// takeDetached returns nil in a program that detach did not start, else the
// pipe to it.
func takeDetached() *os.File {
	fd, err := strconv.Atoi(os.Getenv(detachedKey))
	os.Unsetenv(detachedKey)
	if err != nil {
		return nil
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "detach")
}

// tellUp ends what the detached program shares with the terminal and lets the
// first one exit. What the runtime says of a crash goes to the log.
func tellUp(pipe *os.File, logFile string) error {
	if f, err := os.OpenFile(logFile, os.O_WRONLY|os.O_APPEND, 0); err == nil {
		_ = debug.SetCrashOutput(f, debug.CrashOptions{}) // without it only the reason of a crash is lost
		f.Close()
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for fd := range 3 {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return fmt.Errorf("detach: %w", err)
		}
	}
	_, err = pipe.Write([]byte{1})
	return errors.Join(err, pipe.Close())
}
