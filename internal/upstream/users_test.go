package upstream

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/internal/testkit/records"
)

// credited is how many shares users get when every miner finds one.
func (p *proxy) credited(pool *otherpool.Pool) map[string]int {
	before := pool.Book()
	p.mine()
	synctest.Wait()
	shares := map[string]int{}
	for name, account := range pool.Book() {
		if n := account.Shares - before[name].Shares; n > 0 {
			shares[userOf(name)] += n
		}
	}
	return shares
}

// asked is how often miners of that name were asked to connect again.
func (p *proxy) asked(name string) (n int) {
	p.do(func() {
		for _, m := range p.seats {
			if m.name == name && m.reconnect > 0 {
				n++
			}
		}
	})
	return n
}

// Where a user's account gives extranonces of another size, a miner that has to connect
// again for it is asked to, once: it is at home if it says which session it had, and stays
// with all others if not. Nobody comes to a home that is not his with another's session.
func TestUsersConnectAgain(t *testing.T) {
	within(t, func(t *testing.T) {
		a := pool(t, "a", otherpool.Config{})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a}, Config{URL: "a"})
		p.users(0)
		time.Sleep(5 * time.Second)
		a.Configure(func(c *otherpool.Config) { c.Extranonce2Len = 3 })
		p.do(func() {
			for _, name := range []string{"alice.rig", "alice.takes", "alice.forgets", "bob.forgets"} {
				p.enter(name, strings.Contains(name, "takes"), false)
			}
		})
		time.Sleep(time.Hour)
		for name, want := range map[string]int{"alice.rig": 1, "alice.takes": 0, "alice.forgets": 1, "bob.forgets": 1} {
			if n := p.asked(name); n != want {
				t.Errorf("%s was asked %d times to connect again, want %d", name, n, want)
			}
		}
		want := map[string]int{"alice": 2, "farm": 2}
		if got := p.credited(a); !maps.Equal(got, want) {
			t.Errorf("credited %v", got)
		}
		// It stays home also without being asked.
		p.do(func() {
			for slot, m := range p.seats {
				if m.name == "alice.rig" && m.reconnect == 0 {
					m.closed, m.reconnect = true, 1
					p.handler.Closed(netserver.Slot(slot), netserver.PeerClosed)
					m.reconnect = 2
					p.again(m)
				}
			}
		})
		if got := p.credited(a); !maps.Equal(got, want) {
			t.Errorf("credited %v after it came again", got)
		}
		// Somebody else with her session.
		var m *seatedMiner
		p.do(func() {
			for slot, had := range p.seats {
				if had.name == "alice.rig" && !had.closed {
					had.closed = true
					p.handler.Closed(netserver.Slot(slot), netserver.PeerClosed)
					m = p.resume("bob.thief", had.session, false, false)
				}
			}
		})
		p.mine()
		if m.accepted > 0 || m.refused == 0 {
			t.Errorf("%d shares of a session that is not his are accepted, %d refused", m.accepted, m.refused)
		}
		p.sound()
	})
}

