package operation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/journal"
)

// linkOutage is what happens to a link or its ends.
type linkOutage struct {
	what   string
	long   bool // takes a minute; in the dialect of C only the kernel would notice it, and not over a relay
	smooth bool // no miner notices anything
	do     func(k *linked)
}

func pause(d time.Duration) { <-time.After(d) }

var linkOutages = []linkOutage{
	{what: "link cut", do: func(k *linked) { k.way.close(false) }},
	{what: "link cut for 5 s", do: func(k *linked) {
		k.way.close(true)
		pause(5 * time.Second)
		k.way.close(false)
	}},
	{what: "link silent for 3 s", smooth: true, do: func(k *linked) {
		k.way.silent(true)
		pause(3 * time.Second)
		k.way.silent(false)
	}},
	{what: "link silent for ever", long: true, do: func(k *linked) { k.way.forgets() }},
	{what: "pool killed", do: func(k *linked) {
		kill9(k.t, k.main)
		k.main = k.pool.start()
	}},
	{what: "pool restarted", do: func(k *linked) {
		k.end(k.main)
		k.main = k.pool.start()
	}},
	{what: "edge killed", do: func(k *linked) {
		kill9(k.t, k.far)
		k.far = k.edge.start()
	}},
	{what: "edge upgraded", smooth: true, do: func(k *linked) {
		next := k.edge.upgrade()
		_ = k.far.Wait()
		k.far = next
	}},
	{what: "pool upgraded", smooth: true, do: func(k *linked) {
		next := k.pool.upgrade()
		_ = k.main.Wait()
		k.main = next
	}},
}

func kill9(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
}

// linked are a pool and an instance whose miners are its own, by a link.
type linked struct {
	t          *testing.T
	dialect    int
	remote     bool
	pool, edge *killed
	main, far  *exec.Cmd // their processes
	way        *crossing
	rigs       *rigs
	silenced   int // times that the link was, for ever
}

// end ends a process in order.
func (k *linked) end(c *exec.Cmd) {
	k.t.Helper()
	if err := errors.Join(c.Process.Signal(syscall.SIGTERM), c.Wait()); err != nil {
		k.t.Error(err)
	}
}

