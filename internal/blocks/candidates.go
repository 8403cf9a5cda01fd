package blocks

import (
	"sync"

	"github.com/ckpool/ckpool/work"
)

// trivialDifficulty is a network difficulty at which every other share is a
// block, of which a single one can win. It is the least of all networks but
// regtest.
const trivialDifficulty = 1

// trivialCandidates is how many candidates of one parent are submitted at once
// at that difficulty.
const trivialCandidates = 4

// maxCandidates bounds each of the two generations of candidates.
const maxCandidates = 4096

// candidates are the hashes already submitted, so that a miner that repeats
// its share does not repeat the submission.
type candidates struct {
	mu sync.Mutex
	// guarded by mu
	hashes, old map[[32]byte]bool // old ones are forgotten when hashes is full
	last        [2]siblings       // of good shares, and of refused ones, which nodes may not want
	skipped     int               // since it was told
}

// siblings are the candidates on the parent of the newest job that had one, and
// of older jobs since.
type siblings struct {
	parent [32]byte
	job    uint64
	n      int
}

// add reports whether the candidate is to be submitted; skipped is how many of
// them are not, that nobody was told of.
func (c *candidates) add(hash [32]byte, job *work.Job, refused bool) (submit bool, skipped int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hashes[hash] || c.old[hash] {
		return false, 0
	}
	last := &c.last[0]
	if refused {
		last = &c.last[1]
	}
	if job.ID > last.job {
		n := 0
		if job.Template.PrevHash == last.parent {
			n = min(last.n, trivialCandidates-1) // new work may be right where that before was not
		}
		*last = siblings{parent: job.Template.PrevHash, job: job.ID, n: n}
	}
	if last.n++; job.NetworkDifficulty <= trivialDifficulty && last.n > trivialCandidates {
		c.skipped++
		return false, c.skipped
	}
	c.remember(hash)
	return true, 0
}

// remember is for a caller that holds mu.
func (c *candidates) remember(hash [32]byte) {
	if c.hashes == nil || len(c.hashes) >= maxCandidates {
		c.hashes, c.old = map[[32]byte]bool{}, c.hashes
	}
	c.hashes[hash] = true
}

// told starts the count of skipped candidates anew, after they were logged.
func (c *candidates) told() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skipped = 0
}
