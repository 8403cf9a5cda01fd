package jobs

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"

	"pgregory.net/rapid"
)

// given is what a connection to another pool gives on a block.
func given(t testing.TB, number uint32, block byte, pad int) *source.Update {
	t.Helper()
	tmpl, err := work.NewTemplate(&work.Parts{
		Version: 0x20000000, PrevHash: [32]byte{block, 1}, Bits: 0x1d00ffff, CurTime: 1795327613,
		Coinbase: &work.GivenCoinbase{Head: []byte{byte(number)}, Tail: []byte{1}, Pad: pad},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &source.Update{Template: tmpl, From: fmt.Sprintf("pool%d:3333", number), Received: time.Now(), Upstream: &source.Upstream{
		Source: number, JobID: fmt.Sprintf("%d of block %d", number, block), Difficulty: 1000, VersionMask: 0x1fffe000,
		Shape: source.Shape{Own: 2, Extranonce2: 4},
	}}
}

// upstreamJobs publishes jobs of several sources.
type upstreamJobs struct {
	testing.TB
	*Jobs
	start time.Time
	pad   int
}

func newUpstreamJobs(t testing.TB) *upstreamJobs {
	start := time.Unix(1795327613, 0)
	return &upstreamJobs{TB: t, Jobs: New(start), start: start, pad: 2}
}

func (j *upstreamJobs) at(seconds int, number uint32, block byte, clean bool) *session.Work {
	j.Helper()
	u := given(j.TB, number, block, j.pad)
	u.Clean = clean
	b := work.Builder{Extranonce1Len: 2, Extranonce2Len: 4, VersionMask: 0x1fffe000}
	w, err := j.publish(&b, nil, u, j.start.Add(time.Duration(seconds)*time.Second), nil)
	if err != nil {
		j.Fatal(err)
	}
	return w
}

// Each source's jobs are kept as those of a pool's own are, whatever other sources do,
// and for two minutes after its end.
func TestJobsOfSeveralSources(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		j := newUpstreamJobs(t)
		type published struct {
			id            uint64
			number        uint32
			replaced, end int // seconds, -1 if never
		}
		var all []published
		block := map[uint32]byte{}
		ended := map[uint32]bool{}
		now := 0
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			now += rapid.SampledFrom([]int{0, 1, 30, 119, 120, 121, 599, 600, 601, 1800}).Draw(rt, "pause")
			number := rapid.Uint32Range(1, 4).Draw(rt, "source")
			if ended[number] { // no other has its number
				continue
			}
			end := rapid.IntRange(0, 9).Draw(rt, "end") == 0 && block[number] > 0
			newTip := end || rapid.IntRange(0, 4).Draw(rt, "tip") == 0
			for i := range all {
				p := &all[i]
				if p.number != number {
					continue
				}
				if p.replaced < 0 {
					p.replaced = now
				}
				if newTip && p.end < 0 {
					p.end = now
				}
			}
			if end {
				ended[number] = true
				j.end(number, j.start.Add(time.Duration(now)*time.Second))
				if j.Work(number) != nil {
					rt.Fatalf("source %d has work after its end", number)
				}
				continue
			}
			if newTip || block[number] == 0 {
				block[number]++
			}
			w := j.at(now, number, block[number], false)
			if len(all) > 0 && w.Job.ID != all[len(all)-1].id+1 {
				rt.Fatalf("job %x after %x", w.Job.ID, all[len(all)-1].id)
			}
			all = append(all, published{w.Job.ID, number, -1, -1})
			if j.Work(number) != w || j.Newest() != w {
				rt.Fatalf("job %x is not the newest", w.Job.ID)
			}
			ofSource := w.Job.ID
			for _, p := range all {
				taken := p.end >= 0 && p.end-p.replaced <= 600 && now-p.end <= 120 || p.end < 0 && (p.replaced < 0 || now-p.replaced <= 600)
				f := j.Find(p.id)
				switch {
				case taken && f == nil:
					rt.Fatalf("job %x of source %d is still worth something", p.id, p.number)
				case f == nil:
					continue
				case f.Job.ID != p.id || f.Source() != p.number || p.id < w.Oldest:
					rt.Fatalf("job %x of source %d is found as %x of %d, the oldest is %x", p.id, p.number, f.Job.ID, f.Source(), w.Oldest)
				case p.end >= 0 && now-p.end > 120 || p.end < 0 && p.replaced >= 0 && now-p.replaced > 600:
					rt.Fatalf("job %x of source %d is kept for too long", p.id, p.number)
				}
				if p.number == number {
					ofSource = min(ofSource, p.id)
				}
			}
			if w.OldestOfSource != ofSource || j.Find(w.Oldest) == nil || j.Find(w.Job.ID+1) != nil {
				rt.Fatalf("the oldest job of the source is said to be %x, it is %x; of all %x", w.OldestOfSource, ofSource, w.Oldest)
			}
		}
	})
}

