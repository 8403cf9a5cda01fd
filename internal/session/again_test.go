package session

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A job that is announced again and again within a second has a later time each
// time: a miner that begins anew with it does not find its shares again.
func TestEachAnnouncementIsLater(t *testing.T) {
	r := newRig(t, nil)
	a := r.open()
	id, _ := r.subscription(a, "")
	first := lastJob(r.send(a, `{"id":2,"method":"mining.authorize","params":["bob.rig1","x"]}`))
	if first.JobID == "" {
		first = lastJob(r.send(a, `{"id":3,"method":"mining.suggest_difficulty","params":[1000]}`))
	}
	r.disconnect(a)
	b := r.open()
	second := lastJob(r.send(b, fmt.Sprintf(`{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1","%s"]}`, id)))
	third := lastJob(r.send(b, `{"id":2,"method":"mining.authorize","params":["bob.rig1","d=2000"]}`))
	if first.JobID[:16] != second.JobID[:16] || second.JobID[:16] != third.JobID[:16] {
		t.Fatalf("not the same job: %s, %s, %s", first.JobID, second.JobID, third.JobID)
	}
	if first.NTime >= second.NTime || second.NTime >= third.NTime {
		t.Errorf("announced with %x, %x and %x", first.NTime, second.NTime, third.NTime)
	}
	// A miner that has counted the time up itself by then is behind it, too.
	r.now = r.now.Add(40 * time.Second)
	fourth := lastJob(r.send(b, `{"id":3,"method":"mining.suggest_difficulty","params":[4000]}`))
	if fourth.JobID == "" {
		r.Tick(r.now)
		fourth = lastJob(r.written(b))
	}
	if made := uint32(r.backend.Work(0).Job.Created.Unix()); fourth.NTime <= made+40 {
		t.Errorf("announced 40 s later with the time of %d s later", fourth.NTime-made)
	}
}

// A connection has 4,096 workers at most, whose shares go on to count when more
// are refused.
func TestWorkersPerConnection(t *testing.T) {
	r := newRig(t, nil)
	slot, lines := r.miner("farm.0")
	add := func(i int) string {
		return strings.Join(r.send(slot, fmt.Sprintf(`{"id":%d,"method":"mining.authorize","params":["farm.%d","x"]}`, i, i)), "\n")
	}
	taken := 1
	for ; taken < 10_000; taken++ {
		if answer := add(taken); !strings.Contains(answer, `"result":true`) {
			if !strings.Contains(answer, `24,"Too many workers on this connection"`) {
				t.Errorf("worker %d: %s", taken, answer)
			}
			break
		}
	}
	if taken < 4096 || taken > 4097 { // 4,096 beside the first
		t.Errorf("%d workers on a connection", taken)
	}
	n := lastJob(lines)
	for i, worker := range []string{"farm.0", "farm.4095"} {
		nonce := r.solve(slot, n.JobID, 1e-9, 0)
		if answer := r.send(slot, submitLine(i, worker, &n, nonce)); len(answer) != 1 || !strings.Contains(answer[0], `"result":true`) {
			t.Errorf("share of %s: %q", worker, answer)
		}
	}
}

// A session whose job cannot be announced again is not gone on with: its next
// connection would have no work, or the same work as an earlier one under another
// difficulty, chosen by who knows what it found.
func TestNoMoreAnnouncements(t *testing.T) {
	r := newRig(t, nil)
	slot, _ := r.miner("bob")
	s := r.session(slot)
	id := formatID(s.id)
	usedUp := func() {
		e := r.group.registry.entries.find(s.id)
		e.job, e.suffix = r.backend.work.Job.ID, maxSuffix
	}
	usedUp()
	r.disconnect(slot)
	slot = r.open()
	if now, _ := r.subscription(slot, id); now == id {
		t.Error("gone on with")
	}
	// In the middle of a connection: the next job brings work, this one does not come
	// again as if it were the first time.
	slot, _ = r.miner("alice")
	s = r.session(slot)
	id = formatID(s.id)
	r.disconnect(slot)
	slot = r.open()
	if now, _ := r.subscription(slot, id); now != id {
		t.Fatal("not gone on with")
	}
	s = r.session(slot)
	s.job, s.tip, s.present = 0, 0, change{} // as if nothing had been sent yet
	s.flags |= resumed
	usedUp()
	for i, line := range []string{`{"id":2,"method":"mining.authorize","params":["alice","d=2"]}`, `{"id":3,"method":"mining.suggest_difficulty","params":[3]}`} {
		if lines := r.send(slot, line); strings.Contains(strings.Join(lines, ""), "mining.notify") {
			t.Errorf("%d: sent %s", i, lines)
		}
	}
	r.backend.newJob(r.now)
	r.Step()
	if job := lastJob(r.written(slot)); job.JobID != fmt.Sprintf("%016x", r.backend.work.Job.ID) {
		t.Errorf("the next job did not come: %q", job.JobID)
	}
}
