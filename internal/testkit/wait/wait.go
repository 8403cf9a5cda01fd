// Package wait is for tests of what happens in other goroutines and processes.
package wait

import "time"

// Failer is a test, or a script of one.
type Failer interface {
	Fatalf(format string, args ...any)
}

// Until waits until is holds. After the given time the test fails with what was
// waited for.
func Until(t Failer, within time.Duration, what string, is func() bool) {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}
