package bitcoind

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/source"
)

// solved is a block that the fake nodes take as the next one.
var solved = slices.Repeat([]byte{0x5a}, 200)

func solvedHash() [32]byte {
	first := sha256.Sum256(solved[:80])
	return sha256.Sum256(first[:])
}

// takes makes the node put the solved block on top of its chain when it is
// submitted, every byte of it.
func (f *fakeNode) takes() {
	f.onBlock = func() {
		f.mu.Lock()
		takes := bytes.Equal(f.submitted, solved) && !slices.Contains(f.blocks, solvedHash())
		f.mu.Unlock()
		if takes {
			f.add(solvedHash())
		}
	}
}

// states collects what is said of a block.
type states struct {
	mu   sync.Mutex
	list []source.BlockState
}

func (s *states) changed(b source.BlockState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, b)
}

func (s *states) all() []source.BlockState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

func (s *states) last() source.BlockState {
	if all := s.all(); len(all) > 0 {
		return all[len(all)-1]
	}
	return source.BlockState{}
}

func (s *states) String() string {
	var parts []string
	for _, b := range s.all() {
		parts = append(parts, fmt.Sprintf("%s %d", b.State, b.Confirmations))
	}
	return strings.Join(parts, ", ")
}

func (s *states) want(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	if got := s.String(); got != want {
		t.Errorf("states %q, want %q: %+v", got, want, s.all())
	}
}

// unknown is what a pool without a table of blocks knows of them.
func unknown([32]byte) (source.BlockState, string) { return source.BlockState{}, "" }

func saved(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func savedName(height int) string {
	return fmt.Sprintf("%d-%s.block", height, displayHash(solvedHash()))
}

// A block goes to all nodes at once, is confirmed by the one that has it, and
// gives new work at once.
func TestSubmit(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	a.takes()
	b.hang["submitblock"] = true
	dir := filepath.Join(t.TempDir(), "blocks")
	inBubble(t, Options{SaveDir: dir}, func(h *harness) {
		h.next(instant)
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		h.expect(instant, "a:1", 11, true)
		s.want(t, "confirmed 1")
		h.wantSaid(1, "Block taken: bitcoind a:1, block 10, 0 ms")
		h.wantSaid(1, "BLOCK ACCEPTED! 10 "+displayHash(solvedHash()).String()+" by bitcoind a:1")
		if a.count("preciousblock") != 1 || b.count("submitblock") != 1 {
			t.Error("no preciousblock, or not all nodes got it")
		}
		for n := range 100 {
			want := savedName(10)
			if n+1 >= safeDepth {
				want = ""
			}
			if got := strings.Join(saved(t, dir), " "); got != want {
				t.Errorf("with %d confirmations there is %q, want %q", n+1, got, want)
			}
			a.mine()
			time.Sleep(time.Second)
		}
		if last := s.last(); last != (source.BlockState{State: "confirmed", Confirmations: 100}) {
			t.Errorf("at last %+v", last)
		}
		if n := len(s.all()); n != 100 {
			t.Errorf("%d states", n)
		}
	}, a, b)
}

// An own block gives new work at once, also where the node tells no new tip: it is
// asked.
func TestOwnBlockGivesWorkAtOnce(t *testing.T) {
	a := newFakeNode(10)
	a.noLongPoll = true
	a.takes()
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		h.Submit(10, solvedHash(), solved, func(source.BlockState) {})
		h.expect(instant, "a:1", 11, true)
	}, a)
}

// What a node says to submitblock does not decide; its chain does.
func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		name, verdict string
		taken         bool
		want          string
		said          string
	}{
		{"accepted", "null", true, "confirmed 1", "BLOCK ACCEPTED!"},
		{"duplicate", "duplicate", true, "confirmed 1", "Block taken before (duplicate)"},
		{"inconclusive but first", "inconclusive", true, "confirmed 1", "Hash for forced possibly stale block, height 10 confirms block was ACCEPTED"},
		{"btcd has it", "rejected: already have block 5a", true, "confirmed 1", "height 10 confirms block was ACCEPTED"},
		{"btcd does not know the parent", "null", false, "pending 0", "Block taken"},
		{"inconclusive", "inconclusive", false, "pending 0", "SUBMIT BLOCK RETURNED: inconclusive"},
		{"inconclusive before", "duplicate-inconclusive", false, "pending 0", "SUBMIT BLOCK RETURNED: duplicate-inconclusive"},
		{"high hash", "high-hash", false, "rejected 0", "was rejected: a:1: high-hash"},
		{"bad merkle root", "bad-txnmrklroot", false, "rejected 0", "SUBMIT BLOCK RETURNED: bad-txnmrklroot"},
		{"parent missing", "prev-blk-not-found", false, "pending 0", "SUBMIT BLOCK RETURNED: prev-blk-not-found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newFakeNode(11) // a competitor has the height
			a.verdict = []string{test.verdict}
			if test.taken {
				a.onBlock = func() { a.set(func() { a.blocks[10] = solvedHash() }) }
			}
			inBubble(t, Options{}, func(h *harness) {
				h.next(instant)
				var s states
				h.Submit(10, solvedHash(), solved, s.changed)
				time.Sleep(500 * time.Millisecond)
				s.want(t, test.want)
				h.wantSaid(1, test.said)
			}, a)
		})
	}
}

