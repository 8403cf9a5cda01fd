package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ckpool/ckpool/control"
)

// program is a running program of the pool's.
type program struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{} // closed when it is gone
	output string        // file of its output
}

// How long a program may take to start and to end, on a machine that may be busy.
const (
	startTime = time.Minute
	stopTime  = time.Minute
)

// beside is the path of a program that is in the directory of the pool's.
func (d *demo) beside(name string) string { return filepath.Join(filepath.Dir(d.config.Ckpool), name) }

func (d *demo) start(name string, args ...string) (*program, error) {
	return d.startAs(name, name, args...)
}

// startAs starts a program that is known here under another name.
func (d *demo) startAs(name, file string, args ...string) (*program, error) {
	p := &program{name: name, exited: make(chan struct{}), output: d.path(name + ".out")}
	path, err := filepath.Abs(d.beside(file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	out, err := os.Create(p.output)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer out.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = d.dir, out, out
	// Ctrl-C shall not reach it before the miners are gone; a kill of this
	// process shall.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // why it ended stands in its output
		close(p.exited)
	}()
	return p, nil
}

// dial is a client of a socket in a directory of the demo's.
func (d *demo) dial(dir, socket string) *control.Client {
	// The path of a socket has little room: as seen from here it is shorter.
	c := control.Dial(d.shown(), dir, socket)
	c.ReplyTimeout = 5 * time.Second
	return c
}

// ready waits until it answers.
func (p *program) ready(ctx context.Context, c *control.Client) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if reply, err := c.Do(ctx, "ping"); err == nil && reply == "pong" {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s did not start: %s", p.name, p.complaints())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", p.name, ctx.Err())
		case <-tick.C:
		}
	}
}

// stop ends it in order; it is killed if that takes too long.
func (p *program) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopTime):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s did not stop within %s and was killed", p.name, stopTime)
	}
}

// complaints is the last of its output.
func (p *program) complaints() string {
	b, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ") + " (all of it in " + p.output + ")"
}
