package upstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ckpool/event"
	"ckpool/internal/testkit/otherpool"
	"ckpool/source"
	"ckpool/stratum/client"
)

var errDown = errors.New("connection refused")

// group runs a group of a farm's before other pools, of which the first is
// a.example.org:1, until the test ends. Its updates go to the farm.
func (f *farm) group(o GroupOptions, above ...*otherpool.Pool) *Group {
	f.t.Helper()
	places, list := dialler{}, []Config{}
	for i, p := range above {
		address := fmt.Sprintf("%c.example.org:1", 'a'+i)
		places[address] = p
		list = append(list, Config{URL: address, User: fmt.Sprintf("wallet-%c", 'a'+i), VersionMask: 0x1fffe000})
	}
	o.Dial = places.dial
	o.Events = func(e event.Event) {
		f.mu.Lock()
		f.lines = append(f.lines, e.Text)
		f.mu.Unlock()
	}
	g, err := NewGroup(list, o)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.Run(ctx) }) // it has no errors
	running.Go(func() {
		for {
			select {
			case u := <-g.Templates():
				f.update(u)
			case <-ctx.Done():
				return
			}
		}
	})
	f.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return g
}

// activeName is the first letter of the active pool's name, "" for none.
func activeName(g *Group) string {
	synctest.Wait()
	if p := g.Active(); p != nil {
		return p.name[:1]
	}
	return ""
}

// becomes waits until a pool is active, and returns how long that took.
func becomes(t *testing.T, g *Group, name string, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for activeName(g) != name {
		if time.Since(began) > within {
			t.Fatalf("%q is active after %v, not %q: %+v", activeName(g), within, name, g.Status())
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(began)
}

// X4: the first pool is lost, the second has work already; the first is gone back to
// when it has had work for the time of the hold.
func TestX4(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		a, b := otherpool.New(t, otherpool.Config{}), otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{}, a, b)
		if d := becomes(t, g, "a", time.Second); d != 0 {
			t.Errorf("took %v", d)
		}
		time.Sleep(20 * time.Minute)
		a.Down(errDown)
		if d := becomes(t, g, "b", time.Second); d != 0 {
			t.Errorf("failover took %v", d)
		}
		if number, ok := g.Place(0); !ok || g.Of(number) != g.Active() {
			t.Errorf("a newcomer is placed at %v", g.Of(number))
		}
		time.Sleep(20 * time.Second)
		a.Down(nil)
		if d := becomes(t, g, "a", 3*time.Minute); d < defaultHold || d > defaultHold+31*time.Second {
			t.Errorf("back after %v", d)
		}
		status := g.Status()
		if len(status) != 2 || !status[0].Current || status[1].Current || status[1].State != "ok" || status[0].URL != "a.example.org:1" {
			t.Errorf("%+v", status)
		}
	})
}

// stratum-mining/sv2-apps#673: from the first to the second and back, 100 times.
func TestBackAgain(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		a, b := otherpool.New(t, otherpool.Config{}), otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{}, a, b)
		becomes(t, g, "a", time.Second)
		for range 100 {
			a.Down(errDown)
			becomes(t, g, "b", time.Second)
			time.Sleep(time.Minute)
			a.Down(nil)
			becomes(t, g, "a", mostHold+2*time.Minute)
			if number, ok := g.Place(0); !ok || g.Of(number) != g.Active() {
				t.Fatal("no work from the first pool")
			}
			time.Sleep(time.Minute)
			f.took()
		}
	})
}

// A pool that does not last is gone back to later each time: one that refuses all shares
// would have the miners for minutes again and again.
func TestHoldGrows(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		a, b := otherpool.New(t, otherpool.Config{}), otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{}, a, b)
		becomes(t, g, "a", time.Second)
		var took []time.Duration
		for range 6 {
			time.Sleep(3 * time.Minute)
			a.DropAll()
			becomes(t, g, "b", time.Second)
			took = append(took, becomes(t, g, "a", time.Hour).Truncate(time.Minute))
		}
		if got := fmt.Sprint(took); got != "[2m0s 4m0s 8m0s 15m0s 15m0s 15m0s]" {
			t.Errorf("back after %s", got)
		}
		time.Sleep(lasting)
		a.DropAll()
		becomes(t, g, "b", time.Second)
		if d := becomes(t, g, "a", time.Hour).Truncate(time.Minute); d != defaultHold {
			t.Errorf("back after %v, though it had lasted", d)
		}
	})
}

// X9: without any pool nothing is usable, and work resumes when one is back.
func TestX9(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		a, b := otherpool.New(t, otherpool.Config{}), otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{}, a, b)
		becomes(t, g, "a", time.Second)
		a.Down(errDown)
		b.Down(errDown)
		becomes(t, g, "", time.Second)
		if _, ok := g.Place(0); ok || g.Usable() {
			t.Error("work, though all are down")
		}
		ended := 0
		for _, u := range f.took() {
			if u.Ended {
				ended++
			}
		}
		if ended != 2 {
			t.Errorf("%d sources have ended", ended)
		}
		time.Sleep(10 * time.Minute)
		b.Down(nil)
		becomes(t, g, "b", 62*time.Second)
		if !g.Usable() {
			t.Error("not usable")
		}
	})
}

