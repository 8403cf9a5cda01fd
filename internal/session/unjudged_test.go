package session

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

func TestVerdictsFromAbove(t *testing.T) {
	for _, tt := range []struct {
		name   string
		after  func(*above)
		answer string
		reason Reason
		credit float64
	}{
		{"accepted", func(a *above) { a.judge(source.AcceptedAbove, 0, "") }, agreed, Accepted, dark},
		{"not sent", func(a *above) { a.judge(source.NotSent, 0, "") }, agreed, Accepted, dark},
		{"refused", func(a *above) { a.judge(source.RefusedAbove, 23, "low difficulty share") }, refused(23, "low difficulty share"), Refused, 0},
		{"refused without a word", func(a *above) { a.judge(source.RefusedAbove, 0, "") }, refused(20, "Refused upstream"), Refused, 0},
		{"refused with odd words", func(a *above) { a.judge(source.RefusedAbove, 99, "\"\xff\n") }, refused(99, "\"\n"), Refused, 0},
		{"refused at length", func(a *above) { a.judge(source.RefusedAbove, 20, strings.Repeat("x", 5000)) }, refused(20, strings.Repeat("x", 200)), Refused, 0},
		{"unanswered", func(a *above) { a.judge(source.Unanswered, 0, "") }, refused(20, "No answer from upstream"), Unanswered, 0},
		{"for too long", func(a *above) {
			for range 33 {
				a.rig.now = a.rig.now.Add(time.Second)
				a.rig.Tick(a.rig.now)
			}
		}, refused(20, "Timed out: no answer from upstream"), Unanswered, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, a := newProxy(t, nil)
			slot, lines := r.miner("bob.rig1")
			n := lastJob(lines)
			r.want(slot, a.find(a.as(slot), &n, up, 0))
			tt.after(a)
			var answers []string
			for _, l := range r.written(slot) {
				if strings.Contains(l, `"id":9`) {
					answers = append(answers, l)
				}
			}
			if len(answers) != 1 || answers[0] != tt.answer {
				t.Errorf("answered %q, want %s", answers, tt.answer)
			}
			if sh := r.backend.last(); sh.Reason != tt.reason || sh.Credit != tt.credit || !sh.WentUp {
				t.Errorf("counted as %v with %g", sh.Reason, sh.Credit)
			}
			if sh := r.backend.last(); sh.AboveDifficulty != a.lastFound().Upstream.Difficulty || sh.Here != Accepted {
				t.Errorf("went up with %g, here it is %v", sh.AboveDifficulty, sh.Here)
			}
			if n := len(r.unjudged.byNumber) + len(r.unjudged.byClient); n != 0 {
				t.Errorf("%d are left", n)
			}
		})
	}
}

// Who has nothing but refused shares is closed in the end, later than a pool is given up
// that refuses all; with another pool it begins anew.
func TestRefusedUpstreamForLong(t *testing.T) {
	for _, moves := range []bool{false, true} {
		r, a := newProxy(t, nil)
		slot, lines := r.miner("bob.rig1")
		n, m := lastJob(lines), a.as(slot)
		asked := 0 // seconds until it is asked to connect again
		for second := 0; second < 260 && len(r.closed) == 0; second += 5 {
			if second == 155 && asked == 0 && moves {
				a.give(2, false)
				r.Move([]Move{{r.session(slot).client, 2}})
				n = lastJob(r.written(slot))
			}
			r.want(slot, a.find(m, &n, up, 0))
			a.judge(source.RefusedAbove, 20, "no")
			for _, l := range methods(r.written(slot)) {
				if l == "client.reconnect" && asked == 0 {
					asked = second
				}
			}
			r.now = r.now.Add(5 * time.Second)
			r.Tick(r.now)
			if next := lastJob(r.written(slot)); next.JobID != "" {
				n = next
			}
		}
		if gone := len(r.closed) > 0; gone == moves || !moves && asked <= 150 || moves && asked != 0 {
			t.Errorf("moves: %v; closed %v, asked to connect again after %d s", moves, r.closed, asked)
		}
	}
}

