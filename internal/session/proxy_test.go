package session

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/source"
)

// A miner has bytes of its own behind those of the pool above, and only what that pool
// takes goes up: the miner hears what it says, of all else what we do.
func TestSharesGoUp(t *testing.T) {
	r, a := newProxy(t, nil)
	slot := r.open()
	reply := r.send(slot, `{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1"]}`)
	m := a.as(slot)
	if want := fmt.Sprintf(`"%x",4],`, m.extranonce1); len(m.extranonce1) != 2 || !strings.Contains(reply[0], want) {
		t.Errorf("subscribed with %s, want %s", reply[0], want)
	}
	n := lastJob(reply)
	r.send(slot, `{"id":2,"method":"mining.authorize","params":["bob.rig1","x"]}`)
	if !bytes.HasSuffix(n.Coinb1[:52], []byte{1, 0xf0, 1}) || len(n.Coinb1) != 54 {
		t.Errorf("coinb1 is %x", n.Coinb1)
	}
	r.want(slot, a.find(m, &n, dark, up), agreed)
	if sh := r.backend.last(); len(a.found) != 0 || sh.WentUp || sh.Credit != dark {
		t.Errorf("%d shares went up, counted %+v", len(a.found), sh)
	}
	counted := len(r.backend.shares)
	line := a.find(m, &n, up, 0)
	r.want(slot, line)
	if f := a.lastFound(); f.Worker != "bob.rig1" || f.Upstream.Source != 1 || f.Stale || f.Block {
		t.Errorf("went up as %+v", f)
	}
	r.want(slot, line, refused(22, "Duplicate"))
	if len(r.backend.shares) != counted+1 {
		t.Error("counted before the pool has judged it")
	}
	a.judge(source.AcceptedAbove, 0, "")
	if got := r.written(slot); len(got) != 1 || got[0] != agreed {
		t.Errorf("answered %q", got)
	}
	if sh := r.backend.last(); !sh.WentUp || sh.Above != source.AcceptedAbove || sh.Credit != dark || r.backend.WorkerName(sh.Worker) != "bob.rig1" {
		t.Errorf("counted as %+v", sh)
	}
	a.judge(source.RefusedAbove, 20, "twice") // nobody asked
	if got := r.written(slot); got != nil {
		t.Errorf("answered again %q", got)
	}
}

// What cannot go up is not said to be accepted.
func TestLineIsDead(t *testing.T) {
	r, a := newProxy(t, nil)
	slot, lines := r.miner("bob.rig1")
	n := lastJob(lines)
	a.lines[1].dead = true
	r.want(slot, a.find(a.as(slot), &n, up, 0), refused(20, "No answer from upstream"))
	r.want(slot, a.find(a.as(slot), &n, dark, up), agreed)
	// Its source has ended: there is no work, and nobody is dropped.
	delete(a.works, 1)
	r.want(slot, a.find(a.as(slot), &n, up, 0), refused(21, "Stale"))
	for range 100 {
		r.now = r.now.Add(time.Second)
		r.Tick(r.now)
	}
	a.give(2, true)
	r.want(slot, `{"id":3,"method":"mining.suggest_difficulty","params":[5]}`)
	r.want(slot, `{"id":4,"method":"mining.authorize","params":["bob.rig2","x"]}`, `{"result":true,"error":null,"id":4}`)
	if len(r.closed) != 0 {
		t.Errorf("closed: %v", r.closed)
	}
}

// Whether a share is too late the pool above decides, as far as it takes it at all.
func TestStaleSharesGoUp(t *testing.T) {
	r, a := newProxy(t, nil)
	slot, lines := r.miner("bob.rig1")
	n := lastJob(lines)
	m := a.as(slot)
	a.give(1, true)
	r.wantMethods(r.written(slot), "notify true")
	r.want(slot, a.find(m, &n, dark, up), refused(21, "Stale"))
	line := a.find(m, &n, up, 0)
	r.want(slot, line)
	if !a.lastFound().Stale {
		t.Error("not said to be stale")
	}
	a.judge(source.AcceptedAbove, 0, "")
	if got, sh := r.written(slot), r.backend.last(); len(got) != 1 || got[0] != agreed || sh.Credit != dark {
		t.Errorf("answered %q, credit %g", got, sh.Credit)
	}
	r.want(slot, line, refused(22, "Duplicate"))
	r.want(slot, a.find(m, &n, up, 0))
	a.judge(source.RefusedAbove, 21, "Job not found")
	if got := r.written(slot); len(got) != 1 || got[0] != refused(21, "Job not found") {
		t.Errorf("answered %q", got)
	}
	r.want(slot, a.find(m, &n, up, 0))
	a.judge(source.NotSent, 0, "")
	if got := r.written(slot); len(got) != 1 || got[0] != refused(21, "Stale") {
		t.Errorf("answered %q", got)
	}
}

