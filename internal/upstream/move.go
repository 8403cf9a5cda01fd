package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum/client"
)

// Moving is a connection on its way to another process.
type Moving struct {
	Conn    net.Conn // its socket, which the other process has its own descriptor of
	Record  []byte
	Account bool // of a user's own account: it is for Accounts.AdoptLine

	slot  *slot // that it was taken from
	state *client.State
}

// adoption is a connection that a pool is to go on with.
type adoption struct {
	slot   *slot
	client *client.Client
	state  *client.State
}

// suspend stops the connections that can move, for another process, or for resume. Of those
// that cannot, such as over TLS, answers are kept back. Those that are being made are left as
// they are.
func (p *Pool) suspend() []Moving {
	p.mu.Lock()
	p.suspended = true
	slots := slices.Clone(p.slots)
	p.mu.Unlock()
	var list []Moving
	for _, s := range slots {
		p.mu.Lock()
		l, kept := s.line, s.kept
		p.mu.Unlock()
		if l == nil {
			continue
		}
		if l.client.Load().Suspend() != nil {
			l.keepAnswers()
			p.mu.Lock()
			p.standing = append(p.standing, l)
			p.mu.Unlock()
			continue
		}
		if p.waits(s) {
			l.client.Load().Start() // for it to stop
		} else {
			select { // all that came before has been handled
			case <-kept:
			case <-l.over: // and has ended it, such as for another address: there is one anew soon
			}
		}
		conn, state := l.client.Load().Suspended()
		if conn == nil {
			continue
		}
		p.mu.Lock()
		gone := s.line != l // it was retired at this moment, or given up
		p.mu.Unlock()
		if gone {
			conn.Close()
			l.lose()
			continue
		}
		record := l.record(state)
		c := wire.Append(nil)
		c.Versioned(lineVersion, record.fields)
		list = append(list, Moving{Conn: conn, Record: c.Written(), Account: p.member.user != "", slot: s, state: state})
	}
	return list
}

// waits tells that a connection came along that Run was to go on with, and takes it from there.
func (p *Pool) waits(s *slot) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.adoptions, func(a adoption) bool { return a.slot == s })
	if i >= 0 {
		p.adoptions = slices.Delete(slices.Clone(p.adoptions), i, i+1)
	}
	return i >= 0
}

// lose tells of shares that waited for answers that there will be none: the connection has
// ended as it was to move.
func (l *line) lose() {
	l.mu.Lock()
	flights := l.flights
	l.flights = nil
	l.mu.Unlock()
	for i := range flights {
		l.answer(&flights[i], nil)(client.Verdict{Err: client.ErrClosed})
	}
}

// record is the line as it moves. Its client has stopped.
func (l *line) record(state *client.State) *lineRecord {
	r := &lineRecord{url: l.pool.config.URL, user: l.pool.config.User, force: l.difficulty(), began: l.began, state: *state, ledger: l.ledger.record()}
	l.names.mu.Lock()
	for name, agreed := range l.names.known {
		if !agreed { // the answer may be lost: it is asked for again
			delete(l.names.known, name)
			continue
		}
		r.names = append(r.names, nameRecord{name, agreed})
	}
	l.names.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	r.source, r.told, r.flights = l.source, l.told, slices.Clone(l.flights)
	if l.newest != nil {
		r.newest = &jobRecord{l.newest.notify, l.newest.announced, l.newest.upstream.Difficulty}
	}
	return r
}

// resume goes on with connections that suspend has stopped, since they do not move, and with
// answers that it has kept back.
func (p *Pool) resume(list []Moving) {
	for i := range list {
		m := &list[i]
		p.mu.Lock()
		l := m.slot.line
		p.mu.Unlock()
		p.goOn(l, m.slot, m.Conn, m.state)
	}
	p.mu.Lock()
	standing := p.standing
	p.suspended, p.standing = false, nil
	p.mu.Unlock()
	for _, l := range standing {
		l.tellAnswers()
	}
	p.look()
}

// goOn makes Run go on with a connection.
func (p *Pool) goOn(l *line, s *slot, conn net.Conn, state *client.State) {
	l.mu.Lock()
	flights := l.flights
	l.flights = nil
	if l.raise != nil { // which may have come to its end while nothing was heard
		l.raise.Reset(raiseTime)
	}
	l.mu.Unlock()
	waiting := make(map[uint64]func(client.Verdict), len(flights))
	for i := range flights {
		waiting[flights[i].id] = l.answer(&flights[i], nil)
	}
	c := client.Resume(conn, state, p.endpoint(), p.clientOptions(), waiting)
	l.client.Store(c)
	p.mu.Lock()
	s.kept = make(chan struct{})
	p.adoptions = append(p.adoptions, adoption{s, c, state})
	p.mu.Unlock()
}

