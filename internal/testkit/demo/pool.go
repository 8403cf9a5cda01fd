package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/instance"
)

// pool is the running ckpool, which goes on in another process when somebody upgrades it.
type pool struct {
	*program // that was started
	ask      map[string]*control.Client
	dir      string        // of its sockets
	ended    chan struct{} // closed when no process of it runs any more
}

const (
	poolName = "ckpool"
	sockets  = "sockets" // directory
)

func (d *demo) startPool(ctx context.Context, s *settings) (*pool, error) {
	args := []string{"-c", configFile}
	if d.config.Solo {
		args = append(args, "-B")
	}
	// Else it would ask the ckdb of this machine, if there is one, whose accounts are others.
	if s.journal != "" && !d.config.Farm && !d.config.Links {
		args = append(args, "-S", databaseSockets)
	} else {
		args = append(args, "-A")
	}
	return d.startInstance(ctx, poolName, sockets, args...)
}

// startInstance starts ckpool under a name, with sockets in that directory.
func (d *demo) startInstance(ctx context.Context, name, sockets string, args ...string) (*pool, error) {
	run, err := d.startAs(name, "ckpool", append(args, "-s", sockets, "-n", name, "-q")...)
	if err != nil {
		return nil, err
	}
	p := &pool{run, map[string]*control.Client{}, d.path(sockets), make(chan struct{})}
	go p.follow(d.console.print) // ends with its last process, at the latest in stop
	for _, socket := range []string{"listener", "stratifier"} {
		p.ask[socket] = d.dial(sockets, socket)
	}
	if err := p.ready(ctx, p.ask["listener"]); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

const (
	lookEvery = 50 * time.Millisecond
	// successorTime is how long the process that takes over may take to say so.
	successorTime = time.Second
)

// follow says when an upgrade has made another process of it, until its last one has ended.
func (p *pool) follow(say func(format string, args ...any)) {
	defer close(p.ended)
	<-p.exited
	for last := 0; ; {
		pid := 0
		for began := time.Now(); pid == 0 && time.Since(began) < successorTime; time.Sleep(lookEvery) {
			pid, _ = instance.Running(p.dir) // an error is that there is none
		}
		switch {
		case pid == 0:
			return
		case pid != last:
			say("%s goes on as process %d", p.name, pid)
		}
		last = pid
		instance.AwaitEnd(context.Background(), pid, stopTime)
	}
}

// present is the process of it, 0 none.
func (p *pool) present() (pid int) {
	select {
	case <-p.exited:
		pid, _ = instance.Running(p.dir)
		return pid
	default:
		return p.cmd.Process.Pid
	}
}

// stop ends it in order, whichever process it is by now; it is killed if that takes too long.
func (p *pool) stop() error {
	limit := time.NewTimer(stopTime)
	defer limit.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	told := 0
	for {
		if pid := p.present(); pid != 0 && pid != told {
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("stop %s: %w", p.name, err)
			}
			told = pid
		}
		select {
		case <-p.ended:
			return nil
		case <-look.C:
		case <-limit.C:
			_ = syscall.Kill(told, syscall.SIGKILL)
			<-p.ended
			return fmt.Errorf("%s did not stop within %s and was killed", p.name, stopTime)
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
