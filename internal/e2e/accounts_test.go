package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/ckdb"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
)

// startAccounts starts a ckdb, where bob has an account with a password, a node, and
// a pool that asks it.
func startAccounts(t *testing.T, more keys) (*ckdb.Daemon, setup, *running) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ck")
	if err != nil {
		t.Fatal(err)
	}
	d := &ckdb.Daemon{Store: ckdb.New("store"), Dir: dir}
	t.Cleanup(func() {
		d.Stop()
		os.RemoveAll(dir)
	})
	hash, err := credentials.HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	d.Store.Register("bob", hash)
	d.Store.Register("carol", "")
	start(t, d)
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x1d00ffff})
	s := setup{nodes: []keys{fakeEntry(n)}, ckdb: d.Place(), keys: more}
	p := s.start(t)
	p.log.wait(t, 0, "Asking ckdb")
	return d, s, p
}

// login subscribes and authorizes on a connection of its own.
func (r *running) login(t *testing.T, user, password string) (*raw, answer) {
	t.Helper()
	c := r.rawFrom(t, "127.0.0.1")
	c.mustAsk("mining.subscribe", "e2e/1")
	return c, c.mustAsk("mining.authorize", user, password)
}

// allows tells whether the login is allowed, in time; text is what a refused one is
// told.
func (r *running) allows(t *testing.T, user, password, text string) *raw {
	t.Helper()
	var c *raw
	var a answer
	// A busy machine may be too slow for who says who may mine: then it is tried again.
	for until := time.Now().Add(patience); ; c.Close() {
		began := time.Now()
		c, a = r.login(t, user, password)
		if took := time.Since(began); took > 10*authority.AnswerTime {
			t.Errorf("%s is answered after %v", user, took)
		}
		if text == tryAgain || !strings.Contains(a.text(), tryAgain) || time.Now().After(until) {
			break
		}
	}
	if text == "" && string(a.Result) != "true" || text != "" && (a.code() != 24 || !strings.Contains(a.text(), text)) {
		t.Errorf("%s with %q: %s %v, want %q", user, password, a.Result, a.Error, text)
	}
	return c
}

// line waits for a line of a method and returns its first parameter.
func (c *raw) line(method string) any {
	c.t.Helper()
	for {
		text, err := c.read.ReadBytes('\n')
		if err != nil {
			c.t.Fatalf("no %s: %v", method, err)
		}
		var m struct {
			Method string
			Params []any
		}
		if json.Unmarshal(text, &m) == nil && m.Method == method && len(m.Params) > 0 {
			return m.Params[0]
		}
	}
}

const (
	tryAgain = "try again in a minute"
	unlisted = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
)

func TestAccounts(t *testing.T) {
	t.Parallel()
	d, _, p := startAccounts(t, nil)
	p.allows(t, "bob.rig1", "wrong", "Wrong password")
	bob := p.allows(t, "bob.rig1", "secret", "")
	p.allows(t, "bob.rig2", "secret,d=0.001", "")
	p.allows(t, "nobody", "x", "No account of that name")
	p.allows(t, unlisted, "x", "")

	d.Store.Message("bob", "payout on friday")
	if got := bob.line("client.show_message"); got != "payout on friday" {
		t.Errorf("message %q", got)
	}
	d.Store.SetMinimum("bob", "bob.rig1", 0.5)
	if got := bob.line("mining.set_difficulty"); got != 0.5 {
		t.Errorf("difficulty %v, want 0.5", got)
	}
	again := p.rawFrom(t, "127.0.0.1")
	again.mustAsk("mining.authorize", "bob.rig1", "secret")
	again.mustAsk("mining.subscribe", "e2e/1")
	if got := again.line("mining.set_difficulty"); got != 0.5 {
		t.Errorf("difficulty of a further connection %v, want 0.5", got)
	}

	d.Store.Lock("bob", "unpaid bill")
	if got := bob.line("client.show_message"); got != "unpaid bill" {
		t.Errorf("message %q", got)
	}
	if rest, err := io.ReadAll(bob.read); err != nil || len(rest) > 0 {
		t.Errorf("after the lock %q, %v", rest, err)
	}
	eventually(t, patience, "bob's connections closed", func() bool { return p.connections().Drops["account locked"] == 3 })
	p.allows(t, "bob.rig1", "secret", "unpaid bill")
	p.allows(t, "carol", "x", "")
	d.Store.Unlock("bob")
	eventually(t, patience, "bob unlocked", func() bool {
		_, a := p.login(t, "bob.rig3", "secret")
		return string(a.Result) == "true"
	})
}

