package upstream

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
	"github.com/ckpool/ckpool/work"
)

// usualDifficulty is what a pool's shares are taken to have that has not said.
const usualDifficulty = 1

// jobSoon is how long a job is waited for behind a lower difficulty, before the
// present one is given on anew with that.
const jobSoon = 250 * time.Millisecond

// shapeTime is how long a job is waited for behind extranonces of another shape, before
// miners go elsewhere: those of the present one are still worked on.
const shapeTime = 2 * time.Second

// raiseTime is how long a pool that asks for too little has to raise its difficulty:
// shorter than what the client takes for a connection that has worked.
const raiseTime = 3 * time.Second

// line is one connection to a pool, subscribed and authorized.
type line struct {
	// Immutable.
	pool   *Pool
	slot   *slot
	ledger *ledger
	began  time.Time

	client atomic.Pointer[client.Client] // another one after it was suspended

	force   atomic.Uint64 // the difficulty in force, its bits
	names   names
	answers answers
	over    chan struct{} // closed when the connection has ended and does not move

	mu         sync.Mutex // held while an update is given on, so that they keep their order
	ended      bool
	source     uint32
	layout     layout
	extranonce stratum.Extranonce
	reshape    *time.Timer    // ends the source, whose extranonces have another shape from the next job on; nil: they have not
	told       bool           // the pool has told a difficulty
	newest     *job           // nil: none yet
	relax      *time.Timer    // gives the newest job on with a lower difficulty
	lastJob    time.Time      // when the newest came
	raise      *time.Timer    // ends the connection, whose difficulty is too low; nil: it is not
	suggested  bool           // the pool was asked for a higher one
	held       *client.Notify // the newest that came meanwhile
	flights    []flight       // without an answer when the connection was suspended
}

func (l *line) difficulty() float64 { return math.Float64frombits(l.force.Load()) }

func (l *line) setForce(d float64) { l.force.Store(math.Float64bits(d)) }

// event takes what the pool sends. An error ends the connection.
func (l *line) event(e client.Event) error {
	switch e := e.(type) {
	case client.Extranonce:
		return l.setExtranonce(e.Extranonce)
	case client.Difficulty:
		return l.setDifficulty(float64(e))
	case client.Notify:
		return l.notify(&e)
	case client.Message:
		l.pool.quote(string(e))
	case client.Reconnect:
		if to, err := l.client.Load().Endpoint().Redirect(e.Reconnect); err != nil {
			l.pool.report(event.Warning, fmt.Sprintf("%s: %v", l.pool.name, err))
		} else {
			l.pool.report(event.Notice, fmt.Sprintf("%s asks to reconnect to %s", l.pool.name, to.URL))
		}
	}
	return nil
}

// setExtranonce takes the extranonce for jobs that follow. Another shape of sessions
// is another source from the next job on, which is waited for.
func (l *line) setExtranonce(e stratum.Extranonce) error {
	layout, err := layoutOf(e.Extranonce2Len)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = nil
	l.extranonce = e
	switch {
	case l.source == 0:
		l.renumber(layout, false)
	case layout.Shape == l.layout.Shape:
		l.stopReshape()
	case l.reshape == nil:
		l.reshape = time.AfterFunc(shapeTime, l.reshapeNow)
	}
	return nil
}

// renumber makes the line another source, of which there is a job, or none yet. l.mu is
// held.
func (l *line) renumber(layout layout, works bool) {
	l.stopReshape()
	l.source, l.layout, l.newest = l.pool.options.Number(), layout, nil
	l.pool.renumbered(l, l.source, layout.Shape, works)
}

// stopReshape no longer waits for a job of another shape. l.mu is held.
func (l *line) stopReshape() {
	if l.reshape != nil {
		l.reshape.Stop()
		l.reshape = nil
	}
}

// reshapeNow ends the source: no job has come of the shape that extranonces have now.
func (l *line) reshapeNow() {
	l.mu.Lock()
	layout, err := layoutOf(l.extranonce.Extranonce2Len)
	waits := l.reshape != nil && !l.ended && err == nil
	if waits {
		l.giveEnd(l.source)
		l.renumber(layout, false)
	}
	l.mu.Unlock()
	if waits {
		l.pool.tell()
	}
}

