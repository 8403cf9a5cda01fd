package session

import "testing"

// Room is made without losing what is there, and whatever number is given.
func TestMakeRoom(t *testing.T) {
	r := NewRegistry(4, 1)
	r.entries[7] = entry{extranonce1: 9}
	r.used[9] = struct{}{}
	m := Importer{Group: &Group{registry: r}}
	handlers := []*Handler{{}, {}}
	m.MakeRoom(handlers, -1)
	m.MakeRoom(handlers, 3*slabSize)
	if r.entries[7].extranonce1 != 9 || len(r.entries) != 1 || len(r.used) != 1 {
		t.Errorf("%v %v", r.entries, r.used)
	}
	for _, h := range handlers {
		if len(h.slabs) < 2 || *h.session(slabSize) != (session{}) || h.byID == nil {
			t.Errorf("%d slabs", len(h.slabs))
		}
	}
}
