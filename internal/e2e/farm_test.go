package e2e

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
)

// Difficulties of a farm: of sixteen shares here one is a share above. Powers of two, so
// that their sums are exact.
const (
	farmAbove = 1.0 / (1 << 24)
	farmHere  = 1.0 / (1 << 28)
)

// Size of a farm, about a thousand shares a second.
const (
	farmMiners   = 200
	farmHashRate = 100
)

// ofFarm are the keys of a farm's proxy.
var ofFarm = keys{"mindiff": farmHere, "startdiff": farmHere, "maxdiff": farmHere}

func farmUsers() []string {
	users := make([]string, farmMiners)
	for i := range users {
		users[i] = fmt.Sprintf("user%d.rig%d", i%7, i)
	}
	return users
}

// harvest is what became of a crew's shares, as its miners were told.
type harvest struct {
	here     int // accepted, and below what is asked for above
	above    int // accepted, and good enough to go up
	refused  int // good enough to go up
	stale    int // below that
	unsure   int // no answer came from above
	wrong    int // anything else
	examples []string
}

func (c *crew) harvest() (h harvest) {
	for _, s := range c.all() {
		up := s.Difficulty >= farmAbove
		switch {
		case s.Err != nil:
			h.unsure++
		case s.Reject == nil && up:
			h.above++
		case s.Reject == nil:
			h.here++
		case s.Reject.Text == "No answer from upstream":
			h.unsure++
		case up:
			h.refused++
		case s.Reject.Code == stratum.JobNotFound:
			h.stale++
		default:
			h.wrong++
			h.examples = append(h.examples, fmt.Sprint(s.Reject))
		}
	}
	return h
}

// exactStats is what poolstats says of difficulties.
type exactStats struct {
	AcceptedCount int     `json:"accepted_count"`
	RejectedCount int     `json:"rejected_count"`
	Accepted      float64 `json:"accepted"`
	Workers       int     `json:"workers"`
}

// A farm of miners is one miner for the pool above. It has in its book exactly what miners
// were told is accepted; in steady state it refuses nothing. How much it refuses at a block,
// ckbench measures.
func TestFarm(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x1d00ffff})
	m := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"mindiff": farmAbove, "startdiff": farmAbove, "maxdiff": farmAbove}}.start(t)
	p := m.before(t, ofFarm)
	miners := p.mine(t, farmHashRate, farmUsers()...)
	mined := func(shares int) {
		t.Helper()
		eventually(t, 2*patience, fmt.Sprint(shares, " shares above"), func() bool {
			return ask[exactStats](m, "poolstats").AcceptedCount >= shares
		})
	}
	mined(300)
	if above := ask[exactStats](m, "poolstats"); above.RejectedCount != 0 || above.Workers != 1 {
		t.Errorf("above, in steady state: %+v", above)
	}
	tip := ""
	for range 3 {
		tip = n.NewBlock()
		before := ask[exactStats](m, "poolstats").AcceptedCount
		mined(before + 100)
	}
	miners.stop()
	miners.undisturbed()
	above, here, h := ask[exactStats](m, "poolstats"), ask[exactStats](p, "poolstats"), miners.harvest()
	t.Logf("%+v, above %+v", h, above)
	if above.AcceptedCount != h.above || above.Accepted != float64(h.above)*farmAbove || above.Workers != 1 {
		t.Errorf("above: %+v, %d shares were good for it", above, h.above)
	}
	if here.AcceptedCount != h.here+h.above || here.Accepted != float64(h.here+h.above)*farmHere {
		t.Errorf("here: %+v, miners were told %+v", here, h)
	}
	if f := p.upstreams()[0]; f.Accepted != h.above || f.NotSent != h.here || f.Refused != above.RejectedCount || f.Unanswered+f.Unsendable+f.Waiting != 0 ||
		!about(f.Total, float64(h.above)*farmAbove) || !about(f.NotSentDifficulty, float64(h.here)*farmHere) || f.RefusedHere != h.refused-f.Refused+h.stale {
		t.Errorf("figures: %+v, miners were told %+v", f, h)
	}
	// What was refused above, miners were told is refused; the rest of theirs was known to
	// be stale here. Nothing is refused of the newest block's work.
	if h.unsure != 0 || h.wrong != 0 || above.RejectedCount > h.refused {
		t.Errorf("%d refused above: %+v", above.RejectedCount, h)
	}
	for _, s := range miners.all() {
		if s.Reject != nil && display(s.Job.PrevHash) == tip {
			t.Errorf("refused though there was no later block: %v", s.Reject)
		}
	}
}

