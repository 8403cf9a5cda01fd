package upstream

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/internal/upstream/status"
)

var errCut = errors.New("the cable is cut")

// wants compares where miners are.
func (p *proxy) wants(want map[string]int) {
	p.t.Helper()
	if at := p.at(); !maps.Equal(at, want) {
		p.t.Errorf("miners are at %v, want %v", at, want)
	}
}

// X4: when the first of two pools is killed, all miners have work of the second within a
// second, on their connections; when it is back for the hold, they go back little by
// little. Nothing is accepted here that a pool has not accepted.
func TestX4(t *testing.T) {
	within(t, func(t *testing.T) {
		a, b := pool(t, "a", otherpool.Config{}), pool(t, "b", otherpool.Config{})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a, "b": b}, Config{URL: "a"}, Config{URL: "b"})
		time.Sleep(5 * time.Second)
		p.miners(300)
		p.wants(map[string]int{"a": 300})
		p.mine()
		time.Sleep(time.Minute)
		p.told("")

		killed := time.Now()
		a.Down(errCut)
		time.Sleep(time.Second)
		p.wants(map[string]int{"b": 300})
		p.do(func() {
			for _, m := range p.seats {
				if d := m.since.Sub(killed); d > 200*time.Millisecond || m.reconnect > 0 {
					t.Errorf("%s has work after %v, and was asked to reconnect %d times", m.name, d, m.reconnect)
				}
			}
		})
		if lines := p.told("miners"); fmt.Sprint(lines) != "[Upstream a.example:3333 lost: 300 miners move to b.example:3333]" {
			t.Errorf("the log says %q", lines)
		}
		p.mine()

		a.Down(nil)
		time.Sleep(55 * time.Second) // some of them until it is connected again
		p.mine()
		p.wants(map[string]int{"b": 300})
		for n := 300; n > 0; {
			time.Sleep(time.Second)
			p.mine()
			left := p.at()["b"]
			if n-left > 60 {
				t.Errorf("%d miners went back within a second", n-left)
			}
			n = left
		}
		p.wants(map[string]int{"a": 300})
		if lines := p.told("miners"); fmt.Sprint(lines) != "[300 miners move from upstream b.example:3333 to a.example:3333]" {
			t.Errorf("the log says %q", lines)
		}
		p.sound()
	})
}

// stratum-mining/sv2-apps#673: after the first failover a good pool is used again, each
// time; and a single pool that is down and up is always back at work.
func TestBackEachTime(t *testing.T) {
	for _, single := range []bool{false, true} {
		within(t, func(t *testing.T) {
			a, b := pool(t, "a", otherpool.Config{}), pool(t, "b", otherpool.Config{})
			configs := []Config{{URL: "a"}, {URL: "b"}}
			down := map[string]int{"b": 10}
			if single {
				configs, down = configs[:1], map[string]int{"a": 10} // the last work they had
			}
			p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a, "b": b}, configs...)
			time.Sleep(5 * time.Second)
			p.miners(10)
			for round := range 100 {
				a.Down(errCut)
				time.Sleep(time.Second)
				p.wants(down)
				if !single {
					p.mine()
				}
				a.Down(nil)
				if single { // nothing is waited for
					time.Sleep(15 * time.Second)
				} else {
					time.Sleep(90 * time.Second)
				}
				p.wants(map[string]int{"a": 10})
				before := a.Accepted.Load()
				p.mine()
				if n := a.Accepted.Load() - before; n != 10 {
					t.Fatalf("round %d: %d shares", round, n)
				}
			}
			p.do(func() {
				for _, m := range p.seats {
					if m.closed || m.reconnect > 0 {
						t.Errorf("%s was asked to reconnect or closed", m.name)
					}
				}
			})
			p.sound()
		})
	}
}

