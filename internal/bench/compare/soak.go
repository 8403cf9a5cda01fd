package compare

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/bench/mob"
)

// LongConfig is a run of Soak or Jobs.
type LongConfig struct {
	Ckpool, Ckbench string
	Duration        time.Duration
	Size            Size
	Mob             mob.Config // Soak
	Progress        func(line string)
}

// SoakMob is the hostile part of a mixed load: it leaves the machine time for
// the other part.
var SoakMob = mob.Config{Deaf: 50, Sipping: 50, Dripping: 50, Garbage: 1, Churn: 500}

// JobsSize is what many large jobs are measured with.
var JobsSize = Size{Miners: 5_000, Transactions: 10_000, Settle: 2 * time.Second}

// LongReport is how a pool fared for long.
type LongReport struct {
	What   string
	Memory []float64 // MB, every tenth of the time; first that of the beginning
	Lines  []string  // further figures
	Faults []string
}

// flatLimit is how much memory may grow from the fourth tenth of a soak to its
// last, in MB.
const flatLimit = 5

// Soak mixes well-behaved and hostile clients and new blocks for long.
func Soak(ctx context.Context, c LongConfig) (*LongReport, error) {
	r, done, err := prepare(ctx, Config{Ckpool: c.Ckpool, Ckbench: c.Ckbench, Rounds: 1, Size: c.Size, Progress: c.Progress})
	if err != nil {
		return nil, err
	}
	defer done()
	s, err := r.server(ctx, pool)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	m, err := startMob(r.Ckbench, s.address, c.Mob)
	if err != nil {
		return nil, err
	}
	l := &LongReport{What: fmt.Sprintf("%d miners with %g shares per second, %d idle ones, a block every 10 s, and hostile clients, for %v",
		c.Size.Steady, c.Size.Rate, c.Size.Few, c.Duration)}
	watch := l.watchMemory(s.pid, c.Duration/10)
	p, err := bench.Shares(ctx, bench.SharesConfig{Options: s.options(c.Size.Steady), Window: 1, Rate: c.Size.Rate,
		Duration: c.Duration, Idle: c.Size.Few, Block: s.block, Every: min(10*time.Second, c.Duration/4)})
	watch()
	did, mobErr := m.report(ctx)
	switch {
	case err != nil:
		return nil, err
	case mobErr != nil:
		return nil, mobErr
	}
	drops := map[string]int64{}
	if err := s.drops(ctx, drops); err != nil {
		return nil, err
	}
	l.say("%d shares accepted, %d stale, %d without reply, %d connections lost", p.Accepted, p.Rejected, p.Unanswered, p.Dropped)
	l.say("latency p50 %s ms, p99 %s ms, max %s ms", short(p.Latency.P50/1e3), short(p.Latency.P99/1e3), short(p.Latency.Max/1e3))
	l.say("hostile clients: %d requests unread, %.0f MB of garbage, %d thrown out, %d opened and closed", did.Asked, float64(did.Garbage)/1e6, did.Thrown, did.Churned)
	l.say("ended connections by ckpool's own count: %v", drops)
	if p.Failed() {
		l.fault("not every share got its one reply over a lasting connection")
	}
	if from := l.Memory[min(3, len(l.Memory)-1)]; l.Memory[len(l.Memory)-1]-from > flatLimit {
		l.fault("memory is not flat")
	}
	lines, chatty, err := readLog(s.log)
	l.say("%d lines in the log", lines)
	for _, c := range chatty {
		l.fault("logged more than once a minute: %s", c)
	}
	return l, err
}

// jobsLimit is how much memory all kept jobs may cost beside one, in MB.
const jobsLimit = 150

// Jobs gives many miners a new job of a large template every second.
func Jobs(ctx context.Context, c LongConfig) (*LongReport, error) {
	r, done, err := prepare(ctx, Config{Ckpool: c.Ckpool, Ckbench: c.Ckbench, Rounds: 1, Size: c.Size, Progress: c.Progress, changing: true})
	if err != nil {
		return nil, err
	}
	defer done()
	s, err := r.server(ctx, pool)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	l := &LongReport{What: fmt.Sprintf("%d miners, a template of %d transactions every second, for %v", c.Size.Miners, c.Size.Transactions, c.Duration)}
	before, err := s.jobs(ctx)
	if err != nil {
		return nil, err
	}
	watch := l.watchMemory(s.pid, c.Duration/10)
	p, err := bench.Idle(ctx, bench.IdleConfig{Options: s.options(c.Size.Miners), Duration: c.Duration})
	watch()
	if err != nil {
		return nil, err
	}
	after, err := s.jobs(ctx)
	if err != nil {
		return nil, err
	}
	l.say("%d jobs made, %d kept; each miner got %d to %d", after.Generated-before.Generated, after.Count, p.Fewest, p.Most)
	l.say("CPU %s s", short(p.Server.CPU))
	// The first and the last may be made before and after the miners are there.
	if p.Failed() || p.Fewest < after.Generated-before.Generated-3 {
		l.fault("miners missed jobs")
	}
	// A busy machine may make some later.
	if updates := int64(c.Duration/(1100*time.Millisecond)) - 3; after.Generated-before.Generated < updates {
		l.fault("%d jobs in %v, want at least %d", after.Generated-before.Generated, c.Duration, updates)
	}
	if growth := slices.Max(l.Memory) - l.Memory[0]; growth > jobsLimit {
		l.fault("memory grew by %s MB, more than %d MB", short(growth), jobsLimit)
	}
	return l, nil
}

type jobCount struct{ Count, Generated int64 }

// jobs counts the pool's jobs.
func (s *server) jobs(ctx context.Context) (jobCount, error) {
	var stats struct{ Workbases jobCount }
	err := ask(ctx, s, "stratifierstats", &stats)
	return stats.Workbases, err
}

// watchMemory notes the memory of a process at the beginning, then whenever so
// much time has passed, and at the end.
func (l *LongReport) watchMemory(pid int, every time.Duration) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	look := func() {
		if n, err := bench.Resident(pid); err == nil {
			l.Memory = append(l.Memory, float64(n)/1e6)
		}
	}
	look()
	wg.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-done:
				look()
				return
			case <-t.C:
				look()
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

func (l *LongReport) say(format string, args ...any) {
	l.Lines = append(l.Lines, fmt.Sprintf(format, args...))
}

func (l *LongReport) fault(format string, args ...any) {
	l.Faults = append(l.Faults, fmt.Sprintf(format, args...))
}

// Failed tells whether something was not as it should be.
func (l *LongReport) Failed() bool { return len(l.Faults) > 0 }

// Print writes the report.
func (l *LongReport) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintln(&b, l.What)
	for _, s := range l.Lines {
		fmt.Fprintln(&b, s)
	}
	b.WriteString("resident memory over time in MB:")
	for _, m := range l.Memory {
		b.WriteString(" " + short(m))
	}
	b.WriteString("\n")
	for _, f := range l.Faults {
		fmt.Fprintf(&b, "FAULT: %s\n", f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