// What another pool does not take would be lost: no miner works above that, from the
// moment on that less is taken, and it has its own difficulty again when it may.
func TestDifficultyUpstream(t *testing.T) {
	r, a := newProxy(t, nil)
	a.lines[1].difficulty = 1000
	a.give(1, false)
	slot := r.open()
	r.send(slot, `{"id":1,"method":"mining.subscribe","params":[]}`)
	lines := r.send(slot, `{"id":2,"method":"mining.authorize","params":["bob.rig1","d=5000"]}`)
	r.wantMethods(lines, "reply true", "set_difficulty 1000", "notify false")
	a.lines[1].difficulty = 10.5
	a.give(1, false)
	r.wantMethods(r.written(slot), "set_difficulty 10", "notify false")
	a.lines[1].difficulty = 0.25
	a.give(1, false)
	r.wantMethods(r.written(slot), "set_difficulty 0.25", "notify false")
	a.lines[1].difficulty = 8000
	r.now = r.now.Add(11 * time.Second)
	a.give(1, false)
	r.wantMethods(r.written(slot), "set_difficulty 5000", "notify false")
	// A move to a pool that takes less.
	a.lines[2].difficulty = 100
	a.give(2, false)
	r.Move([]Move{{r.session(slot).client, 2}})
	r.wantMethods(r.written(slot), "set_difficulty 100", "notify true")
}

// A pool that says blocks are easy does not have miners flood it with shares. Of what
// would be a block it hears, also when we would refuse it.
func TestBlocksUpstream(t *testing.T) {
	r, a := newProxy(t, nil)
	a.lines[1].difficulty, a.lines[1].bits = 8000, 0x207fffff
	a.give(1, false)
	slot, _ := r.miner("bob.rig1")
	lines := r.send(slot, `{"id":3,"method":"mining.suggest_difficulty","params":[5000]}`)
	r.wantMethods(lines, "set_difficulty 5000", "notify false")
	n, m := lastJob(lines), a.as(slot)
	r.want(slot, a.find(m, &n, dark, up))
	if f := a.lastFound(); !f.Block || len(r.backend.blocks) != 1 {
		t.Errorf("went up as %+v, %d blocks here", f, len(r.backend.blocks))
	}
	a.judge(source.AcceptedAbove, 0, "")
	if got, sh := r.written(slot), r.backend.last(); len(got) != 1 || got[0] != agreed || sh.Credit != 0 {
		t.Errorf("answered %q, credit %g", got, sh.Credit)
	}
	r.want(slot, strings.Replace(a.find(m, &n, up, 0), "bob.rig1", "eve", 1), refused(24, "Worker mismatch"))
	if len(a.found) != 2 {
		t.Error("a block of nobody's does not go up")
	}
	for range 20 { // half of them are blocks with a version that the pool cannot make
		r.want(slot, strings.Replace(a.find(m, &n, up, 0), `"]}`, `","e0000000"]}`, 1), refused(20, "Invalid version mask"))
	}
	if len(a.found) != 2 {
		t.Error("went up with bits that the pool does not take")
	}
	a.judge(source.AcceptedAbove, 0, "")
	if got := r.written(slot); got != nil {
		t.Errorf("answered again %q", got)
	}
}

// Without bytes for it, a job that is announced again would be the same work: it is not,
// and what is new waits for the next job.
func TestJobWithOneVariantIsSentOnce(t *testing.T) {
	r, a := newProxy(t, nil)
	a.lines[1].pad = 0
	a.give(1, false)
	slot, _ := r.miner("bob.rig1")
	r.now = r.now.Add(40 * time.Second)
	r.Tick(r.now)
	r.want(slot, `{"id":3,"method":"mining.suggest_difficulty","params":[0.00000005]}`)
	for range 100 {
		r.now = r.now.Add(time.Second)
		r.Tick(r.now)
	}
	if got := r.written(slot); got != nil {
		t.Errorf("sent %q", got)
	}
	a.give(1, false)
	r.wantMethods(r.written(slot), "set_difficulty 0.00000005", "notify false")
	// With them it is another variant, whose shares the pool can make.
	a.lines[1].pad = 1
	a.give(1, false)
	r.written(slot)
	for range 3 {
		r.now = r.now.Add(40 * time.Second)
		r.Tick(r.now)
		n := lastJob(r.written(slot))
		if len(n.JobID) != 18 {
			t.Fatalf("job %q", n.JobID)
		}
		r.want(slot, a.find(a.as(slot), &n, up, 0))
		a.judge(source.AcceptedAbove, 0, "")
		if got := r.written(slot); len(got) != 1 || got[0] != agreed {
			t.Errorf("answered %q", got)
		}
	}
	if len(a.found) != 3 {
		t.Errorf("%d shares went up", len(a.found))
	}
}

