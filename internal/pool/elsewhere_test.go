package pool

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/blocks"
	"github.com/ckpool/ckpool/internal/remote"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// submitting is nodes that say of the last block what they are told to.
type submitting struct {
	blocks.Network
	changed func(source.BlockState)
}

func (n *submitting) Submit(_ int64, _ [32]byte, _ []byte, changed func(source.BlockState)) {
	n.changed = changed
}

// The round of a main pool ends once with a block of a remote, also where the pool is started
// anew before nodes have had the block for so long that it is not kept any more.
func TestBlockOfRemoteEndsOneRound(t *testing.T) {
	pending, confirmed := source.BlockState{State: source.BlockPending}, source.BlockState{State: source.BlockConfirmed, Confirmations: 1}
	first, second := [32]byte{7}, [32]byte{8}
	p, nodes, headlines := newPool(t, "127.0.0.1:1"), &submitting{}, []string(nil)
	events := event.Func(func(e event.Event) {
		if e.Headline {
			headlines = append(headlines, e.Text)
		}
	})
	p.network, p.events = nodes, events
	restart := func() { p.elsewhere = newElsewhere(p.Config().LogDir, events) }
	restart()
	submit := func(id [32]byte) {
		p.submitOf(&remote.Block{ID: id, WholeBlock: poolproto.WholeBlock{Height: 1001, Hash: work.FormatHash(id), Worker: "alice.rig1", Name: "asia", Block: make([]byte, 81)}})
	}
	want := func(what string, n int) {
		t.Helper()
		if len(headlines) != n {
			t.Errorf("%s: %d headlines, want %d: %q", what, len(headlines), n, headlines)
		}
	}
	submit(first)
	nodes.changed(pending)
	want("pending", 0)
	for range 2 {
		nodes.changed(confirmed)
	}
	want("confirmed, twice", 1)
	submit(second)
	restart()
	submit(first) // by a new link
	nodes.changed(confirmed)
	if !p.changedElsewhere(work.FormatHash(first), confirmed) { // as it was saved
		t.Error("the block is none of another pool after a restart")
	}
	want("confirmed again after a restart", 1)
	for range 2 {
		if !p.changedElsewhere(work.FormatHash(second), confirmed) {
			t.Error("a block that was pending is none of another pool after a restart")
		}
	}
	want("another, after a restart", 2)
	if headline := "Block 1001, hash " + work.FormatHash(second) + ", by alice.rig1 @ asia: it is part of the chain"; !slices.Contains(headlines, headline) {
		t.Errorf("%q, want %q", headlines, headline)
	}
	if p.changedElsewhere(work.FormatHash([32]byte{9}), confirmed) {
		t.Error("a block that nobody has told of is another pool's")
	}
}

// What of the file cannot be read is put aside.
func TestElsewhereDamaged(t *testing.T) {
	var said []string
	e := newElsewhere(t.TempDir(), func(e event.Event) { said = append(said, e.Text) })
	if err := os.MkdirAll(strings.TrimSuffix(e.path, "/elsewhere.json"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.path, []byte(`[{"hash":`), 0o600); err != nil {
		t.Fatal(err)
	}
	e.note(&remote.Block{ID: [32]byte{1}})
	e.save()
	again := newElsewhere("", nil)
	again.path = e.path
	if _, _, known := again.end(work.FormatHash([32]byte{1}), false); !known || len(said) != 1 || !strings.Contains(said[0], "elsewhere.json.damaged") {
		t.Errorf("known %v; said %q", known, said)
	}
	for n := range maxElsewhere {
		again.note(&remote.Block{ID: [32]byte{2, byte(n), byte(n >> 8)}})
	}
	if n := len(again.blocks); n != maxElsewhere {
		t.Errorf("%d blocks are known, want %d", n, maxElsewhere)
	}
}
