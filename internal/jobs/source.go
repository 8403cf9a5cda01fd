package jobs

import (
	"context"

	"github.com/ckpool/ckpool/source"
)

// Source is where work comes from, such as nodes. Its methods may be called from
// any goroutine.
//
// What miners find does not go back through it. Where the work is another pool's, the
// [source.Judge] of an update takes the shares that meet that pool's difficulty. One that
// solves a block goes to the blocks.Network, which needs a template whose transactions
// are known.
//
// It may be several sources in one, each with a number: connections to other pools, see
// [source.Upstream].
type Source interface {
	// Run runs it until ctx ends; an error ends the program.
	Run(ctx context.Context) error
	// Templates delivers an update when work should change; only the newest one
	// of each number that was not taken is kept.
	Templates() <-chan source.Update
	// Refresh asks for an update now.
	Refresh(reason string)
	// Prepare makes ready for the next update, at a quiet time.
	Prepare()
	// Chain is that of the templates as Bitcoin Core names it, "" unknown.
	Chain() string
	// Usable tells that work can be had.
	Usable() bool
	// Status is how the places of the source do, at least one, in order of
	// preference.
	Status() []source.Status
}
