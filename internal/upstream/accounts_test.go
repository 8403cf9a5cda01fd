package upstream

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/source"
)

// accounts runs accounts beside a group until the test ends.
func (f *farm) accounts(g *Group, most int) *Accounts {
	a := NewAccounts(g, most, nil)
	f.runAccounts(a)
	return a
}

func (f *farm) runAccounts(a *Accounts) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	f.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// placed waits for a place of a user's own.
func placed(t *testing.T, a *Accounts, user string, within time.Duration) uint32 {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Second) {
		synctest.Wait()
		if number, ok := a.Place(user, 0); ok {
			return number
		}
		if time.Since(began) > within {
			t.Fatalf("no account of %s in %v", user, within)
		}
	}
}

// jobOf is the newest job of a source.
func (f *farm) jobOf(number uint32) source.Update {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.updates) - 1; i >= 0; i-- {
		if !f.updates[i].Ended && f.updates[i].Upstream.Source == number {
			return f.updates[i]
		}
	}
	f.t.Fatalf("source %d has no job", number)
	return source.Update{}
}

// U1, U3: each user has a login of his own, made when his first miner comes; what his
// miners find is credited to him, under their names, and to nobody else.
func TestU1(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{}, above)
		becomes(t, g, "a", time.Second)
		a := f.accounts(g, 0)
		if _, ok := a.Place("alice", 0); ok {
			t.Error("an account before anybody logged in")
		}
		a.Login("alice", "secret")
		a.Login("alice", "secret")
		a.Login("bob", strings.Repeat("x", 100))
		alice, bob := placed(t, a, "alice", 10*time.Second), placed(t, a, "bob", 10*time.Second)
		if !g.Admits(alice, "alice") || g.Admits(alice, "bob") || g.Admits(bob, "alice") || alice == bob || above.Connected() != 3 {
			t.Errorf("source %d of alice, bob's is %d, %d connections", alice, bob, above.Connected())
		}
		for range 3 {
			f.submit(f.jobOf(alice), 1, 1e-10, 0)
			f.submit(f.jobOf(bob), 2, 1e-10, 0)
			synctest.Wait()
		}
		book := above.Book()
		if book["alice"].Shares != 1 || book["alice.rig1"].Shares != 2 || book["bob.rig2"].Shares != 2 || book["wallet-a"].Shares != 0 {
			t.Error(book)
		}
		logins := strings.Join(above.Lines(), "\n")
		if !strings.Contains(logins, `"params":["alice","secret"]`) || !strings.Contains(logins, fmt.Sprintf(`"params":["bob",%q]`, strings.Repeat("x", maxPassword))) {
			t.Error(logins)
		}
		entries := &Entries{Group: g, Accounts: a}
		if list, left := entries.Users(); len(list) != 2 || list[0].Name != "alice" || list[0].Miners != 2 || list[0].State != "ok" || list[0].Accepted.Shares != 3 || left != 0 {
			t.Errorf("%+v, %d", list, left)
		}
		// One that has left for a while is logged out; the other stays.
		a.Logout("bob")
		a.Logout("bob")
		a.Logout("nobody")
		a.Logout("alice")
		time.Sleep(forgetAfter - time.Minute)
		if above.Connected() != 3 {
			t.Error("an account is ended too early")
		}
		time.Sleep(2 * time.Minute)
		if _, ok := a.Place("bob", 0); ok || above.Connected() != 2 {
			t.Errorf("%d connections, bob's miners are gone", above.Connected())
		}
		placed(t, a, "alice", 0)
	})
}

