package session

import (
	"cmp"
	"slices"
	"time"
)

// Saved is a session that a miner may resume in a later run.
type Saved struct {
	ID          uint64
	Extranonce1 uint64 // of as many bytes as all have, the first in the lowest place
	Worker      uint64 // hash of the first worker's name
	Until       int64  // unix seconds
}

// Save calls keep with every session that could be resumed if this were the
// end. keep must not call the registry.
func (r *Registry) Save(now time.Time, keep func(Saved)) {
	until := now.Add(keepSession).Unix()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for id := range r.entries.index {
		if n++; n%walkStep == 0 {
			r.letOthers()
		}
		e := r.entries.find(id)
		if e == nil || e.name == 0 || e.space != 0 {
			continue
		}
		s := Saved{ID: id, Extranonce1: e.extranonce1, Worker: e.name, Until: int64(e.until)}
		if s.Until == 0 {
			s.Until = until
		}
		keep(s)
	}
}

// Restore takes sessions of an earlier run, whose extranonce1 had as many bytes
// as now, sorts them, and returns how many can be resumed. It is for before the
// first connection.
func (r *Registry) Restore(list []Saved, now time.Time) (resumable int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	latest := now.Add(keepSession).Unix()
	slices.SortFunc(list, func(a, b Saved) int { return cmp.Compare(a.Until, b.Until) })
	for _, s := range list {
		known := r.entries.find(s.ID) != nil
		_, taken := r.used[s.Extranonce1]
		fits := s.Extranonce1&^(^uint64(0)>>(64-8*r.length)) == 0
		if known || taken || !fits || s.ID == 0 || s.Worker == 0 || s.Until < now.Unix() {
			continue
		}
		r.used[s.Extranonce1] = struct{}{}
		// Whether it had shares is not known.
		row := r.entries.use(s.ID, entry{extranonce1: s.Extranonce1, name: s.Worker, shares: true})
		r.close(row, uint32(min(s.Until, latest)))
		resumable++
	}
	return resumable
}
