package e2e

import (
	"fmt"
	"testing"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/blocks"
	"github.com/ckpool/ckpool/internal/jobs"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/source"
)

// What becomes of a block, and of those around it, is told as values beside the
// lines: two nodes that are not connected, and a block that one of them gives up
// for the other's chain.
func TestEventsOfABlock(t *testing.T) {
	t.Parallel()
	a, b, fork := unconnectedNodes(t)
	p := setup{nodes: []keys{btcdEntry(a), btcdEntry(b)}}.start(t)
	h := p.connect(t, "alice.rig1")
	h.jobOn(patience, fork)
	s := h.findBlock()
	p.block(s.hash, "confirmed 1")
	other, err := b.Branch(t.Context(), fork, 2)
	if err != nil {
		t.Fatal(err)
	}
	h.jobOn(patience, other[1])
	p.block(s.hash, "orphaned")
	h.client.Close()

	found := wantEvent(t, p.log, func(e blocks.Found) bool { return e.Hash == s.hash })
	if found.Height != 2 || found.Worker != "alice.rig1" || found.Stale || found.Achieved < found.Difficulty || found.State != source.BlockPending {
		t.Errorf("found: %+v", found)
	}
	ended := wantEvent(t, p.log, func(e blocks.RoundEnded) bool { return e.Hash == s.hash })
	if ended.Worker != "alice.rig1" || ended.State != source.BlockConfirmed {
		t.Errorf("round: %+v", ended)
	}
	change := func(state, before string) {
		t.Helper()
		wantEvent(t, p.log, func(e source.BlockChange) bool {
			return e.Height == 2 && display(e.Hash) == s.hash && e.State == state && e.Before == before
		})
	}
	change(source.BlockConfirmed, "")
	change(source.BlockOrphaned, source.BlockConfirmed)
	for _, n := range []*testkit.Btcd{a, b} {
		wantEvent(t, p.log, func(e bitcoind.NodeChange) bool { return e == bitcoind.NodeChange{Node: n.RPC, State: "ok"} })
		wantEvent(t, p.log, func(e bitcoind.NodeFollowed) bool { return e.Node == n.RPC })
	}
	wantEvent(t, p.log, func(e jobs.NewTip) bool {
		return e.Height == 3 && display(e.Hash) == other[1] && e.From == b.RPC && e.Took > 0
	})
	wantEvent(t, p.log, func(e users.BestShare) bool {
		return e.User == "alice" && e.Worker == "alice.rig1" && e.Difficulty == found.Achieved
	})
	wantEvent(t, p.log, func(e session.Left) bool {
		return e.Addr.IsLoopback() && e.User == "alice" && e.Worker == "alice.rig1" && e.Why == netserver.PeerClosed && e.Accepted == 1
	})
}

// wantEvent waits for an event.
func wantEvent[T any](t *testing.T, l *lines, is func(T) bool) (found T) {
	t.Helper()
	eventually(t, patience, fmt.Sprintf("that %T", found), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, what := range l.what {
			if e, ok := what.(T); ok && is(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}
