package relay

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"ckpool/event"
	"ckpool/internal/netserver"
)

// EdgeOptions say what an Edge is.
type EdgeOptions struct {
	Uplinks []Uplink // in order of preference
	Program string   // name and version to give
	// Hold is how long a better pool must have been there until miners go back to it.
	Hold time.Duration
	// MovesPerSecond is how many miners are asked to connect again in a second, at most,
	// when they have to; 0 is 2,000.
	MovesPerSecond int
	// Redirect are pools that miners who have shown that they mine are sent to, as
	// host:port; nil: they stay.
	Redirect []string
	Events   event.Func
}

const (
	defaultMoves = 2000
	// patience is how long miners are kept without any pool.
	patience = 1500 * time.Millisecond
	// firstTime is how long a pool is waited for at the start where a later one of the
	// list is there already.
	firstTime = 3 * time.Second
)

// Edge is the miners' end of links: miners who are connected here are served by another
// pool, the first of a list that has a link for them. Make it with NewEdge, give its
// Handler to each loop of a server, run it with Run beside that.
type Edge struct {
	// immutable
	options  EdgeOptions
	uplinks  []*uplink
	handlers []*EdgeHandler // by loop; before Run
	server   *netserver.Server
	redirect *redirector // nil: miners stay

	changed chan struct{} // capacity 1: choose again
	began   time.Time     // of Run; set before its goroutines

	active atomic.Pointer[wire] // that miners are served over; nil: none

	mu    sync.Mutex
	wires uint32 // guarded by mu: how many there ever were
}

// NewEdge prepares an Edge.
func NewEdge(o EdgeOptions) *Edge {
	if o.MovesPerSecond == 0 {
		o.MovesPerSecond = defaultMoves
	}
	e := &Edge{options: o, changed: make(chan struct{}, 1)}
	for i, u := range o.Uplinks {
		e.uplinks = append(e.uplinks, &uplink{Uplink: u, edge: e, index: i})
	}
	if len(o.Redirect) > 0 {
		e.redirect = newRedirector(o.Redirect)
	}
	return e
}

// Attend tells the Edge which server it is for, after all its handlers were made and
// before Run.
func (e *Edge) Attend(s *netserver.Server) { e.server = s }

// Run keeps the links until ctx ends.
func (e *Edge) Run(ctx context.Context) {
	e.server.Refuse(netserver.NoWork)
	e.began = time.Now()
	var links sync.WaitGroup
	for _, u := range e.uplinks {
		links.Go(func() { u.run(ctx) })
	}
	e.choose(ctx)
	links.Wait()
}

// choose keeps miners with the best pool.
func (e *Edge) choose(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var lost time.Time // when there was none any more
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.changed:
		case <-timer.C:
		}
		now := time.Now()
		best, again := e.best(now)
		before := e.active.Load()
		switch {
		case best != nil:
			lost = time.Time{}
		case before == nil && lost.IsZero():
			continue
		case lost.IsZero():
			lost = now
			e.server.Refuse(netserver.NoWork)
			again = patience
		case now.Sub(lost) >= patience:
			e.each(func(h *EdgeHandler) { h.closeAll() })
			lost = time.Time{}
		default:
			again = patience - now.Sub(lost)
		}
		if again > 0 {
			timer.Reset(again)
		}
		if best == before {
			continue
		}
		e.active.Store(best)
		if best != nil {
			best.uplink.say(event.Notice, "serves the miners from here on")
			e.each(func(h *EdgeHandler) { h.follow(best) })
			e.server.Admit()
		} else {
			e.options.Events.Say(event.Warning, "No pool upstream: miners are closed, and refused until there is one")
		}
	}
}

// best is the wire that miners are to be served over, and after what time that may change
// by time alone, 0 for never.
func (e *Edge) best(now time.Time) (best *wire, again time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	active := e.active.Load()
	for _, u := range e.uplinks {
		if u.wire == nil {
			if wait := firstTime - now.Sub(e.began); active == nil && !u.tried && wait > 0 {
				return nil, wait
			}
			continue
		}
		better := active != nil && active.uplink.wire == active && u.index < active.uplink.index
		if wait := e.options.Hold - now.Sub(u.since); better && wait > 0 {
			again = wait
			continue
		}
		return u.wire, again
	}
	return nil, again
}

func (e *Edge) each(do func(h *EdgeHandler)) {
	for _, h := range e.handlers {
		h.loop.Post(func() { do(h) })
	}
}

func (e *Edge) look() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

func (e *Edge) up(u *uplink, w *wire) {
	e.mu.Lock()
	e.wires++
	w.number = e.wires
	u.wire, u.since, u.err, u.tried = w, time.Now(), nil, true
	e.mu.Unlock()
	u.say(event.Notice, "gives a link, with "+dialects[w.dialect])
	e.look()
}

func (e *Edge) down(u *uplink, err error) {
	e.mu.Lock()
	u.wire, u.err = nil, err
	e.mu.Unlock()
	if err != context.Canceled {
		u.say(event.Warning, fmt.Sprintf("is lost: %v", err))
	}
	e.look()
}

func (e *Edge) failed(u *uplink, err error) {
	e.mu.Lock()
	first := !u.tried || u.err == nil || u.err.Error() != err.Error()
	u.err, u.tried = err, true
	e.mu.Unlock()
	e.look() // which may have waited for it
	if first {
		u.say(event.Warning, fmt.Sprintf("cannot be linked to: %v; tried again every %v", err, retryAfter))
	}
}
