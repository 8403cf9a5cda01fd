package upstream

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/upstream/status"
	"github.com/ckpool/ckpool/stratum/client"
)

// Entries are the pools of a Group, and the accounts of users, as an operator sees and
// changes them. The methods may be called from any goroutine and do not wait for a pool.
// What they change lasts as long as the Group.
type Entries struct {
	Group    *Group
	Accounts *Accounts // nil: users have none of their own
	// Config makes what connections need of an entry of the configuration.
	Config func(u *config.Upstream) Config
	// Space is how many extranonce1 of a source sessions have, how many rest, and how many
	// there are; nil: sessions are counted instead.
	Space func(source uint32) (used, resting, all float64)
	// UserID is the id of a user; nil: 0.
	UserID func(name string) int64
}

// errNoPool is why something cannot be done with a pool.
func errNoPool(id int64) error { return fmt.Errorf("there is no upstream with the id %d", id) }

// Pools are all, in order of preference, those of single users behind the others.
func (e *Entries) Pools() []status.Pool {
	g := e.Group
	g.mu.Lock()
	list := make([]status.Pool, len(g.members))
	pools := make([]*Pool, len(g.members))
	for i, m := range g.members {
		list[i], pools[i] = g.entry(m), m.pool
	}
	g.mu.Unlock()
	for i, p := range pools {
		e.fill(&list[i], p)
	}
	users, _ := e.accounts()
	for _, u := range users {
		if u.pool != nil {
			list = append(list, e.account(&u))
		}
	}
	return list
}

// account is the account of a user, which there is.
func (e *Entries) account(u *userAccount) status.Pool {
	k := entryOf(u.pool)
	k.User, k.UserID = u.user, e.userID(u.user)
	k.Active = k.Up
	e.fill(&k, u.pool)
	return k
}

// accounts are those of users, and how many logins found no room for one.
func (e *Entries) accounts() (list []userAccount, left int) {
	if e.Accounts == nil {
		return nil, 0
	}
	return e.Accounts.list()
}

func (e *Entries) userID(name string) int64 {
	if e.UserID == nil {
		return 0
	}
	return e.UserID(name)
}

// Users are those that have accounts of their own, or were to, and how many logins found
// no room for another.
func (e *Entries) Users() (list []status.User, left int) {
	all, left := e.accounts()
	for _, u := range all {
		k := status.User{Name: u.user, ID: e.userID(u.user), Miners: u.miners, State: "none", Refused: u.refused, Again: u.again, Figures: figuresOf(u.ledger.figures())}
		switch {
		case u.pool != nil:
			k.Pools, k.State = []int64{u.pool.id}, u.pool.Status().State
		case u.refused != "":
			k.State = "refused"
		}
		list = append(list, k)
	}
	return list, left
}

// entry is a member without what its connections know. g.mu is held.
func (g *Group) entry(m *member) status.Pool {
	k := entryOf(m.pool)
	k.Wanted, k.Part, k.Disabled, k.Up = m.wanted, m.part, m.disabled, m.up()
	k.Active = k.Up && slices.Contains(g.serving, m)
	switch {
	case m.disabled:
		k.Reason = "disabled by an operator"
	case k.Active || !k.Up || len(g.serving) == 0:
	case slices.Index(g.members, m) < slices.Index(g.members, g.serving[0]) || g.divided && m.weighted():
		k.Reason = "held back until it has had work for " + m.hold.String()
	}
	return k
}

