package history

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/latency"
	"github.com/ckpool/ckpool/internal/operator"
)

// mining is a pool that mines steadily.
type mining struct {
	begun   time.Time
	workers int
	silent  atomic.Bool // nobody had a share for a day
}

func (m *mining) PoolStats(now time.Time) control.PoolStats {
	s := now.Sub(m.begun).Seconds()
	return control.PoolStats{
		Update: control.At(now), Workers: int64(m.workers), Users: 1, DSPS1: 2,
		TotalAccepted: 3 * s, TotalRejected: 0.5 * s,
	}
}

// Latencies are those of a share a second, which takes longer after an hour, and of a new
// tip each ten minutes.
func (m *mining) Latencies() (l operator.Latencies) {
	now := time.Now()
	s := uint64(now.Sub(m.begun) / time.Second)
	var answers, notifies latency.Counter
	answers.Count(75*time.Microsecond, min(s, 3600))
	if s > 3600 {
		answers.Count(time.Second, s-3600)
	}
	notifies.Count(5*time.Millisecond, s/600)
	answers.AddTo(&l.Answers)
	notifies.AddTo(&l.Notifies)
	l.LastNotified = 7 * time.Millisecond
	return l
}

func (m *mining) UserRates(time.Time) iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		if !m.silent.Load() {
			yield("alice", 1e12)
		}
	}
}

func (m *mining) WorkerRates(time.Time) iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		for i := range m.workers {
			if m.silent.Load() || !yield(fmt.Sprintf("alice.%d", i), float64(i)) {
				return
			}
		}
	}
}

// log is what was told.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) tell(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, e.Text)
}

func (l *log) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

// run runs h until the returned function is called.
func run(t *testing.T, h *History) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		h.Run(ctx)
		close(done)
	}()
	return func() {
		cancel()
		<-done
	}
}

// values of one series.
func values(t *testing.T, c Curve, err error) []float64 {
	t.Helper()
	if err != nil || len(c.Values) != 1 {
		t.Fatalf("%v, %v", c, err)
	}
	return c.Values[0]
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "history")
		m := &mining{begun: time.Now(), workers: 3}
		var told log
		h := New(dir, m, told.tell)
		if _, err := h.User("alice", time.Now(), time.Now(), 10); !errors.Is(err, ErrClosed) {
			t.Errorf("before Run: %v", err)
		}
		end := run(t, h)
		time.Sleep(2*time.Hour + time.Second)
		begun := time.Now().Add(-90 * time.Minute)
		for figure, want := range map[string]float64{HashRate: 2 * (1 << 32), Miners: 3, Users: 1, Accepted: 3, Rejected: 0.5} {
			c, err := h.Pool(begun, time.Now(), 10_000, figure)
			for i, v := range values(t, c, err) {
				if !near(v, want) || c.Period != 10*time.Second {
					t.Fatalf("%s, value %d each %v: %v, want %v", figure, i, c.Period, v, want)
				}
			}
		}
		c, err := h.Worker("alice.2", begun, time.Now(), 1000)
		if v := values(t, c, err); len(v) != 19 || v[0] != 2 || v[18] != 2 || c.Period != 5*time.Minute {
			t.Errorf("%v each %v", v, c.Period)
		}

		// The end, half an hour without a process, and another one.
		end()
		if _, err := h.User("alice", time.Now(), time.Now(), 10); !errors.Is(err, ErrClosed) {
			t.Errorf("after Run: %v", err)
		}
		time.Sleep(30 * time.Minute)
		h = New(dir, m, told.tell)
		end = run(t, h)
		defer end()
		time.Sleep(30 * time.Minute)
		c, err = h.User("alice", time.Now().Add(-2*time.Hour), time.Now(), 1000)
		gap := 0
		for _, v := range values(t, c, err) {
			if math.IsNaN(v) {
				gap++
			} else if !near(v, 1e12) {
				t.Errorf("%v", v)
			}
		}
		if gap != 6 && gap != 5 {
			t.Errorf("half an hour is a gap of %d times five minutes", gap)
		}
		m.silent.Store(true)
		time.Sleep(time.Hour)
		c, err = h.User("alice", time.Now().Add(-time.Minute), time.Now(), 1000)
		if v := values(t, c, err); !math.IsNaN(v[0]) {
			t.Errorf("who is silent has %v", v)
		}
		c, err = h.User("mallory", time.Now().Add(-time.Hour), time.Now(), 1000)
		if v := values(t, c, err); len(v) != 13 || !math.IsNaN(v[0]) {
			t.Errorf("who is not known has %v", v)
		}
		if lines := told.take(); len(lines) > 0 {
			t.Errorf("told: %q", lines)
		}
	})
}

