package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
)

// lines is a log that is kept in memory.
type lines struct {
	mu      sync.Mutex
	list    []string      // guarded by mu
	what    []any         // guarded by mu; that had a value
	changed chan struct{} // guarded by mu; closed and replaced with every line
}

func newLines() *lines { return &lines{changed: make(chan struct{})} }

// add is an [event.Func].
func (l *lines) add(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, fmt.Sprintf("%s %d %s", time.Now().Format("05.000"), e.Level, e.Text))
	if e.What != nil {
		l.what = append(l.what, e.What)
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.list, "\n")
}

// count is how many lines contain all of some texts.
func (l *lines) count(parts ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.list {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			n++
		}
	}
	return n
}

// wait waits until a line contains a text, from line number from on, and
// returns the number of the line behind it.
func (l *lines) wait(t *testing.T, from int, part string) (next int) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		l.mu.Lock()
		for i := from; i < len(l.list); i++ {
			if strings.Contains(l.list[i], part) {
				l.mu.Unlock()
				return i + 1
			}
		}
		from = max(from, len(l.list))
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("not logged within %v: %s", patience, part)
		}
	}
}
