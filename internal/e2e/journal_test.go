package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/disk"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/journal"
)

// records are those of the pool's journal, in words, and what is wrong with it.
func (r *running) records(each func(k *journal.Record)) {
	r.t.Helper()
	dir := filepath.Join(r.config.LogDir, "journal")
	s, err := journal.Check(dir, func(f journal.Finding) { r.t.Errorf("%v: %s", f.Position, f.Text) }, nil)
	if err != nil || s.Wrong > 0 || s.Missing > 0 || s.JobMissing > 0 {
		r.t.Errorf("%+v, %v", s, err)
	}
	j, err := journal.Open(dir, journal.Cursor{})
	if err != nil {
		r.t.Fatal(err)
	}
	defer j.Close()
	for {
		k, err := j.Read()
		if err == io.EOF {
			return
		}
		if err != nil {
			r.t.Fatal(err)
		}
		each(k)
	}
}

// Everything that accounting needs is in the journal: each share that was answered,
// with the reason of those that were refused, computed again from the job that is
// in it, blocks and what became of them, who came and went.
func TestJournal(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	p := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"journal": "journal", "journal_sync": 10}}.start(t)
	h := p.connect(t, "bob.rig1")
	j := h.job()
	var want []string // reason, hash
	submit := func(s solution, reason string) {
		t.Helper()
		if reject := h.submit(s); (reject == nil) != (reason == "accepted") {
			t.Fatalf("%s: %v", reason, reject)
		}
		want = append(want, reason+" "+s.hash)
	}
	first := h.solve(j, targetOf(j))
	submit(first, "accepted")
	submit(h.solve(j, targetOf(j)), "accepted")
	submit(first, "duplicate")
	late := h.solve(j, targetOf(j))
	weak := h.solve(j, difficulty.TargetFromDifficulty(1e-10))
	for weak.achieved >= j.Difficulty {
		weak = h.solve(j, difficulty.TargetFromDifficulty(1e-10))
	}
	submit(weak, "above target")
	next, _ := h.jobOn(patience, n.NewBlock())
	submit(late, "stale")
	block := h.solveBlock(next)
	submit(block, "accepted")
	p.block(block.hash, "confirmed 1")
	p.stop()

	var got, states, events []string
	p.records(func(k *journal.Record) {
		m := k.Miner
		if m != nil && (m.User != "bob" || m.Worker != "bob.rig1" || k.Kind != journal.KindBlock && (m.Agent != "e2e/1" || m.Address != "127.0.0.1")) {
			t.Errorf("%v %+v", k.Kind, m)
		}
		switch k.Kind {
		case journal.KindShare:
			got = append(got, k.Reason+" "+display(k.Share.Hash))
			if k.Scheme != "pplns" || k.Share.Difficulty != j.Difficulty || k.Share.Credit != 0 != (k.Reason == "accepted") {
				t.Errorf("%+v", k.Share)
			}
		case journal.KindBlock:
			if b := k.Block; display(b.Hash) != block.hash || b.Height != 1002 || b.Reward <= 0 {
				t.Errorf("%+v", b)
			}
			states = append(states, k.Block.State)
		case journal.KindJob, journal.KindStatistics, journal.KindDifficulty:
		default:
			events = append(events, k.Kind.String())
		}
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("shares (-want +got):\n%s", diff)
	}
	// Each writer's records are in order: those of blocks and those of the miner.
	if want := []string{"pending", "confirmed"}; !slices.Equal(slices.Compact(states), want) {
		t.Errorf("block %q, want %q", states, want)
	}
	if want := []string{"connect", "worker", "leave"}; !slices.Equal(events, want) {
		t.Errorf("%q, want %q", events, want)
	}
}

// The journal goes from process to process with the miners: no share is missing
// and none is there twice, also where a new process fails.
func TestJournalInUpgrades(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x1d00ffff})
	s := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"journal": "journal", "maxdiff": 1e-8}}
	p := s.start(t)
	c := p.mine(t, 200, "a", "b", "c")
	more := func() {
		had := len(c.all())
		eventually(t, patience, "shares", func() bool { return len(c.all()) > had+50 })
	}
	for range 3 {
		more()
		p = p.upgrade(s)
	}
	for _, fails := range []string{"copied", "complete"} {
		more()
		seen := false
		next, err := p.succeed(s, func(step string) error {
			if step == fails {
				seen = true
				return errors.New("no")
			}
			return nil
		})
		if err == nil {
			p = next
			t.Logf("taken over in spite of a failure at %q (%v)", fails, seen)
		}
	}
	more()
	c.stop()
	p.stop()
	c.undisturbed()
	told := map[string]int{}
	for _, share := range c.all() {
		told[fmt.Sprint(share.Reject == nil)]++
	}
	if n := told["false"]; n > 0 { // undisturbed lets stale ones pass
		t.Errorf("%d shares were refused, and nobody has found a block", n)
	}
	kept, hashes := map[string]int{}, map[[32]byte]int{}
	last := uint64(0)
	p.records(func(k *journal.Record) {
		if k.Kind == journal.KindShare {
			kept[fmt.Sprint(k.Reason == "accepted")]++
			hashes[k.Share.Hash]++
		}
		last = k.Epoch
	})
	if diff := cmp.Diff(told, kept); diff != "" {
		t.Errorf("shares (-told +kept):\n%s", diff)
	}
	if last < 4 || len(hashes) != kept["true"] {
		t.Errorf("%d epochs, %d different shares", last, len(hashes))
	}
}

// While the journal's disk is full no process gives the journal up for another that could not go
// on with it: shares are kept all the same, in memory, until there is room.
func TestUpgradeWithFullJournal(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	logs, full := t.TempDir(), disk.Mount(t, "-t", "tmpfs", "-o", "size=2m", "none")
	if err := os.Symlink(full, filepath.Join(logs, "journal")); err != nil {
		t.Fatal(err)
	}
	s := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"journal": "journal", "logdir": logs}}
	p := s.start(t)
	h := p.connect(t, "alice")
	h.share()
	filler, err := os.Create(filepath.Join(full, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for err = nil; err == nil; {
		_, err = filler.Write(make([]byte, 4<<10))
	}
	if _, err := p.succeed(s, nil); err == nil || !strings.Contains(err.Error(), "the old process goes on: journal") || !strings.Contains(err.Error(), "no space left on device") {
		t.Fatalf("the upgrade: %v", err)
	}
	h.share()
	if n := p.log.count("not kept for ckdb"); n > 0 {
		t.Error("a share is not kept")
	}
	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	p = p.upgrade(s)
	h.share()
	p.stop()
	shares := 0
	p.records(func(k *journal.Record) {
		if k.Kind == journal.KindShare {
			shares++
		}
	})
	if shares != 3 {
		t.Errorf("%d shares are in the journal, want 3", shares)
	}
}

// A journal that nobody has asked for, and that is none, keeps nobody from mining, in an upgrade
// as at the start.
func TestUpgradeWithoutTheJournal(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	logs := t.TempDir()
	if err := os.WriteFile(filepath.Join(logs, "journal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"journal": "journal", "logdir": logs}, unasked: true}
	p := s.start(t)
	p.log.wait(t, 0, "not kept for ckdb: ")
	h := p.connect(t, "alice")
	h.share()
	p.upgrade(s)
	h.share()
}