// setDifficulty takes a difficulty. If it is lower than that of the newest job, which
// no other follows soon, then the job is given on with it. One below the least is not
// taken.
func (l *line) setDifficulty(d float64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d < l.pool.config.LeastDifficulty {
		return l.tooLow(d)
	}
	l.setForce(d)
	if l.raise != nil {
		l.stopRaise()
		if held := l.held; held != nil {
			l.held, l.told = nil, true
			return l.give(held, d, d)
		}
	}
	first := !l.told
	l.told = true
	if l.newest == nil || d == l.newest.upstream.Difficulty {
		return nil
	}
	if first { // what came before was meant with it
		return l.give(&l.newest.notify, d, d)
	}
	if d < l.newest.upstream.Difficulty && l.relax == nil {
		l.relax = time.AfterFunc(jobSoon, l.relaxNow)
	}
	return nil
}

// tooLow asks the pool, once, for the difficulty that is needed, and waits for it: what
// is at work goes on, further jobs are held back. l.mu is held.
func (l *line) tooLow(d float64) error {
	least := l.pool.config.LeastDifficulty
	err := fmt.Errorf("the pool asks for a difficulty of %g, which is below %g", d, least)
	switch {
	case l.raise != nil:
		return nil
	case l.suggested:
		return err
	}
	l.suggested = true
	l.raise = time.AfterFunc(raiseTime, func() { l.client.Load().End(err) })
	return l.client.Load().SuggestDifficulty(least)
}

// stopRaise no longer waits for a higher difficulty. l.mu is held.
func (l *line) stopRaise() {
	if l.raise != nil {
		l.raise.Stop()
		l.raise = nil
	}
}

// relaxNow gives the newest job on with the difficulty that is in force, if it is lower
// and the pool may take it for that job.
func (l *line) relaxNow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.relax = nil
	d := l.difficulty()
	if l.ended || l.newest == nil || d >= l.newest.upstream.Difficulty || !l.pool.habits.mayLower() {
		return
	}
	if err := l.give(&l.newest.notify, l.newest.announced, d); err != nil {
		l.client.Load().End(err)
	}
}

// mayLower tells that a lower difficulty may count for jobs sent before it.
func (h *habits) mayLower() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	down := &h.habits[lowered]
	down.age()
	return !down.known || down.lower
}

// notify takes a job.
func (l *line) notify(n *client.Notify) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.relax != nil {
		l.relax.Stop()
		l.relax = nil
	}
	d := n.Difficulty
	if d == 0 {
		d = usualDifficulty
		l.setForce(d)
	} else if d < l.pool.config.LeastDifficulty {
		l.held = n
		return l.tooLow(d)
	}
	if l.newest != nil && l.newest.announced == d && l.newest.upstream.Difficulty == d && sameJob(&l.newest.notify, n) {
		return nil // nothing new in it
	}
	if l.pool.sameWork(l, n) {
		return errors.New("the pool gives another connection the same work")
	}
	// Users' accounts are where others' work comes from already.
	if g := l.pool.options.given; g != nil && l.pool.member.user == "" && g.comesBack(n) {
		return errLeadsBack
	}
	return l.give(n, d, d)
}

// sameJob tells that two messages are about the same work.
func sameJob(a, b *client.Notify) bool {
	return a.JobID == b.JobID && a.NTime == b.NTime && a.Version == b.Version && a.Bits == b.Bits && a.PrevHash == b.PrevHash &&
		a.VersionMask == b.VersionMask && bytes.Equal(a.Coinb1, b.Coinb1) && bytes.Equal(a.Coinb2, b.Coinb2) && slices.Equal(a.Branch, b.Branch) &&
		bytes.Equal(a.Extranonce.Extranonce1, b.Extranonce.Extranonce1) && a.Extranonce.Extranonce2Len == b.Extranonce.Extranonce2Len
}

// give gives a job on, which was announced at one difficulty, with another or the same.
// l.mu is held.
func (l *line) give(n *client.Notify, announced, d float64) error {
	j := &job{line: l, notify: *n, announced: announced}
	template, layout, err := l.template(n)
	if err != nil {
		return fmt.Errorf("job %q: %w", n.JobID, err)
	}
	if layout.Shape != l.layout.Shape {
		if l.newest != nil {
			defer l.giveEnd(l.source) // when there is a place to go to
		}
		l.renumber(layout, true)
	}
	j.upstream = source.Upstream{Source: l.source, JobID: n.JobID, Difficulty: d, VersionMask: n.VersionMask, Shape: l.layout.Shape, Judge: j}
	u := source.Update{
		Template: template, From: l.pool.name, Received: time.Now(), Upstream: &j.upstream,
		NewTip: l.newest == nil || l.newest.notify.PrevHash != n.PrevHash,
		Clean:  n.Clean && (l.newest == nil || l.newest.notify.JobID != n.JobID),
	}
	l.newest, l.lastJob = j, u.Received
	if g := l.pool.options.given; g != nil {
		g.add(l, n)
	}
	l.pool.options.Updates(u)
	l.pool.working(l)
	return nil
}

