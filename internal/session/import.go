package session

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/wire"
)

// Importer reads what an Exporter of another process has written, before the
// loops run.
type Importer struct {
	Group     *Group
	Listeners []int // index here by index there

	agent string // of the session read last: most have the same
}

// MakeRoom prepares for about so many sessions, so that memory need not be found
// when they come. Only before anything is imported.
func (m *Importer) MakeRoom(handlers []*Handler, sessions int) {
	const most = 1 << 20 // what is said may be wrong
	n := min(max(sessions, 0), most)
	n += n / 8
	r := m.Group.registry
	r.mu.Lock()
	r.entries.makeRoom(n)
	r.used = grown(r.used, n)
	r.mu.Unlock()
	for _, h := range handlers {
		each := n / len(handlers)
		h.byID = grown(h.byID, each)
		for range (each + slabSize - 1) / slabSize {
			slab := new([slabSize]session)
			for i := range slab {
				slab[i].client = 1 // the system finds memory when it is written to
			}
			clear(slab[:])
			h.slabs = append(h.slabs, slab)
		}
	}
}

// grown is a map with what m has and room for n.
func grown[K comparable, V any](m map[K]V, n int) map[K]V {
	larger := make(map[K]V, len(m)+n)
	maps.Copy(larger, m)
	return larger
}

// SetClock makes the sessions' clock go on from what it was in the other
// process at the time at.
func (m *Importer) SetClock(seconds float64, at time.Time) error {
	if !(seconds >= 1 && seconds < 1e10) {
		return fmt.Errorf("the sessions' clock cannot be at %g s", seconds)
	}
	m.Group.epoch = at.Add(-time.Duration((seconds - 1) * float64(time.Second)))
	return nil
}

// maxLoops bounds what a damaged record can make the number of loops.
const maxLoops = 4096

// Seen reads one record of remembered shares. They go to the set with the same
// number, which has no loop here if the other process had more loops.
func (m *Importer) Seen(record []byte) error {
	var k seenRecord
	c := wire.Read(record)
	c.Versioned(seenVersion, k.fields)
	err := c.Done()
	switch loop := int(k.loop); {
	case err != nil:
	case loop >= maxLoops:
		err = fmt.Errorf("those of loop %d", loop)
	default:
		for loop >= len(m.Group.seen) {
			m.Group.seen = append(m.Group.seen, m.Group.newSeen())
		}
		err = m.Group.seen[loop].apply(k.changes)
	}
	if err != nil {
		return fmt.Errorf("remembered shares: %w", err)
	}
	return nil
}

// Registry reads the record of the registry. The length of extranonce1 must be
// the same, or the sessions could not go on.
func (m *Importer) Registry(record []byte) error {
	var k registryRecord
	c := wire.Read(record)
	c.Versioned(registryVersion, k.fields)
	if err := c.Done(); err != nil {
		return fmt.Errorf("registry of sessions: %w", err)
	}
	r := m.Group.registry
	if int(k.length) != r.length {
		return fmt.Errorf("extranonce1 has %d bytes, sessions have %d: nonce1length cannot change while miners are connected", r.length, k.length)
	}
	r.clients.Store(k.clients)
	slices.SortFunc(k.closed, func(a, b closedRecord) int { return cmp.Compare(a.until, b.until) })
	for i := range k.closed {
		r.restore(k.closed[i].id, k.closed[i].entryRecord)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(k.spaces) == 0 {
		return nil
	}
	if r.jobs == nil {
		return errors.New("registry of sessions: they get work from other pools")
	}
	r.hint = k.hint
	for _, p := range k.spaces {
		n := r.space(p.source, int(p.own))
		if n == 0 {
			return fmt.Errorf("registry of sessions: %d sources", len(k.spaces))
		}
		for _, o := range p.rest {
			r.spaces[n].adopt(o.number, owner{o.session, true, o.until})
		}
	}
	return nil
}

// Listener is the index here of a listener there; the first for one that is
// not known.
func (m *Importer) Listener(there int) int {
	if there < len(m.Listeners) {
		return m.Listeners[there]
	}
	return 0
}

// Session reads the record at the front of what c has left into slot, which the
// loop's netserver has for the connection. Each loop needs an Importer of its own.
func (m *Importer) Session(h *Handler, slot netserver.Slot, c *wire.Codec) error {
	for int(slot/slabSize) >= len(h.slabs) {
		h.slabs = append(h.slabs, new([slabSize]session))
	}
	h.top = max(h.top, slot+1)
	s := h.session(slot)
	k := record{session: s, agent: m.agent}
	c.Versioned(sessionVersion, k.fields)
	m.agent = k.agent
	err := c.Err()
	if err == nil {
		err = k.check()
	}
	if err == nil {
		switch several := h.b.Sources != nil; {
		case s.source != 0 && !several:
			err = errors.New("it gets work from another pool")
		case s.source == 0 && several && s.id != 0:
			err = errors.New("it gets no work from another pool")
		}
	}
	if err != nil {
		*s = session{}
		return fmt.Errorf("session: %w", err)
	}
	s.listener = uint8(m.Listener(int(k.listener)))
	// Shares found from now on are remembered here, earlier ones there.
	if s.loops != 0 {
		s.loops |= 1 << (h.loop % 64)
	}
	h.byID[s.client] = slot
	s.agent = 0
	if s.is(subscribed) {
		s.agent = h.agents.use(k.agent, k.agent)
	}
	if k.owned {
		k.own.client, k.own.loops = s.client, k.own.loops|1<<(h.loop%64)
		k.own.space = m.Group.registry.spaceAt(s.source, int(s.extranonce1Len))
		m.Group.registry.restore(s.id, k.own)
	}
	if len(k.earlier) > 0 {
		h.earlier[slot] = k.earlier
		s.flags |= hasEarlier
	}
	if len(k.held) > 0 {
		h.held[slot] = append([]byte(nil), k.held...)
		h.heldList = append(h.heldList, slot)
	}
	for _, l := range k.logins {
		m.login(h.client(slot), l)
	}
	if len(k.former) > 0 {
		h.former[slot] = k.former
		s.flags |= hasFormer
	}
	for i := range k.unjudged {
		h.client(slot).adopt(&k.unjudged[i])
	}
	return nil
}

// login logs the connection in again, which the other process has allowed.
func (m *Importer) login(c client, l loginRecord) {
	grant := c.b.Workers.ResumeWorker(l.worker)
	shared := WorkerID(0)
	if l.name == grant.Name {
		l.name, shared = grant.Name, grant.Worker
	}
	i := c.logins.use(shared, login{name: l.name, user: grant.User, worker: grant.Worker})
	c.addLogin(i)
	c.b.Workers.Attach(grant.Worker, c.s.client, c.agents.get(c.s.agent), c.at(float64(c.s.start)))
	if l.minimum > 0 {
		m := c.minimums[c.slot]
		if m.of == nil {
			m.of = map[WorkerID]float64{}
		}
		m.of[grant.Worker], m.most = l.minimum, max(m.most, l.minimum)
		c.minimums[c.slot] = m
		c.s.flags |= hasMinimum
	}
}

// Resume makes the loop go on with the present work: it goes to the miners
// that do not have it.
func (h *Handler) Resume() {
	h.resumeSources()
	if h.work = h.b.Jobs.Newest(); h.work != nil {
		h.cursor, h.left = 0, h.top
	}
}
