package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/internal/testkit/records"
	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
	"github.com/ckpool/ckpool/work"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// process is a group as one process has it, whose end the test decides.
type process struct {
	*Group
	f   *farm
	end func()
}

// process begins one, with what another has left if there is a record.
func (f *farm) process(above *otherpool.Pool, record []byte, lines []Moving) *process {
	f.t.Helper()
	return f.processKnowing(above, record, lines, nil)
}

// processKnowing is one that is told of work before it begins.
func (f *farm) processKnowing(above *otherpool.Pool, record []byte, lines []Moving, known func(uint32) *session.Work) *process {
	f.t.Helper()
	g, err := NewGroup([]Config{
		{URL: "nowhere.example.org:1", User: "bob"},
		{URL: "pool.example.org:3333", User: "farm", Password: "x", VersionMask: 0x1fffe000, Workers: true},
	}, GroupOptions{Dial: dialler{"pool.example.org:3333": above}.dial, Finder: f})
	if err != nil {
		f.t.Fatal(err)
	}
	if record != nil {
		if err := g.Adopt(record); err != nil {
			f.t.Fatal(err)
		}
	}
	for _, m := range lines {
		if err := g.AdoptLine(m.Conn, m.Record); err != nil {
			f.t.Fatal(err)
		}
	}
	if known != nil {
		g.Renew(known)
	}
	p := &process{g, f, f.runs(g)}
	f.t.Cleanup(p.end)
	return p
}

// runs runs a group until end, which may be called again.
func (f *farm) runs(g *Group) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.Run(ctx) }) // it has no errors
	running.Go(func() {
		for {
			select {
			case u := <-g.Templates():
				f.update(u)
			case <-ctx.Done():
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
}

// Z1: connections go on in another process, ten times under load: the pool above notices
// nothing, every share has its verdict, and all figures go on.
func TestZ1(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{VersionMask: 0x1fffe000, Difficulty: 1e-9, Delay: 1500 * time.Millisecond, AuthorizeOne: true, RejectEvery: 9})
		p := f.process(above, nil, nil)
		becomes(t, p.Group, "p", 10*time.Second)
		u := f.job()
		source1 := u.Upstream.Source
		p.Active().Opened(source1)
		for round := range 10 {
			for n := range 20 {
				f.submit(u, uint64(n%3), u.Upstream.Difficulty, 0)
				time.Sleep(100 * time.Millisecond)
			}
			if round == 5 {
				above.SetDifficulty(2e-9)
				above.NewJob()
				u = f.job()
			}
			before := p.Active().Figures()
			record, lines := p.Suspend()
			if len(lines) != 1 {
				t.Fatalf("%d connections move", len(lines))
			}
			if u.Upstream.Judge.Submit(f.find(u, 1, u.Upstream.Difficulty, 0)) {
				t.Error("a suspended connection takes a share")
			}
			f.shares-- // which nobody has taken
			next := f.process(above, record, lines)
			time.Sleep(200 * time.Millisecond)
			p.end()
			p = next
			if name := activeName(p.Group); name != "p" {
				t.Fatalf("round %d: %q is worked for", round, name)
			}
			// The jobs of the process before are judged here.
			moved := *u.Upstream
			moved.Judge = p.Judge(source1)
			u.Upstream = &moved
			p.Active().Opened(source1)
			after := p.Active().Figures()
			// That of before has one that it could not send.
			if round == 0 && before.Open == 0 || after.Accepted.Shares < before.Accepted.Shares || after.NotSent.Shares != 0 {
				t.Errorf("round %d: figures %+v, before %+v", round, after, before)
			}
			if l := p.Active().Lines(); len(l) != 1 || l[0].Source != source1 || l[0].Difficulty != u.Upstream.Difficulty || l[0].Sessions != 1 {
				t.Errorf("round %d: %+v", round, l)
			}
		}
		above.NewJob()
		if u = f.job(); u.Upstream.Source != source1 || u.NewTip {
			t.Errorf("%+v", u)
		}
		f.submit(u, 1, 2e-9, 0)
		time.Sleep(3 * time.Second)
		counts := f.counts()
		if counts["accepted"]+counts["refused"] != 201 || above.Connections.Load() != 1 || above.Invalid.Load() != 0 {
			t.Errorf("%v, %d connections, %q", counts, above.Connections.Load(), above.Faults())
		}
		sameAsBook(t, p.Active(), above)
		if len(above.Book()) != 4 {
			t.Errorf("%v", above.Book())
		}
		for _, e := range f.took() {
			if e.Ended {
				t.Errorf("a source has ended: %+v", e)
			}
		}
	})
}

