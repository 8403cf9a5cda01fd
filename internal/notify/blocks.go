package notify

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/source"
)

// matureAfter is how many confirmations a block needs for its reward to be spent: the
// coinbase of height h in the block of height h+100.
const matureAfter = 100

// What was told of a block: toldBlock.State.
const (
	toldFound    = "found"
	toldMatured  = "matured"
	toldOrphaned = "orphaned"
	toldRejected = "rejected"
)

// lookAtBlocks finds what became of the blocks in the table since it was told the last
// time, and tells it if it is to.
func (n *Notifier) lookAtBlocks(now time.Time, tell bool) {
	if n.view.Blocks == nil {
		return
	}
	list := n.view.Blocks()
	var news []Notice
	present := make(map[string]bool, len(list))
	for i := range list {
		b := &list[i]
		present[b.Hash] = true
		state, block := stateOf(b)
		told := n.state.Blocks[b.Hash]
		if told == nil {
			told = &toldBlock{}
		}
		if block.State == source.BlockPending && (told.State == toldOrphaned || told.State == toldRejected) {
			continue // nodes do not have its height at present: that does not say that it is in the chain
		}
		name, resolved := newsOf(told.State, state)
		if name == "" && told.State == state {
			continue
		}
		if name != "" && tell {
			told.Notices++
			news = append(news, Notice{
				ID: fmt.Sprintf("%s-%s-%d", name, b.Hash, told.Notices), Event: name, Time: now, Severity: severityOf(name, resolved), Resolved: resolved,
				Worker: b.Worker, User: userOf(b.Worker), Block: block, Reason: reasonOf(b),
			})
		}
		told.State, told.At = state, now.UTC()
		n.state.Blocks[b.Hash], n.state.dirty = told, true
	}
	slices.SortStableFunc(news, func(a, b Notice) int { return cmp.Compare(rank(&a), rank(&b)) })
	for _, notice := range news {
		n.tell(notice)
	}
	n.state.forgetBlocks(now, present)
}

// What is remembered of blocks that are not in the table: after a crash they may come into
// it again.
const (
	blockForgotten = 30 * 24 * time.Hour
	maxAbsent      = 5000
)

func (s *state) forgetBlocks(now time.Time, present map[string]bool) {
	absent := len(s.Blocks) - len(present)
	if absent <= 0 {
		return
	}
	for hash, b := range s.Blocks {
		if !present[hash] && (now.Sub(b.At) > blockForgotten || absent > maxAbsent) {
			delete(s.Blocks, hash)
			s.dirty = true
			absent--
		}
	}
}

// newsOf is the event of a block whose state was told before, "" if it is none.
func newsOf(before, now string) (name string, resolved bool) {
	switch {
	case before == now:
		return "", false
	case now == toldMatured:
		return config.EventBlockMatured, false
	case now == toldOrphaned, now == toldRejected:
		return config.EventBlockOrphaned, false
	case before == "":
		return config.EventBlockFound, false
	case before == toldOrphaned, before == toldRejected:
		return config.EventBlockOrphaned, true
	}
	return "", false
}

func severityOf(name string, resolved bool) string {
	if name == config.EventBlockOrphaned && !resolved {
		return warning
	}
	return info
}

// stateOf reads a state: pending, confirmed N, orphaned, rejected: TEXT.
func stateOf(b *control.Block) (told string, block *Block) {
	block = &Block{Height: b.Height, Hash: b.Hash, Reward: b.Reward, Difficulty: b.Difficulty, Chain: b.Chain}
	block.State, _, _ = strings.Cut(b.State, " ")
	block.State = strings.TrimSuffix(block.State, ":")
	told = toldFound
	switch block.State {
	case "confirmed":
		_, digits, _ := strings.Cut(b.State, " ")
		block.Confirmations, _ = strconv.ParseInt(digits, 10, 64)
		if block.Confirmations >= matureAfter {
			told = toldMatured
		}
	case "orphaned":
		told = toldOrphaned
	case "rejected":
		told = toldRejected
	}
	return told, block
}

func reasonOf(b *control.Block) string {
	_, reason, _ := strings.Cut(b.State, "rejected: ")
	return reason
}

// userOf is the user of a worker: its name up to the first . or _.
func userOf(worker string) string {
	if i := strings.IndexAny(worker, "._"); i >= 0 {
		return worker[:i]
	}
	return worker
}
