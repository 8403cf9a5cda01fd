package session

import (
	"testing"
	"time"
)

// What was refused before it came here counts once by its number, also for who resumes the
// session and in another process.
func TestRefused(t *testing.T) {
	r := newRig(t, nil)
	slot, _ := r.miner("bob")
	job := r.session(slot).job
	list := []Refusal{{AboveTarget, job, 0, 3}, {Malformed, 0, 0, 1}, {UnknownJob, 0, 0, 2}}
	r.Refused(slot, 5, list)
	if len(r.backend.shares) != 3 || r.session(slot).rejected != 6 {
		t.Fatalf("%+v, %d rejected", r.backend.shares, r.session(slot).rejected)
	}
	sent := r.session(slot).sent()
	for i, want := range []Share{{Reason: AboveTarget, Also: 2, Difficulty: sent}, {Reason: Malformed}, {Reason: UnknownJob, Also: 1, Difficulty: sent}} {
		got := r.backend.shares[i]
		if got.Reason != want.Reason || got.Also != want.Also || got.Difficulty != want.Difficulty || got.Credit != 0 || got.Hashed || got.Worker != r.backend.workers["bob"] || got.Current == nil {
			t.Errorf("%+v, want %+v", got, want)
		}
		if (got.Job != nil) != (i == 0) || got.Reject() == nil {
			t.Errorf("%+v", got)
		}
	}
	r.Refused(slot, 5, list)
	if len(r.backend.shares) != 3 {
		t.Error("counted twice")
	}
	moved := r.move(time.Second)
	for s := range moved.top {
		if moved.session(s).client != 0 {
			slot = s
		}
	}
	before := len(moved.backend.shares)
	moved.Refused(slot, 5, list)
	if len(moved.backend.shares) != before {
		t.Error("counted again in another process")
	}
	moved.Refused(slot, 6, list[:1])
	if len(moved.backend.shares) != before+1 {
		t.Error("the next report is not counted")
	}
	stranger := moved.open()
	moved.Refused(stranger, 7, list)
	if len(moved.backend.shares) != before+1 {
		t.Error("a client without a login is credited with refusals")
	}
}