// template makes the work of a job, which has a layout.
func (l *line) template(n *client.Notify) (*work.Template, layout, error) {
	layout, err := layoutOf(n.Extranonce.Extranonce2Len)
	if err != nil {
		return nil, layout, err
	}
	t, err := work.NewTemplate(&work.Parts{
		Version: n.Version, PrevHash: n.PrevHash, Bits: n.Bits, CurTime: n.NTime, MinTime: n.NTime, Branch: n.Branch,
		Coinbase: &work.GivenCoinbase{Head: slices.Concat(n.Coinb1, n.Extranonce.Extranonce1), Tail: n.Coinb2, Pad: layout.Pad},
	})
	return t, layout, err
}

// end notes that the connection has ended.
func (l *line) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.stopRaise()
	l.stopReshape()
	if l.relax != nil {
		l.relax.Stop()
		l.relax = nil
	}
	if l.newest != nil {
		l.giveEnd(l.source)
	}
	if g := l.pool.options.given; g != nil {
		g.remove(l)
	}
}

// giveEnd tells that no more comes of a source. l.mu is held.
func (l *line) giveEnd(number uint32) {
	l.pool.options.Updates(source.Update{From: l.pool.name, Received: time.Now(), Ended: true, Upstream: &source.Upstream{Source: number}})
}

// names are those that shares go up under beside the pool's user, where it has workers'
// names told apart.
type names struct {
	mu    sync.Mutex
	known map[string]bool // asked for; whether the pool has agreed
}

// set notes a name that was asked for.
func (n *names) set(name string, agreed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = make(map[string]bool)
	}
	n.known[name] = agreed
}

// maxNames is how many names a connection is asked for.
const maxNames = 1000

// worker is the name that a worker's shares go up under. A name is asked for when its
// first share comes, and used once the pool has agreed to it.
func (l *line) worker(name string) string {
	user := l.client.Load().Endpoint().User
	if !l.pool.config.Workers {
		return user
	}
	i := slices.IndexFunc([]byte(name), func(c byte) bool { return c == '.' || c == '_' })
	if i < 0 || i == len(name)-1 {
		return user
	}
	full := user + name[i:]
	if full == user {
		return user
	}
	l.names.mu.Lock()
	agreed, asked := l.names.known[full]
	ask := !asked && len(l.names.known) < maxNames
	l.names.mu.Unlock()
	if agreed {
		return full
	}
	if ask {
		l.names.set(full, false)
		_ = l.client.Load().Authorize(full, l.client.Load().Endpoint().Password, func(err error) { // one that is not asked stays as it is
			if err == nil {
				l.names.set(full, true)
			}
		})
	}
	return user
}

// LineStatus is how one connection does.
type LineStatus struct {
	ID             int64  // which no other of the pool has or had; 0 is the first
	Works          bool   // there is a job
	Source         uint32 // 0: not connected
	Since, LastJob time.Time
	Address        string
	Extranonce1    string // hexadecimal
	Extranonce2Len int
	Shape          source.Shape
	Sessions       int
	Capacity       int // sessions that it has room for
	Difficulty     float64
	VersionMask    uint32
	Figures        Figures
}

// status adds what the line knows.
func (l *line) status(s *LineStatus) {
	s.Since, s.Address, s.Difficulty, s.Figures = l.began, l.client.Load().Endpoint().URL, l.difficulty(), l.ledger.figures()
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Source, s.LastJob, s.Shape, s.Capacity = l.source, l.lastJob, l.layout.Shape, capacity(l.layout.Shape)
	s.Extranonce1, s.Extranonce2Len = hex.EncodeToString(l.extranonce.Extranonce1), l.extranonce.Extranonce2Len
	if l.newest != nil {
		s.VersionMask = l.newest.notify.VersionMask
	}
}