// A handover that comes to nothing: the connections go on here as if nothing had been.
func TestResume(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e-9, Delay: time.Second})
		p := f.process(above, nil, nil)
		becomes(t, p.Group, "p", 10*time.Second)
		u := f.job()
		for range 5 {
			f.submit(u, 1, 1e-9, 0)
			time.Sleep(300 * time.Millisecond)
			_, lines := p.Suspend()
			time.Sleep(500 * time.Millisecond)
			above.NewJob()
			p.Resume(lines)
			f.submit(u, 1, 1e-9, 0) // of a job given before
			next := f.job()
			if next.Upstream.Source != u.Upstream.Source {
				t.Errorf("source %d, then %d", u.Upstream.Source, next.Upstream.Source)
			}
			u = next
		}
		time.Sleep(3 * time.Second)
		if n := f.counts()["accepted"]; n != 10 || above.Connections.Load() != 1 {
			t.Errorf("%d of 10 accepted, %d connections", n, above.Connections.Load())
		}
		sameAsBook(t, p.Active(), above)
		above.DropAll() // and later ones are made again
		becomes(t, p.Group, "p", time.Minute)
		time.Sleep(time.Minute)
		if above.Connected() != 1 {
			t.Errorf("%d connections", above.Connected())
		}
	})
}

// A connection that no session is on moves as any other, and stays for as long as one that was
// made here: shares may wait on it.
func TestMoveIdle(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{})
		p := f.process(above, nil, nil)
		becomes(t, p.Group, "p", 10*time.Second)
		u := f.job()
		if err := p.Active().recruit(1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		record, lines := p.Suspend()
		if len(lines) != 2 {
			t.Fatalf("%d connections move", len(lines))
		}
		next := f.process(above, record, lines)
		next.Opened(u.Upstream.Source)
		p.end()
		time.Sleep(retireAfter - time.Minute)
		if n := above.Connected(); n != 2 {
			t.Errorf("%d connections, one idle for 9 minutes", n)
		}
		time.Sleep(3 * time.Minute)
		if n := above.Connected(); n != 1 || !next.Usable() {
			t.Errorf("%d connections, idle for 12 minutes", n)
		}
	})
}

// A job that came when the other process stood still already is given here, and no other.
func TestRenew(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e-9, Branches: 1})
		p := f.process(above, nil, nil)
		becomes(t, p.Group, "p", 10*time.Second)
		before := f.job()
		asWork := func(u source.Update) func(uint32) *session.Work {
			return func(number uint32) *session.Work {
				if number != u.Upstream.Source {
					t.Errorf("asked for source %d", number)
				}
				return &session.Work{Job: &work.Job{Template: u.Template}, Upstream: u.Upstream}
			}
		}
		above.NewJob()
		now := f.job()
		for name, tt := range map[string]struct {
			known         func(uint32) *session.Work
			given, newTip bool
		}{
			"nothing":       {func(uint32) *session.Work { return nil }, true, true},
			"the last":      {asWork(now), false, false},
			"one before it": {asWork(before), true, false},
		} {
			record, lines := p.Suspend()
			next := f.processKnowing(above, record, lines, tt.known)
			switch got := f.took(); {
			case len(got) == 0:
				if tt.given {
					t.Errorf("%s: nothing is given", name)
				}
			case !tt.given || len(got) > 1 || got[0].NewTip != tt.newTip || got[0].Upstream.JobID != now.Upstream.JobID || got[0].Upstream.Judge == nil || !got[0].Template.SameWork(now.Template):
				t.Errorf("%s: %+v", name, got)
			}
			p.end()
			p = next
		}
	})
}