// X9: with no pool at all miners stay, and get work when one is back.
func TestX9(t *testing.T) {
	within(t, func(t *testing.T) {
		a, b := pool(t, "a", otherpool.Config{}), pool(t, "b", otherpool.Config{})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a, "b": b}, Config{URL: "a"}, Config{URL: "b"})
		time.Sleep(5 * time.Second)
		p.miners(20)
		p.told("")
		a.Down(errCut)
		b.Down(errCut)
		time.Sleep(time.Hour)
		if lines := p.told("and there is no other"); len(lines) != 1 || p.group.Usable() {
			t.Errorf("%q", lines)
		}
		b.Down(nil)
		time.Sleep(65 * time.Second)
		p.wants(map[string]int{"b": 20})
		p.mine()
		if n := b.Accepted.Load(); n != 20 || !p.group.Usable() {
			t.Errorf("%d shares", n)
		}
		p.sound()
	})
}

// X10 with miners, which find nothing meanwhile: a pool that is silent for 600 s gets another
// connection, on which all of them go on, without having to connect again.
func TestX10WithMiners(t *testing.T) {
	within(t, func(t *testing.T) {
		a := pool(t, "a", otherpool.Config{})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a}, Config{URL: "a"})
		time.Sleep(5 * time.Second)
		p.miners(20)
		p.mine()
		a.Silence(true)
		began := time.Now()
		for a.Connected() > 0 && p.group.Usable() {
			time.Sleep(time.Second)
		}
		if d := time.Since(began); d < 599*time.Second || d > 602*time.Second {
			t.Errorf("given up after %v", d)
		}
		a.Silence(false)
		time.Sleep(2 * time.Minute)
		if at := p.at(); !maps.Equal(at, map[string]int{"a": 20}) {
			t.Errorf("miners are at %v", at)
		}
		before := a.Accepted.Load()
		p.mine()
		if n := a.Accepted.Load() - before; n != 20 {
			t.Errorf("%d of 20 shares are accepted", n)
		}
		p.do(func() {
			for _, m := range p.seats {
				if m.closed || m.reconnect > 0 {
					t.Errorf("%s had to connect again", m.name)
				}
			}
		})
		if lost := p.told("is lost"); len(lost) != 1 || !strings.Contains(lost[0], "pool is silent for 10m0s") {
			t.Errorf("%q", lost)
		}
		p.sound()
	})
}

// A pool that gives other sizes: who takes another extranonce1 gets it at once, who does
// not is asked to connect again, spread over time; nobody is dropped.
func TestOtherShape(t *testing.T) {
	within(t, func(t *testing.T) {
		a, b := pool(t, "a", otherpool.Config{}), pool(t, "b", otherpool.Config{Extranonce2Len: 4})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a, "b": b}, Config{URL: "a"}, Config{URL: "b"})
		time.Sleep(5 * time.Second)
		p.miners(100)
		a.Down(errCut)
		time.Sleep(200 * time.Millisecond)
		asked := func() (n int) {
			p.do(func() {
				for _, m := range p.seats {
					if m.reconnect > 0 {
						n++
					}
				}
			})
			return n
		}
		if n, at := asked(), p.at(); n > 10 || at["b"] < 50 {
			t.Errorf("%d were asked to reconnect at once, they are at %v", n, at)
		}
		time.Sleep(11 * time.Second)
		p.wants(map[string]int{"b": 100})
		if n := asked(); n != 50 {
			t.Errorf("%d were asked to reconnect", n)
		}
		p.mine()
		if n := b.Accepted.Load(); n != 100 {
			t.Errorf("%d shares", n)
		}
		p.sound()
	})
}

