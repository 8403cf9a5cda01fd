package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/bench/mob"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// HostileConfig is a run of Hostile.
type HostileConfig struct {
	Ckpool, Ckbench string
	Rounds          int
	Size            Size
	Mob             mob.Config
	Progress        func(line string)
}

// FullMob is the harm that the budget speaks of.
var FullMob = mob.Config{Deaf: 200, Sipping: 200, Dripping: 200, Garbage: 4, Churn: 5_000}

// What a slow client may cost, and all of them beside that.
const (
	backlogLimit = 1 << 20
	hostileSlack = 20e6
)

// HostileReport is how well-behaved miners fared among hostile clients.
type HostileReport struct {
	Mob    mob.Config
	Rounds int
	Miners int
	Rate   float64
	Of     [2]HostileSide // pool, floor
	// Of the pool:
	Drops  map[string]int64 // by reason, as its statistics say
	Lines  int              // of its log
	Chatty []string         // lines that came more than once a minute
	Faults []string
}

// HostileSide is the measured of one server, one figure for each round.
type HostileSide struct {
	Quiet, P50, P99, Max []float64 // latency in ms
	Growth               []float64 // of memory, in MB
	Thrown, Churned      int64
}

// Hostile measures the latency of well-behaved miners among hostile clients.
func Hostile(ctx context.Context, c HostileConfig) (*HostileReport, error) {
	r, done, err := prepare(ctx, Config{Ckpool: c.Ckpool, Ckbench: c.Ckbench, Rounds: c.Rounds, Size: c.Size, Progress: c.Progress})
	if err != nil {
		return nil, err
	}
	defer done()
	h := &HostileReport{Mob: c.Mob, Rounds: c.Rounds, Miners: c.Size.Steady, Rate: c.Size.Rate, Drops: map[string]int64{}}
	for round := range c.Rounds {
		list := []kind{pool, floor}
		if round%2 == 1 {
			slices.Reverse(list)
		}
		for _, k := range list {
			r.Progress(fmt.Sprintf("round %d of %d: hostile clients of %s", round+1, c.Rounds, kindNames[k]))
			if err := r.hostile(ctx, k, h); err != nil {
				return nil, fmt.Errorf("hostile clients of %s: %w", kindNames[k], err)
			}
		}
	}
	h.Faults = append(h.Faults, r.report.Faults...)
	h.findFaults()
	return h, nil
}

// hostile measures one server: first alone, then with the mob.
func (r *run) hostile(ctx context.Context, k kind, h *HostileReport) error {
	s, err := r.server(ctx, k)
	if err != nil {
		return err
	}
	defer s.stop()
	quiet, err := r.steady(ctx, s, 0)
	if err != nil {
		return err
	}
	before, err := bench.Resident(s.pid)
	if err != nil {
		return err
	}
	m, err := startMob(r.Ckbench, s.address, h.Mob)
	if err != nil {
		return err
	}
	watch := watchMemory(s.pid, time.Second/4)
	if err := sleep(ctx, r.Size.Settle/2); err != nil {
		m.stop()
		return err
	}
	under, err := r.steady(ctx, s, 0)
	most := watch()
	report, mobErr := m.report(ctx)
	switch {
	case err != nil:
		return err
	case mobErr != nil:
		return mobErr
	}
	side := &h.Of[k]
	side.Quiet = append(side.Quiet, quiet.Latency.P99/1e3)
	side.P50 = append(side.P50, under.Latency.P50/1e3)
	side.P99 = append(side.P99, under.Latency.P99/1e3)
	side.Max = append(side.Max, under.Latency.Max/1e3)
	side.Growth = append(side.Growth, float64(most-before)/1e6)
	side.Thrown += report.Thrown
	side.Churned += report.Churned
	if k != pool {
		return nil
	}
	if err := s.drops(ctx, h.Drops); err != nil {
		return err
	}
	return h.readLog(s)
}

