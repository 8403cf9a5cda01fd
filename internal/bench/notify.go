package bench

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// Trigger makes the pool's node have a new block.
type Trigger func(context.Context) error

const roundTimeout = 30 * time.Second // for all miners to have clean work

// NotifyConfig is a run of Notify.
type NotifyConfig struct {
	Options
	Block    Trigger
	Rounds   int
	Interval time.Duration // between rounds
}

// Round is the spread of one block, in milliseconds since the block was asked
// for.
type Round struct {
	Asked   float64 `json:"block_made_ms"` // until the node had answered
	First   float64 `json:"first_ms"`
	Median  float64 `json:"median_ms"`
	P99     float64 `json:"p99_ms"`
	Last    float64 `json:"last_ms"`
	Missing int     `json:"missing"` // miners that got no clean work in time
}

// NotifyReport is what Notify measured.
type NotifyReport struct {
	Mode     string           `json:"mode"`
	Miners   int              `json:"miners"`
	Rounds   []Round          `json:"rounds"`
	Median   Round            `json:"median"` // of each figure over the rounds
	Drops    map[string]int64 `json:"drops"`
	Dropped  int64            `json:"dropped"`
	NotReady int64            `json:"not_ready"`
	Server   *Process         `json:"server,omitempty"`
}

// Notify makes blocks and measures how long it takes until miners have clean
// work.
func Notify(ctx context.Context, c NotifyConfig) (*NotifyReport, error) {
	if c.Rounds < 1 || c.Rounds > 10_000 {
		return nil, fmt.Errorf("%d rounds: must be 1 to 10,000", c.Rounds)
	}
	if err := checkDuration("interval", c.Interval); err != nil {
		return nil, err
	}
	e, meter, err := startMeasured(ctx, c.Options, plan{others: c.Miners})
	if err != nil {
		return nil, err
	}
	defer e.close()
	r := &NotifyReport{Mode: "notify", Miners: c.Miners}
	for range c.Rounds {
		if _, err := e.until(ctx, c.Interval, func() bool { return false }); err != nil {
			return nil, err
		}
		round, err := e.block(ctx, c.Block)
		if err != nil {
			return nil, err
		}
		r.Rounds = append(r.Rounds, round)
	}
	if r.Server, err = meter.end(); err != nil {
		return nil, err
	}
	e.close()
	t := e.totals()
	r.Drops, r.Dropped, r.NotReady = t.Drops, t.dropped(), t.NotReady
	r.Median = medianRound(r.Rounds)
	return r, nil
}

// block makes a block and waits until all miners have work on it.
func (e *engine) block(ctx context.Context, make Trigger) (Round, error) {
	for _, l := range e.loops {
		l.mu.Lock()
		l.arrivals = l.arrivals[:0]
		l.mu.Unlock()
	}
	e.round.Add(1)
	began := e.now()
	if err := make(ctx); err != nil {
		return Round{}, fmt.Errorf("new block: %w", err)
	}
	asked := e.now() - began

	var got []time.Duration
	if _, err := e.until(ctx, roundTimeout, func() bool {
		got = got[:0]
		for _, l := range e.loops {
			l.mu.Lock()
			got = append(got, l.arrivals...)
			l.mu.Unlock()
		}
		return int64(len(got)) >= e.ready.Load()
	}); err != nil {
		return Round{}, err
	}
	slices.Sort(got)
	ms := func(q float64) float64 {
		if len(got) == 0 {
			return 0
		}
		return milliseconds(quantileOf(got, q) - began)
	}
	return Round{Asked: milliseconds(asked), First: ms(0), Median: ms(0.5), P99: ms(0.99), Last: ms(1),
		Missing: max(0, e.connections()-len(got))}, nil
}

func medianRound(rounds []Round) (m Round) {
	median := func(of func(*Round) float64) float64 {
		var v []float64
		for i := range rounds {
			v = append(v, of(&rounds[i]))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	for i := range rounds {
		m.Missing += rounds[i].Missing
	}
	m.Asked = median(func(r *Round) float64 { return r.Asked })
	m.First = median(func(r *Round) float64 { return r.First })
	m.Median = median(func(r *Round) float64 { return r.Median })
	m.P99 = median(func(r *Round) float64 { return r.P99 })
	m.Last = median(func(r *Round) float64 { return r.Last })
	return m
}

// Failed tells whether a miner was lost or got no clean work.
func (r *NotifyReport) Failed() bool { return r.Dropped+r.NotReady > 0 || r.Median.Missing > 0 }

// Print writes the report as a table.
func (r *NotifyReport) Print(w io.Writer) error {
	t := table{w: w}
	t.row("miners", "%d, clean work after a block, in ms since it was asked for", r.Miners)
	t.row("", "%8s %8s %8s %8s %8s %8s", "block", "first", "median", "p99", "last", "missing")
	line := func(name string, x Round) {
		t.row(name, "%8.2f %8.2f %8.2f %8.2f %8.2f %8d", x.Asked, x.First, x.Median, x.P99, x.Last, x.Missing)
	}
	for i, x := range r.Rounds {
		line(fmt.Sprintf("round %d", i+1), x)
	}
	line("median", r.Median)
	t.problems(&totals{Drops: r.Drops, NotReady: r.NotReady})
	t.row("pool", "%v", r.Server)
	return t.err
}