// At the start a better pool that is slow is waited for a moment, and one that is known
// to be gone is not.
func TestHeadStart(t *testing.T) {
	for name, tt := range map[string]struct {
		first otherpool.Config
		after time.Duration
	}{
		"says nothing": {otherpool.Config{Stuck: true}, headStart},
		"refuses":      {otherpool.Config{Full: true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *farm) {
				g := f.group(GroupOptions{}, otherpool.New(t, tt.first), otherpool.New(t, otherpool.Config{}))
				if d := becomes(t, g, "b", time.Minute); d != tt.after {
					t.Errorf("work from the second after %v", d)
				}
			})
		})
	}
}

// braiins/farm-proxy#16: two pools that are proxies, with an empty extranonce1 and odd
// sizes; the first is killed, and the second worked for.
func TestOddPoolsInARow(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		odd := func(size int) *otherpool.Pool {
			return otherpool.New(t, otherpool.Config{Extranonce1: func(int) string { return "" }, Extranonce2Len: size})
		}
		a, b := odd(3), odd(5)
		g := f.group(GroupOptions{}, a, b)
		becomes(t, g, "a", time.Second)
		a.Down(errDown)
		becomes(t, g, "b", time.Second)
		u := f.newest()
		for u.Ended || u.From != "b.example.org:1" {
			f.mu.Lock()
			f.updates = f.updates[:len(f.updates)-1]
			f.mu.Unlock()
			u = f.newest()
		}
		f.submit(u, 1, 1e-10, 0)
		synctest.Wait()
		if v := f.verdict(1); v != "accepted" || b.Book()["wallet-b"].Shares != 1 || u.Upstream.Shape != smallShape {
			t.Errorf("%q, %v", v, b.Book())
		}
	})
}

// A miner that was told it may roll versions is placed where it may, though another pool
// is the one that is worked for.
func TestPlacedByMask(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		a, b := otherpool.New(t, otherpool.Config{}), otherpool.New(t, otherpool.Config{VersionMask: 0x1fffe000})
		g := f.group(GroupOptions{}, a, b)
		becomes(t, g, "a", time.Second)
		for mask, want := range map[uint32]string{0: "a", 0x1fffe000: "b", 0x10000000: "b"} {
			if number, ok := g.Place(mask); !ok || g.Of(number).name[:1] != want {
				t.Errorf("mask %08x: placed %v at %v", mask, ok, g.Of(number))
			}
		}
		if _, ok := g.Place(1); ok {
			t.Error("a miner is placed that rolls other bits")
		}
	})
}

// By weights a pool is to get its part while it has work, and what it has accepted counts.
func TestPortions(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		a, b, c := otherpool.New(t, otherpool.Config{Difficulty: 2e-9}), otherpool.New(t, otherpool.Config{}), otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{}, a)
		becomes(t, g, "a", time.Second)
		for range 100 {
			f.submit(f.newest(), 1, 2e-9, 0)
			time.Sleep(time.Second)
		}
		if list, ok := g.Portions(); ok || len(list) != 1 || list[0].Accepted < 190e-9*36 || list[0].Accepted > 210e-9*36 {
			t.Errorf("%+v", list) // 100 s of it, as an hour of it would be
		}
		g.options.Dial = dialler{"b.example.org:1": b, "c.example.org:1": c}.dial
		for name, weight := range map[string]float64{"b": 70, "c": 30} {
			if _, err := g.Add(Config{URL: name + ".example.org:1", User: "u", Weight: weight}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		list, ok := g.Portions()
		if !ok || list[0].Weight != 0 || list[1].Weight+list[2].Weight != 100 || list[1].Accepted != 0 {
			t.Errorf("%+v", list)
		}
		b.Down(errDown)
		c.Down(errDown)
		synctest.Wait()
		if list, ok = g.Portions(); !ok || list[1].Weight != 0 || list[2].Weight != 0 {
			t.Errorf("%+v", list)
		}
	})
}

// A pool beside the list has sources of its own among the others', and is never worked
// for by who does not know it. It tells that its user was refused.
func TestBeside(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		a := otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{}, a)
		becomes(t, g, "a", time.Second)
		first := f.job()
		alice, err := g.Beside(Config{URL: "a.example.org:1", User: "alice"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { alice.Run(ctx) })
		f.works(alice)
		u := f.job()
		if u.Upstream.Source == first.Upstream.Source || !alice.Has(u.Upstream.Source) || g.Of(u.Upstream.Source) != nil || alice.Err() != nil {
			t.Errorf("%+v, %v", u.Upstream, alice.Err())
		}
		f.submit(u, 1, 1e-10, 0)
		synctest.Wait()
		if n := a.Book()["alice"].Shares; n != 1 {
			t.Errorf("%d shares of alice", n)
		}
		a.Configure(func(c *otherpool.Config) { c.NoAuthorize = true })
		a.DropAll()
		time.Sleep(time.Minute)
		var refused *client.RefusedError
		if !errors.As(alice.Err(), &refused) || refused.Method != "mining.authorize" {
			t.Error(alice.Err())
		}
		cancel()
		running.Wait()
		if number, ok := alice.Place(0); ok {
			t.Errorf("a place at %d, of a pool that has ended", number)
		}
	})
}

