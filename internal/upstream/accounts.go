package upstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"ckpool/event"
	"ckpool/stratum/client"
)

// Of accounts.
const (
	defaultAccounts = 1000
	// forgetAfter is how long an account is kept after its user's last miner has left.
	forgetAfter = 10 * time.Minute
	// An account that the pool refuses is tried again after firstPause, and after twice
	// as long each time, up to longestPause.
	firstPause   = time.Minute
	longestPause = 4 * time.Hour
	// lookEvery is how often accounts are looked after.
	lookEvery = 5 * time.Second
	// maxPassword is how much of a password is passed on, in bytes.
	maxPassword = 64
)

// Accounts are users' own accounts at the pool that a Group works for: a login there for
// each user who has miners here, and none longer than that. A user whom the pool refuses
// has none for a while. What accounts are for is found by user alone, so that no user's
// miners get the work of another.
type Accounts struct {
	// Immutable.
	group   *Group
	most    int
	events  event.Func
	changes func()
	wake    chan struct{} // capacity 1: look after them

	mu    sync.Mutex
	users map[string]*account
	left  int // users who have none, since there are too many
}

// account is a user's. Its fields are guarded by the mu of Accounts.
type account struct {
	user, password string
	miners         int
	since          time.Time // when the last miner left

	pool   *Pool // nil while there is none
	url    string
	cancel context.CancelFunc
	ended  chan struct{} // closed when pool has ended

	pause   time.Duration // after the last refusal
	again   time.Time     // when the pool may be asked again
	refused string        // what it said
}

// NewAccounts makes the accounts beside a group, at most so many, 0 is 1,000. The group
// brings users' sessions there from then on. changes is told when an account has work or
// has none any more; it must not block, and may be nil.
func NewAccounts(g *Group, most int, changes func()) *Accounts {
	if most <= 0 {
		most = defaultAccounts
	}
	a := &Accounts{group: g, most: most, events: g.options.Events, wake: make(chan struct{}, 1), users: make(map[string]*account)}
	a.changes = func() {
		g.look()
		if changes != nil {
			changes()
		}
	}
	g.mu.Lock()
	g.accounts = a
	g.mu.Unlock()
	return a
}

// Login tells that a miner of a user has logged in with a password, which is passed on. A
// password of later miners counts when the user's account is made the next time.
func (a *Accounts) Login(user, password string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.users[user]
	if u == nil {
		if len(a.users) >= a.most && !a.forgetOne() {
			a.left++
			return
		}
		u = &account{user: user}
		a.users[user] = u
	}
	u.password = password[:min(len(password), maxPassword)]
	u.miners++
	a.look()
}

// Logout tells that a miner that was told to Login has left.
func (a *Accounts) Logout(user string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if u := a.users[user]; u != nil && u.miners > 0 {
		if u.miners--; u.miners == 0 {
			u.since = time.Now()
		}
	}
}

// forgetOne makes room for a user, if there is one without miners and without an
// account. a.mu is held.
func (a *Accounts) forgetOne() bool {
	for name, u := range a.users {
		if u.miners == 0 && u.pool == nil {
			delete(a.users, name)
			return true
		}
	}
	return false
}

func (a *Accounts) look() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run makes accounts and ends them until ctx is done.
func (a *Accounts) Run(ctx context.Context) {
	var pools sync.WaitGroup
	defer pools.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-a.wake:
		}
		a.tend(ctx, &pools)
	}
}

// tend looks after all accounts.
func (a *Accounts) tend(ctx context.Context, pools *sync.WaitGroup) {
	now := time.Now()
	active := a.group.Active()
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, u := range a.users {
		if u.pool != nil {
			a.judge(u, now)
		}
		switch {
		case u.miners == 0 && now.Sub(u.since) >= forgetAfter:
			u.stop()
			if now.After(u.again) { // or a refusal would be forgotten by leaving
				delete(a.users, name)
			}
		case active != nil && u.pool != nil && u.url != active.config.URL: // another pool is worked for
			u.stop()
		}
		if u.ended != nil && u.pool == nil {
			select {
			case <-u.ended:
				u.ended = nil
			default:
				continue // until then there would be two
			}
		}
		if u.pool == nil && u.miners > 0 && active != nil && !now.Before(u.again) {
			a.start(ctx, pools, u, active)
		}
	}
}