// A node that cannot decide yet gets the block again every second: one that
// catches up, or whose clock is behind.
func TestUndecidedNodeGetsTheBlockAgain(t *testing.T) {
	for _, verdict := range []string{
		"prev-blk-not-found", "time-too-new",
		"rejected: block timestamp of 2026-11-19 12:00:00 +0000 UTC is too far in the future", // btcd
	} {
		t.Run(verdict, func(t *testing.T) {
			a := newFakeNode(10)
			inBubble(t, Options{}, func(h *harness) {
				h.next(instant)
				a.set(func() { a.verdict = []string{verdict} })
				var s states
				h.Submit(10, solvedHash(), solved, s.changed)
				time.Sleep(3*retryEvery + instant)
				h.wantSaid(1, "SUBMIT BLOCK RETURNED: "+verdict)
				s.want(t, "")
				a.set(func() { a.verdict = nil })
				a.set(a.takes)
				time.Sleep(retryEvery)
				s.want(t, "confirmed 1")
			}, a)
		})
	}
}

// One node's refusal is not all nodes': the block is lost when the last of them
// refuses it, and not before.
func TestRefusedByOneNode(t *testing.T) {
	for _, taken := range []bool{true, false} {
		t.Run(fmt.Sprint("taken by the other ", taken), func(t *testing.T) {
			a, b := newFakeNode(10), newFakeNode(10)
			a.verdict = []string{"bad-cb-height"}
			b.delay["submitblock"] = 3 * time.Second
			want := "rejected 0"
			if taken {
				b.takes()
				want = "confirmed 1"
			} else {
				b.verdict = []string{"bad-cb-height"}
			}
			inBubble(t, Options{}, func(h *harness) {
				h.next(instant)
				var s states
				h.Submit(10, solvedHash(), solved, s.changed)
				time.Sleep(2 * time.Second)
				s.want(t, "") // the other may be about to take it
				time.Sleep(2 * time.Second)
				s.want(t, want)
			}, a, b)
		})
	}
}

// A node of another chain has no say in a block: it does not get it, and what it
// has at that height does not make an orphan of it.
func TestNodeOfAnotherChainHasNoSay(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(200)
	a.takes()
	b.chain = "main"
	b.fail[""] = errRefused
	inBubble(t, Options{}, func(h *harness) {
		h.expect(rankPatience+instant, "a:1", 10, true)
		b.dead(nil)
		time.Sleep(time.Minute)
		if got := h.state(1); got != stateWrongChain {
			t.Fatalf("the other node's state is %q", got)
		}
		before := b.count("submitblock")
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		time.Sleep(2 * time.Minute)
		s.want(t, "confirmed 1")
		if n := b.count("submitblock") - before; n != 0 {
			t.Errorf("submitted %d times", n)
		}
	}, a, b)
}

// A node takes the block and loses it before anybody has seen it there: it gets
// it again after ten seconds.
func TestTakenBlockThatIsNowhere(t *testing.T) {
	a := newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		time.Sleep(time.Second)
		s.want(t, "pending 0")
		before := a.count("submitblock")
		a.set(a.takes)
		time.Sleep(retryLater)
		s.want(t, "pending 0, confirmed 1")
		if n := a.count("submitblock") - before; n != 1 {
			t.Errorf("submitted %d times more", n)
		}
	}, a)
}

