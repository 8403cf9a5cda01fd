// Package blocks is what becomes of found blocks: which candidates are submitted,
// the table of those that were, and the end of a round. It knows the network
// that takes them and the users they are credited to, but no connection.
package blocks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/jobs"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// Network is what takes solved blocks and tells what becomes of them, such as nodes.
type Network interface {
	Chain() string
	Refresh(reason string)
	Submit(height int64, hash [32]byte, block []byte, changed func(source.BlockState))
	Follow(height int64, hash [32]byte, chain string, known source.BlockState, changed func(source.BlockState))
	Resume(known func(hash [32]byte) (s source.BlockState, chain string), changed func(height int64, hash [32]byte, s source.BlockState)) error
	Unsaved() []source.SolvedBlock
	Leave()
}

// Found is an event: a block that miners of the pool have found is on its way to
// the nodes. What becomes of it is told by source.BlockChange.
type Found struct {
	Block
	Job      uint64  // id
	Achieved float64 // difficulty of its hash
	Stale    bool    // another block of its height was known when it came
}

// Changed is an event: another thing has become of a found block.
type Changed struct{ Block }

// RoundEnded is an event: a found block is part of the chain for the first time.
type RoundEnded struct{ Block }

// Options are what Blocks need of the pool around them.
type Options struct {
	LogDir  string
	Network Network
	Jobs    *jobs.Jobs
	Users   *users.Users
	Events  event.Func
	Limit   func(kind string) bool // whether a text of the kind may be logged now
	Show    func(text string)      // to all miners; returns at once
	// Solved is told of a block before it is submitted; nil: nobody is. It returns at once.
	Solved func(*session.Share)
	// Before is told of a block, and has its bytes, before it is submitted; nil: nobody
	// is. It returns at once.
	Before func(b *Block, block []byte)
	// Elsewhere is told what became of a block that an earlier run has saved and the table does
	// not have. It is true for one of another pool, which is none for the table; nil: there are
	// none.
	Elsewhere func(hash string, s source.BlockState) bool
}

// Blocks are the found blocks. Its methods may be called from any goroutine
// unless they say otherwise.
type Blocks struct {
	options Options // immutable

	candidates candidates
	table      table
	submitting sync.WaitGroup // goroutines of Take

	rounds sync.Mutex // held while the work of a round and what of it counts are of one time

	moving sync.RWMutex // held for reading while what became of a block is noted
	moved  bool         // guarded by moving; another process has taken over

	unsaved []source.SolvedBlock // by the process before; owned by Import, then by Resume
}

// New makes an empty table of blocks.
func New(o Options) *Blocks { return &Blocks{options: o, table: newTable(o.LogDir, o.Events)} }

// Load reads what an earlier run has left.
func (k *Blocks) Load() { k.table.load() }

// List are the newest blocks in the order they were found.
func (k *Blocks) List() []Block { return k.table.list() }

// EndedSince tells that a round has ended with a block that was found after a time.
func (k *Blocks) EndedSince(t, now time.Time) bool {
	return slices.ContainsFunc(k.table.list(), func(b Block) bool {
		return b.State == source.BlockConfirmed && b.Time.After(t) && !b.Time.After(now) // by a clock that was wrong
	})
}

// OnChain tells which blocks are not looked after: those of other chains.
func (k *Blocks) OnChain(chain string) {
	for other, n := range k.table.abroad(chain) {
		k.options.Events.Say(event.Warning, fmt.Sprintf("%d found blocks are of chain %s, the node is on %s: they stay as they are", n, other, chain))
	}
}

// Run keeps the table in its file until ctx ends.
func (k *Blocks) Run(ctx context.Context) { k.table.run(ctx) }

// Wait waits for the submissions that Take has begun to be under way. It is for
// when no more come.
func (k *Blocks) Wait() { k.submitting.Wait() }

// Unsaved names the blocks that no node and no file has yet, and why; "" none.
func (k *Blocks) Unsaved() string {
	var texts []string
	list := k.options.Network.Unsaved()
	for _, b := range list[:min(len(list), 3)] {
		why := ""
		if b.Trouble != "" {
			why = " (" + b.Trouble + ")"
		}
		texts = append(texts, fmt.Sprintf("block %d %s is not saved%s: this process alone has it until a node takes it", b.Height, work.FormatHash(b.Hash), why))
	}
	if more := len(list) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("%d more blocks likewise", more))
	}
	return strings.Join(texts, "; ")
}

// Hold waits until the file is not being written, and keeps it so until Release
// or Leave. The error is that of ctx.
func (k *Blocks) Hold(ctx context.Context) error {
	select {
	case k.table.file <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("files are being written all the time: %w", context.Cause(ctx))
	}
}

// Release ends Hold.
func (k *Blocks) Release() { <-k.table.file }

// Stand makes what becomes of blocks wait, between Hold and Go or Leave: loops
// stand still.
func (k *Blocks) Stand() {
	k.submitting.Wait() // a block found in the last moment goes along
	k.moving.Lock()
}

// Go ends Stand.
func (k *Blocks) Go() { k.moving.Unlock() }

// Leave ends Hold and Stand when another process has taken over, which finds out
// for itself what became of blocks.
func (k *Blocks) Leave() {
	k.options.Network.Leave()
	k.moved, k.table.moved = true, true
	k.Go()
	k.Release()
}
