package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/hostport"
)

// EdgeOptions say what an Edge is.
type EdgeOptions struct {
	Uplinks []Uplink // in order of preference
	Program string   // name and version to give
	// Hold is how long a better pool must have been there until miners go back to it.
	Hold time.Duration
	// MovesPerSecond is how many miners are asked to connect again in a second, at most,
	// when they have to.
	MovesPerSecond int
	// Redirect are pools that miners who have shown that they mine are sent to, as
	// host:port; nil: they stay.
	Redirect []string
	// Node makes it a node; nil: it is none.
	Node NodeEnd
	// Patience is how long miners are kept without any pool, 0: as Patience says.
	Patience time.Duration
	// Workless is told whether new miners are to be refused, because no pool is there for them.
	Workless func(workless bool)
	Events   event.Func
}

// Patience is how long miners are kept without any pool; tests lengthen it.
var Patience = 1500 * time.Millisecond

// firstTime is how long a pool is waited for at the start where a later one of the
// list is there already.
const firstTime = 3 * time.Second

// Edge is the miners' end of links: miners who are connected here are served by another
// pool, the first of a list that has a link for them. Make it with NewEdge, give its
// Handler to each loop of a server, run it with Run beside that, or end it with Close.
type Edge struct {
	// immutable
	options  EdgeOptions
	uplinks  []*uplink
	handlers []*EdgeHandler // by loop; before any link
	redirect *redirector    // nil: miners stay

	// of the uplinks
	linking context.Context
	end     context.CancelFunc
	links   sync.WaitGroup

	changed chan struct{} // capacity 1: choose again
	began   time.Time     // of Run; set before choose

	choosing sync.Mutex           // held while the pool for the miners is chosen, or must stay
	active   atomic.Pointer[wire] // that miners are served over; nil: none
	lost     time.Time            // guarded by choosing: when there was none any more for miners who are still here
	held     []*wire              // owned by who moves the Edge to another process

	mu    sync.Mutex
	wires uint32 // guarded by mu: how many there ever were
}

// NewEdge prepares an Edge.
func NewEdge(o EdgeOptions) *Edge {
	o.Patience = cmp.Or(o.Patience, Patience)
	e := &Edge{options: o, changed: make(chan struct{}, 1)}
	e.linking, e.end = context.WithCancel(context.Background())
	for i, u := range o.Uplinks {
		e.uplinks = append(e.uplinks, &uplink{Uplink: u, edge: e, index: i})
	}
	if len(o.Redirect) > 0 {
		e.redirect = newRedirector(o.Redirect)
	}
	return e
}

// Run keeps the links until ctx ends.
func (e *Edge) Run(ctx context.Context) {
	defer e.Close()
	e.began = time.Now()
	e.options.Workless(e.active.Load() == nil)
	e.link(func(*uplink) bool { return true })
	e.choose(ctx)
}

// Close ends the links.
func (e *Edge) Close() {
	e.end()
	e.links.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, u := range e.uplinks {
		if u.wire != nil && !u.begun { // it came from another process
			u.wire.conn.Close()
		}
	}
}

// link begins with the uplinks that have not begun, if they are to.
func (e *Edge) link(whether func(*uplink) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, u := range e.uplinks {
		if w := u.wire; !u.begun && whether(u) {
			u.begun = true
			e.links.Go(func() { u.run(e.linking, w) })
		}
	}
}

// Prepare makes the links, but for those with URLs that come from another process, and waits
// a moment for them. The error is that there are none.
func (e *Edge) Prepare(ctx context.Context, moving func(url string) bool) error {
	e.link(func(u *uplink) bool { return !moving(u.URL) })
	ctx, cancel := context.WithTimeout(ctx, firstTime)
	defer cancel()
	for {
		untried, up, reason := e.tried()
		switch {
		case untried == 0 || ctx.Err() != nil && up:
			if up {
				return nil
			}
			return fmt.Errorf("no pool upstream gives a link: %w", reason)
		case ctx.Err() != nil:
			return errors.New("no pool upstream gives a link: none has answered in time")
		}
		select {
		case <-e.changed:
		case <-ctx.Done():
		}
	}
}

// tried is how many uplinks that have begun have not come to anything yet, whether some pool
// is there or is still to come from another process, and why none is.
func (e *Edge) tried() (untried int, up bool, reason error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, u := range e.uplinks {
		switch {
		case !u.begun || u.wire != nil:
			up = true
		case !u.tried:
			untried++
		case reason == nil:
			reason = fmt.Errorf("%s: %w", u.URL, u.err)
		}
	}
	return untried, up, reason
}

