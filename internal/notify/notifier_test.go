package notify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
)

// miner is a worker of a fakePool that finds a share every so often.
type miner struct {
	user, name string
	every      time.Duration
	from       time.Time // it is connected, and finds
	until      time.Time // it is switched off; zero: never
	silent     time.Time // it finds nothing from then on, connected as it is; zero: never
	remote     bool      // it is connected to another pool
	moved      time.Time // it is from then on; zero: never
}

// fakePool is what a notifier looks at. Time is the bubble's.
type fakePool struct {
	mu      sync.Mutex
	blocks  []control.Block
	places  []control.Node
	proxy   bool
	usable  bool
	work    time.Time // zero: made just now
	journal control.Journal
	miners  []*miner
	listed  int // at most, the newest; 0: all
	private map[string]bool
	// accounts are how these are kept; nil: there are none
	accounts *Accounts
}

func (p *fakePool) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *fakePool) view() View {
	locked := func() func() {
		p.mu.Lock()
		return p.mu.Unlock
	}
	var accounts func() Accounts
	if p.accounts != nil {
		accounts = func() Accounts {
			defer locked()()
			a := *p.accounts
			a.Payments, a.Rewards = slices.Clone(a.Payments), slices.Clone(a.Rewards)
			return a
		}
	}
	return View{
		Accounts: accounts,
		Blocks:   func() []control.Block { defer locked()(); return slices.Clone(p.blocks) },
		Places:   func() []control.Node { defer locked()(); return slices.Clone(p.places) },
		Proxy:    p.proxy,
		Usable:   func() bool { defer locked()(); return p.usable },
		Work: func() (time.Time, bool) {
			defer locked()()
			if p.work.IsZero() {
				return time.Now(), true
			}
			return p.work, true
		},
		WorkTime:    func() time.Duration { return 2 * time.Minute },
		Journal:     func() control.Journal { defer locked()(); return p.journal },
		JournalSize: func() int64 { return 1000 },
		Elsewhere: func() bool {
			defer locked()()
			return slices.ContainsFunc(p.miners, func(m *miner) bool { return m.remote || !m.moved.IsZero() })
		},
		Workers: func(now time.Time, user string) []control.Worker {
			defer locked()()
			var list []control.Worker
			for _, m := range p.miners {
				if user == "" || m.user == user {
					list = append(list, m.shown(now))
				}
			}
			if p.listed > 0 && len(list) > p.listed {
				list = list[len(list)-p.listed:]
			}
			return list
		},
	}
}

func (m *miner) shown(now time.Time) control.Worker {
	k := control.Worker{User: m.user, Worker: m.name}
	if now.Before(m.from) {
		return k
	}
	end := now
	for _, t := range []time.Time{m.until, m.silent} {
		if !t.IsZero() && t.Before(end) {
			end = t
		}
	}
	k.AcceptedShares = int64(end.Sub(m.from) / m.every)
	if k.AcceptedShares > 0 {
		k.LastShare = control.At(m.from.Add(time.Duration(k.AcceptedShares) * m.every).Truncate(time.Second))
	}
	if !m.remote && (m.until.IsZero() || now.Before(m.until)) && (m.moved.IsZero() || now.Before(m.moved)) {
		k.Started = control.At(m.from)
	}
	return k
}

// fixture is a notifier with targets that are fakes.
type fixture struct {
	t     *testing.T
	dir   string
	pool  *fakePool
	said  *sayings
	fakes map[string]*fake // by name of the target
	n     *Notifier
	stop  context.CancelFunc
	ended chan struct{}
}

func newFixture(t *testing.T) *fixture {
	return &fixture{t: t, dir: filepath.Join(t.TempDir(), "notify"), pool: &fakePool{usable: true, private: map[string]bool{}}, said: &sayings{}, fakes: map[string]*fake{}}
}

// target is one that hears of these events, or else of those of the default.
func target(name, user string, events ...string) config.Target {
	t := config.Target{Key: "notify[0]", Name: name, Service: "webhook", User: user, Events: events, PerHour: 20}
	if events == nil {
		for _, e := range config.NotifyEvents {
			if user != "" && e.OfUser || user == "" && !e.Asked {
				t.Events = append(t.Events, e.Name)
			}
		}
	}
	return t
}

// start runs a notifier, which is another process than the one before.
func (f *fixture) start(targets ...config.Target) {
	f.n = New(targets, Options{
		Dir: f.dir, Pool: func() string { return "pool" }, Private: func(user string) bool { return f.pool.private[user] }, Events: f.said.tell, View: f.pool.view(),
	})
	f.n.services = func(t *config.Target) service {
		if f.fakes[t.Name] == nil {
			f.fakes[t.Name] = newFake()
		}
		return f.fakes[t.Name]
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	f.stop, f.ended = stop, ended
	n := f.n
	go func() {
		defer close(ended)
		n.Run(ctx)
	}()
	synctest.Wait()
}

func (f *fixture) end() {
	f.stop()
	<-f.ended
}

// heard is the titles that a target has got since the last time.
func (f *fixture) heard(name string) (titles []string) {
	for _, n := range f.fakes[name].takeSent() {
		titles = append(titles, n.Title)
	}
	return titles
}

func (f *fixture) want(name string, titles ...string) {
	f.t.Helper()
	if diff := cmp.Diff(titles, f.heard(name)); diff != "" {
		f.t.Errorf("%s, after %v: -want +got:\n%s", name, time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), diff)
	}
}