// A pool whose difficulty fell below the least just before an upgrade that failed is given up
// as any other that does not raise it: nothing of what it sends is worked on.
func TestResumeBelowTheLeast(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e6})
		g, err := NewGroup([]Config{{URL: "pool.example.org:3333", User: "farm", LeastDifficulty: 1024}},
			GroupOptions{Dial: dialler{"pool.example.org:3333": above}.dial, Finder: f})
		if err != nil {
			t.Fatal(err)
		}
		defer f.runs(g)()
		becomes(t, g, "p", 10*time.Second)
		above.SetDifficulty(5)
		synctest.Wait()
		_, lines := g.Suspend()
		time.Sleep(2 * raiseTime)
		g.Resume(lines)
		time.Sleep(2 * raiseTime)
		if g.Usable() {
			t.Errorf("%+v", g.Status())
		}
	})
}

// Sources of two processes never have one number, even if the pool above restarts as one takes
// over from the other, and the accounts of as many users as there may be are made again there.
func TestNumbersOfTwoProcesses(t *testing.T) {
	group := func() *Group {
		g, err := NewGroup([]Config{{URL: "pool.example.org:3333", User: "farm"}}, GroupOptions{After: 1000})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	before, after := group(), group()
	after.Expect(before.Standing())
	first := after.next()
	for range 5 * defaultAccounts {
		if n := before.next(); n >= first {
			t.Fatalf("both processes have a source %d", n)
		}
	}
}

// Who takes over waits for the connections of the pools that serve. What is not read before
// it owns them, and what it lets go of, the process before goes on with.
func TestExpect(t *testing.T) {
	a, b, c := Config{URL: "a.example.org:1", User: "u"}, Config{URL: "b.example.org:1", User: "u"}, Config{URL: "c.example.org:1", User: "u"}
	standing := func(c Config, serves, moves bool) Standing { return Standing{c.URL, c.User, serves, moves} }
	for name, tt := range map[string]struct {
		list     []Standing
		all      bool
		expected []string
	}{
		"nothing":              {nil, false, nil},
		"the one that serves":  {[]Standing{standing(a, true, true), standing(b, false, true)}, true, []string{a.URL, b.URL}},
		"only those that stay": {[]Standing{standing(a, true, false), standing(b, false, true)}, false, []string{b.URL}},
		"one of two":           {[]Standing{standing(a, true, true), standing(b, true, false)}, false, []string{a.URL}},
		"none that serves":     {[]Standing{standing(c, true, true), standing(b, false, true)}, true, []string{b.URL}},
		"of another user":      {[]Standing{{a.URL, "v", true, true}}, false, nil},
	} {
		g, err := NewGroup([]Config{a, b}, GroupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		all := g.Expect(tt.list, 7)
		var expected []string
		for _, m := range g.members {
			if m.expected {
				expected = append(expected, m.config.URL)
			}
		}
		if all != tt.all || !slices.Equal(expected, tt.expected) {
			t.Errorf("%s: %v, %q", name, all, expected)
		}
	}
}

// A process that runs already connects to the pools that it expects nothing of. What it
// adopts it reads when it may begin; it takes no second connection beside its own, whose shares
// are unanswered then.
func TestBegin(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e-9, Delay: time.Second})
		p := f.process(above, nil, nil)
		becomes(t, p.Group, "p", 10*time.Second)
		u := f.job()
		list, last := p.Standing()
		if last != u.Upstream.Source || len(list) != 1 || list[0] != (Standing{"pool.example.org:3333", "farm", true, true}) {
			t.Fatalf("%+v", list)
		}
		other := otherpool.New(t, otherpool.Config{})
		configs := []Config{p.Active().Config(), {URL: "other.example.org:1", User: "farm"}}
		g, err := NewGroup(configs, GroupOptions{Dial: dialler{"pool.example.org:3333": above, "other.example.org:1": other}.dial, Finder: f})
		if err != nil {
			t.Fatal(err)
		}
		if !g.Expect(list, last) {
			t.Error("what serves does not come")
		}
		defer f.runs(g)()
		time.Sleep(time.Minute)
		if above.Connections.Load() != 1 || other.Connections.Load() != 1 {
			t.Errorf("%d and %d connections", above.Connections.Load(), other.Connections.Load())
		}
		for _, own := range f.took() {
			if own.Upstream.Source <= last {
				t.Errorf("source %d again", own.Upstream.Source)
			}
		}
		f.submit(u, 1, 1e-9, 0)
		record, lines := p.Suspend()
		if err := g.Adopt(record); err != nil {
			t.Fatal(err)
		}
		if err := g.AdoptLine(lines[0].Conn, lines[0].Record); err != nil {
			t.Fatal(err)
		}
		above.NewJob()
		time.Sleep(3 * time.Second)
		if n := len(f.took()); n != 0 || f.counts()["accepted"] != 0 {
			t.Errorf("%d jobs and %v before it may begin", n, f.counts())
		}
		g.Begin()
		if next := f.job(); next.Upstream.Source != u.Upstream.Source {
			t.Errorf("a job of source %d, was %d", next.Upstream.Source, u.Upstream.Source)
		}
		p.end()
		time.Sleep(time.Minute)
		if g.Active() != g.pools()[0] || f.counts()["accepted"] != 1 || above.Connections.Load() != 1 || above.Connected() != 1 {
			t.Errorf("%v, %d connections, %d now", f.counts(), above.Connections.Load(), above.Connected())
		}
		before := g.Active().Figures()
		if err := g.AdoptLine(nil, lines[0].Record); !errors.Is(err, ErrConnected) {
			t.Errorf("a second one: %v", err)
		}
		if now := g.Active().Figures(); now.Unanswered.Shares != before.Unanswered.Shares+1 || now.Open != before.Open {
			t.Errorf("what became of its share nobody knows: %+v, before %+v", now, before)
		}
	})
}

