package users

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/session"
)

var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}

// In solo mode an address is free as a user, the text behind it is not: not on
// a connection, not from an address.
func TestSoloWorkerNamesAreLimited(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Solo = true })
	const full, tooMany = "Too many new names on this connection", "Too many new names from your address, retry in 3600 s"
	try := func(name, from string, newNames int, further bool) (made bool, text string) {
		l := login(name)
		l.Remote, l.NewNames, l.Further = netip.MustParseAddrPort(from), newNames, further
		g, r := h.Authorize(l)
		if r != nil {
			return false, r.Text
		}
		return g.NewName, ""
	}
	if made, text := try(soloAddress(t, 1)+".rig", "198.51.100.7:1", 99, true); !made || text != "" {
		t.Errorf("worker 100 of a connection: %v %q", made, text)
	}
	if _, text := try(soloAddress(t, 1)+".rig2", "198.51.100.7:1", 100, true); text != full {
		t.Errorf("worker 101 of a connection: %q", text)
	}
	for i := range 9_999 {
		if _, text := try(fmt.Sprint(mainAddress, ".", i), "198.51.100.7:1", 0, false); text != "" {
			t.Fatalf("worker %d of an address: %q", i+2, text)
		}
	}
	if _, text := try(mainAddress+".more", "198.51.100.7:1", 0, false); text != tooMany {
		t.Errorf("worker 10,001 of an address: %q", text)
	}
	if made, text := try(soloAddress(t, 2), "198.51.100.7:1", 0, false); made || text != "" {
		t.Errorf("a miner's own address: counted %v, %q", made, text)
	}
	if _, text := try(mainAddress+".5", "198.51.100.7:1", 100, true); text != "" {
		t.Errorf("a known worker: %q", text)
	}
	if _, text := try(mainAddress+".more", "198.51.100.8:1", 0, false); text != "" {
		t.Errorf("from another address: %q", text)
	}
}

// What never had an accepted share is forgotten when its last connection has
// left, what had one is kept; memory, ids and files do not grow.
func TestUnusedNamesAreForgotten(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Solo, c.NameExempt = true, everywhere })
	client := uint64(0)
	connect := func(name string) (session.WorkerID, uint64) {
		client++
		g := grant(t, h.Users, name)
		h.Attach(g.Worker, client, "x", start)
		return g.Worker, client
	}
	id, a := connect(mainAddress + ".rig")
	again, b := connect(mainAddress + ".rig")
	if again != id {
		t.Fatal("one name, two workers")
	}
	h.Detach(id, a, "x")
	if h.directory.worker(mainAddress+".rig") == nil {
		t.Fatal("forgotten while a miner is connected")
	}
	h.Detach(id, b, "x")
	if h.directory.worker(mainAddress+".rig") != nil || h.directory.user(mainAddress) != nil || h.directory.table.get(id) != nil {
		t.Error("not forgotten when the last connection had left")
	}

	good, c := connect(mainAddress + ".good")
	if good == id {
		t.Error("an id names another worker later")
	}
	h.Share(accepted(good, start.Add(time.Second), 42, 50))
	h.Detach(good, c, "x")
	if w := h.directory.table.get(good); w == nil || w.shares != 42 || h.directory.worker(mainAddress+".good") != w {
		t.Error("a worker with a share was forgotten")
	}

	before := heap()
	for i := range 50_000 {
		id, c := connect(fmt.Sprint(soloAddress(t, i%100), ".", i))
		h.Detach(id, c, "x")
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("50,000 names that are gone cost %d bytes", grown)
	}
	runtime.KeepAlive(h.Users)
	if users, workers := h.directory.users.Load(), h.directory.table.count(); users != 1 || workers != 1 || h.directory.table.places > 2 {
		t.Errorf("%d users, %d workers in %d places", users, workers, h.directory.table.places)
	}

	// A grant that comes to nothing is given back as well.
	lost := grant(t, h.Users, mainAddress+".lost")
	h.Detach(lost.Worker, 99, "")
	if h.directory.worker(mainAddress+".lost") != nil {
		t.Error("a name stays although nobody was connected")
	}
}

// What an earlier run or another process left without a share is forgotten by
// the next pass, unless somebody is connected.
func TestUnusedNamesOfBeforeAreForgotten(t *testing.T) {
	h := newHarness(t, nil)
	h.directory.makeWorker("bob.gone", 0)
	g := h.Users.ResumeWorker("eve.here")
	h.Attach(g.Worker, 1, "x", start)
	if err := h.Save(start.Add(time.Second), Sessions{}); err != nil {
		t.Fatal(err)
	}
	if h.directory.user("bob") != nil || h.directory.worker("bob.gone") != nil {
		t.Error("bob is still there")
	}
	if w := h.directory.worker("eve.here"); w == nil || w.id != g.Worker {
		t.Error("eve was forgotten while connected")
	}
}