func block(height int64, state string) control.Block {
	return control.Block{Height: height, Hash: fmt.Sprintf("%064x", height), Worker: "bob.1", State: state, Reward: 312500000, Difficulty: 1e12}
}

// What becomes of blocks is told once, whatever ends in between. What was found before
// there was anybody to tell is not told.
func TestBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		all, bob, alice := target("all", ""), target("bob", "bob"), target("alice", "alice")
		f.pool.blocks = []control.Block{block(1, "confirmed 200"), block(2, "orphaned")}
		f.start(all, bob, alice)
		set := func(list ...control.Block) {
			f.pool.change(func() { f.pool.blocks = append(f.pool.blocks[:2:2], list...) })
			f.n.BlocksChanged()
			time.Sleep(5 * time.Second)
		}
		set(block(3, "pending"))
		f.want("all", "Block 3 found")
		f.want("bob", "Block 3 found")
		set(block(3, "confirmed 1"))
		set(block(3, "confirmed 99"))
		f.want("all")
		f.end()
		// Another process, with what it finds.
		f.pool.blocks = append(f.pool.blocks[:2:2], block(3, "confirmed 100"), block(4, "confirmed 3"), block(5, "rejected: high-hash"))
		f.start(all, bob, alice)
		time.Sleep(10 * time.Second)
		f.want("all", "Block 4 found", "Block 3 is mature", "Block 5 was rejected")
		set(block(3, "confirmed 101"), block(4, "orphaned"), block(5, "rejected: high-hash"))
		f.want("all", "Block 4 was orphaned")
		set(block(3, "confirmed 101"), block(4, "confirmed 1"), block(5, "rejected: high-hash"))
		f.want("all", "Block 4 is in the chain again")
		set(block(3, "confirmed 101"), block(4, "orphaned"), block(5, "rejected: high-hash"))
		f.want("all", "Block 4 was orphaned")
		// A node that has to get the blocks anew, or two blocks that the next one decides between.
		set(block(3, "confirmed 101"), block(4, "pending"), block(5, "rejected: high-hash"))
		f.want("all")
		set(block(3, "confirmed 101"), block(4, "orphaned"), block(5, "rejected: high-hash"))
		f.want("all")
		set(block(3, "confirmed 101"), block(4, "pending"), block(5, "rejected: high-hash"))
		set(block(3, "confirmed 101"), block(4, "confirmed 2"), block(5, "rejected: high-hash"))
		f.want("all", "Block 4 is in the chain again")
		set(block(3, "confirmed 101"), block(4, "orphaned"), block(5, "rejected: high-hash"))
		f.want("all", "Block 4 was orphaned")
		f.end()
		// After a crash a block may come into the table again, without its worker.
		f.pool.blocks = f.pool.blocks[:2]
		f.start(all, bob, alice)
		time.Sleep(time.Minute)
		again := block(3, "confirmed 102")
		again.Worker = ""
		set(again)
		f.want("all")
		f.want("alice")
		f.end()
		if lines := f.said.take(); lines != nil {
			t.Errorf("%q", lines)
		}
	})
}

// Where the process ends between sending and noting that, the message comes again with the
// same id.
func TestKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.start(target("all", ""))
		f.fakes["all"].set(func(*Notice) error { return errors.New("not yet") })
		f.pool.change(func() { f.pool.blocks = []control.Block{block(3, "pending")} })
		f.n.BlocksChanged()
		synctest.Wait()
		f.end()
		waiting := filepath.Join(f.dir, "all")
		kept := map[string][]byte{}
		list, _ := os.ReadDir(waiting)
		for _, file := range list {
			kept[file.Name()], _ = os.ReadFile(filepath.Join(waiting, file.Name()))
		}
		if len(kept) != 1 {
			t.Fatalf("%d files", len(kept))
		}
		f.fakes["all"].set(nil)
		f.start(target("all", ""))
		time.Sleep(10 * time.Second)
		first := f.fakes["all"].takeSent()
		f.end()
		for name, data := range kept { // as it was before the end was noted
			os.WriteFile(filepath.Join(waiting, name), data, 0o600)
		}
		f.start(target("all", ""))
		time.Sleep(10 * time.Second)
		second := f.fakes["all"].takeSent()
		f.end()
		if len(first) != 1 || len(second) != 1 || first[0].ID != second[0].ID {
			t.Errorf("%v and %v", ids(first), ids(second))
		}
	})
}