// U2: a user whom the pool refuses has no account, and is asked for again after growing
// pauses.
func TestU2(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{}, above)
		becomes(t, g, "a", time.Second)
		above.Configure(func(c *otherpool.Config) { c.NoAuthorize = true })
		a := f.accounts(g, 0)
		a.Login("alice", "wrong")
		f.log()
		time.Sleep(24 * time.Hour)
		tries := int(above.Connections.Load()) - 1
		// After 1, 2, 4 … 128, 240, 240 … minutes.
		if tries < 12 || tries > 16 {
			t.Errorf("%d tries in a day", tries)
		}
		list, _ := (&Entries{Group: g, Accounts: a}).Users()
		if len(list) != 1 || list[0].State != "refused" || list[0].Refused != "no" || list[0].Again.Before(time.Now()) {
			t.Errorf("%+v", list)
		}
		if log := f.log(); len(log) > 2*tries || !strings.HasPrefix(log[len(log)-1], "Upstream refuses user alice: no; asked again in 4h0m0s") {
			t.Errorf("%q", log)
		}
		if name := activeName(g); name != "a" {
			t.Errorf("%q is worked for", name)
		}
		// To leave and come back does not shorten the pause.
		a.Logout("alice")
		time.Sleep(forgetAfter + time.Minute)
		a.Login("alice", "wrong")
		time.Sleep(time.Minute)
		if n := int(above.Connections.Load()) - 1; n != tries {
			t.Errorf("asked for again at once")
		}
		// Another password has nothing to wait for, and is not lost for those who come with
		// wrong ones.
		above.Configure(func(c *otherpool.Config) {
			c.NoAuthorize, c.Knows = false, func(user, password string) bool { return user == "wallet-a" || password == "right" }
		})
		a.Login("alice", "right")
		placed(t, a, "alice", 10*time.Second)
		for i := range 100 {
			a.Login("alice", fmt.Sprint("guessed", i))
		}
		time.Sleep(time.Second)
		above.DropAll()
		placed(t, a, "alice", time.Minute)
		a.mu.Lock()
		defer a.mu.Unlock()
		if n := len(a.users["alice"].passwords); n > mostPasswords {
			t.Errorf("%d passwords are kept", n)
		}
	})
}

// Accounts are where the group works, and their number is limited.
func TestAccountsFollow(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		first, second := otherpool.New(t, otherpool.Config{}), otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{}, first, second)
		becomes(t, g, "a", time.Second)
		a := f.accounts(g, 2)
		for _, user := range []string{"alice", "bob", "carol"} {
			a.Login(user, "x")
		}
		placed(t, a, "alice", 10*time.Second)
		placed(t, a, "bob", 10*time.Second)
		time.Sleep(time.Minute)
		if _, ok := a.Place("carol", 0); ok || first.Connected() != 3 {
			t.Errorf("%d connections for two accounts", first.Connected())
		}
		if _, left := a.list(); left != 1 {
			t.Errorf("%d had no room", left)
		}
		first.Down(errDown)
		becomes(t, g, "b", time.Second)
		placed(t, a, "alice", 20*time.Second)
		placed(t, a, "bob", 20*time.Second)
		if first.Connected() != 0 || second.Connected() != 3 {
			t.Errorf("%d and %d connections", first.Connected(), second.Connected())
		}
		first.Down(nil)
		becomes(t, g, "a", time.Hour)
		time.Sleep(20 * time.Second)
		placed(t, a, "alice", 0)
		if first.Connected() != 3 || second.Connected() != 1 {
			t.Errorf("%d and %d connections", first.Connected(), second.Connected())
		}
	})
}

// Miners of a user who found no room count when there is some: his account does not end as the
// first of them leaves.
func TestMinersWithoutRoom(t *testing.T) {
	g, err := NewGroup([]Config{{URL: "pool.example.org:3333", User: "farm"}}, GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := NewAccounts(g, 1, nil)
	miners := func() (n int) {
		list, _ := a.list()
		for _, u := range list {
			if u.user == "bob" {
				n = u.miners
			}
		}
		return n
	}
	a.Login("alice", "x")
	a.Login("bob", "x")
	a.Login("bob", "x")
	a.Logout("bob")
	a.Logout("alice")
	a.Login("bob", "x")
	if n := miners(); n != 2 {
		t.Errorf("%d miners are here, want 2", n)
	}
	a.Logout("bob")
	if n := miners(); n != 1 {
		t.Errorf("%d miners are here, want 1", n)
	}
	a.Logout("bob")
	if n := miners(); n != 0 || len(a.outside) != 0 {
		t.Errorf("%d miners are here, %v are outside", n, a.outside)
	}
}
