package bitcoind

import (
	"strings"
	"testing"
	"time"
)

// setNodes replaces the nodes as PlanNodes does, with fake nodes behind the names that are new.
func (h *harness) setNodes(names string, fakes map[string]*fakeNode) {
	h.t.Helper()
	var configs []Config
	for _, name := range strings.Fields(names) {
		configs = append(configs, Config{URL: name + ":1"})
	}
	list, err := h.plan(configs)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, n := range list {
		if f := fakes[strings.TrimSuffix(n.client.name, ":1")]; f != nil {
			f.changed = make(chan struct{})
			n.client.longPolls, n.client.submissions, n.client.others = f, f, f
		}
	}
	h.replace(list)
}

func TestPlanNodes(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		asked := a.count("getblocktemplate")

		// A further node in front is checked, then followed; the first stays.
		h.setNodes("b a", map[string]*fakeNode{"b": b})
		time.Sleep(2 * checkEvery)
		if h.Current().String() != "b:1" || len(h.Status()) != 2 {
			t.Errorf("following %v of %+v", h.Current(), h.Status())
		}
		if n := a.count("getblocktemplate"); n != asked {
			t.Errorf("the node that stayed was asked %d times more", n-asked)
		}
		h.next(instant) // of b

		// The followed one goes: work comes from the other at once.
		h.setNodes("a", nil)
		h.expect(instant, "a:1", 10, false)
		h.wantSaid(1, "Failed over to bitcoind: a:1")
		calls := b.count("getbestblockhash")
		a.mine()
		h.expect(soon, "a:1", 11, true)
		time.Sleep(time.Minute)
		if n := b.count("getbestblockhash"); n > calls {
			t.Errorf("a node that was taken out is asked %d times", n-calls)
		}

		// It comes back with another block.
		b.blocks = append(b.blocks, blockID(10, 0), blockID(11, 0))
		h.setNodes("b", map[string]*fakeNode{"b": b})
		h.expect(soon, "b:1", 12, true)

		if _, err := h.PlanNodes(nil); err == nil {
			t.Error("an empty list is taken")
		}
		if _, err := h.PlanNodes([]Config{{URL: "a:1:1"}}); err == nil {
			t.Error("a wrong address is taken")
		}
		if len(h.Status()) != 1 {
			t.Errorf("%+v", h.Status())
		}
	}, a)
}

// A block that no node has got goes to the one that an operator puts in the place of the
// one that is gone.
func TestBlockGoesToFurtherNodes(t *testing.T) {
	a, b, c := newFakeNode(10), newFakeNode(10), newFakeNode(10)
	b.takes()
	inBubble(t, Options{SaveDir: t.TempDir()}, func(h *harness) {
		h.next(instant)
		a.dead(errRefused)
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		time.Sleep(5 * time.Second)
		h.setNodes("b", map[string]*fakeNode{"b": b})
		time.Sleep(soon)
		s.want(t, "pending 0, confirmed 1")
		if n := b.count("submitblock"); n != 1 {
			t.Errorf("the node that is new got the block %d times", n)
		}

		// One that it has been decided of needs no further one.
		h.setNodes("b c", map[string]*fakeNode{"c": c})
		time.Sleep(time.Minute)
		if n := c.count("submitblock"); n != 0 {
			t.Errorf("a block that is confirmed goes to a further node %d times", n)
		}
	}, a)
}
