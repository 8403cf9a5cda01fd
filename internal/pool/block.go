package pool

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"ckpool/bitcoind"
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
	mu      sync.Mutex
	hashes  map[[32]byte]bool // guarded by mu
	parent  [32]byte          // guarded by mu; of the last candidate
	trivial int               // guarded by mu; candidates on parent
}

// add reports whether the candidate is to be submitted.
func (c *candidates) add(hash [32]byte, job *work.Job) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hashes[hash] {
		return false
	}
	if job.Template.PrevHash != c.parent {
		c.parent, c.trivial = job.Template.PrevHash, 0
	}
	if c.trivial++; job.NetworkDifficulty < 1 && c.trivial > trivialCandidates {
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
	worker      session.WorkerID
	stale       bool
	found       time.Time
}

// Block takes a candidate from a session: it is copied and submitted elsewhere,
// at once.
func (p *Pool) Block(s *session.Share) {
	if !p.candidates.add(s.Computed.Hash, s.Job) {
		return
	}
	f := &solution{
		job: s.Job, share: *s.Computed, submit: *s.Submit, profile: s.Profile, payout: s.Payout,
		extranonce1: slices.Clone(s.Extranonce1), worker: s.Worker,
		stale: s.Current != nil && s.Current.Template.PrevHash != s.Job.Template.PrevHash, found: s.Time,
	}
	f.submit.Worker = slices.Clone(s.Submit.Worker)
	p.submissions.Go(func() { p.submitBlock(f) })
}

func (p *Pool) submitBlock(f *solution) {
	block := f.job.Block(&f.share, f.profile, f.payout, f.extranonce1, &f.submit)
	height, hash := f.job.Template.Height, f.share.Hash
	worker := p.accounts.WorkerName(f.worker)
	record := Block{
		Height: height, Hash: display(hash), Worker: worker, Difficulty: f.share.Difficulty,
		Reward: f.job.Template.CoinbaseValue, Time: f.found.Unix(),
	}
	confirmed := false
	p.nodes.Submit(height, hash, block, func(s bitcoind.BlockState) {
		p.blockChanged(record.Hash, s)
		if s.State == stateConfirmed && !confirmed {
			confirmed = true
			p.blockSolved(f, worker)
		}
	})
	kind := "Possible block solve"
	if f.stale {
		kind = "Possible stale share block solve"
	}
	p.logAt(logfile.LevelWarning, fmt.Sprintf("%s diff %f ! height %d hash %s by %s", kind, f.share.Difficulty, height, record.Hash, worker))
	if err := p.blocks.Add(record); err != nil {
		p.logAt(logfile.LevelError, "Cannot write blocks.json: "+err.Error())
	}
}

// blockChanged notes what became of a block.
func (p *Pool) blockChanged(hash string, s bitcoind.BlockState) {
	if err := p.blocks.Change(hash, s.State, s.Confirmations, s.Text); err != nil {
		p.logAt(logfile.LevelError, "Cannot write blocks.json: "+err.Error())
	}
}

// blockSolved celebrates a block that a node has made its own.
func (p *Pool) blockSolved(f *solution, worker string) {
	p.nodes.Refresh("own block")
	height := f.job.Template.Height
	p.logAt(logfile.LevelWarning, fmt.Sprintf("Solved and confirmed block %d by %s", height, worker))
	now := time.Now()
	for _, line := range p.accounts.BlockLines(f.worker, f.job.NetworkDifficulty, now) {
		p.logAt(logfile.LevelWarning, line)
	}
	p.accounts.ResetRound(now)
	p.broadcastMessage(solvedText(height, worker, p.config.PoolTag))
}

func solvedText(height int64, worker, pool string) string {
	if worker == "" {
		return "Block solved by " + pool + "!"
	}
	return fmt.Sprintf("Block %d solved by %s @ %s!", height, worker, pool)
}
