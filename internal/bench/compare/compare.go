// Package compare measures the pool and the bare loop in turn on the same load
// and makes one table of it: medians, spread, ratios, and what each may be at
// most. It starts and ends the programs it measures, all on this machine.
package compare

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/ckpool/ckpool/internal/bench/bare"
)

// Config of a comparison.
type Config struct {
	Ckpool, Ckbench string // the programs
	Rounds          int
	Only            string // part to measure, of Parts; empty: all
	Size            Size
	Other           *Other            // nil: none
	Progress        func(line string) // what is being done; nil: nobody is told

	changing bool // transactions come and go every second, and so do jobs
}

// Other is a further server to measure, which runs already.
type Other struct {
	Address, User, Password string
	Pid                     int
	RPC, PayTo              string // its node, for rows with new blocks; empty: without them
}

// Size is how much load there is.
type Size struct {
	Miners       int   // many
	Most         int   // as many as there can be; no more than Miners: not measured
	Few          int   // for the rows that say so
	Shares       int64 // pipelined
	Pipelining   int   // miners that do
	Steady       int   // miners of a steady rate
	Rate         float64
	Period       time.Duration // of a steady rate
	Settle       time.Duration // before memory is read
	Blocks       int           // of a round
	Transactions int           // in a template
	Farm         int           // miners of a farm
	FarmRate     float64       // their shares a second
}

// FullSize is that of the budget.
var FullSize = Size{Most: mostMiners(), Miners: 10_000, Few: 1_000, Shares: 500_000, Pipelining: 50, Steady: 200, Rate: 2_000,
	Period: 5 * time.Second, Settle: 2 * time.Second, Blocks: 3, Transactions: 4_000, Farm: 2_000, FarmRate: 10_000}

// kind of server.
type kind int

const (
	pool kind = iota
	floor
	other
	solo
	journaled
	proxy
	shown
	kinds
)

var kindNames = [kinds]string{"ckpool", "bare loop", "other", "ckpool -B", "ckpool with a journal", "ckpool -p", "ckpool with its page"}

// Run measures and returns the table.
func Run(ctx context.Context, c Config) (*Report, error) {
	r, done, err := prepare(ctx, c)
	if err != nil {
		return nil, err
	}
	defer done()
	for round := range c.Rounds {
		if err := r.round(ctx, round); err != nil {
			return nil, err
		}
	}
	r.report.Took = time.Since(r.report.Began)
	return r.report, nil
}

// prepare starts what all measurements need; done ends it.
func prepare(ctx context.Context, c Config) (r *run, done func(), err error) {
	if c.Rounds < 1 || c.Rounds > 100 {
		return nil, nil, fmt.Errorf("%d rounds: must be 1 to 100", c.Rounds)
	}
	if c.Only != "" && !slices.Contains(Parts(), c.Only) {
		return nil, nil, fmt.Errorf("part %q: must be one of %q", c.Only, Parts())
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	dir, err := os.MkdirTemp("", "ckbench-")
	if err != nil {
		return nil, nil, err
	}
	r = &run{Config: c, dir: dir, report: newReport(c)}
	if err := r.start(ctx); err != nil {
		os.RemoveAll(dir)
		return nil, nil, err
	}
	return r, func() {
		r.node.stop()
		os.RemoveAll(dir)
	}, nil
}

// run is the state of a comparison.
type run struct {
	Config
	dir     string
	node    *nodeProcess
	answers *bare.Answers
	starts  int // of servers
	report  *Report
}

// start starts the node and asks a pool what the bare loop is to say.
func (r *run) start(ctx context.Context) error {
	var err error
	if r.node, err = startNode(ctx, r.Ckbench, r.Size.Transactions, r.changing); err != nil {
		return err
	}
	s, err := r.server(ctx, pool)
	if err == nil {
		r.answers, err = bare.Sample(ctx, s.address, "bench", "x")
		s.stop()
	}
	if err != nil {
		r.node.stop()
	}
	return err
}

// section is measurements of one process after its start.
type section struct {
	name  string
	kinds []kind
	run   func(*run, context.Context, *server) error
}

const mostName = "most"

var sections = []section{
	{"shares", []kind{pool, journaled, floor, other}, (*run).shares},
	{"memory", []kind{pool, floor, other}, (*run).memory},
	{mostName, []kind{pool, floor, other}, (*run).most},
	{"blocks", []kind{pool, floor, other}, (*run).blocks},
	{"solo", []kind{solo}, (*run).solo},
	{"farm", []kind{pool, proxy}, (*run).farm},
	{"page", []kind{shown}, (*run).page},
}

// Parts are the names of the parts of the table, which can be measured alone.
func Parts() (names []string) {
	for _, s := range sections {
		names = append(names, s.name)
	}
	return names
}

// round does all sections, each with all servers in turn; every other round
// begins with the last.
func (r *run) round(ctx context.Context, round int) error {
	for _, s := range sections {
		if r.Only != "" && r.Only != s.name || s.name == mostName && r.Size.Most <= r.Size.Miners {
			continue
		}
		list := slices.Clone(s.kinds)
		if round%2 == 1 {
			slices.Reverse(list)
		}
		for _, k := range list {
			if k == other && r.Other == nil {
				continue
			}
			r.Progress(fmt.Sprintf("round %d of %d: %s of %s", round+1, r.Rounds, s.name, kindNames[k]))
			server, err := r.server(ctx, k)
			if err != nil {
				return err
			}
			err = s.run(r, ctx, server)
			server.stop()
			if err != nil {
				return fmt.Errorf("%s of %s: %w", s.name, kindNames[k], err)
			}
		}
	}
	return nil
}
