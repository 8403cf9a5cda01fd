package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process has used so far.
type usage struct {
	cpu time.Duration // user and system
	rss int64         // resident bytes
}

// processUsage reads the usage of a process from /proc; pid 0 has none.
func processUsage(pid int) (u usage, err error) {
	if pid == 0 {
		return u, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, fmt.Errorf("process %d: %w", pid, err)
	}
	// The name is in parentheses and may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 22 {
		return u, fmt.Errorf("process %d: /proc/%d/stat has %d fields", pid, pid, len(fields))
	}
	if u.cpu, err = processCPU(pid); err != nil {
		return u, fmt.Errorf("process %d: %w", pid, err)
	}
	pages, err := strconv.ParseInt(string(fields[21]), 10, 64)
	if err != nil {
		return u, fmt.Errorf("process %d: %w", pid, err)
	}
	u.rss = pages * int64(os.Getpagesize())
	return u, nil
}

// processCPU is the user and system time of a process by its own clock, which
// counts nanoseconds; /proc counts hundredths of a second.
func processCPU(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED of the kernel's clock ids
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|scheduled, &t); err != nil {
		return 0, fmt.Errorf("CPU clock: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// Resident is the memory of a process in bytes.
func Resident(pid int) (int64, error) {
	u, err := processUsage(pid)
	return u.rss, err
}

// ownCPU is the CPU time of this process.
func ownCPU() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// Process is what the pool's process used in a measurement.
type Process struct {
	CPU       float64 `json:"cpu_s"`
	RSSBefore int64   `json:"rss_before"` // bytes, before the miners connected
	RSSAfter  int64   `json:"rss_after"`  // at the end of the measurement
}

func (p *Process) String() string {
	if p == nil {
		return "not measured (no --pid)"
	}
	return strings.TrimSpace(fmt.Sprintf("CPU %.2f s, resident %.1f MB before, %.1f MB after", p.CPU, megabytes(p.RSSBefore), megabytes(p.RSSAfter)))
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }

// meter measures the pool's process between two points.
type meter struct {
	pid    int
	before usage // miners not yet connected
	start  usage // of the measurement
}

func newMeter(pid int) (*meter, error) {
	u, err := processUsage(pid)
	return &meter{pid, u, u}, err
}

// begin starts the measurement of CPU.
func (m *meter) begin() (err error) {
	m.start, err = processUsage(m.pid)
	return err
}

// startMeasured starts a load client of the plan, and when all its connections are
// ready the measurement of CPU. The client is the caller's to close.
func startMeasured(ctx context.Context, o Options, p plan) (e *engine, m *meter, err error) {
	if m, err = newMeter(o.Pid); err != nil {
		return nil, nil, err
	}
	if e, err = start(ctx, o, p); err != nil {
		return nil, nil, err
	}
	if err = e.allReady(ctx); err == nil {
		err = m.begin()
	}
	if err != nil {
		e.close()
		return nil, nil, err
	}
	return e, m, nil
}

func (m *meter) end() (*Process, error) {
	if m.pid == 0 {
		return nil, nil
	}
	u, err := processUsage(m.pid)
	if err != nil {
		return nil, err
	}
	return &Process{CPU: (u.cpu - m.start.cpu).Seconds(), RSSBefore: m.before.rss, RSSAfter: u.rss}, nil
}
