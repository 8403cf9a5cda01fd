package history

import (
	"context"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/latency"
	"github.com/ckpool/ckpool/internal/operator"
)

// Source is where figures come from. Its methods are called on the goroutine of Run,
// and may be called at any time.
type Source interface {
	// PoolStats are the statistics of the pool.
	PoolStats(now time.Time) control.PoolStats
	// Latencies are counted since the start.
	Latencies() operator.Latencies
	// UserRates and WorkerRates are all users and workers that had a share within a
	// day, each once, with their hashes per second over five minutes.
	UserRates(now time.Time) iter.Seq2[string, float64]
	WorkerRates(now time.Time) iter.Seq2[string, float64]
}

// Figures of the pool.
const (
	HashRate = "hashrate" // hashes per second, over a minute
	Miners   = "miners"   // connected
	Users    = "users"    // with a miner connected
	// Accepted and Rejected are difficulty of shares per second. What part is rejected
	// is Rejected / (Accepted + Rejected), over however long a time.
	Accepted = "accepted"
	Rejected = "rejected"
	// ShareP50 and ShareP99 are the seconds from the arrival of a share to its answer
	// that half of all shares took at most, and 99 of 100.
	ShareP50 = "share_p50"
	ShareP99 = "share_p99"
	// LastNotify is the seconds from work on a new tip to the last miner that was told
	// of it, in the period of that.
	LastNotify = "last_notify"
)

// figures are all figures of the pool. What one is called stands in files: one that is
// new comes with a name of its own, and what has none any more is kept.
var figures = []struct {
	name string
	of   func(s *sample) float64
}{
	{HashRate, func(s *sample) float64 { return s.DSPS1 * difficulty.HashesPerDifficulty }},
	{Miners, func(s *sample) float64 { return float64(s.Workers) }},
	{Users, func(s *sample) float64 { return float64(s.Users) }},
	{Accepted, func(s *sample) float64 { return s.rate(s.TotalAccepted, s.last.TotalAccepted) }},
	{Rejected, func(s *sample) float64 { return s.rate(s.TotalRejected, s.last.TotalRejected) }},
	{ShareP50, func(s *sample) float64 { return s.answers.Quantile(0.5) }},
	{ShareP99, func(s *sample) float64 { return s.answers.Quantile(0.99) }},
	{LastNotify, func(s *sample) float64 {
		if s.notifies.Number() == 0 {
			return math.NaN()
		}
		return s.lastNotified.Seconds()
	}},
}

// sample is what the pool has done at one time and at the one before.
type sample struct {
	control.PoolStats
	last              control.PoolStats // zero: there is none
	answers, notifies latency.Counts    // since the one before
	lastNotified      time.Duration
}

// rate is how much a sum has grown per second, NaN for the first sample.
func (s *sample) rate(now, before float64) float64 {
	if s.last.Update.IsZero() {
		return math.NaN()
	}
	return (now - before) / s.Update.Sub(s.last.Update.Time).Seconds()
}

// Shapes of the files. Each resolution but the last has an hour more than a day or a
// week, so that one that is asked for is in it at any time.
var (
	poolShape = shape{31, []Resolution{
		{10 * time.Second, 25 * 360},
		{time.Minute, 169 * 60},
		{time.Hour, 367 * 24},
	}}
	// Of 8191 users and 24575 workers: columns are whole pages of the disk.
	userShape   = shape{8<<10 - 1, []Resolution{{5 * time.Minute, 25 * 12}, {time.Hour, 32 * 24}}}
	workerShape = shape{24<<10 - 1, userShape.resolutions}
)

// History is the history of a pool. Its methods may be called from any goroutine.
type History struct {
	// immutable
	source  Source
	events  event.Func
	dir     string
	pool    *table
	users   *table
	workers *table

	busy chan struct{} // capacity 1; full while files are written, see Hold

	mu     sync.Mutex
	recent []latencies // guarded by mu: the newest last, recentLatencies at most

	// owned by Run
	last     control.PoolStats // the last sample
	told     time.Time         // when trouble was told last
	fullTold time.Time         // likewise that there is no room
}

// New prepares a history in files of a directory, which Run makes.
func New(dir string, source Source, events event.Func) *History {
	return &History{
		source: source, events: events, dir: dir,
		pool:    newTable(filepath.Join(dir, "pool"), poolShape),
		users:   newTable(filepath.Join(dir, "users"), userShape),
		workers: newTable(filepath.Join(dir, "workers"), workerShape),
		busy:    make(chan struct{}, 1),
	}
}

// Hold waits until nothing is being written and keeps it so until Release. The error is
// that of ctx.
func (h *History) Hold(ctx context.Context) error {
	select {
	case h.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("history is being written all the time: %w", context.Cause(ctx))
	}
}