// adopt takes a connection of another process, to be kept from Run on, whose jobs have a
// shape.
func (p *Pool) adopt(conn net.Conn, r *lineRecord) (shape source.Shape, err error) {
	extranonce := &r.state.Extranonce
	if r.newest != nil { // the next one may have another shape
		extranonce = &r.newest.notify.Extranonce
	}
	layout, err := layoutOf(extranonce.Extranonce2Len)
	if err != nil {
		return shape, err
	}
	s := &slot{source: r.source, shape: layout.Shape, idle: time.Now()}
	l := &line{pool: p, slot: s, ledger: newLedger(p.ledger), began: r.began, told: r.told, source: r.source, layout: layout, extranonce: r.state.Extranonce, over: make(chan struct{})}
	l.ledger.restore(&r.ledger)
	l.setForce(r.force)
	for _, n := range r.names {
		l.names.set(n.name, n.agreed)
	}
	if k := r.newest; k != nil {
		l.newest = &job{line: l, notify: k.notify, announced: k.announced}
		l.newest.upstream = source.Upstream{Source: r.source, JobID: k.notify.JobID, Difficulty: k.difficulty, VersionMask: k.notify.VersionMask, Shape: layout.Shape, Judge: l.newest}
		s.works, s.told, s.mask = true, true, k.notify.VersionMask
	}
	l.flights = r.flights
	for range r.flights {
		l.ledger.sent()
	}
	state := r.state
	p.goOn(l, s, conn, &state)
	if g := p.options.given; g != nil && l.newest != nil {
		g.add(l, &l.newest.notify)
	}
	p.mu.Lock()
	s.line = l
	p.add(s)
	p.up, p.tried = p.works(), p.works()
	p.mu.Unlock()
	l.mu.Lock() // which its timers take
	defer l.mu.Unlock()
	if next, err := layoutOf(r.state.Extranonce.Extranonce2Len); err == nil && next.Shape != layout.Shape {
		l.reshape = time.AfterFunc(shapeTime, l.reshapeNow)
	}
	if l.newest != nil && r.force < l.newest.upstream.Difficulty {
		l.relax = time.AfterFunc(jobSoon, l.relaxNow)
	}
	return layout.Shape, nil
}

// adopted begins to keep the connections that there are, on Run's goroutine.
func (p *Pool) adopted(ctx context.Context, keepers *sync.WaitGroup) {
	p.mu.Lock()
	list := p.adoptions
	p.adoptions = nil
	p.mu.Unlock()
	for _, a := range list {
		p.keep(ctx, keepers, a.slot, a.client, a.state)
	}
}

// Judge is who judges shares of jobs that came from another process, of a source that
// moved too; nil for any other.
func (g *Group) Judge(number uint32) source.Judge {
	for _, p := range g.everyPool() {
		if l := p.lineOf(number); l != nil {
			return l
		}
	}
	return nil
}

func (p *Pool) lineOf(number uint32) *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		if s.source == number && number != 0 {
			return s.line
		}
	}
	return nil
}

// Submit implements source.Judge for jobs that came from another process.
func (l *line) Submit(f *source.Found) bool { return l.submit(f, f.Upstream.Difficulty) }

// Standing is a pool of a Group that has work, for another process that is to take over.
type Standing struct {
	URL    string `json:"url"`
	User   string `json:"user"`
	Serves bool   `json:"serves,omitempty"` // miners belong there
	Moves  bool   `json:"moves,omitempty"`  // with its connections, as far as they can
}

// Standing is the pools that have work, in order, and the number of the last source.
func (g *Group) Standing() (list []Standing, last uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	last = g.number.Load()
	for _, m := range g.members {
		if m.up() {
			list = append(list, Standing{m.config.URL, m.config.User, slices.Contains(g.serving, m), m.pool.moves()})
		}
	}
	return list, last
}

// moves tells that some connection with work can move.
func (p *Pool) moves() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.slots, func(s *slot) bool { return s.works && s.line.client.Load().Moves() })
}

// stays tells that there is work, and no connection with any can move.
func (p *Pool) stays() bool { return p.Up() && !p.moves() }

