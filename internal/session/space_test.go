package session

import (
	"testing"

	"pgregory.net/rapid"
)

// No extranonce1 has two owners, nobody gets one under which a job of somebody else's
// may still count, and each is free, used or resting at every step.
func TestSpace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newSpace(1, rapid.IntRange(0, 1).Draw(t, "bytes"))
		all := 1
		if p.own == 1 {
			all = 256
		}
		used := map[uint64]uint64{} // number by session
		type stint struct{ session, newest uint64 }
		last := map[uint64]stint{} // of each number that was given back
		var sessions []uint64      // that have one
		newest, oldest, next := uint64(100), uint64(100), uint64(1)
		take := func(session, wanted uint64, only bool) {
			number, ok := p.take(session, wanted, only, oldest)
			if !ok {
				if free, _, _ := p.counts(); free > 0 && !only {
					t.Fatalf("none for session %d, but %v are free", session, free)
				}
				return
			}
			if number >= uint64(all) || only && number != wanted%uint64(all) {
				t.Fatalf("session %d got %d, wanted %d", session, number, wanted)
			}
			for other, n := range used {
				if n == number {
					t.Fatalf("session %d got %d, which %d has", session, number, other)
				}
			}
			if s, ok := last[number]; ok && s.session != session && s.newest >= oldest {
				t.Fatalf("session %d got %d, under which session %d may have job %d, the oldest is %d", session, number, s.session, s.newest, oldest)
			}
			used[session] = number
			sessions = append(sessions, session)
		}
		gone := func() uint64 {
			i := rapid.IntRange(0, len(sessions)-1).Draw(t, "which")
			session := sessions[i]
			sessions = append(sessions[:i], sessions[i+1:]...)
			p.give(session, used[session], newest)
			p.give(session, used[session], newest) // once is enough
			last[used[session]] = stint{session, newest}
			delete(used, session)
			return session
		}
		for range rapid.IntRange(0, all).Draw(t, "sessions") {
			take(next, next, false)
			next++
		}
		t.Repeat(map[string]func(*rapid.T){
			"subscribe": func(*rapid.T) { take(next, rapid.Uint64().Draw(t, "wanted"), false); next++ },
			"arrive":    func(*rapid.T) { take(next, rapid.Uint64Range(0, 255).Draw(t, "wanted"), true); next++ },
			"leave": func(*rapid.T) {
				if len(sessions) > 0 {
					gone()
				}
			},
			"return": func(*rapid.T) {
				if len(sessions) > 0 {
					session := gone()
					take(session, last[0].session, rapid.Bool().Draw(t, "only that"))
				}
			},
			"come back": func(*rapid.T) {
				if len(sessions) == 0 {
					return
				}
				session := sessions[len(sessions)-1]
				number := used[session]
				sessions = sessions[:len(sessions)-1]
				p.give(session, number, newest)
				last[number] = stint{session, newest}
				delete(used, session)
				newest += uint64(rapid.IntRange(0, 2).Draw(t, "jobs meanwhile"))
				take(session, number, true)
				if used[session] != number || len(sessions) == 0 || sessions[len(sessions)-1] != session {
					t.Fatalf("session %d does not get back the %d that it had", session, number)
				}
			},
			"job":    func(*rapid.T) { newest++ },
			"expire": func(*rapid.T) { oldest = rapid.Uint64Range(oldest, newest).Draw(t, "oldest") },
			"": func(*rapid.T) {
				free, owned, resting := p.counts()
				if free+owned+resting != float64(all) || int(owned) != len(used) || free < 0 || len(p.free) != len(p.at) {
					t.Fatalf("%v free, %v used, %v resting of %d; %d sessions", free, owned, resting, all, len(used))
				}
				for session, number := range used {
					if o := p.state[number]; o.resting || o.session != session {
						t.Fatalf("session %d has %d no more: %+v", session, number, o)
					}
				}
			},
		})
	})
}

// Miners that come and go all day use no number up, and those that stay keep theirs.
func TestSpaceOfManyVisitors(t *testing.T) {
	const own = 2
	p := newSpace(1, own)
	have := map[uint64]uint64{}
	for session := range uint64(1000) {
		n, ok := p.take(session+1, session, false, 1)
		if !ok {
			t.Fatal("full at the beginning")
		}
		have[n] = session + 1
	}
	job := uint64(1)
	for visitor := range uint64(1_000_000) {
		job = 1 + visitor/1000 // and 50 jobs count
		n, ok := p.take(1<<32+visitor, 1<<20+visitor, false, max(job, 50)-49)
		if !ok {
			t.Fatalf("no number for visitor %d", visitor)
		}
		if have[n] != 0 {
			t.Fatalf("visitor %d got that of session %d", visitor, have[n])
		}
		p.give(1<<32+visitor, n, job)
	}
	p.wake(job + 1)
	if free, used, resting := p.counts(); free != 1<<16-1000 || used != 1000 || resting != 0 {
		t.Errorf("%v free, %v used, %v resting", free, used, resting)
	}
	if n := cap(p.rest.list); n > 1<<18 {
		t.Errorf("%d are remembered to rest", n)
	}
}
