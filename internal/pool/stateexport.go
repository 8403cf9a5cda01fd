package pool

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"ckpool/internal/session"
	"ckpool/internal/wire"
)

// Versions of the records a State is moved with; older ones are read.
const (
	usersVersion  = 1
	countsVersion = 1
)

// Kinds of entries in a record of users.
const (
	userEntry   = 1
	workerEntry = 2
)

// usersChunk is the size of a record of users, about, in bytes.
const usersChunk = 256 << 10

// moving is a State on its way to another process, or from one.
type moving struct{ *State }

// WorkerName implements session.Workers.
func (s moving) WorkerName(id session.WorkerID) string { return s.names.workerName(id) }

// touch notes that t changed since the last copy. The caller holds its lock:
// a change made after the copy of a tally sees the number of the next copy.
func (s *State) touch(t *tally) { t.changed = s.copies.Load() }

// exportUsers writes the users and workers that have changed since the last
// call; the first time all of them. Sharing and logging in goes on meanwhile.
func (s moving) exportUsers(first bool, send func(record []byte) error) error {
	// What was touched under this number or a later one, the copy before this
	// one does not have.
	since := s.copies.Add(1) - 1
	if first {
		since = 0
	}
	b := []byte{usersVersion}
	flush := func(limit int) error {
		if len(b) <= limit {
			return nil
		}
		err := send(b)
		b = []byte{usersVersion}
		return err
	}
	for _, u := range s.names.all() {
		u.mu.Lock()
		if u.changed >= since {
			b = u.append(b)
		}
		workers := slices.Clone(u.workers)
		u.mu.Unlock()
		for _, w := range workers {
			w.mu.Lock()
			if w.changed >= since {
				b = w.append(b)
			}
			w.mu.Unlock()
			if err := flush(usersChunk); err != nil {
				return err
			}
		}
	}
	return flush(1)
}

// append is for a caller that holds mu.
func (u *user) append(b []byte) []byte {
	b = append(b, userEntry)
	b = wire.AppendBytes(b, u.Name)
	b = binary.BigEndian.AppendUint64(b, uint64(u.id))
	b = u.tally.append(b)
	b = wire.AppendBytes(b, u.Payout)
	b = binary.BigEndian.AppendUint64(b, uint64(u.authorised))
	return wire.AppendBool(b, u.loggedIn)
}

// append is for a caller that holds mu.
func (w *worker) append(b []byte) []byte {
	b = append(b, workerEntry)
	b = wire.AppendBytes(b, w.name)
	b = w.tally.append(b)
	b = wire.AppendBytes(b, w.connected.one.agentName())
	b = binary.BigEndian.AppendUint64(b, uint64(w.accepted))
	return w.rejects.append(b)
}

func (t *tally) append(b []byte) []byte {
	for _, r := range t.rates {
		b = wire.AppendFloat(b, float64(r))
	}
	b = wire.AppendFloat(b, t.pending)
	b = binary.BigEndian.AppendUint64(b, uint64(t.decayed))
	b = binary.BigEndian.AppendUint64(b, uint64(t.lastShare))
	for _, v := range [...]float64{t.shares, t.best, t.bestEver} {
		b = wire.AppendFloat(b, v)
	}
	return binary.BigEndian.AppendUint32(b, t.round)
}

// exportCounts appends what is counted for the whole pool, and the limits on
// logins. Nothing may be counted meanwhile, and the caller holds saving.
func (s moving) exportCounts(b []byte, now time.Time) []byte {
	t := s.stamp(now)
	b = append(b, countsVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(t))
	b = binary.BigEndian.AppendUint32(b, s.round.Load())
	b = binary.BigEndian.AppendUint64(b, uint64(s.names.lastID.Load()))
	b = wire.AppendFloat(b, s.networkDifficulty())
	b = s.totals.append(b)
	rejects := s.totals.rejects()
	b = binary.AppendUvarint(b, session.Reasons-1)
	for _, n := range rejects[session.Accepted+1:] {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = binary.AppendUvarint(b, uint64(len(s.sums)))
	for kind, sum := range s.sums {
		b = wire.AppendBytes(b, kind)
		b = wire.AppendFloat(b, float64(sum.rate))
		b = wire.AppendFloat(b, sum.best)
	}
	b = appendWindow(b, &s.refusals, func(b []byte, k refusal) []byte {
		return wire.AppendBytes(appendPrefix(b, k.from), k.name)
	})
	return appendWindow(b, &s.newNames, appendPrefix)
}

func (t *totals) append(b []byte) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.collect()
	for _, v := range [...]float64{t.round.accepted, t.round.rejected, t.round.best, t.credit, t.shares} {
		b = wire.AppendFloat(b, v)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(t.round.acceptedCount))
	b = binary.BigEndian.AppendUint64(b, uint64(t.round.rejectedCount))
	for _, r := range t.rates {
		b = wire.AppendFloat(b, float64(r))
	}
	for _, r := range t.sps {
		b = wire.AppendFloat(b, float64(r))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(t.decayed))
	return binary.BigEndian.AppendUint32(b, uint32(t.passes))
}

func appendWindow[K comparable](b []byte, w *window[K], key func([]byte, K) []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	b = binary.AppendUvarint(b, uint64(w.counts.Len()))
	for k, c := range w.counts.All() {
		b = key(b, k)
		b = binary.BigEndian.AppendUint64(b, uint64(c.begin))
		b = binary.BigEndian.AppendUint32(b, uint32(c.n))
	}
	return b
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	return append(wire.AppendAddr(b, p.Addr()), uint8(p.Bits()))
}