// overTLS is a group that works for one pool, which is spoken to over TLS and takes three
// seconds to answer a share.
func (f *farm) overTLS() (*otherpool.Pool, *Group, []Config) {
	f.t.Helper()
	pair := certificate.New(f.t, "pool.example.org", 1).TLS(f.t)
	above := otherpool.New(f.t, otherpool.Config{Difficulty: 1e-9, Delay: 3 * time.Second, Wrap: func(c net.Conn) net.Conn {
		return tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})
	}})
	configs := []Config{{URL: "stratum+ssl://pool.example.org:3333", User: "farm", TLS: &tls.Config{InsecureSkipVerify: true}}}
	g, err := NewGroup(configs, GroupOptions{Dial: above.Dial, Finder: f})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(f.runs(g))
	becomes(f.t, g, "p", 10*time.Second)
	return above, g, configs
}

// figuresIn are those of a pool in the record of its group, as another process reads them.
func figuresIn(t *testing.T, record []byte, configs []Config) Figures {
	t.Helper()
	g, err := NewGroup(configs, GroupOptions{})
	if err == nil {
		err = g.Adopt(record)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g.pools()[0].Figures()
}

// A connection over TLS stays where it is: its shares are waited for, and those that
// get no verdict in time count as unanswered in the other process.
func TestSettle(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		_, g, configs := f.overTLS()
		if list, _ := g.Standing(); len(list) != 1 || list[0].Moves || !list[0].Serves {
			t.Errorf("%+v", list)
		}
		u := f.job()
		f.submit(u, 1, 1e-9, 0)
		began := time.Now()
		hurry, stop := context.WithTimeout(t.Context(), time.Second)
		g.Settle(hurry)
		stop()
		if d := time.Since(began); d != time.Second {
			t.Errorf("waited %v", d)
		}
		unanswered := func() int64 {
			record, lines := g.Suspend()
			if len(lines) != 0 {
				t.Fatalf("%d connections move", len(lines))
			}
			figures := figuresIn(t, record, configs)
			if figures.Open != 0 || figures.Unanswered.Difficulty.Float64() != float64(figures.Unanswered.Shares)*1e-9 {
				t.Errorf("%+v", figures)
			}
			g.Resume(lines)
			return figures.Unanswered.Shares
		}
		if n := unanswered(); n != 1 {
			t.Errorf("%d unanswered", n)
		}
		g.Settle(t.Context())
		synctest.Wait()
		if d := time.Since(began); d < 3*time.Second || d > 3*time.Second+2*settleEvery || f.counts()["accepted"] != 1 {
			t.Errorf("waited %v, %v", d, f.counts())
		}
		if n := unanswered(); n != 0 {
			t.Errorf("%d unanswered", n)
		}
	})
}

