package session

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"ckpool/internal/netserver"
	"ckpool/internal/wire"
	"ckpool/stratum"
)

// Versions of the records of this file; older ones are read.
const (
	sessionVersion  = 1
	registryVersion = 1
)

// Workers is what moving sessions need of the Backend beside serving them.
type Workers interface {
	// WorkerName is the full name of a worker.
	WorkerName(id WorkerID) string
	// ResumeWorker is the worker of a session that was logged in under that
	// full name.
	ResumeWorker(name string) Grant
}

// Exporter writes what sessions are to another process. Its methods may be
// called while the loops run unless they say otherwise.
type Exporter struct {
	Group   *Group
	Workers Workers
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
	b = append(b, registryVersion)
	b = binary.BigEndian.AppendUint64(b, r.clients.Load())
	b = append(b, uint8(r.length))
	b = binary.BigEndian.AppendUint64(b, r.next)
	left := make([]uint64, 0, len(ending)) // whose connections end, of those that may be resumed
	for id := range ending {
		if k := r.entries.find(id); k != nil && k.until == 0 && k.name != 0 {
			left = append(left, id)
		}
	}
	n := r.closed.n + r.shareless.n + len(left)
	b = slices.Grow(b, binary.MaxVarintLen64+n*64)
	b = binary.AppendUvarint(b, uint64(n))
	add := func(id uint64, k *entry, until uint32) {
		b = binary.BigEndian.AppendUint64(b, id)
		b = binary.BigEndian.AppendUint64(b, uint64(until))
		b = k.append(b)
	}
	for _, q := range []*queue{&r.closed, &r.shareless} {
		for id := q.first; id != 0; {
			k := r.entries.find(id)
			add(id, k, k.until)
			id = k.after
		}
	}
	latest := uint32(now.Add(keepSession).Unix())
	for _, id := range left {
		add(id, r.entries.find(id), latest)
	}
	return b
}

// Ending is the id of the session in slot, whose connection does not move; 0
// for none. It is for the loop's goroutine while the loop stands still.
func (e Exporter) Ending(h *Handler, slot netserver.Slot) uint64 { return h.session(slot).id }

// SendAway tells the miner in slot to connect again, which then finds the other
// process.
func (e Exporter) SendAway(h *Handler, slot netserver.Slot) {
	h.client(slot).write(stratum.AppendReconnect(h.out[:0], "", ""))
}

// Session appends the record of the session in slot. It is for the loop's
// goroutine while the loop stands still.
func (e Exporter) Session(h *Handler, slot netserver.Slot, b []byte) []byte {
	s := h.session(slot)
	own, owned := e.Group.registry.owned(s.id, s.client)
	b = append(b, sessionVersion)
	b = binary.BigEndian.AppendUint64(b, s.client)
	b = binary.BigEndian.AppendUint64(b, s.id)
	if b = wire.AppendBool(b, owned); owned {
		b = own.append(b)
	}
	b = binary.BigEndian.AppendUint64(b, s.loops)
	b = wire.AppendBytes(b, s.extranonce1Bytes())
	var vardiff [64]byte
	measured, _ := s.vardiff.AppendBinary(vardiff[:0]) // never fails
	b = wire.AppendBytes(b, measured)
	b = appendChanges(b, h.earlier[slot])
	if b = wire.AppendBool(b, s.sent() != 0); s.sent() != 0 {
		b = appendChange(b, s.present)
	}
	for _, m := range [...]moment{
		s.start, s.lastShare, s.lastSent, s.firstInvalid, s.lastChange, s.maskUntil, s.lastList,
	} {
		b = wire.AppendFloat(b, float64(m))
	}
	for _, f := range [...]float64{s.want, s.floor, s.best, s.rates.last, float64(s.rates.amount)} {
		b = wire.AppendFloat(b, f)
	}
	for _, f := range s.rates.average {
		b = wire.AppendFloat(b, float64(f))
	}
	b = binary.BigEndian.AppendUint64(b, s.job)
	b = binary.BigEndian.AppendUint64(b, s.tip)
	for _, m := range [...]uint32{s.mask, s.sentMask, s.oldMask, s.later, s.accepted, s.rejected} {
		b = binary.BigEndian.AppendUint32(b, m)
	}
	b = binary.BigEndian.AppendUint16(b, s.newNames)
	b = binary.BigEndian.AppendUint16(b, flagBits(s.flags))
	b = append(b, s.badLines, uint8(s.profile), s.listener, s.invalid)
	b = wire.AppendBytes(b, h.agents.get(s.agent))
	b = wire.AppendBytes(b, h.held[slot])
	return e.logins(h, slot, b)
}

