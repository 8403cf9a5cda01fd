package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// drainTime is for the last replies; tests shorten it.
var drainTime = 20 * time.Second

// SharesConfig is a run of Shares.
type SharesConfig struct {
	Options
	Window   int     // shares of a miner without a reply
	Rate     float64 // shares per second of all miners together; 0: as the window allows
	Count    int64   // shares to submit in all, 0: as many as there is time for
	Duration time.Duration
	Idle     int           // further connections that do not submit
	Block    Trigger       // new blocks meanwhile, nil for none
	Every    time.Duration // between them
	// During, if not nil, is what the load goes on for, instead of Duration.
	// slowest is the longest that a reply has taken since it was called last.
	During func(ctx context.Context, slowest func() time.Duration) error
	// Answered, if not nil, is told the hash of each share that was answered, in
	// internal order, by any goroutine.
	Answered func(hash [32]byte, accepted bool)
}

// SharesReport is what Shares measured.
type SharesReport struct {
	Mode    string  `json:"mode"`
	Miners  int     `json:"miners"`
	Idle    int     `json:"idle,omitempty"`
	Window  int     `json:"window,omitempty"`
	Rate    float64 `json:"rate,omitempty"`
	Blocks  int     `json:"blocks,omitempty"`
	Seconds float64 `json:"seconds"`
	totals
	PerSecond   float64  `json:"accepted_per_second"`
	Dropped     int64    `json:"dropped"`
	Latency     Latency  `json:"latency"`
	ClientCPU   float64  `json:"client_cpu_s"`
	Server      *Process `json:"server,omitempty"`
	CPUPerShare float64  `json:"server_cpu_us_per_share,omitempty"`
}

// Shares lets miners submit valid shares, each with a window of replies
// outstanding or all together at a rate.
func Shares(ctx context.Context, c SharesConfig) (*SharesReport, error) {
	p := plan{miners: c.Miners, others: c.Idle, window: c.Window, shares: c.Count, answered: c.Answered}
	switch {
	case c.Rate < 0 || c.Rate > 1e7 || math.IsNaN(c.Rate):
		return nil, fmt.Errorf("rate %v: must be 0 to 10,000,000 shares per second", c.Rate)
	case c.Rate > 0:
		p.every = time.Duration(float64(time.Second) / c.Rate)
		c.Window = 0
	case c.Count < 0:
		return nil, fmt.Errorf("%d shares: must not be negative", c.Count)
	case c.Window < 1 || c.Window > MaxWindow:
		return nil, fmt.Errorf("window %d: must be 1 to %d", c.Window, MaxWindow)
	}
	if c.Miners < 1 || c.Idle < 0 {
		return nil, errors.New("at least one miner must submit")
	}
	if c.During == nil {
		if err := checkDuration("duration", c.Duration); err != nil {
			return nil, err
		}
	}
	e, meter, err := startMeasured(ctx, c.Options, p)
	if err != nil {
		return nil, err
	}
	defer e.close()
	cpu, began := ownCPU(), e.now()
	e.goal.Store(submitting)
	var blocks int
	if c.During != nil {
		err = c.During(ctx, e.slowest)
	} else {
		blocks, err = e.run(ctx, c.Duration, c.Block, c.Every)
	}
	if err != nil {
		return nil, err
	}
	e.goal.Store(draining)
	if err := e.drain(ctx); err != nil {
		return nil, err
	}
	cpu = ownCPU() - cpu
	server, err := meter.end()
	if err != nil {
		return nil, err
	}
	e.close()

	r := &SharesReport{Mode: "shares", Miners: c.Miners, Idle: c.Idle, Window: c.Window, Rate: c.Rate, Blocks: blocks,
		totals: e.totals(), ClientCPU: cpu.Seconds(), Server: server}
	r.Latency, r.Dropped = r.latency.latency(), r.dropped()
	if r.Seconds = (r.lastReply - began).Seconds(); r.lastReply > began {
		r.PerSecond = float64(r.Accepted) / r.Seconds
	} else {
		r.Seconds = 0
	}
	if server != nil && r.Accepted > 0 {
		r.CPUPerShare = server.CPU / float64(r.Accepted) * 1e6
	}
	return r, nil
}

// run waits for the duration and makes blocks meanwhile.
func (e *engine) run(ctx context.Context, d time.Duration, block Trigger, every time.Duration) (blocks int, err error) {
	end := time.Now().Add(d)
	gone := func() bool { return e.dead.Load() >= int64(e.connections()) || e.spent() }
	for block != nil {
		if err := checkDuration("block interval", every); err != nil {
			return blocks, err
		}
		rest := time.Until(end)
		if over, err := e.until(ctx, min(every, rest), gone); over || err != nil || rest <= every {
			return blocks, err
		}
		e.round.Add(1)
		if err := block(ctx); err != nil {
			return blocks, fmt.Errorf("new block: %w", err)
		}
		blocks++
	}
	_, err = e.until(ctx, d, gone)
	return 0, err
}

// drain waits for the replies to what is submitted.
func (e *engine) drain(ctx context.Context) error {
	_, err := e.until(ctx, drainTime, func() bool {
		for _, l := range e.loops {
			if !l.drained.Load() {
				return false
			}
		}
		return true
	})
	return err
}

// Failed tells whether the pool did something it should not: lost a
// connection or a reply, or accepted nothing.
func (r *SharesReport) Failed() bool {
	return r.Accepted == 0 || r.Dropped+r.Unanswered+r.Unmatched+r.NotReady > 0
}

// Print writes the report as a table.
func (r *SharesReport) Print(w io.Writer) error {
	t := table{w: w}
	load := fmt.Sprintf("a window of %d", r.Window)
	if r.Rate > 0 {
		load = fmt.Sprintf("%g shares per second", r.Rate)
	}
	t.row("miners", "%d with %s", r.Miners, load)
	if r.Idle > 0 {
		t.row("other connections", "%d", r.Idle)
	}
	if r.Blocks > 0 {
		t.row("blocks meanwhile", "%d", r.Blocks)
	}
	t.row("shares", "%d accepted, %d rejected in %.2f s: %.0f per second", r.Accepted, r.Rejected, r.Seconds, r.PerSecond)
	t.latency("latency of replies", r.Latency)
	t.problems(&r.totals)
	if r.Failed() && r.Accepted > 0 {
		t.row("verdict", "not every share got its one reply over a lasting connection")
	}
	t.row("pool", "%v", r.Server)
	if r.CPUPerShare > 0 {
		t.row("CPU of pool per share", "%.2f us", r.CPUPerShare)
	}
	t.row("CPU of this client", "%.2f s", r.ClientCPU)
	return t.err
}
