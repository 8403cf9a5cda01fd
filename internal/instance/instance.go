// Package instance is what makes one running program out of a name: its socket
// directory, its pid file, and what to do when it is already running; and whose a
// listening socket is. It knows processes and files, nothing of pools.
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

	"golang.org/x/sys/unix"
)

const (
	startTime = time.Second // for another instance to write its pid, or to let go of the directory
	// endTime is for one that was told to end, by each way of telling it. It has
	// miners to tell and files to write, on a machine that may be busy; once it is
	// gone nobody waits any longer.
	endTime   = 10 * time.Second
	pollEvery = 5 * time.Millisecond
)

// Instance is a claimed socket directory. The claim ends with the process,
// however it ends: nothing left behind stops the next start.
type Instance struct {
	Dir string

	lock    *os.File      // the directory, locked
	endTime time.Duration // for an instance that runs there
}

// Claim makes dir and the process its user: main.pid holds the process's id.
// An instance that runs there is ended when killOld is set and refused
// otherwise. gid owns the directory, unless it is negative.
func Claim(ctx context.Context, dir string, gid int, killOld bool) (*Instance, error) {
	return claimWithin(ctx, endTime, dir, gid, killOld)
}

// claimWithin is Claim with another time for the instance that runs there.
func claimWithin(ctx context.Context, limit time.Duration, dir string, gid int, killOld bool) (*Instance, error) {
	if err := makeDir(dir, gid); err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("Failed to open directory %s: %w", dir, errors.Unwrap(err))
	}
	i := &Instance{Dir: dir, lock: d, endTime: limit}
	if err := i.claim(ctx, killOld); err != nil {
		d.Close()
		return nil, err
	}
	return i, nil
}

// Prepare makes what Claim needs while another instance still runs in dir, and
// tells why it would fail.
func Prepare(dir string, gid int) error {
	if err := makeDir(dir, gid); err != nil {
		return err
	}
	return Usable(dir)
}

// Usable tells why this process cannot read and write files in dir.
func Usable(dir string) error {
	if err := unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("directory %s is not to be written and read: %w; give it to the user of ckpool", dir, err)
	}
	return nil
}

// Running is the process that uses dir, 0 for none.
func Running(dir string) (pid int, err error) {
	i := &Instance{Dir: dir}
	pid, err = i.readPID()
	switch {
	case pid == 0:
	case !Alive(pid) || !isPool(pid), isThisProgram(pid) && unlocked(dir):
		pid = 0 // left behind by an instance that died
	}
	return pid, err
}

