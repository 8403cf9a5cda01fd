package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/source"
)

// GroupOptions are what a Group needs of what is around it.
type GroupOptions struct {
	Events event.Func
	// Finder hears of shares that came from another process with their connection.
	Finder source.Finder
	// FailBack is for how long a pool must have had work before miners go back to it from
	// one that stands behind it; 0 is a minute.
	FailBack time.Duration
	// Spread is over how long moves are spread that are not urgent, and those of miners
	// that have to connect again; 0 is 10 s.
	Spread time.Duration
	// After is the greatest number that a source has had in processes before this one whose
	// jobs go on here.
	After uint32
	// Dial replaces the TCP connect.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Times of a Group.
const (
	usualFailBack = time.Minute
	longFailBack  = time.Hour // of a pool that refused everything, again and again
	usualSpread   = 10 * time.Second
	// settleTime is for how long after the start a better pool is used as soon as it has
	// work: all were asked at the same time.
	settleTime = 10 * time.Second
	// lingerTime is how long the connections of a pool stay that is used no more, after its
	// sessions have had the time to leave: for the verdicts on their last shares.
	lingerTime = 5 * time.Second
)

// Group is all pools that work comes from, in order of preference. It is a jobs.Source,
// and says as session.Sources where sessions get their work.
//
// Without weights all miners mine for the first pool of the list that can be mined for.
// With weights the pools that have one share the hash rate by them; those without are in
// reserve. Whoever rolls versions mines where that is allowed, if it is anywhere.
type Group struct {
	options GroupOptions
	updates *updates
	number  atomic.Uint32
	given   given
	wake    chan struct{} // capacity 1: something has changed
	running sync.WaitGroup

	mu      sync.Mutex // may be taken while that of a line or of Accounts is held; a Pool's is taken after it
	began   time.Time
	launch  func(*member) // runs one, while Run runs
	members []*member     // in order of preference
	nextID  int64
	origins map[uint32]*origin
	serving []*member // that sessions belong to, in order
	divided bool      // by weights
	goesOn  bool      // another process had chosen already
	mean    float64   // rate of an average miner
	miners  Miners    // nil: none yet
	// accounts are those of users, nil: they have none of their own.
	accounts *Accounts
	strays   bool // a session has begun with a source that had ended
	saying   saying
}

// member is a pool of a Group. The Group's mu guards what may change.
type member struct {
	// Immutable.
	id     int64
	config Config
	pool   *Pool
	user   string // who alone has sessions there, "" everybody

	cancel context.CancelFunc // nil while it does not run
	stop   *time.Timer        // ends it when sessions have left, nil unless it is disabled or removed

	disabled, removed bool
	expected          bool      // another process has connections to it: it does not run before Begin
	since             time.Time // it has had work, zero: it has none
	hold              time.Duration
	atSince           Figures // those at since
	mask              uint32  // of its newest job
	shape             source.Shape

	// As the hash rate was divided last, by weights.
	wanted, part float64
	rate         float64 // with newcomers since
	history      history // of what it accepted
}

// origin is a source, and whose it is.
type origin struct {
	member   *member
	mask     uint32
	shape    source.Shape
	ended    bool
	sessions int
}

// NewGroup makes a group, which does nothing before Run. The error says what is wrong
// with the configuration.
func NewGroup(configs []Config, o GroupOptions) (*Group, error) {
	if len(configs) == 0 {
		return nil, errors.New("there is no pool to mine for")
	}
	if o.FailBack == 0 {
		o.FailBack = usualFailBack
	}
	if o.Spread == 0 {
		o.Spread = usualSpread
	}
	g := &Group{options: o, updates: newUpdates(), given: given{lines: map[*line]*recentWork{}}, wake: make(chan struct{}, 1), origins: map[uint32]*origin{}, mean: 1, saying: newSaying()}
	g.number.Store(o.After)
	for _, c := range configs {
		if _, err := g.add(c); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// add puts a pool behind the others. g.mu is held, or nobody else has g.
func (g *Group) add(c Config) (*member, error) {
	m := &member{id: g.nextID, config: c, hold: g.options.FailBack}
	if err := g.makePool(m, g.look); err != nil {
		return nil, err
	}
	m.pool.id = m.id
	g.nextID++
	g.members = append(slices.Clone(g.members), m)
	return m, nil
}

// makePool makes the Pool of a member.
func (g *Group) makePool(m *member, changed func()) (err error) {
	m.pool, err = NewPool(m.config, Options{
		Updates: func(u source.Update) { g.update(m, u) },
		Finder:  g.options.Finder, Number: g.next,
		Events: m.events(g.options.Events), Changed: changed, Dial: g.options.Dial, given: &g.given,
	})
	if err == nil {
		m.pool.member = m
	}
	return err
}

// events is what a member's pool tells: of the account of one user, which may be one of
// thousands, with his name and for those who ask for details.
func (m *member) events(all event.Func) event.Func {
	if m.user == "" {
		return all
	}
	return func(e event.Event) {
		e.Level = max(e.Level, event.Info)
		e.Text += fmt.Sprintf(" (user %q)", m.user)
		all.Tell(e)
	}
}

// next is the number of the next source.
func (g *Group) next() uint32 { return g.number.Add(1) }

// beside makes a pool that is not in the list, the account of the one user of that name:
// its sources have numbers among those of the group, its updates come with theirs, and
// sessions are counted there. Of the user's none is taken away before its source has
// ended, and no other is there. What becomes of shares counts in a ledger too. The caller
// runs it while the group runs; see Options for changed.
func (g *Group) beside(c Config, above *ledger, changed func()) (*Pool, error) {
	m := &member{config: c, user: c.User}
	if err := g.makePool(m, changed); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m.id = g.nextID
	g.nextID++
	m.pool.id, m.pool.ledger.above = m.id, above
	return m.pool, nil
}

// Attend gives the group the sessions that it is to move. They may be there before Run
// or come later.
func (g *Group) Attend(m Miners) {
	g.mu.Lock()
	g.miners = m
	g.mu.Unlock()
	g.look()
}

// Run keeps all pools until ctx is done, and may be called once. It returns no error: a
// pool that cannot be reached is tried again.
func (g *Group) Run(ctx context.Context) error {
	g.mu.Lock()
	g.began = time.Now()
	g.launch = func(m *member) {
		ctx, cancel := context.WithCancel(ctx)
		m.cancel = cancel
		g.running.Go(func() { m.pool.Run(ctx) })
	}
	for _, m := range g.members {
		if !m.disabled && !m.expected {
			g.launch(m)
		}
	}
	g.mu.Unlock()
	g.running.Go(func() { g.updates.run(ctx) })
	g.steward(ctx)
	g.mu.Lock()
	g.launch = nil
	for _, m := range g.members {
		if m.stop != nil {
			m.stop.Stop()
		}
	}
	g.mu.Unlock()
	g.running.Wait()
	return nil
}

// look has the steward look at what there is.
func (g *Group) look() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// update takes an update of a pool's.
func (g *Group) update(m *member, u source.Update) {
	number := u.Upstream.Source
	g.mu.Lock()
	o := g.origins[number]
	news := true
	switch {
	case u.Ended && o != nil:
		if o.ended = true; o.sessions == 0 {
			delete(g.origins, number)
		}
	case u.Ended:
	case o == nil:
		g.origins[number] = &origin{member: m, mask: u.Upstream.VersionMask, shape: u.Upstream.Shape}
	default:
		news = o.mask != u.Upstream.VersionMask
		o.mask = u.Upstream.VersionMask
	}
	if !u.Ended {
		m.mask, m.shape = u.Upstream.VersionMask, u.Upstream.Shape
	}
	g.mu.Unlock()
	g.updates.give(u)
	if news {
		g.look()
	}
}

// Active is the pool that is worked for, the first where the hash rate is divided; nil
// while none has work.
func (g *Group) Active() *Pool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.serving) == 0 || !g.serving[0].up() {
		return nil
	}
	return g.serving[0].pool
}

// pools are those of all members, in order.
func (g *Group) pools() (list []*Pool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		list = append(list, m.pool)
	}
	return list
}

