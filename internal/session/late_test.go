package session

import (
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
)

// A share of the tip before the present one counts as long as new work was on its way to its
// miner, once; of tips before, and of miners that are near, none does.
func TestLateShares(t *testing.T) {
	r := newRig(t, nil)
	latency := 300 * time.Millisecond
	r.Handler.Latency = func(netserver.Slot) time.Duration { return latency }
	r.Forgive()
	slot, sent := r.miner("bob")
	job := lastJob(sent)
	line := func(id int) string { return submitLine(id, "bob", &job, r.solve(slot, job.JobID, 1e-9, 0)) }
	late, again, tooLate := line(3), line(4), line(5)
	early := line(6)
	r.want(slot, early, `{"result":true,"error":null,"id":6}`)
	r.backend.newTip(r.now)
	for r.Step() {
	}
	r.written(slot)
	r.now = r.now.Add(299 * time.Millisecond)
	r.want(slot, late, `{"result":true,"error":null,"id":3}`)
	if sh := r.backend.last(); sh.Reason != Accepted || sh.Credit == 0 {
		t.Errorf("%v, credit %g", sh.Reason, sh.Credit)
	}
	r.want(slot, late, rejectLine(22, "Duplicate", "3"))
	r.want(slot, early, rejectLine(22, "Duplicate", "6"))
	latency = 0
	r.want(slot, again, rejectLine(21, "Stale", "4"))
	latency = 300 * time.Millisecond
	r.now = r.now.Add(time.Millisecond)
	r.want(slot, again, rejectLine(21, "Stale", "4"))
	r.now = r.now.Add(time.Second)
	r.backend.newTip(r.now)
	r.want(slot, tooLate, rejectLine(21, "Stale", "5"))
}
