package upstream

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// farm stands for what is behind pools: it takes their updates, finds shares and hears
// the verdicts. It runs in a bubble.
type farm struct {
	t *testing.T

	mu       sync.Mutex
	number   uint32
	updates  []source.Update
	verdicts map[uint64]source.Verdict // by share
	heard    map[uint64]int
	shares   uint64
	nonce    uint32
	lines    []string // of the log
}

func newFarm(t *testing.T) *farm {
	return &farm{t: t, verdicts: map[uint64]source.Verdict{}, heard: map[uint64]int{}}
}

// pool runs a pool of the farm's until the test ends.
func (f *farm) pool(c Config, o Options) *Pool {
	f.t.Helper()
	if c.URL == "" {
		c.URL = "pool.example.org:3333"
	}
	if c.User == "" {
		c.User, c.Password = "farm", "x"
	}
	o.Updates, o.Number = f.update, f.next
	o.Events = func(e event.Event) {
		f.mu.Lock()
		f.lines = append(f.lines, e.Text)
		f.mu.Unlock()
	}
	p, err := NewPool(c, o)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	f.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return p
}

// started is a pool before another pool, as soon as there is work.
func (f *farm) started(above *otherpool.Pool, c Config) *Pool {
	f.t.Helper()
	p := f.pool(c, Options{Dial: above.Dial})
	f.works(p)
	return p
}

// works waits until there is work.
func (f *farm) works(p *Pool) {
	f.t.Helper()
	for range 1000 {
		if p.Up() {
			return
		}
		time.Sleep(time.Second)
	}
	f.t.Fatalf("no work: %+v", p.Status())
}

func (f *farm) next() uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.number++
	return f.number
}

func (f *farm) update(u source.Update) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.updates = append(f.updates, u)
}

// took waits until all is quiet, and returns the updates since the last call.
func (f *farm) took() []source.Update {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.updates
	f.updates = nil
	return u
}

// job is the last of some updates.
func (f *farm) job() source.Update {
	f.t.Helper()
	updates := f.took()
	for i := len(updates) - 1; i >= 0; i-- {
		if !updates[i].Ended {
			return updates[i]
		}
	}
	f.t.Fatal("there is no job among the updates")
	return source.Update{}
}

// Verdict implements source.Finder.
func (f *farm) Verdict(_, share uint64, v source.Verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdicts[share] = v
	f.heard[share]++
}

// verdict is what became of a share, "" for nothing so far.
func (f *farm) verdict(share uint64) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.verdicts[share]
	switch {
	case !ok:
		return ""
	case f.heard[share] > 1:
		return fmt.Sprint(f.heard[share], " verdicts")
	}
	switch v.State {
	case source.AcceptedAbove:
		return "accepted"
	case source.RefusedAbove:
		return fmt.Sprintf("refused: %s (%d)", v.Text, v.Code)
	case source.NotSent:
		return "not sent"
	}
	return "unanswered"
}

// counts is how many verdicts there are, by their first word.
func (f *farm) counts() map[string]int {
	f.mu.Lock()
	n := f.shares
	f.mu.Unlock()
	counts := map[string]int{}
	for share := uint64(1); share <= n; share++ {
		word, _, _ := strings.Cut(f.verdict(share), ":")
		counts[word]++
	}
	return counts
}

// find finds a share that meets one difficulty and not another, which is none if it is 0.
func (f *farm) find(u source.Update, miner uint64, meets, not float64) *source.Found {
	f.t.Helper()
	shape := u.Upstream.Shape
	b := &work.Builder{Extranonce1Len: shape.Own, Extranonce2Len: shape.Extranonce2, VersionMask: u.Upstream.VersionMask}
	j, err := b.Job(u.Template, 1, time.Now(), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	m := work.Miner{Limit: 16_000, Extranonce1: []byte{byte(miner), byte(miner >> 8)}[:shape.Own]}
	f.mu.Lock()
	f.shares++
	share := f.shares
	f.mu.Unlock()
	bits := uint32(share<<13) & u.Upstream.VersionMask
	s := work.Solution{Extranonce2: make([]byte, shape.Extranonce2), Time: u.Template.CurTime, Version: j.Version | bits}
	var sh work.Share
	for {
		f.nonce++
		s.Nonce = f.nonce
		j.Hash(&sh, &m, &s)
		if difficulty.Meets(&sh.Hash, meets) && (not == 0 || !difficulty.Meets(&sh.Hash, not)) {
			break
		}
	}
	found := &source.Found{
		Upstream: u.Upstream, Worker: fmt.Sprintf("anybody.rig%d", miner), Finder: f, Client: miner, Share: share,
		NTime: s.Time, Nonce: s.Nonce, VersionBits: bits, HasVersionBits: u.Upstream.VersionMask != 0,
		Difficulty: sh.Difficulty, Block: sh.Block,
	}
	found.Extranonce2Len = copy(found.Extranonce2[:], j.AppendGivenExtranonce(nil, &m, &s))
	return found
}

// submit finds a share and submits it. It returns the number.
func (f *farm) submit(u source.Update, miner uint64, meets, not float64) uint64 {
	f.t.Helper()
	found := f.find(u, miner, meets, not)
	if !u.Upstream.Judge.Submit(found) {
		f.t.Errorf("share %d is not taken", found.Share)
	}
	return found.Share
}

// log is what the pool has told, and forgets it.
func (f *farm) log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lines
	f.lines = nil
	return l
}

// bubble runs a test with a farm in a bubble of time.
func bubble(t *testing.T, test func(t *testing.T, f *farm)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newFarm(t)) })
}