// What a pool says over a connection that cannot move, as everything stands still already,
// nobody is told before it is known that this process goes on: another one has the share as
// unanswered, and so its miner is to hear. The same if the connection ends meanwhile.
func TestAnswerAtStandstill(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above, g, configs := f.overTLS()
		u := f.job()
		for name, tt := range map[string]struct {
			happens  func()
			told     string
			accepted int64
		}{
			"an answer": {func() { time.Sleep(4 * time.Second) }, "accepted", 1},
			"its end":   {func() { above.DropAll(); synctest.Wait() }, "unanswered", 0},
		} {
			share := f.submit(u, 1, 1e-9, 0)
			before := g.pools()[0].Figures()
			record, lines := g.Suspend()
			tt.happens()
			var later ledgerRecord // as of users, whose are made last
			g.pools()[0].left(&later)
			if told := f.verdict(share); told != "" || len(lines) != 0 || later.f.Unanswered.Shares != 1 {
				t.Errorf("%s: told %q, %d connections move, %d unanswered", name, told, len(lines), later.f.Unanswered.Shares)
			}
			there := figuresIn(t, record, configs)
			if there.Unanswered.Shares != before.Unanswered.Shares+1 || there.Accepted.Shares != before.Accepted.Shares {
				t.Errorf("%s: %+v, before %+v", name, there, before)
			}
			g.Resume(lines)
			here := g.pools()[0].Figures()
			if told := f.verdict(share); told != tt.told || here.Open != 0 || here.Accepted.Shares != before.Accepted.Shares+tt.accepted || here.Unanswered.Shares != before.Unanswered.Shares+1-tt.accepted {
				t.Errorf("%s: told %q, %+v, before %+v", name, told, here, before)
			}
			time.Sleep(time.Minute)
			becomes(t, g, "p", time.Minute)
			above.NewJob()
			u = f.job()
		}
	})
}

// suspending begins a Suspend, and gives what waits for it, for a minute.
func suspending(t *testing.T, g *Group) func() (record []byte, lines []Moving) {
	var record []byte
	var lines []Moving
	done := make(chan struct{})
	go func() {
		record, lines = g.Suspend()
		close(done)
	}()
	return func() ([]byte, []Moving) {
		t.Helper()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal("everything stands still for ever")
		}
		return record, lines
	}
}