// stratum-mining/sv2-apps#247: another extranonce of another size on the same connection
// moves miners too.
func TestMinersFollowExtranonce(t *testing.T) {
	within(t, func(t *testing.T) {
		a := pool(t, "a", otherpool.Config{})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a}, Config{URL: "a"})
		time.Sleep(5 * time.Second)
		p.miners(60)
		for _, size := range []int{4, 8, 6, 3} {
			a.SetExtranonce(func(n int) string { return "61616161ff" }, size)
			a.NewJob()
			time.Sleep(12 * time.Second)
			before := a.Accepted.Load()
			p.wants(map[string]int{"a": 60})
			p.mine()
			if n := a.Accepted.Load() - before; n != 60 || a.Connections.Load() != 1 {
				t.Errorf("size %d: %d shares, %d connections", size, n, a.Connections.Load())
			}
		}
		p.sound()
	})
}

// parasitepool/para#370: one miner whose shares are all refused moves nobody; a pool that
// refuses everybody's counts as failed, and is gone back to later each time.
func TestRefusesEverything(t *testing.T) {
	within(t, func(t *testing.T) {
		a, b := pool(t, "a", otherpool.Config{}), pool(t, "b", otherpool.Config{})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a, "b": b}, Config{URL: "a"}, Config{URL: "b"})
		time.Sleep(5 * time.Second)
		p.miners(10)
		p.mine()
		a.Configure(func(c *otherpool.Config) {
			c.Refuse = func(string, int) string { return "no" }
		})
		for range 600 {
			time.Sleep(time.Second)
			p.do(func() { p.submit(3) })
		}
		p.wants(map[string]int{"a": 10})
		time.Sleep(time.Second)
		seconds := 0
		for ; p.at()["a"] > 0; seconds++ {
			if seconds > 200 {
				t.Fatal("all are refused, and nobody has moved")
			}
			time.Sleep(time.Second)
			p.mine()
		}
		// It comes up again and again; over a day hardly anything is lost there.
		good, bad := b.Accepted.Load(), a.Refused.Load()
		for range 24 * 60 {
			time.Sleep(time.Minute)
			p.mine()
		}
		good, bad = b.Accepted.Load()-good, a.Refused.Load()-bad
		if bad > good/4 {
			t.Errorf("%d shares were accepted over a day, %d were refused", good, bad)
		}
		a.Configure(func(c *otherpool.Config) { c.Refuse = nil })
		for range 90 {
			time.Sleep(time.Minute)
			p.mine()
		}
		p.wants(map[string]int{"a": 10})
		p.sound()
	})
}

// braiins/braiins#76: whoever rolls versions gets work of a pool that allows it, if one
// does, and is never left with one that refuses what the miner was told.
func TestVersionRolling(t *testing.T) {
	within(t, func(t *testing.T) {
		a, b := pool(t, "a", otherpool.Config{VersionMask: 1}), pool(t, "b", otherpool.Config{})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a, "b": b}, Config{URL: "a"}, Config{URL: "b"})
		time.Sleep(5 * time.Second)
		p.miners(10)
		rollers := func() {
			p.do(func() {
				for range 10 {
					p.enter("farm.roller", false, true)
				}
			})
		}
		rolling := func() (yes, no int) {
			p.do(func() {
				for _, m := range p.seats {
					switch {
					case m.closed || m.rolls == "":
					case strings.Contains(m.rolls, `"version-rolling":true`):
						yes++
					default:
						no++
					}
				}
			})
			return yes, no
		}
		rollers()
		p.wants(map[string]int{"a": 10, "b": 10})
		if yes, no := rolling(); yes != 10 || no != 0 {
			t.Errorf("%d may roll, %d not", yes, no)
		}
		time.Sleep(5 * time.Minute)
		p.wants(map[string]int{"a": 10, "b": 10})
		p.do(func() {
			for _, m := range p.seats {
				if m.reconnect > 0 {
					t.Errorf("%s was asked to reconnect", m.name)
				}
			}
		})

		b.Down(errCut)
		time.Sleep(12 * time.Second)
		p.wants(map[string]int{"a": 20})
		if yes, no := rolling(); yes != 0 || no != 10 {
			t.Errorf("%d may roll, %d not", yes, no)
		}
		p.mine()
		b.Down(nil)
		time.Sleep(2 * time.Minute)
		rollers()
		p.wants(map[string]int{"a": 20, "b": 10})
		a.Down(errCut)
		time.Sleep(time.Second)
		p.wants(map[string]int{"b": 30})
		p.mine()
		p.sound()
	})
}

