package jobs

import (
	"context"

	"ckpool/bitcoind"
)

// Update is a new template of a source, with what came with it.
type Update = bitcoind.Update

// Status is how one of the places that a source takes work from does.
type Status = bitcoind.NodeStatus

// Source is where work comes from and where a solution goes; *[bitcoind.Group]
// is one. Its methods may be called from any goroutine.
type Source interface {
	// Run runs it until ctx ends; an error ends the program.
	Run(ctx context.Context) error
	// Templates delivers a new template when work should change; only the newest
	// one that was not taken is kept.
	Templates() <-chan Update
	// Refresh asks for a template now.
	Refresh(reason string)
	// Prepare makes ready for the next template, at a quiet time.
	Prepare()
	// Chain is that of the templates as Bitcoin Core names it, "" unknown.
	Chain() string
	// Usable tells that work can be had.
	Usable() bool
	// Status is how the places of the source do, in order of preference.
	Status() []Status
}
