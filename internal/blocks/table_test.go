package blocks

import (
	"bytes"
	"context"
	"encoding/json"
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

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/source"
)

func exampleBlock(n int64) Block {
	return Block{
		Height: 850000 + n, Hash: fmt.Sprintf("%064x", n), Worker: "bob.rig1", Difficulty: 86388558925171.02,
		Reward: 312500000, Time: time.Unix(1795327613+n, 0), BlockState: source.BlockState{State: source.BlockPending},
	}
}

func TestBlocksFile(t *testing.T) {
	dir := t.TempDir()
	blocks := openBlocks(t, dir)
	want := []Block{exampleBlock(0), exampleBlock(1), exampleBlock(2), exampleBlock(3)}
	for _, b := range want {
		blocks.add(b)
	}
	blocks.add(want[1]) // found once more
	change := func(n int, state string, confirmations int64, reason string) {
		t.Helper()
		want[n].BlockState = source.BlockState{State: state, Confirmations: confirmations, Text: reason}
		if !blocks.update(want[n].Hash, func(b *Block) { *b = want[n] }) {
			t.Error("not found")
		}
	}
	change(0, source.BlockConfirmed, 100, "")
	change(1, source.BlockConfirmed, 5, "")
	change(2, source.BlockRejected, 0, "high-hash")
	change(3, source.BlockOrphaned, 0, "")
	if blocks.update("none", func(*Block) {}) {
		t.Error("update of no block")
	}
	want[3].Chain, want[3].Work = "regtest", 1.5e12
	blocks.update(want[3].Hash, func(b *Block) { *b = want[3] })
	if diff := cmp.Diff(map[string]int{"regtest": 1}, blocks.abroad("main")); diff != "" || len(blocks.abroad("regtest")) != 0 {
		t.Errorf("of other chains: %s", diff)
	}
	if err := blocks.save(); err != nil {
		t.Fatal(err)
	}

	again := openBlocks(t, dir)
	if diff := cmp.Diff(want, again.list()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Block{want[1], want[3]}, again.open()); diff != "" {
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
}

// openBlocks reads a table whose file must be in order.
func openBlocks(t *testing.T, dir string) *table {
	t.Helper()
	blocks := newTable(dir, func(e event.Event) { t.Error(e.Text) })
	blocks.load()
	return &blocks
}

// A file that cannot be read does not stop the start: it is put aside, and what
// can be read of it is kept.
func TestDamagedBlocksFile(t *testing.T) {
	good, err := json.Marshal([]Block{exampleBlock(1), exampleBlock(2)})
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(good), "pending", "buried 7", 1)
	for name, c := range map[string]struct {
		text string
		kept int
	}{
		"empty":              {"", 0},
		"NULs":               {strings.Repeat("\x00", 512), 0},
		"cut":                {string(good[:len(good)-20]), 1},
		"NULs at the end":    {string(good[:len(good)-20]) + strings.Repeat("\x00", 20), 1},
		"a newer state":      {newer, 1},
		"no confirmations":   {strings.Replace(string(good), "pending", "confirmed x", 1), 1},
		"of another kind":    {`{"blocks": []}`, 0},
		"of another kind, 2": {`[1, "x", null]`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "pool", "blocks.json")
			var events []string
			for run := range 2 {
				os.MkdirAll(filepath.Dir(path), 0o755)
				if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
					t.Fatal(err)
				}
				blocks := newTable(dir, func(e event.Event) { events = append(events, e.Text) })
				blocks.load()
				if n := len(blocks.list()); n != c.kept {
					t.Errorf("%d blocks kept, want %d", n, c.kept)
				}
				aside := path + []string{".damaged", ".damaged2"}[run]
				if text, err := os.ReadFile(aside); err != nil || string(text) != c.text {
					t.Errorf("put aside: %q, %v", text, err)
				}
				if len(events) != run+1 || !strings.HasPrefix(events[run], "Found blocks left out: "+path+": ") || !strings.HasSuffix(events[run], "; it is now "+aside) {
					t.Errorf("said %q", events)
				}
				if err := blocks.save(); err != nil {
					t.Fatal(err)
				}
				if n := len(openBlocks(t, dir).list()); n != c.kept {
					t.Errorf("%d blocks in the new file", n)
				}
			}
		})
	}
}

