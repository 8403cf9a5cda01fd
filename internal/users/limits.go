package users

import (
	"net/netip"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/recent"
)

// window counts events by key, up to a limit within a length of time. It costs
// the same however many keys strangers think of.
type window[K comparable] struct {
	// immutable
	limit   int
	length  stamp
	penalty bool // reaching the limit begins a new length of time

	mu sync.Mutex
	// guarded by mu
	counts recent.Map[K, windowCount]
	aged   stamp // when counts last forgot
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
	return window[refusal]{limit: 10, length: stamp(time.Minute), penalty: true, counts: recent.New[refusal, windowCount](maxKeys)}
}

// newNameLimit: names one place may make in an hour.
func newNameLimit() window[netip.Prefix] {
	return window[netip.Prefix]{limit: 10_000, length: stamp(time.Hour), counts: recent.New[netip.Prefix, windowCount](maxKeys)}
}

func (w *window[K]) add(key K, now stamp) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.age(now)
	c, known := w.counts.Get(key)
	if !known || now-c.begin >= w.length {
		c = windowCount{begin: now}
	}
	c.n++
	if c.n == w.limit && w.penalty {
		c.begin = now
	}
	w.counts.Put(key, c)
}

// wait is how long the key has to wait, 0 below the limit.
func (w *window[K]) wait(key K, now stamp) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, known := w.counts.Get(key)
	if !known || c.n < w.limit {
		return 0
	}
	return max(0, time.Duration(c.begin+w.length-now))
}

// sweep gives memory back when nothing is counted for long.
func (w *window[K]) sweep(now stamp) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.age(now)
}

// age forgets the counts that nothing was added to for the length of time.
func (w *window[K]) age(now stamp) {
	if now-w.aged >= w.length {
		w.counts.Age()
		w.aged = now
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
