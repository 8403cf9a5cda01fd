package upstream

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/stratum/client"
)

// Of accounts.
const (
	defaultAccounts = 1000
	// forgetAfter is how long an account is kept after its user's last miner has left.
	forgetAfter = 10 * time.Minute
	// A password that the pool refuses is tried again after firstPause, and after twice
	// as long each time, up to longestPause.
	firstPause   = time.Minute
	longestPause = 4 * time.Hour
	// lookEvery is how often accounts are looked after, and lookGap is how often at most.
	lookEvery = time.Second
	lookGap   = 100 * time.Millisecond
	// maxPassword is how much of a password is passed on, in bytes, and mostPasswords how
	// many are known of a user: miners may differ, or be somebody else's.
	maxPassword   = 64
	mostPasswords = 4
	// mostTried is how many accounts are tried at a time.
	mostTried = 32
	// Of all users together so many may be refused at once, and one more after each
	// refusalGap: pools lock addresses out that come with wrong names again and again.
	mostRefused = 32
	refusalGap  = 10 * time.Second
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
	spare *list.List // of *account: those that may be forgotten to make room, the oldest first
	left  int        // logins of users who have none, since there are too many
	// outside is miners that are here of users who found no room, by user.
	outside map[string]int
	// refusals are how many are left of mostRefused, as of refilled.
	refusals float64
	refilled time.Time
	// held is until Begin, where another process has accounts: none is made but those that it
	// cannot move.
	held      bool
	suspended bool // all are as they were when they began to move to another process
}

// account is a user's. Its fields are guarded by the mu of Accounts.
type account struct {
	user      string
	ledger    *ledger         // of all pools that it has had
	passwords []knownPassword // the newest first
	miners    int
	since     time.Time     // when the last miner left
	spare     *list.Element // nil: it is not in the list

	url    string             // of the pool that the passwords were tried at
	pool   *Pool              // nil while there is none
	using  string             // the password there
	worked time.Time          // since when it has had work, zero: it had none yet
	cancel context.CancelFunc // nil before it runs
	ended  chan struct{}      // closed when pool has ended; nil also before it runs, with connections of another process
	ahead  bool               // made before its miners come from another process
}

// knownPassword is one that miners of a user came with, and what the pool said of it.
type knownPassword struct {
	text    string
	good    bool          // the pool has agreed
	pause   time.Duration // after the last refusal
	again   time.Time     // when it may be tried again
	refused string        // what the pool said
}