// drops adds the dropped connections by reason, as the pool tells them.
func (s *server) drops(ctx context.Context, into map[string]int64) error {
	text, err := wait.Reply(ctx, control.Dial(s.sockets, "", "connector"), "stats")
	if err != nil {
		return err
	}
	var stats struct{ Drops map[string]int64 }
	if err := json.Unmarshal([]byte(text), &stats); err != nil {
		return fmt.Errorf("statistics of the pool: %w", err)
	}
	for reason, n := range stats.Drops {
		into[reason] += n
	}
	return nil
}

func (h *HostileReport) readLog(s *server) error {
	lines, chatty, err := readLog(s.log)
	h.Lines += lines
	h.Chatty = append(h.Chatty, chatty...)
	return err
}

// findFaults adds what is beyond the budget to the faults.
func (h *HostileReport) findFaults() {
	fault := func(format string, args ...any) { h.Faults = append(h.Faults, fmt.Sprintf(format, args...)) }
	ours, bare := medianOf(h.Of[pool].P99), medianOf(h.Of[floor].P99)
	if ours > 2*bare {
		fault("p99 of the well-behaved is %s ms, more than twice that of the bare loop, %s ms", short(ours), short(bare))
	}
	if limit := (float64(h.Mob.Slow()*backlogLimit) + hostileSlack) / 1e6; slices.Max(h.Of[pool].Growth) > limit {
		fault("memory grew by %s MB, more than %s MB", short(slices.Max(h.Of[pool].Growth)), short(limit))
	}
	if h.Mob.Garbage > 0 && h.Drops["bad input"]+h.Drops["line too long"] < h.Of[pool].Thrown/2 {
		fault("%d connections were thrown out, the statistics tell %v", h.Of[pool].Thrown, h.Drops)
	}
	for _, l := range h.Chatty {
		fault("logged more than once a minute: %s", l)
	}
}

func medianOf(values []float64) float64 {
	return median(slices.Sorted(slices.Values(values)))
}

// Print writes the report.
func (h *HostileReport) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d well-behaved miners with %g shares per second, among %d clients that never read, %d that read a byte a second,\n"+
		"%d that send a byte a second, %d that send garbage at line rate, and %d connections a second opened and closed;\n"+
		"%d rounds: median (lowest – highest).\n\n",
		h.Miners, h.Rate, h.Mob.Deaf, h.Mob.Sipping, h.Mob.Dripping, h.Mob.Garbage, h.Mob.Churn, h.Rounds)
	line(&b, "quantity", "ckpool", "bare loop")
	b.WriteString("|---|--:|--:|\n")
	for _, q := range []struct {
		name, unit string
		of         func(*HostileSide) []float64
	}{
		{"reply latency p99 before", "ms", func(s *HostileSide) []float64 { return s.Quiet }},
		{"reply latency among them, p50", "ms", func(s *HostileSide) []float64 { return s.P50 }},
		{"… p99", "ms", func(s *HostileSide) []float64 { return s.P99 }},
		{"… max", "ms", func(s *HostileSide) []float64 { return s.Max }},
		{"memory more than before", "MB", func(s *HostileSide) []float64 { return s.Growth }},
	} {
		row := row{unit: q.unit}
		line(&b, q.name, row.cell(q.of(&h.Of[pool])), row.cell(q.of(&h.Of[floor])))
	}
	line(&b, "connections thrown out", fmt.Sprint(h.Of[pool].Thrown), fmt.Sprint(h.Of[floor].Thrown))
	line(&b, "connections opened and closed", fmt.Sprint(h.Of[pool].Churned), fmt.Sprint(h.Of[floor].Churned))
	reasons := make([]string, 0, len(h.Drops))
	for reason, n := range h.Drops {
		if n > 0 {
			reasons = append(reasons, fmt.Sprintf("%s %d", reason, n))
		}
	}
	sort.Strings(reasons)
	fmt.Fprintf(&b, "\nEnded connections by ckpool's own count: %s. Lines in its log: %d.\n", strings.Join(reasons, ", "), h.Lines)
	for _, f := range h.Faults {
		fmt.Fprintf(&b, "FAULT: %s\n", f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Failed tells whether something is beyond the budget.
func (h *HostileReport) Failed() bool { return len(h.Faults) > 0 }
