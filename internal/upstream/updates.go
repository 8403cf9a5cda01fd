package upstream

import (
	"context"
	"slices"
	"sync"

	"github.com/ckpool/ckpool/source"
)

// updates hands updates of many sources to one who takes them when he can. Of each
// source the newest that was not taken is kept: whoever gives one never waits.
type updates struct {
	out   chan source.Update // capacity 1
	given chan struct{}      // capacity 1: there is something new

	mu      sync.Mutex
	waiting []source.Update // guarded by mu; one of each source, the longest waiting first
}

func newUpdates() *updates {
	return &updates{out: make(chan source.Update, 1), given: make(chan struct{}, 1)}
}

// give takes the newest update of a source.
func (q *updates) give(u source.Update) {
	q.mu.Lock()
	if i := q.find(u.Upstream.Source); i >= 0 {
		q.waiting[i] = newer(&q.waiting[i], u)
	} else {
		q.waiting = append(q.waiting, u)
	}
	q.mu.Unlock()
	select {
	case q.given <- struct{}{}:
	default:
	}
}

// newer is an update in place of one before it that nobody has had.
func newer(old *source.Update, u source.Update) source.Update {
	switch {
	case old.Ended: // it stays so
		return *old
	case !u.Ended:
		u.NewTip, u.Clean = u.NewTip || old.NewTip, u.Clean || old.Clean
	}
	return u
}

// find is where the update of a source waits, -1 nowhere. q.mu is held.
func (q *updates) find(number uint32) int {
	return slices.IndexFunc(q.waiting, func(u source.Update) bool { return u.Upstream.Source == number })
}

// run offers what was given until ctx is done.
func (q *updates) run(ctx context.Context) {
	for {
		next, ok := q.next()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-q.given:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case q.out <- next:
			q.offered(&next)
		case <-q.given:
		}
	}
}

// next is what is to be offered now. What is on offer is taken back if there is a newer
// one in its place.
func (q *updates) next() (u source.Update, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case u = <-q.out:
		if i := q.find(u.Upstream.Source); i < 0 {
			q.out <- u // nobody else puts anything there
		} else {
			u = newer(&u, q.waiting[i])
			q.waiting = slices.Insert(slices.Delete(q.waiting, i, i+1), 0, u)
		}
	default:
	}
	if len(q.waiting) == 0 {
		return u, false
	}
	return q.waiting[0], true
}

// offered notes that one is on offer. A newer one may wait in its place already.
func (q *updates) offered(u *source.Update) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := q.find(u.Upstream.Source); i >= 0 && same(&q.waiting[i], u) {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
}

// same tells that two are one.
func same(a, b *source.Update) bool {
	return a.Upstream == b.Upstream && a.Template == b.Template && a.Received.Equal(b.Received)
}