// In an upgrade the new process waits until the old one has let go: nothing is lost, and
// nothing told twice.
func TestHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.start(target("all", ""))
		f.fakes["all"].took = 3 * time.Second
		old, oldEnded := f.stop, f.ended
		f.start(target("all", "")) // the new one
		f.pool.change(func() { f.pool.blocks = []control.Block{block(3, "pending")} })
		time.Sleep(time.Second)
		f.n.BlocksChanged() // to the new one, which has not the files yet
		time.Sleep(90 * time.Second)
		f.want("all", "Block 3 found") // by the old one
		if lines := f.said.take(); len(lines) != 1 || !strings.HasPrefix(lines[0], "Notifications: another process has ") {
			t.Errorf("%q", lines)
		}
		f.pool.change(func() { f.pool.blocks = append(f.pool.blocks, block(4, "pending")) })
		old()
		<-oldEnded
		time.Sleep(time.Minute)
		f.want("all", "Block 4 found")
		f.end()
	})
}

// A private user is named to nobody but himself.
func TestPrivate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.pool.private["bob"] = true
		begun := time.Now()
		f.pool.miners = []*miner{{user: "bob", name: "bob.1", every: 3 * time.Second, from: begun, until: begun.Add(time.Hour)}, {user: "alice", name: "alice.1", every: 3 * time.Second, from: begun, until: begun.Add(time.Hour)}}
		every := target("all", "", "block_found", "best_share", "worker_down")
		every.Template = "{{.Title}} {{.Text}} {{.User}} {{.Worker}} {{.Workers}}"
		f.start(every, target("bob", "bob"))
		f.n.BestShare("bob", "bob.1", 5000)
		f.pool.change(func() { f.pool.blocks = []control.Block{block(3, "pending")} })
		time.Sleep(2 * time.Hour)
		list := f.fakes["all"].takeSent()
		var titles []string
		for _, n := range list {
			titles = append(titles, n.Title)
			if text := fmt.Sprintf("%+v %+v", *n, n.Block); strings.Contains(text, "bob") || strings.Contains(text, fileOf("bob")) || !n.Private {
				t.Errorf("he is named: %s", text)
			}
		}
		if diff := cmp.Diff([]string{"Block 3 found", "Best share ever of a private user: 5K", "2 workers of 2 users are down"}, titles); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		f.want("bob", "Block 3 found", "Best share ever of bob: 5K", "Worker bob.1 is down")
		f.end()
	})
}

// A dead target keeps nobody from hearing.
func TestDeadTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.fakes["dead"] = newFake()
		f.fakes["dead"].took = time.Hour
		f.start(target("dead", ""), target("all", ""))
		for i := range 3 {
			f.pool.change(func() { f.pool.blocks = append(f.pool.blocks, block(int64(i+3), "pending")) })
			f.n.BlocksChanged()
			time.Sleep(5 * time.Second)
			f.want("all", fmt.Sprintf("Block %d found", i+3))
		}
		begun := time.Now()
		if f.end(); time.Since(begun) > grace {
			t.Errorf("ended after %v", time.Since(begun))
		}
	})
}

// Nodes are down when they have been for a while, and up likewise; that lasts over a
// restart. What is no longer configured is forgotten.
func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		state := func(url, state, reason string) control.Node {
			return control.Node{URL: url, State: state, Reason: reason}
		}
		f.pool.places = []control.Node{state("a:8332", "ok", ""), state("b:8332", "starting", "")}
		f.start(target("all", ""))
		set := func(list ...control.Node) { f.pool.change(func() { f.pool.places = list }) }
		time.Sleep(35 * time.Second)                              // between two looks
		set(state("a:8332", "ok", ""), state("b:8332", "ok", "")) // it was only starting
		time.Sleep(time.Minute)
		f.want("all")
		for range 10 { // it flaps
			set(state("a:8332", "unreachable", "no answer"), state("b:8332", "ok", ""))
			time.Sleep(10 * time.Second)
			set(state("a:8332", "ok", ""), state("b:8332", "ok", ""))
			time.Sleep(10 * time.Second)
		}
		f.want("all")
		set(state("a:8332", "unreachable", "no answer\x1b[2J within 2s"), state("b:8332", "ok", ""))
		time.Sleep(30 * time.Second)
		list := f.fakes["all"].takeSent()
		if len(list) != 1 || list[0].Title != "Node a:8332 is down" || list[0].Text != "It cannot be used: no answer.[2J within 2s." || list[0].Event != "node_down" || list[0].Severity != warning {
			t.Errorf("%+v", list)
		}
		time.Sleep(time.Hour)
		f.end()
		f.start(target("all", ""))
		time.Sleep(time.Hour)
		f.want("all")
		set(state("a:8332", "ok", ""), state("b:8332", "ok", ""))
		time.Sleep(time.Minute)
		list = f.fakes["all"].takeSent()
		if len(list) != 1 || list[0].Title != "Node a:8332 is up" || list[0].Event != "node_up" || !list[0].Resolved {
			t.Errorf("%+v", list)
		}
		set(state("b:8332", "failing", "x"))
		time.Sleep(time.Minute)
		set(state("c:8332", "ok", ""))
		time.Sleep(time.Minute)
		f.want("all", "Node b:8332 is down")
		f.end()
	})
}

