package upstream

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/source"
)

// herd is miners that are known by what they mine alone.
type herd struct {
	group   *Group
	entries *Entries

	mu     sync.Mutex
	miners []*grazer
	moves  int
	deaf   int // moves that nothing comes of, as long as jobs of the new source are not made
}

type grazer struct {
	info session.Info
	rate float64
}

func (h *herd) Every(context.Context) (list []session.Info, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.miners {
		i := m.info
		i.DSPS60 = m.rate * difficulty.Bias(time.Since(i.Start).Seconds(), 3600)
		list = append(list, i)
	}
	return list, nil
}

func (h *herd) Move(list []session.Move) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, move := range list {
		m := h.miners[move.Client-1]
		if h.deaf > 0 {
			h.deaf--
			continue
		}
		h.group.Closed(m.info.Source)
		h.group.Opened(move.To)
		m.info.Source = move.To
		h.moves++
	}
}

// join seats a miner.
func (h *herd) join(t *testing.T, rate float64, rolls uint32) {
	t.Helper()
	n := session.Newcomer{Client: uint64(len(h.miners) + 1), Rolls: rolls != 0, VersionMask: rolls}
	from, ok := h.group.Place(&n)
	if !ok {
		t.Fatal("no place")
	}
	h.group.Opened(from)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.miners = append(h.miners, &grazer{session.Info{
		ID: n.Client, Source: from, Subscribed: true, Start: time.Now(), Extranonce1: "0102", Extranonce2Len: 4,
		Rolls: n.Rolls, VersionMask: rolls,
	}, rate})
}

// graze mines for some time, in shares of a difficulty or, if that is 0, without luck.
func (h *herd) graze(d time.Duration, difficulty float64, random *rand.Rand) {
	accepted := source.Verdict{State: source.AcceptedAbove}
	for range d / time.Second {
		time.Sleep(time.Second)
		h.mu.Lock()
		for _, m := range h.miners {
			h.group.mu.Lock()
			o := h.group.origins[m.info.Source]
			h.group.mu.Unlock()
			if o == nil || o.ended {
				continue
			}
			if difficulty == 0 {
				o.member.pool.ledger.verdict(m.rate, accepted, 0)
				continue
			}
			for left := m.rate / difficulty; left > 0; left-- {
				if random.Float64() < left {
					o.member.pool.ledger.verdict(difficulty, accepted, 0)
				}
			}
		}
		h.mu.Unlock()
	}
}

// accepted is what each pool has.
func (h *herd) accepted() (list []float64) {
	for _, e := range h.entries.Pools() {
		list = append(list, e.Figures.Accepted.Difficulty.Float64())
	}
	return list
}

// parts are what pools have got since, as parts of the whole.
func (h *herd) parts(since []float64) []float64 {
	now, sum := h.accepted(), 0.0
	for i := range now {
		now[i] -= since[i]
		sum += now[i]
	}
	for i := range now {
		now[i] /= sum
	}
	return now
}

// newHerd has a group of pools with weights, or none if 0, without miners.
func newHerd(t *testing.T, masks []uint32, weights ...float64) (*herd, *proxy) {
	pools := map[string]*otherpool.Pool{}
	configs := []Config{}
	for i, w := range weights {
		name := string("abcd"[i])
		c := otherpool.Config{}
		if masks != nil {
			c.VersionMask = masks[i]
		}
		pools[name] = pool(t, name, c)
		configs = append(configs, Config{URL: name, Weight: w})
	}
	p := newProxy(t, GroupOptions{}, pools, configs...)
	h := &herd{group: p.group, entries: p.entries}
	p.group.Attend(h)
	time.Sleep(5 * time.Second)
	return h, p
}

// Weights divide what is accepted over each hour, and not the number of miners, within
// 2 % for many and as well as whole ones can for few, in few moves.
func TestHashRateByWeights(t *testing.T) {
	unequal := []float64{310, 40, 95, 12, 77, 150, 20, 33, 8, 61}
	for name, tt := range map[string]struct {
		weights, rates []float64
		share          float64 // difficulty of a share, 0: without luck
		off            float64
		moves          int // an hour
	}{
		"100 equal":          {[]float64{70, 30}, repeat(100, 100), 0, 0.02, 1},
		"100 equal and luck": {[]float64{70, 30}, repeat(100, 100), 5_000, 0.02, 15},
		"100 unequal":        {[]float64{70, 30}, slices.Repeat(unequal, 10), 1_000, 0.02, 15},
		"three pools":        {[]float64{1, 2, 3}, repeat(100, 100), 5_000, 0.02, 15},
		"a reserve":          {[]float64{70, 0, 30}, repeat(100, 50), 0, 0.02, 5},
		"1":                  {[]float64{70, 30}, unequal[:1], 0, 0.30, 4},
		"2":                  {[]float64{70, 30}, unequal[:2], 0, 0.19, 8},
		"2 of which one":     {[]float64{70, 30}, []float64{70, 30}, 0, 0.02, 0},
		"10":                 {[]float64{70, 30}, unequal, 0, 0.02, 10},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				h, _ := newHerd(t, nil, tt.weights...)
				random := rand.New(rand.NewPCG(1, 2))
				for _, r := range tt.rates {
					h.join(t, r, 0)
				}
				sum := 0.0
				for _, w := range tt.weights {
					sum += w
				}
				for hour := range 4 {
					before, moves := h.accepted(), h.moves
					h.graze(time.Hour, tt.share, random)
					parts := h.parts(before)
					t.Logf("hour %d: %.3f, %d moves", hour, parts, h.moves-moves)
					for i, w := range tt.weights {
						if off := math.Abs(parts[i] - w/sum); off > tt.off {
							t.Errorf("hour %d: pool %d has %.3f, wants %.3f", hour, i, parts[i], w/sum)
						}
					}
					if n := h.moves - moves; n > tt.moves && hour > 0 || n > len(tt.rates)/2+7 {
						t.Errorf("hour %d: %d moves", hour, n)
					}
				}
				part := 0.0
				for i, e := range h.entries.Pools() {
					if part += e.Part; math.Abs(e.Wanted-tt.weights[i]/sum) > 1e-9 {
						t.Errorf("%d wants %v", i, e.Wanted)
					}
				}
				if math.Abs(part-1) > 1e-9 {
					t.Errorf("all parts are %v", part)
				}
			})
		})
	}
}