// Workers whose names come and go on several loops are never lost to those who
// hold them.
func TestForgettingConcurrently(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.NameExempt = everywhere })
	var loops sync.WaitGroup
	for loop := range 4 {
		loops.Go(func() {
			for i := range 20_000 {
				g, r := h.Authorize(login(fmt.Sprintf("user.%d", i%7)))
				if r != nil {
					t.Error(r)
					return
				}
				client := uint64(loop*20_000 + i + 1)
				h.Attach(g.Worker, client, "x", start)
				if w := h.directory.table.get(g.Worker); w == nil || h.directory.worker(g.Name) != w {
					t.Errorf("%s is not to be found while it is held", g.Name)
					return
				}
				h.Detach(g.Worker, client, "x")
			}
		})
	}
	loops.Wait()
	if users, workers := h.directory.users.Load(), h.directory.table.count(); users != 0 || workers != 0 || h.workers.Load() != 0 {
		t.Errorf("%d users, %d workers, %d connections left", users, workers, h.workers.Load())
	}
}

// However many names somebody finds shares for, the user's file stays bounded:
// the workers with the newest shares are kept, and all who are connected.
func TestWorkersOfAUserAreBounded(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.NameExempt = everywhere })
	const connected, gone = 100, keptWorkers + 500
	for i := range connected + gone {
		g, r := h.Authorize(&session.Login{Time: start, Worker: fmt.Sprint("bob.", i), Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 1)})
		if r != nil {
			t.Fatal(r)
		}
		h.Share(accepted(g.Worker, start.Add(time.Duration(i)*time.Millisecond), 1, 2))
		if i >= connected {
			h.Detach(g.Worker, uint64(i), "")
		}
	}
	count := func(want int) {
		t.Helper()
		if n := len(h.directory.user("bob").listWorkers()); n != want {
			t.Errorf("%d workers, want %d", n, want)
		}
	}
	save := func(at time.Duration) {
		t.Helper()
		if err := h.Save(start.Add(at), Sessions{}); err != nil {
			t.Fatal(err)
		}
	}
	save(time.Minute)
	count(connected + gone) // they may still come back after a start
	save(11 * time.Minute)
	count(connected + keptWorkers)
	for _, i := range []int{0, connected - 1, connected + 500, connected + gone - 1} {
		if h.directory.worker(fmt.Sprint("bob.", i)) == nil {
			t.Errorf("bob.%d was forgotten", i)
		}
	}
	if h.directory.worker(fmt.Sprint("bob.", connected)) != nil {
		t.Error("the worker whose share is the longest ago was kept")
	}
	if u := h.directory.user("bob"); u.shares != connected+gone {
		t.Errorf("the user has %v shares", u.shares)
	}
	info, err := os.Stat(filepath.Join(h.dir, "users", "bob"))
	if err != nil || info.Size() > 1000*(connected+keptWorkers) {
		t.Errorf("the file has %d bytes, %v", info.Size(), err)
	}
	again := h.open(t, start.Add(12*time.Minute), nil)
	if n := len(again.directory.user("bob").listWorkers()); n != connected+keptWorkers {
		t.Errorf("%d workers after a restart", n)
	}
}

// Whoever spreads his workers over many users, some of whom stay connected, makes no more
// of them in all; a user with few keeps his.
func TestWorkersInAllAreBounded(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.NameExempt = everywhere })
	const farms, each = 30, keptInAll/30 + 1000
	if each > keptWorkers {
		t.Fatal("each of them is bounded by himself")
	}
	mine := func(name string, connected bool) {
		l := login(name)
		l.Time = start.Add(time.Second)
		g, r := h.Authorize(l)
		if r != nil {
			t.Fatal(r)
		}
		h.Attach(g.Worker, 1, "x", l.Time)
		h.Share(accepted(g.Worker, l.Time, 1, 1))
		if !connected {
			h.Detach(g.Worker, 1, "x")
		}
	}
	for farm := range farms {
		mine(fmt.Sprint("farm", farm, ".here"), true)
		for i := range each {
			mine(fmt.Sprint("farm", farm, ".", i), false)
		}
	}
	mine("home.bitaxe", false)
	mine("home.nerdaxe", false)
	now := h.stamp(start.Add(11 * time.Minute))
	h.directory.excess(now)
	for u := range h.directory.each() {
		h.directory.sweep(u, now)
	}
	if n := h.directory.table.count(); n > keptInAll+farms || n < keptInAll*9/10 {
		t.Errorf("%d workers are left, of whom %d are connected", n, farms)
	}
	if n := len(h.directory.user("home").listWorkers()); n != 2 {
		t.Errorf("who has few has %d of 2", n)
	}
	h.directory.excess(now)
	if n := h.directory.perUser.Load(); n != keptWorkers {
		t.Errorf("when there are no more than that each keeps %d", n)
	}
}