// Miners mine on while ckdb is away and when it comes back, which then tells what has
// changed meanwhile.
func TestCkdbRestart(t *testing.T) {
	t.Parallel()
	d, _, p := startAccounts(t, nil)
	carol := p.allows(t, "carol.rig", "x", "")
	c := p.mine(t, 20_000, "carol.one", "carol.two", unlisted)
	for round := range 3 {
		away := p.log.count("ckdb is away: ")
		d.Stop()
		eventually(t, patience, "ckdb away", func() bool { return p.log.count("ckdb is away: ") > away })
		<-time.After(authority.AnswerTime) // in which it may still come back
		before := len(c.all())
		p.allows(t, "carol.rig", "x", "")
		p.allows(t, fmt.Sprint("carol.new", round), "x", "")
		p.allows(t, poolAddress, "x", "")
		p.allows(t, "bob", "secret", tryAgain)
		d.Store.Message("carol", fmt.Sprint("message ", round))
		eventually(t, patience, "shares", func() bool { return len(c.all()) > before })
		start(t, d)
		if got := carol.line("client.show_message"); got != fmt.Sprint("message ", round) {
			t.Errorf("round %d: %q", round, got)
		}
	}
	eventually(t, patience, "bob is let in", func() bool {
		_, a := p.login(t, "bob", "secret")
		return string(a.Result) == "true"
	})
	c.stop()
	c.undisturbed()
}

// A ckdb that takes too long costs nobody who is known a moment, and others no more
// than they may wait; several logins of a connection wait side by side.
func TestSlowCkdb(t *testing.T) {
	t.Parallel()
	d, _, p := startAccounts(t, nil)
	p.allows(t, "carol.rig", "x", "")
	d.Store.SetDelay(time.Hour, nil)
	p.allows(t, "carol.rig", "x", "")
	began := time.Now()
	var logins sync.WaitGroup
	for i := range 20 {
		logins.Go(func() { p.allows(t, unlisted+fmt.Sprint(".", i), "x", "") })
		logins.Go(func() { p.allows(t, fmt.Sprint("carol.", i), "x", "") })
		logins.Go(func() { p.allows(t, fmt.Sprint("stranger", i), "x", tryAgain) })
	}
	c := p.allows(t, "carol.first", "x", "")
	for i := range 100 {
		fmt.Fprintf(c, `{"id":%d,"method":"mining.authorize","params":["carol.proxied%d","x"]}`+"\n", 1000+i, i)
	}
	c.id = 1098
	if a := c.mustAsk("mining.authorize", "carol.last", "x"); string(a.Result) != "true" {
		t.Errorf("%+v", a)
	}
	logins.Wait()
	if took := time.Since(began); took > patience {
		t.Errorf("all together took %v", took)
	}
}

// A login that was undecided when another process took over is answered by that one,
// and no change of accounts is lost between the two.
func TestUpgradeWithUndecidedLogin(t *testing.T) {
	t.Parallel()
	d, s, p := startAccounts(t, nil)
	carol := p.allows(t, "carol.rig", "x", "")
	d.Store.SetMinimum("carol", "carol.rig", 0.25)
	if got := carol.line("mining.set_difficulty"); got != 0.25 {
		t.Fatalf("difficulty %v", got)
	}
	d.Store.SetDelay(time.Hour, nil)
	c := p.rawFrom(t, "127.0.0.1")
	c.mustAsk("mining.subscribe", "e2e/1")
	asked := d.Store.Asked()
	began := time.Now()
	fmt.Fprintln(c, `{"id":77,"method":"mining.authorize","params":["bob.rig1","secret"]}`)
	eventually(t, patience, "asked", func() bool { return d.Store.Asked() > asked })
	d.Store.SetDelay(0, nil)
	d.Stop()
	d.Store.Message("carol", "in between")
	next := p.upgrade(s)
	start(t, d)
	// A machine that is too busy to be back in time has it tried again.
	if a, err := c.answer(77); err != nil || string(a.Result) != "true" && time.Since(began) < authority.AnswerTime {
		t.Errorf("the login is answered %s %v, %v", a.Result, a.Error, err)
	}
	if got := carol.line("client.show_message"); got != "in between" {
		t.Errorf("message %q", got)
	}
	d.Store.SetMinimum("carol", "carol.rig", 0.5)
	if got := carol.line("mining.set_difficulty"); got != 0.5 {
		t.Errorf("difficulty %v", got)
	}
	next.allows(t, "carol.rig", "x", "")
}

func start(t *testing.T, d *ckdb.Daemon) {
	t.Helper()
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
}
