package pool

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"ckpool/bitcoind"
	"ckpool/difficulty"
	"ckpool/internal/logfile"
	"ckpool/internal/session"
	"ckpool/stratum"
	"ckpool/work"
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

// told: the skipped candidates were told.
func (c *candidates) told() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skipped = 0
}

// solution is what is kept of a share that solves a block.
type solution struct {
	job         *work.Job
	share       work.Share
	submit      stratum.Submit
	profile     work.Profile
	payout      []byte
	extranonce1 []byte
	worker      string // full name
	stale       bool
	found       time.Time
}

// Block takes a candidate from a session: it is copied and submitted elsewhere,
// at once.
func (p *Pool) Block(s *session.Share) {
	submit, skipped := p.candidates.add(s.Computed.Hash, s.Job, s.Reason != session.Accepted)
	if !submit {
		if skipped > 0 {
			p.tellSkipped(s.Job, skipped)
		}
		return
	}
	f := &solution{
		job: s.Job, share: *s.Computed, submit: *s.Submit, profile: s.Profile, payout: s.Payout,
		extranonce1: slices.Clone(s.Extranonce1), worker: p.names.workerName(s.Worker),
		stale: s.Current != nil && s.Current.Template.PrevHash != s.Job.Template.PrevHash, found: s.Time,
	}
	f.submit.Worker = nil // it is in the session's buffer
	p.submissions.Go(func() { p.submitBlock(f) })
}

// tellSkipped says once a minute that candidates are not submitted.
func (p *Pool) tellSkipped(job *work.Job, n int) {
	if _, ok := p.notices.PassKind("candidates", ""); ok {
		p.candidates.told()
		p.logAt(logfile.LevelWarning, fmt.Sprintf(
			"At network difficulty %g only %d blocks on the same parent are submitted, and one more with each new work; %d more of height %d were not",
			job.NetworkDifficulty, trivialCandidates, n, job.Template.Height))
	}
}

func (p *Pool) submitBlock(f *solution) {
	block := f.job.Block(&f.share, f.profile, f.payout, f.extranonce1, &f.submit)
	height, hash := f.job.Template.Height, f.share.Hash
	record := Block{
		Height: height, Hash: display(hash), Worker: f.worker, Difficulty: f.job.NetworkDifficulty,
		Reward: f.job.Template.CoinbaseValue, Time: f.found, Chain: p.nodes.Chain(),
	}
	kind := "Possible block solve"
	if f.stale {
		kind = "Possible stale share block solve"
	}
	p.blocks.Add(record)
	p.nodes.Submit(height, hash, block, func(s bitcoind.BlockState) { p.blockChanged(record.Hash, s) })
	p.logAt(logfile.LevelNotice, fmt.Sprintf("%s diff %s ! Height %d, hash %s, by %s",
		kind, difficulty.FormatAchieved(f.share.Difficulty), height, record.Hash, logName(record.Worker)))
}

// resumed notes what became of a block that was saved by an earlier run, which
// may have ended before it was in the table.
func resumed(p *Pool, height int64, hash [32]byte, s bitcoind.BlockState) {
	whileOurs(p, func() {
		p.blocks.Add(Block{Height: height, Hash: display(hash), Time: time.Now()})
		changeBlock(p, display(hash), s)
	})
}

// whileOurs calls note unless another process has taken over, which then finds
// out for itself what became of blocks.
func whileOurs(p *Pool, note func()) {
	p.moving.RLock()
	defer p.moving.RUnlock()
	if !p.left.done() {
		note()
	}
}

// blockChanged notes what became of a block.
func (p *Pool) blockChanged(hash string, s bitcoind.BlockState) {
	whileOurs(p, func() { changeBlock(p, hash, s) })
}

// changeBlock changes a block in the table. The first time it is part of the
// chain its round is over.
func changeBlock(p *Pool, hash string, s bitcoind.BlockState) {
	var now Block
	known := p.blocks.Update(hash, func(b *Block) {
		b.State, b.Confirmations, b.Reason = parseBlockState(s), int(s.Confirmations), ""
		if b.State == BlockRejected {
			b.Reason = s.Text
		}
		now = *b
	})
	if known && now.State == BlockConfirmed && p.blocks.EndRound(hash) {
		if w := p.Work(); w == nil || display(w.Job.Template.PrevHash) != hash {
			p.nodes.Refresh("own block")
		}
		headline, shown := p.Solved(&now, time.Now())
		p.logAt(logfile.LevelHeadline, headline)
		p.broadcastMessage(shown)
	}
}

// parseBlockState is the table's word for what the nodes say.
func parseBlockState(s bitcoind.BlockState) BlockState {
	switch s.State {
	case bitcoind.BlockConfirmed:
		return BlockConfirmed
	case bitcoind.BlockOrphaned:
		return BlockOrphaned
	case bitcoind.BlockRejected:
		return BlockRejected
	}
	return BlockPending
}

// nodesState is what the table knows of a block, as the nodes said it.
func (p *Pool) nodesState(hash [32]byte) (s bitcoind.BlockState, chain string) {
	b, known := p.blocks.Get(display(hash))
	if !known {
		return s, ""
	}
	s.Text = b.Reason
	switch b.State {
	case BlockPending:
		s.State = bitcoind.BlockPending
	case BlockConfirmed:
		s.State, s.Confirmations = bitcoind.BlockConfirmed, int64(b.Confirmations)
	case BlockOrphaned:
		s.State = bitcoind.BlockOrphaned
	case BlockRejected:
		s.State = bitcoind.BlockRejected
	}
	return s, b.Chain
}

// followBlocks goes on with blocks an earlier run, or the process before, has
// found: undecided ones are submitted again, the others are followed until they
// are mature.
func (p *Pool) followBlocks() {
	for _, b := range p.inherited {
		p.nodes.Submit(b.Height, b.Hash, b.Serialised, func(s bitcoind.BlockState) { resumed(p, b.Height, b.Hash, s) })
	}
	p.inherited = nil
	err := p.nodes.Resume(p.nodesState, func(height int64, hash [32]byte, s bitcoind.BlockState) { resumed(p, height, hash, s) })
	if err != nil {
		p.logAt(logfile.LevelError, "Cannot read saved blocks: "+err.Error())
	}
	for _, b := range p.blocks.Open() {
		hash, err := parseDisplay(b.Hash)
		if err != nil {
			continue
		}
		known, chain := p.nodesState(hash)
		p.nodes.Follow(b.Height, hash, chain, known, func(s bitcoind.BlockState) { p.blockChanged(b.Hash, s) })
	}
}