// Newcomers go to the pool that miners work for, to others only if it has no room.
func TestNoRoom(t *testing.T) {
	within(t, func(t *testing.T) {
		a, b := pool(t, "a", otherpool.Config{Extranonce2Len: 4}), pool(t, "b", otherpool.Config{Extranonce2Len: 4})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a, "b": b}, Config{URL: "a", MaxLines: 1}, Config{URL: "b"})
		time.Sleep(5 * time.Second)
		p.miners(300)
		p.wants(map[string]int{"a": 256, "b": 44})
		time.Sleep(10 * time.Minute)
		p.wants(map[string]int{"a": 256, "b": 44})
		p.mine()
		a.Down(errCut)
		time.Sleep(10 * time.Second) // another connection is needed
		p.wants(map[string]int{"b": 300})
		p.mine()
		p.sound()
	})
}

// When the next pool has no room for all, those who are left have work of one behind it
// within a second.
func TestNoRoomAfterFailover(t *testing.T) {
	within(t, func(t *testing.T) {
		pools := map[string]*otherpool.Pool{
			"a": pool(t, "a", otherpool.Config{}), "b": pool(t, "b", otherpool.Config{Extranonce2Len: 4}), "c": pool(t, "c", otherpool.Config{}),
		}
		p := newProxy(t, GroupOptions{}, pools, Config{URL: "a"}, Config{URL: "b", MaxLines: 1}, Config{URL: "c"})
		time.Sleep(5 * time.Second)
		p.do(func() {
			for i := range 600 {
				p.enter(fmt.Sprintf("farm.takes%d", i), true, false)
			}
		})
		pools["a"].Down(errCut)
		time.Sleep(time.Second)
		p.wants(map[string]int{"b": 256, "c": 344})
		p.mine()
		p.sound()
	})
}

// A pool that forbids version rolling makes no room for miners that roll.
func TestNoRoomForRollers(t *testing.T) {
	within(t, func(t *testing.T) {
		a, b := pool(t, "a", otherpool.Config{VersionMask: 1, Extranonce2Len: 2}), pool(t, "b", otherpool.Config{})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a, "b": b}, Config{URL: "a"}, Config{URL: "b"})
		time.Sleep(5 * time.Second)
		connections := a.Connections.Load()
		p.do(func() {
			for range 50 {
				p.enter("farm.roller", false, true)
			}
		})
		time.Sleep(2 * time.Minute)
		if n := a.Connections.Load(); n != connections {
			t.Errorf("%d connections were made for miners that roll", n-connections)
		}
		p.wants(map[string]int{"b": 50})
	})
}

// A pool that is lost without having refused anything is gone back to as soon as any
// other.
func TestHoldStays(t *testing.T) {
	within(t, func(t *testing.T) {
		a, b := pool(t, "a", otherpool.Config{}), pool(t, "b", otherpool.Config{})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a, "b": b}, Config{URL: "a"}, Config{URL: "b"})
		time.Sleep(time.Minute)
		for range 5 {
			a.Down(errCut)
			time.Sleep(time.Second)
			a.Down(nil)
			time.Sleep(30 * time.Second)
			if x := p.entries.Pools()[0]; x.Reason != "held back until it has had work for 1m0s" || x.Active {
				t.Errorf("%+v", x)
			}
			time.Sleep(time.Minute)
			if x := p.entries.Pools()[0]; x.Reason != "" || !x.Active {
				t.Errorf("%+v", x)
			}
		}
	})
}

