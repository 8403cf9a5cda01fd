package pool

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/operator"
	"github.com/ckpool/ckpool/internal/users"
)

// Run runs the pool until the context ends or a part of it fails. Then everything is
// flushed: miners' replies, found blocks, share logs, statistics.
func (p *Pool) Run(until context.Context) error {
	ctx, cancel := context.WithCancelCause(until)
	defer cancel(nil)
	// Nodes and files outlive the connections, for what the last moment brings.
	later, stopLater := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLater()
	if p.journal != nil {
		if err := p.journal.excuse(p.journal.begin()); err != nil {
			return err
		}
	}
	p.background.start(p.runSource)
	if p.upstreams != nil {
		p.upstreams.Begin()
	}

	var serving, rest sync.WaitGroup
	start := func(wg *sync.WaitGroup, ctx context.Context, name string, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	start(&serving, ctx, "connections", p.server.Run)
	start(&serving, ctx, "work", p.generator.Run)
	start(&serving, ctx, "statistics", p.keepStatistics)
	serving.Go(func() { p.history.Run(ctx) })
	if address := p.config.Load().Metrics; address != "" && p.options.Metrics != nil {
		serving.Go(func() { p.options.Metrics(ctx, address, p) })
	}
	if p.feed != nil {
		serving.Go(func() { p.feed.Run(ctx) })
	}
	if p.collector != nil {
		serving.Go(func() { p.collector.Run(ctx) })
		serving.Go(func() { p.works.Run(ctx) })
	}
	if p.reporter != nil {
		serving.Go(func() { p.reporter.Run(ctx) })
	}
	if p.accounts != nil {
		serving.Go(func() { p.accounts.Run(ctx) })
	}
	places := "nodes"
	if p.options.Source != nil {
		places = "source"
	}
	start(&rest, later, places, p.background.wait)
	rest.Go(func() { p.users.WriteShares(later) })
	rest.Go(func() { p.generator.Tidy(later) })
	rest.Go(func() { p.notifier.Run(later) })
	// The table of blocks outlives the nodes: the last they say of a block is in it.
	written, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	var writing sync.WaitGroup
	writing.Go(func() { p.blocks.Run(written) })
	p.blocks.Resume()
	if p.reporter != nil {
		p.tellAgain(time.Now())
	}

	select {
	case <-ctx.Done():
	case <-p.moved:
		cancel(nil)
	}
	serving.Wait()
	p.lines.Sum(time.Now(), true)
	p.blocks.Wait()
	stopLater()
	p.background.end()
	rest.Wait()
	stopWriting()
	writing.Wait()
	if p.hasMoved() {
		return nil
	}
	if p.journal != nil {
		if err := p.journal.close(); err != nil {
			p.events.Say(event.Error, "What is not yet written is kept for the next start: "+err.Error())
		}
	}
	now := time.Now()
	p.noteSaving(p.users.Save(now, users.Sessions{Disconnected: int64(p.registry.Resumable())}))
	p.noteSaving(saveSessions(p.registry, p.config.Load(), now))
	if until.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// runSource runs where work comes from, with users' accounts there.
func (p *Pool) runSource(ctx context.Context) error {
	var logins sync.WaitGroup
	if p.logins != nil {
		logins.Go(func() { p.logins.Run(ctx) })
	}
	err := p.source.Run(ctx)
	logins.Wait()
	return err
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
const stoodStill = 5 * users.TickInterval

// keepStatistics feeds the averages and writes the status files each minute.
func (p *Pool) keepStatistics(ctx context.Context) error {
	tick := time.NewTicker(users.TickInterval)
	defer tick.Stop()
	guard := workGuard{pool: p}
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if gap := now.Sub(last); gap > stoodStill {
				p.events.Say(event.Warning, fmt.Sprintf("The process stood still for %s: it was stopped, or the machine was", gap.Round(time.Second)))
			}
			last = now
			if p.journal != nil {
				p.journal.retry(false)
			}
			p.lines.Sum(now, false)
			guard.look(ctx, now)
			if p.admission.EndTakeover(now) {
				p.events.Say(event.Warning, operator.TakeoverEnded)
			}
			var n users.Sessions
			if p.users.MinuteBegins() {
				n = p.minute(ctx, now)
			}
			p.noteSaving(p.users.Tick(now, n))
		}
	}
}

// minute forgets sessions that have expired, keeps the others in their file, and
// counts them. Nothing is written where another process has taken over.
func (p *Pool) minute(ctx context.Context, now time.Time) (n users.Sessions) {
	if p.users.HoldFiles(ctx) != nil {
		return n
	}
	defer p.users.ReleaseFiles()
	if p.hasMoved() {
		return n
	}
	p.registry.Sweep(now)
	p.noteSaving(saveSessions(p.registry, p.config.Load(), now))
	n = p.operator.Sessions(ctx)
	if p.journal != nil {
		p.journal.statistics(p.users.Status(now, n))
	}
	return n
}

// noteSaving logs that statistics could not be written, once a minute.
func (p *Pool) noteSaving(err error) {
	if err == nil {
		return
	}
	if line, ok := p.notices.Pass("Cannot write statistics"); ok {
		p.events.Say(event.Error, line+": "+err.Error())
	}
}

// hasMoved tells that another process has taken over.
func (p *Pool) hasMoved() bool {
	select {
	case <-p.moved:
		return true
	default:
		return false
	}
}
