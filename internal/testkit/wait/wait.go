// Package wait is for tests of what happens in other goroutines and processes.
package wait

import (
	"context"
	"strings"
	"time"
)

// Failer is a test, or a script of one.
type Failer interface {
	Fatalf(format string, args ...any)
}

// longest is how long after an answer it is asked again at most.
const longest = 200 * time.Millisecond

// Until waits until is holds. After the given time the test fails with what was
// waited for. It asks each millisecond, and less often where asking takes longer, so
// that what is waited for has the processor.
func Until(t Failer, within time.Duration, what string, is func() bool) {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		begun := time.Now()
		if is() {
			return
		}
		select {
		case <-time.After(min(max(time.Millisecond, 4*time.Since(begun)), longest)):
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// Reply is the reply to a command of a control socket. Programs take no longer than a
// second for one and say so where that is not enough, as on a busy machine: they are asked
// again until ctx ends.
func Reply(ctx context.Context, c interface {
	Do(ctx context.Context, command string) (string, error)
}, command string) (reply string, err error) {
	for {
		reply, err = c.Do(ctx, command)
		if err != nil || !strings.Contains(reply, "takes longer than") && !strings.Contains(reply, context.DeadlineExceeded.Error()) {
			return reply, err
		}
		select {
		case <-ctx.Done():
			return reply, ctx.Err()
		case <-time.After(longest):
		}
	}
}