// One miner works for one pool at a time, and the status says so.
func TestStatusOfFewMiners(t *testing.T) {
	within(t, func(t *testing.T) {
		h, _ := newHerd(t, nil, 70, 30)
		h.join(t, 100, 0)
		h.graze(time.Minute, 0, nil)
		if e := h.entries.Pools(); e[0].Part != 1 || e[1].Part != 0 || e[0].Wanted != 0.7 || e[1].Wanted != 0.3 {
			t.Errorf("%v of %v, %v of %v", e[0].Part, e[0].Wanted, e[1].Part, e[1].Wanted)
		}
	})
}

// Miners that roll versions are divided among the pools that allow it, and the others
// make up for that.
func TestWeightsAndRolling(t *testing.T) {
	const mask = 0x1fffe000
	for _, tt := range []struct {
		rolling, others int
		a, b, c         float64
	}{
		{50, 50, 0.4, 0.3, 0.3},
		{90, 10, 0.514, 0.386, 0.1},
		{0, 100, 0.4, 0.3, 0.3},
	} {
		within(t, func(t *testing.T) {
			h, _ := newHerd(t, []uint32{mask, mask, 1}, 40, 30, 30)
			for i := range 100 {
				if i%10 < tt.rolling/10 {
					h.join(t, 100, mask)
				} else {
					h.join(t, 100, 0)
				}
			}
			h.graze(30*time.Minute, 0, nil)
			before := h.accepted()
			h.graze(time.Hour, 0, nil)
			parts := h.parts(before)
			for i, want := range []float64{tt.a, tt.b, tt.c} {
				if math.Abs(parts[i]-want) > 0.02 {
					t.Errorf("%d of 100 roll: pool %d has %.3f, wants %.3f", tt.rolling, i, parts[i], want)
				}
			}
			for _, m := range h.miners {
				if o := h.group.origins[m.info.Source]; m.info.Rolls && o.mask == 0 {
					t.Errorf("a miner that rolls works where that is refused")
				}
			}
		})
	}
}

// With weights the others do the work of a pool that is lost at once; it gets its part
// when it has been back for the hold. A new pool gets its part, and not all there is.
func TestWeightsAndFailover(t *testing.T) {
	within(t, func(t *testing.T) {
		h, p := newHerd(t, nil, 70, 30)
		for range 100 {
			h.join(t, 100, 0)
		}
		at := func() (n [2]int) {
			for _, m := range h.miners {
				if o := h.group.origins[m.info.Source]; o != nil && !o.ended {
					n[o.member.id]++
				}
			}
			return n
		}
		h.graze(10*time.Minute, 0, nil)
		if n := at(); n != [2]int{70, 30} {
			t.Errorf("%v", n)
		}
		p.told("")
		p.pools["b"].Down(errCut)
		h.graze(time.Second, 0, nil)
		if n := at(); n != [2]int{100, 0} {
			t.Errorf("%v", n)
		}
		if lines := p.told("miners"); len(lines) != 1 || lines[0] != "Upstream b.example:3333 lost: 30 miners move to a.example:3333" {
			t.Errorf("%q", lines)
		}
		h.graze(3*time.Minute, 0, nil)
		p.pools["b"].Down(nil)
		h.graze(30*time.Second, 0, nil)
		if n := at(); n != [2]int{100, 0} {
			t.Errorf("%v before it has held", n)
		}
		h.graze(20*time.Minute, 0, nil)
		if n := at(); n[1] < 30 || n[1] > 45 { // it makes up for some
			t.Errorf("%v", n)
		}
		p.pools["a"].Down(errCut)
		p.pools["b"].Down(errCut)
		h.graze(time.Minute, 0, nil)
		p.pools["a"].Down(nil)
		p.pools["b"].Down(nil)
		h.graze(30*time.Minute, 0, nil)
		if n := at(); n[0]+n[1] != 100 || n[1] < 20 || n[1] > 45 {
			t.Errorf("%v", n)
		}

		p.pools["c"] = pool(t, "c", otherpool.Config{})
		h.graze(time.Hour, 0, nil)
		if _, err := h.entries.Add(&config.Upstream{URL: "c.example:3333", User: "farm", Weight: 100}, 0); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			h.graze(time.Minute, 0, nil)
			if part := h.entries.Pools()[2].Part; part > 0.62 { // it makes up for the moves to it
				t.Fatalf("the new pool has %v", part)
			}
		}
		if part := h.entries.Pools()[2].Part; part < 0.45 {
			t.Errorf("the new pool has %v", part)
		}
	})
}