// Whatever becomes of accounts and pools, no share of a user is for the account of
// another, and miners lose nothing but what is on its way.
func TestUsersNeverMix(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			within(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 7))
				a, b := pool(t, "a", otherpool.Config{}), pool(t, "b", otherpool.Config{})
				p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a, "b": b}, Config{URL: "a"}, Config{URL: "b"})
				users := p.users(3)
				time.Sleep(5 * time.Second)
				names := []string{"alice", "bob", "carol", "dave", "erin"} // more than have room
				rigs := 0
				enter := func() {
					p.enter(fmt.Sprintf("%s.rig%d", names[rigs%len(names)], rigs), random.IntN(2) == 0, random.IntN(2) == 0)
					rigs++
				}
				p.do(func() {
					for range 20 {
						enter()
					}
				})
				for range 150 {
					above := []*otherpool.Pool{a, b}[random.IntN(2)]
					switch random.IntN(8) {
					case 0:
						above.Configure(func(c *otherpool.Config) {
							known := names[random.IntN(len(names))]
							c.Knows = func(user, _ string) bool { return userOf(user) == "farm" || userOf(user) <= known }
						})
						above.DropAll()
					case 1:
						above.Down(errCut)
					case 2, 3:
						a.Down(nil)
						b.Down(nil)
					case 4:
						above.DropAll()
					case 5:
						p.do(enter)
					case 6:
						p.do(func() {
							slot := random.IntN(len(p.seats))
							if m := p.seats[slot]; !m.closed {
								m.closed = true
								p.handler.Closed(netserver.Slot(slot), netserver.PeerClosed)
							}
						})
					case 7:
						if list, _ := users.list(); len(list) > 0 {
							if u := list[random.IntN(len(list))]; u.pool != nil {
								p.entries.Remove(u.pool.id)
							}
						}
					}
					time.Sleep(time.Duration(random.IntN(20_000)) * time.Millisecond)
					p.mine() // which judges each share
					list, err := p.Every(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					for _, s := range list {
						if !p.group.Admits(s.Source, s.User) {
							t.Errorf("a session of %s is on the account of another user", s.User)
						}
					}
				}
				atHome := 0
				for _, above := range p.pools {
					for name := range above.Book() {
						if user := userOf(name); user != "farm" {
							atHome++
							var rig int
							if fmt.Sscanf(name, user+".rig%d", &rig); strings.Contains(name, ".") && names[rig%len(names)] != user {
								t.Errorf("shares of rig %d are credited to %s", rig, name)
							}
						}
					}
				}
				if atHome == 0 {
					t.Error("nobody was ever home")
				}
				p.sound()
			})
		})
	}
}

// A million names do not make a million logins above, whether the pool knows them or not,
// nor do they fill the memory.
func TestManyUsers(t *testing.T) {
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprint("known ", known), func(t *testing.T) {
			bubble(t, func(t *testing.T, f *farm) {
				above := otherpool.New(t, otherpool.Config{})
				g := f.group(GroupOptions{}, above)
				becomes(t, g, "a", time.Second)
				above.Configure(func(c *otherpool.Config) { c.NoAuthorize = !known })
				const most, minutes = 50, 30
				a := f.accounts(g, most)
				for i := range minutes * 600 {
					user := fmt.Sprint("user", i)
					a.Login(user, "x")
					time.Sleep(100 * time.Millisecond)
					a.Logout(user)
				}
				list, left := a.list()
				bound := mostRefused + minutes*6 + 1
				if known {
					bound = most * (minutes/10 + 1)
				}
				tries := int(above.Connections.Load()) - 1
				if len(list) > most || tries > bound || known && left == 0 {
					t.Errorf("%d users are kept, %d logins above, at most %d; %d without room", len(list), tries, bound, left)
				}
				// Who comes then has an account soon, if the pool knows him.
				above.Configure(func(c *otherpool.Config) { c.NoAuthorize = false })
				time.Sleep(forgetAfter + time.Minute)
				a.Login("alice", "x")
				placed(t, a, "alice", time.Minute)
			})
		})
	}
}

// A pool that closes the connection instead of refusing a user is not asked all the time.
func TestUserThatIsCutOff(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{}, above)
		becomes(t, g, "a", time.Second)
		above.Configure(func(c *otherpool.Config) { c.ClosedAt = otherpool.AtAuthorize })
		a := f.accounts(g, 0)
		a.Login("alice", "x")
		time.Sleep(24 * time.Hour)
		if tries := int(above.Connections.Load()) - 1; tries < 8 || tries > 20 {
			t.Errorf("%d tries in a day", tries)
		}
		above.Configure(func(c *otherpool.Config) { c.ClosedAt = otherpool.Nowhere })
		placed(t, a, "alice", longestPause+time.Minute)
	})
}

