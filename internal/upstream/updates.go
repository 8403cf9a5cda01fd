package upstream

import (
	"context"
	"slices"
	"sync"

	"ckpool/source"
)

// updates are those that nobody has taken yet: the newest of each source, in the order
// in which sources have had something to tell.
type updates struct {
	out  chan source.Update
	wake chan struct{} // capacity 1: there are others than before

	mu      sync.Mutex
	waiting []source.Update // guarded by mu
}

func newUpdates() *updates {
	return &updates{out: make(chan source.Update), wake: make(chan struct{}, 1)}
}

// put takes an update without waiting. One that replaces another before anybody had
// that is on a new block, or voids what is before, where that was.
func (u *updates) put(next source.Update) {
	u.mu.Lock()
	i := slices.IndexFunc(u.waiting, func(w source.Update) bool { return w.Upstream.Source == next.Upstream.Source })
	if i < 0 {
		u.waiting = append(u.waiting, next)
	} else if old := &u.waiting[i]; !old.Ended { // a source that has ended stays so
		if !next.Ended {
			next.NewTip, next.Clean = next.NewTip || old.NewTip, next.Clean || old.Clean
		}
		*old = next
	}
	u.mu.Unlock()
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// run gives the updates out until ctx is done.
func (u *updates) run(ctx context.Context) {
	for {
		u.mu.Lock()
		var out chan source.Update
		var first source.Update
		if len(u.waiting) > 0 {
			out, first = u.out, u.waiting[0]
		}
		u.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-u.wake:
		case out <- first:
			u.taken(first)
		}
	}
}

// taken removes an update that was given out, unless a newer one has replaced it.
func (u *updates) taken(given source.Update) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.waiting {
		w := &u.waiting[i]
		if w.Upstream == given.Upstream && w.Ended == given.Ended {
			u.waiting = slices.Delete(u.waiting, i, i+1)
			return
		}
	}
}
