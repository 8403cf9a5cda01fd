package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ckpool/event"
	"ckpool/source"
)

// Times of a group.
const (
	// headStart is how long is waited at the start for pools earlier in the list.
	headStart = 5 * time.Second
	// defaultHold is how long a pool must have had work before it is gone back to, the
	// first time. A pool that does not last, once it is worked for, has to have it for
	// twice as long each time, up to mostHold.
	defaultHold = time.Minute
	mostHold    = 15 * time.Minute
	lasting     = 10 * time.Minute
)

// ErrUnknownPool is why something cannot be done with a pool that is not in a Group.
var ErrUnknownPool = errors.New("no such pool")

// GroupOptions are what a Group needs of what is around it.
type GroupOptions struct {
	Options // of its pools; Updates, Number and Changed are its own
	// First is the number that the first source has, 0 is 1: in a process that work has
	// moved to, one more than any that came along.
	First uint32
	// Hold is how long a better pool must have had work until it is gone back to; 0 is a
	// minute, negative at once.
	Hold time.Duration
	// Changes is told, without arguments, when another pool is worked for, and when one
	// has work or has none any more. It must not block.
	Changes func()
}

// Group is pools in order of preference: all are connected to, and one is worked for,
// the first that has work, but for a while after it was lost. It is a source of work,
// of which each connection to each pool is a source.
type Group struct {
	// Immutable.
	options GroupOptions
	updates *updates
	wake    chan struct{} // capacity 1: choose

	mu      sync.Mutex
	entries []*entry
	number  uint32 // of the last source
	last    int    // of the entries' ids
	active  *entry // nil: none has work
	began   time.Time
	running context.Context // of Run; nil before it and after
	loops   sync.WaitGroup  // of the pools
}

// entry is a pool of a group. Its fields are guarded by the group's mu.
type entry struct {
	id       int
	pool     *Pool
	disabled bool
	cancel   context.CancelFunc // nil while it is not run
	up       time.Time          // since when it has work, zero: it has none
	chosen   time.Time          // when it was last chosen
	hold     time.Duration      // until it is gone back to, 0 as configured
}

// NewGroup makes a group of pools, best first. It does not connect. Pools have the ids
// from 0 on.
func NewGroup(pools []Config, o GroupOptions) (*Group, error) {
	if o.Hold == 0 {
		o.Hold = defaultHold
	}
	g := &Group{options: o, updates: newUpdates(), wake: make(chan struct{}, 1), number: max(o.First, 1) - 1, last: -1}
	for _, c := range pools {
		if _, err := g.Add(c); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Add adds a pool behind the others and returns its id, which no other has had.
func (g *Group) Add(c Config) (id int, err error) {
	e := &entry{}
	if e.pool, err = g.Beside(c, func() { g.changed(e) }); err != nil {
		return 0, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last++
	e.id = g.last
	g.entries = append(g.entries, e)
	g.start(e)
	return e.id, nil
}

// Beside makes a pool that is not in the list, such as the account of one user: its
// sources have numbers among those of the group, and its updates come with theirs. The
// caller runs it while the group runs; see Options for changed.
func (g *Group) Beside(c Config, changed func()) (*Pool, error) {
	o := g.options.Options
	o.Updates, o.Number, o.Changed = g.updates.put, g.next, changed
	return NewPool(c, o)
}

// next is the number of the next source.
func (g *Group) next() uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.number++
	return g.number
}

// start runs a pool that is to run. g.mu is held.
func (g *Group) start(e *entry) {
	if g.running == nil || e.disabled || e.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(g.running)
	e.cancel = cancel
	pool := e.pool
	g.loops.Go(func() { pool.Run(ctx) })
}

// Run keeps all connections until ctx is done, and may be called once.
func (g *Group) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.mu.Lock()
	g.running, g.began = ctx, time.Now()
	for _, e := range g.entries {
		g.start(e)
	}
	g.mu.Unlock()
	var pump sync.WaitGroup
	pump.Go(func() { g.updates.run(ctx) })
	timer := time.NewTimer(headStart)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-g.wake:
		}
		if wait := g.choose(time.Now()); wait > 0 {
			timer.Reset(wait)
		}
	}
	g.mu.Lock()
	g.running = nil
	g.mu.Unlock()
	g.loops.Wait()
	pump.Wait()
	return nil
}

func (g *Group) wakeUp() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// changed notes that a pool has work, or no longer.
func (g *Group) changed(e *entry) {
	up := e.pool.Up()
	now := time.Now()
	g.mu.Lock()
	switch {
	case !up:
		e.up = time.Time{}
	case e.up.IsZero():
		e.up = now
	}
	g.mu.Unlock()
	g.wakeUp()
	if g.options.Changes != nil {
		g.options.Changes()
	}
}

// choose chooses the pool that is worked for, and says after what time that may change
// by itself, 0 not.
func (g *Group) choose(now time.Time) (wait time.Duration) {
	g.mu.Lock()
	best, wait := g.best(now)
	old := g.active
	if best == old {
		g.mu.Unlock()
		return wait
	}
	if old != nil {
		if now.Sub(old.chosen) < lasting && (old.up.IsZero() || old.disabled) {
			old.hold = min(2*g.holdOf(old), mostHold)
		} else {
			old.hold = 0
		}
	}
	g.active = best
	text := "No upstream pool has work"
	level := event.Warning
	if best != nil {
		best.chosen = now
		level, text = event.Notice, fmt.Sprintf("Work is from upstream %s now", best.pool.name)
	}
	g.mu.Unlock()
	g.options.Events.Say(level, text)
	if g.options.Changes != nil {
		g.options.Changes()
	}
	return wait
}

