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

// trivialCandidates is how many candidates of one parent are submitted where
// the network difficulty is below 1: there every other share is one, and a
// single block can win.
const trivialCandidates = 4

// candidates are the hashes already submitted, so that a miner that repeats
// its share does not repeat the submission.
type candidates struct {
	mu     sync.Mutex
	hashes map[[32]byte]bool // guarded by mu
	last   [2]siblings       // guarded by mu; of good shares, and of refused ones, which nodes may not want
}

// siblings are the candidates on the parent of the last one.
type siblings struct {
	parent [32]byte
	n      int
}

// add reports whether the candidate is to be submitted.
func (c *candidates) add(hash [32]byte, job *work.Job, refused bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hashes[hash] {
		return false
	}
	last := &c.last[0]
	if refused {
		last = &c.last[1]
	}
	if job.Template.PrevHash != last.parent {
		*last = siblings{parent: job.Template.PrevHash}
	}
	if last.n++; job.NetworkDifficulty < 1 && last.n > trivialCandidates {
		return false
	}
	if c.hashes == nil {
		c.hashes = map[[32]byte]bool{}
	}
	c.hashes[hash] = true
	return true
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
	if !p.candidates.add(s.Computed.Hash, s.Job, s.Reason != session.Accepted) {
		return
	}
	f := &solution{
		job: s.Job, share: *s.Computed, submit: *s.Submit, profile: s.Profile, payout: s.Payout,
		extranonce1: slices.Clone(s.Extranonce1), worker: p.names.workerName(s.Worker),
		stale: s.Current != nil && s.Current.Template.PrevHash != s.Job.Template.PrevHash, found: s.Time,
	}
	f.submit.Worker = slices.Clone(s.Submit.Worker)
	p.submissions.Go(func() { p.submitBlock(f) })
}

func (p *Pool) submitBlock(f *solution) {
	block := f.job.Block(&f.share, f.profile, f.payout, f.extranonce1, &f.submit)
	height, hash := f.job.Template.Height, f.share.Hash
	record := Block{
		Height: height, Hash: display(hash), Worker: f.worker, Difficulty: f.job.NetworkDifficulty,
		Reward: f.job.Template.CoinbaseValue, Time: f.found,
	}
	kind := "Possible block solve"
	if f.stale {
		kind = "Possible stale share block solve"
	}
	added := make(chan struct{})
	p.nodes.Submit(height, hash, block, func(s bitcoind.BlockState) {
		<-added
		p.blockChanged(record.Hash, s)
	})
	p.logAt(logfile.LevelNotice, fmt.Sprintf("%s diff %s ! Height %d, hash %s, by %s",
		kind, difficulty.FormatAchieved(f.share.Difficulty), height, record.Hash, logName(record.Worker)))
	if err := p.blocks.Add(record); err != nil {
		p.logAt(logfile.LevelError, "Cannot write blocks.json: "+err.Error())
	}
	close(added)
}

// resumed notes what became of a block that was saved by an earlier run, which
// may have ended before it was in the table.
func resumed(p *Pool, height int64, hash [32]byte, s bitcoind.BlockState) {
	whileOurs(p, func() {
		err := p.blocks.Add(Block{Height: height, Hash: display(hash), Time: time.Now()})
		if err != nil {
			p.logAt(logfile.LevelError, "Cannot write blocks.json: "+err.Error())
		}
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
	known, err := p.blocks.Update(hash, func(b *Block) {
		b.State, b.Confirmations, b.Reason = parseBlockState(s), int(s.Confirmations), ""
		if b.State == BlockRejected {
			b.Reason = s.Text
		}
		now = *b
	})
	if err != nil {
		p.logAt(logfile.LevelError, "Cannot write blocks.json: "+err.Error())
	}
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

// followBlocks goes on with blocks an earlier run has found: undecided ones are
// submitted again, the others are followed until they are mature.
func (p *Pool) followBlocks() {
	err := p.nodes.Resume(func(height int64, hash [32]byte, s bitcoind.BlockState) { resumed(p, height, hash, s) })
	if err != nil {
		p.logAt(logfile.LevelError, "Cannot read saved blocks: "+err.Error())
	}
	for _, b := range p.blocks.Open() {
		hash, err := parseDisplay(b.Hash)
		if err != nil {
			continue
		}
		p.nodes.Follow(b.Height, hash, func(s bitcoind.BlockState) { p.blockChanged(b.Hash, s) })
	}
}