// Quantiles are of the time that is asked for, not of all since the start.
func TestLatencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mining{begun: time.Now(), workers: 1}
		h := New(filepath.Join(t.TempDir(), "history"), m, nil)
		end := run(t, h)
		defer end()
		time.Sleep(75 * time.Second)
		if l := h.Latencies(10 * time.Minute); l.Answers.Number() != 75 || !near(l.Answers.Quantile(0.5), 75e-6) {
			t.Errorf("since the start: %+v", l.Answers)
		}
		time.Sleep(time.Hour)
		now := time.Now()
		for within, want := range map[time.Duration]uint64{0: 5, time.Minute: 65, 5 * time.Minute: 305, 10 * time.Minute: 605, time.Hour: 605} {
			if n := h.Latencies(within); n.Answers.Number() != want {
				t.Errorf("within %v: %d shares, want %d", within, n.Answers.Number(), want)
			}
		}
		if l := h.Latencies(30 * time.Second); l.Answers.Quantile(0.01) < 0.5 || l.LastNotified != 7*time.Millisecond {
			t.Errorf("the last 30 s: %+v", l)
		}
		for _, tt := range []struct {
			figure    string
			ago       time.Duration
			low, high float64
		}{
			{ShareP50, 30 * time.Minute, 50e-6, 100e-6}, {ShareP99, 30 * time.Minute, 50e-6, 100e-6}, {ShareP50, 30 * time.Second, 0.5, 1},
		} {
			c, err := h.Pool(now.Add(-tt.ago), now.Add(-tt.ago), 10, tt.figure)
			if v := values(t, c, err); len(v) != 1 || v[0] < tt.low || v[0] > tt.high {
				t.Errorf("%s %v ago: %v", tt.figure, tt.ago, v)
			}
		}
		c, err := h.Pool(now.Add(-25*time.Minute), now, 1000, LastNotify)
		tips := 0
		for _, v := range values(t, c, err) {
			if !math.IsNaN(v) {
				tips++
				if !near(v, 0.007) {
					t.Errorf("told after %v s", v)
				}
			}
		}
		if tips < 2 || tips > 3 {
			t.Errorf("%d tips in 25 minutes", tips)
		}
	})
}

