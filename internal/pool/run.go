package pool

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"ckpool/bitcoind"
	"ckpool/internal/logfile"
	"ckpool/internal/netserver"
	"ckpool/internal/session"
)

// statisticsStep is how often what shares have added is put into the pool's
// averages: 32 times a minute.
const statisticsStep = 1875 * time.Millisecond

func loopCount() int { return runtime.GOMAXPROCS(0) }

// Run runs the pool until ctx ends or a part of it fails. Then everything is
// flushed: miners' replies, statistics, blocks.
func (p *Pool) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.resumeBlocks()

	var parts, rest sync.WaitGroup
	serving := context.WithoutCancel(ctx)
	serving, stopServing := context.WithCancel(serving)
	defer stopServing()
	start := func(wg *sync.WaitGroup, name string, ctx context.Context, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	start(&parts, "connections", ctx, p.server.Run)
	start(&parts, "work", ctx, p.updateWork)
	// Nodes outlive the connections, so that a block of the last moment is
	// submitted.
	start(&rest, "nodes", serving, p.nodes.Run)
	start(&rest, "statistics", serving, p.keepStatistics)
	start(&rest, "work files", serving, p.tidy)

	<-ctx.Done()
	parts.Wait()
	p.submissions.Wait()
	stopServing()
	rest.Wait()
	p.State.Close()
	if err := p.State.Minute(time.Now()); err != nil {
		p.logAt(logfile.LevelError, "Cannot write statistics: "+err.Error())
	}
	if err := context.Cause(ctx); err != context.Canceled {
		return err
	}
	return nil
}

// keepStatistics feeds the averages and writes the status files each minute.
func (p *Pool) keepStatistics(ctx context.Context) error {
	tick := time.NewTicker(statisticsStep)
	defer tick.Stop()
	minute := time.NewTimer(time.Second)
	defer minute.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			p.State.Tick(now)
			p.guardWork(ctx, now)
		case now := <-minute.C:
			minute.Reset(time.Minute)
			p.State.SetResumable(p.registry.Sweep(now))
			if err := p.State.Minute(now); err != nil {
				p.logAt(logfile.LevelError, "Cannot write statistics: "+err.Error())
			}
			for _, line := range p.State.MinuteLines(now) {
				p.logAt(logfile.LevelNotice, line)
			}
		}
	}
}

// guardWork closes miners when no node has been usable for so long that they
// are better off with their other pools, and refuses new ones until there is
// work again.
func (p *Pool) guardWork(ctx context.Context, now time.Time) {
	limit := p.config.DropWithoutWork
	usable := p.nodes.Usable()
	switch {
	case usable:
		if p.withoutWork.dropped {
			p.withoutWork.dropped = false
			p.server.Resume()
			p.logAt(logfile.LevelWarning, "A node is usable again: miners are accepted")
		}
		p.withoutWork.since = time.Time{}
	case p.withoutWork.since.IsZero():
		p.withoutWork.since = now
	case limit > 0 && !p.withoutWork.dropped && now.Sub(p.withoutWork.since) >= limit:
		p.withoutWork.dropped = true
		p.server.Pause()
		n, _ := p.Drop(ctx, 0, netserver.NoWork)
		p.logAt(logfile.LevelWarning, fmt.Sprintf("No usable node for %s: %d miners closed so that they go to their other pools, new ones wait until a node is usable", limit, n))
	}
}

// resumeBlocks goes on with blocks an earlier run left undecided.
func (p *Pool) resumeBlocks() {
	changed := func(height int64, hash [32]byte, s bitcoind.BlockState) { p.blockChanged(display(hash), s) }
	if err := p.nodes.Resume(changed); err != nil {
		p.logAt(logfile.LevelError, "Cannot read saved blocks: "+err.Error())
	}
	for _, b := range p.blocks.Undecided() {
		p.nodes.Follow(b.Height, b.hash(), func(s bitcoind.BlockState) { p.blockChanged(b.Hash, s) })
	}
}

// tidy looks at new jobs after miners have them.
func (p *Pool) tidy(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case job := <-p.published:
			p.afterPublish(job)
		}
	}
}

var _ session.Backend = (*Pool)(nil)