// A pool that has its miners connect again, just as its connection is to move, is not waited
// for: what was on its way there has no answer, and the connection is made again where this
// process goes on.
func TestSuspendAtTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e-9, Delay: time.Hour})
		configs := []Config{{URL: "pool.example.org:3333", User: "farm"}}
		said, goOn := make(chan struct{}), make(chan struct{})
		g, err := NewGroup(configs, GroupOptions{Dial: above.Dial, Finder: f, Events: func(e event.Event) {
			if strings.Contains(e.Text, "one moment") {
				close(said)
				<-goOn
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.runs(g)()
		becomes(t, g, "p", 10*time.Second)
		share := f.submit(f.job(), 1, 1e-9, 0)
		above.Send(`{"id":null,"method":"client.show_message","params":["one moment"]}`)
		<-said
		above.Send(`{"id":null,"method":"client.reconnect","params":[]}`)
		synctest.Wait()
		suspended := suspending(t, g)
		synctest.Wait()
		close(goOn)
		record, lines := suspended()
		figures := figuresIn(t, record, configs)
		if len(lines) != 0 || figures.Unanswered.Shares != 1 || f.verdict(share) != "unanswered" {
			t.Errorf("%d connections move, %q, %+v", len(lines), f.verdict(share), figures)
		}
		g.Resume(lines)
		time.Sleep(time.Minute)
		becomes(t, g, "p", time.Minute)
		if above.Connected() != 1 || above.Connections.Load() != 2 {
			t.Errorf("%d connections, %d were made", above.Connected(), above.Connections.Load())
		}
	})
}

// What moves to a process that is configured in another way, or is damaged, is refused in
// one clear line, and the process begins with connections of its own.
func TestAdoptRefused(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{})
		p := f.process(above, nil, nil)
		becomes(t, p.Group, "p", 10*time.Second)
		record, lines := p.Suspend()
		other, err := NewGroup([]Config{{URL: "pool.example.org:3333", User: "another"}}, GroupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Adopt(record); err != nil {
			t.Error(err)
		}
		err = other.AdoptLine(lines[0].Conn, lines[0].Record)
		if !errors.Is(err, ErrNotConfigured) || err.Error() != "upstream connection to pool.example.org:3333 as farm: the pool is not configured any more" {
			t.Error(err)
		}
		for n := range lines[0].Record {
			if err := other.AdoptLine(nil, lines[0].Record[:n]); err == nil || !strings.HasPrefix(err.Error(), "upstream connection: ") {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		if err := other.Adopt([]byte{9}); err == nil {
			t.Error("a record of a later version is read")
		}
		if other.Judge(1) != nil || other.Judge(0) != nil {
			t.Error("shares are judged of a source that did not come along")
		}
		if g := other.next(); g <= f.newest().Upstream.Source {
			t.Errorf("source %d again", g)
		}
		p.Resume(lines)
		time.Sleep(time.Second)
		if above.Connections.Load() != 1 || !p.Usable() {
			t.Error("it does not go on where it was")
		}
	})
}

// Whatever another process sends as a record is read or refused.
func FuzzAdopt(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0})
	line := lineRecord{
		url: "pool.example.org:3333", user: "farm", source: 3, force: 2, told: true,
		state:   client.State{URL: "pool.example.org:3333", LastID: 9, Unread: []byte("{}\n{"), Unwritten: []byte("x"), Extranonce: stratum.Extranonce{Extranonce1: []byte{1}, Extranonce2Len: 8}},
		newest:  &jobRecord{notify: client.Notify{Notify: stratum.Notify{JobID: "a", Branch: [][32]byte{{1}}}, Extranonce: stratum.Extranonce{Extranonce1: []byte{1}, Extranonce2Len: 8}}, announced: 2, difficulty: 1},
		names:   []nameRecord{{"farm.a", true}},
		flights: []flight{{id: 9, client: 1, share: 2, credit: 2}},
		ledger:  ledgerRecord{f: Figures{Reasons: map[string]Tally{"no": {Shares: 1}}}},
	}
	c := wire.Append(nil)
	c.Versioned(lineVersion, line.fields)
	f.Add(c.Written())
	group := groupRecord{number: 7, pools: []poolRecord{{url: "pool.example.org:3333", user: "farm", serves: true, habits: [2]habit{{known: true}}}}}
	c = wire.Append(nil)
	c.Versioned(groupVersion, group.fields)
	f.Add(c.Written())
	f.Add(records.V1(f, "line"))
	f.Add(records.V1(f, "group"))
	f.Fuzz(func(t *testing.T, record []byte) {
		bubble(t, func(t *testing.T, f *farm) {
			o := GroupOptions{Finder: f, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errDown }}
			g, err := NewGroup([]Config{{URL: "pool.example.org:3333", User: "farm"}}, o)
			if err != nil {
				t.Fatal(err)
			}
			_ = g.Adopt(record) // any error will do
			near, far := net.Pipe()
			defer far.Close()
			if g.AdoptLine(near, record) != nil {
				near.Close()
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_ = g.Run(ctx) // it has no errors
		})
	})
}

// A record has everything of what it is of.
func TestLineRecord(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Branches: 3, VersionMask: 0x1fffe000})
		p := f.process(above, nil, nil)
		becomes(t, p.Group, "p", 10*time.Second)
		u := f.job()
		f.submit(u, 1, 1e-10, 0)
		synctest.Wait()
		record, lines := p.Suspend()
		q := f.process(above, record, lines)
		again, lines := q.Suspend()
		r := f.process(above, again, lines)
		if d := cmp.Diff(p.Active().Figures(), r.Active().Figures(), cmpopts.EquateComparable(difficulty.Exact{})); d != "" {
			t.Error(d)
		}
		old, now := p.Active().lineOf(u.Upstream.Source).newest, r.Active().lineOf(u.Upstream.Source).newest
		if !sameJob(&old.notify, &now.notify) || old.announced != now.announced || old.upstream.Difficulty != now.upstream.Difficulty {
			t.Errorf("%+v\n%+v", now, old)
		}
		above.Resend()
		if n := f.took(); len(n) != 0 {
			t.Errorf("%+v", n)
		}
		var _ source.Judge = now
	})
}