// judge ends an account that the pool refuses. a.mu is held.
func (a *Accounts) judge(u *account, now time.Time) {
	if u.pool.Up() {
		u.pause, u.refused = 0, ""
		return
	}
	var refused *client.RefusedError
	if !errors.As(u.pool.Err(), &refused) || refused.Method != "mining.authorize" {
		return
	}
	u.pause = min(max(2*u.pause, firstPause), longestPause)
	u.again, u.refused = now.Add(u.pause), refused.Reject.Text
	u.stop()
	u.pool = nil
	a.events.Say(event.Notice, fmt.Sprintf("Upstream refuses user %s: %s; asked again in %v", u.user, u.refused, u.pause))
}

// start makes an account at a pool. a.mu is held.
func (a *Accounts) start(ctx context.Context, pools *sync.WaitGroup, u *account, at *Pool) {
	c := at.Config()
	c.User, c.Password, c.Workers, c.Weight = u.user, u.password, true, 0
	pool, err := a.group.Beside(c, a.changes)
	if err != nil {
		u.again, u.refused = time.Now().Add(longestPause), err.Error()
		return
	}
	ctx, u.cancel = context.WithCancel(ctx)
	ended := make(chan struct{})
	u.pool, u.url, u.ended = pool, c.URL, ended
	pools.Go(func() {
		pool.Run(ctx)
		close(ended)
	})
}

// stop ends the account's connections.
func (u *account) stop() {
	if u.pool != nil {
		u.cancel()
		u.pool = nil
	}
}

// Place is a source of a user's own account with room for a session; see Pool.Place. Not ok:
// the user has none, or none with room yet.
func (a *Accounts) Place(user string, mask uint32) (number uint32, ok bool) {
	a.mu.Lock()
	u := a.users[user]
	if u == nil || u.pool == nil {
		a.mu.Unlock()
		return 0, false
	}
	p := u.pool
	a.mu.Unlock()
	if !p.Up() {
		return 0, false
	}
	return p.Place(mask)
}

// Of is the pool that a source is a connection to and the user whose account that is; nil if
// it is nobody's.
func (a *Accounts) Of(number uint32) (user string, p *Pool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, u := range a.users {
		if u.pool != nil && u.pool.Has(number) {
			return name, u.pool
		}
	}
	return "", nil
}

// AccountStatus is how a user's account does.
type AccountStatus struct {
	User    string
	Miners  int
	State   string // ok, no work, refused, none
	Reason  string
	Again   time.Time // when a refused one is asked for again
	Lines   []LineStatus
	Figures Figures
}

// Status is how all accounts do, by name, and how many logins found no room for one.
func (a *Accounts) Status() (list []AccountStatus, left int) {
	a.mu.Lock()
	pools := map[string]*Pool{}
	for _, name := range slices.SortedFunc(maps.Keys(a.users), strings.Compare) {
		u := a.users[name]
		s := AccountStatus{User: name, Miners: u.miners, State: "none", Reason: u.refused, Again: u.again}
		if u.refused != "" {
			s.State = "refused"
		}
		if u.pool != nil {
			pools[name] = u.pool
		}
		list = append(list, s)
	}
	left = a.left
	a.mu.Unlock()
	for i := range list {
		if p := pools[list[i].User]; p != nil {
			s := p.Status()
			list[i].State, list[i].Reason = s.State, s.Reason
			list[i].Lines, list[i].Figures = p.Lines(), p.Figures()
		}
	}
	return list, left
}