// NewAccounts makes the accounts beside a group, at most so many, 0 is 1,000. The group
// brings users' sessions there from then on. changes is told when an account has work or
// has none any more; it must not block, and may be nil.
func NewAccounts(g *Group, most int, changes func()) *Accounts {
	if most <= 0 {
		most = defaultAccounts
	}
	a := &Accounts{
		group: g, most: most, events: g.options.Events, wake: make(chan struct{}, 1), users: make(map[string]*account),
		outside: make(map[string]int), spare: list.New(), refusals: mostRefused, refilled: time.Now(),
	}
	a.changes = func() {
		a.look()
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

// Login tells that a miner of a user has logged in with a password, which is passed on.
func (a *Accounts) Login(user, password string) {
	if len(password) > maxPassword {
		password = strings.ToValidUTF8(password[:maxPassword], "")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if u := a.enter(user); u != nil {
		u.learn(password)
	}
}

// Return tells that a miner of a user is here that logged in to another process, which
// has told the passwords.
func (a *Accounts) Return(user string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.enter(user)
}

// enter counts a miner of a user; nil: there is no room for another user. a.mu is held.
func (a *Accounts) enter(user string) *account {
	u := a.users[user]
	if u == nil {
		if len(a.users) >= a.most && !a.makeRoom() {
			a.left++
			a.outside[user]++
			return nil
		}
		u = &account{user: user, ledger: newLedger(nil), miners: a.outside[user]}
		a.users[user] = u
		delete(a.outside, user)
	}
	u.miners++
	a.settle(u)
	a.look()
	return u
}

// learn notes a password that a miner came with. One that the pool has agreed to, or is
// being asked about, is not forgotten for others.
func (u *account) learn(text string) {
	i := slices.IndexFunc(u.passwords, func(p knownPassword) bool { return p.text == text })
	k := knownPassword{text: text}
	if i >= 0 {
		k = u.passwords[i]
		u.passwords = slices.Delete(u.passwords, i, i+1)
	}
	for last := len(u.passwords) - 1; last >= 0 && len(u.passwords) >= mostPasswords; last-- {
		if old := &u.passwords[last]; !old.good && (u.pool == nil || old.text != u.using) {
			u.passwords = slices.Delete(u.passwords, last, last+1)
		}
	}
	u.passwords = slices.Insert(u.passwords, 0, k)
}

// Logout tells that a miner that was told of by Login or Return has left.
func (a *Accounts) Logout(user string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.outside[user] > 0 {
		if a.outside[user]--; a.outside[user] == 0 {
			delete(a.outside, user)
		}
	} else if u := a.users[user]; u != nil && u.miners > 0 {
		if u.miners--; u.miners == 0 {
			u.since = time.Now()
		}
		a.settle(u)
	}
}

// settle notes whether a user may be forgotten to make room: not one with an account, or
// names could be tried above as fast as they come. a.mu is held.
func (a *Accounts) settle(u *account) {
	switch spare := u.miners == 0 && u.pool == nil && u.ended == nil; {
	case spare && u.spare == nil:
		u.spare = a.spare.PushBack(u)
	case !spare && u.spare != nil:
		a.spare.Remove(u.spare)
		u.spare = nil
	}
}

// makeRoom forgets a user who may be. a.mu is held.
func (a *Accounts) makeRoom() bool {
	first := a.spare.Front()
	if first != nil {
		a.forget(first.Value.(*account))
	}
	return first != nil
}

// forget forgets a user who has no account. a.mu is held.
func (a *Accounts) forget(u *account) {
	if u.spare != nil {
		a.spare.Remove(u.spare)
		u.spare = nil
	}
	delete(a.users, u.user)
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
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookGap):
		}
	}
}

// tend looks after all accounts.
func (a *Accounts) tend(ctx context.Context, pools *sync.WaitGroup) {
	now := time.Now()
	active := a.group.Active()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.suspended {
		return
	}
	a.refusals = min(a.refusals+now.Sub(a.refilled).Seconds()/refusalGap.Seconds(), mostRefused)
	a.refilled = now
	tried := 0
	for _, u := range a.users {
		if a.held && !u.ahead {
			continue
		}
		if u.pool != nil && u.ended == nil {
			a.run(ctx, pools, u)
		}
		a.keep(u, active, now)
		if u.pool != nil && u.worked.IsZero() {
			tried++
		}
	}
	for _, u := range a.users {
		at := active
		if u.ahead {
			at = a.group.listed(u.url)
		}
		if tried >= min(mostTried, int(a.refusals)) {
			break
		}
		if at != nil && u.pool == nil && u.ended == nil && (u.miners > 0 && !a.held || u.ahead) {
			if k := u.due(now); k != nil && a.make(u, k, at) {
				a.run(ctx, pools, u)
				tried++
			}
		}
	}
}

// keep judges an account, and ends it where it is not to be. a.mu is held.
func (a *Accounts) keep(u *account, active *Pool, now time.Time) {
	if u.pool != nil {
		a.judge(u, active, now)
	}
	if active != nil && !u.ahead && u.url != active.config.URL { // another pool is worked for, which may know other passwords
		u.stop()
		u.url = active.config.URL
		for i := range u.passwords {
			u.passwords[i] = knownPassword{text: u.passwords[i].text}
		}
	}
	idle := u.miners == 0 && now.Sub(u.since) >= forgetAfter
	if idle {
		u.stop()
	}
	if u.ended != nil && u.pool == nil {
		select {
		case <-u.ended:
			u.ended = nil
		default: // until then there would be two
		}
	}
	a.settle(u)
	if idle && u.ended == nil && !now.Before(u.pausedUntil()) { // or a refusal would be forgotten by leaving
		a.forget(u)
	}
}

// pausedUntil is when no password has to wait any more.
func (u *account) pausedUntil() (t time.Time) {
	for i := range u.passwords {
		if again := u.passwords[i].again; again.After(t) {
			t = again
		}
	}
	return t
}

