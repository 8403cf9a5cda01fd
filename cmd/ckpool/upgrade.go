package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/operator"
)

// upgradeKey tells a program started by upgrade which descriptor wants to hear
// why it ends.
const upgradeKey = "CKPOOL_UPGRADE"

const (
	// maxReason is how much of a reason is read.
	maxReason = 4096
	// reasonTime is for the rest of it after the end of the program: what that
	// has started may have the pipe open for ever.
	reasonTime = 100 * time.Millisecond
)

// moveCommands registers what hands this instance to another process. They come
// before the pool's commands.
func (s *service) moveCommands() {
	for _, socket := range operator.Sockets {
		s.control.HandleConn(socket, "handover", s.giveAway)
		s.control.HandleConn(socket, "upgrade", func(ctx context.Context, c *net.UnixConn, path string) {
			s.answerUpgrade(ctx, c, path, func(o outcome) string { return fmt.Sprintf("upgraded to process %d", o.report.PID) })
		})
		s.control.HandleConn(socket, "restart", func(ctx context.Context, c *net.UnixConn, _ string) {
			s.answerUpgrade(ctx, c, "", func(outcome) string { return "restarting" })
		})
	}
}

func (s *service) answerUpgrade(ctx context.Context, c *net.UnixConn, path string, done func(outcome) string) {
	_, err := allowed(c)
	var o outcome
	if err == nil {
		o, err = s.upgrade(ctx, strings.TrimSpace(path))
	}
	reply := []byte(done(o))
	if err != nil {
		err = s.withUnsaved(err)
		s.events.Say(event.Error, "Upgrade failed, going on: "+err.Error())
		reply = []byte(control.Fault(err))
	}
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_ = control.WriteFrame(c, reply) // the operator may not wait
}

// withUnsaved adds to the failure of an upgrade what would be lost if an operator
// ended this process for it.
func (s *service) withUnsaved(err error) error {
	if text := s.served.Unsaved(); text != "" {
		err = fmt.Errorf("%w; %s", err, text)
	}
	return err
}

// upgrade starts the program at path, this one's own by default, and waits
// until it has taken over.
func (s *service) upgrade(ctx context.Context, path string) (outcome, error) {
	if os.Getpid() == 1 {
		return outcome{}, errProcess1
	}
	if !s.upgrading.TryLock() {
		return outcome{}, errors.New("another upgrade is under way")
	}
	defer s.upgrading.Unlock()
	if s.moved.Load() {
		return outcome{}, errMoved
	}
	select { // of a handover nobody has waited for
	case <-s.handovers:
	default:
	}
	child, err := s.startChild(path)
	if err != nil {
		return outcome{}, err
	}
	s.events.Say(event.Warning, fmt.Sprintf("Upgrading to %s, process %d", child.path, child.Process.Pid))
	var o outcome
	tooLate := time.NewTimer(upgradeTime)
	defer tooLate.Stop()
	select {
	case o = <-s.handovers:
	case <-child.ended:
		o.err = child.reason()
	case <-tooLate.C:
		o.err = fmt.Errorf("the new program has not taken over within %v", upgradeTime)
	case <-ctx.Done(): // as after a handover, too; else nobody is to go on
		return child.stop(s, context.Cause(ctx))
	}
	if o.err == nil {
		return o, nil
	}
	// What went wrong with it is best said by itself.
	select {
	case <-child.ended:
		if text := child.said(); text != "" {
			o.err = errors.New(text)
		}
		return outcome{}, o.err
	case <-time.After(childTime):
	}
	return child.stop(s, o.err)
}

// errMoved is for what reaches a process that has just given the pool away.
var errMoved = errors.New("another process has just taken over: ask again")

