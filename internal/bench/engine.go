package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/internal/tlspipe"
)

// goal is what the loops are to do.
type goal = int32

const (
	connecting goal = iota // and then wait
	submitting
	draining // wait for replies only
)

// plan is what the connections of an engine are for.
type plan struct {
	miners int           // connections that submit, the first ones
	others int           // connections that only listen
	window int           // shares of a miner without a reply
	shares int64         // to submit in all, 0: no limit
	every  time.Duration // between shares of all miners together; 0: as the window allows

	answered func(hash [32]byte, accepted bool)
}

// engine is all connections of a measurement.
type engine struct {
	// Immutable.
	opts   Options
	plan   plan
	target netip.AddrPort
	began  time.Time // times in the engine are durations since then
	loops  []*loop
	wg     sync.WaitGroup
	failed chan error // of a loop that cannot go on

	computing tlspipe.Limit // TLS handshakes

	goal  atomic.Int32
	stop  atomic.Bool
	round atomic.Int32 // counts new blocks
	ready atomic.Int64 // connections with work
	dead  atomic.Int64 // connections that are lost
}

// start connects; close must be called.
func start(ctx context.Context, o Options, p plan) (*engine, error) {
	target, err := o.resolve(ctx, p.miners+p.others)
	if err != nil {
		return nil, err
	}
	e := &engine{opts: o, plan: p, target: target, failed: make(chan error, o.Loops),
		computing: newLimit()}
	for i := range o.Loops {
		l, err := newLoop(e, i)
		if err != nil {
			for _, l := range e.loops {
				l.end()
			}
			return nil, err
		}
		e.loops = append(e.loops, l)
	}
	e.began = time.Now()
	for _, l := range e.loops {
		e.wg.Go(l.run)
	}
	return e, nil
}

// close ends all connections and waits for the loops.
func (e *engine) close() {
	e.stop.Store(true)
	e.wg.Wait()
}

func (e *engine) now() time.Duration { return time.Since(e.began) }

// spent tells that all shares of the plan are submitted.
func (e *engine) spent() bool {
	for _, l := range e.loops {
		if !l.spent.Load() {
			return false
		}
	}
	return true
}

// slowest is the longest that a reply has taken since the last call.
func (e *engine) slowest() (d time.Duration) {
	for _, l := range e.loops {
		d = max(d, time.Duration(l.slowest.Swap(0)))
	}
	return d
}

func (e *engine) connections() int { return e.plan.miners + e.plan.others }

// until waits for a condition, at most for the given time, and reports whether
// it came.
func (e *engine) until(ctx context.Context, most time.Duration, condition func() bool) (bool, error) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(most)
	for !condition() {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case err := <-e.failed:
			return false, err
		case now := <-tick.C:
			if now.After(end) {
				return condition(), nil
			}
		}
	}
	return true, nil
}

// allReady waits until every connection has work. Some that have none after
// Options.Ready are reported by drops; none at all is an error.
func (e *engine) allReady(ctx context.Context) error {
	all := int64(e.connections())
	if _, err := e.until(ctx, e.opts.Ready, func() bool { return e.ready.Load()+e.dead.Load() >= all }); err != nil {
		return err
	}
	if e.ready.Load() > 0 {
		return nil
	}
	e.close()
	t := e.totals()
	if len(t.Drops) == 0 {
		return fmt.Errorf("pool %s: no miner got work in %v", e.target, e.opts.Ready)
	}
	var reasons []error
	for _, d := range sortedCounts(t.Drops) {
		reasons = append(reasons, fmt.Errorf("%d × %s", d.n, d.name))
	}
	return fmt.Errorf("pool %s: no miner got work: %w", e.target, errors.Join(reasons...))
}

// totals sums up the loops, which must have ended.
func (e *engine) totals() totals {
	t := totals{Rejects: map[string]int64{}, Drops: map[string]int64{}, fewest: math.MaxInt64}
	for _, l := range e.loops {
		t.add(&l.totals)
		for i := range l.conns {
			c := &l.conns[i]
			t.Unanswered += int64(c.outstanding)
			if c.state == ready {
				t.fewest, t.most = min(t.fewest, int64(c.jobs)), max(t.most, int64(c.jobs))
			}
			if c.state < ready && c.state != dead {
				t.NotReady++
			}
			if c.readyAt > 0 {
				t.readyAt = append(t.readyAt, c.readyAt)
			}
		}
	}
	return t
}

// totals is what was counted.
type totals struct {
	Submitted  int64            `json:"submitted"`
	Accepted   int64            `json:"accepted"`
	Rejected   int64            `json:"rejected"`
	Rejects    map[string]int64 `json:"rejects"`    // by reason
	Unanswered int64            `json:"unanswered"` // shares without a reply
	Unmatched  int64            `json:"unmatched"`  // replies without a share, or second ones
	Drops      map[string]int64 `json:"drops"`      // lost connections, by reason
	NotReady   int64            `json:"not_ready"`  // connections that got no work
	Notifies   int64            `json:"notifies"`
	Late       int64            `json:"late"` // shares of a rate not sent, since the pool owed too many replies

	latency   histogram
	lastReply time.Duration
	readyAt   []time.Duration

	fewest, most int64 // jobs of a miner that has work
}

func (t *totals) add(o *totals) {
	t.Submitted += o.Submitted
	t.Accepted += o.Accepted
	t.Rejected += o.Rejected
	t.Unmatched += o.Unmatched
	t.Notifies += o.Notifies
	t.Late += o.Late
	for k, n := range o.Rejects {
		t.Rejects[k] += n
	}
	for k, n := range o.Drops {
		t.Drops[k] += n
	}
	t.latency.merge(&o.latency)
	t.lastReply = max(t.lastReply, o.lastReply)
}

// dropped is how many connections were lost.
func (t *totals) dropped() (n int64) {
	for _, d := range t.Drops {
		n += d
	}
	return n
}