// sourcesMeanwhile is more than another process has new sources until it has handed over, even
// if all accounts of users are made again and again meanwhile: jobs of two processes are told
// apart by them.
const sourcesMeanwhile = 1 << 16

// Expect makes the group wait for the connections that another process has, as its
// Standing says: the pools that they are to do not run before Begin, all others do. all
// tells that every pool of the list which serves comes along, or another where none of the
// list does, so that there is work as soon as the connections are here. It is to be called
// before Run.
func (g *Group) Expect(list []Standing, last uint32) (all bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.number.Store(max(g.number.Load(), last+sourcesMeanwhile))
	left := false // one that serves does not come
	for _, k := range list {
		switch m := g.configured(k.URL, k.User); {
		case m == nil:
		case k.Moves:
			m.expected, all = true, true
		case k.Serves:
			left = true
		}
	}
	return all && !left
}

// Begin goes on with the connections that were adopted, now that they are this process's.
func (g *Group) Begin() {
	g.begin()
	if accounts := g.users(); accounts != nil {
		accounts.begin()
	}
}

func (g *Group) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		if m.expected && m.cancel == nil && !m.disabled && g.launch != nil {
			g.launch(m)
		}
		m.expected = false
	}
	g.look()
}

// Abandon lets go of the connections that were adopted: the other process goes on with them
// after all.
func (g *Group) Abandon() {
	for _, p := range g.everyPool() {
		p.abandon()
	}
}

// abandon lets go of the connections that were adopted.
func (p *Pool) abandon() {
	p.mu.Lock()
	list := p.adoptions
	p.adoptions = nil
	p.mu.Unlock()
	for _, a := range list {
		a.slot.line.end()
		a.client.End(client.ErrMoving)
	}
}

// settleEvery is how often Settle looks.
const settleEvery = 5 * time.Millisecond

// Settle waits until the shares on connections that do not move have their verdicts, or
// ctx is done.
func (g *Group) Settle(ctx context.Context) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for g.unsettled() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (g *Group) unsettled() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range g.origins {
		if !o.ended && o.member.pool.unsettled() {
			return true
		}
	}
	return false
}

// unsettled tells that shares wait on connections that cannot move.
func (p *Pool) unsettled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.slots, func(s *slot) bool {
		return s.line != nil && !s.line.client.Load().Moves() && s.line.ledger.figures().Open > 0
	})
}

// left counts in records the shares as unanswered that wait on connections which do not
// move: nobody will know.
func (p *Pool) left(records ...*ledgerRecord) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.standing {
		for range l.ledger.figures().Open {
			for _, r := range records {
				r.f.Unanswered.add(l.difficulty())
			}
		}
	}
}

// Suspend stops all connections that can move, between any two bytes, users' own among
// them. record is the rest of the group. What cannot move, such as TLS, is left as it is.
// Resume goes on with them.
func (g *Group) Suspend() (record []byte, list []Moving) {
	r := groupRecord{}
	if accounts := g.users(); accounts != nil {
		accounts.suspend(true)
		for _, p := range accounts.pools() {
			list = append(list, p.suspend()...)
		}
	}
	g.mu.Lock()
	serving := slices.Clone(g.serving)
	g.mu.Unlock()
	for _, p := range g.pools() {
		list = append(list, p.suspend()...)
		k := poolRecord{url: p.config.URL, user: p.config.User, serves: slices.Contains(serving, p.member), ledger: p.ledger.record()}
		p.left(&k.ledger)
		p.habits.mu.Lock()
		k.habits = p.habits.habits
		p.habits.mu.Unlock()
		r.pools = append(r.pools, k)
	}
	r.number = g.number.Load()
	c := wire.Append(nil)
	c.Versioned(groupVersion, r.fields)
	return c.Written(), list
}

// Resume goes on with what Suspend has stopped, where it does not move.
func (g *Group) Resume(list []Moving) {
	of := make(map[*slot]Moving, len(list))
	for _, m := range list {
		of[m.slot] = m
	}
	for _, p := range g.everyPool() {
		var own []Moving
		p.mu.Lock()
		for _, s := range p.slots {
			if m, moves := of[s]; moves {
				own = append(own, m)
				delete(of, s)
			}
		}
		p.mu.Unlock()
		p.resume(own)
	}
	for _, m := range of { // retired meanwhile
		m.Conn.Close()
	}
	if accounts := g.users(); accounts != nil {
		accounts.suspend(false)
	}
}

