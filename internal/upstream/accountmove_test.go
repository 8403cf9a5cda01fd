package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/source"
)

// userProcess is a group with users' accounts as one process has it.
type userProcess struct {
	*Group
	users *Accounts
	end   func()
}

// userProcess makes one, which runs until end, which may be called again, and expects the
// connections of another, if there is one.
func (f *farm) userProcess(c Config, o GroupOptions, from *userProcess) *userProcess {
	f.t.Helper()
	g, err := NewGroup([]Config{c}, o)
	if err != nil {
		f.t.Fatal(err)
	}
	p := &userProcess{Group: g, users: NewAccounts(g, 0, nil)}
	if from != nil {
		list, last := from.Standing()
		g.Expect(list, last)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	endGroup := f.runs(g)
	running.Go(func() { p.users.Run(ctx) })
	p.end = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		endGroup()
	})
	f.t.Cleanup(p.end)
	return p
}

// takeOver moves what one has to another, as a handover does, without Begin.
func (p *userProcess) takeOver(t *testing.T, from *userProcess) (lines []Moving) {
	t.Helper()
	record, lines := suspending(t, from.Group)()
	for _, err := range []error{p.users.Adopt(from.users.Record()), p.Adopt(record)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range lines {
		adopt := p.AdoptLine
		if m.Account {
			adopt = p.users.AdoptLine
		}
		if err := adopt(m.Conn, m.Record); err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

// Z1 of users: their connections go on in another process, ten times under load. The pool
// above sees one login of each, also of a user with the name of the account of all; every
// share has one verdict, and the books agree.
func TestZ1Users(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e-9, Delay: 1500 * time.Millisecond, AuthorizeOne: true, RejectEvery: 9})
		c := Config{URL: "pool.example.org:3333", User: "farm", Password: "x"}
		o := GroupOptions{Dial: above.Dial, Finder: f}
		p := f.userProcess(c, o, nil)
		becomes(t, p.Group, "p", 10*time.Second)
		names := []string{"alice", "bob", "farm"}
		work := map[string]source.Update{}
		for _, name := range names {
			p.users.Login(name, "of "+name)
		}
		for _, name := range names {
			work[name] = f.jobOf(placed(t, p.users, name, 10*time.Second))
		}
		p.users.Login("carol", "hers") // whose connection is not made yet at the first one
		shares := int64(0)
		for round := range 10 {
			for range 10 {
				for i, name := range names {
					f.submit(work[name], uint64(i), 1e-9, 0)
					shares++
				}
				time.Sleep(100 * time.Millisecond)
			}
			next := f.userProcess(c, o, p)
			lines := next.takeOver(t, p)
			if len(lines) < 4 {
				t.Fatalf("round %d: %d connections move", round, len(lines))
			}
			for _, name := range append(names, "carol") {
				next.users.Return(name)
			}
			time.Sleep(200 * time.Millisecond)
			if n := above.Connections.Load(); n > 5 {
				t.Errorf("round %d: %d connections", round, n)
			}
			next.Begin()
			p.end()
			p = next
			for _, name := range names {
				u := work[name].Upstream
				moved := *u
				if moved.Judge = p.Judge(u.Source); moved.Judge == nil {
					t.Fatalf("round %d: nobody judges %s's shares", round, name)
				}
				k := work[name]
				k.Upstream = &moved
				work[name] = k
				if at, ok := p.users.Place(name, 0); !ok || at != u.Source || !p.Admits(at, name) || p.Admits(at, "carol") {
					t.Errorf("round %d: %s is at source %d, was at %d", round, name, at, u.Source)
				}
			}
		}
		time.Sleep(3 * time.Second)
		counts := f.counts()
		if int64(counts["accepted"]+counts["refused"]) != shares || len(counts) != 2 {
			t.Errorf("%v of %d shares", counts, shares)
		}
		if n := above.Connections.Load(); n != 5 || above.Connected() != 5 || above.Invalid.Load() != 0 {
			t.Errorf("%d connections, %q", n, above.Faults())
		}
		for _, name := range names {
			if n := strings.Count(strings.Join(above.Lines(), "\n"), `"params":["`+name+`","of `+name+`"]`); n != 1 {
				t.Errorf("%d logins of %s", n, name)
			}
		}
		users, _ := (&Entries{Group: p.Group, Accounts: p.users}).Users()
		sum := otherpool.Account{}
		for _, u := range users {
			if u.Name == "carol" {
				continue
			}
			all := u.Accepted.Shares + u.Figures.Refused.Shares
			if u.Accepted.Shares == 0 || all != shares/3 || u.Open != 0 || u.Unanswered.Shares != 0 {
				t.Errorf("%s: %+v", u.Name, u.Figures)
			}
			of := p.users.users[u.Name].pool.Figures()
			if of.Accepted.Shares != u.Accepted.Shares || of.Refused.Shares != u.Figures.Refused.Shares {
				t.Errorf("%s's account: %+v", u.Name, of)
			}
			sum.Shares += int(u.Accepted.Shares)
		}
		book := 0
		for _, a := range above.Book() {
			book += a.Shares
		}
		if book != sum.Shares {
			t.Errorf("%d accepted, %d in the pool's book", sum.Shares, book)
		}
		for _, e := range f.took() {
			if e.Ended {
				t.Errorf("a source has ended: %+v", e)
			}
		}
		above.DropAll() // what was adopted is made again
		placed(t, p.users, "alice", time.Minute)
		p.users.Logout("alice")
		time.Sleep(forgetAfter + time.Minute)
		if _, ok := p.users.Place("alice", 0); ok {
			t.Error("an account that has moved is not ended when it is idle")
		}
	})
}

