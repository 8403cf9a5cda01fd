package bitcoind

import (
	"testing"
	"time"
)

// A better tip that only a node without work knows holds work back for ten
// seconds.
func TestHoldTime(t *testing.T) {
	a, b := newFakeNode(11), newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 11, true)
		a.dead(errRefused)
		// Within a poll it is known that a is gone.
		h.silent(9900 * time.Millisecond)
		h.expect(soon, "b:1", 10, true)
	}, a, b)
}

// A block that no node has taken is submitted every second for ten minutes and
// every ten seconds from then on.
func TestSubmissionsGoOn(t *testing.T) {
	a := newFakeNode(10)
	inBubble(t, Options{SaveDir: t.TempDir()}, func(h *harness) {
		h.next(instant)
		a.dead(errRefused)
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		in := func(d time.Duration, least, most int) {
			t.Helper()
			before := a.count("submitblock")
			time.Sleep(d)
			if n := a.count("submitblock") - before; n < least || n > most {
				t.Errorf("%d attempts in %v, want %d to %d", n, d, least, most)
			}
		}
		in(9*time.Minute+59*time.Second, 598, 602)
		time.Sleep(12 * time.Second)
		in(time.Minute, 5, 7)
		in(time.Hour, 359, 361)
	}, a)
}
