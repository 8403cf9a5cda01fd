//go:build linux

package netserver

import (
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/internal/latency"
)

// counters of one loop: written by it, read from anywhere. Padded so that the
// counters of two loops never share a cache line (nor a prefetched pair).
type counters struct {
	_              [128]byte
	accepted       atomic.Uint64
	assigned       atomic.Int64 // sockets the loop has or is being given; written by all loops
	clients        atomic.Int64
	channels       atomic.Int64
	entering       atomic.Int64
	drops          [Reasons]atomic.Uint64
	backlogClients atomic.Int64
	backlogBytes   atomic.Int64
	replaced       atomic.Uint64
	answers        latency.Counter // of shares
	notifies       latency.Counter // of work on a new tip
	tip            atomic.Int64    // since when there is work on the newest tip that clients were told of, unix nanoseconds
	notified       atomic.Int64    // after how many nanoseconds the last of them was
	_              [128]byte
}

func (c *counters) addTo(s *Stats) {
	s.Accepted += c.accepted.Load()
	s.Clients += uint64(max(c.clients.Load(), 0))
	s.Entering += uint64(max(c.entering.Load(), 0))
	for i := range c.drops {
		s.Drops[i] += c.drops[i].Load()
	}
	s.BacklogClients += uint64(max(c.backlogClients.Load(), 0))
	s.BacklogBytes += uint64(max(c.backlogBytes.Load(), 0))
	s.ReplacedNotifies += c.replaced.Load()
	c.answers.AddTo(&s.Answers)
	c.notifies.AddTo(&s.Notifies)
	if tip := c.tip.Load(); tip > 0 {
		switch at := time.Unix(0, tip); {
		case at.After(s.Tip):
			s.Tip, s.LastNotified = at, time.Duration(c.notified.Load())
		case at.Equal(s.Tip):
			s.LastNotified = max(s.LastNotified, time.Duration(c.notified.Load()))
		}
	}
}
