// Package instance is what makes one running program out of a name: its socket
// directory, its pid file, and what to do when it is already running. It knows
// processes and files, nothing of pools.
package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ckpool/control"
)

const (
	politeTime = 500 * time.Millisecond // for each of shutdown and SIGTERM
	killTime   = 3 * time.Second
	pollEvery  = 5 * time.Millisecond
)

// Instance is a claimed socket directory.
type Instance struct {
	Dir string
}

// Claim makes dir and sees to it that no other instance uses it: one that runs
// is ended when killOld is set and refused otherwise.
func Claim(ctx context.Context, dir string, killOld bool) (*Instance, error) {
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("Failed to make directory %s: %w", dir, errors.Unwrap(err))
	}
	i := &Instance{Dir: dir}
	pid, err := i.running()
	if err != nil {
		return nil, err
	}
	if pid == 0 {
		return i, nil
	}
	if !killOld {
		return nil, fmt.Errorf("Process main pid %d still exists, start ckpool with -H to get a handover or -k if you wish to kill it", pid)
	}
	return i, i.end(ctx, pid)
}

func (i *Instance) pidFile() string { return filepath.Join(i.Dir, "main.pid") }

// running is the pid of the instance that uses the directory, 0 for none.
func (i *Instance) running() (int, error) {
	b, err := os.ReadFile(i.pidFile())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("Failed to open file %s: %w", i.pidFile(), errors.Unwrap(err))
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 || pid == os.Getpid() || !alive(pid) || !samePurpose(pid) {
		return 0, nil // left behind by an instance that died
	}
	return pid, nil
}

// alive is false for zombies too.
func alive(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

// samePurpose is false for a program that got the pid of an instance that
// died: pids are used again.
func samePurpose(pid int) bool {
	exe, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err != nil || strings.Contains(filepath.Base(strings.Split(string(exe), "\x00")[0]), "ck")
}

// end stops a running instance: by the shutdown command, SIGTERM, SIGKILL.
func (i *Instance) end(ctx context.Context, pid int) error {
	gone := func(limit time.Duration) bool {
		for end := time.Now().Add(limit); ; time.Sleep(pollEvery) {
			if !alive(pid) {
				return true
			}
			if time.Now().After(end) || ctx.Err() != nil {
				return false
			}
		}
	}
	asked, cancel := context.WithTimeout(ctx, politeTime)
	defer cancel()
	dir, name := filepath.Split(strings.TrimSuffix(i.Dir, "/"))
	if _, err := control.Dial(dir, name, "listener").Do(asked, "shutdown"); err == nil && gone(politeTime) {
		return nil
	}
	for _, s := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, politeTime}, {syscall.SIGKILL, killTime}} {
		syscall.Kill(pid, s.signal) // it may be gone by now
		if gone(s.wait) {
			return nil
		}
	}
	return fmt.Errorf("Unable to kill old process main pid %d", pid)
}

// WritePID makes the directory this process's.
func (i *Instance) WritePID() error {
	tmp := i.pidFile() + ".tmp"
	if err := os.WriteFile(tmp, []byte(strconv.Itoa(os.Getpid())), 0o640); err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	return os.Rename(tmp, i.pidFile())
}

// RemovePID gives the directory up, unless another process has taken it.
func (i *Instance) RemovePID() {
	if b, err := os.ReadFile(i.pidFile()); err == nil && string(b) == strconv.Itoa(os.Getpid()) {
		os.Remove(i.pidFile())
	}
}
