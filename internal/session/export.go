package session

import (
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/stratum"
)

// Exporter writes what sessions are to another process. Its methods may be
// called while the loops run unless they say otherwise.
type Exporter struct {
	Group *Group

	// room for those of one session
	logins       []loginRecord
	difficulties earlier
}

// Clock is the time of all sessions in seconds, which goes on in the other
// process.
func (e Exporter) Clock(now time.Time) float64 { return 1 + now.Sub(e.Group.epoch).Seconds() }

// Seen writes the remembered shares of every loop: at first all of them, then
// what has changed since the last call, until StopSeen.
func (e Exporter) Seen(send func(record []byte) error) error {
	for loop, s := range e.Group.seen {
		if err := appendSeen(loop, s.changesSince(), send); err != nil {
			return err
		}
	}
	return nil
}

// StopSeen ends what Seen began.
func (e Exporter) StopSeen() {
	for _, s := range e.Group.seen {
		s.stopCopying()
	}
}

// Registry appends the record of what is known beyond the open sessions:
// closed ones that may be resumed, to which come those whose connections end
// here, by session id, and who presented unknown ids.
func (e Exporter) Registry(b []byte, now time.Time, ending map[uint64]bool) []byte {
	r := e.Group.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	ended := make([]uint32, 0, len(ending)) // rows of those whose connections end and that may be resumed
	var leaving []uint32                    // rows of those whose connections end, of several sources
	for id := range ending {
		switch row := r.entries.row(id); {
		case row == 0 || r.entry(row).until != 0:
		case r.entry(row).space != 0:
			leaving = append(leaving, row)
		case r.entry(row).name != 0:
			ended = append(ended, row)
		}
	}
	k := registryRecord{
		hint: r.hint, spaces: r.spaceRecords(leaving),
		clients: r.clients.Load(), length: uint8(r.length), next: randomUint64(),
		closed: make([]closedRecord, 0, r.closed.n+r.shareless.n+len(ended)),
	}
	add := func(row, until uint32) {
		id := r.entries.at(row).key
		k.closed = append(k.closed, closedRecord{id, r.record(id, r.entry(row), nil)})
		k.closed[len(k.closed)-1].until = until
	}
	for _, q := range []*queue{&r.closed, &r.shareless} {
		for row := q.first; row != 0; row = r.entry(row).after {
			add(row, r.entry(row).until)
		}
	}
	latest := uint32(now.Add(keepSession).Unix())
	for _, row := range ended {
		add(row, latest)
	}
	c := wire.Append(b)
	c.Versioned(registryVersion, k.fields)
	return c.Written()
}

// Ending is the id of the session in slot, whose connection does not move; 0
// for none. It is for the loop's goroutine while the loop stands still.
func (e Exporter) Ending(h *Handler, slot netserver.Slot) uint64 { return h.session(slot).id }

// SendAway tells the miner in slot to connect again, which then finds the other
// process.
func (e Exporter) SendAway(h *Handler, slot netserver.Slot) {
	h.client(slot).write(stratum.AppendReconnect(h.out[:0], "", ""))
}

// Verdicts takes those that other pools have given and that no miner has heard yet, for
// Session. It is for the loop's goroutine while the loop stands still.
func (e Exporter) Verdicts(h *Handler) {
	if h.b.Sources != nil {
		h.collectVerdicts()
		h.unjudged.arrive()
	}
}

// Session writes the record of the session in slot. It is for the loop's
// goroutine, with an Exporter of its own, while the loop stands still.
func (e *Exporter) Session(h *Handler, slot netserver.Slot, c *wire.Codec) {
	s := h.session(slot)
	k := record{session: s}
	k.earlier, k.agent, k.held = h.earlier[slot], h.agents.get(s.agent), h.held[slot]
	if waiting := h.undecided.waiting(slot); waiting != nil {
		k.held = append(k.held[:len(k.held):len(k.held)], waiting...)
		k.also = holding
	}
	k.own, k.owned = e.Group.registry.owned(s.id, s.client, e.difficulties[:0])
	e.difficulties = k.own.difficulties
	e.logins = e.logins[:0]
	if s.login != 0 {
		for i := range h.client(slot).allLogins() {
			l := &h.logins.at(i).value
			e.logins = append(e.logins, loginRecord{l.name, h.b.Workers.WorkerName(l.worker), h.minimums[slot].of[l.worker]})
		}
	}
	k.logins = e.logins
	if s.source != 0 {
		k.former, k.unjudged = h.former[slot], h.unjudged.records(s.client)
	}
	c.Versioned(sessionVersion, k.fields)
}

// owned is the session if client has it open; room is used for its difficulties.
func (r *Registry) owned(id, client uint64, room earlier) (e entryRecord, ok bool) {
	if id == 0 {
		return e, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.entries.find(id)
	if k == nil || k.client != client || k.until != 0 {
		return e, false
	}
	return r.record(id, k, room), true
}

// record is what is moved of a session; room is used for its difficulties. The
// caller holds mu.
func (r *Registry) record(id uint64, e *entry, room earlier) entryRecord {
	difficulties := append(room, r.earlier[id]...)
	if e.present.difficulty != 0 {
		difficulties = append(difficulties, e.present)
	}
	return entryRecord{*e, difficulties, r.reports[id]}
}

// restore takes an entry another process had; closed ones are to come in the
// order in which they expire. Whether it had shares is not known.
func (r *Registry) restore(id uint64, e entryRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.entries.row(id); known != 0 {
		r.forget(known)
	}
	until := e.until
	e.until, e.shares = 0, true
	if last := len(e.difficulties) - 1; last >= 0 {
		e.present = e.difficulties[last]
		if last > 0 {
			r.earlier[id] = e.difficulties[:last]
		}
	}
	if e.reported != 0 {
		r.reports[id] = e.reported
	}
	row := r.entries.use(id, e.entry)
	if e.space == 0 {
		r.used[e.extranonce1] = struct{}{}
	} else {
		r.spaces[e.space].adopt(e.extranonce1, owner{session: id})
	}
	if until != 0 {
		r.close(row, until)
	}
}
