// Package demo is what make run shows: a private chain with its node, the pool
// on it with its database, two simulated miners, and a line that says how they do. It runs the
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

	"golang.org/x/sys/unix"

	"ckpool/address"
)

// Config is what to run.
type Config struct {
	Dir      string    // holds a directory for each chain and mode
	Ckpool   string    // path of the pool's program, ckpmsg and ckdb are beside it
	Listen   string    // host:port for miners
	Node     string    // see parseNode; empty: a btcd of one's own
	Address  string    // that blocks pay; empty: one is made, on regtest only
	Solo     bool      // blocks pay whoever finds them
	Out      io.Writer // for people
	Terminal bool      // Out is one: the status line is rewritten in place
}

// blockEvery is how often all simulated miners together solve a block.
const blockEvery = 5 * time.Second

// Run runs it all until ctx ends, and ends all of it before it returns.
func Run(ctx context.Context, c Config) (err error) {
	d := &demo{config: c, console: console{out: c.Out, terminal: c.Terminal}}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	if c.Address != "" { // before a node is waited for
		if _, err := address.Parse(c.Address); err != nil {
			return fmt.Errorf("ADDRESS=%s: %w", c.Address, err)
		}
	}
	n, err := d.findNode(ctx)
	if err != nil {
		return err
	}
	if err := d.enter(n); err != nil {
		return err
	}
	defer d.lock.Close()
	settings, err := d.chooseSettings(n)
	if err != nil {
		return err
	}
	if err := free(settings.listen); err != nil {
		return err
	}
	if err := d.startNode(ctx, n, settings); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.stop()) }()
	if err := d.writeConfig(settings, n); err != nil {
		return err
	}
	if settings.journal != "" {
		var db *program
		if db, err = d.startDatabase(ctx, settings); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.stop()) }()
		go func() { // ends with it, at the latest in stop
			<-db.exited
			if ctx.Err() == nil {
				d.console.print("ckdb ended: %s", db.complaints())
			}
		}()
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
	err = d.watch(ctx, p, n, settings)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

type demo struct {
	config  Config
	name    string   // of the directory of this chain and mode
	dir     string   // that one, absolute
	lock    *os.File // held while it is in use
	console console
}

func (d *demo) path(elem ...string) string {
	return filepath.Join(append([]string{d.dir}, elem...)...)
}

// shown is a path as the user would type it.
func (d *demo) shown(elem ...string) string {
	return filepath.Join(append([]string{d.config.Dir, d.name}, elem...)...)
}

// enter makes the directory of the node's chain and the mode this run's: blocks
// and figures of another chain would make no sense beside its own. Where another
// run is in it, nothing in it is touched.
func (d *demo) enter(n *node) error {
	d.name = n.place() + "-pool"
	if d.config.Solo {
		d.name = n.place() + "-solo"
	}
	dir, err := filepath.Abs(d.shown())
	if err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	d.dir = dir
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	d.lock, err = os.OpenFile(d.path("lock"), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	if err = unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		return nil
	}
	d.lock.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("make run is running already, in %s: end it with Ctrl-C where it runs", d.shown())
	}
	return fmt.Errorf("run directory: lock: %w", err)
}

// free says whether miners can be listened for.
func free(listen string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("cannot listen for miners: %w; LISTEN=host:port chooses another address", err)
	}
	return l.Close()
}