// A process may be replaced before it has looked after the accounts that it took over.
func TestUsersMoveAgain(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e-9, Delay: time.Second})
		c, o := Config{URL: "pool.example.org:3333", User: "farm", Password: "x"}, GroupOptions{Dial: above.Dial, Finder: f}
		p := f.userProcess(c, o, nil)
		becomes(t, p.Group, "p", 10*time.Second)
		p.users.Login("alice", "hers")
		at := placed(t, p.users, "alice", 10*time.Second)
		share := f.submit(f.jobOf(at), 1, 1e-9, 0)
		for range 2 {
			next := f.userProcess(c, o, p)
			next.takeOver(t, p)
			next.users.Return("alice")
			next.users.look()
			synctest.Wait() // it looks again after a while
			next.Begin()
			p.end()
			p = next
		}
		time.Sleep(3 * time.Second)
		if v := f.verdict(share); v != "accepted" || placed(t, p.users, "alice", 0) != at || above.Connections.Load() != 2 || above.Connected() != 2 {
			t.Errorf("%q, %d connections, %d now", v, above.Connections.Load(), above.Connected())
		}
	})
}

// A handover that comes to nothing: users' connections go on here, and what the other
// process made or took of them it lets go of.
func TestUsersResume(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e-9, Delay: time.Second})
		c := Config{URL: "pool.example.org:3333", User: "farm", Password: "x"}
		p := f.userProcess(c, GroupOptions{Dial: above.Dial, Finder: f}, nil)
		becomes(t, p.Group, "p", 10*time.Second)
		p.users.Login("alice", "hers")
		u := f.jobOf(placed(t, p.users, "alice", 10*time.Second))
		for round := range 3 {
			f.submit(u, 1, 1e-9, 0)
			next, err := NewGroup([]Config{c}, GroupOptions{Dial: above.Dial, Finder: newFarm(t)})
			if err != nil {
				t.Fatal(err)
			}
			users := NewAccounts(next, 0, nil)
			record, lines := p.Suspend()
			for _, err := range []error{users.Adopt(p.users.Record()), next.Adopt(record)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, m := range lines {
				if m.Account {
					err = users.AdoptLine(nopConn{m.Conn}, m.Record)
				} else {
					err = next.AdoptLine(nopConn{m.Conn}, m.Record)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			p.users.Login("bob", "his") // for whom no account is made as all stands still
			time.Sleep(300 * time.Millisecond)
			if n := above.Connections.Load(); n != 2+int64(min(round, 1)) {
				t.Errorf("round %d: %d connections", round, n)
			}
			next.Abandon()
			p.Resume(lines)
			f.submit(u, 1, 1e-9, 0)
			time.Sleep(2 * time.Second)
		}
		if n := f.counts()["accepted"]; n != 6 || above.Connections.Load() != 3 || above.Connected() != 3 {
			t.Errorf("%d of 6 accepted, %d connections", n, above.Connections.Load())
		}
		placed(t, p.users, "bob", time.Second)
	})
}

// nopConn is a descriptor of one's own: closing it leaves the connection.
type nopConn struct{ net.Conn }

func (nopConn) Close() error { return nil }