// entryOf is what a pool alone tells.
func entryOf(p *Pool) status.Pool {
	s := p.Status()
	k := status.Pool{
		ID: p.id, BaseURL: p.config.URL, URL: p.config.URL, Account: p.config.User, Password: p.config.Password, Weight: p.config.Weight,
		Up: s.State == "ok", Reason: s.Reason,
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.works() {
		k.Backoff = p.retry
	}
	return k
}

// fill adds what connections know. The Group's lock is not held: lines may wait for it.
func (e *Entries) fill(k *status.Pool, p *Pool) {
	k.Figures = figuresOf(p.Figures())
	err := p.Err()
	for i, l := range p.Lines() {
		c := status.Connection{
			ID: l.ID, Works: l.Works, Difficulty: l.Difficulty, Extranonce1: l.Extranonce1, Extranonce2Len: l.Extranonce2Len,
			Own: l.Shape.Own, VersionMask: l.VersionMask, Sessions: l.Sessions, Since: l.Since, Figures: figuresOf(l.Figures),
			Space: status.Space{Size: l.Capacity, Used: l.Sessions},
		}
		if l.Source != 0 {
			c.Connect, c.Subscribe, c.Authorize = status.Success, status.Success, status.Success
			c.Pad = l.Extranonce2Len - l.Shape.Own - l.Shape.Extranonce2
			if e.Space != nil {
				if used, resting, all := e.Space(l.Source); all > 0 {
					c.Space = status.Space{Size: int(all), Used: int(used), Resting: int(resting)}
				}
			}
		} else if i == 0 {
			c.Connect, c.Subscribe, c.Authorize = stepsOf(err)
		}
		if i == 0 && l.Address != "" {
			k.URL = l.Address
		}
		k.Connections = append(k.Connections, c)
	}
}

// stepsOf is how far a connection has come that ended with an error.
func stepsOf(err error) (connect, subscribe, authorize status.Step) {
	var refused *client.RefusedError
	switch {
	case err == nil:
		return status.Initial, status.Initial, status.Initial
	case !errors.As(err, &refused):
		return status.Failed, status.Initial, status.Initial
	case refused.Method == "mining.authorize":
		return status.Success, status.Success, status.Failed
	}
	return status.Success, status.Failed, status.Initial
}

// figuresOf are figures as they are shown.
func figuresOf(f Figures) status.Figures {
	tally := func(t Tally) status.Tally { return status.Tally{Shares: t.Shares, Difficulty: t.Difficulty} }
	k := status.Figures{
		RefusedHere: tally(f.RefusedHere), NotSent: tally(f.NotSent), Unsendable: tally(f.Unsendable), Accepted: tally(f.Accepted),
		Refused:    tally(f.Refused),
		Unanswered: tally(f.Unanswered), Open: f.Open, LastAccepted: f.LastAccepted, Latency: f.Latency, Slowest: f.Slowest, Rates: f.Rates,
		Reasons: make(map[string]status.Tally, len(f.Reasons)),
	}
	for reason, t := range f.Reasons {
		k.Reasons[reason] = tally(t)
	}
	return k
}

// change changes a pool, and returns how it is then; false: there is none of that id.
func (e *Entries) change(id int64, change func(m *member)) (status.Pool, bool) {
	g := e.Group
	g.mu.Lock()
	m := g.member(id)
	if m == nil {
		g.mu.Unlock()
		return status.Pool{}, false
	}
	change(m)
	// Parts of the hash rate are by what is accepted from now on.
	for _, m := range g.members {
		m.history = nil
	}
	k := g.entry(m)
	g.mu.Unlock()
	g.look()
	e.fill(&k, m.pool)
	return k, true
}

// member is the one of an id, nil for none. g.mu is held.
func (g *Group) member(id int64) *member {
	if i := slices.IndexFunc(g.members, func(m *member) bool { return m.id == id }); i >= 0 {
		return g.members[i]
	}
	return nil
}

// Add adds a pool behind the others. Users have their accounts by themselves: for one
// alone it cannot be added.
func (e *Entries) Add(u *config.Upstream, userID int64) (status.Pool, error) {
	if userID != 0 {
		if e.Accounts == nil {
			return status.Pool{}, errors.New("a pool for one user cannot be added: with ckpool -u each user has an account of his own at the pool that is mined for")
		}
		return status.Pool{}, errors.New("a pool for one user cannot be added: each user's account is made at the pool that is mined for when he logs in, proxyusers shows them")
	}
	g := e.Group
	g.mu.Lock()
	m, err := g.add(e.Config(u))
	if err == nil && g.launch != nil {
		g.launch(m)
	}
	g.mu.Unlock()
	if err != nil {
		return status.Pool{}, err
	}
	k, _ := e.change(m.id, func(*member) {})
	return k, nil
}

// Remove takes a pool away, and returns how it was; false: there is none of that id. The
// last one may be removed too: miners wait then until there is another. A user's account
// is made again with his next login.
func (e *Entries) Remove(id int64) (status.Pool, bool) {
	if e.Accounts != nil {
		if u, ok := e.Accounts.end(id); ok {
			return e.account(&u), true
		}
	}
	g := e.Group
	return e.change(id, func(m *member) {
		m.removed = true
		g.members = slices.DeleteFunc(slices.Clone(g.members), func(o *member) bool { return o == m })
		g.release(m)
	})
}

// Place gives a pool the place of that number, 0 the first, and returns how it is then.
// A number that is too large is the last.
func (e *Entries) Place(id, place int64) (status.Pool, bool) {
	g := e.Group
	return e.change(id, func(m *member) {
		members := slices.DeleteFunc(slices.Clone(g.members), func(o *member) bool { return o == m })
		g.members = slices.Insert(members, int(max(min(place, int64(len(members))), 0)), m)
	})
}

// Enable makes a pool be mined for, or not, and returns how it is then.
func (e *Entries) Enable(id int64, enabled bool) (status.Pool, bool) {
	g := e.Group
	return e.change(id, func(m *member) {
		switch {
		case enabled == !m.disabled:
		case enabled:
			m.disabled = false
			g.restart(m)
		default:
			m.disabled = true
			g.release(m)
		}
	})
}

// release ends the connections of a pool that is used no more, once its sessions have
// had the time to leave and their last shares have been judged. g.mu is held.
func (g *Group) release(m *member) {
	if m.cancel == nil || m.stop != nil {
		return
	}
	m.stop = time.AfterFunc(g.options.Spread+lingerTime, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if m.stop != nil {
			m.cancel()
			m.cancel, m.stop = nil, nil
		}
	})
}

