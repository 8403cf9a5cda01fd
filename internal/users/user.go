package users

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ckpool/ckpool/internal/session"
)

// user owns workers; in solo mode it is an address.
type user struct {
	// immutable
	id           int64 // counts from 1 in every run
	session.User       // Payout: nil before the first login, which sets it under mu

	mu sync.Mutex
	// guarded by mu
	userState
	workers  []*worker // in no order
	attached int32     // connected miners
	loggedIn bool      // in this run; moves too
}

// userState is what moves to another process beside whom it is of.
type userState struct {
	tally
	authorised int64 // unix seconds of the first login ever, 0: none
}

// worker is what shares are counted for.
type worker struct {
	// immutable
	name string // user name included
	user *user
	id   session.WorkerID

	// holds are the grants that are out. One is taken under the lock of the shard,
	// so that a worker without any cannot get one while it is being forgotten.
	holds atomic.Int32

	place uint32 // in user.workers; guarded by user.mu

	mu sync.Mutex
	// guarded by mu
	workerState
	connected connections
}

// workerState is what moves to another process beside whom it is of.
type workerState struct {
	tally
	accepted int64 // shares since it was first seen
	rejects  *rejects
}

// had tells whether the worker ever had a share.
func (w *worker) had() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lastShare != never
}

// listWorkers returns the workers u has now.
func (u *user) listWorkers() []*worker {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.workers)
}