// Two places may have one address, such as two accounts at another pool: it is down while one
// of them is.
func TestSameNodes(t *testing.T) {
	for _, first := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			set := func(states ...string) {
				f.pool.change(func() {
					f.pool.places = nil
					for _, state := range states {
						f.pool.places = append(f.pool.places, control.Node{URL: "a:3333", State: state})
					}
				})
				time.Sleep(2 * time.Minute)
			}
			f.pool.places = []control.Node{{URL: "a:3333", State: "ok"}, {URL: "a:3333", State: "ok"}}
			f.start(target("all", ""))
			set("ok", "ok")
			f.want("all")
			if first {
				set("no work", "ok")
			} else {
				set("ok", "no work")
			}
			f.want("all", "Node a:3333 is down")
			set("no work", "no work")
			f.want("all")
			set("ok", "ok")
			f.want("all", "Node a:3333 is up")
			f.end()
		})
	}
}

func TestWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.start(target("all", ""))
		time.Sleep(time.Minute)
		f.pool.change(func() { f.pool.work = time.Now() })
		time.Sleep(2*time.Minute + 45*time.Second)
		list := f.fakes["all"].takeSent()
		if len(list) != 1 || list[0].Title != "Work is stale" || !strings.HasPrefix(list[0].Text, "Miners get no new work: the newest is 2m ") || list[0].Severity != critical {
			t.Errorf("%+v", list)
		}
		f.pool.change(func() { f.pool.work = time.Time{} })
		time.Sleep(time.Minute)
		f.want("all", "There is new work again")
		f.pool.change(func() { f.pool.usable = false })
		time.Sleep(30 * time.Second) // within which it is to be told
		f.want("all", "Work is stale")
		f.end()
	})
}

func TestJournalLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.start(target("all", ""))
		fine := control.Journal{Kept: true, Size: 10, Readers: []control.JournalReader{{Name: "ckdb", Epoch: 1, Number: 5, Behind: 3}}}
		set := func(change func(*control.Journal)) {
			f.pool.change(func() {
				f.pool.journal = fine
				f.pool.journal.Readers = slices.Clone(fine.Readers)
				change(&f.pool.journal)
			})
		}
		text := func() string {
			list := f.fakes["all"].takeSent()
			if len(list) != 1 {
				t.Errorf("%+v", list)
				return ""
			}
			return list[0].Text
		}
		for number := range uint64(30) { // it reads on
			set(func(j *control.Journal) { j.Readers[0].Number = number })
			time.Sleep(time.Minute)
		}
		f.want("all")
		time.Sleep(13 * time.Minute)
		if got := text(); !strings.HasPrefix(got, "Ckdb has not read on for 11m ") || !strings.HasSuffix(got, ", and is 3 records behind.") {
			t.Errorf("%s", got)
		}
		set(func(j *control.Journal) { j.Readers[0].Behind = 0 })
		time.Sleep(2 * time.Minute)
		f.want("all", "The journal is in order again")
		for _, tt := range []struct {
			change func(*control.Journal)
			want   string
		}{
			{func(j *control.Journal) { j.Error = "no space left on device" }, "It cannot be written: no space left on device."},
			{func(j *control.Journal) { j.UnsafeAgeMS, j.UnsafeShares = 20000, 7 }, "7 shares wait for the disk."},
			{func(j *control.Journal) { j.Size = 900 }, "It has 90% of the bytes that it may have, since it is not read."},
			{func(j *control.Journal) { j.LostRecords = 5 }, "Records were lost, since the disk did not take them."},
		} {
			set(func(j *control.Journal) { tt.change(j); j.Readers[0].Behind = 0 })
			time.Sleep(100 * time.Second)
			if !strings.HasPrefix(tt.want, "Records") {
				if got := text(); got != tt.want {
					t.Errorf("%q, want %q", got, tt.want)
				}
				set(func(j *control.Journal) { j.Readers[0].Behind = 0 })
				time.Sleep(2 * time.Minute)
				f.want("all", "The journal is in order again")
				continue
			}
			f.want("all", "The journal lags", "The journal is in order again")
		}
		f.end()
	})
}

