package users

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/work"
)

// start is the time of every test.
var start = time.Unix(1795327613, 0)

// harness is a State that keeps its events.
type harness struct {
	*Users
	dir string

	mu     sync.Mutex
	events []string // guarded by mu
}

func newHarness(t testing.TB, change func(*Config)) *harness {
	t.Helper()
	h := &harness{dir: t.TempDir()}
	h.Users = h.open(t, start, change)
	return h
}

// open starts a State over the harness's directory.
func (h *harness) open(t testing.TB, now time.Time, change func(*Config)) *Users {
	t.Helper()
	cfg := Config{Settings: Settings{Name: "ckpool", MaxUserAgents: 100}, LogDir: h.dir, Loops: 2, Events: h.tell}
	if change != nil {
		change(&cfg)
	}
	s := New(cfg, now)
	if err := s.Load(now); err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *harness) tell(e event.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, fmt.Sprintf("%d %s", e.Level, e.Text))
}

// found returns the events that begin with a text, and forgets all.
func (h *harness) found(prefix string) (list []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if strings.HasPrefix(e, prefix) {
			list = append(list, e)
		}
	}
	h.events = nil
	return list
}

func login(worker string) *session.Login {
	return &session.Login{Time: start, Worker: worker, Remote: netip.MustParseAddrPort("198.51.100.7:1234"), Client: 2}
}

// grant logs a worker in that must be let in.
func grant(t testing.TB, s *Users, worker string) session.Grant {
	t.Helper()
	g, r := s.Authorize(login(worker))
	if r != nil {
		t.Fatalf("%s refused: %v", worker, r)
	}
	return g
}

// accepted is a share that counts.
func accepted(w session.WorkerID, at time.Time, credit, achieved float64) *session.Share {
	job := &work.Job{ID: 0x6b02867d00000001, Template: &work.Template{Height: 850000}}
	return &session.Share{
		Time: at, Worker: w, Job: job, Current: job, NTime: 0x6b02867d, Nonce: 0x9bf79, Hashed: true, Computed: work.Share{Difficulty: achieved},
		Extranonce1: session.MakeExtranonce([]byte{0x7e, 0x86, 0x02, 0x6b}), Extranonce2: session.MakeExtranonce(make([]byte, 8)),
		Difficulty: credit, Credit: credit, Remote: netip.MustParseAddrPort("198.51.100.7:1234"), UserAgent: "cgminer/4.12.1",
	}
}

func rejected(w session.WorkerID, at time.Time, difficulty float64, reason session.Reason) *session.Share {
	sh := accepted(w, at, difficulty, difficulty/2)
	sh.Credit = 0
	sh.Reason = reason
	return sh
}

// take gives a share to all sinks and returns what it improved.
func (s *Users) take(sh *session.Share) session.Best {
	for _, k := range s.Sinks() {
		k.Share(sh)
	}
	return sh.Best
}

// flush ends an iteration of a loop.
func (s *Users) flush(loop int) {
	for _, k := range s.Sinks() {
		k.Flush(loop)
	}
}

// tick is Tick in a test that has no sessions.
func (s *Users) tick(now time.Time) { s.Tick(now, Sessions{}) }

// The workers of a user are counted as they are listed.
func TestWorkerCount(t *testing.T) {
	h := newHarness(t, nil)
	for _, name := range []string{"alice.1", "alice.2", "alice", "bob.1"} {
		grant(t, h.Users, name)
	}
	for user, want := range map[string]int{"alice": 3, "bob": 1, "nobody": 0} {
		if got, list := h.WorkerCount(user), h.WorkersOf(user, start, 10); got != want || len(list) != want {
			t.Errorf("%s has %d, listed %d, want %d", user, got, len(list), want)
		}
	}
}
