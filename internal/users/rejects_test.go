package users

import (
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/sharelog"
)

// "Is my miner fine?" has an answer, which outlives a restart and an upgrade:
// rejects by reason, the last one and when.
func TestRejectsOfAWorker(t *testing.T) {
	h := newHarness(t, nil)
	bad, good := grant(t, h.Users, "bob.bad").Worker, grant(t, h.Users, "bob.good").Worker
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
		"bob.bad":  `{"accepted_shares": 1, "rejects": {"malformed": 1, "stale": 2, "above target": 1}, "lastreject": "above target", "lastrejected": 1795327618}`,
		"bob.good": `{"accepted_shares": 2, "rejects": {}, "lastreject": "", "lastrejected": 0}`,
	}
	check := func(s *Users, after string) {
		t.Helper()
		for name, want := range want {
			w, _ := s.Worker(name, at(time.Minute))
			o := sharelog.NewObject(nil)
			w.Rejects.Put(&o)
			if got := string(o.Close()); got != want || w.BestEver != 1 {
				t.Errorf("%s, %s: %s, best ever %g\nwant %s", name, after, got, w.BestEver, want)
			}
		}
	}
	check(h.Users, "at once")

	moved := New(Config{Loops: 1}, start)
	if err := h.ExportUsers(true, moved.ImportUsers); err != nil {
		t.Fatal(err)
	}
	check(moved, "in another process")

	if err := h.Save(at(10*time.Second), Sessions{}); err != nil {
		t.Fatal(err)
	}
	check(h.open(t, at(20*time.Second), nil), "after a restart")
}
