package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/bench/mob"
)

// mobProcess is hostile clients in a process of their own.
type mobProcess struct{ *process }

func startMob(ckbench, address string, c mob.Config) (*mobProcess, error) {
	p, err := launch(ckbench, "mob", "--json", "--pool", address, "--deaf", fmt.Sprint(c.Deaf), "--sipping", fmt.Sprint(c.Sipping),
		"--dripping", fmt.Sprint(c.Dripping), "--garbage", fmt.Sprint(c.Garbage), "--churn", fmt.Sprint(c.Churn), "--duration", "0")
	if err != nil {
		return nil, err
	}
	return &mobProcess{p}, nil
}

// report ends the clients and returns what they did.
func (m *mobProcess) report(ctx context.Context) (*mob.Report, error) {
	defer m.stop()
	if err := m.cmd.Process.Signal(os.Interrupt); err != nil {
		return nil, err
	}
	text, err := m.line(ctx, "{")
	if err != nil {
		return nil, err
	}
	r := new(mob.Report)
	return r, json.Unmarshal([]byte("{"+text), r)
}

// watchMemory looks at a process's memory until the returned function is
// called, which returns the most.
func watchMemory(pid int, every time.Duration) (stop func() int64) {
	var most int64
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			if n, err := bench.Resident(pid); err == nil {
				most = max(most, n)
			}
			select {
			case <-done:
				return
			case <-t.C:
			}
		}
	})
	return func() int64 {
		close(done)
		wg.Wait()
		return most
	}
}

var (
	logStamp = regexp.MustCompile(`^\[([^\]]+)\] `)
	// variable is what differs in lines that say the same.
	variable = regexp.MustCompile(`[0-9a-f]*[0-9][0-9a-f.:]*`)
	// usual are lines that come whatever clients do, and those about single ones,
	// which have a limit of their own.
	usual = regexp.MustCompile(`^(Pool:|User |Worker |New block|Network diff|ZMQ block hash|Loaded |Authorised client|Client |Dropped client |Dropped workerless|Changes of difficulty: |Rejected |Refused links: )`)
)

// readLog counts the lines of a log and returns those that came again within a
// minute.
func readLog(path string) (lines int, chatty []string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, nil, err
	}
	last := map[string]time.Time{}
	for l := range strings.Lines(string(text)) {
		stamp := logStamp.FindStringSubmatch(l)
		if stamp == nil {
			continue
		}
		lines++
		said := strings.TrimSpace(l[len(stamp[0]):])
		at, err := time.Parse("2006-01-02 15:04:05.000", stamp[1])
		if err != nil || usual.MatchString(said) {
			continue
		}
		shape := variable.ReplaceAllString(said, "#")
		if before, known := last[shape]; known && at.Sub(before) < 59*time.Second {
			chatty = append(chatty, said)
			continue
		}
		last[shape] = at
	}
	return lines, chatty, nil
}