// The table is bounded: the newest 1,000 stay, as the manual says.
func TestBlocksAreBounded(t *testing.T) {
	const kept = 1000
	blocks := newTable(t.TempDir(), nil)
	for n := range int64(kept + 10) {
		blocks.add(exampleBlock(n))
		blocks.endRound(exampleBlock(n).Hash)
	}
	list := blocks.list()
	if len(list) != kept || list[0] != exampleBlock(10) || len(blocks.ended) != kept {
		t.Errorf("%d blocks from %d on, %d rounds", len(list), list[0].Height, len(blocks.ended))
	}
}

// The file is written when it can be: a full disk is told once a minute, and
// many changes are few writes.
func TestBlocksAreWrittenWhenTheyCanBe(t *testing.T) {
	dir := t.TempDir()
	inTheWay := filepath.Join(dir, "pool")
	synctest.Test(t, func(t *testing.T) {
		if err := os.WriteFile(inTheWay, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		var events []string
		blocks := newTable(dir, func(e event.Event) { events = append(events, e.Text) })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			blocks.run(ctx)
		}()
		blocks.add(exampleBlock(1))
		time.Sleep(150 * time.Second)
		synctest.Wait()
		if len(events) != 3 || !strings.HasPrefix(events[0], "Cannot write blocks.json, trying again: ") {
			t.Errorf("in 150 s: %q", events)
		}
		os.Remove(inTheWay)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(openBlocks(t, dir).list()); n != 1 {
			t.Errorf("%d blocks in the file", n)
		}
		// In the way again, and gone when the pool ends.
		os.RemoveAll(inTheWay)
		os.WriteFile(inTheWay, nil, 0o644)
		blocks.add(exampleBlock(2))
		time.Sleep(time.Millisecond)
		synctest.Wait()
		os.Remove(inTheWay)
		cancel()
		<-ended
		if n := len(openBlocks(t, dir).list()); n != 2 {
			t.Errorf("%d blocks in the file at the end", n)
		}
	})
}

func TestBlocksConcurrently(t *testing.T) {
	dir := t.TempDir()
	blocks := openBlocks(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	var nodes, writer sync.WaitGroup
	writer.Go(func() { blocks.run(ctx) })
	for n := range int64(10) {
		nodes.Go(func() {
			b := exampleBlock(n)
			blocks.add(b)
			blocks.update(b.Hash, func(b *Block) { b.State = source.BlockOrphaned })
			blocks.list()
		})
	}
	nodes.Wait()
	cancel()
	writer.Wait()
	again := openBlocks(t, dir)
	if diff := cmp.Diff(blocks.list(), again.list()); diff != "" || len(again.list()) != 10 {
		t.Errorf("%d blocks: %s", len(again.list()), diff)
	}
}

// What is read of a file is read again from what is written of it.
func FuzzParseBlocks(f *testing.F) {
	good, _ := json.Marshal([]Block{exampleBlock(1), exampleBlock(2)})
	for _, text := range []string{string(good), string(good[:len(good)-20]), "", "[]", "null", "\x00\x00", `[1, {"state": "lost"}]`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parseBlocks(text)
		if valid := json.Valid(text); !valid && err == nil && !bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
			t.Fatalf("%q is no list", text)
		}
		written, err := json.Marshal(append([]Block{}, list...))
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseBlocks(written)
		if err != nil || !slices.EqualFunc(list, again, func(a, b Block) bool { return a.Hash == b.Hash && a.StateText() == b.StateText() }) {
			t.Fatalf("%s: %v", written, err)
		}
	})
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