// While it is held nothing is written, and another process may.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "history")
		m := &mining{begun: time.Now(), workers: 1}
		h := New(dir, m, nil)
		end := run(t, h)
		time.Sleep(time.Minute)
		if err := h.Hold(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.Hold(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("held twice: %v", err)
		}
		before, err := os.ReadFile(filepath.Join(dir, "pool"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		after, err := os.ReadFile(filepath.Join(dir, "pool"))
		if err != nil || string(after) != string(before) {
			t.Errorf("written while held, %v", err)
		}
		h.Release()
		time.Sleep(time.Minute)
		c, err := h.Pool(time.Now(), time.Now(), 1, Miners)
		if v := values(t, c, err); v[0] != 1 {
			t.Errorf("after that: %v", v)
		}
		// The next process has it for good.
		if err := h.Hold(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		end()
	})
}

// full is a file on a disk that is full at times.
type full struct {
	file
	is *atomic.Bool
}

func (f full) WriteAt(b []byte, at int64) (int, error) {
	if f.is.Load() {
		return 0, &os.PathError{Op: "write", Path: "pool", Err: syscall.ENOSPC}
	}
	return f.file.WriteAt(b, at)
}

func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mining{begun: time.Now(), workers: 1}
		var told log
		h := New(filepath.Join(t.TempDir(), "history"), m, told.tell)
		var is atomic.Bool
		for _, table := range h.tables() {
			table.open = func(path string) (file, error) {
				f, err := openFile(path)
				return full{f, &is}, err
			}
		}
		end := run(t, h)
		defer end()
		time.Sleep(5*time.Minute + 5*time.Second)
		is.Store(true)
		time.Sleep(10 * time.Minute)
		is.Store(false)
		lines := told.take()
		if len(lines) < 9 || len(lines) > 11 || !strings.Contains(lines[0], "no space left") {
			t.Errorf("ten minutes of a full disk: %q", lines)
		}
		time.Sleep(5 * time.Minute)
		c, err := h.Pool(time.Now().Add(-20*time.Minute), time.Now(), 1000, Miners)
		none := 0
		for _, v := range values(t, c, err) {
			if math.IsNaN(v) {
				none++
			}
		}
		if none != 60 {
			t.Errorf("%d values are missing, want the 60 of ten minutes", none)
		}
		if lines := told.take(); len(lines) > 0 {
			t.Errorf("afterwards: %q", lines)
		}
	})
}

// A file that cannot be made is tried again; nothing else suffers.
func TestNoDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "history")
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var told log
		h := New(dir, &mining{begun: time.Now(), workers: 1}, told.tell)
		end := run(t, h)
		defer end()
		time.Sleep(time.Minute + time.Second)
		if lines := told.take(); len(lines) != 2 {
			t.Errorf("in a minute: %q", lines)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		c, err := h.Pool(time.Now(), time.Now(), 1, Miners)
		if v := values(t, c, err); v[0] != 1 {
			t.Errorf("%v", v)
		}
	})
}

// More users than there is room for are told once a day.
func TestNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mining{begun: time.Now(), workers: 5}
		var told log
		h := New(filepath.Join(t.TempDir(), "history"), m, told.tell)
		h.workers = newTable(h.workers.path, shape{3, workerShape.resolutions})
		end := run(t, h)
		defer end()
		time.Sleep(2 * time.Hour)
		if lines := told.take(); len(lines) != 1 || !strings.Contains(lines[0], "room for 3 curves, 2 more") {
			t.Errorf("%q", lines)
		}
	})
}

// BenchmarkWrite writes five minutes of 20,000 workers.
func BenchmarkWrite(b *testing.B) {
	tab := newTable(filepath.Join(b.TempDir(), "workers"), workerShape)
	now := time.Unix(1e9, 0)
	if _, err := tab.load(now); err != nil {
		b.Fatal(err)
	}
	defer tab.close()
	m := &mining{workers: 20_000}
	for b.Loop() {
		now = now.Add(5 * time.Minute)
		if _, err := tab.write(now, m.WorkerRates(now)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCurve reads a month of a worker.
func BenchmarkCurve(b *testing.B) {
	tab := newTable(filepath.Join(b.TempDir(), "workers"), workerShape)
	now := time.Unix(1e9, 0)
	if _, err := tab.load(now); err != nil {
		b.Fatal(err)
	}
	defer tab.close()
	m := &mining{workers: 20_000}
	for range 800 {
		now = now.Add(time.Hour)
		if _, err := tab.write(now, m.WorkerRates(now)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := tab.curve(now, []string{"alice.7"}, now.Add(-31*24*time.Hour), now, 1000); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPool writes ten seconds of the pool.
func BenchmarkPool(b *testing.B) {
	m := &mining{workers: 20_000}
	h := New(b.TempDir(), m, nil)
	now := time.Unix(1e9, 0)
	if _, err := h.pool.load(now); err != nil {
		b.Fatal(err)
	}
	defer h.pool.close()
	for b.Loop() {
		now = now.Add(10 * time.Second)
		if _, err := h.pool.write(now, h.poolFigures(now)); err != nil {
			b.Fatal(err)
		}
	}
}