// A connection that sends jobs without end takes nobody else's.
func TestJobsOfAFloodingSource(t *testing.T) {
	j := newUpstreamJobs(t)
	quiet := j.at(0, 1, 1, false)
	for i := range 3 * maxTipJobs {
		j.at(0, 2, byte(i), true)
	}
	if n := len(j.Recent()); n > maxTipJobs+1 {
		t.Errorf("%d jobs are kept", n)
	}
	if j.Work(1) != quiet || j.Find(quiet.Job.ID) != quiet {
		t.Error("the job of another source is gone")
	}
}

// Jobs that another pool has voided are not of the present tip, even on the same block.
func TestCleanJobIsATip(t *testing.T) {
	j := newUpstreamJobs(t)
	first, second := j.at(0, 1, 1, false), j.at(1, 1, 1, false)
	if second.Tip != first.Tip {
		t.Error("another tip on the same block")
	}
	if third := j.at(2, 1, 1, true); third.Tip != third.Job.ID {
		t.Error("the same tip although the jobs before are void")
	}
}

// A job that is there again is other work than before: with bytes for variants by its
// coinbase, without by its time, which stays one that the pool takes.
func TestSameJobAgain(t *testing.T) {
	for _, pad := range []int{0, 4} {
		j := newUpstreamJobs(t)
		j.pad = pad
		first, second, third := j.at(0, 1, 1, false), j.at(20, 1, 1, false), j.at(20, 1, 1, false)
		a, b := first.Job.Template, third.Job.Template
		if same := reflect.DeepEqual(first.Job.Coinbase(0), third.Job.Coinbase(0)); same != (pad == 0) {
			t.Errorf("%d bytes: the same coinbase: %v", pad, same)
		}
		if pad == 0 && (second.Job.Template.CurTime <= a.CurTime+20 || b.CurTime <= second.Job.Template.CurTime || b.CurTime > third.Job.NTimeMax) || pad > 0 && b.CurTime != a.CurTime {
			t.Errorf("%d bytes: times %d, %d and %d", pad, a.CurTime, second.Job.Template.CurTime, b.CurTime)
		}
		if b.MinTime != a.MinTime || third.Job.NTimeMin != first.Job.NTimeMin {
			t.Errorf("%d bytes: from time %d on, was %d", pad, third.Job.NTimeMin, first.Job.NTimeMin)
		}
		if other := j.at(21, 1, 2, false).Job.Template; other.CurTime != a.CurTime {
			t.Errorf("%d bytes: other work has another time", pad)
		}
	}
}

// With one byte for variants, too, a job that is there again has another coinbase or
// another time than the one before.
func TestSameJobAgainWithOneByte(t *testing.T) {
	j := newUpstreamJobs(t)
	j.pad = 1
	before := j.at(0, 1, 1, false)
	for range 2000 {
		w := j.at(0, 1, 1, false)
		if reflect.DeepEqual(w.Job.Coinbase(0), before.Job.Coinbase(0)) && w.Job.Template.CurTime == before.Job.Template.CurTime {
			t.Fatal("the same work")
		}
		before = w
	}
}

