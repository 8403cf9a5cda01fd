package users

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/recent"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/wire"
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
	kind, k := uint8(userEntry), userRecord{u.Name, u.id, u.Payout, u.userState, u.loggedIn}
	wire.Uint(c, &kind)
	c.Record(k.fields)
}

// export is for a caller that holds mu.
func (w *worker) export(c *wire.Codec) {
	kind, k := uint8(workerEntry), workerRecord{w.name, w.connected.one.agentName(), w.workerState}
	wire.Uint(c, &kind)
	c.Record(k.fields)
}

// userRecord is what is moved of a user.
type userRecord struct {
	name   string
	id     int64
	payout []byte
	userState
	loggedIn bool
}

func (k *userRecord) fields(c *wire.Codec) {
	c.Text(&k.name)
	wire.Int(c, &k.id)
	c.Bytes(&k.payout)
	c.Record(k.tally.fields)
	wire.Int(c, &k.authorised)
	c.Bool(&k.loggedIn)
}

// workerRecord is what is moved of a worker.
type workerRecord struct {
	name  string
	agent string
	workerState
}

func (k *workerRecord) fields(c *wire.Codec) {
	c.Text(&k.name)
	c.Text(&k.agent)
	c.Record(k.tally.fields)
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
	wire.Amounts(c, t.rates[:])
	wire.Amount(c, &t.pending, &t.shares, &t.best, &t.bestEver)
	wire.Int(c, &t.decayed, &t.lastShare)
	wire.Uint(c, &t.round)
}

// ImportUsers reads a record of users. What it holds replaces what is known of
// the same users and workers.
func (s *Users) ImportUsers(record []byte) error {
	c := wire.Read(record)
	c.Version(usersVersion)
	for c.More() {
		var kind uint8
		switch wire.Uint(c, &kind); kind {
		case userEntry:
			s.importUser(c)
		case workerEntry:
			s.importWorker(c)
		default:
			c.Fail(fmt.Errorf("entry of kind %d", kind))
		}
	}
	if err := c.Err(); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	return nil
}

func (s *Users) importUser(c *wire.Codec) {
	var k userRecord
	c.Record(k.fields)
	if userName, _ := splitName(k.name); k.name == "" || userName != k.name || k.id <= 0 {
		c.Fail(fmt.Errorf("user %.100q with number %d", k.name, k.id))
	}
	if c.Err() != nil {
		return
	}
	u, made := s.directory.makeUser(k.name, 0)
	if made {
		u.id = k.id // nobody has seen the user yet
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.userState, u.loggedIn = k.userState, k.loggedIn
	if u.Payout == nil && len(k.payout) > 0 {
		u.Payout = append([]byte(nil), k.payout...)
	}
}

func (s *Users) importWorker(c *wire.Codec) {
	var k workerRecord
	c.Record(k.fields)
	if userName, _ := splitName(k.name); userName == "" {
		c.Fail(fmt.Errorf("worker %.100q", k.name))
	}
	if c.Err() != nil {
		return
	}
	if k.rejects != nil && k.rejects.last >= session.Reasons {
		k.rejects = nil // of a later release, left out as from files
	}
	w := s.directory.makeWorker(k.name, 0)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.workerState = k.workerState
	w.connected.remember(k.agent)
}

// ExportCounts appends what is counted for the whole pool, and the limits on
// logins. Nothing may be counted meanwhile, and files must be held, see HoldFiles.
func (s *Users) ExportCounts(b []byte, now time.Time) []byte {
	t := &s.totals
	k := counts{
		now: s.stamp(now), round: s.round.Load(), lastID: s.directory.lastID.Load(), netDiff: s.networkDifficulty(),
		tally: &t.poolTally, rejects: t.rejects(), sums: s.sums, refusals: &s.refusals.counts, newNames: &s.newNames.counts,
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
	tally    *poolTally
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
	c.Record(k.tally.fields)
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

func (t *poolTally) fields(c *wire.Codec) {
	wire.Amounts(c, t.rates[:])
	wire.Amounts(c, t.sps[:])
	wire.Amount(c, &t.credit, &t.shares)
	c.Record(t.round.fields)
	wire.Int(c, &t.decayed)
	wire.Int(c, &t.passes)
	if c.Reading() || t.ever != (roundCounts{}) { // which the first release does not have
		c.Record(t.ever.fields)
	}
}

func (r *roundCounts) fields(c *wire.Codec) {
	wire.Amount(c, &r.accepted, &r.rejected, &r.best)
	wire.Int(c, &r.acceptedCount, &r.rejectedCount)
}

// rejectFields passes counts by reason, of which later releases may have more. Those
// behind the first release's are left out at the end where they are 0.
func rejectFields(c *wire.Codec, counts *[session.Reasons]int64) {
	c.Record(func(c *wire.Codec) {
		last := session.NotSubscribed
		for reason := last + 1; reason < session.Reasons; reason++ {
			if c.Reading() || counts[reason] != 0 {
				last = reason
			}
		}
		for reason := session.Accepted + 1; reason <= last; reason++ {
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

// newCounts is empty, to be read into.
func newCounts() *counts {
	refusals, newNames := recent.New[refusal, windowCount](maxKeys), recent.New[netip.Prefix, windowCount](maxKeys)
	return &counts{tally: new(poolTally), sums: make(map[string]agentSum), refusals: &refusals, newNames: &newNames}
}

func readCounts(record []byte) (*counts, error) {
	k, c := newCounts(), wire.Read(record)
	c.Versioned(countsVersion, k.fields)
	if k.now < 0 || k.now > stamp(100*365*24*time.Hour) {
		c.Fail(fmt.Errorf("uptime %v", time.Duration(k.now)))
	}
	if err := c.Done(); err != nil {
		return nil, fmt.Errorf("counts of the pool: %w", err)
	}
	return k, nil
}

// ImportCounts reads the record of ExportCounts, which was true at a time. The
// clock goes on from there.
func (s *Users) ImportCounts(record []byte, at time.Time) error {
	k, err := readCounts(record)
	if err != nil {
		return err
	}
	s.clock.start = at.Add(-time.Duration(k.now))
	s.round.Store(k.round)
	s.directory.lastID.Store(k.lastID)
	s.SetNetworkDifficulty(k.netDiff)
	t := &s.totals
	t.mu.Lock()
	t.poolTally = *k.tally
	t.mu.Unlock()
	for reason, n := range k.rejects {
		t.loops[0].rejects[reason].Store(n)
	}
	_ = s.HoldFiles(context.Background())
	s.sums = k.sums
	s.ReleaseFiles()
	s.refusals.restore(*k.refusals)
	s.newNames.restore(*k.newNames)
	return nil
}

func (w *window[K]) restore(counts recent.Map[K, windowCount]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts = counts
}