// The operator's changes hold at once.
func TestEntries(t *testing.T) {
	within(t, func(t *testing.T) {
		pools := map[string]*otherpool.Pool{}
		for _, name := range []string{"a", "b", "c"} {
			pools[name] = pool(t, name, otherpool.Config{})
		}
		p := newProxy(t, GroupOptions{}, pools, Config{URL: "a"}, Config{URL: "b"})
		time.Sleep(20 * time.Second)
		p.miners(20)
		e := p.entries
		order := func() (s string) {
			for _, x := range e.Pools() {
				s += fmt.Sprintf("%d%c", x.ID, x.BaseURL[0])
				if x.Active {
					s += "!"
				}
				if x.Disabled {
					s += "-"
				}
				n := 0
				for _, c := range x.Connections {
					n += c.Sessions
				}
				s += fmt.Sprintf("%d ", n)
			}
			return s
		}
		moved := func(what string, want string, at map[string]int) {
			t.Helper()
			time.Sleep(time.Second)
			p.mine()
			time.Sleep(11 * time.Second)
			if got := order(); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
			p.wants(at)
		}
		moved("start", "0a!20 1b0 ", map[string]int{"a": 20})
		time.Sleep(time.Minute)
		if _, ok := e.Place(1, 0); !ok {
			t.Error("there is no 1")
		}
		moved("place", "1b!20 0a0 ", map[string]int{"b": 20})
		e.Enable(1, false)
		moved("disabled", "1b-0 0a!20 ", map[string]int{"a": 20})
		time.Sleep(10 * time.Second)
		if n := pools["b"].Connected(); n != 0 {
			t.Errorf("%d connections to one that is disabled", n)
		}
		if s := p.group.Status(); s[0].State != "disabled" || s[0].Current || !s[1].Current || s[1].State != "ok" {
			t.Errorf("%+v", s)
		}
		if x, err := e.Add(&config.Upstream{URL: "c.example:3333", User: "farm"}, 0); err != nil || x.ID != 2 {
			t.Error(x, err)
		}
		if _, err := e.Add(&config.Upstream{URL: "c.example:3333"}, 0); err == nil {
			t.Error("one without a user was added")
		}
		if _, err := e.Add(&config.Upstream{URL: "c.example:3333", User: "farm"}, 7); err == nil || !strings.Contains(err.Error(), "ckpool -u") {
			t.Error("one for a single user: ", err)
		}
		moved("added", "1b-0 0a!20 2c0 ", map[string]int{"a": 20})
		accepted := e.Pools()[0].Figures.Accepted.Shares
		e.Enable(1, true)
		time.Sleep(75 * time.Second)
		moved("enabled", "1b!20 0a0 2c0 ", map[string]int{"b": 20})
		if n := e.Pools()[0].Figures.Accepted.Shares; n < accepted+20 || accepted == 0 {
			t.Errorf("%d shares, there were %d before it was disabled", n, accepted)
		}
		e.Enable(1, false)
		e.Enable(1, true)            // its connections have not even ended
		time.Sleep(75 * time.Second) // where miners were moved meanwhile, the hold is over
		moved("again", "1b!20 0a0 2c0 ", map[string]int{"b": 20})
		if x, ok := e.Remove(0); !ok || x.ID != 0 {
			t.Errorf("%+v, %v", x, ok)
		}
		p.told("")
		e.Remove(1)
		moved("removed", "2c!20 ", map[string]int{"c": 20})
		if lines := p.told("removed"); len(lines) != 1 || lines[0] != "Upstream b.example:3333 removed: 20 miners move to c.example:3333" {
			t.Errorf("%q", lines)
		}
		if _, ok := e.Remove(0); ok {
			t.Error("removed twice")
		}
		time.Sleep(10 * time.Second)
		if n := pools["a"].Connected() + pools["b"].Connected(); n != 0 {
			t.Errorf("%d connections to pools that were removed", n)
		}
		x := e.Pools()[0]
		if c := x.Connections[0]; c.Space.Used != 20 || c.Space.Size != 65536 || c.Pad != 2 || c.Own != 2 || c.Extranonce2Len != 8 ||
			c.Authorize != status.Success || c.VersionMask != 0x1fffe000 || c.Accepted.Shares != 20 {
			t.Errorf("%+v", c)
		}
		if x.Wanted != 1 || !x.Up || x.Accepted.Shares != 20 || x.URL != "c.example:3333" || x.Account != "farm" {
			t.Errorf("%+v", x)
		}
		p.sound()
		synctest.Wait()
	})
}

