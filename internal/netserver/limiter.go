//go:build linux

package netserver

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/internal/recent"
)

// limiter holds the limits per address. It is asked when a connection begins,
// is authorised and ends, never in between.
type limiter struct {
	limits atomic.Pointer[limits]

	mu sync.Mutex
	// guarded by mu
	clients map[addrKey]usage // addresses with something counted
	// Buckets used in the present or in the last period: any other is full.
	buckets recent.Map[addrKey, bucket]
	aged    time.Time // when buckets last forgot
}

// limits are immutable.
type limits struct {
	rate, burst                float64 // negative rate: no limit
	maxUnauthorized, maxClient int     // not positive: no limit
	exempt                     []netip.Prefix
	period                     time.Duration // in which an empty bucket is full again
}

// addrKey is what limits count by: an IPv4 address, or the first 64 bits of an
// IPv6 address. IPv4 uses a part of 0000::/8, which is reserved.
type addrKey uint64

type usage struct{ open, unauthorized int32 }

type bucket struct {
	tokens float64
	at     time.Time
}

func newLimiter(c *Config, now time.Time) *limiter {
	l := &limiter{
		clients: make(map[addrKey]usage),
		buckets: recent.New[addrKey, bucket](0),
		aged:    now,
	}
	l.set(c)
	return l
}

// set changes the limits. What was counted under the old ones stays counted.
func (l *limiter) set(c *Config) {
	n := &limits{
		rate:            float64(c.ConnectRate),
		burst:           float64(c.ConnectBurst),
		maxUnauthorized: c.MaxUnauthorized,
		maxClient:       c.MaxPerAddress,
		exempt:          c.LimitExempt,
	}
	if n.rate > 0 {
		n.burst = max(n.burst, 1)
		n.period = max(time.Duration(n.burst/n.rate*float64(time.Second)), time.Second)
	}
	l.limits.Store(n)
}

func keyOf(a netip.Addr) addrKey {
	if a.Is4() {
		b := a.As4()
		return 1<<32 | addrKey(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return addrKey(binary.BigEndian.Uint64(b[:8]))
}

func (l *limits) isExempt(a netip.Addr) bool {
	for _, p := range l.exempt {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// admit counts a new connection and gives the flags it carries, or says which
// limit it is over. addr is unmapped and without zone.
func (l *limiter) admit(addr netip.Addr, now time.Time) (flags connFlags, refusal string) {
	set := l.limits.Load()
	if set.isExempt(addr) {
		return 0, ""
	}
	key := keyOf(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if set.rate > 0 && !l.spend(key, set, now) {
		return 0, fmt.Sprintf("more than %.0f new connections per second", set.rate)
	}
	u := l.clients[key]
	if set.maxClient > 0 {
		if int(u.open) >= set.maxClient {
			return 0, fmt.Sprintf("more than %d connections", set.maxClient)
		}
		u.open++
		flags |= counted
	}
	if set.maxUnauthorized > 0 {
		if int(u.unauthorized) >= set.maxUnauthorized {
			return 0, fmt.Sprintf("more than %d connections without authorization", set.maxUnauthorized)
		}
		u.unauthorized++
		flags |= unauthorized
	}
	if flags != 0 {
		l.clients[key] = u
	}
	return flags, ""
}

// spend takes a token from the bucket of key if it has one.
func (l *limiter) spend(key addrKey, set *limits, now time.Time) bool {
	if now.Sub(l.aged) >= set.period {
		l.buckets.Age()
		l.aged = now
	}
	b, ok := l.buckets.Get(key)
	if !ok {
		b = bucket{tokens: set.burst, at: now}
	}
	if d := now.Sub(b.at); d > 0 { // loops read the clock apart
		b.tokens = min(b.tokens+d.Seconds()*set.rate, set.burst)
		b.at = now
	}
	enough := b.tokens >= 1
	if enough {
		b.tokens--
	}
	l.buckets.Put(key, b)
	return enough
}

// forget uncounts what flags, as given by admit, say of a connection.
func (l *limiter) forget(addr netip.Addr, flags connFlags) {
	if flags&(counted|unauthorized) == 0 {
		return
	}
	key := keyOf(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.clients[key]
	if flags&counted != 0 {
		u.open--
	}
	if flags&unauthorized != 0 {
		u.unauthorized--
	}
	if u == (usage{}) {
		delete(l.clients, key)
	} else {
		l.clients[key] = u
	}
}
