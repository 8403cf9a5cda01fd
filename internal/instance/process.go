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

	"github.com/ckpool/ckpool/control"
)

// answerTime is for an instance to answer a command.
const answerTime = 500 * time.Millisecond

// Alive tells whether a process runs; false also for one that has ended and whose
// parent has not asked, or just asks, how.
func Alive(pid int) bool {
	signal := syscall.Kill(pid, 0)
	if signal != nil && !errors.Is(signal, syscall.EPERM) {
		return false
	}
	fields, err := stat(pid)
	if err != nil { // it has ended since, or /proc hides what is another user's
		return signal != nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH)
	}
	return fields[0] != "Z" && fields[0] != "X"
}

// stat are the fields of /proc/PID/stat from the state on (proc(5)).
func stat(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, fields, _ := strings.Cut(string(b), ") ")
	if list := strings.Fields(fields); err != nil || len(list) > 6 {
		return list, err
	}
	return nil, fmt.Errorf("/proc/%d/stat: %q", pid, b)
}

// kernelThread is for pids of no program: their flags have PF_KTHREAD.
func kernelThread(pid int) bool {
	fields, err := stat(pid)
	if err != nil {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&0x00200000 != 0
}

// isPool is false for a program that got the pid of an instance that died: pids
// are used again.
func isPool(pid int) bool {
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return true
	}
	if len(command) == 0 { // of a program that is just ending it is gone first
		return !kernelThread(pid)
	}
	called, _, _ := strings.Cut(string(command), "\x00")
	return poolName(called) || isThisProgram(pid)
}

// isThisProgram tells whether a process runs the file that this one does.
func isThisProgram(pid int) bool {
	file := program(pid)
	return file != "" && file == program(os.Getpid())
}

// poolName tells whether a program that is called so may be an instance, such as ckproxy or
// solo-ckpool. Others have ck in their names too, such as dockerd.
func poolName(called string) bool {
	name := filepath.Base(called)
	return strings.HasPrefix(name, "ck") || strings.Contains(name, "ckpool")
}

// program is the file a process runs; another one after an upgrade of that file.
func program(pid int) string {
	file, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return strings.TrimSuffix(file, " (deleted)")
}

// AwaitEnd waits for the process of an instance to end, for limit at most. It has
// also ended where its pid is another program's by now.
func AwaitEnd(ctx context.Context, pid int, limit time.Duration) (ended bool) {
	return poll(ctx, limit, func() bool { return !Alive(pid) || !isPool(pid) })
}

func listener(dir string) *control.Client {
	parent, name := filepath.Split(filepath.Clean(dir))
	return control.Dial(parent, name, "listener")
}

// answers is false for an instance that is about to end: it closes its sockets
// first.
func answers(ctx context.Context, dir string) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	reply, err := listener(dir).Do(ctx, "ping")
	return err == nil && reply == "pong"
}

// end stops a running instance: by the shutdown command, SIGTERM, SIGKILL.
func (i *Instance) end(ctx context.Context, pid int) error {
	asked, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if _, err := listener(i.Dir).Do(asked, "shutdown"); err == nil && AwaitEnd(ctx, pid, i.endTime) {
		return nil
	}
	return Kill(ctx, pid, i.endTime)
}

// Kill ends a process by SIGTERM, or by SIGKILL where it is not gone within limit.
func Kill(ctx context.Context, pid int, limit time.Duration) error {
	for _, s := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, limit}, {syscall.SIGKILL, endTime}} {
		_ = syscall.Kill(pid, s.signal) // it may be gone by now
		if AwaitEnd(ctx, pid, s.wait) {
			return nil
		}
	}
	return fmt.Errorf("Unable to kill old process main pid %d", pid)
}

// maxComm is how much of a name other tools show: one byte less than the
// kernel takes.
const maxComm = 14

// SetProcessName makes ps and top show name, cut to 14 bytes.
func SetProcessName(name string) error {
	return os.WriteFile("/proc/self/comm", []byte(name[:min(len(name), maxComm)]), 0)
}
