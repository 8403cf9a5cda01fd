package pool

import (
	"strings"
	"testing"
	"time"

	"ckpool/internal/session"
)

// "Is my miner fine?" has an answer, which outlives a restart and an upgrade:
// rejects by reason, the last one and when.
func TestRejectsOfAWorker(t *testing.T) {
	h := newHarness(t, nil)
	bad, good := grant(t, h.State, "bob.bad").Worker, grant(t, h.State, "bob.good").Worker
	for _, sh := range []*session.Share{
		accepted(bad, at(time.Second), 1, 1),
		accepted(good, at(time.Second), 1, 1),
		accepted(good, at(2*time.Second), 1, 1),
		rejected(bad, at(2*time.Second), 1, session.Stale),
		rejected(bad, at(3*time.Second), 1, session.Stale),
		rejected(bad, at(4*time.Second), 1, session.Malformed),
		rejected(bad, at(5*time.Second), 1, session.AboveTarget),
	} {
		h.Share(sh)
	}
	want := map[string]string{
		"bob.bad":  `"accepted_shares": 1, "rejects": {"malformed": 1, "stale": 2, "above target": 1}, "lastreject": "above target", "lastrejected": 1795327618, "bestever": 1.0}`,
		"bob.good": `"accepted_shares": 2, "rejects": {}, "lastreject": "", "lastrejected": 0, "bestever": 1.0}`,
	}
	check := func(s *State, after string) {
		t.Helper()
		for name, want := range want {
			if got := string(Queries{s}.GetWorker(`{"worker":"`+name+`"}`, at(time.Minute))); !strings.HasSuffix(got, want) {
				t.Errorf("%s, %s: %s\nwant … %s", name, after, got, want)
			}
		}
	}
	check(h.State, "at once")

	moved := NewState(Config{Loops: 1}, start)
	if err := (moving{h.State}).exportUsers(true, moving{moved}.importUsers); err != nil {
		t.Fatal(err)
	}
	check(moved, "in another process")

	if err := h.Save(at(10*time.Second), Sessions{}); err != nil {
		t.Fatal(err)
	}
	check(h.open(t, at(20*time.Second), nil), "after a restart")
}
