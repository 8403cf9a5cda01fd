package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/ckpool/ckpool/stratum"
)

// Around a change of the tip, publishing the work, its way to the miners and
// shares come in any order. A share is credited once in every one.
func TestShareAroundTipIsCreditedOnce(t *testing.T) {
	const operations = "TSWFR" // tip, step, work by itself, find a share, repeat all
	const length = 5
	sequences := 1
	for range length {
		sequences *= len(operations)
	}
	for n := range sequences {
		order := make([]byte, length)
		for i, rest := 0, n; i < length; i, rest = i+1, rest/len(operations) {
			order[i] = operations[rest%len(operations)]
		}
		r := newRig(t, nil)
		slot, sent := r.miner("bob")
		job := lastJob(sent)
		var found []string
		present, good := true, 0 // the miner has work of the present tip; its shares of such
		for _, op := range order {
			switch op {
			case 'T':
				r.backend.newTip(r.now)
				present = false
			case 'S':
				r.Step()
				present = true
			case 'W':
				r.client(slot).sendWork()
			case 'F':
				line := submitLine(3, "bob", &job, r.solve(slot, job.JobID, 1e-9, 0))
				found = append(found, line)
				r.send(slot, line)
				// What is announced again has a later time, which solve does not know.
				if id, _, _ := stratum.JobID([]byte(job.JobID)); present && job.NTime == r.backend.Find(id).Job.Template.CurTime {
					good++
				}
			case 'R':
				for _, line := range found {
					r.send(slot, line)
				}
			}
			if lines := r.written(slot); lines != nil {
				job = lastJob(lines)
			}
		}
		credited := map[[32]byte]int{}
		for _, s := range r.backend.shares {
			if s.Reason == Accepted {
				credited[s.Computed.Hash]++
			}
			if credited[s.Computed.Hash] > 1 {
				t.Fatalf("%s: a share is credited twice", order)
			}
		}
		if len(credited) < good {
			t.Fatalf("%s: %d shares are credited, %d are of present work", order, len(credited), good)
		}
	}
}

// late are jobs whose newest work one loop has not seen yet.
type late struct {
	*backend
	work *Work
}

func (b late) Work(uint32) *Work { return b.work }
func (b late) Newest() *Work     { return b.work }

// The loop a session was on before may be ahead by a tip and remember its shares
// no more: they are not credited again.
func TestShareForgottenByAnotherLoop(t *testing.T) {
	r := newRig(t, nil)
	slot, sent := r.miner("bob")
	job := lastJob(sent)
	line := submitLine(3, "bob", &job, r.solve(slot, job.JobID, 1e-9, 0))
	r.want(slot, line, `{"result":true,"error":null,"id":3}`)
	id := formatID(r.session(slot).id)
	r.disconnect(slot)

	r.group.seen = append(r.group.seen, &seen{})
	other := *r
	other.Handler = NewHandler(onLoop{(*transport)(r), 1}, r.backend.asBackend(), r.group)
	other.Handler.b.Jobs = late{r.backend, r.backend.work}
	slot = other.open()
	other.subscription(slot, id)
	other.send(slot, `{"id":2,"method":"mining.authorize","params":["bob","x"]}`)

	r.backend.newTip(r.now)
	r.Step()
	other.want(slot, line, rejectLine(21, "Stale", "3"))
}

// A process with fewer loops, or more, knows the shares of all loops of the one
// before.
func TestSharesOfAllLoopsMove(t *testing.T) {
	for _, loops := range []struct{ there, here int }{{4, 2}, {2, 4}, {3, 1}} {
		from := NewGroup(NewRegistry(4, 1), loops.there, nil)
		to := NewGroup(NewRegistry(4, 1), loops.here, nil)
		w := newRig(t, nil).backend.work
		for i, s := range from.seen {
			s.add(uint64(1000+i), w.Job.ID, 1, w)
		}
		m := Importer{Group: to}
		if err := (Exporter{Group: from}).Seen(m.Seen); err != nil {
			t.Fatal(err)
		}
		for i := range from.seen {
			if to.seen[i].look(uint64(1000+i), w.Job.ID) != alreadySeen {
				t.Errorf("from %d loops to %d: the share of loop %d is not remembered", loops.there, loops.here, i)
			}
		}
		// They do not stay for ever.
		next := Work{Job: w.Job, Tip: w.Job.ID + 1}
		for loop := range loops.here {
			to.follow(loop, &next)
		}
		for i, s := range to.seen {
			if s.len() != 0 {
				t.Errorf("from %d loops to %d: the shares of loop %d are never forgotten", loops.there, loops.here, i)
			}
		}
	}
}

// However long the node is silent, a job pays what it was sent with: here it is
// announced again once in a while under other difficulties.
func TestDifficultyIsRememberedAsLongAsItsJob(t *testing.T) {
	for _, c := range []struct {
		changes int
		pause   time.Duration
	}{{2, time.Hour}, {40, 20 * time.Minute}, {300, changePause*time.Second + time.Second}} {
		r := newRig(t, nil)
		slot, sent := r.miner("bob")
		job := lastJob(sent)
		for i := range c.changes {
			r.now = r.now.Add(c.pause)
			r.Tick(r.now)
			if i%3 == 2 {
				r.backend.newJob(r.now)
				for r.Step() {
				}
			}
			r.send(slot, fmt.Sprintf(`{"id":4,"method":"mining.suggest_difficulty","params":[%g]}`, []float64{1e-6, 1e-7}[i%2]))
		}
		r.now = r.now.Add(time.Second)
		r.Tick(r.now)
		r.want(slot, submitLine(9, "bob", &job, r.solve(slot, job.JobID, 1e-6, 0)), `{"result":true,"error":null,"id":9}`)
		if got := r.backend.last().Credit; got != 1e-9 {
			t.Errorf("after %d changes a job sent with 1e-9 is credited %g", c.changes, got)
		}
		if n := len(r.earlier[slot]); n > maxEarlier {
			t.Errorf("%d difficulties are remembered", n)
		}
	}
}

// A session with as many changes as can be remembered is not gone on with: a
// connection more would make it forget one.
func TestFullSessionIsNotResumed(t *testing.T) {
	r := newRig(t, nil)
	slot, _ := r.miner("bob")
	id := formatID(r.session(slot).id)
	connects := 0
	for ; connects < 2*maxEarlier; connects++ {
		r.disconnect(slot)
		slot = r.open()
		if now, _ := r.subscription(slot, id); now != id {
			break
		}
		r.send(slot, fmt.Sprintf(`{"id":2,"method":"mining.authorize","params":["bob","d=%d"]}`, 1+connects%2))
	}
	if connects > maxEarlier+1 || connects < maxEarlier/2 {
		t.Errorf("%d connections went on with one session", connects)
	}
}
