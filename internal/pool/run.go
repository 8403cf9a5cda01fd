package pool

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"ckpool/internal/logfile"
	"ckpool/internal/netserver"
	"ckpool/internal/session"
)

func loopCount() int { return runtime.GOMAXPROCS(0) }

// Run runs the pool until the context ends or a part of it fails. Then everything is
// flushed: miners' replies, found blocks, share logs, statistics.
func (p *Pool) Run(until context.Context) error {
	ctx, cancel := context.WithCancelCause(until)
	defer cancel(nil)
	// Nodes and files outlive the connections, for what the last moment brings.
	later, stopLater := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLater()
	p.background.start(p.nodes.Run)

	var serving, rest sync.WaitGroup
	start := func(wg *sync.WaitGroup, ctx context.Context, name string, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				cancel(fmt.Errorf("Fatal: %s: %w", name, err))
			}
		})
	}
	start(&serving, ctx, "connections", p.server.Run)
	start(&serving, ctx, "work", p.updater.run)
	start(&serving, ctx, "statistics", p.keepStatistics)
	start(&rest, later, "nodes", p.background.wait)
	rest.Go(func() { p.WriteShares(later) })
	rest.Go(func() { p.tidy(later) })
	written, stopWriting := context.WithCancel(context.WithoutCancel(ctx)) // what nodes say at last is in the file
	defer stopWriting()
	var writing sync.WaitGroup
	writing.Go(func() { p.blocks.Run(written) })
	p.followBlocks()

	select {
	case <-ctx.Done():
	case <-p.left:
		cancel(nil)
	}
	serving.Wait()
	p.miners.Sum(time.Now(), true)
	p.submissions.Wait()
	stopLater()
	p.background.end()
	rest.Wait()
	stopWriting()
	writing.Wait()
	if p.left.done() {
		return nil
	}
	now := time.Now()
	p.noteSaving(p.Save(now, Sessions{Disconnected: p.resumable.Load()}))
	p.noteSaving(saveSessions(p.registry, p.config.Load(), now))
	if until.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// background is a part that may be started before the rest.
type background struct {
	cancel context.CancelFunc // nil: not started
	done   chan struct{}
	err    error // valid after done
}

func (b *background) start(run func(context.Context) error) {
	if b.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel, b.done = cancel, make(chan struct{})
	go func() {
		b.err = run(ctx)
		close(b.done)
	}()
}

// wait returns when the part has ended or ctx has.
func (b *background) wait(ctx context.Context) error {
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return nil
	}
}

// end ends the part if it was started.
func (b *background) end() {
	if b.cancel != nil {
		b.cancel()
		<-b.done
	}
}

// stoodStill is a time without statistics that cannot be a busy machine.
const stoodStill = 5 * TickInterval

// keepStatistics feeds the averages and writes the status files each minute.
func (p *Pool) keepStatistics(ctx context.Context) error {
	tick := time.NewTicker(TickInterval)
	defer tick.Stop()
	var guard workGuard
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if gap := now.Sub(last); gap > stoodStill {
				p.logAt(logfile.LevelWarning, fmt.Sprintf("The process stood still for %s: it was stopped, or the machine was", gap.Round(time.Second)))
			}
			last = now
			p.miners.Sum(now, false)
			p.guardWork(ctx, &guard, now)
			p.guardTakeover(now)
			err := p.Tick(now, func() Sessions {
				p.noteSaving(saveSessions(p.registry, p.config.Load(), now))
				return p.counts(ctx, now)
			})
			p.noteSaving(err)
		}
	}
}

// noteSaving logs that statistics could not be written, once a minute.
func (p *Pool) noteSaving(err error) {
	if err == nil {
		return
	}
	if line, ok := p.notices.Pass("Cannot write statistics"); ok {
		p.logAt(logfile.LevelError, line+": "+err.Error())
	}
}

// counts asks the loops what only sessions know.
func (p *Pool) counts(ctx context.Context, now time.Time) Sessions {
	p.resumable.Store(int64(p.registry.Sweep(now)))
	n := Sessions{Disconnected: p.resumable.Load()}
	idle, err := p.countOnLoops(ctx, (*session.Handler).Idle)
	if err == nil {
		n.Idle = int64(idle)
	}
	return n
}

// workGuard watches for too long a time without a usable node.
type workGuard struct {
	since   time.Time // without a usable node, zero with one
	dropped bool
}

// takeoverTime is how long new connections are left to a process that was given
// the listening sockets and said reject. C ckpool, when it takes over, says
// shutdown within a second of that.
const takeoverTime = 10 * time.Second

// refuse notes one of the reasons not to accept connections, and accepts them
// when there is none.
func (p *Pool) refuse(reason *atomic.Bool, refuse bool) {
	p.admission.Lock()
	defer p.admission.Unlock()
	reason.Store(refuse)
	if leave := p.rejecting.Load() && p.shared.Load(); !leave {
		p.leftSince = time.Time{}
	} else if p.leftSince.IsZero() {
		p.leftSince = time.Now()
	}
	switch {
	case !p.leftSince.IsZero():
		p.server.LeaveToOthers()
	case p.rejecting.Load():
		p.server.Refuse(netserver.Rejecting)
	case p.workless.Load():
		p.server.Refuse(netserver.NoWork)
	default:
		p.server.Admit()
	}
}

// guardTakeover closes new connections again when the process they were left to
// has not ended this one: nobody may ever accept them.
func (p *Pool) guardTakeover(now time.Time) {
	p.admission.Lock()
	over := !p.leftSince.IsZero() && now.Sub(p.leftSince) >= takeoverTime
	p.admission.Unlock()
	if !over {
		return
	}
	p.refuse(&p.shared, false)
	p.logAt(logfile.LevelWarning, fmt.Sprintf("The process that was given the listening sockets has not ended this one in %s: new connections are closed again, until ckpmsg accept", takeoverTime))
}

// guardWork closes miners when no node has been usable for so long that they
// are better off with their other pools, and refuses new ones until there is
// work again.
func (p *Pool) guardWork(ctx context.Context, g *workGuard, now time.Time) {
	limit := p.config.Load().DropWithoutWork
	usable := p.nodes.Current() != nil
	switch {
	case usable:
		if g.dropped {
			g.dropped = false
			p.refuse(&p.workless, false)
			p.logAt(logfile.LevelWarning, "A node is usable again: miners are accepted")
		}
		g.since = time.Time{}
	case g.since.IsZero():
		g.since = now
	case limit > 0 && !g.dropped && now.Sub(g.since) >= limit:
		g.dropped = true
		p.refuse(&p.workless, true)
		n, _ := p.Drop(ctx, 0, netserver.NoWork)
		p.logAt(logfile.LevelWarning, fmt.Sprintf("No usable node for %s: %d miners closed so that they go to their other pools, new ones are refused until a node is usable", limit, n))
	}
}

// tidyAfter is when all miners should have a new job: what people and files want
// of it costs milliseconds, and a loop that has to wait for them answers late.
const tidyAfter = 400 * time.Millisecond

// tidy looks at new jobs after miners have them.
func (p *Pool) tidy(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.published:
			select {
			case <-ctx.Done():
			case <-time.After(tidyAfter):
			}
			p.tidyJobs()
			p.nodes.Prepare()
		}
	}
}

var _ session.Backend = (*Pool)(nil)
