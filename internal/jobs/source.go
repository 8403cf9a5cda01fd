package jobs

import (
	"context"

	"ckpool/source"
)

// Source is where work comes from, such as nodes. Its methods may be called from
// any goroutine.
//
// What miners find does not go back through it. Each judged share goes to every
// [session.Sink], where another pool takes those that meet its difficulty. One that
// solves a block goes to the blocks.Network before that, which needs a template
// whose transactions are known.
type Source interface {
	// Run runs it until ctx ends; an error ends the program.
	Run(ctx context.Context) error
	// Templates delivers an update when work should change; only the newest one
	// that was not taken is kept.
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