// Adopt reads the record of a group in another process. It is to be called before Begin.
func (g *Group) Adopt(record []byte) error {
	var r groupRecord
	c := wire.Read(record)
	c.Versioned(groupVersion, r.fields)
	if err := c.Done(); err != nil {
		return fmt.Errorf("upstream pools: %w", err)
	}
	g.number.Store(max(g.number.Load(), r.number))
	var serving []*member
	for i := range r.pools {
		k := &r.pools[i]
		g.mu.Lock()
		m := g.configured(k.url, k.user)
		g.mu.Unlock()
		if m == nil {
			continue
		}
		if k.serves { // it turns out whether it has work
			serving = append(serving, m)
		}
		p := m.pool
		p.ledger.restore(&k.ledger)
		p.habits.mu.Lock()
		p.habits.habits = k.habits
		p.habits.mu.Unlock()
	}
	if len(serving) > 0 {
		g.mu.Lock()
		g.serving, g.goesOn = serving, true
		g.mu.Unlock()
	}
	return nil
}

// Why a connection is not adopted.
var (
	// ErrNotConfigured: its pool is not in the list.
	ErrNotConfigured = errors.New("the pool is not configured any more")
	// ErrConnected: it was connected to when it could not be expected any more.
	ErrConnected = errors.New("there is a new connection already")
)

// AdoptLine takes a connection of another process, with its own descriptor of the socket. It
// is to be called after Adopt and before Begin, which is when it is read. After an error the
// socket is the caller's.
func (g *Group) AdoptLine(conn net.Conn, record []byte) error {
	r, err := readLine(record)
	if err != nil {
		return err
	}
	g.mu.Lock()
	m := g.configured(r.url, r.user)
	running := m != nil && m.cancel != nil
	g.mu.Unlock()
	if m == nil {
		return r.refused(ErrNotConfigured)
	}
	if running {
		m.pool.ledger.lost(r.flights)
		return r.refused(ErrConnected)
	}
	return g.adopt(m, conn, r)
}

func readLine(record []byte) (*lineRecord, error) {
	r := new(lineRecord)
	c := wire.Read(record)
	c.Versioned(lineVersion, r.fields)
	if err := c.Done(); err != nil {
		return nil, fmt.Errorf("upstream connection: %w", err)
	}
	return r, nil
}

// refused is why a connection is not adopted.
func (r *lineRecord) refused(err error) error {
	return fmt.Errorf("upstream connection to %s as %s: %w", r.url, r.user, err)
}

// adopt makes a connection one of a pool's.
func (g *Group) adopt(m *member, conn net.Conn, r *lineRecord) error {
	shape, err := m.pool.adopt(conn, r)
	if err != nil {
		return fmt.Errorf("upstream connection to %s: %w", r.url, err)
	}
	if r.newest != nil {
		g.mu.Lock()
		m.mask, m.shape = r.newest.notify.VersionMask, shape
		g.origins[r.source] = &origin{member: m, mask: m.mask, shape: m.shape}
		g.mu.Unlock()
	}
	g.look()
	return nil
}

// Renew gives the newest jobs of adopted connections once more that known, which tells the
// newest work of a source, has not: they came as the other process stood still.
func (g *Group) Renew(known func(number uint32) *session.Work) {
	for _, p := range g.everyPool() {
		p.mu.Lock()
		adoptions := slices.Clone(p.adoptions)
		p.mu.Unlock()
		for _, a := range adoptions {
			a.slot.line.renew(known)
		}
	}
}

func (l *line) renew(known func(number uint32) *session.Work) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.newest == nil {
		return
	}
	template, _, err := l.template(&l.newest.notify)
	if err != nil { // nor was any work made of it there
		return
	}
	w, u := known(l.source), &l.newest.upstream
	newTip := w == nil || w.Job.Template.PrevHash != template.PrevHash
	if !newTip && w.Upstream.JobID == u.JobID && w.Upstream.Difficulty == u.Difficulty && w.Upstream.VersionMask == u.VersionMask && w.Job.Template.SameWork(template) {
		return
	}
	l.pool.options.Updates(source.Update{
		Template: template, From: l.pool.name, Received: time.Now(), Upstream: u, NewTip: newTip, Clean: l.newest.notify.Clean,
	})
}

// configured is the pool of the list with a URL and a user, nil for none. g.mu is held.
func (g *Group) configured(url, user string) *member {
	for _, m := range g.members {
		if m.config.URL == url && m.config.User == user {
			return m
		}
	}
	return nil
}