// However many connections an operator asks for, no more are opened than may be.
func TestRecruitMost(t *testing.T) {
	p, err := NewPool(Config{URL: "a.example:3333", User: "farm", MaxLines: 3}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.add(&slot{works: true})
	for _, count := range []int64{3, math.MaxInt64} {
		if err := p.recruit(count); err == nil || p.recruits != 0 {
			t.Errorf("of %d, %d are to be opened: %v", count, p.recruits, err)
		}
	}
}

// Connections are opened and closed at the operator's wish; miners of one that is closed
// go to others.
func TestConnections(t *testing.T) {
	within(t, func(t *testing.T) {
		a := pool(t, "a", otherpool.Config{})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a}, Config{URL: "a", MaxLines: 3})
		e := p.entries
		time.Sleep(5 * time.Second)
		if err := e.Open(9, 1); err == nil {
			t.Error("opened of a pool that is not there")
		}
		if err := e.Open(0, 3); err == nil || err.Error() != "upstream a.example:3333 has 1 connections, of 3 that are allowed" {
			t.Error(err)
		}
		if err := e.Open(0, 2); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		ids := func() (s string) {
			for _, c := range e.Pools()[0].Connections {
				s += fmt.Sprintf("%d%v ", c.ID, c.Works)
			}
			return s
		}
		if got := ids(); got != "0true 1true 2true " {
			t.Errorf("connections %q", got)
		}
		for id, ok := range map[int64]bool{0: false, 1: true, 7: false} {
			if err := e.Close(0, id); (err == nil) != ok {
				t.Errorf("%d: %v", id, err)
			}
		}
		time.Sleep(time.Second)
		if err := e.Open(0, 1); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Second)
		if got := ids(); got != "0true 2true 3true " {
			t.Errorf("connections %q", got)
		}
		time.Sleep(12 * time.Minute) // nobody needs them
		if got := ids(); got != "0true " {
			t.Errorf("connections %q", got)
		}
		// Miners of a connection that is closed have work of another within a second.
		a.Configure(func(c *otherpool.Config) { c.Extranonce2Len = 4 })
		a.DropAll()
		time.Sleep(30 * time.Second)
		p.miners(250)
		time.Sleep(5 * time.Second)
		p.miners(50)
		p.wants(map[string]int{"a": 300})
		second := e.Pools()[0].Connections[1]
		if second.Sessions < 40 {
			t.Errorf("%+v", second)
		}
		if err := e.Close(0, second.ID); err != nil {
			t.Error(err)
		}
		time.Sleep(15 * time.Second)
		p.wants(map[string]int{"a": 300})
		p.mine()
		if n := a.Accepted.Load(); n != 300 {
			t.Errorf("%d shares", n)
		}
		a.Configure(func(c *otherpool.Config) { c.NoAuthorize = true })
		a.DropAll()
		time.Sleep(time.Minute)
		if err := e.Open(0, 1); err == nil || !strings.HasPrefix(err.Error(), "upstream a.example:3333 has no work: ") {
			t.Error(err)
		}
		x := e.Pools()[0]
		if c := x.Connections[0]; x.Up || x.Backoff == 0 || c.Subscribe != status.Success || c.Authorize != status.Failed || !strings.Contains(x.Reason, "authorize") {
			t.Errorf("%+v", x)
		}
	})
}

