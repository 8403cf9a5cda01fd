package bitcoind

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/source"
)

// inTheWay makes dir impossible until the returned function is called, as a full
// disk does.
func inTheWay(t *testing.T, dir string) (free func()) {
	t.Helper()
	if err := os.WriteFile(dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// A block that cannot be saved when it is found, while no node can be reached,
// is saved as soon as there is room.
func TestBlockIsSavedWhenThereIsRoom(t *testing.T) {
	a := newFakeNode(10)
	dir := filepath.Join(t.TempDir(), "blocks")
	free := inTheWay(t, dir)
	inBubble(t, Options{SaveDir: dir}, func(h *harness) {
		h.next(instant)
		a.dead(errRefused)
		time.Sleep(time.Second)
		h.Submit(10, solvedHash(), solved, func(source.BlockState) {})
		time.Sleep(150 * time.Second)
		h.wantSaid(3, "is not saved, trying again: ")
		want := source.SolvedBlock{Height: 10, Hash: solvedHash(), Serialised: solved, Trouble: "mkdir " + dir + ": not a directory"}
		if list := h.Unsaved(); len(list) != 1 || cmp.Diff(list[0], want) != "" {
			t.Errorf("unsaved: %+v", list)
		}
		free()
		time.Sleep(retryEvery + instant)
		h.wantSaid(1, "is saved now: ")
		if diff := cmp.Diff([]string{savedName(10)}, saved(t, dir)); diff != "" {
			t.Error(diff)
		}
		if list := h.Unsaved(); len(list) != 0 {
			t.Errorf("unsaved: %+v", list)
		}
	}, a)
	if _, _, block, err := readSaved(filepath.Join(dir, savedName(10))); err != nil || !slices.Equal(block, solved) {
		t.Errorf("saved %x, %v", block, err)
	}
}

// At the end it is tried a last time at once, and where the directory cannot
// take it the block goes elsewhere and the operator is told.
func TestBlockIsSavedAtTheEnd(t *testing.T) {
	for _, room := range []bool{true, false} {
		t.Run(fmt.Sprint("room ", room), func(t *testing.T) {
			a := newFakeNode(10)
			elsewhere := t.TempDir()
			t.Setenv("TMPDIR", elsewhere)
			dir := filepath.Join(t.TempDir(), "blocks")
			free := inTheWay(t, dir)
			var ended time.Duration
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Options{SaveDir: dir}, a)
				var began time.Time
				h.run(func() {
					h.next(instant)
					a.dead(errRefused)
					time.Sleep(time.Second)
					h.Submit(10, solvedHash(), solved, func(source.BlockState) {})
					time.Sleep(time.Second / 2)
					synctest.Wait()
					if room {
						free()
					}
					began = time.Now()
				})
				ended = time.Since(began)
				if !room {
					h.wantSaid(1, "is saved as "+filepath.Join(elsewhere, savedName(10))+": move it to "+dir)
				}
			})
			if ended > endPatience+time.Second {
				t.Errorf("the end took %v", ended)
			}
			at := map[bool]string{true: dir, false: elsewhere}[room]
			if diff := cmp.Diff([]string{savedName(10)}, saved(t, at)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Another process that has taken over has the files for itself.
func TestLeave(t *testing.T) {
	a := newFakeNode(10)
	dir := filepath.Join(t.TempDir(), "blocks")
	free := inTheWay(t, dir)
	inBubble(t, Options{SaveDir: dir}, func(h *harness) {
		h.next(instant)
		a.dead(errRefused)
		h.Submit(10, solvedHash(), solved, func(source.BlockState) {})
		time.Sleep(time.Second / 2)
		h.Leave()
		time.Sleep(time.Minute)
		free()
	}, a)
	if _, err := os.Stat(dir); err == nil {
		t.Error("a block was saved")
	}
}

// chainBlock is a block on top of parent, and its hash.
func chainBlock(parent [32]byte, n byte) (block []byte, hash [32]byte) {
	block = slices.Repeat([]byte{n}, 100)
	copy(block[4:36], parent[:])
	first := sha256.Sum256(block[:80])
	return block, sha256.Sum256(first[:])
}

// takesOnTop makes the node take blocks as Bitcoin Core does.
func (f *fakeNode) takesOnTop() {
	f.onSubmit = func(block []byte) string {
		if len(block) != 100 || !bytes.Equal(block[80:], slices.Repeat(block[:1], 20)) {
			return "bad-txnmrklroot"
		}
		first := sha256.Sum256(block[:80])
		hash := sha256.Sum256(first[:])
		switch parent := [32]byte(block[4:36]); {
		case slices.Contains(f.blocks, hash):
			return "duplicate"
		case parent == f.tip():
			f.blocks = append(f.blocks, hash)
			close(f.changed)
			f.changed = make(chan struct{})
			return "null"
		case slices.Contains(f.blocks, parent):
			return "inconclusive"
		}
		return noParent
	}
}

// A node that was killed comes back without the last blocks, and nobody else has
// them: it gets them again, parents first, over a restart of the pool too.
func TestLostBlocksAreSubmittedAgain(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			a := newFakeNode(10)
			a.takesOnTop()
			dir := t.TempDir()
			table := map[[32]byte]source.BlockState{}
			var hashes [][32]byte
			var mu sync.Mutex // guards table
			note := func(hash [32]byte, s source.BlockState) {
				mu.Lock()
				defer mu.Unlock()
				table[hash] = s
			}
			known := func(hash [32]byte) source.BlockState {
				mu.Lock()
				defer mu.Unlock()
				return table[hash]
			}
			wantAgain := func(h *harness) {
				t.Helper()
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if a.height() != 13 {
					t.Errorf("the node's height is %d; events:\n%s", a.height(), h.events())
				}
				// One of them brings all the others.
				if lost := h.said("is no longer in the chain: bitcoind a:1 has the blocks up to "); lost < 1 || h.said("is in the chain again") != lost {
					t.Errorf("%d told; events:\n%s", lost, h.events())
				}
				h.wantSaid(0, noParent)
				for n, hash := range hashes {
					if s := known(hash); s != (source.BlockState{State: source.BlockConfirmed, Confirmations: int64(4 - n)}) {
						t.Errorf("block %d: %+v", 10+n, s)
					}
				}
				if n := len(saved(t, dir)); n != 4 {
					t.Errorf("%d files", n)
				}
			}
			inBubble(t, Options{SaveDir: dir}, func(h *harness) {
				h.next(instant)
				parent := a.best()
				for n := range 4 {
					block, hash := chainBlock(parent, byte(n))
					h.Submit(int64(10+n), hash, block, func(s source.BlockState) { note(hash, s) })
					time.Sleep(time.Second)
					hashes, parent = append(hashes, hash), hash
				}
				if a.height() != 13 {
					t.Fatalf("the node's height is %d", a.height())
				}
				if !restart {
					a.drop(4)
					wantAgain(h)
				}
			}, a)
			if !restart {
				return
			}
			a.blocks = a.blocks[:10]
			inBubble(t, Options{SaveDir: dir}, func(h *harness) {
				if err := h.Resume(func(hash [32]byte) (source.BlockState, string) { return known(hash), "regtest" }, func(_ int64, hash [32]byte, s source.BlockState) { note(hash, s) }); err != nil {
					t.Fatal(err)
				}
				wantAgain(h)
				h.wantSaid(0, "was undecided")
			}, a)
		})
	}
}

// A tip below the block is an answer: the block is not in the chain. Both kinds
// of nodes say so in their own way.
func TestTipBelowTheBlock(t *testing.T) {
	for _, answer := range []string{"", `500 {"code":-1,"message":"Block number out of range"}`} {
		a := newFakeNode(12)
		a.blocks[10] = solvedHash()
		inBubble(t, Options{}, func(h *harness) {
			h.next(instant)
			var s states
			h.Follow(10, solvedHash(), "", source.BlockState{State: source.BlockConfirmed, Confirmations: 2}, s.changed)
			time.Sleep(time.Second)
			s.want(t, "")
			if answer != "" {
				a.say("getblockhash", answer)
			}
			a.drop(2)
			time.Sleep(2 * time.Minute)
			s.want(t, "pending 0")
			h.wantSaid(1, "Block 10 "+displayHash(solvedHash()).String()+" is no longer in the chain: bitcoind a:1 has the blocks up to 9 only")
			h.wantSaid(1, "Block ")
			a.say("getblockhash", "")
			a.add(solvedHash())
			time.Sleep(time.Minute)
			s.want(t, "pending 0, confirmed 1")
		}, a)
	}
}

// What a node does not say is no news.
func TestNodeThatDoesNotSay(t *testing.T) {
	for _, answer := range []string{
		`403 Forbidden`, `500 {"code":-28,"message":"Loading block index"}`, `200 "x"`, `500 {"code":-1,"message":"no"}`,
	} {
		a := newFakeNode(12)
		a.blocks[10] = solvedHash()
		inBubble(t, Options{}, func(h *harness) {
			h.next(instant)
			var s states
			h.Follow(10, solvedHash(), "", source.BlockState{State: source.BlockConfirmed, Confirmations: 2}, s.changed)
			a.say("getblockhash", answer)
			a.drop(2)
			time.Sleep(2 * time.Minute)
			s.want(t, "")
		}, a)
	}
}

// A block of another chain than the node's is neither called orphaned nor offered
// to it: it stays what it was, for a run on its own chain.
func TestBlocksOfAnotherChainAreLeftAlone(t *testing.T) {
	for _, known := range []source.BlockState{{State: source.BlockConfirmed, Confirmations: 2}, {State: source.BlockPending}} {
		t.Run(known.State, func(t *testing.T) {
			a := newFakeNode(120)
			a.takes()
			a.verdict = []string{"bad-cb-height"}
			dir := t.TempDir()
			if err := writeSaved(filepath.Join(dir, savedName(10)), fmt.Appendf(nil, "%x\n", solved)); err != nil {
				t.Fatal(err)
			}
			inBubble(t, Options{SaveDir: dir}, func(h *harness) {
				var s states
				changed := func(_ int64, _ [32]byte, b source.BlockState) { s.changed(b) }
				if err := h.Resume(func([32]byte) (source.BlockState, string) { return known, "main" }, changed); err != nil {
					t.Fatal(err)
				}
				h.Follow(11, blockID(11, 7), "main", known, s.changed)
				h.next(instant)
				time.Sleep(2 * time.Minute)
				s.want(t, "")
				h.wantSaid(0, "orphaned")
				if n := a.count("submitblock"); n != 0 {
					t.Errorf("submitted %d times", n)
				}
				if diff := cmp.Diff([]string{savedName(10)}, saved(t, dir)); diff != "" {
					t.Error(diff)
				}
			}, a)
		})
	}
}

// An operator has told the node not to want the block: it was good once, and may
// be again.
func TestInvalidatedBlockIsNotRejected(t *testing.T) {
	a := newFakeNode(10)
	a.takes()
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		var s states
		h.Submit(10, solvedHash(), solved, s.changed)
		time.Sleep(time.Second)
		a.set(func() { a.onBlock, a.verdict = nil, []string{"duplicate-invalid"} })
		a.drop(1)
		time.Sleep(10 * time.Minute)
		if last := s.last(); last.State != source.BlockPending {
			t.Errorf("%+v", last)
		}
		h.wantSaid(1, "SUBMIT BLOCK RETURNED: duplicate-invalid")
		a.add(solvedHash())
		time.Sleep(time.Minute)
		if last := s.last(); last.State != source.BlockConfirmed {
			t.Errorf("%+v", last)
		}
	}, a)
}