// due is the password that is to be tried, nil for none: the one that the pool agreed to,
// or else the newest that has not to wait.
func (u *account) due(now time.Time) (due *knownPassword) {
	for i := range u.passwords {
		if k := &u.passwords[i]; !now.Before(k.again) && (due == nil || k.good) {
			due = k
		}
	}
	return due
}

// judge notes that the pool has agreed to an account, or ends one that it refuses. One
// that was never there while others are counts as refused too: some pools just close.
// a.mu is held.
func (a *Accounts) judge(u *account, active *Pool, now time.Time) {
	i := slices.IndexFunc(u.passwords, func(p knownPassword) bool { return p.text == u.using })
	k := new(knownPassword) // of one that is forgotten
	if i >= 0 {
		k = &u.passwords[i]
	}
	if u.pool.Up() {
		if u.worked.IsZero() {
			u.worked = now
		}
		k.good, k.pause, k.refused = true, 0, ""
		return
	}
	err := u.pool.Err()
	var refused *client.RefusedError
	switch {
	case errors.As(err, &refused):
		k.refused = refused.Reject.Text
	case err != nil && u.worked.IsZero() && active != nil && u.pool.Tried():
		k.refused = Reason(u.pool.name, err)
	default:
		return
	}
	k.good = false
	k.pause = min(max(2*k.pause, firstPause), longestPause)
	k.again = now.Add(k.pause)
	a.refusals = max(a.refusals-1, 0)
	u.stop()
	a.events.Say(event.Notice, fmt.Sprintf("Upstream refuses user %s: %s; asked again in %v", u.user, cmp.Or(k.refused, "no reason given"), k.pause))
}

// make makes an account at a pool, which does not run yet, false: it cannot be. a.mu is held.
func (a *Accounts) make(u *account, k *knownPassword, at *Pool) bool {
	c := at.Config()
	c.User, c.Password, c.Workers, c.Weight = u.user, k.text, true, 0
	pool, err := a.group.beside(c, u.ledger, a.changes)
	if err != nil {
		k.again, k.refused = time.Now().Add(longestPause), err.Error()
		return false
	}
	u.pool, u.using, u.worked, u.cancel = pool, k.text, time.Time{}, nil
	return true
}

// run runs an account that was made. a.mu is held.
func (a *Accounts) run(ctx context.Context, pools *sync.WaitGroup, u *account) {
	ctx, u.cancel = context.WithCancel(ctx)
	pool, ended := u.pool, make(chan struct{})
	u.ended = ended
	pools.Go(func() {
		pool.Run(ctx)
		close(ended)
		a.look()
	})
}

// stop ends the account's connections.
func (u *account) stop() {
	switch {
	case u.pool == nil:
	case u.cancel == nil:
		u.pool.abandon()
	default:
		u.cancel()
	}
	u.pool = nil
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

// end ends the account whose pool has an id, until the next login of its user, and returns
// how it was; false: there is none.
func (a *Accounts) end(id int64) (was userAccount, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.users {
		if u.pool != nil && u.pool.id == id {
			was = userAccount{user: u.user, miners: u.miners, ledger: u.ledger, pool: u.pool}
			u.stop()
			u.passwords = nil
			return was, true
		}
	}
	return was, false
}

// userAccount is the account of a user.
type userAccount struct {
	user   string
	miners int
	ledger *ledger
	pool   *Pool     // nil: none
	worked time.Time // since when it has had work, zero: it had none yet
	// Of one without a pool.
	refused string    // what the pool said; empty: it was not asked
	again   time.Time // when it is asked again
}

// list is all users, by name, and how many logins found no room for another.
func (a *Accounts) list() (list []userAccount, left int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(a.users)) {
		u := a.users[name]
		k := userAccount{user: name, miners: u.miners, ledger: u.ledger, pool: u.pool, worked: u.worked}
		for _, p := range u.passwords {
			if p.refused != "" && (k.refused == "" || p.again.Before(k.again)) {
				k.refused, k.again = p.refused, p.again
			}
		}
		list = append(list, k)
	}
	return list, a.left
}
