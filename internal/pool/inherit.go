package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"ckpool/internal/logfile"
	"ckpool/internal/netserver"
)

// Inheritance is what a pool is given by others before it runs: listening
// sockets of a service manager, or of the process whose place it takes.
type Inheritance struct{ *Pool }

// Take gives the pool listening sockets for Listen; the files are closed.
func (i Inheritance) Take(files []*os.File) error {
	var sockets []netserver.Inherited
	for n, f := range files {
		if l, err := net.FileListener(f); err == nil {
			i.logAt(logfile.LevelNotice, fmt.Sprintf("Inherited server socket %d url %v", n, l.Addr()))
			l.Close()
		}
		sockets = append(sockets, netserver.Inherited{File: f})
	}
	return i.server.Inherit(sockets)
}

// Listen is that of the pool as far as it can be done while the process whose
// sockets were taken still runs: false means that it has other ports in use.
func (i Inheritance) Listen(ctx context.Context) (bool, error) {
	err := i.Pool.Listen(ctx)
	if errors.Is(err, syscall.EADDRINUSE) {
		return false, nil
	}
	return err == nil, err
}

// Drop closes the sockets that no listen address wanted.
func (i Inheritance) Drop() {
	for _, addr := range i.server.DropInherited() {
		i.logAt(logfile.LevelWarning, fmt.Sprintf("Handed over socket url %s does not match config, not listening there", addr))
	}
}

// Load reads what an earlier run has left, for a pool made with TakeOver.
func (i Inheritance) Load(now time.Time) error { return loadSaved(i.Pool, now) }

// Prepare connects to the nodes and waits for a template that work can be made
// of, before Run.
func (i Inheritance) Prepare(ctx context.Context) error {
	p, u := i.Pool, i.updater
	p.background.start(p.nodes.Run)
	select {
	case <-ctx.Done():
		return fmt.Errorf("no node has given a template: %w", context.Cause(ctx))
	case <-p.background.done:
		return fmt.Errorf("nodes: %w", p.background.err)
	case t := <-p.nodes.Templates():
		if err := u.learnChain(); err != nil {
			return err
		}
		if _, err := u.builder.Job(t.Template, 1, time.Now()); err != nil {
			return fmt.Errorf("template of %s gives no work: %w", t.Node, err)
		}
		u.first = &t
		return nil
	}
}