// Moves that nothing comes of are made again soon, while miners have no work; and a
// miner that has begun with a source that was ending is not forgotten.
func TestMovesAgain(t *testing.T) {
	within(t, func(t *testing.T) {
		h, p := newHerd(t, nil, 0, 0)
		for range 10 {
			h.join(t, 100, 0)
		}
		h.mu.Lock()
		h.deaf = 20
		h.mu.Unlock()
		p.pools["a"].Down(errCut)
		h.graze(time.Second, 0, nil)
		h.mu.Lock()
		if h.moves != 10 {
			t.Errorf("%d moves", h.moves)
		}
		h.miners[3].info.Source = 999
		h.deaf = 2
		h.mu.Unlock()
		h.group.Opened(999)
		h.graze(time.Second, 0, nil)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.moves != 11 || h.miners[3].info.Source == 999 {
			t.Errorf("%d moves, the stray is at %d", h.moves, h.miners[3].info.Source)
		}
	})
}

// A reserve that works serves until a pool with a weight has held.
func TestReserve(t *testing.T) {
	within(t, func(t *testing.T) {
		h, p := newHerd(t, nil, 70, 0, 30)
		active := func() (s string) {
			for _, x := range h.entries.Pools() {
				if x.Active {
					s += x.URL[:1]
				}
			}
			return s
		}
		time.Sleep(time.Minute)
		if got := active(); got != "ac" {
			t.Errorf("%q serve", got)
		}
		p.pools["a"].Down(errCut)
		p.pools["c"].Down(errCut)
		time.Sleep(time.Second)
		if got := active(); got != "b" {
			t.Errorf("%q serve", got)
		}
		p.pools["a"].Down(nil)
		time.Sleep(30 * time.Second)
		if got := active(); got != "b" {
			t.Errorf("%q serve", got)
		}
		time.Sleep(time.Minute)
		if got := active(); got != "a" {
			t.Errorf("%q serve", got)
		}
	})
}

// What was accepted counts for an hour.
func TestHistory(t *testing.T) {
	var h history
	start := time.Unix(1795327613, 0)
	for minute := range 240 {
		got := h.recent(start.Add(time.Duration(minute)*time.Minute), float64(100+minute))
		if want := float64(min(minute, 60)); got != want {
			t.Fatalf("minute %d: %v was accepted, want %v", minute, got, want)
		}
	}
	if len(h) > 62 {
		t.Errorf("%d times are kept", len(h))
	}
}

// A pool whose difficulty has fallen while it was in reserve is asked for the farm's when the
// farm comes, one that asks for enough or is not to be asked at all is not.
func TestSuggestsTheFarms(t *testing.T) {
	for name, tt := range map[string]struct {
		least, difficulty float64
		asked             bool
	}{
		"fallen":     {1e-10, 1e-10, true},
		"enough":     {1e-10, 2e-8, false},
		"never asks": {0, 1e-10, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *farm) {
				a := otherpool.New(t, otherpool.Config{Difficulty: 1e-9})
				b := otherpool.New(t, otherpool.Config{Difficulty: tt.difficulty, Suggested: true})
				g, err := NewGroup([]Config{{URL: "a.example.org:1", User: "farm", LeastDifficulty: tt.least}, {URL: "b.example.org:1", User: "farm", LeastDifficulty: tt.least}},
					GroupOptions{Dial: dialler{"a.example.org:1": a, "b.example.org:1": b}.dial, Finder: f})
				if err != nil {
					t.Fatal(err)
				}
				defer f.runs(g)()
				becomes(t, g, "a", time.Minute)
				u := f.jobOf(g.Active().Lines()[0].Source)
				for range 3600 { // 1e-8 a second
					f.submit(u, 1, 1e-9, 0)
					time.Sleep(100 * time.Millisecond)
				}
				a.Down(errDown)
				becomes(t, g, "b", time.Minute)
				time.Sleep(time.Second)
				asked := strings.Contains(strings.Join(b.Lines(), "\n"), "mining.suggest_difficulty")
				if d := g.Active().Lines()[0].Difficulty; asked != tt.asked || asked && (d < 3e-8 || d > 3.5e-8) || !asked && d != tt.difficulty {
					t.Errorf("asked %v, the difficulty is %g", asked, d)
				}
				if strings.Contains(strings.Join(a.Lines(), "\n"), "mining.suggest_difficulty") {
					t.Error("a pool was asked as the farm was not known yet")
				}
			})
		})
	}
}
