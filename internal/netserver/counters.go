//go:build linux

package netserver

import "sync/atomic"

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
}