// choose keeps miners with the best pool.
func (e *Edge) choose(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.changed:
		case <-timer.C:
		}
		e.choosing.Lock()
		again := time.Duration(0)
		if e.linking.Err() == nil { // else it is over
			again = e.chooseAt(time.Now())
		}
		e.choosing.Unlock()
		if again > 0 {
			timer.Reset(again)
		}
	}
}

// chooseAt chooses, and tells after what time that may change by time alone, 0 for never.
func (e *Edge) chooseAt(now time.Time) (again time.Duration) {
	best, again := e.best(now)
	before := e.active.Load()
	switch {
	case best != nil:
		e.lost = time.Time{}
	case before == nil && e.lost.IsZero():
		return again
	case e.lost.IsZero():
		e.lost = now
		e.options.Workless(true)
		again = e.options.Patience
	case now.Sub(e.lost) >= e.options.Patience:
		e.each(func(h *EdgeHandler) { h.closeAll() })
		e.lost = time.Time{}
	default:
		again = e.options.Patience - now.Sub(e.lost)
	}
	if best == before {
		return again
	}
	e.active.Store(best)
	if best != nil {
		e.each(func(h *EdgeHandler) { h.follow(best) })
		e.options.Workless(false)
		e.options.Events.Say(event.Warning, "Upstream "+best.url+" serves the miners from here on")
	} else {
		e.options.Events.Say(event.Warning, fmt.Sprintf("No pool upstream: miners are closed in %v, and refused until there is one", e.options.Patience))
	}
	return again
}

// best is the wire that miners are to be served over, and after what time that may change
// by time alone, 0 for never.
func (e *Edge) best(now time.Time) (best *wire, again time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	active := e.active.Load()
	at := len(e.uplinks) // of the active one
	for i, u := range e.uplinks {
		if active != nil && u.wire == active {
			at = i
		}
	}
	for i, u := range e.uplinks {
		if u.wire == nil {
			if wait := firstTime - now.Sub(e.began); active == nil && !u.tried && wait > 0 {
				return nil, wait
			}
			continue
		}
		if wait := e.options.Hold - now.Sub(u.since); at < len(e.uplinks) && i < at && wait > 0 {
			if again == 0 || wait < again {
				again = wait
			}
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
	w.prepare(e, e.wires)
	u.wire, u.since, u.err, u.tried = w, time.Now(), nil, true
	e.mu.Unlock()
	u.say(event.Notice, "gives a link, with "+dialects[w.dialect])
	if e.options.Node != nil {
		e.options.Node.Linked(w.node, false)
	}
	e.look()
}

func (e *Edge) down(u *uplink, err error) {
	e.mu.Lock()
	u.wire, u.since, u.err = nil, time.Now(), err
	e.mu.Unlock()
	if !errors.Is(err, context.Canceled) {
		u.say(event.Warning, "is lost: "+hostport.Reason(err))
	}
	e.look()
}

func (e *Edge) failed(u *uplink, err error) {
	e.mu.Lock()
	first := !u.tried || u.err == nil || hostport.Reason(u.err) != hostport.Reason(err)
	u.err = err
	if u.tried = true; u.since.IsZero() {
		u.since = time.Now()
	}
	e.mu.Unlock()
	e.look() // which may have waited for it
	if first {
		u.say(event.Warning, fmt.Sprintf("cannot be linked to: %s; tried again every %v", hostport.Reason(err), retryAfter))
	}
}

// Upstream is how a pool of an Edge does.
type Upstream struct {
	URL     string
	Up      bool
	Active  bool      // new miners are served by it
	Since   time.Time // that it is up, or not; zero: it was not tried yet
	Dialect string    // in words, if it is up
	Miners  int64     // that are served by it
	Err     error     // why it is not up
}

// Upstreams are all pools, in order of preference. Any goroutine may call.
func (e *Edge) Upstreams() []Upstream {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]Upstream, len(e.uplinks))
	for i, u := range e.uplinks {
		list[i] = Upstream{URL: u.URL, Since: u.since, Err: u.err}
		if w := u.wire; w != nil {
			list[i].Up, list[i].Active, list[i].Dialect, list[i].Miners = true, w == e.active.Load(), dialects[w.dialect], w.count()
		}
	}
	return list
}
