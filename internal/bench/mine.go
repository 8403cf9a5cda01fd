package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/stratum/client"
)

// MineConfig is a run of Mine.
type MineConfig struct {
	Options
	HashRate    float64       // most hashes per second of each miner; 0: what the CPU gives
	VersionMask uint32        // version bits to ask for, 0 for none
	Suggest     float64       // difficulty to suggest, 0 for none
	Duration    time.Duration // or until the context ends
}

// MineReport is what Mine measured.
type MineReport struct {
	Mode     string           `json:"mode"`
	Miners   int              `json:"miners"`
	Seconds  float64          `json:"seconds"`
	Accepted int64            `json:"accepted"`
	Rejected int64            `json:"rejected"`
	Rejects  map[string]int64 `json:"rejects"`
	NoReply  int64            `json:"unanswered"`
	Lost     map[string]int64 `json:"lost"` // connections, by reason
	Credit   float64          `json:"credit"`
	HashRate float64          `json:"hash_rate"` // that the accepted shares stand for
	Best     float64          `json:"best_share"`
	Blocks   int64            `json:"blocks"` // shares that met the target of their block
	Latency  Latency          `json:"latency"`
	Server   *Process         `json:"server,omitempty"`

	Difficulty float64       `json:"difficulty"` // of the last job
	expected   time.Duration // for a share of it, 0 unknown
}

// Mine lets miners hash at the difficulty they are given.
func Mine(ctx context.Context, c MineConfig) (*MineReport, error) {
	target, err := c.resolve(ctx, c.Miners)
	if err != nil {
		return nil, err
	}
	if err := checkDuration("duration", c.Duration); err != nil {
		return nil, err
	}
	if !(c.HashRate >= 0) || !(c.Suggest >= 0) {
		return nil, errors.New("hash rate and suggested difficulty must not be negative")
	}
	ctx, cancel := context.WithTimeout(ctx, c.Duration)
	defer cancel()
	meter, err := newMeter(c.Pid)
	if err != nil {
		return nil, err
	}
	t := tally{MineReport: MineReport{Mode: "mine", Miners: c.Miners, Rejects: map[string]int64{}, Lost: map[string]int64{}}}
	began := time.Now()
	var running sync.WaitGroup
	for i := range c.Miners {
		running.Go(func() {
			endpoint, options := c.endpoint(i, target)
			options.UserAgent, options.VersionMask, options.SuggestDifficulty = "ckbench", c.VersionMask, c.Suggest
			options.IgnoreRedirects = !c.AllowRemote
			_ = miner.Run(ctx, miner.Config{ // ends with ctx, nothing else ends it
				Endpoint: endpoint,
				Client:   options,
				HashRate: c.HashRate,
				OnShare:  t.share,
				OnEvent:  func(e client.Event) { t.event(ctx, e) },
			})
		})
	}
	running.Wait()
	r := &t.MineReport
	if r.Server, err = meter.end(); err != nil {
		return nil, err
	}
	if r.Accepted+r.Rejected == 0 && len(r.Lost) > 0 {
		return nil, fmt.Errorf("pool %s: %s", c.Address, sortedCounts(r.Lost)[0].name)
	}
	r.Seconds = time.Since(began).Seconds()
	if seconds := r.Difficulty * (1 << 32) / max(c.HashRate*float64(c.Miners), 1); c.HashRate > 0 && seconds < 1e9 {
		r.expected = time.Duration(seconds * float64(time.Second))
	}
	r.HashRate = r.Credit * (1 << 32) / r.Seconds
	r.Latency = t.latencies.latency()
	return r, nil
}

// tally is a report that the miners fill in.
type tally struct {
	mu sync.Mutex // guards all
	MineReport
	latencies histogram
}

func (t *tally) share(s miner.Share) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.Err != nil {
		if !errors.Is(s.Err, client.ErrClosed) {
			t.NoReply++
		}
		return
	}
	t.latencies.add(s.Latency)
	t.Best = max(t.Best, s.Difficulty)
	if s.Block {
		t.Blocks++
	}
	if s.Reject != nil {
		t.Rejected++
		t.Rejects[s.Reject.String()]++
		return
	}
	t.Accepted++
	t.Credit += s.Job.Difficulty
}

func (t *tally) event(ctx context.Context, e client.Event) {
	if job, ok := e.(client.Notify); ok {
		t.mu.Lock()
		t.Difficulty = job.Difficulty
		t.mu.Unlock()
	}
	if f, ok := e.(client.Failed); ok && ctx.Err() == nil {
		t.mu.Lock()
		t.Lost[f.Err.Error()]++
		t.mu.Unlock()
	}
}

// Failed tells whether nothing was accepted.
func (r *MineReport) Failed() bool { return r.Accepted == 0 }

// Print writes the report as a table.
func (r *MineReport) Print(w io.Writer) error {
	t := table{w: w}
	t.row("miners", "%d for %.1f s", r.Miners, r.Seconds)
	t.row("shares", "%d accepted, %d rejected, %d without a reply", r.Accepted, r.Rejected, r.NoReply)
	if r.Accepted+r.Rejected == 0 && r.expected > 0 {
		t.row("why none", "a share of difficulty %.4g takes %s at this hash rate: --suggest 0.0001 asks for easier ones", r.Difficulty, figures.Duration(r.expected))
	}
	t.counts("rejected", r.Rejects)
	t.counts("lost", r.Lost)
	t.row("hash rate", "%s by accepted difficulty %s", figures.Rate(r.HashRate), figures.Number(r.Credit))
	t.row("best share", "%s", figures.Number(r.Best))
	t.row("blocks", "%d", r.Blocks)
	t.latency("latency of replies", r.Latency)
	t.row("pool", "%v", r.Server)
	return t.err
}
