package session

import "testing"

// Room is made without losing what is there, and whatever number is given.
func TestMakeRoom(t *testing.T) {
	r := NewRegistry(4, 1)
	r.entries.use(7, entry{extranonce1: 9})
	r.used[9] = struct{}{}
	m := Importer{Group: &Group{registry: r}}
	handlers := []*Handler{{}, {}}
	m.MakeRoom(handlers, -1)
	m.MakeRoom(handlers, 3*slabSize)
	if e := r.entries.find(7); e == nil || e.extranonce1 != 9 || len(r.entries.index) != 1 || len(r.used) != 1 {
		t.Errorf("%v %v", e, r.used)
	}
	for id := range uint64(4 * slabSize) { // more than there is room for
		r.entries.use(100+id, entry{extranonce1: id})
	}
	for id := range uint64(4 * slabSize) {
		if e := r.entries.find(100 + id); e == nil || e.extranonce1 != id {
			t.Fatalf("session %d: %v", 100+id, e)
		}
	}
	for _, h := range handlers {
		if len(h.slabs) < 2 || *h.session(slabSize) != (session{}) || h.byID == nil {
			t.Errorf("%d slabs", len(h.slabs))
		}
	}
}