// holdOf is for how long a pool must have had work until it is gone back to. g.mu is
// held.
func (g *Group) holdOf(e *entry) time.Duration {
	if e.hold > 0 {
		return e.hold
	}
	return max(g.options.Hold, 0)
}

// best is the pool to work for. g.mu is held.
func (g *Group) best(now time.Time) (best *entry, wait time.Duration) {
	active := g.active
	if active != nil && (active.up.IsZero() || active.disabled || !slices.Contains(g.entries, active)) {
		active = nil
	}
	for _, e := range g.entries {
		if e == active {
			return e, wait
		}
		if e.disabled {
			continue
		}
		if e.up.IsZero() {
			if rest := g.began.Add(headStart).Sub(now); active == nil && g.active == nil && !e.pool.Tried() && rest > 0 {
				return nil, rest
			}
			continue
		}
		rest := e.up.Add(g.holdOf(e)).Sub(now)
		if active == nil || rest <= 0 {
			return e, 0
		}
		if wait == 0 || rest < wait {
			wait = rest
		}
	}
	return active, wait
}

// Active is the pool that is worked for, nil while none has work.
func (g *Group) Active() *Pool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.active == nil {
		return nil
	}
	return g.active.pool
}

// Pools are all pools in their order, those that are disabled too.
func (g *Group) Pools() []*Pool {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []*Pool
	for _, e := range g.entries {
		list = append(list, e.pool)
	}
	return list
}

// Place is a source with room for one more session, of the pool that is worked for, or
// of the next in the list that has one. See Pool.Place.
func (g *Group) Place(mask uint32) (number uint32, ok bool) {
	for _, p := range g.inOrder() {
		if number, ok = p.Place(mask); ok {
			return number, true
		}
	}
	return 0, false
}

// inOrder is the active pool, and the others that have work.
func (g *Group) inOrder() []*Pool {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []*Pool
	if g.active != nil {
		list = append(list, g.active.pool)
	}
	for _, e := range g.entries {
		if e != g.active && !e.disabled && !e.up.IsZero() {
			list = append(list, e.pool)
		}
	}
	return list
}

// Portions are what each pool is to get by its weight, and has accepted within about
// the last hour, in the order of Pools: see Divide. A pool without work gets nothing. Not
// ok: no pool has a weight, and all hash rate goes where Active says.
func (g *Group) Portions() (list []Portion, ok bool) {
	g.mu.Lock()
	entries := slices.Clone(g.entries)
	works := make([]bool, len(entries))
	for i, e := range entries {
		works[i] = !e.disabled && !e.up.IsZero()
	}
	g.mu.Unlock()
	const hour = 2 // of the windows
	for i, e := range entries {
		portion := Portion{Accepted: e.pool.Figures().Rates[hour] * windows[hour]}
		if works[i] {
			portion.Weight = e.pool.config.Weight
		}
		list = append(list, portion)
		ok = ok || e.pool.config.Weight > 0
	}
	return list, ok
}

// Of is the pool that a source is a connection to, nil if that has ended.
func (g *Group) Of(number uint32) *Pool {
	for _, p := range g.Pools() {
		if p.Has(number) {
			return p
		}
	}
	return nil
}

// Templates implements jobs.Source.
func (g *Group) Templates() <-chan source.Update { return g.updates.out }

// Refresh implements jobs.Source: other pools send work when they want to.
func (g *Group) Refresh(string) {}

// Prepare implements jobs.Source.
func (g *Group) Prepare() {}

// Chain implements jobs.Source: pools do not tell.
func (g *Group) Chain() string { return "" }

// Usable implements jobs.Source.
func (g *Group) Usable() bool { return len(g.inOrder()) > 0 }

// Status implements jobs.Source.
func (g *Group) Status() []source.Status {
	g.mu.Lock()
	entries := slices.Clone(g.entries)
	active := g.active
	disabled := make([]bool, len(entries))
	for i, e := range entries {
		disabled[i] = e.disabled
	}
	g.mu.Unlock()
	var list []source.Status
	for i, e := range entries {
		s := e.pool.Status()
		s.Current = e == active
		if disabled[i] {
			s.State, s.Reason = "disabled", "by an operator"
		}
		list = append(list, s)
	}
	return list
}

// Remove ends the connections to a pool and takes it out of the list.
func (g *Group) Remove(id int) error {
	return g.change(id, func(e *entry) {
		g.entries = slices.DeleteFunc(g.entries, func(o *entry) bool { return o == e })
		g.stop(e)
	})
}

// Enable makes a pool one that is connected to, or not.
func (g *Group) Enable(id int, on bool) error {
	return g.change(id, func(e *entry) {
		if e.disabled = !on; on {
			g.start(e)
		} else {
			g.stop(e)
		}
	})
}

// Prefer moves a pool to a place of the list, from 0 on; beyond the end is the end.
func (g *Group) Prefer(id, place int) error {
	return g.change(id, func(e *entry) {
		g.entries = slices.DeleteFunc(g.entries, func(o *entry) bool { return o == e })
		g.entries = slices.Insert(g.entries, min(max(place, 0), len(g.entries)), e)
	})
}

// stop ends the connections to a pool. g.mu is held.
func (g *Group) stop(e *entry) {
	if e.cancel != nil {
		e.cancel()
		e.cancel = nil
	}
}

// change changes a pool of the list and chooses anew.
func (g *Group) change(id int, do func(*entry)) error {
	g.mu.Lock()
	i := slices.IndexFunc(g.entries, func(e *entry) bool { return e.id == id })
	if i < 0 {
		g.mu.Unlock()
		return fmt.Errorf("pool %d: %w", id, ErrUnknownPool)
	}
	do(g.entries[i])
	g.mu.Unlock()
	g.wakeUp()
	return nil
}