// What is worse than what was told of the journal is told too, each once.
func TestJournalGetsWorse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.start(target("all", ""))
		want := func(texts ...string) {
			t.Helper()
			var got []string
			for _, n := range f.fakes["all"].takeSent() {
				got = append(got, n.Text)
			}
			if len(got) != len(texts) {
				t.Errorf("%q, want %q", got, texts)
				return
			}
			for i := range texts {
				if !strings.HasPrefix(got[i], texts[i]) {
					t.Errorf("%q, want %q", got, texts)
				}
			}
		}
		stuck := control.Journal{Kept: true, Size: 10, Readers: []control.JournalReader{{Name: "ckdb", Epoch: 1, Number: 5, Behind: 3}}}
		set := func(change func(*control.Journal)) {
			change(&stuck)
			f.pool.change(func() { f.pool.journal = stuck })
			time.Sleep(3 * time.Minute)
		}
		set(func(*control.Journal) {})
		time.Sleep(10 * time.Minute)
		want("Ckdb has not read on for ")
		set(func(j *control.Journal) { j.Size = 900 })
		want("It has 90% of the bytes")
		set(func(j *control.Journal) { j.Error = "no space left on device" })
		want("It cannot be written: no space left on device.")
		set(func(j *control.Journal) { j.LostRecords = 5 })
		want("Records were lost")
		set(func(j *control.Journal) { j.LostRecords = 9 })
		want("Records were lost")
		set(func(j *control.Journal) { j.Error = "" })
		set(func(j *control.Journal) { j.Size = 10 })
		want()
		set(func(j *control.Journal) { j.Readers = nil })
		want("Shares are safe and read.")
		f.end()
	})
}

// What lasts is told, also where it is more and less bad by turns.
func TestJournalByTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.start(target("all", ""))
		time.Sleep(lookEvery / 2)
		for i := range 15 * 6 { // a change before each look
			j := control.Journal{Kept: true, Readers: []control.JournalReader{{Name: "ckdb", Epoch: 1, Number: 5, Behind: 3}}}
			if i%2 == 0 {
				j.UnsafeShares, j.UnsafeAgeMS = 7, 20000
			}
			f.pool.change(func() { f.pool.journal = j })
			time.Sleep(lookEvery)
		}
		f.want("all", "The journal lags")
		f.end()
	})
}

func TestRoom(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		free, size uint64
		told, full bool
	}{
		{100 * gib, 1000 * gib, false, false}, {11 * gib, 4000 * gib, false, false}, {9 * gib, 4000 * gib, false, true}, {11 * gib, 4000 * gib, true, true}, {13 * gib, 4000 * gib, true, false},
		{2 * gib, 20 * gib, false, false}, {gib - 1, 20 * gib, false, true}, {4 * gib, 100 * gib, false, true}, {6 * gib, 100 * gib, false, false}, {0, 0, false, true},
	} {
		if c := room("/x", tt.free, tt.size, tt.told); (c.level > 0) != tt.full {
			t.Errorf("%+v: %s", tt, c.reason)
		}
	}
	if c := room("/x", 3<<29, 100*gib, false); c.reason != "1.61GB of 107GB are free" {
		t.Error(c.reason)
	}
}

func TestExpiry(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for left, level := range map[time.Duration]int{15 * day: 0, 13 * day: 1, 4 * day: 1, 2 * day: 2, time.Second: 2, 0: 3, -day: 3} {
		if c := expiry(certificateFile{"c.pem", now.Add(left)}, now); c.level != level {
			t.Errorf("%v: %+v", left, c)
		}
	}
}

// A certificate that runs out is told of as it gets worse, and when it is renewed; the
// disk of this test is looked at too.
func TestConditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.start(target("all", ""))
		f.n.judge(time.Now(), nil) // the loop does not run at this moment: time stands still
		level := func(n int) {
			f.n.judge(time.Now(), []condition{{event: "certificate", subject: "c.pem", level: n, severity: warning, reason: "until then"}})
			f.n.save()
			time.Sleep(time.Second)
		}
		for _, tt := range []struct {
			level  int
			titles []string
		}{{0, nil}, {1, []string{"Certificate c.pem expires"}}, {1, nil}, {2, []string{"Certificate c.pem expires"}}, {1, nil}, {3, []string{"Certificate c.pem expires"}}, {0, []string{"Certificate c.pem is renewed"}}} {
			level(tt.level)
			f.want("all", tt.titles...)
		}
		f.end()
	})
}

// Two thousand workers that are lost at once are one message for each user and target, and
// one when they are back.
func TestManyWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		begun := time.Now()
		for i := range 2000 {
			user := fmt.Sprintf("user%d", i%4)
			f.pool.miners = append(f.pool.miners, &miner{user: user, name: fmt.Sprintf("%s.%d", user, i), every: time.Duration(2+i%7) * time.Second, from: begun})
		}
		f.start(target("all", "", "worker_down", "worker_up"), target("one", "user1"), target("two", "user2", "worker_down"), target("three", "user3", "worker_up"))
		time.Sleep(time.Hour)
		f.pool.change(func() {
			for i, m := range f.pool.miners {
				m.until = time.Now().Add(time.Duration(i) * 45 * time.Millisecond) // within three looks
			}
		})
		time.Sleep(30 * time.Minute)
		f.want("all", "2,000 workers of 4 users are down")
		f.want("one", "500 workers of user1 are down")
		f.want("two", "500 workers of user2 are down")
		f.want("three")
		f.pool.change(func() {
			for _, m := range f.pool.miners {
				m.until, m.from = time.Time{}, time.Now()
			}
		})
		time.Sleep(30 * time.Minute)
		f.want("all", "2,000 workers of 4 users are up again")
		f.want("one", "500 workers of user1 are up again")
		f.want("two")
		f.want("three", "500 workers of user3 are up again")
		f.end()
	})
}

