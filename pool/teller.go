package pool

import (
	"context"
	"fmt"
	"sync"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/blocks"
	"github.com/ckpool/ckpool/internal/session"
)

// maxWaiting is how many changes of blocks wait for a hook that is busy.
const maxWaiting = 1000

// teller calls the hooks that may take their time, one at a time on the goroutine of run.
// What it is told never waits.
type teller struct {
	// immutable
	hooks  Hooks
	events event.Func
	wake   chan struct{} // capacity 1; there is something to tell

	mu sync.Mutex
	// guarded by mu; not told yet
	blocks  []Block
	dropped int // of blocks
	work    *session.Work
}

func newTeller(h Hooks, events event.Func) *teller {
	return &teller{hooks: h, events: events, wake: make(chan struct{}, 1)}
}

// block tells of a block, if there is a hook for that.
func (t *teller) block(b *blocks.Block) {
	if t.hooks.Block == nil {
		return
	}
	told := blockOf(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.blocks) < maxWaiting {
		t.blocks = append(t.blocks, told)
	} else {
		t.dropped++
	}
	t.awake()
}

// newWork tells of new work. It is for a pool with a hook for that.
func (t *teller) newWork(w *session.Work) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.work = w
	t.awake()
}

func (t *teller) awake() {
	select {
	case t.wake <- struct{}{}:
	default: // there is something to tell anyway
	}
}

// run tells until ctx ends, and then what is left.
func (t *teller) run(ctx context.Context) {
	for {
		select {
		case <-t.wake:
			t.tell()
		case <-ctx.Done():
			t.tell()
			return
		}
	}
}

func (t *teller) tell() {
	t.mu.Lock()
	found, dropped, w := t.blocks, t.dropped, t.work
	t.blocks, t.dropped, t.work = nil, 0, nil
	t.mu.Unlock()
	for _, b := range found {
		t.hooks.Block(b)
	}
	if dropped > 0 {
		t.events.Say(event.Error, fmt.Sprintf("The hook for blocks does not keep up: it is not told of %d changes", dropped))
	}
	if w != nil {
		t.hooks.Work(workOf(w))
	}
}
