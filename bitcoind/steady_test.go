package bitcoind

import (
	"testing"
	"time"
)

// A check that was under way when the news came is none of the new tip.
func TestReturnTakesACheckOfThatTip(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	a.early = true
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		time.Sleep(9900 * time.Millisecond)
		a.set(func() { a.delay["getblockchaininfo"] = 300 * time.Millisecond })
		time.Sleep(250 * time.Millisecond) // a check was made 150 ms ago
		b.mine()
		h.expect(instant, "b:1", 11, true)
		a.mine()
		time.Sleep(200 * time.Millisecond)
		if !h.Status()[1].Current {
			t.Error("returned because of an old answer")
		}
		time.Sleep(400 * time.Millisecond)
		if !h.Status()[0].Current {
			t.Error("did not return")
		}
	}, a, b)
}

// A node that does not tell its newest block there is taken at its word.
func TestReturnWithoutHash(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	a.answer["getblockchaininfo"] = `404 {"code":-32601,"message":"Method not found"}`
	b.work = 0
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		time.Sleep(10*time.Second + 37*time.Millisecond) // no check is due
		b.mine()
		h.expect(soon, "b:1", 11, true)
		a.mine()
		time.Sleep(time.Second)
		if !h.Status()[0].Current {
			t.Error("did not return")
		}
	}, a, b)
}

// An answer of the node that was there before says nothing of the one that has
// come in its place.
func TestChainChangesDuringCheck(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	a.work, b.work = 0, 0
	a.early = true
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		time.Sleep(9900 * time.Millisecond)
		a.set(func() { a.delay["getblockchaininfo"] = time.Second })
		time.Sleep(200 * time.Millisecond) // a check is under way
		a.dead(errRefused)
		h.expect(soon, "b:1", 10, false)
		a.set(func() {
			a.fail[""] = nil
			a.chain = "main"
			a.blocks = append(a.blocks, blockID(10, 3), blockID(11, 3))
		})
		h.silent(20 * time.Second)
		if h.state(0) != "wrong chain" {
			t.Errorf("a is %s", h.state(0))
		}
	}, a, b)
}