// A miner leaves with shares on their way up: they count for its worker, which is held
// until then.
func TestLeaveWithSharesUpstream(t *testing.T) {
	r, a := newProxy(t, nil)
	slot, lines := r.miner("bob.rig1")
	n, m := lastJob(lines), a.as(slot)
	r.want(slot, a.find(m, &n, up, 0))
	first := a.lastFound()
	r.want(slot, a.find(m, &n, up, 0))
	r.disconnect(slot)
	if again := r.open(); again != slot {
		r.nextID = slot
		r.open()
	}
	if r.backend.attached != 1 {
		t.Fatalf("%d workers are held", r.backend.attached)
	}
	a.judge(source.AcceptedAbove, 0, "")
	if sh := r.backend.last(); sh.Credit != dark || r.backend.WorkerName(sh.Worker) != "bob.rig1" || r.backend.attached != 1 {
		t.Errorf("counted as %+v, %d workers are held", sh, r.backend.attached)
	}
	r.group.Verdict(first.Client, first.Share, source.Verdict{State: source.RefusedAbove})
	for r.Step() {
	}
	if sh := r.backend.last(); sh.Reason != Refused || r.backend.attached != 0 || len(r.unjudged.leaving) != 0 {
		t.Errorf("counted as %+v, %d workers are held", sh, r.backend.attached)
	}
	if got := r.written(slot); got != nil {
		t.Errorf("answered %q to another", got)
	}
}

// A share that goes up, and its verdict, allocate nothing.
func TestSharesUpstreamAllocateNothing(t *testing.T) {
	r, a := newProxy(t, nil)
	slot, lines := r.miner("bob.rig1")
	n, m := lastJob(lines), a.as(slot)
	a.lines[1].difficulty = dark
	w := a.give(1, false)
	n = lastJob(r.written(slot))
	j := &yesJudge{}
	w.Upstream.Judge = j
	r.Handler.t = quiet{(*transport)(r)}
	r.Handler.b.Sinks = []Sink{forgetful{}}
	submits := make([][]byte, 3000)
	for i := range submits {
		submits[i] = fmt.Appendf(nil, `{"id":%d,"method":"mining.submit","params":["bob.rig1","%s","%0*x","%08x","%08x"]}`, i, n.JobID, 2*m.extranonce2, 0, n.NTime, i)
	}
	i := 0
	one := func() {
		r.Line(slot, submits[i])
		i++
		if j.waits {
			j.waits = false
			j.found.Finder.Verdict(j.found.Client, j.found.Share, source.Verdict{State: source.AcceptedAbove})
			for r.Step() {
			}
			j.judged++
		}
	}
	for range 1900 {
		one()
	}
	if n := testing.AllocsPerRun(1000, one); n >= 1 {
		t.Errorf("a share allocates %v times", n)
	}
	if j.judged == 0 {
		t.Error("no share went up")
	}
}

// yesJudge keeps the last share.
type yesJudge struct {
	found  source.Found
	waits  bool
	judged int
}

func (j *yesJudge) Submit(f *source.Found) bool {
	j.found, j.waits = *f, true
	return true
}

// However many shares go up, no more wait than there is room for; those beyond are
// said to be unanswered.
func TestUnjudgedSharesAreBounded(t *testing.T) {
	r, a := newProxy(t, nil)
	a.lines[1].difficulty = dark
	w := a.give(1, false)
	slot, lines := r.miner("bob.rig1")
	n, m := lastJob(lines), a.as(slot)
	w.Upstream.Judge = &yesJudge{}
	answers := 0
	for i := 0; len(r.unjudged.byNumber) < maxUnjudged || answers == 0; i++ {
		if i > 20*maxUnjudged {
			t.Fatalf("%d wait, %d are answered", len(r.unjudged.byNumber), answers)
		}
		got := r.send(slot, fmt.Sprintf(`{"id":9,"method":"mining.submit","params":["bob.rig1","%s","%0*x","%08x","%08x"]}`, n.JobID, 2*m.extranonce2, 0, n.NTime, i))
		if len(got) == 1 && got[0] == refused(20, "No answer from upstream") {
			answers++
		}
	}
	if len(r.unjudged.byNumber) != maxUnjudged {
		t.Errorf("%d wait", len(r.unjudged.byNumber))
	}
	for range 33 {
		r.now = r.now.Add(time.Second)
		r.Tick(r.now)
	}
	if len(r.unjudged.byNumber) != 0 || r.unjudged.order.len() != 0 {
		t.Errorf("%d wait after half a minute", len(r.unjudged.byNumber))
	}
	if got := r.written(slot); len(got) < maxUnjudged {
		t.Errorf("%d are answered", len(got))
	}
}