// What was decided before the program ended is not told, nor submitted, again.
func TestDecidedBlocksAreResumedInSilence(t *testing.T) {
	for _, known := range []source.BlockState{
		{State: source.BlockOrphaned}, {State: source.BlockConfirmed, Confirmations: 2}, {State: source.BlockRejected, Text: "a:1: high-hash"},
	} {
		t.Run(known.State, func(t *testing.T) {
			a := newFakeNode(12)
			if known.State == source.BlockConfirmed {
				a.blocks[10] = solvedHash()
			}
			dir := t.TempDir()
			if err := writeSaved(filepath.Join(dir, savedName(10)), fmt.Appendf(nil, "%x\n", solved)); err != nil {
				t.Fatal(err)
			}
			inBubble(t, Options{SaveDir: dir}, func(h *harness) {
				var s states
				changed := func(_ int64, _ [32]byte, b source.BlockState) { s.changed(b) }
				if err := h.Resume(func([32]byte) (source.BlockState, string) { return known, "" }, changed); err != nil {
					t.Fatal(err)
				}
				h.Follow(10, solvedHash(), "", known, s.changed) // it is in the table as well
				h.next(instant)
				time.Sleep(2 * time.Minute)
				h.wantSaid(0, "lock 10")
				if n := a.count("submitblock"); n != 0 {
					t.Errorf("submitted %d times", n)
				}
				want := savedName(10)
				if known.State == source.BlockRejected {
					want = strings.TrimSuffix(want, savedSuffix) + rejectedSuffix
				}
				if diff := cmp.Diff([]string{want}, saved(t, dir)); diff != "" {
					t.Error(diff)
				}
				for range safeDepth - 1 {
					a.mine()
				}
				time.Sleep(time.Second)
				if got := len(saved(t, dir)); got != 0 && known.State != source.BlockRejected {
					t.Errorf("%d files when it is safe", got)
				}
				h.wantSaid(0, "lock 10")
			}, a)
		})
	}
}