// restart runs a pool again that was disabled. g.mu is held.
func (g *Group) restart(m *member) {
	if m.stop != nil { // its connections are still there
		m.stop.Stop()
		m.stop = nil
	} else if m.cancel == nil && g.launch != nil {
		g.launch(m)
	}
}

// any is the pool of an id, be it a user's, nil for none.
func (e *Entries) any(id int64) *Pool {
	e.Group.mu.Lock()
	m := e.Group.member(id)
	e.Group.mu.Unlock()
	if m != nil {
		return m.pool
	}
	users, _ := e.accounts()
	for _, u := range users {
		if u.pool != nil && u.pool.id == id {
			return u.pool
		}
	}
	return nil
}

// Open opens further connections to a pool, which are retired as all are if no session
// needs them. The error says why it cannot be.
func (e *Entries) Open(id, count int64) error {
	p := e.any(id)
	if p == nil {
		return errNoPool(id)
	}
	return p.recruit(count)
}

// recruit has connections opened that no session has asked for.
func (p *Pool) recruit(count int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.works() {
		return fmt.Errorf("upstream %s has no work: %s", p.name, p.reason)
	}
	most := p.config.MaxLines
	if p.single {
		return fmt.Errorf("upstream %s gives all connections the same work: one is enough", p.name)
	}
	if n := int64(len(p.slots) + p.recruits); count > int64(most)-n {
		return fmt.Errorf("upstream %s has %d connections, of %d that are allowed", p.name, n, most)
	}
	p.recruits += int(count)
	p.look()
	return nil
}

// Close closes a connection to a pool; its miners go to others.
func (e *Entries) Close(id, connection int64) error {
	p := e.any(id)
	if p == nil {
		return errNoPool(id)
	}
	if !p.dismiss(connection) {
		return fmt.Errorf("upstream %s has no connection %d that can be closed", p.name, connection)
	}
	return nil
}

// dismiss ends a connection for good, but not the first.
func (p *Pool) dismiss(id int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range p.slots {
		if i > 0 && s.id == id && s.cancel != nil {
			s.cancel()
			p.slots = slices.Delete(slices.Clone(p.slots), i, i+1)
			return true
		}
	}
	return false
}
