package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/stratum"
)

// saved lists the files of blocks that are not decided, or rejected.
func (r *running) saved() (names []string) {
	r.t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.config.LogDir, "pool", "blocks"))
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// What a node says to a block is not the end of it: the chain decides.
func TestVerdictsOnBlocks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault fakenode.Fault
		state string // soon
		after string // another block of the same height, and one on top of it
	}{
		{"accepted", fakenode.Fault{}, "confirmed 1", "confirmed 3"},
		{"connection cut before", fakenode.Fault{Kind: fakenode.Cut, Methods: []string{"submitblock"}, Times: 3}, "confirmed 1", "confirmed 3"},
		{"answer cut off", fakenode.Fault{Kind: fakenode.Truncated, Methods: []string{"submitblock"}, Times: 1}, "confirmed 1", "confirmed 3"},
		{"overloaded", fakenode.Fault{Kind: fakenode.WorkQueue, Methods: []string{"submitblock"}, Times: 2}, "confirmed 1", "confirmed 3"},
		{"duplicate", fakenode.Fault{Kind: fakenode.Verdict, Text: "duplicate"}, "pending", "orphaned"},
		{"inconclusive", fakenode.Fault{Kind: fakenode.Verdict, Text: "inconclusive"}, "pending", "orphaned"},
		{"already have block", fakenode.Fault{Kind: fakenode.Verdict, Text: "rejected: already have block 00"}, "pending", "orphaned"},
		{"high-hash", fakenode.Fault{Kind: fakenode.Verdict, Text: "high-hash"}, "rejected: ADDR: high-hash", "rejected: ADDR: high-hash"},
		{"bad-cb-amount", fakenode.Fault{Kind: fakenode.Verdict, Text: "bad-cb-amount"}, "rejected: ADDR: bad-cb-amount", "rejected: ADDR: bad-cb-amount"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n, p, h := startFake(t)
			j := h.job()
			n.SetFault(c.fault)
			s := h.solveBlock(j)
			if reject := h.submit(s); reject != nil {
				t.Errorf("the miner was answered %v", reject)
			}
			p.log.wait(t, 0, "Possible block solve")
			eventually(t, patience, "the submission", func() bool { return len(n.Submissions()) > 0 })
			p.block(s.hash, strings.ReplaceAll(c.state, "ADDR", n.Addr()))
			n.NewBlock()
			h.jobOn(patience, n.NewBlock())
			p.block(s.hash, strings.ReplaceAll(c.after, "ADDR", n.Addr()))

			// A refused block is kept for people, others until they are safe.
			kept := []string{"1001-" + s.hash + ".block"}
			if strings.HasPrefix(c.state, "rejected") {
				kept = []string{"1001-" + s.hash + ".rejected"}
			}
			eventually(t, patience, "files "+strings.Join(kept, " "), func() bool { return slices.Equal(p.saved(), kept) })
		})
	}
}

// Somebody else's block of the same height was there first. The miner's share
// is stale, its block is submitted all the same, and the node asked to prefer
// it.
func TestStaleBlock(t *testing.T) {
	t.Parallel()
	n, p, h := startFake(t)
	s := h.solveBlock(h.job())
	h.jobOn(patience, n.NewBlock())
	if reject := h.submit(s); reject == nil || reject.Code != stratum.JobNotFound || reject.Text != "Stale" {
		t.Errorf("the miner was answered %v", reject)
	}
	p.log.wait(t, 0, "Possible stale share block solve")
	p.block(s.hash, "confirmed 1")
	p.log.wait(t, 0, "Hash for forced possibly stale block, height 1001 confirms block was ACCEPTED")
	h.jobOn(patience, s.hash)
}

// A repeated share is a duplicate, and its block is submitted once.
func TestRepeatedBlock(t *testing.T) {
	t.Parallel()
	n, p, h := startFake(t)
	n.SetFault(fakenode.Fault{Kind: fakenode.Verdict, Text: "inconclusive"})
	s := h.findBlock()
	for range 3 {
		if reject := h.submit(s); reject == nil || reject.Code != stratum.Duplicate {
			t.Errorf("the miner was answered %v", reject)
		}
	}
	p.log.wait(t, 0, "SUBMIT BLOCK RETURNED: inconclusive")
	n.NewBlock()
	n.NewBlock()
	p.block(s.hash, "orphaned")
	if got := len(n.Submissions()); got != 1 {
		t.Errorf("%d submissions", got)
	}
}

// A node that hangs delays neither the miner's answer nor the block, which goes
// to every node at once.
func TestBlockWhileNodeHangs(t *testing.T) {
	t.Parallel()
	hangs := testkit.StartFakeNode(t, fakenode.Config{})
	takes := testkit.StartFakeNode(t, fakenode.Config{})
	p := setup{nodes: []keys{fakeEntry(takes), fakeEntry(hangs)}}.start(t)
	h := p.connect(t, "alice")
	_, tip := takes.Tip()
	j, _ := h.jobOn(patience, tip)
	hangs.SetFault(fakenode.Fault{Kind: fakenode.Hang, Methods: []string{"submitblock", "preciousblock", "getblockhash"}})
	s := h.solveBlock(j)
	began := time.Now()
	if reject := h.submit(s); reject != nil {
		t.Errorf("the miner was answered %v", reject)
	}
	h.jobOn(quick, s.hash)
	p.log.wait(t, 0, "BLOCK ACCEPTED!")
	if took := time.Since(began); took > quick {
		t.Errorf("accepted after %v", took)
	}
	hangs.ClearFault()
	p.block(s.hash, "confirmed 1")
}

