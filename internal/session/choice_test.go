package session

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// several are nonces as solve finds them.
func (r *rig) several(slot netserver.Slot, jobID string, low float64) (nonces []string) {
	r.Helper()
	for range 4 {
		nonces = append(nonces, r.solve(slot, jobID, low, 0))
	}
	return nonces
}

// worthless is a nonce that makes no share of difficulty d of that announcement: by chance one
// in thousands does.
func (r *rig) worthless(slot netserver.Slot, n *stratum.Notify, d float64, nonces []string) string {
	r.Helper()
	id, suffix, _ := stratum.JobID([]byte(n.JobID))
	job, m := r.backend.Find(id).Job, r.client(slot).miner()
	found := work.Solution{Variant: suffix, Extranonce2: make([]byte, 8), Time: n.NTime, Version: job.Version}
	for _, text := range nonces {
		nonce, err := strconv.ParseUint(text, 16, 32)
		if err != nil {
			r.Fatal(err)
		}
		found.Nonce = uint32(nonce)
		var sh work.Share
		if job.Hash(&sh, &m, &found); !difficulty.Meets(&sh.Hash, d) {
			return text
		}
	}
	r.Fatal("all of them are shares")
	return ""
}

// A miner that has seen a hash cannot choose the difficulty it is credited
// with, neither by naming a later announcement of the job nor with another
// connection of the session.
func TestDifficultyIsNotChosenAfterTheHash(t *testing.T) {
	const low, high = 1e-9, 1e-6
	subscribe := `{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1"]}`
	authorize := func(password string) string {
		return `{"id":2,"method":"mining.authorize","params":["bob","` + password + `"]}`
	}

	t.Run("announced again", func(t *testing.T) {
		r := newRig(t, nil)
		slot, sent := r.miner("bob")
		job := lastJob(sent)
		nonces := r.several(slot, job.JobID, high)
		again := lastJob(r.send(slot, fmt.Sprintf(`{"id":3,"method":"mining.suggest_difficulty","params":[%g]}`, high)))
		if again.JobID == job.JobID {
			t.Fatal("the job is not announced again")
		}
		claimed := job
		claimed.JobID = again.JobID
		nonce := r.worthless(slot, &claimed, high, nonces)
		r.send(slot, submitLine(4, "bob", &claimed, nonce))
		if got := r.backend.last().Credit; got != 0 {
			t.Errorf("a hash of the first announcement is credited %g under the second", got)
		}
		r.send(slot, submitLine(5, "bob", &job, nonce))
		if got := r.backend.last().Credit; got != low {
			t.Errorf("under its own it is credited %g, want %g", got, low)
		}
	})

	for _, kept := range []bool{false, true} {
		for _, first := range []bool{false, true} {
			t.Run(fmt.Sprintf("resumed, old connection open %v, authorize first %v", kept, first), func(t *testing.T) {
				r := newRig(t, nil)
				a := r.open()
				job := lastJob(r.send(a, subscribe))
				r.send(a, authorize("x"))
				id := formatID(r.session(a).id)
				nonces := r.several(a, job.JobID, high)
				if !kept {
					r.disconnect(a)
				}

				b := r.open()
				lines := []string{
					`{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1","` + id + `"]}`,
					authorize(fmt.Sprintf("d=%g", high)),
				}
				if first {
					lines[0], lines[1] = lines[1], lines[0]
				}
				sent := r.send(b, lines[0])
				sent = append(sent, r.send(b, lines[1])...)
				again := lastJob(sent)
				own := r.solve(b, again.JobID, high, 0)
				claimed := job
				claimed.JobID = again.JobID
				nonce := r.worthless(b, &claimed, high, nonces)
				r.send(b, submitLine(4, "bob", &job, nonce))
				if got := r.backend.last().Credit; got != low {
					t.Errorf("work of the old connection is credited %g, want %g", got, low)
				}
				r.send(b, submitLine(5, "bob", &claimed, nonce))
				if got := r.backend.last().Credit; got != 0 {
					t.Errorf("work of the old connection is credited %g under the new announcement", got)
				}
				again.NTime = job.NTime // solve's
				r.want(b, submitLine(6, "bob", &again, own), `{"result":true,"error":null,"id":6}`)
				if got := r.backend.last().Credit; got != high {
					t.Errorf("work of the new connection is credited %g, want %g", got, high)
				}
			})
		}
	}
}

