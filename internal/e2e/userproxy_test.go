package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
)

// userProxyOf is proxyOf with accounts of users.
func userProxyOf(more keys, addrs ...string) setup {
	s := proxyOf(more, addrs...)
	s.userProxy = true
	return s
}

// proxyUser is what proxyusers says of one user.
type proxyUser struct {
	User, State string
	Clients     int
	Accepted    int `json:"accepted_count"`
	Refused     string
	Again       int64
}

// userAccount is how the account of a user does.
func (r *running) userAccount(user string) (u proxyUser) {
	r.t.Helper()
	for _, u := range ask[struct{ Users []proxyUser }](r, "proxyusers").Users {
		if u.User == user {
			return u
		}
	}
	return u
}

// home waits until so many sessions of a user work for his own account, and these miners
// have work of it.
func (r *running) home(user string, sessions int, miners ...*hand) {
	r.t.Helper()
	type list struct {
		Proxies []struct {
			Auth, Enonce1 string
			Global        bool
			Clients       int
		}
	}
	var extranonce1 []byte
	eventually(r.t, patience, fmt.Sprintf("%d sessions of %s at home", sessions, user), func() bool {
		for _, p := range ask[list](r, "list").Proxies {
			if p.Auth == user && !p.Global {
				extranonce1, _ = hex.DecodeString(p.Enonce1) // none is no connection
				return p.Clients == sessions
			}
		}
		return sessions == 0
	})
	for _, h := range miners {
		eventually(r.t, patience, "work of "+user+"'s account", func() bool {
			return len(extranonce1) > 0 && bytes.Contains(h.job().Coinb1, extranonce1)
		})
	}
}

// of is how many shares a pool has of a user, and under which names.
func of(above *otherpool.Pool, user string) (shares int, names map[string]int) {
	names = map[string]int{}
	for name, account := range above.Book() {
		if base, _, _ := strings.Cut(name, "."); base == user {
			shares += account.Shares
			names[name] = account.Shares
		}
	}
	return shares, names
}

// U1: a user has a login of his own above, made when his first miner comes. The miner goes
// there as it is, what it finds is credited there under its name, and it goes back there
// when it connects again.
func TestU1(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	m := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"mindiff": 1e-8, "startdiff": 1e-8}}.start(t)
	p := userProxyOf(nil, m.addr).start(t)
	p.works(t)
	credited := func() map[string]int64 {
		type list struct {
			Workers []struct {
				Worker   string
				Accepted int64 `json:"accepted_shares"`
			}
		}
		shares := map[string]int64{}
		for _, w := range ask[list](m, "workers").Workers {
			shares[w.Worker] = w.Accepted
		}
		return shares
	}
	h := p.connect(t, "alice.w1")
	h.goesUp(h.job())
	p.home("alice", 1, h)
	h.goesUp(h.job()) // with which its name is asked for
	eventually(t, patience, "the worker's name above", func() bool {
		_, known := credited()["alice.w1"]
		return known
	})
	before := credited()
	for range 4 {
		h.goesUp(h.job())
	}
	h.connected()
	again := p.connect(t, "alice.w1")
	p.home("alice", 2, again)
	for range 3 {
		again.goesUp(again.job())
	}
	after := credited()
	if got := after["alice.w1"] - before["alice.w1"]; got != 7 || after["farm"] != before["farm"] || after["alice"] != before["alice"] {
		t.Errorf("credited above %v, before seven shares of alice.w1 %v", after, before)
	}
	if u := p.userAccount("alice"); u.State != "ok" || u.Clients != 2 || int64(u.Accepted) != after["alice"]+after["alice.w1"] {
		t.Errorf("%+v", u)
	}
	if st := ask[poolStats](p, "poolstats"); st.Accepted != 9 || st.Rejected != 0 {
		t.Errorf("here: %+v", st)
	}
}

// U2: a user whom the pool refuses stays on the account of all, where his shares count,
// and is asked for again after a pause. Once the pool knows him he has his own.
func TestU2(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{Knows: func(user, password string) bool { return user == "farm" || strings.HasPrefix(user, "bob") }})
	p := userProxyOf(nil, above.Addr).start(t)
	p.works(t)
	alice, bob := p.connect(t, "alice.w1"), p.connect(t, "bob.w1")
	p.log.wait(t, 0, "Upstream refuses user alice: ")
	p.home("bob", 1, bob)
	for range 4 {
		alice.goesUp(alice.job())
		bob.goesUp(bob.job())
	}
	alice.connected()
	u := p.userAccount("alice")
	if pause := time.Until(time.Unix(u.Again, 0)); u.State != "refused" || u.Refused != "no" || u.Clients != 1 || pause < 30*time.Second || pause > time.Minute {
		t.Errorf("%+v, asked for again in %v", u, pause)
	}
	hers, _ := of(above, "alice")
	his, names := of(above, "bob")
	if farm, _ := of(above, "farm"); hers != 0 || his != 4 || farm != 4 {
		t.Errorf("the pool's book: %v", above.Book())
	}
	if names["bob.w1"] < 2 {
		t.Errorf("his worker is known as %v", names)
	}
	if n := above.Connections.Load(); n != 3 {
		t.Errorf("%d connections above", n)
	}
	if above.Invalid.Load() != 0 {
		t.Error(above.Faults())
	}
	// A password that was not tried yet does not wait.
	above.Configure(func(c *otherpool.Config) { c.Knows = nil })
	p.connect(t, "carol.w1")
	p.home("carol", 1)
}