// stop ends the child of s because of err, unless it has taken over after all.
func (k *child) stop(s *service, err error) (outcome, error) {
	s.moving.Lock() // a handover under way ends with the service
	defer s.moving.Unlock()
	select {
	case late := <-s.handovers:
		if late.err == nil {
			return late, nil
		}
	default:
	}
	_ = k.Process.Kill()
	<-k.ended
	return outcome{}, err
}

// upgradeTime is for all of an upgrade, somewhat more than a handover may take;
// tests shorten it.
var upgradeTime = takeOverTime + 5*time.Second

// childTime is how long a new process that does not take over may take to end.
const childTime = 2 * time.Second

// child is the program that is to take over.
type child struct {
	*exec.Cmd
	path  string
	ended chan struct{} // closed when it has ended; err and text are valid then
	err   error
	text  []byte // the reason it gave
}

func (s *service) startChild(path string) (*child, error) {
	arg0 := s.argv[0]
	if path != "" {
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("upgrade: %q is not an absolute path", path)
		}
		arg0 = path
	} else {
		path = program
	}
	reason, give, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	const firstExtra = 3
	k := &child{Cmd: exec.Command(path), path: path, ended: make(chan struct{})}
	k.Args = []string{arg0}
	if !s.options.Handover { // else it is among the arguments
		k.Args = append(k.Args, "-H")
	}
	k.Args = append(k.Args, s.argv[1:]...)
	k.Env = append(slices.DeleteFunc(os.Environ(), forOtherProcess), upgradeKey+"="+strconv.Itoa(firstExtra))
	k.Stdout, k.Stderr = os.Stdout, os.Stderr
	k.ExtraFiles = []*os.File{give}
	err = k.Start()
	give.Close()
	if err != nil {
		reason.Close()
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	go func() {
		read := make(chan struct{})
		go func() {
			k.text, _ = io.ReadAll(io.LimitReader(reason, maxReason)) // none is an answer too
			close(read)
		}()
		k.err = k.Wait()
		_ = reason.SetReadDeadline(time.Now().Add(reasonTime))
		<-read
		reason.Close()
		close(k.ended)
	}()
	return k, nil
}

// forOtherProcess tells which of the environment is for one process alone.
func forOtherProcess(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	switch name {
	case upgradeKey, detachedKey, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID":
		return true
	}
	return false
}

// said is the reason the child gave, after it has ended.
func (k *child) said() string { return string(bytes.TrimSpace(k.text)) }

// reason is why the child did not take over, after it has ended.
func (k *child) reason() error {
	if text := k.said(); text != "" {
		return errors.New(text)
	}
	if k.err == nil {
		return errors.New("the new program ended without taking over")
	}
	return fmt.Errorf("the new program ended without taking over: %w", k.err)
}

// program is where this program was started from.
var program = programPath(os.Args[0])

// programPath keeps a symbolic link on the way to the program, which may lead to
// a new version by the time of an upgrade.
func programPath(arg0 string) string {
	file, err := os.Executable()
	if err != nil {
		return arg0
	}
	named, err := exec.LookPath(arg0)
	if err == nil {
		named, err = filepath.Abs(named)
	}
	if err != nil || !sameFile(named, file) {
		return file
	}
	return named
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	y, errY := os.Stat(b)
	return err == nil && errY == nil && os.SameFile(x, y)
}

// upgrader is the process that has started this one to take over, if any.
type upgrader struct{ pipe *os.File }

func takeUpgrader() upgrader {
	fd, err := strconv.Atoi(os.Getenv(upgradeKey))
	os.Unsetenv(upgradeKey)
	if err != nil {
		return upgrader{}
	}
	unix.CloseOnExec(fd)
	return upgrader{os.NewFile(uintptr(fd), "upgrade")}
}

// is reports whether there is one.
func (u upgrader) is() bool { return u.pipe != nil }

// tell says why this process ends without having taken over, if err is not nil.
func (u upgrader) tell(err error) {
	if u.is() && err != nil {
		_, _ = u.pipe.WriteString(oneLine(err)) // it may have gone on without
	}
}
