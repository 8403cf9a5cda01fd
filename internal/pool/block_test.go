package pool

import (
	"os"
	"path/filepath"
	"testing"

	"ckpool/bitcoind"
	"ckpool/work"
)

// Candidates that the pool itself refuses as shares, and nodes perhaps as
// blocks, do not use up the few that are submitted on an easy chain.
func TestRefusedCandidatesDoNotStopGoodOnes(t *testing.T) {
	var c candidates
	job := &work.Job{NetworkDifficulty: 1e-9, Template: &work.Template{PrevHash: [32]byte{1}}}
	hash := [32]byte{}
	add := func(refused bool) bool { hash[0]++; return c.add(hash, job, refused) }
	for range 2 * trivialCandidates {
		add(true)
	}
	if add(true) {
		t.Error("refused candidates are submitted without end")
	}
	for range trivialCandidates {
		if !add(false) {
			t.Error("a good candidate is not submitted")
		}
	}
	if add(false) {
		t.Error("candidates are submitted without end")
	}
	if c.add([32]byte{1}, job, false) {
		t.Error("a candidate is submitted again")
	}
}

// The program may have been killed between saving a block and noting it.
func TestResumedBlockIsInTheTable(t *testing.T) {
	dir := t.TempDir()
	blocks, err := OpenBlocks(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := &Pool{blocks: blocks}
	hash := [32]byte{7}
	blocks.EndRound(display(hash)) // there is no pool that could
	resumed(p, 850000, hash, bitcoind.BlockState{State: bitcoind.BlockConfirmed, Confirmations: 2})
	list := blocks.List()
	if len(list) != 1 || list[0].Height != 850000 || list[0].Hash != display(hash) || list[0].StateText() != "confirmed 2" {
		t.Errorf("blocks %+v", list)
	}
	if _, err := os.Stat(filepath.Join(dir, "pool", "blocks.json")); err != nil {
		t.Error(err)
	}
}