// everyPool is pools and those of users' accounts.
func (g *Group) everyPool() []*Pool {
	list := g.pools()
	if accounts := g.users(); accounts != nil {
		list = append(list, accounts.pools()...)
	}
	return list
}

// Templates implements jobs.Source.
func (g *Group) Templates() <-chan source.Update { return g.updates.out }

// Refresh implements jobs.Source: other pools give work when they want to.
func (g *Group) Refresh(string) {}

// Prepare implements jobs.Source.
func (g *Group) Prepare() {}

// Chain implements jobs.Source: other pools do not tell theirs.
func (g *Group) Chain() string { return "" }

// Usable implements jobs.Source.
func (g *Group) Usable() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.members, (*member).up)
}

// Status implements jobs.Source.
func (g *Group) Status() []source.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]source.Status, 0, len(g.members))
	for _, m := range g.members {
		s := m.pool.Status()
		if m.disabled {
			s.State, s.Reason = "disabled", "disabled by an operator"
		}
		s.Current = slices.Contains(g.serving, m) && m.up()
		list = append(list, s)
	}
	return list
}

// up tells that a pool can be mined for.
func (m *member) up() bool { return !m.disabled && !m.removed && m.pool.Up() }

// Place implements session.Sources.
func (g *Group) Place(n *session.Newcomer) (from uint32, ok bool) {
	if from, ok = g.placeAtHome(n); ok {
		return from, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if o := g.origins[n.Source]; o != nil && !o.ended {
		return n.Source, true // it may belong elsewhere: the steward moves it
	}
	list := g.preferred()
	if n.Rolls {
		for _, m := range list {
			if from, ok = m.placeRolling(n.VersionMask); ok {
				m.rate += g.mean
				return from, true
			}
		}
	}
	for _, m := range list {
		if from, ok = m.pool.Place(0); ok {
			m.rate += g.mean
			return from, true
		}
	}
	return 0, false
}

// placeAtHome is a source of the account of a session's user, if there is one with room.
func (g *Group) placeAtHome(n *session.Newcomer) (from uint32, ok bool) {
	g.mu.Lock()
	accounts := g.accounts
	o := g.origins[n.Source]
	g.mu.Unlock()
	if accounts == nil || n.User == "" || o != nil && o.member.user == n.User && !o.ended {
		return 0, false
	}
	mask := uint32(0)
	if n.Rolls {
		mask = n.VersionMask
	}
	return accounts.Place(n.User, mask)
}

// admits tells that a user's sessions may be at a pool.
func (m *member) admits(user string) bool { return m.user == "" || m.user == user }

// Admits implements session.Sources.
func (g *Group) Admits(from uint32, user string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.origins[from]
	return o == nil || o.member.admits(user)
}

// Login implements session.Sources.
func (g *Group) Login(user, password string) {
	if a := g.users(); a != nil {
		a.Login(user, password)
	}
}

// Return implements session.Sources.
func (g *Group) Return(user string) {
	if a := g.users(); a != nil {
		a.Return(user)
	}
}

// Logout implements session.Sources.
func (g *Group) Logout(user string) {
	if a := g.users(); a != nil {
		a.Logout(user)
	}
}

// users are their accounts, nil if they have none of their own.
func (g *Group) users() *Accounts {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.accounts
}

// placeRolling is a source with room for a session that rolls some bits. A pool that
// forbids that is not asked: it would make room in vain.
func (m *member) placeRolling(mask uint32) (from uint32, ok bool) {
	if m.mask&mask == 0 {
		return 0, false
	}
	return m.pool.Place(mask)
}

// preferred is the pools that can be mined for, in the order in which a newcomer tries
// them: those that serve first, by what they lack where the hash rate is divided. g.mu is
// held.
func (g *Group) preferred() []*member {
	var list []*member
	total := g.mean
	for _, m := range g.serving {
		if m.up() {
			list = append(list, m)
			total += m.rate
		}
	}
	if g.divided {
		slices.SortStableFunc(list, func(a, b *member) int {
			if a.lacks(total) > b.lacks(total) {
				return -1
			}
			return 1
		})
	}
	for _, m := range g.members {
		if m.up() && !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}

// lacks is by how much a pool has too little of a whole hash rate.
func (m *member) lacks(total float64) float64 { return m.wanted*total - m.rate }

// Opened implements session.Sources.
func (g *Group) Opened(from uint32) {
	g.count(from, 1)
	g.tell(from, (*Pool).Opened)
}

// Closed implements session.Sources.
func (g *Group) Closed(from uint32) {
	g.tell(from, (*Pool).Closed)
	g.count(from, -1)
}

// Full implements session.Sources.
func (g *Group) Full(from uint32) { g.tell(from, (*Pool).Full) }

// tell tells the pool that a source is of.
func (g *Group) tell(from uint32, what func(*Pool, uint32)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o := g.origins[from]; o != nil {
		what(o.member.pool, from)
	}
}

// count counts the sessions of a source.
func (g *Group) count(from uint32, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.origins[from]
	if n > 0 && (o == nil || o.ended) {
		g.strays = true
		g.look()
	}
	if o != nil {
		if o.sessions = max(o.sessions+n, 0); o.ended && o.sessions == 0 {
			delete(g.origins, from)
		}
	}
}

// sessions is how many get work from a pool, or did until it ended. g.mu is held.
func (g *Group) sessions(m *member) (n int) {
	for _, o := range g.origins {
		if o.member == m {
			n += o.sessions
		}
	}
	return n
}
