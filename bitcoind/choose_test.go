package bitcoind

import (
	"math/big"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ckpool/ckpool/source"
)

func TestChoose(t *testing.T) {
	at := func(id byte, height int64, work int64) tip {
		x := tip{hash: [32]byte{id}, height: height}
		if work > 0 {
			x.work = big.NewInt(work)
		}
		return x
	}
	const none = -1
	for _, test := range []struct {
		name    string
		nodes   []candidate
		current int
		want    int
	}{
		{"nobody", nil, none, none},
		{"none usable", []candidate{{false, at(1, 5, 5), true}}, 0, none},
		{"the first of equals", []candidate{{true, at(1, 5, 5), false}, {true, at(1, 5, 5), false}}, none, 0},
		{"most work", []candidate{{true, at(1, 5, 5), false}, {true, at(2, 5, 6), false}}, none, 1},
		{"more work in fewer blocks", []candidate{{true, at(1, 9, 5), false}, {true, at(2, 5, 6), false}}, 0, 1},
		{"heights where work is unknown", []candidate{{true, at(1, 5, 0), false}, {true, at(2, 6, 3), false}}, 0, 1},
		{"unknown is not more", []candidate{{true, at(1, 5, 5), false}, {true, at(2, -1, 0), false}}, 0, 0},
		{"the current one stays", []candidate{{true, at(1, 5, 5), false}, {true, at(1, 5, 5), false}}, 1, 1},
		{"back to a steady better rank", []candidate{{true, at(1, 5, 5), true}, {true, at(1, 5, 5), false}}, 1, 0},
		{"not if it is on another tip of equal work", []candidate{{true, at(2, 5, 5), true}, {true, at(1, 5, 5), false}}, 1, 1},
		{"not to lower work", []candidate{{true, at(1, 4, 4), true}, {true, at(2, 5, 5), false}}, 1, 1},
		{"away from an unusable one", []candidate{{true, at(1, 4, 4), false}, {false, at(2, 5, 5), false}}, 1, 0},
	} {
		if got := choose(test.nodes, test.current); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestChooseProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) candidate {
			// A tip's work follows from its hash, as in any real chain.
			id := rapid.Byte().Draw(t, "id")
			c := candidate{usable: rapid.Bool().Draw(t, "usable"), steady: rapid.Bool().Draw(t, "steady")}
			c.tip = tip{hash: [32]byte{1, id}, height: int64(id / 4), work: big.NewInt(int64(id / 2))}
			return c
		}), 1, 5).Draw(t, "nodes")
		current := rapid.IntRange(-1, len(nodes)-1).Draw(t, "current")
		best := choose(nodes, current)
		for i, n := range nodes {
			switch {
			case !n.usable:
				if i == best {
					t.Fatal("an unusable node")
				}
			case best < 0:
				t.Fatal("none, although one is usable")
			case n.tip.compare(nodes[best].tip) > 0:
				t.Fatal("not the most work")
			}
		}
		if best >= 0 && current >= 0 && nodes[current].usable && best > current && nodes[best].tip.compare(nodes[current].tip) == 0 {
			t.Fatal("left the current node for a later one of equal work")
		}
	})
}

// Whatever nodes do, every update tells the truth about the tip, nobody is
// flooded, and in the end the first node's tip is mined on.
func TestChaos(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) { chaos(t, rand.New(rand.NewPCG(seed, 1))) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func chaos(t *testing.T, random *rand.Rand) {
	fakes := []*fakeNode{newFakeNode(20), newFakeNode(20), newFakeNode(20)}
	for i, f := range fakes {
		f.seed = byte(i)
		f.noLongPoll = random.IntN(2) == 0
		if random.IntN(3) == 0 {
			f.work = 0
		}
		f.delay["getblocktemplate"] = time.Duration(random.IntN(300)) * time.Millisecond
		f.delay["getblockchaininfo"] = time.Duration(random.IntN(100)) * time.Millisecond
	}
	h := newHarness(t, Options{}, fakes...)
	h.run(func() {
		var prev [32]byte
		take := func(u source.Update) {
			if u.NewTip != (u.Template.PrevHash != prev) {
				t.Errorf("new tip %v, but it is %x after %x", u.NewTip, u.Template.PrevHash[:4], prev[:4])
			}
			prev = u.Template.PrevHash
		}
		start := time.Now()
		for range 60 {
			f := fakes[random.IntN(len(fakes))]
			switch random.IntN(10) {
			case 0:
				f.dead(errRefused)
			case 1:
				f.say("getblocktemplate", `500 {"code":-10,"message":"syncing"}`)
			case 2:
				f.say("getblockchaininfo", "503 ")
			case 3:
				f.set(func() { f.hang[""] = !f.hang[""] })
			case 4:
				if f.height() > 10 {
					f.drop(1 + random.IntN(2))
				}
			case 5, 6:
				f.mine()
			case 7:
				h.Refresh("notifier")
			default: // peers reach each other
				for _, other := range fakes {
					other.follow(f)
				}
			}
			f = fakes[random.IntN(len(fakes))]
			if random.IntN(2) == 0 {
				f.heal()
			}
			timer := time.After(time.Duration(random.IntN(4000)) * time.Millisecond)
			for waiting := true; waiting; {
				select {
				case u := <-h.Templates():
					take(u)
				case <-timer:
					waiting = false
				}
			}
		}
		longest := fakes[0]
		for _, f := range fakes {
			f.heal()
			if f.height() > longest.height() {
				longest = f
			}
		}
		longest.mine()
		for _, f := range fakes {
			f.set(func() { f.work = 2 })
			f.follow(longest)
		}
		timer := time.After(time.Minute)
		for waiting := true; waiting; {
			select {
			case u := <-h.Templates():
				take(u)
			case <-timer:
				waiting = false
			}
		}
		if prev != longest.best() || !h.Status()[0].Current {
			t.Errorf("in the end: mining on %x, the tip is %x, followed %v", prev[:4], longest.tip(), h.Current())
		}
		for i, f := range fakes {
			if h.state(i) != stateOK {
				t.Errorf("in the end node %d is %+v", i, h.Status()[i])
			}
			// Failing templates are asked for every 2 s; changes cost a few more.
			limit := int(time.Since(start).Seconds()) + 60*4
			if n := f.count("getblocktemplate"); n > limit {
				t.Errorf("node %d: %d template requests in %v", i, n, time.Since(start))
			}
		}
		if t.Failed() {
			t.Log(h.events())
		}
	})
}