// Pools are added, disabled, put in another order and removed while all runs.
func TestListChanges(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		a, b, c := otherpool.New(t, otherpool.Config{}), otherpool.New(t, otherpool.Config{}), otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{Hold: -1, First: 7}, a, b, c)
		becomes(t, g, "a", time.Second)
		if u := f.took(); len(u) != 3 || min(u[0].Upstream.Source, u[1].Upstream.Source, u[2].Upstream.Source) != 7 {
			t.Errorf("%+v", u)
		}
		do := func(err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		do(g.Prefer(2, 0))
		becomes(t, g, "c", 0)
		do(g.Enable(2, false))
		becomes(t, g, "a", 0)
		if s := g.Status(); s[0].State != "disabled" || c.Connected() != 0 {
			t.Errorf("%+v, %d connections", s[0], c.Connected())
		}
		do(g.Enable(2, true))
		becomes(t, g, "c", time.Minute)
		do(g.Enable(2, false)) // and at once on again
		do(g.Enable(2, true))
		becomes(t, g, "c", time.Minute)
		do(g.Remove(2))
		becomes(t, g, "a", 0)
		do(g.Remove(0))
		becomes(t, g, "b", 0)
		id, err := g.Add(Config{URL: "a.example.org:1", User: "again"})
		do(err)
		do(g.Prefer(id, -5))
		becomes(t, g, "a", time.Second)
		if n := a.Connected() + b.Connected() + c.Connected(); id != 3 || n != 2 || len(g.Pools()) != 2 {
			t.Errorf("id %d, %d connections to %d pools", id, n, len(g.Pools()))
		}
		for _, err := range []error{g.Remove(0), g.Enable(99, true), g.Prefer(-1, 0)} {
			if !errors.Is(err, ErrUnknownPool) || !strings.HasPrefix(err.Error(), "pool ") {
				t.Error(err)
			}
		}
		if _, err := g.Add(Config{URL: "a.example.org:1"}); err == nil || !strings.Contains(err.Error(), "no user") {
			t.Error(err)
		}
	})
}

// Of the updates that nobody has taken the newest of each source is kept, with what is
// clean about those it replaces.
func TestNewestOfEachSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		u := newUpdates()
		var running sync.WaitGroup
		running.Go(func() { u.run(ctx) })
		defer func() {
			cancel()
			running.Wait()
		}()
		of := func(number uint32, id string) source.Update {
			return source.Update{Upstream: &source.Upstream{Source: number, JobID: id}}
		}
		first := of(1, "a")
		first.NewTip = true
		second := of(1, "b")
		second.Clean = true
		for _, next := range []source.Update{first, of(2, "x"), second, of(1, "c"), of(2, "y"), of(3, "z"), {Ended: true, Upstream: &source.Upstream{Source: 3}}, of(3, "late")} {
			u.put(next)
			synctest.Wait()
		}
		var got []string
		for range 3 {
			next := <-u.out
			got = append(got, fmt.Sprintf("%d %s tip %v clean %v ended %v", next.Upstream.Source, next.Upstream.JobID, next.NewTip, next.Clean, next.Ended))
		}
		want := "[1 c tip true clean true ended false 2 y tip false clean false ended false 3  tip false clean false ended true]"
		if fmt.Sprint(got) != want {
			t.Errorf("%v", got)
		}
		synctest.Wait()
		select {
		case next := <-u.out:
			t.Errorf("%+v", next)
		default:
		}
	})
}

// Whatever is told while updates are taken, each source ends as the last that it told.
func TestUpdatesUnderLoad(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	u := newUpdates()
	var running, tellers sync.WaitGroup
	running.Go(func() { u.run(ctx) })
	const sources, each = 8, 2000
	for s := range uint32(sources) {
		tellers.Go(func() {
			for n := range each {
				u.put(source.Update{Upstream: &source.Upstream{Source: s, JobID: fmt.Sprint(n)}})
			}
		})
	}
	last := map[uint32]string{}
	done := 0
	for done < sources {
		next := <-u.out
		if before, ok := last[next.Upstream.Source]; ok && len(before) == len(next.Upstream.JobID) && before >= next.Upstream.JobID {
			t.Fatalf("source %d: %s after %s", next.Upstream.Source, next.Upstream.JobID, before)
		}
		if last[next.Upstream.Source] = next.Upstream.JobID; next.Upstream.JobID == fmt.Sprint(each-1) {
			done++
		}
	}
	tellers.Wait()
	cancel()
	running.Wait()
}