// Jobs of several sources go on in another process, also with ended sources and with
// jobs between them that have aged out.
func TestMoveJobsOfSeveralSources(t *testing.T) {
	from := newUpstreamJobs(t)
	from.at(0, 1, 1, false)
	from.at(0, 2, 1, false)
	from.at(30, 1, 2, false)
	from.at(60, 3, 1, false)
	from.at(200, 1, 2, true)
	from.end(3, from.start.Add(210*time.Second))
	from.at(330, 1, 2, false)
	e := Exporter{Jobs: from.Jobs}
	judge := &struct{ source.Judge }{}
	asked := map[uint32]int{}
	m := Importer{Judge: func(number uint32) source.Judge {
		if asked[number]++; asked[number] > 1 {
			t.Errorf("the judge of source %d is asked for again", number)
		}
		if number == 1 {
			return judge
		}
		return nil
	}}
	if err := e.New(m.Job); err != nil {
		t.Fatal(err)
	}
	list, err := e.InUse()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.InUse(list); err != nil {
		t.Fatal(err)
	}
	to := &upstreamJobs{TB: t, Jobs: New(from.start), start: from.start, pad: 2}
	known := false
	g := NewGenerator(notified{}, to.Jobs, Options{
		Config:  func() *config.Config { return &config.Config{} },
		Payout:  Payout{Rest: Payee{Address: "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx"}},
		OnChain: func(_ string, n address.Network) error { known = n == address.Test; return nil },
	})
	if err := m.Restore(g); err != nil {
		t.Fatal(err)
	}
	if !known {
		t.Error("the network is not known")
	}
	there := func(w *session.Work) string {
		u := w.Upstream
		return fmt.Sprintf("%x tip %x source %d %q at %g, %08x, %v", w.Job.ID, w.Tip, u.Source, u.JobID, u.Difficulty, u.VersionMask, u.Shape)
	}
	if a, b := from.Recent(), to.Recent(); len(a) != len(b) || !slices.EqualFunc(a, b, func(a, b *session.Work) bool { return there(a) == there(b) }) {
		t.Fatalf("%d jobs, were %d", len(b), len(a))
	}
	if len(from.Recent()) == int(from.Recent()[len(from.Recent())-1].Job.ID-from.Recent()[0].Job.ID)+1 {
		t.Error("no job between the others has aged out, for this test")
	}
	from.end(2, from.start.Add(330*time.Second)) // which has no judge there
	for number := range uint32(4) {
		a, b := from.Work(number), to.Work(number)
		if (a == nil) != (b == nil) || a != nil && there(a) != there(b) {
			t.Errorf("source %d has %v, had %v", number, b, a)
		}
		if b != nil && (b.Upstream.Judge == judge) != (number == 1) {
			t.Errorf("source %d has another judge", number)
		}
	}
	// They age on.
	next, was := to.at(400, 1, 2, false), from.at(400, 1, 2, false)
	if next.Job.ID != was.Job.ID || next.Tip != was.Tip || next.Oldest != was.Oldest || next.OldestOfSource != was.OldestOfSource || len(to.Recent()) != len(from.Recent()) {
		t.Errorf("the next is %x on tip %x, oldest %x, %x, of %d; there %x on %x, %x, %x, of %d", next.Job.ID, next.Tip, next.Oldest, next.OldestOfSource, len(to.Recent()),
			was.Job.ID, was.Tip, was.Oldest, was.OldestOfSource, len(from.Recent()))
	}
}

