package pool

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func exampleBlock(n int64) Block {
	return Block{
		Height: 850000 + n, Hash: fmt.Sprintf("%064x", n), Worker: "bob.rig1", Difficulty: 86388558925171.02,
		Reward: 312500000, Time: time.Unix(1795327613+n, 0),
	}
}

func TestBlocksFile(t *testing.T) {
	dir := t.TempDir()
	blocks, err := OpenBlocks(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []Block{exampleBlock(0), exampleBlock(1), exampleBlock(2), exampleBlock(3)}
	for _, b := range want {
		if err := blocks.Add(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := blocks.Add(want[1]); err != nil { // found once more
		t.Fatal(err)
	}
	change := func(n int, state BlockState, confirmations int, reason string) {
		t.Helper()
		want[n].State, want[n].Confirmations, want[n].Reason = state, confirmations, reason
		found, err := blocks.Update(want[n].Hash, func(b *Block) { *b = want[n] })
		if err != nil || !found {
			t.Errorf("update: %v, %v", found, err)
		}
	}
	change(0, BlockConfirmed, 100, "")
	change(1, BlockConfirmed, 5, "")
	change(2, BlockRejected, 0, "high-hash")
	change(3, BlockOrphaned, 0, "")
	if found, err := blocks.Update("none", func(*Block) {}); found || err != nil {
		t.Errorf("update of no block: %v, %v", found, err)
	}

	again, err := OpenBlocks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, again.List()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Block{want[1], want[3]}, again.Open()); diff != "" {
		t.Errorf("to be followed: %s", diff)
	}
	data, err := os.ReadFile(filepath.Join(dir, "pool", "blocks.json"))
	if err != nil {
		t.Fatal(err)
	}
	const second = ` {
  "height": 850001,
  "hash": "0000000000000000000000000000000000000000000000000000000000000001",
  "worker": "bob.rig1",
  "difficulty": 86388558925171.02,
  "reward": 312500000,
  "time": 1795327614,
  "state": "confirmed 5"
 },
`
	if !strings.Contains(string(data), second) {
		t.Errorf("file:\n%s", data)
	}
	answer := string(Queries{}.Blocks(again))
	if want := `{"blocks": [{"height": 850000, "hash": "` + strings.Repeat("0", 64) + `", "worker": "bob.rig1", "difficulty": 86388558925171.016, "reward": 312500000, "time": 1795327613, "state": "confirmed 100"}, `; !strings.HasPrefix(answer, want) {
		t.Errorf("answer:\n%s", answer)
	}
	if !strings.HasSuffix(answer, `"state": "rejected: high-hash"}, {"height": 850003, "hash": "`+want[3].Hash+`", "worker": "bob.rig1", "difficulty": 86388558925171.016, "reward": 312500000, "time": 1795327616, "state": "orphaned"}]}`) || !json.Valid([]byte(answer)) {
		t.Errorf("answer:\n%s", answer)
	}
}

func TestBlocksBadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pool", "blocks.json")
	os.MkdirAll(filepath.Dir(path), 0o755)
	for _, text := range []string{"", "{", `[{"state": "lost"}]`, `[{"state": "confirmed x"}]`} {
		os.WriteFile(path, []byte(text), 0o644)
		if _, err := OpenBlocks(dir); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestBlocksConcurrently(t *testing.T) {
	dir := t.TempDir()
	blocks, err := OpenBlocks(dir)
	if err != nil {
		t.Fatal(err)
	}
	var nodes sync.WaitGroup
	for n := range int64(10) {
		nodes.Go(func() {
			b := exampleBlock(n)
			if err := blocks.Add(b); err != nil {
				t.Error(err)
			}
			if _, err := blocks.Update(b.Hash, func(b *Block) { b.State = BlockOrphaned }); err != nil {
				t.Error(err)
			}
			blocks.List()
		})
	}
	nodes.Wait()
	again, err := OpenBlocks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(blocks.List(), again.List()); diff != "" || len(again.List()) != 10 {
		t.Errorf("%d blocks: %s", len(again.List()), diff)
	}
}

func FuzzBlockState(f *testing.F) {
	for _, text := range []string{"pending", "confirmed 6", "orphaned", "rejected: high-hash", "confirmed -1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var b, again Block
		if b.parseState(text) != nil {
			return
		}
		if err := again.parseState(b.StateText()); err != nil || again != b {
			t.Fatalf("%q reads %+v, printed and read %+v, %v", text, b, again, err)
		}
	})
}

func TestSolved(t *testing.T) {
	h := newHarness(t, nil)
	w := grant(t, h.State, "bob.rig1").Worker
	h.SetNetworkDifficulty(1000)
	h.Share(accepted(w, start.Add(10*time.Second), 420, 500))
	h.found("")
	now := start.Add(20 * time.Second)
	headline, shown := h.Solved(&Block{Height: 850000, Worker: "bob.rig1", Reward: 312500000}, now)
	if want := "Block 850000 solved by bob.rig1 @ ckpool!"; shown != want {
		t.Errorf("miners are shown %q", shown)
	}
	// 1 - exp(-0.42)
	if want := "BLOCK 850,000 FOUND by bob.rig1: 3.125 BTC, odds 34%"; headline != want {
		t.Errorf("the operator is told %q", headline)
	}
	events := h.found("")
	if len(events) != 4 || events[0] != "5 Solved and confirmed block 850000 by bob.rig1" ||
		!strings.HasPrefix(events[1], `5 User bob:{"hashrate1m": "`) || !strings.HasSuffix(events[1], `"shares": 420, "authorised": 1795327613}`) ||
		!strings.HasPrefix(events[2], `5 Worker bob.rig1:{"hashrate1m": "`) || strings.Contains(events[2], "shares") ||
		events[3] != "5 Block solved after 420 shares at 42.0% diff" {
		t.Errorf("logged: %s", strings.Join(events, "\n"))
	}
	if st := h.Status(now, Sessions{}); st.Accepted != 0 {
		t.Errorf("round not reset: %+v", st)
	}
	headline, shown = h.Solved(&Block{Height: 850001}, now)
	if shown != "Block solved by ckpool!" || headline != "BLOCK 850,001 FOUND, odds none" {
		t.Errorf("of an unknown worker: %q, %q", shown, headline)
	}
}
