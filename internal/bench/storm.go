package bench

import (
	"context"
	"io"
	"slices"
)

// StormConfig is a run of Storm.
type StormConfig struct {
	Options
}

// StormReport is what Storm measured, in milliseconds.
type StormReport struct {
	Mode     string           `json:"mode"`
	Miners   int              `json:"miners"`
	First    float64          `json:"first_ms"` // miner to have work
	Median   float64          `json:"median_ms"`
	P99      float64          `json:"p99_ms"`
	Last     float64          `json:"last_ms"`
	Each     Latency          `json:"each"` // from a miner's own connect to its work
	Drops    map[string]int64 `json:"drops"`
	Dropped  int64            `json:"dropped"`
	NotReady int64            `json:"not_ready"`
	Client   float64          `json:"client_cpu_s"`
	Server   *Process         `json:"server,omitempty"`
}

// Storm connects all miners as fast as it goes and measures when they have
// subscribed, authorized and got their first work.
func Storm(ctx context.Context, c StormConfig) (*StormReport, error) {
	meter, err := newMeter(c.Pid)
	if err != nil {
		return nil, err
	}
	cpu := ownCPU()
	e, err := start(ctx, c.Options, plan{others: c.Miners})
	if err != nil {
		return nil, err
	}
	defer e.close()
	if err := e.allReady(ctx); err != nil {
		return nil, err
	}
	cpu = ownCPU() - cpu
	server, err := meter.end()
	if err != nil {
		return nil, err
	}
	e.close()
	t := e.totals()
	slices.Sort(t.readyAt)
	ms := func(q float64) float64 { return milliseconds(quantileOf(t.readyAt, q)) }
	var each histogram
	for _, l := range e.loops {
		for i := range l.conns {
			if c := &l.conns[i]; c.readyAt > 0 {
				each.add(c.readyAt - c.openedAt)
			}
		}
	}
	return &StormReport{Mode: "storm", Miners: c.Miners, First: ms(0), Median: ms(0.5), P99: ms(0.99), Last: ms(1),
		Each: each.latency(), Drops: t.Drops, Dropped: t.dropped(), NotReady: t.NotReady, Client: cpu.Seconds(), Server: server}, nil
}

// Failed tells whether a miner was lost or got no work.
func (r *StormReport) Failed() bool { return r.Dropped+r.NotReady > 0 }

// Print writes the report as a table.
func (r *StormReport) Print(w io.Writer) error {
	t := table{w: w}
	t.row("miners", "%d connected, subscribed, authorized, with work", r.Miners)
	t.row("have work after", "first %.1f ms, median %.1f ms, p99 %.1f ms, last %.1f ms", r.First, r.Median, r.P99, r.Last)
	t.latency("each took", r.Each)
	t.problems(&totals{Drops: r.Drops, NotReady: r.NotReady})
	t.row("pool", "%v", r.Server)
	t.row("CPU of this client", "%.2f s", r.Client)
	return t.err
}