// Two connections tell of a block, of which people hear once; a job is made anew when a
// session needs it; work of a connection that has ended is nobody's.
func TestUpstreamWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := notified{make(chan source.Update)}
		var tips []NewTip
		known := 0
		woken := make(chan *session.Work, 1)
		g := NewGenerator(from, New(time.Now()), Options{
			Config: func() *config.Config {
				return &config.Config{LogDir: t.TempDir(), UpdateInterval: 30 * time.Second, VersionMask: 0x00ffe000}
			},
			Events: func(e event.Event) {
				if e.Level <= event.Error {
					t.Error(e.Text)
				}
				if tip, ok := e.What.(NewTip); ok {
					tips = append(tips, tip)
				}
			},
			OnChain: func(string, address.Network) error { known++; return nil },
			Wake:    func(w *session.Work) { woken <- w },
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- g.Run(ctx) }()
		give := func(u *source.Update) *session.Work {
			from.updates <- *u
			return <-woken
		}
		first := give(given(t, 1, 1, 4))
		second := give(given(t, 2, 1, 4))
		if m := first.Job.Mask; m != 0x00ffe000 || second.Job.ID != first.Job.ID+1 {
			t.Errorf("mask %08x, then job %x after %x", m, second.Job.ID, first.Job.ID)
		}
		g.jobs.Renew(1, first.Job.ID-1) // it is later than that
		g.jobs.Renew(1, second.Job.ID)
		again := <-woken
		if again.Source() != 1 || again.Tip != first.Tip || again.Upstream != first.Upstream || !again.Job.Template.SameWork(first.Job.Template) {
			t.Errorf("made anew as %+v", again)
		}
		from.updates <- source.Update{Upstream: &source.Upstream{Source: 1}, Ended: true}
		synctest.Wait()
		if g.jobs.Work(1) != nil || g.jobs.Work(2) != second || g.jobs.Find(again.Job.ID) != again {
			t.Error("the wrong source has ended")
		}
		g.jobs.Renew(1, again.Job.ID)
		synctest.Wait()
		if g.jobs.Newest() != again {
			t.Error("there is a job of a source that has ended")
		}
		give(given(t, 2, 2, 4))
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(tips) != 2 || tips[0].From != "pool1:3333" || tips[1].From != "pool2:3333" || known != 1 {
			t.Errorf("told %+v, the network %d times", tips, known)
		}
	})
}

// fromPools is a source of which updates are waiting.
type fromPools struct {
	Source
	updates chan source.Update
}

func (s fromPools) Templates() <-chan source.Update { return s.updates }
func (fromPools) Refresh(string)                    {}
func (fromPools) Prepare()                          {}
func (fromPools) Chain() string                     { return "" }

// The work that was waited for before the start is there beside that of other sources,
// which came meanwhile: a pool that took over would have no work for its miners, until the
// pool above sends the next job.
func TestFirstWorkOfSeveralSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		updates := make(chan source.Update, 2)
		updates <- *given(t, 1, 1, 2)
		updates <- *given(t, 2, 1, 2)
		j := New(time.Now())
		c := config.Default(config.Proxy)
		g := NewGenerator(fromPools{updates: updates}, j, Options{
			Config: func() *config.Config { return &c }, Events: func(event.Event) {}, Wake: func(*session.Work) {}, Quiet: func() {},
			OnChain: func(string, address.Network) error { return nil },
		})
		if err := g.AwaitTemplate(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- g.Run(ctx) }()
		synctest.Wait()
		time.Sleep(time.Second)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if j.Work(1) == nil || j.Work(2) == nil {
			t.Errorf("there is work of source 1: %v, of source 2: %v", j.Work(1) != nil, j.Work(2) != nil)
		}
	})
}

// With a connection for each of many users new work costs no more for each of them than with
// few, and too old jobs go all the same.
func TestManySources(t *testing.T) {
	const sources = 700
	j := newUpstreamJobs(t)
	for round := range 3 {
		for n := range uint32(sources) {
			j.at(30*round, n+1, 1, false)
		}
	}
	if n := len(j.Recent()); n != 3*sources {
		t.Fatalf("%d jobs", n)
	}
	copies := 0
	for n := range uint32(100) {
		first := &j.Recent()[0]
		w := j.at(60, n+1, 2, true)
		if &j.Recent()[0] != first {
			copies++
		}
		if j.Find(w.Job.ID) != w || j.Work(n+1) != w || w.Oldest != j.Recent()[0].Job.ID || w.OldestOfSource != j.Recent()[n].Job.ID {
			t.Fatalf("the job of source %d: %+v", n+1, w)
		}
	}
	if copies > 1 {
		t.Errorf("all jobs are copied for %d of 100 new ones", copies)
	}
	last := j.at(760, 1, 3, true)
	if n := len(j.Recent()); n != sources+1 || last.Oldest != j.Recent()[0].Job.ID { // the newest of each, and what source 1 had till now
		t.Errorf("%d jobs, the oldest %x, is said to be %x", n, j.Recent()[0].Job.ID, last.Oldest)
	}
}
