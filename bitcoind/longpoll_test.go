package bitcoind

import (
	"testing"
	"time"
)

// Two sources tell of the same block. Its template is read once: from the long
// poll if that has begun to be answered, else with a request.
func TestOneTemplateOfABlock(t *testing.T) {
	tests := map[string]struct {
		late, reading    time.Duration // of the long poll's answer
		within           time.Duration
		requests, polled int // beside the first
	}{
		"the long poll's answer has begun":       {0, 50 * time.Millisecond, 50 * time.Millisecond, 0, 1},
		"the long poll's answer has not begun":   {50 * time.Millisecond, 0, 10 * time.Millisecond, 1, 1},
		"the long poll's answer does not go on":  {0, time.Hour, claimTime + 10*time.Millisecond, 1, 0},
		"the long poll's answer does not come":   {time.Hour, 0, 10 * time.Millisecond, 1, 1},
		"the long poll's answer comes to itself": {0, 0, 0, 0, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := newFakeNode(10)
			inBubble(t, Options{}, func(h *harness) {
				h.next(instant)
				time.Sleep(time.Millisecond) // the long poll is under way
				requests, polled := a.count("getblocktemplate"), a.count("longpoll")
				a.set(func() { a.late, a.reading = tt.late, tt.reading })
				a.mine()
				time.Sleep(time.Microsecond)
				h.update(func(time.Time) { h.hear(h.nodes[0], a.tip()) })
				h.expect(tt.within+time.Millisecond, "a:1", 11, true)
				h.silent(80 * time.Millisecond)
				if n := a.count("getblocktemplate") - requests; n != tt.requests {
					t.Errorf("%d template requests, want %d", n, tt.requests)
				}
				if n := a.count("longpoll") - polled; n != tt.polled {
					t.Errorf("%d further long polls, want %d", n, tt.polled)
				}
				a.set(func() { a.late, a.reading = 0, 0 })
				a.mine() // and all goes on
				h.expect(soon, "a:1", 12, true)
			}, a)
		})
	}
}

// A long poll that breaks while it is read does not keep the node from being
// asked.
func TestLongPollBreaks(t *testing.T) {
	a := newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		time.Sleep(time.Millisecond)
		a.set(func() { a.reading = 20 * time.Millisecond })
		a.mine()
		time.Sleep(time.Millisecond)
		a.dead(errRefused)
		h.silent(time.Second)
		a.dead(nil)
		h.expect(3*time.Second, "a:1", 11, true)
	}, a)
}
