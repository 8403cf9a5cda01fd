package bitcoind

import (
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/source"
)

// tracker knows what all nodes said last, and decides which of them to follow
// and what work to deliver. It calls nobody: watchers of the nodes tell it
// changes and wait for its wishes.
type tracker struct {
	// immutable
	options Options
	updates chan source.Update
	rearm   chan struct{} // capacity 1: wake is earlier than it was

	mu sync.Mutex
	// guarded by mu
	nodes         []*node
	chain         string
	current       *node  // nil: none usable
	last          *node  // the current one before that
	leading       bool   // followed only because it had a new tip first
	published     tip    // what the newest update builds on
	source        *node  // in whose chain that is
	wish, granted uint64 // refreshes asked for, and the newest served
	started       time.Time
	held          time.Time // since when work is held back; zero: it is not
	warned        bool      // that it is held back no more
	told          schedule
	events        []event.Event
	wake          time.Time     // when to evaluate again
	changed       chan struct{} // closed and replaced when a node's tip changes
}

// update makes a change and does what follows from it.
func (tr *tracker) update(change func(now time.Time)) {
	tr.mu.Lock()
	now := time.Now()
	if change != nil {
		change(now)
	}
	before := tr.wake
	tr.wake = now.Add(time.Hour)
	tr.evaluate(now)
	if tr.wake.Before(before) {
		signal(tr.rearm)
	}
	events := tr.events
	tr.events = nil
	tr.mu.Unlock()
	for _, e := range events {
		tr.options.Events.Tell(e)
	}
}

// wakeAt asks for another evaluation at t or earlier.
func (tr *tracker) wakeAt(t time.Time) {
	if t.Before(tr.wake) {
		tr.wake = t
	}
}

// newTip returns a channel that is closed at the next change of a node's tip, or
// of its chain.
func (tr *tracker) newTip() <-chan struct{} {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.changed
}