// Users go to another process with their passwords: those who have miners there have
// accounts again, and who was refused waits on.
func TestAccountsInAnotherProcess(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{}, above)
		becomes(t, g, "a", time.Second)
		above.Configure(func(c *otherpool.Config) {
			c.Knows = func(user, password string) bool { return password == "hers" || user == "wallet-a" }
		})
		a := f.accounts(g, 0)
		a.Login("alice", "hers")
		a.Login("bob", "wrong")
		a.Login("carol", "hers")
		placed(t, a, "alice", 10*time.Second)
		f.submit(f.jobOf(placed(t, a, "alice", 0)), 1, 1e-10, 0)
		time.Sleep(2*time.Minute + 10*time.Second) // bob has been refused twice
		record := a.Record()

		next := otherpool.New(t, otherpool.Config{})
		next.Configure(func(c *otherpool.Config) {
			c.Knows = func(user, password string) bool { return password == "hers" || user == "wallet-a" }
		})
		h := f.group(GroupOptions{}, next)
		becomes(t, h, "a", time.Second)
		b := NewAccounts(h, 0, nil)
		if err := b.Adopt(record); err != nil {
			t.Fatal(err)
		}
		b.Return("alice")
		b.Return("bob")
		f.runAccounts(b)
		time.Sleep(5 * time.Second)
		if next.Connected() != 1 {
			t.Errorf("%d connections while the other process may go on", next.Connected())
		}
		h.Begin()
		placed(t, b, "alice", 10*time.Second)
		if _, ok := b.Place("carol", 0); ok || next.Connected() != 2 {
			t.Errorf("%d connections: carol has no miner there", next.Connected())
		}
		list, _ := (&Entries{Group: h, Accounts: b}).Users()
		if len(list) != 3 || list[0].Accepted.Shares != 1 || list[1].Name != "bob" || list[1].State != "refused" || next.Connections.Load() != 2 {
			t.Errorf("%+v after %d connections", list, next.Connections.Load())
		}
		time.Sleep(3 * time.Minute)
		if next.Connections.Load() != 3 {
			t.Errorf("%d connections: bob was to be tried again", next.Connections.Load())
		}
	})
}

// The forms of the record are read for ever.
func TestReadAccounts(t *testing.T) {
	at := time.Unix(1795327613, 0)
	r := accountsRecord{users: []userRecord{
		{user: "alice", url: "pool.example:3333", passwords: []knownPassword{{text: "hers", good: true}, {text: "x"}}},
		{user: "bob", url: "pool.example:3333", passwords: []knownPassword{{text: "his", pause: 2 * time.Minute, again: at, refused: "Unknown user"}}},
	}}
	r.users[0].ledger = ledgerRecord{began: at, decayed: at, answers: 3, fresh: 1.5, f: Figures{LastAccepted: at, Reasons: map[string]Tally{"Stale": {}}}}
	r.users[0].ledger.f.Accepted.add(1024)
	same := func(a, b userRecord) bool {
		return a.user == b.user && a.url == b.url && slices.Equal(a.passwords, b.passwords) && reflect.DeepEqual(a.ledger, b.ledger) &&
			a.has == b.has && a.using == b.using && a.worked.Equal(b.worked) && a.habits == b.habits && reflect.DeepEqual(a.pool, b.pool)
	}
	if v1 := records.Earlier(t, records.V1(t, "accounts"), accountsVersion, (*accountsRecord).fields); !slices.EqualFunc(v1.users, r.users, same) {
		t.Errorf("%+v", v1)
	}
	alice := &r.users[0]
	alice.has, alice.using, alice.worked = true, "hers", at.Add(-time.Hour)
	alice.habits = [2]habit{{known: true, lower: true, since: at.Add(-time.Minute)}, {known: true}}
	alice.pool = ledgerRecord{began: at, decayed: at, answers: 2, f: Figures{LastAccepted: at}}
	alice.pool.f.Accepted.add(512)
	if v2 := records.Check(t, records.Of(t, "v2", "accounts"), accountsVersion, (*accountsRecord).fields); !slices.EqualFunc(v2.users, r.users, same) {
		t.Errorf("%+v", v2)
	}
	read := func(in []byte) error {
		g, err := NewGroup([]Config{{URL: "a.example:1", User: "u"}}, GroupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return NewAccounts(g, 0, nil).Adopt(in)
	}
	records.Damaged(t, "accounts", 0, read)
}

func FuzzReadAccounts(f *testing.F) {
	f.Add(records.V1(f, "accounts"))
	f.Add(records.Of(f, "v2", "accounts"))
	f.Fuzz(func(t *testing.T, in []byte) {
		g, err := NewGroup([]Config{{URL: "pool.example:3333", User: "u"}}, GroupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		a := NewAccounts(g, 10, nil)
		if a.Adopt(in) == nil && (len(a.users) > 10 || a.spare.Len()+len(a.pools()) != len(a.users)) {
			t.Errorf("%d users, %d of them spare, %d with accounts", len(a.users), a.spare.Len(), len(a.pools()))
		}
		a.begin()
		if n := len(a.pools()); n > 0 {
			t.Errorf("%d accounts without a connection", n)
		}
	})
}
