// Package demo is what make run shows: a private chain with its node, the pool
// on it with its database, two simulated miners, and a line that says how they do; and
// make run-pool, where the money is followed too: there the chain has other miners, the
// node a wallet, and each block is divided among three and paid out. It runs the
// programs a user would run and looks at them from outside, through files, RPC,
// commands and control sockets. Make run-proxy is another: there the miners are at a
// proxy, which mines for the pool. And make run-links: there they are at passthroughs and a
// node, which the pool serves over one link each.
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

	"github.com/ckpool/ckpool/address"
)

// Config is what to run.
type Config struct {
	Dir      string    // holds a directory for each chain and mode
	Ckpool   string    // path of the pool's program, ckpmsg and ckdb are beside it
	Listen   string    // host:port for miners
	Node     string    // see parseNode; empty: a btcd of one's own
	Address  string    // that blocks pay; empty: one is made, on regtest only
	Solo     bool      // blocks pay whoever finds them
	Money    bool      // blocks are divided and paid out, on a chain of one's own
	Farm     bool      // miners are at a proxy before the pool, on a chain of one's own
	Links    bool      // miners are at passthroughs and a node, on a chain of one's own
	Out      io.Writer // for people
	Terminal bool      // Out is one: the status line is rewritten in place

	pace       pace // of the chain; zero: as a person can follow
	sideBySide bool // pages are anywhere: others begin at the same time
}

// pace is how often there are blocks.
type pace struct {
	pool time.Duration // all simulated miners together solve one
	// Those that are not the pool's solve several at a time, lest the miners of the
	// pool be late for each.
	others  time.Duration
	several int
}

// usualPace is that which was given, or the usual one.
func (c *Config) usualPace() pace {
	switch {
	case c.pace != pace{}:
		return c.pace
	case c.Money:
		return pace{pool: 10 * time.Second, others: 5 * time.Second, several: 6}
	}
	return pace{pool: 5 * time.Second}
}

// Run runs it all until ctx ends, and ends all of it before it returns.
func Run(ctx context.Context, c Config) (err error) {
	d := &demo{config: c, console: console{out: c.Out, terminal: c.Terminal}}
	d.config.pace = c.usualPace()
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
	var farm *farm
	if c.Farm {
		if farm, err = d.openFarm(c.Listen); err != nil {
			return err
		}
		if err := free(farm.listen); err != nil {
			return err
		}
		d.config.Listen = "" // which is the proxy's
	}
	var links *links
	if c.Links {
		if links, err = d.openLinks(c.Listen); err != nil {
			return err
		}
		if err := free(links.listen); err != nil {
			return err
		}
		d.config.Listen = "" // which is that of a passthrough
	}
	settings, err := d.chooseSettings(n)
	if err != nil {
		return err
	}
	settings.links = links
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
	var money *money
	if c.Money {
		if money, err = d.openWallet(n, settings); err != nil {
			return err
		}
		defer money.close()
		settings.nodeWallet = money.url
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
	p, err := d.startPool(ctx, settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	go func() { // ends with the pool, at the latest in stop
		<-p.ended
		cancel(fmt.Errorf("ckpool ended: %s", p.complaints()))
	}()
	if farm != nil {
		if err := farm.startProxy(ctx, settings); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, farm.proxy.stop()) }()
		go func() { // likewise
			<-farm.proxy.ended
			cancel(fmt.Errorf("ckproxy ended: %s", farm.proxy.complaints()))
		}()
	}
	if links != nil {
		defer func() { err = errors.Join(err, links.stop()) }()
		if err := links.start(ctx, settings, n); err != nil {
			return err
		}
	}
	if money != nil {
		if err := money.choose(ctx); err != nil {
			return err
		}
	}
	d.describe(settings, n, money, farm)

	var miners sync.WaitGroup
	defer miners.Wait()
	defer cancel(nil)
	if n.regtest() {
		d.mine(ctx, &miners, settings, money)
	}
	err = d.watch(ctx, p, n, settings, money, farm)
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
	switch {
	case d.config.Solo:
		d.name = n.place() + "-solo"
	case d.config.Money:
		d.name = moneyPlace
	case d.config.Farm:
		d.name = farmPlace
	case d.config.Links:
		d.name = linksPlace
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
		return fmt.Errorf("%s is running already, in %s: end it with Ctrl-C where it runs", d.config.target(), d.shown())
	}
	return fmt.Errorf("run directory: lock: %w", err)
}

// target is what runs it, of make.
func (c *Config) target() string {
	switch {
	case c.Money:
		return "make run-pool"
	case c.Farm:
		return "make run-proxy"
	case c.Links:
		return "make run-links"
	}
	return "make run"
}

// free says whether miners can be listened for.
func free(listen string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("cannot listen for miners: %w; LISTEN=host:port chooses another address", err)
	}
	return l.Close()
}