// link makes both, and starts them.
func link(t *testing.T, mode string, dialect int) *linked {
	t.Helper()
	free := func() string {
		p, err := port.Free()
		if err != nil {
			t.Fatal(err)
		}
		return "127.0.0.1:" + p
	}
	node := func() string {
		n, err := fakenode.Start(fakenode.Config{Chain: "main", Bits: 0x1d00ffff, Transactions: 20, User: "user", Password: "pass"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.Close)
		return fmt.Sprintf(`"btcd": [{"url": %q, "auth": "user", "pass": "pass"}]`, n.Addr())
	}
	make := func(format string, args ...any) *killed {
		k := &killed{t: t, dir: t.TempDir(), addr: free(), shares: map[string]float64{}}
		config := fmt.Appendf(nil, `{"serverurl": %q, %s}`, k.addr, fmt.Sprintf(format, args...))
		if err := errors.Join(os.WriteFile(filepath.Join(k.dir, "ckpool.conf"), config, 0o600), os.Mkdir(filepath.Join(k.dir, "s"), 0o750)); err != nil {
			t.Fatal(err)
		}
		return k
	}
	const pays = `"btcaddress": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "mindiff": 1e-10, "startdiff": 1e-10, "maxdiff": 1e-10`
	links := free()
	k := &linked{t: t, dialect: dialect, remote: mode == "-t", way: startCrossing(t, links, dialect == 0)}
	listener := map[string]string{"-P": "passthroughserver", "-N": "nodeserver", "-t": "trusted"}[mode]
	k.pool = make(`%s, %s, "journal": "journal", %q: %q`, node(), pays, listener, links)
	switch mode {
	case "-P":
		k.edge = make(`"proxy": [{"url": %q}]`, k.way.addr)
	case "-N":
		k.edge = make(`"proxy": [{"url": %q}], %s`, k.way.addr, node())
	case "-t":
		k.edge = make(`"upstream": %q, %s, %s`, k.way.addr, node(), pays)
	}
	k.edge.args = []string{mode, "-n", "ckpool"}
	k.main, k.far = k.pool.start(), k.edge.start()
	if want := "gives a link, with " + map[int]string{0: "lines of ckpool in C", 1: "short lines"}[dialect]; !k.remote && !strings.Contains(k.log(k.edge), want) {
		t.Errorf("no link %s", want)
	}
	k.rigs = &rigs{addr: k.edge.addr, accepted: map[[32]byte]bool{}, refusals: map[[32]byte]bool{}, unknown: map[[32]byte]bool{}, reasons: map[string]int{}}
	return k
}

func (k *linked) log(of *killed) string {
	text, _ := os.ReadFile(filepath.Join(of.dir, "logs", "ckpool.log"))
	return string(text)
}

// outageTimes is what an outage has come to for the miners.
type outageTimes struct {
	gaps                 []time.Duration // of each miner and outage: the longest without an accepted share
	drops, lost, refused int             // connections lost; shares without an answer; refused ones
	times                int
}

// suffer lets one thing happen, and waits until all miners mine again.
func (k *linked) suffer(o *linkOutage, sum *outageTimes) {
	k.t.Helper()
	began := time.Now()
	drops := 0
	for _, g := range k.rigs.list {
		g.mu.Lock()
		drops -= g.drops
		g.mu.Unlock()
	}
	k.rigs.mu.Lock()
	lost, refused := -len(k.rigs.unknown), -len(k.rigs.refusals)
	k.rigs.mu.Unlock()
	if o.long {
		k.silenced++
	}
	o.do(k)
	if o.long {
		k.await(2*time.Minute, func() error {
			log := k.log(k.edge)
			if n := strings.Count(log, "it has said nothing for") + strings.Count(log, "nothing came for"); n < k.silenced {
				return fmt.Errorf("%d silences are noticed", n)
			}
			return nil
		})
	} else if k.remote && k.silenced == 0 && strings.Contains(k.log(k.edge), "nothing came for") {
		k.t.Errorf("%s is taken for silence", o.what)
	}
	before := map[*rig]int64{}
	for _, g := range k.rigs.list {
		before[g] = g.accepts.Load()
	}
	k.await(patience, func() error {
		for _, g := range k.rigs.list {
			if n := g.accepts.Load() - before[g]; n < 3 {
				return fmt.Errorf("%s: %d shares since %s", g.name, n, o.what)
			}
		}
		return nil
	})
	for _, g := range k.rigs.list {
		g.mu.Lock()
		drops += g.drops
		longest, last := time.Duration(0), began
		for _, at := range g.times {
			if at.After(began) {
				longest = max(longest, at.Sub(last))
				last = at
			}
		}
		g.times = nil
		g.mu.Unlock()
		sum.gaps = append(sum.gaps, longest)
	}
	k.rigs.mu.Lock()
	lost, refused = lost+len(k.rigs.unknown), refused+len(k.rigs.refusals)
	k.rigs.mu.Unlock()
	sum.drops, sum.lost, sum.refused = sum.drops+drops, sum.lost+lost, sum.refused+refused
	sum.times++
	if o.smooth && drops+lost+refused > 0 || k.remote && o.what != "edge killed" && drops > 0 {
		k.t.Errorf("%s: %d miners were closed, %d shares had no answer, %d were refused", o.what, drops, lost, refused)
	}
	k.noGhosts(outageMiners)
}

func (k *linked) await(within time.Duration, done func() error) {
	k.t.Helper()
	deadline := time.After(within)
	for {
		err := done()
		if err == nil {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			k.t.Fatal(err)
		}
	}
}

// noGhosts waits until the pool has so many miners and one link, the edge's.
func (k *linked) noGhosts(want int) {
	k.t.Helper()
	k.await(2*time.Minute, func() error { // a pool takes a link for dead after one
		links, err := wait.Reply(k.t.Context(), control.Dial(filepath.Join(k.pool.dir, "s"), "ckpool", "listener"), "links")
		var list struct{ Links []struct{ Miners int } }
		if err == nil {
			err = json.Unmarshal([]byte(links), &list)
		}
		if err == nil && (len(list.Links) != 1 || !k.remote && list.Links[0].Miners != want) {
			err = fmt.Errorf("links: %s", links)
		}
		clients, failed := wait.Reply(k.t.Context(), control.Dial(filepath.Join(k.pool.dir, "s"), "ckpool", "listener"), "clients")
		var here struct{ Clients []any }
		if failed == nil {
			failed = json.Unmarshal([]byte(clients), &here)
		}
		if failed == nil && !k.remote && len(here.Clients) != want {
			failed = fmt.Errorf("%d miners at the pool", len(here.Clients))
		}
		return errors.Join(err, failed)
	})
}

// compare ends all, and compares what miners were told with what the pool has.
func (k *linked) compare() {
	k.t.Helper()
	k.noGhosts(0)
	at := filepath.Join(k.pool.dir, "logs", "journal")
	if k.remote {
		k.await(patience, func() error {
			dirs, _ := filepath.Glob(filepath.Join(k.pool.dir, "logs", "remotes", "*"))
			if len(dirs) != 1 {
				return fmt.Errorf("copies: %q", dirs)
			}
			at = dirs[0]
			if n := countAccepted(k.t, at); n < len(k.rigs.accepted) {
				return fmt.Errorf("%d shares are at the main pool, %d were accepted", n, len(k.rigs.accepted))
			}
			return nil
		})
	}
	k.end(k.far)
	k.end(k.main)
	r, err := journal.Open(at, journal.Cursor{})
	if err != nil {
		k.t.Fatal(err)
	}
	defer r.Close()
	kept, lost, twice, wrong := map[[32]byte]int{}, 0, 0, 0
	for {
		e, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			k.t.Fatal(err)
		}
		switch {
		case e.Kind == journal.KindMissing || e.Kind == journal.KindLost:
			k.t.Errorf("%v %+v %+v", e.Position, e.Missing, e.Lost)
		case e.Kind == journal.KindShare && e.Reason == "accepted":
			kept[e.Share.Hash]++
		}
	}
	for hash := range k.rigs.accepted {
		if kept[hash] == 0 {
			lost++
		}
	}
	unknown := 0
	for hash, n := range kept {
		if n > 1 {
			twice++
		}
		switch {
		case k.rigs.accepted[hash]:
		case k.rigs.unknown[hash]:
			unknown++
		default:
			wrong++
		}
	}
	k.t.Logf("%d accepted, %d kept, of %d without an answer %d; refused: %v", len(k.rigs.accepted), len(kept), len(k.rigs.unknown), unknown, k.rigs.reasons)
	if lost > 0 || twice > 0 || wrong > 0 || len(k.rigs.accepted) == 0 {
		k.t.Errorf("%d lost, %d there twice, %d kept though refused or never sent", lost, twice, wrong)
	}
}