// When a worker is down depends on how often a share was expected of it.
func TestSilence(t *testing.T) {
	for _, tt := range []struct {
		name             string
		every            time.Duration // below 0: of one at another pool
		off, silent      time.Duration // after the start; 0 never
		notBefore, until time.Duration // when it is told; 0 never
	}{
		{"fast one is silent", 3 * time.Second, 0, time.Hour, time.Hour + 10*time.Minute, time.Hour + 13*time.Minute},
		{"fast one is switched off", 3 * time.Second, time.Hour, 0, time.Hour + 5*time.Minute, time.Hour + 8*time.Minute},
		{"slow one mines", 40 * time.Minute, 0, 0, 0, 0},
		{"slow one is silent", 10 * time.Minute, 0, 10 * time.Hour, 13*time.Hour + 11*time.Minute, 13*time.Hour + 20*time.Minute},
		{"slow one is switched off", 40 * time.Minute, 10 * time.Hour, 0, 10*time.Hour + 5*time.Minute, 10*time.Hour + 8*time.Minute},
		{"one that never had a share", 100 * time.Hour, 0, 0, 0, 0},
		{"slow one elsewhere mines", -40 * time.Minute, 0, 0, 0, 0},
		{"fast one elsewhere is switched off", -3 * time.Second, time.Hour, 0, time.Hour + 10*time.Minute, time.Hour + 13*time.Minute},
		{"within the first minutes", 3 * time.Second, 2 * time.Minute, 0, 15 * time.Minute, 18 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				begun := time.Now()
				m := &miner{user: "bob", name: "bob.1", every: max(tt.every, -tt.every), from: begun, remote: tt.every < 0}
				if tt.off > 0 {
					m.until = begun.Add(tt.off)
				}
				if tt.silent > 0 {
					m.silent = begun.Add(tt.silent)
				}
				f.pool.miners = []*miner{m}
				f.start(target("bob", "bob"))
				if tt.until == 0 {
					time.Sleep(20 * time.Hour)
					f.want("bob")
					f.end()
					return
				}
				time.Sleep(tt.notBefore - time.Second)
				f.want("bob")
				time.Sleep(tt.until - tt.notBefore + time.Second)
				f.want("bob", "Worker bob.1 is down")
				f.end()
			})
		})
	}
}

// Shares come at random, at times that are distributed exponentially, from the first one on:
// of a million about one pause in three million is taken for the end of a worker.
func TestSilenceAtRandom(t *testing.T) {
	const starts, shares = 10_000, 100
	random := rand.New(rand.NewPCG(1, 2))
	n := New(nil, Options{})
	n.state = &state{}
	at, told := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 0
	for range starts {
		clear(n.workers)
		k := control.Worker{User: "bob", Worker: "bob.1", Started: control.At(at), LastShare: control.At(at)}
		n.watch(at, &k)
		for range shares {
			at = at.Add(time.Duration(random.ExpFloat64() * float64(100*time.Hour)))
			w := n.workers["bob.1"]
			if w.connected = at; w.silent(at, time.Time{}, false) {
				told++
			}
			k.AcceptedShares++
			k.LastShare = control.At(at)
			n.watch(at, &k)
		}
	}
	if told > 5 { // 0.3 are expected, and more than 5 once in a million times
		t.Errorf("%d times of %d it was told to be down, and mined", told, starts*shares)
	}
}

// A worker that goes over to another pool whose shares count here mines on.
func TestMovedWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		m := &miner{user: "bob", name: "bob.1", every: 10 * time.Minute, from: time.Now()}
		f.pool.miners = []*miner{m}
		f.start(target("bob", "bob"))
		time.Sleep(10*time.Hour + time.Minute)
		f.pool.change(func() { m.moved = time.Now() })
		time.Sleep(10 * time.Hour)
		f.want("bob")
		f.pool.change(func() { m.until = time.Now() })
		time.Sleep(4 * time.Hour)
		f.want("bob", "Worker bob.1 is down")
		f.end()
	})
}