// What a share costs in a proxy, of those that stay here and of those that go up.
func BenchmarkSubmitOfProxy(b *testing.B) {
	for _, bb := range []struct {
		name       string
		difficulty float64
	}{{"here", 1e6}, {"upstream", dark}} {
		b.Run(bb.name, func(b *testing.B) {
			r, a := newProxy(b, nil)
			slot, _ := r.miner("bob.rig1")
			a.lines[1].difficulty = bb.difficulty
			w := a.give(1, false)
			n, m := lastJob(r.written(slot)), a.as(slot)
			j := &yesJudge{}
			w.Upstream.Judge = j
			r.Handler.t = quiet{(*transport)(r)}
			r.Handler.b.Sinks = []Sink{forgetful{}}
			var line []byte
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				line = fmt.Appendf(line[:0], `{"id":%d,"method":"mining.submit","params":["bob.rig1","%s","%0*x","%08x","%08x","00000000"]}`, i, n.JobID, 2*m.extranonce2, 0, n.NTime, i)
				b.StartTimer()
				r.Line(slot, line)
				if j.waits {
					j.waits = false
					j.found.Finder.Verdict(j.found.Client, j.found.Share, source.Verdict{State: source.AcceptedAbove})
					for r.Step() {
					}
				}
			}
		})
	}
}

// posting is a transport whose functions wait for their loop.
type posting struct {
	*transport
	posted chan func()
}

func (t posting) Post(fn func()) { t.posted <- fn }

// Verdicts come from many goroutines at once; each share is answered on its loop.
func TestVerdictsFromManyGoroutines(t *testing.T) {
	r, a := newProxy(t, nil)
	slot, lines := r.miner("bob.rig1")
	n, m := lastJob(lines), a.as(slot)
	const shares = 400
	for range shares {
		r.want(slot, a.find(m, &n, up, 0))
	}
	posted := make(chan func(), shares)
	r.Handler.t = posting{(*transport)(r), posted}
	var judges sync.WaitGroup
	for k := range 8 {
		judges.Go(func() {
			for i := k; i < shares; i += 8 {
				f := &a.found[i]
				f.Finder.Verdict(f.Client, f.Share, source.Verdict{State: source.AcceptedAbove})
			}
		})
	}
	answers := 0
	for answers < shares {
		(<-posted)()
		for r.Step() {
		}
		answers += len(r.written(slot))
	}
	judges.Wait()
	if answers != shares || len(r.unjudged.byNumber) != 0 {
		t.Errorf("%d answers to %d shares, %d wait", answers, shares, len(r.unjudged.byNumber))
	}
}

// The miners stand still while what waits for another pool is written: of each miner a share,
// and behind the first of them many that are judged by now.
func BenchmarkUnjudgedRecords(b *testing.B) {
	const judged = 100_000
	u := newUnjudgedShares()
	job := &work.Job{}
	for n := range uint64(maxUnjudged + judged) {
		k := &unjudged{number: n, share: Share{Client: n + 1, Job: job}}
		u.keep(k, 1)
		if n >= maxUnjudged {
			u.forget(k)
		}
	}
	for b.Loop() {
		u.arrive()
		shares := 0
		for client := range u.byClient {
			shares += len(u.records(client))
		}
		if shares != maxUnjudged {
			b.Fatalf("%d shares", shares)
		}
	}
}
