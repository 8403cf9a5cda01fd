package session

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/source"
)

// next is another process with the same pools above, to which all sessions go but those
// of the slots that end. It has so many loops, of which the miners are on the last; jobs
// are known only after the sessions have come.
func (a *above) next(loops int, ending ...netserver.Slot) (*rig, *above) {
	a.t.Helper()
	must := func(err error) {
		a.t.Helper()
		if err != nil {
			a.t.Fatal(err)
		}
	}
	r := a.rig
	n, b := newProxy(r.TB, func(s *Settings) { *s = *r.backend.set })
	b.lines = a.lines
	n.now, n.nextID, n.nonce = r.now, 7, r.nonce
	n.group = NewGroup(NewRegistry(r.backend.set.Extranonce1Len, 1), loops, func(uint64, netserver.Reason) {})
	back := b.backend.asBackend()
	back.Jobs, back.Sources = b, b
	b.works, b.newest, b.jobs, b.opened = map[uint32]*Work{}, nil, map[uint64]*Work{}, map[uint32]int{}
	n.Handler = NewHandler(onLoop{(*transport)(n), loops - 1}, back, n.group)

	ids := map[uint64]bool{}
	from := &Exporter{Group: r.group}
	from.Verdicts(r.Handler)
	for _, slot := range ending {
		ids[from.Ending(r.Handler, slot)] = true
	}
	to := Importer{Group: n.group, Listeners: []int{0}}
	must(to.SetClock(from.Clock(r.now), r.now))
	must(from.Seen(to.Seen))
	must(to.Registry(from.Registry(nil, r.now, ids)))
	moves := map[netserver.Slot]bool{}
	for slot := range r.top {
		if s := r.session(slot); s.client == 0 || ids[s.id] {
			continue
		}
		in := wire.Read(exported(from, r.Handler, slot))
		must(to.Session(n.Handler, n.nextID, in))
		must(in.Done())
		n.nextID++
		moves[slot] = true
	}
	if left := from.Left(r.Handler, moves); left != nil {
		must(to.Left(n.Handler, left))
	}
	for id, w := range a.jobs {
		if w.Upstream == nil { // of the pool that the rig is without sources
			continue
		}
		u := *w.Upstream
		if u.Judge = b; a.ended {
			u.Judge = nil
		}
		b.jobs[id] = &Work{Job: w.Job, Tip: w.Tip, Oldest: w.Oldest, OldestOfSource: w.OldestOfSource, Upstream: &u}
	}
	for number, w := range a.works {
		b.works[number] = b.jobs[w.Job.ID]
	}
	b.newest, b.nextJob, b.keepFrom = b.jobs[a.newest.Job.ID], a.nextJob, a.keepFrom
	n.Resume()
	for n.Step() {
	}
	return n, b
}

// onLoop is a transport of a loop with a number.
type onLoop struct {
	*transport
	index int
}

func (t onLoop) Index() int { return t.index }

// Sessions of several sources go on in another process: with what they have of each, with
// shares that pools are still to judge, and with what nobody may have yet.
func TestMoveProxySessions(t *testing.T) {
	for _, loops := range []int{1, 3} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			r, a := newProxy(t, nil)
			slot, lines := r.miner("bob.rig1")
			r.want(slot, `{"id":5,"method":"mining.extranonce.subscribe","params":[]}`, `{"result":true,"error":null,"id":5}`)
			first, m := lastJob(lines), a.as(slot)
			a.lines[2].shape = source.Shape{Own: 1, Extranonce2: 5}
			a.give(2, false)
			r.Move([]Move{{r.session(slot).client, 2}})
			second, now := lastJob(r.written(slot)), a.as(slot)
			ending, _ := r.miner("carol")
			gone := bytes.Clone(r.session(ending).extranonce1Bytes())
			// Two shares are on their way, one of the former source.
			r.want(slot, a.find(m, &first, up, 0))
			before := a.lastFound()
			line := a.find(now, &second, up, 0)
			r.want(slot, line)
			after := a.lastFound()

			n, b := a.next(loops, ending)
			const at = netserver.Slot(7)
			if got := n.written(at); got != nil {
				t.Errorf("sent without need: %q", got)
			}
			if b.opened[2] != 1 || b.opened[1] != 0 {
				t.Errorf("sessions by source: %v", b.opened)
			}
			n.want(at, line, refused(22, "Duplicate"))
			n.group.Verdict(before.Client, before.Share, source.Verdict{State: source.AcceptedAbove})
			n.group.Verdict(after.Client, after.Share, source.Verdict{State: source.RefusedAbove, Code: 21, Text: "late"})
			for n.Step() {
			}
			if got := n.written(at); len(got) != 2 || got[0] != agreed || got[1] != refused(21, "late") {
				t.Errorf("answered %q", got)
			}
			if sh := b.shares[len(b.shares)-2]; sh.Credit != dark || b.WorkerName(sh.Worker) != "bob.rig1" || sh.Job == nil || sh.Upstream.Source != 1 {
				t.Errorf("counted as %+v", sh)
			}
			// Both kinds of shares are still judged as they were sent.
			n.want(at, b.find(as{at, m.extranonce1, m.extranonce2}, &first, up, 0))
			if f := b.lastFound(); f.Upstream.Source != 1 {
				t.Errorf("goes to %d", f.Upstream.Source)
			}
			if f := b.lastFound(); f.Share == before.Share || f.Share == after.Share {
				t.Error("a number is there again")
			}
			n.want(at, b.find(as{at, now.extranonce1, now.extranonce2}, &second, up, 0))
			// It moves on, and nobody has the bytes of the one whose connection has ended.
			if used, resting, _ := n.group.registry.Space(1); used != 0 || resting != 2 {
				t.Errorf("%v used, %v resting of the first source", used, resting)
			}
			reg := n.group.registry
			if _, ok := reg.spaces[reg.spaceOf(b.works[1])].take(1, uint64(gone[0])|uint64(gone[1])<<8, true, 0); ok {
				t.Error("somebody gets the bytes of a job that still counts")
			}
			b.give(1, false)
			n.Move([]Move{{n.session(at).client, 1}})
			n.wantMethods(n.written(at), "mining.set_extranonce", "notify true")
			if !bytes.Equal(n.session(at).extranonce1Bytes()[:1], m.extranonce1[:1]) || len(n.session(at).extranonce1Bytes()) != 2 {
				t.Errorf("has extranonce1 %x", n.session(at).extranonce1Bytes())
			}
			// The process may be replaced again.
			last, c := b.next(2)
			last.want(7, c.find(as{7, m.extranonce1, m.extranonce2}, &first, up, 0))
		})
	}
}

