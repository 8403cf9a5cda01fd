package session

import (
	"testing"
	"time"
)

// The loop is told of each share that was answered, and of each client that was told of
// a new tip: not of more work on the same tip, nor of work that a newcomer is sent.
func TestLatencies(t *testing.T) {
	r := newRig(t, nil)
	m, _ := r.miner("bob")
	r.miner("alice")
	if r.notified != 0 {
		t.Errorf("%d newcomers were told of a new tip", r.notified)
	}
	r.send(m, `{"id":6,"method":"mining.submit","params":["bob","1","0000000000000000","6b02867d","00000001"]}`)
	if r.answered != 1 {
		t.Errorf("%d shares were answered", r.answered)
	}
	r.send(m, `{"id":7,"method":"mining.get_txnhashes","params":["1"]}`)
	if r.answered != 1 {
		t.Errorf("%d shares were answered, one of which is none", r.answered)
	}
	steps := func() {
		for r.Step() {
		}
	}
	r.now = r.now.Add(time.Second)
	r.backend.newTip(r.now)
	w := r.backend.Newest()
	steps()
	if r.notified != 2 || !r.since.Equal(w.Job.Created) {
		t.Errorf("%d were told of a new tip since %v, want 2 since %v", r.notified, r.since, w.Job.Created)
	}
	r.now = r.now.Add(40 * time.Second)
	r.backend.newJob(r.now)
	steps()
	if r.notified != 2 {
		t.Errorf("%d were told", r.notified)
	}
}
