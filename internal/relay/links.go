package relay

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/poolproto"
)

// Gate decides who may link, on a listener of an index. It is called on loops and returns
// at once; a refusal is in words.
type Gate func(hello *poolproto.Hello, remote netip.AddrPort, listener int) (refusal string)

// Links are those of all loops.
type Links struct {
	// immutable
	gate    Gate
	maxLine int // bytes of a miner's line
	events  event.Func
	feed    Feed    // of nodes; nil: there are none
	remotes Remotes // nil: there are none
	sums    bool    // see Sums

	handlers []*Handler // by loop; before serving
	channels atomic.Int64

	mu   sync.Mutex
	open map[*link]uint64 // guarded by mu; their numbers
	last uint64           // guarded by mu; number of the newest
}

// NewLinks prepares the links of a pool whose miners' lines may be that long.
func NewLinks(gate Gate, maxLine int, events event.Func) *Links {
	return &Links{gate: gate, maxLine: maxLine, events: events, open: map[*link]uint64{}}
}

// Handlers are those of all loops.
func (l *Links) Handlers() []*Handler { return l.handlers }

// Channels is how many miners are behind links at present.
func (l *Links) Channels() int { return int(l.channels.Load()) }

// Status is what operators see of a link.
type Status struct {
	Number  uint64 // that no other link of this process has, from 1
	Role    poolproto.Role
	Remote  netip.AddrPort
	Program string
	Dialect int
	Since   time.Time
	Miners  int
}

// Status is that of all links, the oldest first.
func (l *Links) Status() []Status {
	l.mu.Lock()
	all := make([]Status, 0, len(l.open))
	for k, number := range l.open {
		all = append(all, Status{number, k.role, k.remote, k.program, k.dialect, k.since, int(k.miners.Load())})
	}
	l.mu.Unlock()
	slices.SortFunc(all, func(a, b Status) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Number, b.Number))
	})
	return all
}

// Drop closes the link with a number, and tells whether there is one. Any goroutine may call.
func (l *Links) Drop(number uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, n := range l.open {
		if n == number {
			k.handler.loop.Post(func() {
				if !k.ended {
					k.handler.loop.Close(k.slot, netserver.Dropped)
				}
			})
			return true
		}
	}
	return false
}

func (l *link) String() string { return fmt.Sprintf("%v %v (%s)", l.role, l.remote, l.program) }

func (l *Links) add(k *link) {
	l.mu.Lock()
	l.last++
	l.open[k] = l.last
	l.mu.Unlock()
}

func (l *Links) opened(k *link) {
	l.add(k)
	l.events.Say(event.Notice, fmt.Sprintf("Link with %v on %v", k, dialects[k.dialect]))
}

var dialects = [...]string{"lines of ckpool in C", "short lines"}

func (l *Links) closed(k *link, why netserver.Reason) {
	l.mu.Lock()
	delete(l.open, k)
	l.mu.Unlock()
	l.events.Say(event.Notice, fmt.Sprintf("Link with %v has ended: %v; %d miners were behind it", k, why, len(k.channels)))
}

func (l *Links) complain(k *link, n int, what string) {
	l.events.Say(event.Warning, fmt.Sprintf("Link with %v: left alone %d lines, the last: %s", k, n, what))
}