// U1, U2: miners of a user move to the user's own account when there is one, and what they
// find is credited to that alone; those of a user whom the pool refuses stay. When the
// pool is lost, all go on at the next.
func TestUsersAtHome(t *testing.T) {
	within(t, func(t *testing.T) {
		a, b := pool(t, "a", otherpool.Config{}), pool(t, "b", otherpool.Config{})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a, "b": b}, Config{URL: "a"}, Config{URL: "b"})
		p.users(2)
		time.Sleep(5 * time.Second)
		users := []string{"alice", "bob", "carol"} // who finds no room for an account
		p.do(func() {
			for i := range 30 {
				p.enter(fmt.Sprintf("%s.rig%d", users[i%3], i), i%2 == 0, false)
			}
		})
		time.Sleep(15 * time.Second)
		credited := func(pool *otherpool.Pool) map[string]int {
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
		want := map[string]int{"alice": 10, "bob": 10, "farm": 10}
		if got := credited(a); !maps.Equal(got, want) {
			t.Errorf("credited %v", got)
		}
		list := p.entries.Pools()
		if len(list) != 4 || list[2].User != "alice" || list[2].ID == list[3].ID || !list[2].Up || list[2].Connections[0].Sessions != 10 {
			t.Errorf("%+v", list)
		}
		if users, left := p.entries.Users(); left != 10 || len(users) != 2 || users[0].Name != "alice" || users[0].Accepted.Shares != 10 || users[0].Pools[0] != list[2].ID {
			t.Errorf("%+v", users)
		}
		time.Sleep(time.Minute)
		if got := credited(a); !maps.Equal(got, want) {
			t.Errorf("credited %v", got)
		}
		a.Down(errCut)
		time.Sleep(time.Second)
		p.wants(map[string]int{"b": 30})
		time.Sleep(20 * time.Second)
		if got := credited(b); !maps.Equal(got, want) {
			t.Errorf("credited %v", got)
		}
		// New miners find home with their login.
		p.do(func() {
			for i := range 3 {
				p.enter(users[i]+".new", false, false)
			}
		})
		if got := credited(b); !maps.Equal(got, map[string]int{"alice": 11, "bob": 11, "farm": 11}) {
			t.Errorf("credited %v", got)
		}
		p.sound()
	})
}

// What is said of a pool tells what happened: it was never reached, it gives no work, or
// it was lost; and miners are spoken of where there are some.
func TestWords(t *testing.T) {
	within(t, func(t *testing.T) {
		a, b := pool(t, "a", otherpool.Config{}), pool(t, "b", otherpool.Config{NoAuthorize: true})
		a.Down(&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED})
		p := newProxy(t, GroupOptions{}, map[string]*otherpool.Pool{"a": a, "b": b}, Config{URL: "a"}, Config{URL: "b"})
		time.Sleep(3 * time.Second)
		says := func(want ...string) {
			t.Helper()
			lines := p.told("")
			for _, start := range want {
				if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, start) }) {
					t.Errorf("not said: %s\n%s", start, strings.Join(lines, "\n"))
				}
			}
			if slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "0 miners") }) {
				t.Errorf("nobody is spoken of:\n%s", strings.Join(lines, "\n"))
			}
		}
		says("Upstream a.example:3333 cannot be reached: ", "Upstream b.example:3333 gives no work: ")
		a.Down(nil)
		time.Sleep(3 * time.Minute)
		says("Miners work for upstream a.example:3333")
		b.Configure(func(c *otherpool.Config) { c.NoAuthorize = false })
		time.Sleep(10 * time.Minute)
		a.Down(errCut)
		time.Sleep(time.Second)
		says("Upstream a.example:3333 is lost: ", "Upstream a.example:3333 lost: miners work for b.example:3333")
		b.Down(errCut)
		time.Sleep(time.Second)
		says("Upstream b.example:3333 lost, and there is no other")
	})
}