// The first form of the records is read for ever; the files are never made anew.
func TestReadRecordsV1(t *testing.T) {
	l := records.Check(t, records.V1(t, "line"), lineVersion, (*lineRecord).fields)
	if l.url != "pool.example.org:3333" || l.user != "farm" || l.source != 7 || !l.told || l.force != 2 || !l.began.Equal(time.Unix(1795327613, 250)) {
		t.Errorf("%+v", l)
	}
	if d := cmp.Diff(client.State{
		URL: "pool.example.org:3334", Extranonce: stratum.Extranonce{SessionID: "s1", Extranonce1: []byte{0xab, 0xcd}, Extranonce2Len: 8},
		Difficulty: 2, VersionMask: 0x1fffe000, LastID: 99, Unread: []byte("{\"id\":9"), Unwritten: []byte("w\":null}\n"),
	}, l.state); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(&jobRecord{
		notify: client.Notify{
			Notify: stratum.Notify{
				JobID: "6a/b", PrevHash: [32]byte{1, 2}, Coinb1: []byte{3}, Coinb2: []byte{4, 5}, Branch: [][32]byte{{6}, {7}},
				Version: 0x20000000, Bits: 0x1d00ffff, NTime: 0x6b02867d, Clean: true,
			},
			Extranonce: stratum.Extranonce{Extranonce1: []byte{0xab, 0xcd}, Extranonce2Len: 8}, Difficulty: 4, VersionMask: 0x1fffe000,
		}, announced: 4, difficulty: 3,
	}, l.newest, cmp.AllowUnexported(jobRecord{}), cmpopts.IgnoreUnexported(client.Notify{})); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]nameRecord{{"farm.a", true}, {"farm.b", false}}, l.names, cmp.AllowUnexported(nameRecord{})); d != "" {
		t.Error(d)
	}
	if want := (flight{id: 98, client: 5, share: 1<<48 | 6, credit: 2.5, direction: raised, between: true}); len(l.flights) != 1 || l.flights[0] != want {
		t.Errorf("%+v", l.flights)
	}
	k := l.ledger
	if k.f.RefusedHere.Shares != 1 || k.f.NotSent.Shares != 2 || k.f.Unsendable.Shares != 3 || k.f.Accepted.Shares != 4 || k.f.Unanswered.Shares != 5 || k.f.Refused.Shares != 6 ||
		k.f.Accepted.Difficulty.Float64() != 12.5 || k.f.Reasons["Stale"].Shares != 6 || !k.f.LastAccepted.Equal(time.Unix(1795327614, 0)) ||
		k.f.Latency != 20*time.Millisecond || k.f.Slowest != time.Second || k.rates != [4]difficulty.Average{1, 2, 3, 4} || k.fresh != 0.5 ||
		!k.began.Equal(time.Unix(1795327600, 0)) || !k.decayed.Equal(time.Unix(1795327612, 0)) || k.answers != 10 {
		t.Errorf("%+v", k)
	}
	g := records.Check(t, records.V1(t, "group"), groupVersion, (*groupRecord).fields)
	if g.number != 77 || len(g.pools) != 1 {
		t.Fatalf("%+v", g)
	}
	p := g.pools[0]
	since := time.Unix(1795327610, 0)
	if p.url != l.url || p.user != l.user || !p.serves || p.habits != [2]habit{{known: true, lower: true, since: since}, {since: time.Time{}}} || p.ledger.f.Accepted.Shares != 4 {
		t.Errorf("%+v", p)
	}
}

// A record that is cut off, or of a newer version, is refused.
func TestDamagedRecords(t *testing.T) {
	g, err := NewGroup([]Config{{URL: "elsewhere.example.org:1", User: "another"}}, GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	records.Damaged(t, "group", 0, g.Adopt)
	records.Damaged(t, "line", 0, func(in []byte) error {
		if err := g.AdoptLine(nil, in); !errors.Is(err, ErrNotConfigured) { // which it says of good ones
			return err
		}
		return nil
	})
}
