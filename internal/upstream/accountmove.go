package upstream

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/ckpool/ckpool/internal/wire"
)

// Record is what another process is to know of users, after the group's Suspend. Who has
// miners there it sees itself.
func (a *Accounts) Record() []byte {
	return a.record(func(u *account) *userRecord {
		r := u.record()
		r.ledger = u.ledger.record()
		if u.pool != nil {
			r.pool = u.pool.ledger.record()
			u.pool.left(&r.ledger, &r.pool)
		}
		return r
	})
}

// Ahead is the users whose connections cannot move, so that another process can make some
// of its own before it takes over; nil for none.
func (a *Accounts) Ahead() []byte {
	some := false
	record := a.record(func(u *account) *userRecord {
		if u.pool == nil || !u.pool.stays() {
			return nil
		}
		some = true
		return u.record()
	})
	if !some {
		return nil
	}
	return record
}

// record is a record of the users for whom of is not nil.
func (a *Accounts) record(of func(*account) *userRecord) []byte {
	var r accountsRecord
	a.mu.Lock()
	for _, u := range a.users {
		if k := of(u); k != nil {
			r.users = append(r.users, *k)
		}
	}
	a.mu.Unlock()
	c := wire.Append(nil)
	c.Versioned(accountsVersion, r.fields)
	return c.Written()
}

// record is the user without what became of shares.
func (u *account) record() *userRecord {
	r := &userRecord{user: u.user, url: u.url, passwords: slices.Clone(u.passwords)}
	if p := u.pool; p != nil {
		r.has, r.using, r.worked = true, u.using, u.worked
		p.habits.mu.Lock()
		r.habits = p.habits.habits
		p.habits.mu.Unlock()
	}
	return r
}

// read reads a record of users and takes each, as long as there is room. Nothing is made for
// users from then on, and nothing that was made begins, before the group begins.
func (a *Accounts) read(record []byte, take func(*account, *userRecord)) error {
	var r accountsRecord
	c := wire.Read(record)
	c.Versioned(accountsVersion, r.fields)
	if err := c.Done(); err != nil {
		return fmt.Errorf("accounts of users: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = true
	taken := make(map[string]bool, len(r.users)) // a damaged record may name one twice
	for i := range r.users {
		k := &r.users[i]
		u := a.users[k.user]
		if taken[k.user] || u == nil && len(a.users) >= a.most {
			continue
		}
		taken[k.user] = true
		if u == nil {
			u = &account{user: k.user, ledger: newLedger(nil), since: time.Now()}
			a.users[k.user] = u
		}
		u.url, u.passwords = k.url, k.passwords[:min(len(k.passwords), mostPasswords)]
		take(u, k)
		a.settle(u)
	}
	a.look()
	return nil
}

// Expect makes the accounts that another process cannot move, as its Ahead says, while
// Run runs.
func (a *Accounts) Expect(record []byte) error {
	return a.read(record, func(u *account, k *userRecord) { u.ahead = k.has && a.group.listed(k.url) != nil })
}

// AheadTime is how long AwaitAhead waits at most; tests lengthen it.
var AheadTime = 5 * time.Second

// AwaitAhead waits until those that Expect has told of have work or are refused, for a
// while at most: who has none by then gets it later.
func (a *Accounts) AwaitAhead(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, AheadTime)
	defer cancel()
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for a.awaited() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (a *Accounts) awaited() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for _, u := range a.users {
		if u.ahead && (u.pool != nil && !u.pool.Up() || u.pool == nil && u.due(now) != nil) {
			return true
		}
	}
	return false
}

// Adopt reads what another process knew. It is to be called before miners Return and
// before Begin of the group.
func (a *Accounts) Adopt(record []byte) error {
	return a.read(record, func(u *account, k *userRecord) {
		u.ahead = false
		u.ledger.restore(&k.ledger)
		if !k.has {
			return
		}
		at := a.group.listed(k.url)
		if u.pool == nil && u.ended == nil && (at == nil || !a.make(u, &knownPassword{text: k.using}, at)) {
			return
		}
		if u.pool != nil {
			u.worked = k.worked
			u.pool.ledger.restore(&k.pool)
			u.pool.habits.mu.Lock()
			u.pool.habits.habits = k.habits
			u.pool.habits.mu.Unlock()
		}
	})
}

// AdoptLine is Group.AdoptLine for a connection of a user's account.
func (a *Accounts) AdoptLine(conn net.Conn, record []byte) error {
	r, err := readLine(record)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.users[r.user]
	if u == nil || u.pool == nil || u.pool.config.URL != r.url {
		return r.refused(ErrNotConfigured)
	}
	if u.ended != nil { // it was made ahead
		u.pool.ledger.lost(r.flights)
		return r.refused(ErrConnected)
	}
	return a.group.adopt(u.pool.member, conn, r)
}

// begin goes on with the accounts that were adopted. One of which no connection has come is
// made anew, if its user has miners here.
func (a *Accounts) begin() {
	a.mu.Lock()
	a.held = false
	for _, u := range a.users {
		u.ahead = false
		if u.pool != nil && u.ended == nil && !u.pool.Up() {
			u.stop()
		}
	}
	a.mu.Unlock()
	a.look()
}

// suspend leaves all accounts as they are, or no longer.
func (a *Accounts) suspend(stands bool) {
	a.mu.Lock()
	a.suspended = stands
	a.mu.Unlock()
	a.look()
}

// pools are those of all accounts.
func (a *Accounts) pools() (list []*Pool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.users {
		if u.pool != nil {
			list = append(list, u.pool)
		}
	}
	return list
}

// listed is the pool of the list with a URL, nil for none.
func (g *Group) listed(url string) *Pool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.IndexFunc(g.members, func(m *member) bool { return m.config.URL == url && !m.disabled }); i >= 0 {
		return g.members[i].pool
	}
	return nil
}
