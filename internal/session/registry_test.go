package session

import (
	"testing"
	"time"
)

// Sessions that may come back do not keep out miners that are here.
func TestExtranonce1OfClosedSessionsIsGivenAgain(t *testing.T) {
	now := time.Unix(1795327613, 0)
	r := NewRegistry(2, 1)
	var second uint64
	for client := range uint64(1 << 16) {
		id, _, ok := r.subscribe(client+1, 0)
		if !ok {
			t.Fatalf("no extranonce1 for client %d", client)
		}
		if client < 2 {
			r.claim(id, "bob", client+1, 0)
			r.release(id, client+1, true, now.Add(time.Duration(client)*time.Second))
			second = id
		}
	}
	if _, _, ok := r.subscribe(1<<17, 0); !ok {
		t.Error("a closed session keeps a miner out")
	}
	if r.entries.find(second) == nil {
		t.Error("the younger session was given up")
	}
	r.subscribe(1<<17+1, 0)
	if _, _, ok := r.subscribe(1<<17+2, 0); ok {
		t.Error("an extranonce1 in use was given again")
	}
}

// Closed sessions without a share go first, and only so many are kept.
func TestSharelessSessionsAreBounded(t *testing.T) {
	now := time.Unix(1795327613, 0)
	r := NewRegistry(4, 1)
	closed := func(client uint64, shares bool) uint64 {
		id, _, ok := r.subscribe(client, 0)
		if !ok {
			t.Fatal("no extranonce1")
		}
		r.claim(id, "bob", client, 0)
		r.release(id, client, shares, now)
		return id
	}
	mined, first, second := closed(1, true), closed(2, false), closed(3, false)
	for client := range uint64(maxShareless - 1) {
		closed(client+4, false)
	}
	if r.entries.find(mined) == nil || r.entries.find(first) != nil || r.entries.find(second) == nil {
		t.Error("not the oldest session without a share was given up")
	}
	if n := r.Sweep(now); n != maxShareless+1 || len(r.entries.index) != n || len(r.used) != n {
		t.Errorf("%d can be resumed, %d entries", n, len(r.entries.index))
	}
	// One that comes back is not given up, and is one that had shares from then on.
	if _, _, ok := r.claim(second, "bob", 1<<30, 0); !ok {
		t.Fatal("not resumed")
	}
	closed(1<<31, false)
	closed(1<<31+1, false)
	r.release(second, 1<<30, true, now)
	closed(1<<31+2, false)
	r.evict()
	if r.entries.find(second) == nil || r.entries.find(mined) == nil {
		t.Error("a session with shares was given up")
	}
	if n := r.Sweep(now.Add(keepSession + 2*time.Second)); n != 0 || len(r.entries.index) != 0 || len(r.used) != 0 || r.closed != (queue{}) || r.shareless != (queue{}) {
		t.Errorf("%d are left after their time", n)
	}
}

func TestMaskPrefix(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.open(), `{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"0X00ffe000"}]}`,
		`{"result":{"version-rolling.mask":"00ffe000","version-rolling":true},"error":null,"id":1}`)
}

// What a pool stands still for in a handover: 100,000 sessions, half of them closed.
func BenchmarkExportRegistry(b *testing.B) {
	now := time.Unix(1795327613, 0)
	r := NewRegistry(4, 1)
	for client := range uint64(100_000) {
		id, _, _ := r.subscribe(client+1, 0)
		r.claim(id, "bob", client+1, 0)
		r.changed(id, client+1, change{42, 7, 1, 0}, 1)
		if client%2 == 0 {
			r.release(id, client+1, true, now)
		}
	}
	for b.Loop() {
		Exporter{Group: &Group{registry: r}}.Registry(nil, now, nil)
	}
}
