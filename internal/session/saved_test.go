package session

import (
	"testing"
	"time"
)

func TestSaveAndRestore(t *testing.T) {
	now := time.Unix(1795327613, 0)
	old := NewRegistry(4, 1)
	open, openE1, _ := old.subscribe(1, 0)
	old.claim(open, "alice.rig1", 1, 0)
	closed, closedE1, _ := old.subscribe(2, 0)
	old.claim(closed, "bob", 2, 0)
	old.release(closed, 2, true, now.Add(-4*time.Minute))
	nameless, _, _ := old.subscribe(3, 0)

	var list []Saved
	old.Save(now, func(s Saved) { list = append(list, s) })
	if len(list) != 2 {
		t.Fatalf("saved %+v", list)
	}

	later := now.Add(5 * time.Minute)
	r := NewRegistry(4, 1)
	if n := r.Restore(list, later); n != 2 {
		t.Errorf("%d sessions restored", n)
	}
	for _, tt := range []struct {
		id, extranonce1 uint64
		worker          string
	}{{open, openE1, "alice.rig1"}, {closed, closedE1, "bob"}} {
		e, ok := r.resume(tt.id, 0, later)
		if !ok || e.extranonce1 != tt.extranonce1 {
			t.Errorf("%s: %+v, %v", tt.worker, e, ok)
		}
		if _, _, ok := r.claim(tt.id, "eve", 9, 0); ok {
			t.Errorf("%s: another worker takes the session", tt.worker)
		}
		if _, from, ok := r.claim(tt.id, tt.worker, 10, 0); !ok || from == nil || from.open != 0 {
			t.Errorf("%s: %v, %+v", tt.worker, ok, from)
		}
	}
	if _, ok := r.resume(nameless, 0, later); ok {
		t.Error("a session that never logged in is resumed")
	}
	for _, taken := range []uint64{openE1, closedE1} {
		if e1 := r.free(taken); e1 == openE1 || e1 == closedE1 {
			t.Errorf("%x would be given out twice", e1)
		}
	}

	// Ten minutes are counted from the end of the connection, over the restart.
	r = NewRegistry(4, 1)
	if n := r.Restore(list, now.Add(7*time.Minute)); n != 1 {
		t.Errorf("%d sessions restored after 7 minutes", n)
	}
	if n := r.Restore(list, now.Add(11*time.Minute)); n != 0 {
		t.Errorf("%d sessions restored after 11 minutes", n)
	}
}

func TestRestoreRefuses(t *testing.T) {
	now := time.Unix(1795327613, 0)
	good := Saved{ID: 1, Extranonce1: 0xffff, Worker: 5, Until: now.Unix() + 60}
	change := func(f func(*Saved)) Saved { s := good; f(&s); return s }
	list := []Saved{
		good, good,
		change(func(s *Saved) { s.ID = 2 }), // same extranonce1
		change(func(s *Saved) { s.ID, s.Extranonce1 = 3, 0x10000 }),
		change(func(s *Saved) { s.ID, s.Extranonce1 = 0, 7 }),
		change(func(s *Saved) { s.ID, s.Extranonce1, s.Worker = 4, 8, 0 }),
		change(func(s *Saved) { s.ID, s.Extranonce1, s.Until = 5, 9, now.Unix()-1 }),
		change(func(s *Saved) { s.ID, s.Extranonce1, s.Until = 6, 10, now.Unix()+1e6 }), // the clock was set
	}
	r := NewRegistry(2, 1)
	if n := r.Restore(list, now); n != 2 {
		t.Errorf("%d sessions restored", n)
	}
	if n := r.Sweep(now.Add(11 * time.Minute)); n != 0 {
		t.Errorf("%d sessions live for ever", n)
	}
}