// A block that is submitted, and is in the table and in a file as well, is
// submitted and told once.
func TestBlockIsFollowedOnce(t *testing.T) {
	a := newFakeNode(10)
	a.takes()
	dir := t.TempDir()
	inBubble(t, Options{SaveDir: dir}, func(h *harness) {
		h.next(instant)
		before := a.count("submitblock")
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		h.Submit(10, solvedHash(), solved, s.changed)
		time.Sleep(time.Second)
		if err := h.Resume(unknown, func(_ int64, _ [32]byte, b source.BlockState) { s.changed(b) }); err != nil {
			t.Fatal(err)
		}
		h.Follow(10, solvedHash(), "", source.BlockState{State: source.BlockPending}, s.changed)
		time.Sleep(time.Second)
		s.want(t, "confirmed 1")
		if n := a.count("submitblock") - before; n != 1 {
			t.Errorf("submitted %d times", n)
		}
	}, a)
}

// Of two own blocks of the same height one loses its place to the other: the nodes
// have both. To submit the loser again would make them prefer it.
func TestOwnBlocksOfOneHeight(t *testing.T) {
	a := newFakeNode(10)
	a.takes()
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		var first, second states
		h.Submit(10, solvedHash(), solved, first.changed)
		time.Sleep(time.Second)
		sibling, hash := chainBlock(blockID(9, 0), 1)
		a.set(func() { a.onBlock = nil })
		h.Submit(10, hash, sibling, second.changed)
		time.Sleep(time.Second)
		second.want(t, "pending 0")
		before := a.count("submitblock")
		a.set(func() { a.blocks[10] = hash })
		time.Sleep(2 * time.Minute)
		first.want(t, "confirmed 1, pending 0")
		second.want(t, "pending 0, confirmed 1")
		if n := a.count("submitblock") - before; n != 0 {
			t.Errorf("submitted %d times more", n)
		}
	}, a)
}

// An orphan may come back until the other block has had 100 on top of it.
func TestOrphanIsFollowedToTheEnd(t *testing.T) {
	a := newFakeNode(10 + finalDepth)
	inBubble(t, Options{}, func(h *harness) {
		var s states
		h.next(instant)
		h.Follow(10, solvedHash(), "", source.BlockState{State: source.BlockOrphaned}, s.changed)
		time.Sleep(time.Minute + 17*time.Second) // not when it is looked at anyway
		asked := func() int {
			before := a.count("getblockhash")
			a.mine()
			time.Sleep(time.Minute)
			return a.count("getblockhash") - before
		}
		if asked() == 0 {
			t.Error("it was not looked at with 100 blocks on top")
		}
		if n := asked(); n != 0 {
			t.Errorf("looked at %d times afterwards", n)
		}
		s.want(t, "orphaned 0")
	}, a)
}