// Users' connections over TLS cannot move: the other process has some of its own before it
// takes over, and the old ones stay until then. What waits for its verdict counts as
// unanswered there.
func TestUsersAhead(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		pair := certificate.New(t, "pool.example.org", 1).TLS(t)
		above := otherpool.New(t, otherpool.Config{
			Difficulty: 1e-9, Delay: 3 * time.Second,
			Knows: func(user, password string) bool { return user == "farm" || password == "good" },
			Wrap: func(c net.Conn) net.Conn {
				return tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})
			},
		})
		c := Config{URL: "stratum+ssl://pool.example.org:3333", User: "farm", Password: "x", TLS: &tls.Config{InsecureSkipVerify: true}}
		o := GroupOptions{Dial: above.Dial, Finder: f}
		p := f.userProcess(c, o, nil)
		becomes(t, p.Group, "p", 10*time.Second)
		if p.users.Ahead() != nil {
			t.Error("there is nobody yet")
		}
		p.users.Login("alice", "good")
		p.users.Login("bob", "wrong")
		u := f.jobOf(placed(t, p.users, "alice", 10*time.Second))
		f.submit(u, 1, 1e-9, 0)

		next := f.userProcess(c, o, p)
		if err := next.users.Expect(p.users.Ahead()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		next.users.AwaitAhead(t.Context())
		if d := time.Since(began); d > time.Second {
			t.Errorf("waited %v", d)
		}
		own := placed(t, next.users, "alice", 0)
		if own == u.Upstream.Source || above.Connected() != 4 || !next.Admits(own, "alice") || next.Admits(own, "bob") {
			t.Errorf("source %d, was %d, %d connections", own, u.Upstream.Source, above.Connected())
		}
		time.Sleep(200 * time.Millisecond)
		if lines := next.takeOver(t, p); len(lines) != 0 {
			t.Fatalf("%d connections move", len(lines))
		}
		next.users.Return("alice")
		next.users.Return("bob")
		next.Begin()
		p.end()
		if at := placed(t, next.users, "alice", 0); at != own {
			t.Errorf("source %d, was %d before it took over", at, own)
		}
		users, _ := (&Entries{Group: next.Group, Accounts: next.users}).Users()
		if k := users[0]; k.Unanswered.Shares != 1 || k.Open != 0 || users[1].State != "refused" || users[1].Refused != "no" {
			t.Errorf("%+v", users)
		}
		f.submit(f.jobOf(own), 1, 1e-9, 0)
		time.Sleep(time.Minute)
		if users, _ = (&Entries{Group: next.Group, Accounts: next.users}).Users(); users[0].Accepted.Shares != 1 || above.Connected() != 2 {
			t.Errorf("%+v, %d connections", users[0], above.Connected())
		}
		next.users.Logout("alice")
		time.Sleep(forgetAfter + time.Minute)
		if above.Connected() != 1 {
			t.Errorf("%d connections", above.Connected())
		}
	})
}

// A pool that does not answer holds an upgrade up for a while, no longer.
func TestUsersAheadInVain(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Stuck: true})
		p := f.userProcess(Config{URL: "pool.example.org:3333", User: "farm"}, GroupOptions{Dial: above.Dial}, nil)
		record := p.users.record // of users that nobody has
		p.users.users["alice"] = &account{user: "alice", url: "pool.example.org:3333", passwords: []knownPassword{{text: "x"}}, ledger: newLedger(nil)}
		p.users.users["bob"] = &account{user: "bob", url: "elsewhere.example.org:3333", passwords: []knownPassword{{text: "x"}}, ledger: newLedger(nil)}
		ahead := record(func(u *account) *userRecord {
			r := u.record()
			r.has, r.using = true, "x"
			return r
		})
		q := f.userProcess(Config{URL: "pool.example.org:3333", User: "farm"}, GroupOptions{Dial: above.Dial}, nil)
		if err := q.users.Expect(ahead); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		q.users.AwaitAhead(t.Context())
		if d := time.Since(began); d != AheadTime {
			t.Errorf("waited %v", d)
		}
		if q.users.users["bob"].ahead {
			t.Error("a pool is waited for that is not in the list")
		}
	})
}

// A connection of a user whose account the other process does not know, or has already, is
// left.
func TestUsersLineRefused(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{})
		c := Config{URL: "pool.example.org:3333", User: "farm"}
		p := f.userProcess(c, GroupOptions{Dial: above.Dial, Finder: f}, nil)
		becomes(t, p.Group, "p", 10*time.Second)
		p.users.Login("alice", "hers")
		placed(t, p.users, "alice", 10*time.Second)
		ahead := p.users.record((*account).record)
		_, lines := p.Suspend()
		for _, m := range lines {
			if !m.Account {
				continue
			}
			q := f.userProcess(c, GroupOptions{Dial: above.Dial, Finder: f}, nil)
			if err := q.users.AdoptLine(nil, m.Record); !errors.Is(err, ErrNotConfigured) || err.Error() != "upstream connection to pool.example.org:3333 as alice: the pool is not configured any more" {
				t.Error(err)
			}
			if err := q.users.AdoptLine(nil, m.Record[:9]); err == nil || errors.Is(err, ErrNotConfigured) {
				t.Error(err)
			}
			if err := q.users.Expect(ahead); err != nil {
				t.Fatal(err)
			}
			q.users.AwaitAhead(t.Context())
			if err := q.users.AdoptLine(nil, m.Record); !errors.Is(err, ErrConnected) {
				t.Error(err)
			}
		}
		p.Resume(lines)
	})
}
