package users

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/wire"
)

// Each record of another pool is counted once for its user, its worker and the pool,
// wherever the process is killed, and over an upgrade.
func TestRemotesOnce(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(3, 4))
	start := time.Now()
	make := func() *Users {
		s := New(Config{LogDir: dir, Events: func(event.Event) {}}, start)
		if err := s.Load(start); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := make()
	var cursor Mark // as it is on the disk
	next := func(s *Users) (from uint64) { return max(cursor.Number, s.RemoteMark("a").Number) + 1 }
	record := func(s *Users, n uint64) {
		if n%7 == 0 { // no share
			s.CountRemote("a", Mark{1, n}, "", nil)
			return
		}
		sh := &session.Share{Time: start, Credit: float64(n), Difficulty: float64(n)}
		if n%5 == 0 {
			sh.Reason, sh.Credit = session.Stale, 0
		}
		s.CountRemote("a", Mark{1, n}, workerOf(n), sh)
	}
	const all = 3000
	for n := next(s); n <= all; {
		for range random.IntN(100) {
			if n <= all {
				record(s, n)
				record(s, n) // which changes nothing
				n++
			}
		}
		for range random.IntN(3) * random.IntN(40) {
			if err := s.Tick(start, Sessions{}); err != nil {
				t.Fatal(err)
			}
			if m, known := s.RemotesSaved()["a"]; known && random.IntN(2) == 0 {
				cursor = m
			}
		}
		switch random.IntN(6) {
		case 0: // killed
			s = make()
			n = next(s)
		case 1: // upgraded
			k := New(Config{LogDir: dir, Events: func(event.Event) {}}, start)
			s.HoldRemotes()
			if err := s.ExportUsers(true, k.ImportUsers); err != nil {
				t.Fatal(err)
			}
			if err := k.ImportCounts(s.ExportCounts(nil, start), start); err != nil {
				t.Fatal(err)
			}
			if err := k.ImportRemotes(s.ExportRemotes()); err != nil {
				t.Fatal(err)
			}
			s.ReleaseRemotes(true)
			s = k
		}
	}
	var users, workers [3]float64
	var pool, refused float64
	for n := uint64(1); n <= all; n++ {
		switch {
		case n%7 == 0:
		case n%5 == 0:
			refused += float64(n)
		default:
			users[n%3] += float64(n)
			pool += float64(n)
			if n%2 == 0 {
				workers[n%3] += float64(n)
			}
		}
	}
	for i := range users {
		u := s.directory.user(fmt.Sprintf("u%d", i))
		if u.shares != users[i] {
			t.Errorf("user %d has %v, want %v", i, u.shares, users[i])
		}
		if w := s.directory.worker(fmt.Sprintf("u%d.0", i)); w.shares != workers[i] {
			t.Errorf("worker 0 of %d has %v, want %v", i, w.shares, workers[i])
		}
	}
	if st := s.Status(start, Sessions{}); st.Accepted != pool || st.Rejected != refused {
		t.Errorf("the pool has %v and %v, want %v and %v", st.Accepted, st.Rejected, pool, refused)
	}
}

func workerOf(n uint64) string { return fmt.Sprintf("u%d.%d", n%3, n%2) }

// Of names that shares of another pool were only refused under, nothing stays: miners there
// may think of any number.
func TestRemoteNamesForgotten(t *testing.T) {
	s := New(Config{LogDir: t.TempDir(), Events: func(event.Event) {}}, start)
	if err := s.Load(start); err != nil {
		t.Fatal(err)
	}
	const names = 1000
	for n := range uint64(names) {
		s.CountRemote("a", Mark{1, n + 1}, fmt.Sprintf("nobody%d.rig", n), &session.Share{Time: start, Reason: session.Stale, Difficulty: 1})
	}
	s.CountRemote("a", Mark{1, names + 1}, "bob.rig", &session.Share{Time: start, Difficulty: 1, Credit: 1})
	for range passes + 1 {
		if err := s.Tick(start, Sessions{}); err != nil {
			t.Fatal(err)
		}
	}
	var k remotesRecord
	c := wire.Read(s.ExportRemotes())
	c.Versioned(remotesVersion, k.fields)
	if err := c.Done(); err != nil || len(k.users) != 1 || k.users[0].user != "bob" {
		t.Errorf("%d users are moved: %v", len(k.users), err)
	}
	// Who is known has his place in his file, and in that of the pool nobody's is lost.
	again := New(Config{LogDir: s.cfg.LogDir, Events: func(event.Event) {}}, start)
	if err := again.Load(start); err != nil {
		t.Fatal(err)
	}
	again.CountRemote("a", Mark{1, names + 1}, "bob.rig", &session.Share{Time: start, Difficulty: 1, Credit: 1})
	if u := again.directory.user("bob"); u == nil || u.shares != 1 {
		t.Errorf("bob has %+v", u)
	}
	if st := again.Status(start, Sessions{}); st.Accepted != 1 || st.Rejected != names {
		t.Errorf("the pool has %v and %v", st.Accepted, st.Rejected)
	}
}
