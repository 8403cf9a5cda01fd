package users

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"ckpool/internal/recent"
	"ckpool/internal/session"
	"ckpool/internal/wire"
)

// Versions of the records that users are moved with; older ones are read.
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

// touch notes that t changed since the last copy. The caller holds its lock:
// a change made after the copy of a tally sees the number of the next copy.
func (s *Users) touch(t *tally) { t.changed = s.copies.Load() }

// ExportUsers writes the users and workers that have changed since the last
// call; the first time all of them. Sharing and logging in goes on meanwhile.
func (s *Users) ExportUsers(first bool, send func(record []byte) error) error {
	// What was touched under this number or a later one, the copy before this
	// one does not have.
	since := s.copies.Add(1) - 1
	if first {
		since = 0
	}
	c := wire.Append(nil)
	c.Version(usersVersion)
	empty := len(c.Written())
	flush := func(limit int) error {
		if len(c.Written()) <= limit {
			return nil
		}
		err := send(c.Written())
		c.Reset(empty)
		return err
	}
	for _, u := range s.directory.all() {
		u.mu.Lock()
		if u.changed >= since {
			u.export(c)
		}
		workers := slices.Clone(u.workers)
		u.mu.Unlock()
		for _, w := range workers {
			w.mu.Lock()
			if w.changed >= since {
				w.export(c)
			}
			w.mu.Unlock()
			if err := flush(usersChunk); err != nil {
				return err
			}
		}
	}
	return flush(empty)
}

// export is for a caller that holds mu.
func (u *user) export(c *wire.Codec) {
	kind, k := uint8(userEntry), userRecord{u.Name, u.id, u.tally, u.Payout, u.authorised, u.loggedIn}
	wire.Uint(c, &kind)
	c.Record(k.fields)
}

// export is for a caller that holds mu.
func (w *worker) export(c *wire.Codec) {
	kind, k := uint8(workerEntry), workerRecord{w.name, w.tally, w.connected.one.agentName(), w.accepted, w.rejects}
	wire.Uint(c, &kind)
	c.Record(k.fields)
}

// userRecord is what is moved of a user.
type userRecord struct {
	name       string
	id         int64
	tally      tally
	payout     []byte
	authorised int64
	loggedIn   bool
}

func (k *userRecord) fields(c *wire.Codec) {
	c.Text(&k.name)
	wire.Int(c, &k.id)
	c.Record(k.tally.fields)
	c.Bytes(&k.payout)
	wire.Int(c, &k.authorised)
	c.Bool(&k.loggedIn)
}

// workerRecord is what is moved of a worker.
type workerRecord struct {
	name     string
	tally    tally
	agent    string
	accepted int64
	rejects  *rejects
}

func (k *workerRecord) fields(c *wire.Codec) {
	c.Text(&k.name)
	c.Record(k.tally.fields)
	c.Text(&k.agent)
	wire.Int(c, &k.accepted)
	refused := k.rejects != nil
	if c.Bool(&refused); refused {
		if c.Reading() {
			k.rejects = new(rejects)
		}
		c.Record(k.rejects.fields)
	}
}

func (t *tally) fields(c *wire.Codec) {
	for i := range t.rates {
		wire.Amount(c, &t.rates[i])
	}
	wire.Amount(c, &t.pending)
	wire.Int(c, &t.decayed, &t.lastShare)
	wire.Amount(c, &t.shares, &t.best, &t.bestEver)
	wire.Uint(c, &t.round)
}

// ExportCounts appends what is counted for the whole pool, and the limits on
// logins. Nothing may be counted meanwhile, and files must be held, see HoldFiles.
func (s *Users) ExportCounts(b []byte, now time.Time) []byte {
	t := &s.totals
	k := counts{
		now: s.stamp(now), round: s.round.Load(), lastID: s.directory.lastID.Load(), netDiff: s.networkDifficulty(),
		totals: t, rejects: t.rejects(), sums: s.sums, refusals: &s.refusals.counts, newNames: &s.newNames.counts,
	}
	for _, mu := range []*sync.Mutex{&t.mu, &s.refusals.mu, &s.newNames.mu} {
		mu.Lock()
		defer mu.Unlock()
	}
	t.collect()
	c := wire.Append(b)
	c.Versioned(countsVersion, k.fields)
	return c.Written()
}

// counts is what is moved beside users and workers.
type counts struct {
	now      stamp
	round    uint32
	lastID   int64
	netDiff  float64
	totals   *totals
	rejects  [session.Reasons]int64 // by reason, none Accepted
	sums     map[string]agentSum
	refusals *recent.Map[refusal, windowCount]
	newNames *recent.Map[netip.Prefix, windowCount]
}

func (k *counts) fields(c *wire.Codec) {
	wire.Int(c, &k.now)
	wire.Uint(c, &k.round)
	wire.Int(c, &k.lastID)
	wire.Amount(c, &k.netDiff)
	c.Record(k.totals.fields)
	rejectFields(c, &k.rejects)
	type sum struct {
		kind string
		agentSum
	}
	wire.Elements(c, func(yield func(*sum) bool) {
		for kind, s := range k.sums {
			if !yield(&sum{kind, s}) {
				return
			}
		}
	}, func(s *sum) { k.sums[s.kind] = s.agentSum }, func(s *sum, c *wire.Codec) {
		c.Text(&s.kind)
		wire.Amount(c, &s.rate)
		wire.Amount(c, &s.best)
	})
	windowFields(c, k.refusals, func(k *refusal, c *wire.Codec) {
		prefixFields(&k.from, c)
		c.Text(&k.name)
	})
	windowFields(c, k.newNames, prefixFields)
}

// fields is for a caller that holds mu.
func (t *totals) fields(c *wire.Codec) {
	wire.Amount(c, &t.round.accepted, &t.round.rejected, &t.round.best, &t.credit, &t.shares)
	wire.Int(c, &t.round.acceptedCount, &t.round.rejectedCount)
	for i := range t.rates {
		wire.Amount(c, &t.rates[i])
	}
	for i := range t.sps {
		wire.Amount(c, &t.sps[i])
	}
	wire.Int(c, &t.decayed)
	wire.Int(c, &t.passes)
}

// rejectFields passes counts by reason, of which later releases may have more.
func rejectFields(c *wire.Codec, counts *[session.Reasons]int64) {
	c.Record(func(c *wire.Codec) {
		for reason := session.Accepted + 1; reason < session.Reasons; reason++ {
			wire.Int(c, &counts[reason])
		}
	})
}

// windowFields is for a caller that holds the window's lock.
func windowFields[K comparable](c *wire.Codec, counts *recent.Map[K, windowCount], key func(*K, *wire.Codec)) {
	type count struct {
		key K
		windowCount
	}
	wire.Elements(c, func(yield func(*count) bool) {
		for k, n := range counts.All() {
			if !yield(&count{k, n}) {
				return
			}
		}
	}, func(k *count) { counts.Put(k.key, k.windowCount) }, func(k *count, c *wire.Codec) {
		key(&k.key, c)
		wire.Int(c, &k.begin)
		wire.Int(c, &k.n)
	})
}

func prefixFields(p *netip.Prefix, c *wire.Codec) {
	addr, bits := p.Addr(), uint8(p.Bits())
	c.Addr(&addr)
	if wire.Uint(c, &bits); c.Reading() {
		var err error
		if *p, err = addr.Prefix(int(bits)); err != nil {
			c.Fail(err)
		}
	}
}
