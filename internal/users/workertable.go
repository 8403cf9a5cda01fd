package users

import (
	"sync"
	"sync/atomic"

	"github.com/ckpool/ckpool/internal/session"
)

const chunkSize = 1024

// workerTable finds workers by id without a lock: chunks never move, only the
// list of them is replaced. An id is a place in the low half and, above it, how
// many workers there had been: places are used again, ids are not, and ids are
// in the order in which workers were made.
type workerTable struct {
	chunks atomic.Pointer[[]*[chunkSize]atomic.Pointer[worker]]

	mu sync.Mutex
	// guarded by mu
	made   uint32 // workers ever
	places uint32 // ever used
	free   []uint32
}

func (t *workerTable) add(w *worker) {
	t.mu.Lock()
	defer t.mu.Unlock()
	place := t.places
	if n := len(t.free); n > 0 {
		place, t.free = t.free[n-1], t.free[:n-1]
	} else {
		t.places++
	}
	t.made++
	w.id = session.WorkerID(max(t.made, 1))<<32 | session.WorkerID(place)
	var chunks []*[chunkSize]atomic.Pointer[worker]
	if p := t.chunks.Load(); p != nil {
		chunks = *p
	}
	if int(place/chunkSize) == len(chunks) {
		grown := append(chunks[:len(chunks):len(chunks)], new([chunkSize]atomic.Pointer[worker]))
		t.chunks.Store(&grown)
		chunks = grown
	}
	chunks[place/chunkSize][place%chunkSize].Store(w)
}

func (t *workerTable) remove(w *worker) {
	t.mu.Lock()
	defer t.mu.Unlock()
	place := uint32(w.id)
	(*t.chunks.Load())[place/chunkSize][place%chunkSize].Store(nil)
	t.free = append(t.free, place)
}

// get is nil for ids that were never given out, and for workers that were
// forgotten.
func (t *workerTable) get(id session.WorkerID) *worker {
	chunks, place := t.chunks.Load(), uint32(id)
	if chunks == nil || int(place/chunkSize) >= len(*chunks) {
		return nil
	}
	w := (*chunks)[place/chunkSize][place%chunkSize].Load()
	if w == nil || w.id != id {
		return nil
	}
	return w
}

// count is the number of workers.
func (t *workerTable) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int(t.places) - len(t.free)
}
