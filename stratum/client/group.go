package client

import (
	"context"
	"errors"
	"sync"
	"time"
)

// headStart is how long a Group waits at its start for the better endpoints
// before it takes work from another.
const headStart = 5 * time.Second

// Group keeps a connection to each of several endpoints and takes work from
// the first in the list that has some, so that a switch costs no time.
type Group struct {
	// Immutable.
	endpoints []Endpoint
	opts      Options
	events    chan Event
	inbox     chan groupEvent

	// Owned by Run.
	slots  []slot
	active int // index, -1 for none
	began  time.Time
}

// slot is what Run knows of one endpoint.
type slot struct {
	client *Client
	work   *Notify   // newest; nil as long as there is none
	since  time.Time // of the first work
	tried  bool      // the first attempt is over
}

// groupEvent is an event of one endpoint's connection.
type groupEvent struct {
	endpoint int
	client   *Client
	Event
}

// NewGroup makes a group of endpoints, best first. It does nothing before Run.
func NewGroup(endpoints []Endpoint, opts Options) *Group {
	return &Group{
		endpoints: endpoints,
		opts:      opts.withDefaults(),
		events:    make(chan Event, 16),
		inbox:     make(chan groupEvent),
	}
}

// Events are what the active endpoint sends, each change of it announced by
// Active and followed by Extranonce, VersionMask, Difficulty and a clean
// Notify. Failed comes from all endpoints, Closed from none. The channel is closed when Run
// returns.
func (g *Group) Events() <-chan Event { return g.events }

// Run keeps the connections until ctx is done, and may be called once. An
// endpoint that fails is tried again after 5 s more each time, up to 60 s.
func (g *Group) Run(ctx context.Context) error {
	defer close(g.events)
	if len(g.endpoints) == 0 {
		return errors.New("no pool to connect to")
	}
	var links sync.WaitGroup
	defer links.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for i := range g.endpoints {
		k := NewKeeper(g.endpoints[i], g.opts, func(c *Client, e Event) error {
			if f, ok := e.(Failed); ok {
				f.Endpoint = i
				e = f
			}
			select {
			case g.inbox <- groupEvent{i, c, e}:
			case <-ctx.Done():
			}
			return nil
		})
		links.Go(func() { k.Run(ctx) })
	}

	g.slots = make([]slot, len(g.endpoints))
	g.active = -1
	g.began = time.Now()
	choice := time.NewTimer(headStart) // when to choose again without an event
	defer choice.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-choice.C:
		case e := <-g.inbox:
			g.take(ctx, e)
		}
		best, wait := g.best(time.Now())
		if best != g.active {
			g.activate(ctx, best)
		}
		if wait > 0 {
			choice.Reset(wait)
		}
	}
}

// take notes an event and passes it on if it is of interest outside.
func (g *Group) take(ctx context.Context, e groupEvent) {
	s := &g.slots[e.endpoint]
	switch event := e.Event.(type) {
	case Failed:
		s.tried = true
		g.send(ctx, event)
		return
	case Closed:
		*s = slot{tried: true}
		if e.endpoint == g.active {
			g.active = -1
		}
		return
	case Notify:
		if s.work == nil {
			s.since = time.Now()
		}
		s.client, s.work, s.tried = e.client, &event, true
	}
	if e.endpoint == g.active {
		g.send(ctx, e.Event)
	}
}

// best is the endpoint to take work from, and after what time that may change
// by itself, if ever.
func (g *Group) best(now time.Time) (best int, wait time.Duration) {
	for i := range g.slots {
		s := &g.slots[i]
		if i == g.active {
			return i, 0
		}
		if s.work == nil {
			if rest := g.began.Add(headStart).Sub(now); g.active < 0 && !s.tried && rest > 0 {
				return g.active, rest
			}
			continue
		}
		rest := s.since.Add(g.opts.FailBack).Sub(now)
		if g.active < 0 || rest <= 0 {
			return i, 0
		}
		wait = rest
		break
	}
	return g.active, wait
}

func (g *Group) activate(ctx context.Context, i int) {
	g.active = i
	if i < 0 {
		return
	}
	s := &g.slots[i]
	g.send(ctx, Active{i, s.client})
	g.send(ctx, Extranonce{s.work.Extranonce})
	if g.opts.VersionMask != 0 {
		g.send(ctx, VersionMask(s.work.VersionMask))
	}
	if s.work.Difficulty > 0 {
		g.send(ctx, Difficulty(s.work.Difficulty))
	}
	work := *s.work
	work.Clean = true
	g.send(ctx, work)
}

func (g *Group) send(ctx context.Context, e Event) {
	select {
	case g.events <- e:
	case <-ctx.Done():
	}
}
