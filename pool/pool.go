package pool

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/blocks"
	core "github.com/ckpool/ckpool/internal/pool"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/source"
)

// ErrDirInUse is what the error of [New] wraps where another pool runs in Config.Dir.
var ErrDirInUse = errors.New("another pool runs in this directory")

// Pool is a whole pool. Its methods may be called from any goroutine, but for New, Listen
// and Run, which come one after the other.
type Pool struct {
	// immutable
	core   *core.Pool
	teller *teller // nil: nobody is told
	logins *logins // nil: nobody is asked
	dir    *os.File

	listens bool        // owned by Listen, then by Run
	over    atomic.Bool // Run or Close was called
}

// New prepares a pool and makes its directory. The error has all that is wrong with the
// configuration, by the names of its fields. Nothing is connected yet. What New has opened
// Run gives back, or Close where Run is not called.
func New(c Config, from Source, hooks Hooks) (*Pool, error) {
	filled, payout, err := c.fill(&from)
	if err != nil {
		return nil, err
	}
	p := &Pool{}
	if p.dir, err = lockDir(c.Dir); err != nil {
		return nil, fmt.Errorf("pool: Config.Dir: %w", err)
	}
	options := core.Options{
		Solo: filled.Solo, Proxy: from.upstreams != nil, Name: filled.PoolTag, Events: c.Events,
		Wants:  func(l event.Level) bool { return c.Events != nil && l < event.Debug },
		Source: from.core(), Payout: &payout,
	}
	if hooks.Block != nil || hooks.Work != nil {
		p.teller = newTeller(hooks, c.Events)
		options.Found = func(b *blocks.Block) {
			found := *b
			found.State = source.BlockPending
			p.teller.block(&found)
		}
		options.Events = p.tell
	}
	if hooks.Work != nil {
		options.Working = p.teller.newWork
	}
	if hooks.Login != nil {
		p.logins = newLogins(hooks.Login)
		options.Accounts = p.logins
	}
	told := &shares{hook: hooks.Share}
	if hooks.Share != nil {
		options.Sinks = []session.Sink{told}
	}
	if p.core, err = core.New(filled, options); err != nil {
		leaveDir(p.dir)
		return nil, fmt.Errorf("pool: %w", err)
	}
	told.pool = p.core
	return p, nil
}

// lockDir makes a directory and keeps other pools out of it while it is open.
func lockDir(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, err
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		dir.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrDirInUse
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return dir, nil
}

// leaveDir lets others in, also while a child that is just being started has a copy of the
// file.
func leaveDir(dir *os.File) {
	_ = syscall.Flock(int(dir.Fd()), syscall.LOCK_UN)
	dir.Close()
}

// tell is told the events of the core.
func (p *Pool) tell(e event.Event) {
	if changed, ok := e.What.(blocks.Changed); ok {
		p.teller.block(&changed.Block)
	}
	p.teller.events.Tell(e)
}

// Listen opens the ports, of which [Pool.Addrs] then tells. Miners that connect wait for
// Run. Without Listen, Run does it. It opens them once, and can be tried again after an error.
func (p *Pool) Listen(ctx context.Context) error {
	if p.listens {
		return errors.New("pool: it listens already")
	}
	if err := p.core.Listen(ctx); err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	p.listens = true
	return nil
}

// Addrs are the addresses that are listened on, in the order of Config.Listen; one that
// was given by name may be several.
func (p *Pool) Addrs() []netip.AddrPort { return p.core.Addrs() }

// Run serves miners until ctx ends, and then returns nil: shares have been answered, found
// blocks have been submitted or saved, files are written, ports are closed and all
// goroutines have ended. That takes up to a few seconds. An error tells what the pool could
// not go on without: a port in use, or a node of another network than that of the payees.
// Nodes that cannot be reached are no error: they are waited for.
//
// Run may be called once.
func (p *Pool) Run(ctx context.Context) error {
	if p.over.Swap(true) {
		return errors.New("pool: it was run or closed before")
	}
	defer leaveDir(p.dir)
	if !p.listens {
		if err := p.Listen(ctx); err != nil {
			p.core.Close()
			return err
		}
	}
	around, stop := context.WithCancel(context.WithoutCancel(ctx))
	var hooks sync.WaitGroup
	if p.teller != nil {
		hooks.Go(func() { p.teller.run(around) })
	}
	if p.logins != nil {
		hooks.Go(func() { p.logins.run(around) })
	}
	err := p.core.Run(ctx)
	stop()
	hooks.Wait()
	if err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	return nil
}

// Close gives back what New and Listen have opened, where Run is not to be called; after
// Run, or while it runs, it does nothing.
func (p *Pool) Close() {
	if !p.over.Swap(true) {
		p.core.Close()
		leaveDir(p.dir)
	}
}

// Status is what a pool does.
type Status struct {
	Started time.Time       // when what is counted began
	Usable  bool            // there is a place that work comes from
	Sources []source.Status // the places
	Work    Work            // the newest; its Job is 0 before the first

	Miners, Users int64 // that are connected
	// Hash rate in hashes per second, as the shares of so long tell it.
	Hashrate1m, Hashrate5m, Hashrate1h, Hashrate1d float64

	// Since Started.
	Accepted, Rejected             float64 // difficulty
	AcceptedShares, RejectedShares int64

	// Blocks that were found, of Config.Dir's whole past, by what became of them; at most
	// the last 1,000.
	Pending, Confirmed, Orphaned, RejectedBlocks int64
}

// hashes are those of a share of difficulty 1.
const hashes = 1 << 32

// Status is what the pool does at present. It asks nobody and may be called often.
func (p *Pool) Status() Status {
	f := p.core.Figures(time.Now())
	s := Status{
		Started: f.Started, Usable: f.Usable, Sources: p.core.Sources(), Miners: f.Pool.Workers, Users: f.Pool.Users,
		Hashrate1m: f.Pool.DSPS1 * hashes, Hashrate5m: f.Pool.DSPS5 * hashes, Hashrate1h: f.Pool.DSPS60 * hashes, Hashrate1d: f.Pool.DSPS1440 * hashes,
		Accepted: f.Pool.TotalAccepted, Rejected: f.Pool.TotalRejected,
		AcceptedShares: f.Pool.TotalAcceptedCount, RejectedShares: f.Pool.TotalRejectedCount,
	}
	if w := p.core.Newest(); w != nil {
		s.Work = workOf(w)
	}
	for _, k := range f.Blocks {
		switch k.Name {
		case source.BlockPending:
			s.Pending = k.Count
		case source.BlockConfirmed:
			s.Confirmed = k.Count
		case source.BlockOrphaned:
			s.Orphaned = k.Count
		case source.BlockRejected:
			s.RejectedBlocks = k.Count
		}
	}
	return s
}
