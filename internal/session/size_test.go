package session

import (
	"testing"
	"time"
	"unsafe"
)

// What each miner costs, connected or not, holds nothing that only few have.
func TestMemoryOfASession(t *testing.T) {
	for _, tt := range []struct {
		what       string
		size, most uintptr
	}{
		{"session", unsafe.Sizeof(session{}), 256},
		{"entry of the registry", unsafe.Sizeof(row[uint64, entry]{}), 96},
		{"login", unsafe.Sizeof(row[WorkerID, login]{}), 48},
	} {
		if tt.size > tt.most {
			t.Errorf("%d bytes per %s, want at most %d", tt.size, tt.what, tt.most)
		}
	}
}

// The registry keeps earlier difficulties only while there are jobs they concern.
func TestRegistryForgetsEarlierDifficulties(t *testing.T) {
	r := newRig(t, nil)
	slot, _ := r.miner("bob")
	s := r.session(slot)
	for range 3 {
		r.now = r.now.Add(2 * changePause * time.Second)
		r.backend.newTip(r.now)
		s.want *= 2
		for r.Step() {
		}
	}
	reg := r.group.registry
	if n := len(reg.earlier[s.id]); n == 0 || reg.entries.find(s.id).present != s.present {
		t.Fatalf("%d earlier difficulties, present %+v and %+v", n, reg.entries.find(s.id).present, s.present)
	}
	r.backend.keepFrom = s.present.job + 1
	r.backend.newTip(r.now)
	for r.Step() {
	}
	r.Tick(r.now)
	if n := len(reg.earlier); n != 0 {
		t.Errorf("earlier difficulties of %d sessions are kept", n)
	}
}