// The file of a block that is safe stays where it cannot be removed: the operator
// is told why.
func TestSavedBlockThatCannotBeRemoved(t *testing.T) {
	a := newFakeNode(10)
	a.takes()
	dir := t.TempDir()
	inBubble(t, Options{SaveDir: dir}, func(h *harness) {
		h.next(instant)
		h.Submit(10, solvedHash(), solved, func(source.BlockState) {})
		time.Sleep(time.Second)
		path := filepath.Join(dir, savedName(10))
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o755); err != nil {
			t.Fatal(err)
		}
		for range safeDepth - 1 {
			a.mine()
		}
		time.Sleep(time.Second)
		h.wantSaid(1, "Block 10 "+displayHash(solvedHash()).String()+": remove "+path+": ")
	}, a)
}

// A program killed between writing and naming a file has saved the block.
func TestUnnamedSavedBlock(t *testing.T) {
	dir := t.TempDir()
	whole := fmt.Sprintf("%x\n", solved)
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	write(savedName(10)+".77.tmp", whole)
	write(savedName(11)+".77.tmp", whole[:len(whole)-10])
	write("other.tmp", "x")
	for name, want := range map[string]bool{savedName(10) + ".77.tmp": true, savedName(11) + ".77.tmp": false, "other.tmp": false} {
		if _, ok := finishSaved(filepath.Join(dir, name)); ok != want {
			t.Errorf("%s: %v", name, ok)
		}
	}
	if diff := cmp.Diff([]string{savedName(10), "other.tmp"}, saved(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// A block may be refused before its saving is under way: that goes on all the same,
// and the file of a refused block stays.
func TestBlockIsLetGoBeforeItIsSaved(t *testing.T) {
	dir := t.TempDir()
	g, err := NewGroup([]Config{{URL: "127.0.0.1:1"}}, Options{SaveDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		b := g.newBlock(10, solvedHash(), func(source.BlockState) {})
		b.keep([]byte("block"), false)
		request := b.request
		ended := make(chan struct{})
		go func() {
			b.letGo(true)
			close(ended)
		}()
		synctest.Wait()
		b.save(request)
		<-ended
	})
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || !strings.HasSuffix(files[0].Name(), rejectedSuffix) {
		t.Errorf("files %v, %v", files, err)
	}
}