// A block found while no node can be reached is kept, over a restart too, and
// submitted when one can.
func TestBlockWhileNodeUnreachable(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(map[bool]string{false: "same run", true: "next run"}[restart], func(t *testing.T) {
			t.Parallel()
			n := testkit.StartFakeNode(t, fakenode.Config{Transactions: 20})
			s := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"logdir": t.TempDir()}}
			p := s.start(t)
			h := p.connect(t, "alice")
			j := h.job()
			n.SetFault(fakenode.Fault{Kind: fakenode.Cut})
			line := p.log.wait(t, 0, "No bitcoinds active")
			b := h.solveBlock(j)
			if reject := h.submit(b); reject != nil {
				t.Errorf("the miner was answered %v", reject)
			}
			p.block(b.hash, "pending")
			eventually(t, patience, "the block's file", func() bool {
				return slices.Equal(p.saved(), []string{"1001-" + b.hash + ".block"})
			})
			p.log.wait(t, line, "SUBMIT BLOCK GOT NO RESPONSE")
			h.connected()
			if restart {
				p.stop()
				p = s.start(t)
				p.log.wait(t, 0, "was undecided, submitting it again")
				p.block(b.hash, "pending")
			}
			n.ClearFault()
			p.block(b.hash, "confirmed 1")
			if _, tip := n.Tip(); tip != b.hash {
				t.Errorf("the node's tip is %s", tip)
			}
			if list := n.Submissions(); len(list[0].Block.Transactions) != 21 {
				t.Errorf("%d transactions", len(list[0].Block.Transactions))
			}
			p.connect(t, "bob").jobOn(patience, b.hash)
			for range 5 {
				n.NewBlock()
			}
			p.block(b.hash, "confirmed 6")
			eventually(t, patience, "the file's end", func() bool { return len(p.saved()) == 0 })
		})
	}
}

// The disk is full when a block is found, and no node can be reached: both go
// together where they share a disk. The block is safe all the same once there is
// room, in this process and in the next one, however that starts.
func TestBlockFoundWithAFullDisk(t *testing.T) {
	t.Parallel()
	for _, next := range []string{"same run", "next run", "handover"} {
		t.Run(next, func(t *testing.T) {
			t.Parallel()
			n := testkit.StartFakeNode(t, fakenode.Config{})
			s := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"logdir": t.TempDir()}}
			p := s.start(t)
			h := p.connect(t, "alice")
			j := h.job()
			// Neither the block nor the table can be written.
			dir := filepath.Join(p.config.LogDir, "pool")
			inTheWay := []string{filepath.Join(dir, "blocks"), filepath.Join(dir, "blocks.json")}
			if err := os.WriteFile(inTheWay[0], nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(inTheWay[1], 0o700); err != nil {
				t.Fatal(err)
			}
			n.SetFault(fakenode.Fault{Kind: fakenode.Cut})
			p.log.wait(t, 0, "No bitcoinds active")
			b := h.solveBlock(j)
			if reject := h.submit(b); reject != nil {
				t.Errorf("the miner was answered %v", reject)
			}
			p.log.wait(t, 0, "is not saved, trying again")
			p.log.wait(t, 0, "Cannot write blocks.json, trying again")
			free := func() {
				for _, path := range inTheWay {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
				}
			}
			switch next {
			case "same run":
				free()
				eventually(t, patience, "the block's file", func() bool {
					return slices.Equal(p.saved(), []string{"1001-" + b.hash + ".block"})
				})
			case "next run":
				free()
				p.stop()
				p = s.start(t)
				p.log.wait(t, 0, "was undecided, submitting it again")
			case "handover":
				// Another process that must be ready needs a template.
				n.SetFault(fakenode.Fault{Kind: fakenode.Cut, Methods: []string{"submitblock"}})
				p = p.upgrade(s)
				free()
			}
			p.block(b.hash, "pending")
			n.ClearFault()
			if found := p.block(b.hash, "confirmed 1"); found.Worker != "alice" || found.Height != 1001 {
				t.Errorf("%+v", found)
			}
			if _, tip := n.Tip(); tip != b.hash {
				t.Errorf("the node's tip is %s", tip)
			}
		})
	}
}

// At an easy network difficulty only a few blocks of one parent are submitted.
// The node has refused them, nobody else mines: new work is tried all the same.
func TestNewWorkIsTriedAfterRefusals(t *testing.T) {
	t.Parallel()
	n, p, h := startFake(t)
	n.SetFault(fakenode.Fault{Kind: fakenode.Verdict, Text: "bad-cb-amount"})
	j := h.job()
	for range 6 {
		if reject := h.submit(h.solveBlock(j)); reject != nil {
			t.Fatalf("the miner was answered %v", reject)
		}
	}
	p.log.wait(t, 0, "only 4 blocks on the same parent are submitted, and one more with each new work; 1 more of height 1001 were not")
	eventually(t, patience, "four submissions", func() bool { return len(n.Submissions()) == 4 })
	n.ClearFault()
	began := time.Now()
	p.command("update")
	next, _ := h.jobSince(patience, began)
	s := h.solveBlock(next)
	if reject := h.submit(s); reject != nil {
		t.Errorf("the miner was answered %v", reject)
	}
	p.block(s.hash, "confirmed 1")
}