// sightings is when miners had the first job of a pool, by its mark.
type sightings struct {
	mu   sync.Mutex
	mark byte                 // guarded by mu
	at   map[string]time.Time // guarded by mu
}

func (s *sightings) look(mark byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark, s.at = mark, map[string]time.Time{}
}

func (s *sightings) see(user string, e client.Event) {
	j, ok := e.(client.Notify)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, seen := s.at[user]; !seen && from(s.mark)(j, time.Time{}) {
		s.at[user] = time.Now()
	}
}

// last is when the last of all miners had one, zero while some have none.
func (s *sightings) last() (at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.at) < farmMiners {
		return time.Time{}
	}
	for _, t := range s.at {
		if t.After(at) {
			at = t
		}
	}
	return at
}

// The pool above is killed under load and comes back: no miner loses its connection, and
// what miners were told is accepted is in the books of the pools.
func TestFarmFailover(t *testing.T) {
	t.Parallel()
	a, b := otherPool(t, 0xaa, otherpool.Config{Difficulty: farmAbove}), otherPool(t, 0xbb, otherpool.Config{Difficulty: farmAbove})
	p := proxyOf(ofFarm, a.Addr, b.Addr).start(t)
	p.worksAt(t, a, b)
	s := &sightings{}
	s.look(0xaa)
	miners := p.mineSeeing(t, farmHashRate, s.see, farmUsers()...)
	all := func(what string) (at time.Time) {
		t.Helper()
		eventually(t, 2*patience, what, func() bool {
			at = s.last()
			return !at.IsZero()
		})
		return at
	}
	mined := func(above *otherpool.Pool) {
		t.Helper()
		before := above.Accepted.Load()
		eventually(t, 2*patience, "shares", func() bool { return above.Accepted.Load() >= before+100 })
	}
	all("work of the first pool")
	mined(a)
	s.look(0xbb)
	killed := time.Now()
	a.Down(net.ErrClosed)
	t.Logf("all %d miners had work of the next pool after %v", farmMiners, all("work of the second pool").Sub(killed))
	mined(b)
	s.look(0xaa)
	a.Down(nil)
	all("work of the first pool again")
	mined(a)
	miners.stop()

	h := miners.harvest()
	booked := int(a.Accepted.Load() + b.Accepted.Load())
	t.Logf("%+v, %d in the books", h, booked)
	for _, e := range miners.lost {
		t.Errorf("a miner lost its connection: %v", e)
	}
	if h.wrong != 0 || booked < h.above || booked > h.above+h.unsure {
		t.Errorf("%d in the books of the pools, miners were told %+v", booked, h)
	}
	for _, above := range []*otherpool.Pool{a, b} {
		if len(above.Book()) != 1 || above.Book()["farm"].Shares != int(above.Accepted.Load()) || above.Invalid.Load() != 0 {
			t.Errorf("book %v, faults %q", above.Book(), above.Faults())
		}
	}
}

// Proxies before a proxy before a pool: each has less extranonce2 to give than the one
// before it, the third two bytes.
func TestChainOfProxies(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	m := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"mindiff": 1e-8, "startdiff": 1e-8}}.start(t)
	same := keys{"mindiff": 1e-8}
	p1 := m.before(t, same)
	p2 := p1.before(t, same)
	p3 := p2.before(t, same)
	shares := 0
	var miners []*hand
	for i, p := range []*running{p1, p2, p2, p3, p3} {
		h := p.connectAs(t, fmt.Sprint("rig", i), rolling)
		for range 2 {
			h.goesUp(h.job())
			shares++
		}
		miners = append(miners, h)
	}
	tip := n.NewBlock()
	for _, h := range miners {
		j, _ := h.jobOn(patience, tip)
		h.goesUp(j)
		shares++
		h.connected()
	}
	if st := ask[exactStats](m, "poolstats"); st.AcceptedCount != shares || st.RejectedCount != 0 || st.Workers != 1 {
		t.Errorf("above: %+v, %d shares", st, shares)
	}
	// A block is one where blocks are made.
	h := miners[len(miners)-1]
	s := h.solveBlock(h.job())
	if r := h.submit(s); r != nil {
		t.Fatalf("refused: %v", r)
	}
	if b := m.block(s.hash, "confirmed 1"); b.Worker != "farm" {
		t.Errorf("%+v", b)
	}
}