// Whatever ends or is cut off between miners and their pool, under load: every share that a
// miner was told is accepted is at the pool, once, no other but those without an answer, and
// no miner is there who is gone. How long miners have no accepted share is told.
func TestLinkOutages(t *testing.T) {
	for _, m := range []struct {
		name, mode string
		dialect    int
	}{{"passthrough", "-P", 1}, {"passthrough as in C", "-P", 0}, {"node", "-N", 1}, {"remote", "-t", 1}} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			seed := *tortureSeed
			if seed == 0 {
				seed = uint64(time.Now().UnixNano())
			}
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			k := link(t, m.mode, m.dialect)
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("pool:\n%s\nedge:\n%s", k.log(k.pool), k.log(k.edge))
				}
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer k.rigs.running.Wait()
			defer cancel()
			k.rigs.mine(ctx)
			k.suffer(&linkOutage{what: "start", do: func(*linked) {}}, &outageTimes{})
			list := slices.DeleteFunc(slices.Clone(linkOutages), func(o linkOutage) bool { return o.long && (m.dialect == 0 || *tortureRounds < len(linkOutages)) })
			sums := map[string]*outageTimes{}
			var order []int
			for range *tortureRounds {
				if len(order) == 0 {
					order = random.Perm(len(list))
				}
				o := &list[order[0]]
				order = order[1:]
				if sums[o.what] == nil {
					sums[o.what] = &outageTimes{}
				}
				pause(time.Duration(random.Int64N(int64(outageEvery))))
				k.suffer(o, sums[o.what])
			}
			cancel()
			k.rigs.running.Wait()
			k.compare()
			for _, o := range list {
				if s := sums[o.what]; s != nil {
					slices.Sort(s.gaps)
					t.Logf("| %s | %d | %.2f | %.2f | %d | %d | %d |", o.what, s.times, s.gaps[len(s.gaps)/2].Seconds(), s.gaps[len(s.gaps)-1].Seconds(), s.drops, s.lost, s.refused)
				}
			}
		})
	}
}
