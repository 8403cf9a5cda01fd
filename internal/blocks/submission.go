package blocks

import (
	"fmt"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// Take takes a candidate from a session: it is copied and submitted elsewhere,
// at once.
func (k *Blocks) Take(s *session.Share) {
	submit, skipped := k.candidates.add(s.Computed.Hash, s.Job, s.Reason != session.Accepted)
	if !submit {
		if skipped > 0 {
			k.tellSkipped(s.Job, skipped)
		}
		return
	}
	found, worker := *s, k.options.Users.WorkerName(s.Worker) // which may be forgotten in a moment
	k.submitting.Go(func() { k.submit(&found, worker) })
}

// tellSkipped says once a minute that candidates are not submitted.
func (k *Blocks) tellSkipped(job *work.Job, n int) {
	if k.options.Limit("candidates") {
		k.candidates.told()
		k.options.Events.Say(event.Warning, fmt.Sprintf(
			"At network difficulty %g only %d blocks on the same parent are submitted, and one more with each new work; %d more of height %d were not",
			job.NetworkDifficulty, trivialCandidates, n, job.Template.Height))
	}
}

func (k *Blocks) submit(s *session.Share, worker string) {
	if k.options.Solved != nil {
		k.options.Solved(s)
	}
	m, solution := s.Miner(), s.Solution()
	block := s.Job.Block(&s.Computed, &m, &solution)
	height, hash := s.Job.Template.Height, s.Computed.Hash
	if block == nil {
		k.options.Events.Say(event.Error, fmt.Sprintf("Block of height %d, hash %s, by %s cannot be submitted: the transactions of its template are not known",
			height, work.FormatHash(hash), users.LogName(worker)))
		return
	}
	record := Block{
		Height: height, Hash: work.FormatHash(hash), Worker: worker, Difficulty: s.Job.NetworkDifficulty,
		Reward: s.Job.Template.CoinbaseValue, Time: s.Time, Chain: k.options.Network.Chain(),
	}
	kind := "Possible block solve"
	stale := s.Current != nil && s.Current.Template.PrevHash != s.Job.Template.PrevHash
	if stale {
		kind = "Possible stale share block solve"
	}
	if k.options.Before != nil {
		k.options.Before(&record, block)
	}
	k.rounds.Lock()
	record.Work = k.options.Users.RoundWork()
	k.table.add(record)
	k.rounds.Unlock()
	k.options.Network.Submit(height, hash, block, func(state source.BlockState) { k.changed(record.Hash, state) })
	record.State = source.BlockPending
	k.options.Events.Tell(event.Event{
		Level: event.Notice,
		Text: fmt.Sprintf("%s diff %s ! Height %d, hash %s, by %s",
			kind, difficulty.FormatAchieved(s.Computed.Difficulty), height, record.Hash, users.LogName(record.Worker)),
		What: Found{Block: record, Job: s.Job.ID, Achieved: s.Computed.Difficulty, Stale: stale},
	})
}

// resumed notes what became of a block that was saved by an earlier run, which
// may have ended before it was in the table.
func (k *Blocks) resumed(height int64, hash [32]byte, s source.BlockState) {
	text := work.FormatHash(hash)
	k.Ours(func() {
		_, known := k.table.get(text)
		if !known && k.options.Elsewhere != nil && k.options.Elsewhere(text, s) {
			return
		}
		k.table.add(Block{Height: height, Hash: text, Time: time.Now()})
		k.change(text, s, !known)
	})
}

// Ours calls note unless another process has taken over, which then finds
// out for itself what became of blocks.
func (k *Blocks) Ours(note func()) {
	k.moving.RLock()
	defer k.moving.RUnlock()
	if !k.moved {
		note()
	}
}

// changed notes what became of a block.
func (k *Blocks) changed(hash string, s source.BlockState) {
	k.Ours(func() { k.change(hash, s, false) })
}

// change changes a block in the table, and tells what is new of it, or whatever it is if the
// block is new. The first time it is part of the chain its round is over.
func (k *Blocks) change(hash string, s source.BlockState, isNew bool) {
	var before, now Block
	known := k.table.update(hash, func(b *Block) {
		if s.State != source.BlockRejected {
			s.Text = ""
		}
		before = *b
		b.BlockState = s
		now = *b
	})
	if now != before || isNew { // else it is another reason, or what an earlier run knew
		k.options.Events.Tell(event.Event{
			Level: event.Debug, Text: fmt.Sprintf("Block %d %s is %s", now.Height, hash, now.StateText()), What: Changed{now},
		})
	}
	if known && now.State == source.BlockConfirmed && k.table.endRound(hash) {
		if w := k.options.Jobs.Newest(); w == nil || work.FormatHash(w.Job.Template.PrevHash) != hash {
			k.options.Network.Refresh("own block")
		}
		k.rounds.Lock()
		round := k.options.Users.RoundWork()
		headline, shown := k.options.Users.EndRound(now.Height, now.Worker, now.Reward, time.Now())
		k.table.roundEnded(hash, round)
		k.rounds.Unlock()
		k.options.Events.Tell(event.Event{Level: event.Warning, Text: headline, Headline: true, What: RoundEnded{now}})
		k.options.Show(shown)
	}
}

// known is what the table knows of a block.
func (k *Blocks) known(hash [32]byte) (s source.BlockState, chain string) {
	b, _ := k.table.get(work.FormatHash(hash))
	return b.BlockState, b.Chain
}

// Resume goes on with blocks an earlier run, or the process before, has
// found: undecided ones are submitted again, the others are followed until they
// are mature.
func (k *Blocks) Resume() {
	for _, b := range k.unsaved {
		k.options.Network.Submit(b.Height, b.Hash, b.Serialised, func(s source.BlockState) { k.resumed(b.Height, b.Hash, s) })
	}
	k.unsaved = nil
	err := k.options.Network.Resume(k.known, func(height int64, hash [32]byte, s source.BlockState) { k.resumed(height, hash, s) })
	if err != nil {
		k.options.Events.Say(event.Error, "Cannot read saved blocks: "+err.Error())
	}
	for _, b := range k.table.open() {
		hash, err := work.ParseHash(b.Hash)
		if err != nil {
			continue
		}
		known, chain := k.known(hash)
		k.options.Network.Follow(b.Height, hash, chain, known, func(s source.BlockState) { k.changed(b.Hash, s) })
	}
}