// After a restart, where the machine stood still, and while there is no work or another
// pool is mined for than before, silence means nothing. Who was down stays so, and who does
// not come back is missed.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		begun := time.Now()
		fast := func(name string) *miner { return &miner{user: "bob", name: name, every: 3 * time.Second, from: begun} }
		one, two, three := fast("bob.1"), fast("bob.2"), fast("bob.3")
		f.pool.miners, f.pool.proxy = []*miner{one, two, three}, true
		f.pool.places = []control.Node{{URL: "a:1", State: "ok", Current: true}, {URL: "b:1", State: "ok"}}
		bob := target("bob", "bob")
		f.start(bob)
		time.Sleep(time.Hour)
		f.pool.change(func() { one.until = time.Now() })
		time.Sleep(10 * time.Minute)
		f.want("bob", "Worker bob.1 is down")

		// All are silent while work lacks, and for a while after it.
		f.pool.change(func() {
			f.pool.usable = false
			two.silent, three.silent = time.Now(), time.Now()
		})
		time.Sleep(2 * time.Hour)
		f.pool.change(func() { f.pool.usable = true })
		time.Sleep(9 * time.Minute)
		f.pool.change(func() {
			for _, m := range []*miner{two, three} {
				m.from, m.silent = time.Now(), time.Time{}
			}
		})
		time.Sleep(time.Hour)
		f.want("bob")

		// Another pool above.
		f.pool.change(func() {
			f.pool.places[0].Current, f.pool.places[1].Current = false, true
			two.until, three.until = time.Now(), time.Now()
		})
		time.Sleep(9 * time.Minute)
		f.pool.change(func() {
			for _, m := range []*miner{two, three} {
				m.from, m.until = time.Now(), time.Time{}
			}
		})
		time.Sleep(time.Hour)
		f.want("bob")

		// A restart, after which one does not come back, and another one does.
		f.pool.change(func() { two.until, three.until = time.Now(), time.Now() })
		f.end()
		time.Sleep(time.Minute)
		f.start(bob)
		f.pool.change(func() { three.from, three.until = time.Now(), time.Time{} })
		time.Sleep(14 * time.Minute)
		f.want("bob")
		time.Sleep(4 * time.Minute)
		f.want("bob", "Worker bob.2 is down")
		f.pool.change(func() {
			one.from, one.until = time.Now(), time.Time{}
			two.from, two.until = time.Now(), time.Time{}
		})
		time.Sleep(5 * time.Minute)
		f.want("bob", "2 workers of bob are up again")
		f.end()
	})
}

// A list has the newest workers alone where there are too many: of those that it leaves out
// nobody knows whether they are down.
func TestTooManyWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		fast := func(name string) *miner {
			return &miner{user: "bob", name: name, every: 3 * time.Second, from: time.Now()}
		}
		one, two := fast("bob.1"), fast("bob.2")
		f.pool.miners, f.pool.listed = []*miner{one, two}, 3
		f.start(target("all", "", "worker_down", "worker_up"))
		time.Sleep(time.Hour)
		f.pool.change(func() { one.until = time.Now() })
		time.Sleep(20 * time.Minute)
		f.want("all", "Worker bob.1 is down")
		f.pool.change(func() { f.pool.miners = append(f.pool.miners, fast("eve.1"), fast("eve.2"), fast("eve.3")) })
		time.Sleep(3 * time.Hour)
		f.want("all")
		f.pool.change(func() { // those that are too many are gone again
			f.pool.miners = f.pool.miners[:2]
			one.from, one.until = time.Now(), time.Time{}
		})
		time.Sleep(20 * time.Minute)
		f.want("all", "Worker bob.1 is up again")
		f.pool.change(func() { two.silent = time.Now() })
		time.Sleep(20 * time.Minute)
		f.want("all", "Worker bob.2 is down")
		f.end()
	})
}

// Who was switched off long before anybody wanted to hear is not missed.
func TestLongGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		begun := time.Now()
		f.pool.miners = []*miner{{user: "bob", name: "bob.1", every: 3 * time.Second, from: begun, until: begun.Add(time.Hour)}}
		time.Sleep(3 * time.Hour)
		f.start(target("bob", "bob"))
		time.Sleep(3 * time.Hour)
		f.want("bob")
		f.end()
	})
}

// Of best shares a user hears once in an hour, over restarts too.
func TestBestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		bob := target("bob", "bob")
		f.start(bob, target("all", ""))
		for i := range 1000 {
			f.n.BestShare("bob", "bob.1", float64(i))
			f.n.BestShare("alice", "alice.1", float64(i)) // whom nobody asks for
		}
		time.Sleep(90 * time.Second)
		f.want("bob", "Best share ever of bob: 999")
		f.n.BestShare("bob", "bob.1", 998) // of another loop, late
		f.n.BestShare("bob", "bob.1", 2000)
		time.Sleep(time.Second)
		f.n.BestShare("bob", "bob.2", 3000)
		f.end()
		f.start(bob, target("all", ""))
		time.Sleep(50 * time.Minute)
		f.want("bob")
		time.Sleep(20 * time.Minute)
		f.want("bob", "Best share ever of bob: 3K")
		time.Sleep(3 * time.Hour)
		f.want("bob")
		f.want("all")
		f.end()
	})
}

