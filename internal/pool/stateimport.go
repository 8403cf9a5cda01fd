package pool

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"ckpool/difficulty"
	"ckpool/internal/recent"
	"ckpool/internal/session"
	"ckpool/internal/wire"
)

// importUsers reads a record of users. What it holds replaces what is known of
// the same users and workers.
func (s moving) importUsers(record []byte) error {
	r := wire.NewReader(record)
	r.Version(usersVersion)
	for r.More() {
		switch kind := r.Uint8(); kind {
		case userEntry:
			s.importUser(r)
		case workerEntry:
			s.importWorker(r)
		default:
			r.Fail(fmt.Errorf("entry of kind %d", kind))
		}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	return nil
}

func (s moving) importUser(r *wire.Reader) {
	name, id := r.Text(), int64(r.Uint64())
	t := readTally(r)
	payout := r.Bytes()
	authorised, loggedIn := int64(r.Uint64()), r.Bool()
	if userName, _ := splitName(name); name == "" || userName != name || id <= 0 {
		r.Fail(fmt.Errorf("user %.100q with number %d", name, id))
	}
	if r.Err() != nil {
		return
	}
	u, made := s.names.makeUser(name, 0)
	if made {
		u.id = id // nobody has seen the user yet
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tally, u.authorised, u.loggedIn = t, authorised, loggedIn
	if u.Payout == nil && len(payout) > 0 {
		u.Payout = append([]byte(nil), payout...)
	}
}

func (s moving) importWorker(r *wire.Reader) {
	name := r.Text()
	t := readTally(r)
	agent := r.Text()
	accepted, rejects := int64(r.Uint64()), readRejects(r)
	if userName, _ := splitName(name); userName == "" {
		r.Fail(fmt.Errorf("worker %.100q", name))
	}
	if r.Err() != nil {
		return
	}
	w := s.names.makeWorker(name, 0)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally, w.accepted, w.rejects = t, accepted, rejects
	w.connected.remember(agent)
}

func readTally(r *wire.Reader) (t tally) {
	for i := range t.rates {
		readAverage(r, &t.rates[i])
	}
	t.pending = amount(r)
	t.decayed, t.lastShare = stamp(r.Uint64()), stamp(r.Uint64())
	t.shares, t.best, t.bestEver = amount(r), amount(r), amount(r)
	t.round = r.Uint32()
	return t
}

// counts is the record of exportCounts.
type counts struct {
	now      stamp
	round    uint32
	lastID   int64
	netDiff  float64
	totals   totals
	rejects  []int64 // by reason, the first after Accepted
	sums     map[string]agentSum
	refusals recent.Map[refusal, windowCount]
	newNames recent.Map[netip.Prefix, windowCount]
}

func readCounts(record []byte) (*counts, error) {
	r := wire.NewReader(record)
	r.Version(countsVersion)
	k := &counts{now: stamp(r.Uint64()), round: r.Uint32(), lastID: int64(r.Uint64()), netDiff: amount(r)}
	t := &k.totals
	for _, v := range [...]*float64{&t.round.accepted, &t.round.rejected, &t.round.best, &t.credit, &t.shares} {
		*v = amount(r)
	}
	t.round.acceptedCount, t.round.rejectedCount = int64(r.Uint64()), int64(r.Uint64())
	for i := range t.rates {
		readAverage(r, &t.rates[i])
	}
	for i := range t.sps {
		readAverage(r, &t.sps[i])
	}
	t.decayed, t.passes = stamp(r.Uint64()), int(r.Uint32())
	for range r.Count(8) {
		k.rejects = append(k.rejects, int64(r.Uint64()))
	}
	k.sums = make(map[string]agentSum)
	for range r.Count(17) {
		kind := r.Text()
		var sum agentSum
		readAverage(r, &sum.rate)
		sum.best = amount(r)
		k.sums[kind] = sum
	}
	k.refusals = readWindow(r, 30, func() refusal { return refusal{readPrefix(r), r.Text()} })
	k.newNames = readWindow(r, 29, func() netip.Prefix { return readPrefix(r) })
	if r.Err() == nil && (k.now < 0 || k.now > stamp(100*365*24*time.Hour)) {
		r.Fail(fmt.Errorf("uptime %v", time.Duration(k.now)))
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("counts of the pool: %w", err)
	}
	return k, nil
}

func readWindow[K comparable](r *wire.Reader, size int, key func() K) recent.Map[K, windowCount] {
	n := r.Count(size)
	counts := recent.New[K, windowCount](maxKeys)
	for range n {
		k := key()
		counts.Put(k, windowCount{stamp(r.Uint64()), int(r.Uint32())})
	}
	return counts
}

func readPrefix(r *wire.Reader) netip.Prefix {
	addr, bits := r.Addr(), r.Uint8()
	p, err := addr.Prefix(int(bits))
	if err != nil {
		r.Fail(err)
	}
	return p
}

func readAverage(r *wire.Reader, a *difficulty.Average) { *a = difficulty.Average(amount(r)) }

// amount reads a number that is neither negative nor infinite.
func amount(r *wire.Reader) float64 {
	v := r.Float()
	if v < 0 || math.IsInf(v, 0) {
		r.Fail(fmt.Errorf("the number %g", v))
		return 0
	}
	return v
}

// importCounts reads the record of exportCounts, which was true at a time. The
// clock goes on from there.
func (s moving) importCounts(record []byte, at time.Time) error {
	k, err := readCounts(record)
	if err != nil {
		return err
	}
	s.clock.start = at.Add(-time.Duration(k.now))
	s.round.Store(k.round)
	s.names.lastID.Store(k.lastID)
	s.SetNetworkDifficulty(k.netDiff)
	t := &s.totals
	t.mu.Lock()
	t.round, t.credit, t.shares = k.totals.round, k.totals.credit, k.totals.shares
	t.rates, t.sps, t.decayed, t.passes = k.totals.rates, k.totals.sps, k.totals.decayed, k.totals.passes
	t.mu.Unlock()
	for i, n := range k.rejects[:min(len(k.rejects), session.Reasons-1)] {
		t.loops[0].rejects[i+1].Store(n)
	}
	s.saving.Lock()
	s.sums = k.sums
	s.saving.Unlock()
	s.refusals.restore(k.refusals)
	s.newNames.restore(k.newNames)
	return nil
}

func (w *window[K]) restore(counts recent.Map[K, windowCount]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts = counts
}

// ResumeWorker implements session.Workers.
func (s moving) ResumeWorker(name string) session.Grant {
	w, _ := s.names.holdNew(name, s.stamp(time.Now()))
	w.user.mu.Lock()
	defer w.user.mu.Unlock()
	return session.Grant{Worker: w.id, Name: w.name, User: &w.user.User}
}