// Undecodable is final, every other error is not.
func TestJudge(t *testing.T) {
	if got := outcomeOf("", &RPCError{Code: -22, Message: "Block decode failed", Status: 500}); got != refused {
		t.Error(got)
	}
	for _, err := range []error{
		&RPCError{Code: -28, Status: 500}, &RPCError{Status: 401}, &RPCError{Status: 503}, &timeoutError{}, errRefused,
	} {
		if got := outcomeOf("", err); got != again {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// All nodes are down when the block is found: it is saved, tried every second
// and accepted when one is back.
func TestSubmitWhileAllNodesAreDown(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	a.takes()
	dir := t.TempDir()
	inBubble(t, Options{SaveDir: dir}, func(h *harness) {
		h.next(instant)
		a.dead(errRefused)
		b.dead(errRefused)
		time.Sleep(time.Second)
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		time.Sleep(9*time.Minute + 500*time.Millisecond)
		if n := a.count("submitblock"); n < 9*60 || n > 9*60+3 {
			t.Errorf("%d attempts in 9 minutes", n)
		}
		if diff := cmp.Diff([]string{savedName(10)}, saved(t, dir)); diff != "" {
			t.Error(diff)
		}
		content, err := os.ReadFile(filepath.Join(dir, savedName(10)))
		if err != nil || string(content) != hex.EncodeToString(solved)+"\n" {
			t.Errorf("saved %q, %v", content, err)
		}
		if n := h.said("SUBMIT BLOCK GOT NO RESPONSE!"); n < 100 || n > 120 {
			t.Errorf("%d lines in 9 minutes for two nodes", n)
		}
		if !strings.HasPrefix(s.String(), "pending 0") {
			t.Error(s.String())
		}
		a.dead(nil)
		time.Sleep(1100 * time.Millisecond)
		if last := s.last(); last.State != "confirmed" {
			t.Errorf("%+v", last)
		}
		time.Sleep(time.Minute)
		if n := b.count("submitblock"); n > 9*60+5 {
			t.Errorf("%d attempts at the other node after it was confirmed", n)
		}
	}, a, b)
}

// A connection that breaks is tried again at once.
func TestSubmitRetriesAtOnce(t *testing.T) {
	a := newFakeNode(10)
	a.takes()
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		a.set(func() { a.fail["submitblock"] = syscall.ECONNRESET })
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		synctest.Wait()
		if n := a.count("submitblock"); n != 2 {
			t.Errorf("%d attempts at once, want 2", n)
		}
		a.set(func() { a.fail["submitblock"] = nil })
		time.Sleep(retryEvery + instant)
		if !strings.HasSuffix(s.String(), "confirmed 1") {
			t.Error(s.String())
		}
	}, a)
}

// A competitor wins, and later loses.
func TestOrphanedAndBack(t *testing.T) {
	a := newFakeNode(10)
	a.takes()
	dir := t.TempDir()
	inBubble(t, Options{SaveDir: dir}, func(h *harness) {
		h.next(instant)
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		time.Sleep(time.Second)
		var ours [][32]byte
		a.set(func() {
			ours = append(slices.Clone(a.blocks[:11]), blockID(11, 0), blockID(12, 0))
			a.blocks = append(slices.Clone(a.blocks[:10]), blockID(10, 9), blockID(11, 9))
		})
		time.Sleep(time.Second)
		a.set(func() { a.blocks = ours })
		time.Sleep(time.Second)
		s.want(t, "confirmed 1, orphaned 0, confirmed 3")
		h.wantSaid(1, "was orphaned: "+displayHash(blockID(10, 9)).String()+" is at height 10 of bitcoind a:1")
		h.wantSaid(1, "is in the chain again")
	}, a)
}

// A race that is lost: the competitor came first and gets the next block.
func TestLostRace(t *testing.T) {
	a := newFakeNode(11)
	a.verdict = []string{"inconclusive"}
	dir := t.TempDir()
	inBubble(t, Options{SaveDir: dir}, func(h *harness) {
		h.next(instant)
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		time.Sleep(time.Minute)
		s.want(t, "pending 0")
		a.mine()
		time.Sleep(time.Second)
		s.want(t, "pending 0, orphaned 0")
		h.wantSaid(1, "height 10 confirms block was REJECTED")
		if len(saved(t, dir)) != 1 {
			t.Error("an undecided block is not kept")
		}
		for range safeDepth - 1 {
			a.mine()
		}
		time.Sleep(time.Second)
		if names := saved(t, dir); len(names) != 0 {
			t.Errorf("left over: %v", names)
		}
	}, a)
}

func TestRejectedBlockIsKept(t *testing.T) {
	a := newFakeNode(10)
	a.verdict = []string{"bad-cb-height"}
	dir := t.TempDir()
	inBubble(t, Options{SaveDir: dir}, func(h *harness) {
		h.next(instant)
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		time.Sleep(time.Second)
		s.want(t, "rejected 0")
		want := []string{strings.TrimSuffix(savedName(10), ".block") + ".rejected"}
		if diff := cmp.Diff(want, saved(t, dir)); diff != "" {
			t.Error(diff)
		}
	}, a)
}

// One node on a longer chain knows better than one that still has the block.
func TestLongestChainDecides(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	a.takes()
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		time.Sleep(time.Second)
		b.add(blockID(10, 5))
		time.Sleep(time.Second)
		s.want(t, "confirmed 1")
		b.add(blockID(11, 5))
		time.Sleep(time.Second)
		s.want(t, "confirmed 1, orphaned 0")
	}, a, b)
}

// A node that was too slow with the news of a longer chain is asked again soon, without
// waiting for the next block.
func TestSlowNodeIsAskedAgain(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	a.takes()
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		time.Sleep(time.Second)
		s.want(t, "confirmed 1")
		b.set(func() { b.delay["getblockhash"] = 2 * viewPatience })
		b.add(blockID(10, 5))
		b.add(blockID(11, 5))
		time.Sleep(3 * viewPatience)
		s.want(t, "confirmed 1")
		b.set(func() { delete(b.delay, "getblockhash") })
		time.Sleep(retryLater)
		s.want(t, "confirmed 1, orphaned 0")
	}, a, b)
}