// U3: users behind one address that come again without saying which session they had are
// never taken for each other.
func TestU3(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{})
	p := userProxyOf(nil, above.Addr).start(t)
	p.works(t)
	users := []string{"alice", "bob"}
	shares := map[string]int{}
	for round := range 4 {
		miners := map[string]*hand{}
		for i := range users {
			user := users[(i+round)%2]
			miners[user] = p.connect(t, user+".rig")
		}
		for user, h := range miners {
			p.home(user, 1, h)
		}
		for user, h := range miners {
			for range 2 {
				h.goesUp(h.job())
				shares[user]++
			}
			h.connected()
			h.client.Close()
		}
		for user := range miners {
			p.home(user, 0)
		}
	}
	for _, user := range users {
		if n, names := of(above, user); n != shares[user] {
			t.Errorf("%s has %v above, and found %d", user, names, shares[user])
		}
	}
	if n := above.Connections.Load(); n != 3 {
		t.Errorf("%d connections above for two users and all others", n)
	}
	if len(above.Faults()) > 0 {
		t.Error(above.Faults())
	}
}

// There are no more accounts than are allowed, and an operator ends one until the next
// login of its user.
func TestUserProxyLimit(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{})
	p := userProxyOf(keys{"max_user_proxies": 2}, above.Addr).start(t)
	p.works(t)
	var miners []*hand
	for _, user := range []string{"alice", "bob", "carol"} {
		h := p.connect(t, user+".rig")
		miners = append(miners, h)
		if user != "carol" {
			p.home(user, 1, h)
		}
	}
	for _, h := range miners {
		h.goesUp(h.job())
	}
	for user, want := range map[string]int{"alice": 1, "bob": 1, "carol": 0, "farm": 1} {
		if n, _ := of(above, user); n != want {
			t.Errorf("%s has %d shares above, want %d", user, n, want)
		}
	}
	reply := ask[struct {
		Users []proxyUser
		Room  int `json:"no_room"`
	}](p, "proxyusers")
	if len(reply.Users) != 2 || reply.Room != 1 || above.Connected() != 3 {
		t.Errorf("%+v, %d connections above", reply, above.Connected())
	}
	id := int64(-1)
	for _, k := range ask[struct {
		Proxies []struct {
			ID   int64
			Auth string
		}
	}](p, "list").Proxies {
		if k.Auth == "alice" {
			id = k.ID
		}
	}
	since := time.Now()
	p.acts(fmt.Sprintf(`delproxy={"id":%d}`, id))
	j, _ := miners[0].jobSince(patience, since)
	miners[0].goesUp(j)
	if n, _ := of(above, "farm"); n != 2 {
		t.Errorf("the pool's book: %v", above.Book())
	}
	miners[0].connected()
	p.connect(t, "alice.second")
	p.home("alice", 2)
}

// After an upgrade users are on their own accounts again, miners stay connected, and what
// was refused is not tried again at once.
func TestUserProxyUpgrade(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{Knows: func(user, _ string) bool { return !strings.HasPrefix(user, "mallory") }})
	s := userProxyOf(nil, above.Addr)
	p := s.start(t)
	p.works(t)
	miners := map[string]*hand{}
	for _, user := range []string{"alice", "bob", "mallory"} {
		miners[user] = p.connect(t, user+".rig")
	}
	p.home("alice", 1)
	p.home("bob", 1)
	p.log.wait(t, 0, "Upstream refuses user mallory")
	before := above.Connections.Load()
	for range 3 {
		p = p.upgrade(s)
		p.home("alice", 1, miners["alice"])
		p.home("bob", 1, miners["bob"])
		for _, h := range miners {
			h.goesUp(h.job())
			h.connected()
		}
	}
	for user, want := range map[string]int{"alice": 3, "bob": 3, "farm": 3} {
		if n, names := of(above, user); n != want {
			t.Errorf("%s has %v above, want %d shares", user, names, want)
		}
	}
	if u := p.userAccount("mallory"); u.State != "refused" || u.Clients != 1 {
		t.Errorf("%+v", u)
	}
	if n := above.Connections.Load() - before; n > 9 {
		t.Errorf("%d connections above in three upgrades", n)
	}
	// A proxy without accounts cannot go on with their miners.
	if _, err := p.succeed(proxyOf(nil, above.Addr), nil); err == nil || !strings.Contains(err.Error(), "this is a proxy, the running instance a user proxy") {
		t.Error(err)
	}
	for _, h := range miners {
		h.goesUp(h.job())
		h.connected()
	}
}