// A share whose job the other process did not pass on is answered all the same.
func TestMoveShareWithoutJob(t *testing.T) {
	r, a := newProxy(t, nil)
	slot, lines := r.miner("bob.rig1")
	n := lastJob(lines)
	r.want(slot, a.find(a.as(slot), &n, up, 0))
	was := a.works[1].Job.ID
	a.give(1, false)
	r.written(slot)
	delete(a.jobs, was)
	next, _ := a.next(1)
	if got := next.written(7); len(got) != 1 || got[0] != refused(20, "No answer from upstream") {
		t.Errorf("answered %q", got)
	}
}

// A verdict that came as everything stood still is what the miner hears in the other
// process; so is that nobody will judge a share whose connection did not come along.
func TestMoveVerdicts(t *testing.T) {
	r, a := newProxy(t, nil)
	slot, lines := r.miner("bob.rig1")
	n, m := lastJob(lines), a.as(slot)
	var found []source.Found
	for range 3 {
		r.want(slot, a.find(m, &n, up, 0))
		found = append(found, a.lastFound())
	}
	still := r.Handler.t
	r.Handler.t = posting{(*transport)(r), make(chan func(), 1)} // as a loop that does not run
	r.group.Verdict(found[1].Client, found[1].Share, source.Verdict{State: source.RefusedAbove, Code: 23, Text: "low"})
	r.group.Verdict(found[0].Client, found[0].Share, source.Verdict{State: source.AcceptedAbove})
	next, b := a.next(1)
	if got := next.written(7); len(got) != 2 || got[0] != agreed || got[1] != refused(23, "low") {
		t.Errorf("answered %q", got)
	}
	if sh := b.shares[0]; !sh.WentUp || sh.Above != source.AcceptedAbove || sh.Credit != dark {
		t.Errorf("counted as %+v", sh)
	}
	next.group.Verdict(found[2].Client, found[2].Share, source.Verdict{State: source.AcceptedAbove})
	for next.Step() {
	}
	if got := next.written(7); len(got) != 1 || got[0] != agreed {
		t.Errorf("answered %q", got)
	}
	// Where it comes to nothing, they are heard here.
	r.Handler.t = still
	for r.Step() {
	}
	if got := r.written(slot); len(got) != 2 {
		t.Errorf("answered %q", got)
	}
	r.want(slot, a.find(m, &n, up, 0))
	a.ended = true
	last, _ := a.next(1)
	if got := last.written(7); len(got) != 2 || got[0] != refused(20, "No answer from upstream") {
		t.Errorf("answered %q", got)
	}
}

// Shares of miners that have left, or whose connections do not move, count in the other
// process when their verdicts come, for their workers.
func TestMoveSharesLeft(t *testing.T) {
	r, a := newProxy(t, nil)
	share := func(user string) (slot netserver.Slot, found source.Found) {
		slot, lines := r.miner(user)
		n := lastJob(lines)
		r.want(slot, strings.Replace(a.find(a.as(slot), &n, up, 0), "bob.rig1", user, 1))
		return slot, a.lastFound()
	}
	gone, first := share("alice.rig1")
	r.disconnect(gone)
	ending, second := share("bob.rig2")
	_, third := share("carol.rig3")
	r.Handler.t = posting{(*transport)(r), make(chan func(), 3)} // as a loop that does not run
	r.group.Verdict(second.Client, second.Share, source.Verdict{State: source.RefusedAbove, Code: 21, Text: "late"})
	n, b := a.next(2, ending)
	for _, f := range []source.Found{first, third} {
		n.group.Verdict(f.Client, f.Share, source.Verdict{State: source.AcceptedAbove})
	}
	for n.Step() {
	}
	counted := map[string]Reason{}
	for _, sh := range b.shares {
		counted[b.WorkerName(sh.Worker)] = sh.Reason
		if sh.Job == nil || !sh.WentUp || sh.Upstream.Source != 1 || sh.UserAgent != "cgminer/4.12.1" || !sh.Remote.IsValid() {
			t.Errorf("counted as %+v", sh)
		}
	}
	want := map[string]Reason{"alice.rig1": Accepted, "bob.rig2": Refused, "carol.rig3": Accepted}
	if len(b.shares) != 3 || !maps.Equal(counted, want) {
		t.Errorf("counted: %v", counted)
	}
	if got := n.written(7); len(got) != 1 || got[0] != agreed {
		t.Errorf("who stays is answered %q", got)
	}
	if b.attached != 1 || len(n.unjudged.leaving)+len(n.unjudged.byNumber) != 0 {
		t.Errorf("%d workers are held, %d clients leave", b.attached, len(n.unjudged.leaving))
	}
}