// Whoever finds shares can make as many users as he likes. Of their best shares it is told
// little by little, and who has a target hears as before.
func TestManyBestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		all := target("all", "", "best_share")
		all.PerHour = 0
		f.start(all, target("bob", "bob"))
		const others = 2*bestAtOnce + 50
		for i := range others {
			f.n.BestShare(fmt.Sprintf("eve%d", i), fmt.Sprintf("eve%d.1", i), 5)
		}
		f.n.BestShare("bob", "bob.1", 7)
		told := func(want int) {
			t.Helper()
			n := 0
			for _, k := range f.fakes["all"].takeSent() {
				n += max(k.Count, 1)
			}
			if n != want {
				t.Errorf("of %d best shares was told, want %d", n, want)
			}
		}
		time.Sleep(workersEvery + workersEvery/2)
		f.want("bob", "Best share ever of bob: 7")
		told(bestAtOnce + 1)
		time.Sleep(workersEvery)
		told(bestAtOnce)
		time.Sleep(workersEvery)
		told(others - 2*bestAtOnce)
		time.Sleep(workersEvery)
		told(0)
		f.end()
	})
}

// A reload changes the targets: those that stay go on, what waits for one that is gone is
// dropped.
func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.start()
		if _, err := os.Stat(f.dir); err == nil {
			t.Error("without a target there is a directory")
		}
		found := int64(2)
		find := func() {
			found++
			f.pool.change(func() { f.pool.blocks = append(f.pool.blocks, block(found, "pending")) })
			f.n.BlocksChanged()
			time.Sleep(3 * time.Second)
		}
		find()
		f.n.Set([]config.Target{target("a", ""), target("b", "")})
		synctest.Wait()
		f.fakes["b"].set(func(*Notice) error { return errors.New("down") })
		find()
		f.want("a", "Block 4 found")
		moved := target("a", "")
		moved.Key = "notify[1]"
		before := f.n.senders[0]
		f.n.Set([]config.Target{target("c", ""), moved})
		synctest.Wait()
		if f.n.senders[0] != before {
			t.Error("a target that only moved in the file has begun anew")
		}
		find()
		f.want("a", "Block 5 found")
		f.want("c", "Block 5 found")
		f.want("b")
		if _, err := os.Stat(filepath.Join(f.dir, "b")); err == nil {
			t.Error("what is left of b is still there")
		}
		if lines := f.said.take(); !slices.Contains(lines, "1 notification dropped: the target b is no longer in the configuration") {
			t.Errorf("%q", lines)
		}
		f.end()
	})
}

// What waits for a target is not for another that has its name from then on: one with a user
// hears of no other, and that of a private user's is nobody else's.
func TestTargetOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		down := func(*Notice) error { return errors.New("down") }
		find := func(b control.Block) {
			f.fakes["x"].set(down)
			f.pool.change(func() { f.pool.blocks = append(f.pool.blocks, b) })
			f.n.BlocksChanged()
			time.Sleep(3 * time.Second)
			f.fakes["x"].set(nil)
		}
		wantDropped := func() {
			t.Helper()
			if lines := f.said.take(); !slices.Contains(lines, "1 notification dropped: the target x was not of the same user") {
				t.Errorf("%q", lines)
			}
		}
		f.start(target("x", ""))
		find(block(3, "pending"))
		f.n.Set([]config.Target{target("x", "alice")})
		time.Sleep(time.Minute)
		f.want("x")
		wantDropped()
		b := block(4, "pending")
		b.Worker = "alice.1"
		f.pool.private["alice"] = true
		find(b)
		f.end()
		f.start(target("x", ""))
		time.Sleep(time.Minute)
		f.want("x")
		wantDropped()
		find(block(5, "pending"))
		f.end()
		f.start(target("x", ""))
		time.Sleep(time.Minute)
		f.want("x", "Block 5 found")
		f.end()
	})
}

// What was told is in a file; one that is damaged is put aside, and nothing old is told.
func TestDamagedState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.pool.blocks = []control.Block{block(3, "pending")}
		os.MkdirAll(f.dir, 0o700)
		for _, text := range []string{"{", `{"blocks":{"x":null},"best":{"y":null},"down":null}`} {
			os.WriteFile(filepath.Join(f.dir, "told.json"), []byte(text), 0o600)
			f.start(target("all", ""))
			time.Sleep(time.Minute)
			f.heard("all")
			f.end()
		}
		if lines := f.said.take(); len(lines) != 1 || !strings.HasPrefix(lines[0], "What was told is not known: ") {
			t.Errorf("%q", lines)
		}
	})
}

// Kinds are those that the configuration knows.
func TestEvents(t *testing.T) {
	for _, e := range config.NotifyEvents {
		n := Notice{Event: e.Name, Block: &Block{}, Payment: &Payment{}, Workers: []string{"x"}, Count: 1}
		if n.compose(); n.Title == e.Name || n.Title == "" {
			t.Errorf("%s has no words", e.Name)
		}
	}
}

// What loops do costs nothing.
func TestBestShareAllocates(t *testing.T) {
	n := New([]config.Target{target("all", "")}, Options{})
	if allocs := testing.AllocsPerRun(1000, func() {
		n.BestShare("bob", "bob.1", 1)
		n.BlocksChanged()
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