// Nor with a session that comes later than the job: what that would be sent is not to
// be known before, and it is not credited for jobs that it was not sent.
func TestDifficultyIsNotChosenByALaterSession(t *testing.T) {
	const low, high = 1e-9, 1e-6
	authorize := fmt.Sprintf(`{"id":2,"method":"mining.authorize","params":["bob","d=%g"]}`, high)

	t.Run("predicted", func(t *testing.T) {
		r := newRig(t, nil)
		slot, sent := r.miner("bob")
		job := lastJob(sent)
		s := r.session(slot)
		mine := s.extranonce1
		predicted := mine
		binary.LittleEndian.PutUint32(predicted[:], binary.LittleEndian.Uint32(mine[:])+1)
		s.extranonce1 = predicted
		nonce := r.solve(slot, job.JobID, high, 0)
		s.extranonce1 = mine

		b := r.open()
		r.send(b, authorize)
		r.send(b, `{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1"]}`)
		r.send(b, submitLine(4, "bob", &job, nonce))
		if got := r.backend.last().Credit; got != 0 {
			t.Errorf("a hash that was found before the session is credited %g", got)
		}
	})

	// With few bytes of extranonce1 a miner can try until it gets the one it wants.
	t.Run("tried", func(t *testing.T) {
		r := newRig(t, func(s *Settings) { s.Extranonce1Len = 3 })
		slot, sent := r.miner("bob")
		job := lastJob(sent)
		job.JobID = fmt.Sprintf("%016x", r.backend.work.Job.ID)
		b := r.open()
		r.send(b, authorize)
		own := lastJob(r.send(b, `{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1"]}`))
		r.session(slot).extranonce1 = r.session(b).extranonce1
		nonce := r.solve(slot, job.JobID, high, 0)
		job.NTime = uint32(r.now.Unix()) // solve's
		r.want(b, submitLine(4, "bob", &job, nonce), rejectLine(21, "Invalid JobID", "4"))
		nonce = r.solve(b, own.JobID, high, 0)
		own.NTime = job.NTime
		r.want(b, submitLine(5, "bob", &own, nonce), `{"result":true,"error":null,"id":5}`)
	})

	t.Run("older job", func(t *testing.T) {
		r := newRig(t, nil)
		_, sent := r.miner("bob")
		job := lastJob(sent)
		r.backend.newJob(r.now)

		b := r.open()
		r.send(b, `{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1"]}`)
		nonce := r.solve(b, job.JobID, high, 0)
		r.send(b, authorize)
		r.want(b, submitLine(4, "bob", &job, nonce), rejectLine(21, "Invalid JobID", "4"))
	})

	// Of a session that was kept over a restart no difficulties are known.
	t.Run("kept over a restart", func(t *testing.T) {
		r := newRig(t, nil)
		id := uint64(0x1122334455667788)
		if n := r.group.registry.Restore([]Saved{{ID: id, Extranonce1: 7, Worker: nameHash("bob"), Until: r.now.Add(time.Minute).Unix()}}, r.now); n != 1 {
			t.Fatalf("%d sessions", n)
		}
		b := r.open()
		job := lastJob(r.send(b, `{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1","`+formatID(id)+`"]}`))
		if r.session(b).id != id {
			t.Fatal("it is not resumed")
		}
		first := job
		first.JobID = fmt.Sprintf("%016x", r.backend.work.Job.ID)
		nonce, other := r.solve(b, job.JobID, high, 0), r.solve(b, first.JobID, high, 0)
		first.NTime = uint32(r.now.Unix()) // solve's
		job.NTime = first.NTime
		r.send(b, authorize)
		r.want(b, submitLine(4, "bob", &job, nonce), `{"result":true,"error":null,"id":4}`)
		if got := r.backend.last().Credit; got != low {
			t.Errorf("work sent before the login is credited %g, want %g", got, low)
		}
		r.want(b, submitLine(5, "bob", &first, other), rejectLine(21, "Invalid JobID", "5"))
	})
}

// A node that gives no work for long leaves the old job as it is: its shares are
// still counted once.
func TestSharesAreRememberedAsLongAsTheirJob(t *testing.T) {
	r := newRig(t, nil)
	slot, sent := r.miner("bob")
	job := lastJob(sent)
	var nonces []string
	for range 5 {
		nonces = append(nonces, r.solve(slot, job.JobID, 1e-9, 0))
	}
	for i, nonce := range nonces {
		r.want(slot, submitLine(3, "bob", &job, nonce), `{"result":true,"error":null,"id":3}`)
		r.want(slot, submitLine(4, "bob", &job, nonces[0]), rejectLine(22, "Duplicate", "4"))
		r.now = r.now.Add(601 * time.Second)
		if i == 2 { // the same tip
			r.backend.newJob(r.now)
			for r.Step() {
			}
			r.written(slot)
		}
	}
}
