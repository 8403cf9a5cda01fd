// Package source is what all sources of work give, whether they are nodes or other
// pools: updates of work, how the places do that they come from, what becomes of
// solved blocks, and how another pool judges shares of its work. It knows none of the
// sources.
package source

import (
	"time"

	"github.com/ckpool/ckpool/work"
)

// Update is a template that new work is to be made of.
type Update struct {
	Template *work.Template // nil where the source has Ended
	NewTip   bool           // it builds on another block than the update before, of the same source
	From     string         // host:port of the place that gave it
	Received time.Time      // when the last byte of it was read

	// Upstream is what another pool asks of shares of it; nil: it is a node's, and
	// nobody else judges them.
	Upstream *Upstream
	// Clean tells that shares of the jobs before are void, also where they build on the
	// same block.
	Clean bool
	// Ended tells that no more comes of Upstream.Source, and that its jobs are no longer
	// anybody's work. Nothing else is set then but Upstream.
	Ended bool
}

// Status is how one of the places that a source takes work from does.
type Status struct {
	URL     string        // host:port
	State   string        // ok, or what is wrong, in a word or two
	Reason  string        // why it is not ok
	Version string        // as the place calls itself, "" unknown
	Current bool          // work comes from it
	Height  int64         // of its tip, -1 unknown
	Latency time.Duration // of its last answer, 0 unknown
}

// BlockState is what is known of a submitted block.
type BlockState struct {
	// State is pending, confirmed (it is in the chain at its height), orphaned
	// (another block is there; it may become confirmed again) or rejected.
	State         string
	Confirmations int64  // 1 for the tip; 0 unless confirmed
	Text          string // why, in words of those it was submitted to
}

// States of a block: BlockState.State.
const (
	BlockPending   = "pending"   // nobody has said anything that counts yet
	BlockConfirmed = "confirmed" // it is in the chain at its height
	BlockOrphaned  = "orphaned"  // another block is there
	BlockRejected  = "rejected"  // it is no valid block
)

// BlockChange is an event: what became of a block of the pool's. More
// confirmations are none.
type BlockChange struct {
	Height int64    // in the chain
	Hash   [32]byte // in internal byte order
	BlockState
	Before string // BlockState.State until then; "" where that is not known
}

// SolvedBlock is a block as it is submitted.
type SolvedBlock struct {
	Height     int64    // in the chain
	Hash       [32]byte // in internal byte order
	Serialised []byte   // as submitblock takes it
	Trouble    string   // why it could not be saved; "" it was not tried, or is being saved
}