func TestFollow(t *testing.T) {
	a := newFakeNode(10)
	a.blocks = append(a.blocks, solvedHash(), blockID(11, 0))
	inBubble(t, Options{}, func(h *harness) {
		var s states
		h.Follow(10, solvedHash(), "", source.BlockState{State: source.BlockConfirmed, Confirmations: 1}, s.changed)
		h.next(instant)
		synctest.Wait()
		s.want(t, "confirmed 2")
		a.set(func() {
			for height := range 200 {
				a.blocks = append(a.blocks, blockID(12+height, 0))
			}
		})
		time.Sleep(time.Second)
		s.want(t, "confirmed 2, confirmed 202")
		before := a.count("getblockhash")
		time.Sleep(time.Minute)
		if a.count("getblockhash") != before {
			t.Error("followed beyond the end")
		}
		h.wantSaid(0, "BLOCK ACCEPTED")
	}, a)
}

// The program ends with an undecided block and starts again.
func TestResume(t *testing.T) {
	dir := t.TempDir()
	a := newFakeNode(10)
	a.fail["submitblock"] = errRefused
	a.takes()
	inBubble(t, Options{SaveDir: dir}, func(h *harness) {
		h.next(instant)
		h.Submit(10, solvedHash(), solved, func(source.BlockState) {})
		time.Sleep(time.Minute)
	}, a)
	for name, content := range map[string]string{
		"junk.block":          "",
		"10-ab.block":         "",
		"unrelated":           "",
		savedName(99) + "tmp": "5a",
		"7-" + strings.Repeat("00", 32) + ".block": hex.EncodeToString(solved),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a.fail["submitblock"] = nil
	inBubble(t, Options{SaveDir: dir}, func(h *harness) {
		var s states
		err := h.Resume(unknown, func(height int64, hash [32]byte, b source.BlockState) {
			if height != 10 || hash != solvedHash() {
				t.Errorf("height %d, hash %x", height, hash)
			}
			s.changed(b)
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s.want(t, "confirmed 1")
		h.wantSaid(3, "Saved block ")
		h.wantSaid(1, "was undecided, submitting it again")
	}, a)
}

func TestResumeWithoutDirectory(t *testing.T) {
	g, err := NewGroup([]Config{{URL: "h"}}, Options{SaveDir: filepath.Join(t.TempDir(), "none")})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Resume(unknown, nil); err != nil {
		t.Error(err)
	}
}

// Ending the program while a node still thinks about the block loses nothing.
func TestEndDuringSubmission(t *testing.T) {
	a := newFakeNode(10)
	a.takes()
	a.delay["submitblock"] = 3 * time.Second
	dir := t.TempDir()
	var s states
	inBubble(t, Options{SaveDir: dir}, func(h *harness) {
		h.next(instant)
		h.Submit(10, solvedHash(), solved, s.changed)
		time.Sleep(time.Second)
	}, a)
	if s.String() != "confirmed 1" {
		t.Error(s.String())
	}
}

// A node that hangs does not hold up the end for more than 5 s, and the block
// is there at the next start.
func TestEndDuringHangingSubmission(t *testing.T) {
	a := newFakeNode(10)
	a.hang["submitblock"] = true
	dir := t.TempDir()
	var end time.Time
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Options{SaveDir: dir}, a)
		h.run(func() {
			h.next(instant)
			h.Submit(10, solvedHash(), solved, func(source.BlockState) {})
			time.Sleep(time.Second)
			end = time.Now()
		})
		if took := time.Since(end); took > endPatience {
			t.Errorf("took %v", took)
		}
		h.Submit(11, solvedHash(), solved, func(source.BlockState) {})
	})
	if diff := cmp.Diff([]string{savedName(10), savedName(11)}, saved(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// Nodes that cannot be reached do not hold up the end: the block goes on in the
// next run.
func TestEndWithAnUndecidedBlock(t *testing.T) {
	nodes := []*fakeNode{newFakeNode(10), newFakeNode(10), newFakeNode(10)}
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Options{SaveDir: t.TempDir()}, nodes...)
		var end time.Time
		h.run(func() {
			h.next(instant)
			for _, n := range nodes {
				n.dead(errRefused)
			}
			h.Submit(10, solvedHash(), solved, func(source.BlockState) {})
			time.Sleep(time.Second)
			synctest.Wait()
			end = time.Now()
		})
		if took := time.Since(end); took > instant {
			t.Errorf("took %v", took)
		}
	})
}

func TestSaveReportsErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	a := newFakeNode(10)
	a.takes()
	inBubble(t, Options{SaveDir: file}, func(h *harness) {
		h.next(instant)
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		time.Sleep(time.Second)
		s.want(t, "confirmed 1")
		h.wantSaid(1, "is not saved, trying again: ")
	}, a)
}
