package pool

import (
	"net/netip"
	"sync"
	"time"
)

// window counts events by key, up to a limit within a length of time.
type window[K comparable] struct {
	// immutable
	limit   int
	length  stamp
	penalty bool // reaching the limit begins a new length of time

	mu     sync.Mutex
	counts map[K]windowCount // guarded by mu
}

type windowCount struct {
	begin stamp
	n     int
}

// maxKeys bounds the memory strangers can use up; past it counts are forgotten
// early.
const maxKeys = 100_000

// refusal is a refused name from one place.
type refusal struct {
	from netip.Prefix
	name string
}

// newRefusals: ten refusals of a name from one place in a minute, and it is
// not looked at for a minute.
func newRefusals() window[refusal] {
	return window[refusal]{limit: 10, length: stamp(time.Minute), penalty: true, counts: make(map[refusal]windowCount)}
}

// newNameLimit: names one place may make in an hour.
func newNameLimit() window[netip.Prefix] {
	return window[netip.Prefix]{limit: 10_000, length: stamp(time.Hour), counts: make(map[netip.Prefix]windowCount)}
}

// add counts one event.
func (w *window[K]) add(key K, now stamp) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, known := w.counts[key]
	if !known && len(w.counts) >= maxKeys {
		w.makeRoom(now)
	}
	if !known || now-c.begin >= w.length {
		c = windowCount{begin: now}
	}
	c.n++
	if c.n == w.limit && w.penalty {
		c.begin = now
	}
	w.counts[key] = c
}

// makeRoom forgets what is over, or else anything.
func (w *window[K]) makeRoom(now stamp) {
	w.sweepLocked(now)
	for key := range w.counts {
		if len(w.counts) < maxKeys {
			return
		}
		delete(w.counts, key)
	}
}

// wait is how long the key has to wait, 0 below the limit.
func (w *window[K]) wait(key K, now stamp) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, known := w.counts[key]
	if !known || c.n < w.limit {
		return 0
	}
	return max(0, time.Duration(c.begin+w.length-now))
}

// sweep forgets what is over.
func (w *window[K]) sweep(now stamp) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweepLocked(now)
}

func (w *window[K]) sweepLocked(now stamp) {
	for key, c := range w.counts {
		if now-c.begin >= w.length {
			delete(w.counts, key)
		}
	}
}

// place is what a miner's limits go by: its address, for IPv6 the /64, because
// whoever has one of its addresses has all.
func place(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}
