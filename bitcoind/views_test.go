package bitcoind

import (
	"fmt"
	"testing"
	"time"

	"github.com/ckpool/ckpool/source"
)

// submitted submits a block and collects what is told of it.
func (h *harness) submitted(hash [32]byte) <-chan string {
	states := make(chan string, 16)
	h.Submit(11, hash, make([]byte, 80), func(s source.BlockState) { states <- fmt.Sprint(s.State, " ", s.Confirmations) })
	return states
}

func wantState(t *testing.T, states <-chan string, within time.Duration, want string) {
	t.Helper()
	deadline := time.After(within)
	for {
		select {
		case s := <-states:
			if s == want {
				return
			}
		case <-deadline:
			t.Fatalf("not %s within %v", want, within)
		}
	}
}

// A node that hangs does not delay what the others have decided.
func TestConfirmedBesideHangingNode(t *testing.T) {
	a, b := newFakeNode(11), newFakeNode(11)
	hash := blockID(11, 7)
	a.onBlock = func() { a.add(hash) }
	b.hang["getblockhash"], b.hang["submitblock"] = true, true
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		wantState(t, h.submitted(hash), viewPatience+instant, "confirmed 1")
	}, a, b)
}

// Blocks that come on top of an own one while it is being confirmed count.
func TestConfirmationsOfQuickBlocks(t *testing.T) {
	a := newFakeNode(11)
	hash := blockID(11, 7)
	a.onBlock = func() {
		a.add(hash)
		a.mine()
		a.mine()
	}
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		wantState(t, h.submitted(hash), soon, "confirmed 3")
	}, a)
}