// Whatever a miner sends to a proxy, in whatever state, also when it is moved.
func FuzzLineOfProxy(f *testing.F) {
	for _, line := range []string{
		`{"id":1,"method":"mining.subscribe","params":["x","6b02867d00000000"]}`,
		`{"id":2,"method":"mining.authorize","params":["bob","d=5,md=2"]}`,
		`{"id":3,"method":"mining.configure","params":[["version-rolling","subscribe-extranonce"],{"version-rolling.mask":"ffffffff"}]}`,
		`{"id":4,"method":"mining.extranonce.subscribe","params":[]}`,
		`{"id":"x","method":"mining.submit","params":["bob","6b02867d00000001","00000000","6b02867d","0000025b"]}`,
		`{"id":6,"method":"mining.submit","params":["bob","6b02867d00000002","0000000000","6b02867d","00000001","1fffe000"]}`,
	} {
		f.Add(line, line, true)
		f.Add(line, line, false)
	}
	f.Fuzz(func(t *testing.T, first, second string, room bool) {
		r, a := newProxy(t, nil)
		a.lines[1].difficulty, a.lines[2].shape = dark, source.Shape{Own: 1, Extranonce2: 5}
		a.give(1, false)
		fresh := r.open()
		mining, _ := r.miner("bob")
		place := a.place
		if !room {
			a.place = func(*Newcomer) (uint32, bool) { return 0, false }
		}
		for _, slot := range []netserver.Slot{fresh, mining} {
			r.send(slot, first)
			a.give(2, false)
			r.Move([]Move{{r.session(slot).client, 2}})
			r.send(slot, second)
			for len(a.found) > 0 {
				f := a.found[0]
				a.found = a.found[1:]
				r.group.Verdict(f.Client, f.Share, source.Verdict{State: source.VerdictState(len(a.found) % 4)})
			}
			r.now = r.now.Add(40 * time.Second)
			r.Tick(r.now)
			a.place = place
			r.Tick(r.now)
			r.disconnect(slot)
			r.Tick(r.now)
		}
		if r.backend.attached != 0 || a.opened[1] != 0 || a.opened[2] != 0 {
			t.Fatalf("%d workers still attached, sessions by source %v", r.backend.attached, a.opened)
		}
	})
}

// braiins/braiins#76: who asks for version rolling and is told false may leave: it is
// counted, and named in the log once it has a name, until it is told true.
func TestNoRolling(t *testing.T) {
	r, a := newProxy(t, nil)
	var lines []string
	r.group.Log = NewLog(func(event.Level) bool { return true }, func(e event.Event) { lines = append(lines, e.Text) })
	const configure = `{"id":7,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}`
	look := func(want int, mentioned string) {
		t.Helper()
		r.Tick(r.now)
		for r.Step() {
		}
		if n := r.Handler.NoRolling(); n != want {
			t.Errorf("%d may not roll, want %d", n, want)
		}
		named := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.Contains(l, "asked for version rolling") })
		if got := strings.Join(named, "\n"); got != mentioned {
			t.Errorf("the log has %q, want %q", got, mentioned)
		}
		lines = nil
	}
	_, _ = r.miner("alice.rig1") // does not ask
	look(0, "")
	a.lines[1].mask = 0
	a.give(1, true)
	slot := r.open()
	r.want(slot, configure, `{"result":{"version-rolling":false},"error":null,"id":7}`)
	look(0, "")
	r.send(slot, `{"id":1,"method":"mining.subscribe","params":["bosminer"]}`)
	r.send(slot, `{"id":2,"method":"mining.authorize","params":["bob.rig1","x"]}`)
	look(1, `Client 2 198.51.100.7 worker bob.rig1 asked for version rolling and was told that it may not, "bosminer"`)
	r.send(slot, configure) // again: it was named
	look(1, "")
	if list, _, _ := r.Handler.Sessions(nil, 0, func(WorkerID) bool { return true }); len(list) != 2 || list[0].NoRolling || !list[1].NoRolling {
		t.Errorf("%+v", list)
	}
	a.lines[1].mask = 0x1fffe000
	a.give(1, true)
	r.send(slot, configure)
	look(0, "")
}