// However many users somebody finds shares for, those who did the most work are kept, and
// all who are connected or were a moment ago. The others leave neither memory nor files.
func TestUsersAreBounded(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.NameExempt = everywhere })
	const few = 500 // have done less than the others
	share := func(name string, at time.Duration, credit float64) session.WorkerID {
		l := login(name)
		l.Time = start.Add(at)
		g, r := h.Authorize(l)
		if r != nil {
			t.Fatal(r)
		}
		h.Attach(g.Worker, 1, "x", l.Time)
		h.Share(accepted(g.Worker, l.Time, credit, credit))
		return g.Worker
	}
	for i := range few + keptUsers {
		credit := 3.0
		if i%200 == 0 && i/200 < few {
			credit = 2
		}
		h.Detach(share(fmt.Sprint("user", i), time.Second, credit), 1, "x")
	}
	here := share("here.rig", time.Second, 1)
	h.Detach(share("here.gone", time.Second, 1), 1, "x")
	h.Detach(share("justleft", 5*time.Minute, 1), 1, "x")
	files := filepath.Join(h.dir, "users")
	for _, name := range []string{"user0", "user1", "here"} {
		if err := os.WriteFile(filepath.Join(files, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if users := h.directory.excess(h.stamp(start.Add(9 * time.Minute))); users != nil {
		t.Errorf("%d would be forgotten before all could come back after a start", len(users))
	}
	if err := h.Tick(start.Add(11*time.Minute), Sessions{}); err != nil {
		t.Fatal(err)
	}
	if users, workers := h.directory.users.Load(), h.directory.table.count(); users != keptUsers+2 || workers != keptUsers+3 {
		t.Errorf("%d users and %d workers are left, want %d and %d", users, workers, keptUsers+2, keptUsers+3)
	}
	for _, i := range []int{0, 200, 200 * (few - 1)} {
		if name := fmt.Sprint("user", i); h.directory.user(name) != nil || h.directory.worker(name) != nil {
			t.Errorf("%s did less than the others and was kept", name)
		}
	}
	for _, name := range []string{"user1", "user199", "here", "justleft"} {
		if h.directory.user(name) == nil {
			t.Errorf("%s was forgotten", name)
		}
	}
	if h.directory.table.get(here) == nil {
		t.Error("a worker was forgotten while connected")
	}
	if _, err := os.Stat(filepath.Join(files, "user0")); !os.IsNotExist(err) {
		t.Errorf("the file of a user who was forgotten: %v", err)
	}
	for _, name := range []string{"user1", "here"} {
		if _, err := os.Stat(filepath.Join(files, name)); err != nil {
			t.Error(err)
		}
	}

	// He is a new user when he comes again, and his file is written again.
	share("user0.rig", 11*time.Minute, 1)
	if u := h.directory.user("user0"); u == nil || u.shares != 1 {
		t.Errorf("a user who comes again: %+v", u)
	}
}

// xmrig/xmrig-proxy#316, #427: a million names over a day, 2,000 at a time: half of one
// account, with a share each, and half of as many accounts that never find one. Memory is
// level after the first of them.
func TestMillionNames(t *testing.T) {
	if testing.Short() {
		t.Skip("a million names take seconds")
	}
	h := newHarness(t, func(c *Config) { c.NameExempt = everywhere })
	const atOnce, times = 1_000, 500 // of each kind
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var level uint64
	ids := make([]session.WorkerID, 2*atOnce)
	for round := range times {
		now := start.Add(time.Duration(round) * 3 * time.Minute)
		for i := range atOnce {
			for k, name := range []string{"farm.", "visitor"} {
				l := login(fmt.Sprint(name, round*atOnce+i))
				l.Time = now
				g, r := h.Authorize(l)
				if r != nil {
					t.Fatal(r)
				}
				id := 2*i + k
				ids[id] = g.Worker
				h.Attach(g.Worker, uint64(id+1), "x", now)
				if k == 0 {
					h.Share(accepted(g.Worker, now, 1, 2))
				}
			}
		}
		for i, id := range ids {
			h.Detach(id, uint64(i+1), "x")
		}
		if round%5 == 4 {
			h.directory.sweep(h.directory.user("farm"), h.stamp(now))
		}
		if round == 54 {
			level = heap()
		}
	}
	if users, workers := h.directory.users.Load(), h.directory.table.count(); users != 1 || workers != keptWorkers {
		t.Errorf("%d users and %d workers are left, want 1 and %d", users, workers, keptWorkers)
	}
	if end := heap(); end > level+level/4+1<<20 {
		t.Errorf("%d KB of memory after %d names, %d KB after %d", end>>10, 2*atOnce*times, level>>10, 2*atOnce*55)
	} else {
		t.Logf("%d KB after %d names, %d KB at the end", level>>10, 2*atOnce*55, end>>10)
	}
	if u := h.directory.user("farm"); u.shares != atOnce*times {
		t.Errorf("the account has %v shares", u.shares)
	}
}
