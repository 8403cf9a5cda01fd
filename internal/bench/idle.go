package bench

import (
	"context"
	"io"
	"time"
)

// IdleConfig is a run of Idle.
type IdleConfig struct {
	Options
	Duration time.Duration
}

// IdleReport is what Idle measured.
type IdleReport struct {
	Mode     string           `json:"mode"`
	Miners   int              `json:"miners"`
	Seconds  float64          `json:"seconds"`
	Notifies int64            `json:"notifies"`
	Fewest   int64            `json:"fewest_jobs"` // of a miner
	Most     int64            `json:"most_jobs"`
	Drops    map[string]int64 `json:"drops"`
	Dropped  int64            `json:"dropped"`
	NotReady int64            `json:"not_ready"`
	Server   *Process         `json:"server,omitempty"`
	// RSSPerMiner is how many bytes the pool grew by for each miner.
	RSSPerMiner float64 `json:"rss_per_miner,omitempty"`
}

// Idle connects and authorizes miners that submit nothing, to see what they
// cost the pool.
func Idle(ctx context.Context, c IdleConfig) (*IdleReport, error) {
	if err := checkDuration("duration", c.Duration); err != nil {
		return nil, err
	}
	e, meter, err := startMeasured(ctx, c.Options, plan{others: c.Miners})
	if err != nil {
		return nil, err
	}
	defer e.close()
	if _, err := e.run(ctx, c.Duration, nil, 0); err != nil {
		return nil, err
	}
	server, err := meter.end()
	if err != nil {
		return nil, err
	}
	e.close()
	t := e.totals()
	r := &IdleReport{Mode: "idle", Miners: c.Miners, Seconds: c.Duration.Seconds(), Notifies: t.Notifies, Fewest: t.fewest, Most: t.most,
		Drops: t.Drops, Dropped: t.dropped(), NotReady: t.NotReady, Server: server}
	if server != nil {
		r.RSSPerMiner = float64(server.RSSAfter-server.RSSBefore) / float64(c.Miners)
	}
	return r, nil
}

// Failed tells whether a connection was lost or never got work.
func (r *IdleReport) Failed() bool { return r.Dropped+r.NotReady > 0 }

// Print writes the report as a table.
func (r *IdleReport) Print(w io.Writer) error {
	t := table{w: w}
	t.row("miners", "%d idle for %.1f s", r.Miners, r.Seconds)
	t.row("jobs received", "%d, each miner %d to %d", r.Notifies, r.Fewest, r.Most)
	t.problems(&totals{Drops: r.Drops, NotReady: r.NotReady})
	t.row("pool", "%v", r.Server)
	if r.Server != nil {
		t.row("memory per miner", "%.2f KB", r.RSSPerMiner/1e3)
	}
	return t.err
}
