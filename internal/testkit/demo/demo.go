// Package demo is what make run shows: a private chain with its node, the pool
// on it, two simulated miners, and a line that says how they do. It runs the
// programs a user would run and looks at them from outside, through files, RPC
// and control sockets.
//
// On regtest every second hash solves a block. So that shares are seen to flow
// between blocks, the simulated miners keep to themselves, most of the time, the
// hashes that solve one, as if the chain were harder.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Config is what to run.
type Config struct {
	Dir      string    // everything is kept here
	Ckpool   string    // path of the pool's program
	Listen   string    // host:port for miners
	Node     string    // http://user:pass@host:port; empty: a btcd of one's own
	Address  string    // that blocks pay; empty: one is made, on regtest only
	Solo     bool      // blocks pay whoever finds them
	Out      io.Writer // for people
	Terminal bool      // Out is one: the status line is rewritten in place
}

// blockEvery is how often all simulated miners together solve a block.
const blockEvery = 5 * time.Second

// Run runs it all until ctx ends, and ends all of it before it returns.
func Run(ctx context.Context, c Config) (err error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	d := &demo{config: c, dir: dir, console: console{out: c.Out, terminal: c.Terminal}}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	settings, err := d.settle()
	if err != nil {
		return err
	}
	if err := free(settings.listen); err != nil {
		return err
	}
	n, err := d.startNode(ctx, settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.stop()) }()
	if err := d.writeConfig(settings, n); err != nil {
		return err
	}
	p, err := d.startPool(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	go func() { // ends with the pool, at the latest in stop
		<-p.exited
		cancel(fmt.Errorf("ckpool ended: %s", p.complaints()))
	}()
	d.describe(settings, n)

	var miners sync.WaitGroup
	defer miners.Wait()
	defer cancel(nil)
	if n.regtest() {
		d.mine(ctx, &miners, settings)
	}
	err = d.watch(ctx, p, n)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

type demo struct {
	config  Config
	dir     string // absolute
	console console
}

func (d *demo) path(elem ...string) string {
	return filepath.Join(append([]string{d.dir}, elem...)...)
}

// shown is a path as the user would type it.
func (d *demo) shown(elem ...string) string {
	return filepath.Join(append([]string{d.config.Dir}, elem...)...)
}

// free says whether miners can be listened for.
func free(listen string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("cannot listen for miners: %w; LISTEN=host:port chooses another address", err)
	}
	return l.Close()
}