// Release ends Hold.
func (h *History) Release() { <-h.busy }

// tables are the files, the one with the shortest periods first, and what is in them.
func (h *History) tables() []tableOf {
	return []tableOf{{h.pool, h.poolFigures}, {h.users, h.source.UserRates}, {h.workers, h.source.WorkerRates}}
}

type tableOf struct {
	*table
	values func(now time.Time) iter.Seq2[string, float64]
}

// Run keeps the history until the context ends. What hinders it is told, each minute at
// most, and tried again.
func (h *History) Run(ctx context.Context) {
	tables := h.tables()
	defer func() {
		for _, t := range tables {
			t.close()
		}
	}()
	wake := time.NewTimer(0)
	defer wake.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake.C:
		}
		if h.Hold(ctx) != nil {
			return
		}
		now := time.Now()
		for _, t := range tables {
			h.keep(t, now)
		}
		h.Release()
		step := poolShape.resolutions[0].Period
		now = time.Now()
		wake.Reset(now.Truncate(step).Add(step).Sub(now))
	}
}

// keep writes what is due of a table.
func (h *History) keep(t tableOf, now time.Time) {
	if !t.isOpen() {
		err := os.MkdirAll(h.dir, 0o750)
		var damage string
		if err == nil {
			damage, err = t.load(now)
		}
		if damage != "" {
			h.events.Say(event.Warning, "History: "+damage)
		}
		if err != nil {
			h.trouble(now, err)
			return
		}
	}
	if t.written(now) {
		return
	}
	noRoom, err := t.write(now, t.values(now))
	if err != nil {
		h.trouble(now, err)
	}
	if noRoom > 0 && now.Sub(h.fullTold) >= 24*time.Hour {
		h.fullTold = now
		h.events.Say(event.Warning, fmt.Sprintf("History: %s has room for %d curves, %d more are not kept", t.path, t.slots, noRoom))
	}
}

// trouble tells an error, one a minute.
func (h *History) trouble(now time.Time, err error) {
	if now.Sub(h.told) < time.Minute {
		return
	}
	h.told = now
	h.events.Say(event.Error, "Cannot write history: "+err.Error())
}

func (h *History) poolFigures(now time.Time) iter.Seq2[string, float64] {
	s := sample{PoolStats: h.source.PoolStats(now), last: h.last}
	h.last = s.PoolStats
	took := h.source.Latencies()
	before := h.took(latencies{now, took})
	s.answers, s.notifies, s.lastNotified = took.Answers.Less(before.Answers), took.Notifies.Less(before.Notifies), took.LastNotified
	return func(yield func(string, float64) bool) {
		for _, f := range figures {
			if !yield(f.name, f.of(&s)) {
				return
			}
		}
	}
}

// latencies are those at a time.
type latencies struct {
	at time.Time
	operator.Latencies
}

// recentLatencies is how many are in memory, one for each period of the pool.
const recentLatencies = 61

// took notes latencies and returns those before.
func (h *History) took(l latencies) (before latencies) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.recent); n > 0 {
		before = h.recent[n-1]
	}
	h.recent = append(h.recent, l)
	if n := len(h.recent); n > recentLatencies {
		h.recent = append(h.recent[:0], h.recent[n-recentLatencies:]...)
	}
	return before
}

// Latencies are how long things took in the last time of so long, ten minutes at most,
// to ten seconds: what is counted is of that time alone. LastNotified is that of the
// newest tip.
func (h *History) Latencies(within time.Duration) operator.Latencies {
	l := h.source.Latencies()
	h.mu.Lock()
	defer h.mu.Unlock()
	begin := time.Now().Add(-within)
	var before latencies // of the start, if there are none
	for i, k := range h.recent {
		if i == 0 && len(h.recent) == recentLatencies || !k.at.After(begin) {
			before = k
		}
	}
	l.Answers, l.Notifies = l.Answers.Less(before.Answers), l.Notifies.Less(before.Notifies)
	return l
}

// Pool is what the pool's figures were from one time to another, in at most so many
// values each, or two: means of the shortest periods that are kept for so long. The error is
// [ErrClosed], or that of the file.
func (h *History) Pool(from, to time.Time, most int, figures ...string) (Curve, error) {
	return h.pool.curve(time.Now(), figures, from, to, most)
}

// User is the hash rate of a user, as Pool is that of the pool. One who has none, or
// whom nobody knows, has no values.
func (h *History) User(name string, from, to time.Time, most int) (Curve, error) {
	return h.users.curve(time.Now(), []string{name}, from, to, most)
}

// Worker is User for a worker, by its full name.
func (h *History) Worker(name string, from, to time.Time, most int) (Curve, error) {
	return h.workers.curve(time.Now(), []string{name}, from, to, most)
}