// unlocked tells that no instance of this program uses dir: it would have it locked.
func unlocked(dir string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	return syscall.Flock(int(d.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil
}

// Inherit is the claim of another process, which has passed on the locked
// directory. SetPID makes this process its user.
func Inherit(dir string, lock *os.File) *Instance { return &Instance{Dir: dir, lock: lock} }

// Lock is the locked directory, to pass to another process: the claim lasts as
// long as one of them has it open.
func (i *Instance) Lock() *os.File { return i.lock }

// SetPID makes pid the process whose id is in the directory.
func (i *Instance) SetPID(pid int) error {
	if b, err := os.ReadFile(i.pidFile()); err == nil && string(b) == strconv.Itoa(pid) {
		return nil
	}
	return i.writePID(pid)
}

// makeDir makes dir so that members of the group can reach the sockets in it.
func makeDir(dir string, gid int) error {
	err := os.Mkdir(dir, 0o750)
	if errors.Is(err, fs.ErrExist) {
		info, statErr := os.Stat(dir)
		if statErr == nil && !info.IsDir() {
			statErr = &fs.PathError{Err: syscall.ENOTDIR}
		}
		err = statErr
	}
	if err != nil {
		return fmt.Errorf("Failed to make directory %s: %w", dir, errors.Unwrap(err))
	}
	if gid < 0 {
		return nil
	}
	if err := os.Chown(dir, -1, gid); err != nil {
		return fmt.Errorf("Failed to set %s to group id %d: %w", dir, gid, errors.Unwrap(err))
	}
	return nil
}

// RunningError tells that the directory is that of another process, which does not end.
type RunningError struct{ PID int }

// Error says what to do, in the words of ckpool.
func (e *RunningError) Error() string {
	return fmt.Sprintf("Process main pid %d still exists, start ckpool with -H to get a handover or -k if you wish to kill it", e.PID)
}

func (i *Instance) claim(ctx context.Context, killOld bool) error {
	locked := i.tryLock()
	pid, err := i.running(ctx, !locked)
	switch {
	case err != nil:
		return err
	case pid != 0 && !killOld && i.awaitEnding(ctx, !locked):
		locked = true
	case pid != 0 && !killOld:
		return &RunningError{pid}
	case pid != 0:
		if err := i.end(ctx, pid); err != nil {
			return err
		}
	}
	if !locked && !poll(ctx, startTime, i.tryLock) {
		if answers(ctx, i.Dir) {
			return fmt.Errorf("another instance runs in %s, in a process that is not to be seen from here, as that of another container: end it there, or start ckpool with -H to get a handover", i.Dir)
		}
		return fmt.Errorf("another instance is starting in %s, try again", i.Dir)
	}
	return i.writePID(os.Getpid())
}

// tryLock makes the directory this process's. The lock is the kernel's: it is
// gone with the process. Instances of other programs (ckpool in C) take none.
func (i *Instance) tryLock() bool {
	return syscall.Flock(int(i.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// running is the pid of the instance that uses the directory, 0 for none. One
// that holds the lock is given time to write its pid.
func (i *Instance) running(ctx context.Context, held bool) (pid int, err error) {
	poll(ctx, startTime, func() bool {
		if pid, err = Running(i.Dir); !held && pid != 0 && isThisProgram(pid) {
			pid = 0 // it is the instance of another directory
		}
		return !held || pid != 0 || i.tryLock()
	})
	return pid, err
}

// awaitEnding waits for an instance that holds the lock and is about to end, and
// makes the directory this process's: who has told it to end may start the next
// one at once. It is false for an instance that answers.
func (i *Instance) awaitEnding(ctx context.Context, held bool) (locked bool) {
	if !held {
		return false // a program that takes no lock: nothing tells when it has ended
	}
	poll(ctx, i.endTime, func() bool {
		locked = i.tryLock()
		return locked || answers(ctx, i.Dir)
	})
	return locked
}

func (i *Instance) pidFile() string { return filepath.Join(i.Dir, "main.pid") }

// readPID is 0 where there is no pid file, or one without another process's id.
func (i *Instance) readPID() (int, error) {
	b, err := os.ReadFile(i.pidFile())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("Failed to open file %s: %w", i.pidFile(), errors.Unwrap(err))
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 || pid == os.Getpid() {
		return 0, nil
	}
	return pid, nil
}

func (i *Instance) writePID(pid int) error {
	tmp := i.pidFile() + ".tmp"
	err := os.WriteFile(tmp, []byte(strconv.Itoa(pid)), 0o640)
	if err == nil {
		err = os.Rename(tmp, i.pidFile())
	}
	if err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	return nil
}

// Release gives the directory up, unless another process has taken it.
func (i *Instance) Release() {
	if b, err := os.ReadFile(i.pidFile()); err == nil && string(b) == strconv.Itoa(os.Getpid()) {
		os.Remove(i.pidFile())
	}
	i.lock.Close()
}

// Return lets go of an inherited claim, which stays the other process's.
func (i *Instance) Return() { i.lock.Close() }

// poll calls done until it is true, for limit at most.
func poll(ctx context.Context, limit time.Duration, done func() bool) bool {
	for last := time.Now().Add(limit); ; time.Sleep(pollEvery) {
		if done() {
			return true
		}
		if time.Now().After(last) || ctx.Err() != nil {
			return false
		}
	}
}
