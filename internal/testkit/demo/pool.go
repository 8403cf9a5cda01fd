package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ckpool/control"
)

// pool is the running ckpool.
type pool struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it is gone
	output string        // file of its output
	ask    map[string]*control.Client
}

const (
	poolName  = "ckpool"
	sockets   = "sockets" // directory
	startTime = 30 * time.Second
	stopTime  = 15 * time.Second
)

func (d *demo) startPool(ctx context.Context) (*pool, error) {
	p := &pool{exited: make(chan struct{}), output: d.path("ckpool.out"), ask: map[string]*control.Client{}}
	args := []string{"-c", configFile, "-s", sockets, "-n", poolName, "-q"}
	if d.config.Solo {
		args = append(args, "-B")
	}
	program, err := filepath.Abs(d.config.Ckpool)
	if err != nil {
		return nil, fmt.Errorf("ckpool: %w", err)
	}
	for _, socket := range []string{"listener", "stratifier"} {
		// The path of a socket has little room: as seen from here it is shorter.
		p.ask[socket] = control.Dial(d.shown(), sockets, socket)
		p.ask[socket].ReplyTimeout = 5 * time.Second
	}
	out, err := os.Create(p.output)
	if err != nil {
		return nil, fmt.Errorf("ckpool: %w", err)
	}
	defer out.Close()
	p.cmd = exec.Command(program, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = d.dir, out, out
	// Ctrl-C shall not reach it before the miners are gone; a kill of this
	// process shall.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("ckpool: %w", err)
	}
	go func() {
		_ = p.cmd.Wait() // why it ended stands in its output
		close(p.exited)
	}()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := p.ready(ctx); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// ready waits until it answers.
func (p *pool) ready(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if reply, err := p.ask["listener"].Do(ctx, "ping"); err == nil && reply == "pong" {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("ckpool did not start: %s", p.complaints())
		case <-ctx.Done():
			return fmt.Errorf("ckpool does not answer: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// query asks a control socket for JSON.
func (p *pool) query(ctx context.Context, command string, into any) error {
	reply, err := p.ask["stratifier"].Do(ctx, command)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(reply), into); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

// stop ends it in order; it is killed if that takes too long.
func (p *pool) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop ckpool: %w", err)
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopTime):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("ckpool did not stop within %s and was killed", stopTime)
	}
}

// complaints is the last of its output.
func (p *pool) complaints() string {
	b, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ") + " (all of it in " + p.output + ")"
}
