package upstream

import (
	"slices"
	"time"
)

// Entries are the pools of a Group as an operator sees and changes them. The methods may
// be called from any goroutine and do not wait for a pool. What they change lasts as long
// as the Group.
type Entries struct{ group *Group }

// Entries are the group's.
func (g *Group) Entries() Entries { return Entries{g} }

// Entry is a pool of a Group as it is now.
type Entry struct {
	ID       int64  // no other of the group has it, or had it
	Name     string // host:port
	Config   Config
	Disabled bool // by an operator
	Up       bool // there is work
	Current  bool // sessions belong to it
	Reason   string
	Since    time.Time     // it has had work; zero: it has none
	Hold     time.Duration // of work, until miners go back to it
	Sessions int           // that get work from it
	// Wanted and Part are the parts of the hash rate that it is to have and has. Where they
	// are far apart for long, there are too few miners: one works for one pool at a time.
	Wanted, Part float64
	Figures      Figures // over all connections there were
	Lines        []LineStatus
}

// Pools are all, in order of preference.
func (e Entries) Pools() []Entry {
	g := e.group
	g.mu.Lock()
	members := g.members
	list := make([]Entry, len(members))
	pools := make([]*Pool, len(members))
	for i, m := range members {
		list[i], pools[i] = g.entry(m), m.pool
	}
	g.mu.Unlock()
	for i, p := range pools { // their lines may wait for the group
		list[i].Figures, list[i].Lines = p.Figures(), p.Lines()
	}
	return list
}

// entry is a member without its figures and lines. g.mu is held.
func (g *Group) entry(m *member) Entry {
	status := m.pool.Status()
	e := Entry{
		ID: m.id, Name: m.pool.name, Config: m.config, Disabled: m.disabled, Up: m.up(), Reason: status.Reason,
		Since: m.since, Hold: m.hold, Sessions: g.sessions(m), Wanted: m.wanted, Part: m.part,
	}
	e.Current = e.Up && slices.Contains(g.serving, m)
	if e.Disabled {
		e.Reason = "disabled by an operator"
	}
	return e
}

// change changes a pool, and returns how it is then; false: there is none of that id.
func (e Entries) change(id int64, change func(m *member)) (Entry, bool) {
	g := e.group
	g.mu.Lock()
	i := slices.IndexFunc(g.members, func(m *member) bool { return m.id == id })
	if i < 0 {
		g.mu.Unlock()
		return Entry{}, false
	}
	m := g.members[i]
	change(m)
	// Parts of the hash rate are by what is accepted from now on.
	for _, m := range g.members {
		m.history = nil
	}
	entry, pool := g.entry(m), m.pool
	g.mu.Unlock()
	g.look()
	entry.Figures, entry.Lines = pool.Figures(), pool.Lines()
	return entry, true
}

// Add adds a pool behind the others. The error says why it cannot be.
func (e Entries) Add(c Config) (Entry, error) {
	g := e.group
	g.mu.Lock()
	m, err := g.add(c)
	if err == nil && g.launch != nil {
		g.launch(m)
	}
	g.mu.Unlock()
	if err != nil {
		return Entry{}, err
	}
	entry, _ := e.change(m.id, func(*member) {})
	return entry, nil
}

// Remove takes a pool away, and returns how it was; false: there is none of that id. The
// last one may be removed too: miners wait then until there is another.
func (e Entries) Remove(id int64) (Entry, bool) {
	g := e.group
	return e.change(id, func(m *member) {
		m.removed = true
		g.members = slices.DeleteFunc(slices.Clone(g.members), func(o *member) bool { return o == m })
		g.release(m)
	})
}

// Place gives a pool the place of that number, 0 the first, and returns how it is then.
// A number that is too large is the last.
func (e Entries) Place(id, place int64) (Entry, bool) {
	g := e.group
	return e.change(id, func(m *member) {
		members := slices.DeleteFunc(slices.Clone(g.members), func(o *member) bool { return o == m })
		g.members = slices.Insert(members, int(max(min(place, int64(len(members))), 0)), m)
	})
}

// Enable makes a pool be mined for, or not, and returns how it is then.
func (e Entries) Enable(id int64, enabled bool) (Entry, bool) {
	g := e.group
	return e.change(id, func(m *member) {
		switch {
		case enabled == !m.disabled:
		case enabled:
			m.disabled = false
			g.restart(m)
		default:
			m.disabled = true
			g.release(m)
		}
	})
}

// release ends the connections of a pool that is used no more, once its sessions have
// had the time to leave and their last shares have been judged. g.mu is held.
func (g *Group) release(m *member) {
	if m.cancel == nil || m.stop != nil {
		return
	}
	m.stop = time.AfterFunc(g.options.Spread+lingerTime, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if m.stop != nil {
			m.cancel()
			m.cancel, m.stop = nil, nil
		}
	})
}

// restart runs a pool again that was disabled. g.mu is held.
func (g *Group) restart(m *member) {
	if m.stop != nil { // its connections are still there
		m.stop.Stop()
		m.stop = nil
	} else if m.cancel == nil && g.launch != nil {
		g.launch(m)
	}
}