func appendChanges(b []byte, changes []change) []byte {
	b = binary.AppendUvarint(b, uint64(len(changes)))
	for _, c := range changes {
		b = appendChange(b, c)
	}
	return b
}

func appendChange(b []byte, c change) []byte {
	b = wire.AppendFloat(b, c.difficulty)
	b = wire.AppendFloat(b, c.at)
	b = binary.BigEndian.AppendUint64(b, c.job)
	return append(b, c.suffix)
}

// append appends what is moved of an entry.
func (e *entry) append(b []byte) []byte {
	for _, v := range [...]uint64{e.extranonce1, e.name, e.loops, e.job} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = append(b, e.suffix)
	return appendChanges(b, e.difficulties)
}

func (e Exporter) logins(h *Handler, slot netserver.Slot, b []byte) []byte {
	if h.session(slot).login == 0 {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(1+h.extra[slot].count()))
	for i := range h.client(slot).allLogins() {
		l := &h.logins.at(i).value
		b = wire.AppendBytes(b, l.name)
		b = wire.AppendBytes(b, e.Workers.WorkerName(l.worker))
	}
	return b
}

// recordFlags are the flags in the order of their bits in records.
var recordFlags = [...]flags{
	subscribed, authorised, configured, fixed, deferred, flooded, resumed, maskSent, holding,
}

func flagBits(f flags) (bits uint16) {
	for i, flag := range recordFlags {
		if f&flag != 0 {
			bits |= 1 << i
		}
	}
	return bits
}

func flagsOf(bits uint16) (f flags) {
	for i, flag := range recordFlags {
		if bits>>i&1 != 0 {
			f |= flag
		}
	}
	return f
}

// owned is the session if client has it open.
func (r *Registry) owned(id, client uint64) (e entry, ok bool) {
	if id == 0 {
		return e, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.entries.find(id)
	if k == nil || k.client != client || k.until != 0 {
		return e, false
	}
	return *k, true
}

// restore takes an entry another process had; closed ones are to come in the
// order in which they expire. Whether it had shares is not known.
func (r *Registry) restore(id uint64, e entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.entries.find(id); known != nil {
		r.forget(id)
	}
	until := e.until
	e.until, e.shares = 0, true
	r.entries.put(id, e)
	r.used[e.extranonce1] = struct{}{}
	if until != 0 {
		r.close(id, r.entries.find(id), until)
	}
}

func readEntry(r *wire.Reader) entry {
	e := entry{extranonce1: r.Uint64(), name: r.Uint64(), loops: r.Uint64(), job: r.Uint64(), suffix: r.Uint8()}
	e.difficulties = readChanges(r)
	return e
}

func readChanges(r *wire.Reader) (changes []change) {
	for range r.Count(25) {
		changes = append(changes, readChange(r))
	}
	return changes
}

func readChange(r *wire.Reader) change {
	c := change{positive(r), positive(r), r.Uint64(), r.Uint8()}
	if c.difficulty == 0 {
		r.Fail(errors.New("a difficulty of 0"))
	}
	return c
}

// registryRecord is what Exporter.Registry writes.
type registryRecord struct {
	clients uint64
	length  int
	next    uint64
	closed  map[uint64]entry
}

func readRegistry(record []byte, now time.Time) (k registryRecord, err error) {
	r := wire.NewReader(record)
	r.Version(registryVersion)
	k = registryRecord{clients: r.Uint64(), length: int(r.Uint8()), next: r.Uint64()}
	n := r.Count(6 * 8)
	k.closed = make(map[uint64]entry, n)
	for range n {
		id := r.Uint64()
		until := uint32(max(min(r.Uint64(), math.MaxUint32), 1))
		e := readEntry(r)
		e.until = until
		if id == 0 {
			r.Fail(errors.New("a session without id"))
		}
		k.closed[id] = e
	}
	return k, r.Done()
}
