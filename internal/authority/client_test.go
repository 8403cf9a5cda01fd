package authority_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/testkit/ckdb"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience only passes where a test fails.
const patience = time.Minute

// heard is what a client tells the pool.
type heard struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (h *heard) add(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, text)
}

func (h *heard) Lock(user, text string)              { h.add("lock " + user + ": " + text) }
func (h *heard) SetMinimum(worker string, d float64) { h.add(fmt.Sprintf("minimum %s %v", worker, d)) }
func (h *heard) SetPrivate(user string, private bool) {
	h.add(fmt.Sprint("privacy ", user, ": ", private))
}
func (h *heard) Message(user, text string) { h.add("message " + user + ": " + text) }

func (h *heard) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.lines, "\n")
}

func (h *heard) await(t *testing.T, want string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for h.all() != want && time.Now().Before(deadline) {
		<-time.After(time.Millisecond)
	}
	if got := h.all(); got != want {
		t.Fatalf("heard\n%s\nwant\n%s", got, want)
	}
}

// socketDir is a directory whose path is short enough for sockets.
func socketDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "ck")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func startCkdb(t *testing.T) *ckdb.Daemon {
	t.Helper()
	d := &ckdb.Daemon{Store: ckdb.New("store"), Dir: socketDir(t)}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	return d
}

// asker is a running client.
type asker struct {
	*authority.Client
	t    *testing.T
	h    *heard
	log  *heard
	stop func()
}

func startClient(t *testing.T, p authority.Place, from authority.Position) *asker {
	a := &asker{t: t, h: &heard{}, log: &heard{}}
	a.Client = authority.NewClient(authority.Options{Place: p, Program: "ckpool test", Miners: a.h, Events: func(e event.Event) { a.log.add(e.Text) }})
	a.SetPosition(from)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { a.Run(ctx); close(done) }()
	a.stop = func() { cancel(); <-done }
	t.Cleanup(func() {
		a.stop()
		if t.Failed() {
			t.Log(a.log.all())
		}
	})
	return a
}

// ask waits for the answer.
func (a *asker) ask(q authority.Question) authority.Answer {
	a.t.Helper()
	if !q.Remote.IsValid() {
		q.Remote = netip.MustParseAddr("198.51.100.7")
	}
	came := make(chan authority.Answer, 2)
	n, ok := a.Ask(q, func(n authority.Answer) { came <- n })
	if ok {
		return n
	}
	select {
	case n := <-came:
		return n
	case <-time.After(patience):
		a.t.Fatalf("no answer about %s", q.Worker)
		return n
	}
}

func (a *asker) want(user, password string, want authority.Answer) {
	a.t.Helper()
	q := authority.Question{User: user, Worker: user + ".rig", Password: password}
	got := a.ask(q)
	for until := time.Now().Add(patience); got.Verdict == authority.Unanswered && time.Now().Before(until); { // on a busy machine
		<-time.After(time.Millisecond)
		got = a.ask(q)
	}
	if got.ID = 0; got != want {
		a.t.Errorf("%s with %q: %+v, want %+v", user, password, got, want)
	}
}

func hash(t *testing.T, password string) string {
	t.Helper()
	h, err := credentials.HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (a *asker) connected() {
	a.t.Helper()
	wait.Until(a.t, patience, "connected", a.Up)
}

func TestQuestions(t *testing.T) {
	d := startCkdb(t)
	d.Store.Register("bob", hash(t, "secret"))
	d.Store.Register("carol", "")
	d.Store.SetMinimum("bob", "bob.rig", 512)
	d.Store.Lock("mallory", "not you")
	a := startClient(t, *d.Place(), authority.Position{})
	allowed := authority.Answer{Verdict: authority.Allowed, Minimum: 512, Password: true}
	a.want("bob", "secret", allowed)
	a.want("bob", "secret,d=42", allowed)
	a.want("bob", "wrong", authority.Answer{Verdict: authority.Refused, Text: "Wrong password", Password: true})
	a.want("carol", "x", authority.Answer{Verdict: authority.Allowed})
	a.want("mallory", "x", authority.Answer{Verdict: authority.Locked, Text: "not you"})
	a.want("nobody", "x", authority.Answer{Verdict: authority.Refused, Text: "No account of that name: register it, or use a bitcoin address as user name"})
	got := a.ask(authority.Question{User: "bc1q", Worker: "bc1q", Payable: true})
	if got.Verdict != authority.Allowed {
		t.Errorf("an address without account: %+v", got)
	}
	// What was answered once is not asked again, and is true while ckdb is away.
	before := d.Store.Asked()
	d.Stop()
	a.want("bob", "secret", allowed)
	a.want("bob", "secret,d=42", allowed)
	a.want("carol", "y", authority.Answer{Verdict: authority.Allowed})
	a.want("mallory", "x", authority.Answer{Verdict: authority.Locked, Text: "not you"})
	if n := d.Store.Asked(); n != before {
		t.Errorf("asked %d times more", n-before)
	}
}

// A change is in force before it is told, and what is away for a while misses none.
func TestChanges(t *testing.T) {
	d := startCkdb(t)
	d.Store.Register("bob", "")
	d.Store.Message("bob", "of yesterday")
	a := startClient(t, *d.Place(), authority.Position{})
	a.connected()
	a.want("bob", "x", authority.Answer{Verdict: authority.Allowed})
	d.Store.Lock("bob", "unpaid")
	a.h.await(t, "lock bob: unpaid")
	a.want("bob", "x", authority.Answer{Verdict: authority.Locked, Text: "unpaid"})
	d.Store.Unlock("bob")
	d.Store.SetMinimum("bob", "bob.rig", 64)
	all := "lock bob: unpaid\nminimum bob.rig 64"
	a.h.await(t, all)
	a.want("bob", "x", authority.Answer{Verdict: authority.Allowed, Minimum: 64})
	d.Stop()
	d.Store.Message("bob", "while you were away")
	d.Store.SetMinimum("bob", "bob.rig", 0)
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	all += "\nmessage bob: while you were away\nminimum bob.rig 0"
	a.h.await(t, all)
	a.want("bob", "x", authority.Answer{Verdict: authority.Allowed})
	// Another process that goes on for this one gets what comes after.
	a.stop()
	d.Store.Message("bob", "to the next")
	next := startClient(t, *d.Place(), a.Position())
	next.h.await(t, "message bob: to the next")
	// One that begins gets what is true now, and no messages.
	fresh := startClient(t, *d.Place(), authority.Position{})
	d.Store.Message("bob", "last")
	next.h.await(t, "message bob: to the next\nmessage bob: last")
	wait.Until(t, patience, "the newest change", func() bool { return fresh.Position() == next.Position() })
	if got := fresh.h.all(); strings.Count(got, "message") > 1 || !strings.HasPrefix(got, "lock bob: unpaid\nminimum bob.rig 64\nminimum bob.rig 0") {
		t.Errorf("one that begins hears\n%s", got)
	}
}

// After a backup was restored numbers mean something else: nothing that was known
// counts any more.
func TestAnotherStore(t *testing.T) {
	d := startCkdb(t)
	d.Store.Register("bob", "")
	d.Store.Lock("bob", "unpaid")
	a := startClient(t, *d.Place(), authority.Position{})
	a.h.await(t, "lock bob: unpaid")
	d.Stop()
	d.Store = ckdb.New("restored")
	for range 10 {
		d.Store.Register("bob", "")
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, patience, "the other store", func() bool { return a.Position().Store == "restored" })
	a.want("bob", "x", authority.Answer{Verdict: authority.Allowed})
}

// An answer that was under way when something changed is asked for again.
func TestAnswerFromBeforeAChange(t *testing.T) {
	d := startCkdb(t)
	a := startClient(t, *d.Place(), authority.Position{})
	began := time.Now()
	for n := 0; !changesBeforeAnswer(t, d, a, fmt.Sprint("bob", n)); n++ {
		if time.Since(began) > patience {
			t.Fatal("never in time")
		}
	}
}

// changesBeforeAnswer locks a user while what was asked of him is under way, and tells whether
// that was in time on a busy machine.
func changesBeforeAnswer(t *testing.T, d *ckdb.Daemon, a *asker, user string) bool {
	t.Helper()
	const delay = time.Second
	a.connected()
	d.Store.Register(user, "")
	d.Store.SetDelay(delay, nil)
	asked := d.Store.Asked()
	came := make(chan authority.Answer, 1)
	q := authority.Question{User: user, Worker: user, Remote: netip.MustParseAddr("198.51.100.7")}
	began := time.Now()
	if _, ok := a.Ask(q, func(n authority.Answer) { came <- n }); ok {
		t.Fatal("answered without asking")
	}
	wait.Until(t, patience, "asked", func() bool { return d.Store.Asked() > asked })
	d.Store.SetDelay(0, nil)
	d.Store.Lock(user, "at this moment")
	locked := time.Since(began)
	n := <-came
	if n.Verdict == authority.Locked {
		return true
	}
	if locked < delay/2 && time.Since(began) < 2*delay {
		t.Errorf("%+v, want locked", n)
		return true
	}
	return false
}

// Whoever answers too late, never, or nonsense costs a login the time it may take,
// and a ckdb that is known to be away costs it none.
func TestWithoutAnswer(t *testing.T) {
	listen := func(t *testing.T, talk func(c net.Conn)) authority.Place {
		dir := socketDir(t)
		l, err := net.Listen("unix", filepath.Join(dir, authority.Socket))
		if err != nil {
			t.Fatal(err)
		}
		var talking sync.WaitGroup
		talking.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				talking.Go(func() {
					defer c.Close()
					_, _ = control.ReadFrame(c, 1<<20)
					talk(c)
				})
			}
		})
		t.Cleanup(func() { l.Close(); talking.Wait() })
		return authority.Place{Dir: dir}
	}
	answer := func(c net.Conn, lines ...string) {
		for _, l := range lines {
			_ = control.WriteFrame(c, []byte(l))
		}
		_, _ = control.ReadFrame(c, 1<<20)
	}
	const hello = `{"version":1,"program":"x","position":{"store":"s","number":0}}`
	slow := startCkdb(t)
	slow.Store.SetDelay(time.Hour, nil)
	broken := startCkdb(t)
	broken.Store.SetDelay(0, errors.New("database is locked"))
	for name, tt := range map[string]struct {
		place authority.Place
		says  string // in the log
	}{
		"slow":   {*slow.Place(), "Asking ckdb (ckdb test)"},
		"broken": {*broken.Place(), "Asking ckdb (ckdb test)"},
		"nobody": {authority.Place{Dir: socketDir(t)}, "no such file"},
		"mute":   {listen(t, func(c net.Conn) { _, _ = control.ReadFrame(c, 1<<20) }), "does not answer"},
		"later": {listen(t, func(c net.Conn) { answer(c, `{"version":2,"program":"ckdb 9"}`) }),
			"ckdb (ckdb 9) is of a later release: it speaks version 2, this program 1; install both of one release"},
		"refusing":        {listen(t, func(c net.Conn) { answer(c, `{"version":1,"refused":"no database"}`) }), "no database"},
		"another program": {listen(t, func(c net.Conn) { answer(c, `unknown`) }), `what listens there is no ckdb: it answers "unknown"`},
		"nonsense":        {listen(t, func(c net.Conn) { answer(c, hello, `{"answers":[{"id":1,"verdict":"perhaps"}]}`) }), `what came is no message: answer 1 is "perhaps"`},
		"no JSON":         {listen(t, func(c net.Conn) { answer(c, hello, `x`) }), "what came is no message"},
		"bad number": {listen(t, func(c net.Conn) {
			answer(c, hello, `{"changes":[{"number":1,"kind":"minimum","user":"a","worker":"a","minimum":-1}]}`)
		}), "least difficulty -1"},
		"unknown kind": {listen(t, func(c net.Conn) { answer(c, hello, `{"changes":[{"number":1,"kind":"x","user":"a"}]}`) }), `is of kind "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := startClient(t, tt.place, authority.Position{})
			begun := time.Now()
			for i := range 5 {
				n := a.ask(authority.Question{User: "bob", Worker: fmt.Sprint("bob.", i)})
				if n.Verdict != authority.Unanswered {
					t.Errorf("%+v", n)
				}
				if took := time.Since(begun); i == 0 && took > 10*authority.AnswerTime {
					t.Errorf("no answer after %v", took)
				}
				if name == "slow" {
					break
				}
			}
			wait.Until(t, patience, "a line with "+tt.says, func() bool { return strings.Contains(a.log.all(), tt.says) })
		})
	}
}

// What is found out too late has its effect all the same.
func TestLateAnswer(t *testing.T) {
	d := startCkdb(t)
	d.Store.Lock("mallory", "not you")
	d.Store.SetDelay(2*authority.AnswerTime, nil)
	p, _ := d.Store.Position(t.Context())
	a := startClient(t, *d.Place(), p)
	if n := a.ask(authority.Question{User: "mallory", Worker: "mallory", Payable: true}); n.Verdict != authority.Unanswered {
		t.Fatalf("%+v", n)
	}
	a.h.await(t, "lock mallory: not you")
}

// Questions that were under way when ckdb ended are asked of the next one.
func TestRestartUnderQuestions(t *testing.T) {
	for began := time.Now(); !answeredByTheNext(t); {
		if time.Since(began) > patience {
			t.Fatal("this machine is too busy for any question to be answered in time")
		}
	}
}

// answeredByTheNext is false where the machine was so busy that the time for answers had passed
// when the last one came.
func answeredByTheNext(t *testing.T) bool {
	t.Helper()
	d := startCkdb(t)
	d.Store.Register("bob", "")
	d.Store.SetDelay(time.Hour, nil)
	a := startClient(t, *d.Place(), authority.Position{})
	a.connected()
	const n = 1000
	answers := make(chan authority.Answer, n)
	asked := time.Now()
	for i := range n {
		a.Ask(authority.Question{User: "bob", Worker: fmt.Sprint("bob.", i), Remote: netip.MustParseAddr("::1")}, func(n authority.Answer) { answers <- n })
	}
	wait.Until(t, patience, "asked", func() bool { return d.Store.Asked() > 0 })
	d.Stop()
	d.Store.SetDelay(0, nil)
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	for range n {
		a := <-answers
		if a.Verdict == authority.Unanswered && time.Since(asked) >= authority.AnswerTime {
			return false
		}
		if a.Verdict != authority.Allowed {
			t.Fatalf("%+v", a)
		}
	}
	return true
}

// A stranger's socket in a directory that everybody may write to is not believed;
// one that was named is.
func TestAnswers(t *testing.T) {
	var said heard
	d := &ckdb.Daemon{Store: ckdb.New("store"), Dir: socketDir(t), Events: func(e event.Event) { said.add(e.Text) }}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	if !d.Place().Answers(t.Context()) {
		t.Error("no answer")
	}
	d.Stop()
	if said.all() != "" { // nobody has come or gone
		t.Errorf("the log has %s", said.all())
	}
	if d.Place().Answers(t.Context()) {
		t.Error("an answer of nobody")
	}
}

// What a pool of another release is told.
func TestServerOfAnotherVersion(t *testing.T) {
	d := startCkdb(t)
	for _, tt := range []struct{ request, want string }{
		{`authority {"version":2,"program":"ckpool 9"}`, "the pool (ckpool 9) is of a later release: it speaks version 2, this program 1; install both of one release"},
		{`authority {"program":"x"}`, "of an earlier release"},
		{"authority x", `its hello is "x"`},
		{"authority", `its hello is ""`},
	} {
		reply, err := control.Dial(filepath.Dir(d.Dir), filepath.Base(d.Dir), authority.Socket).Do(t.Context(), tt.request)
		var h struct{ Refused string }
		if err != nil || json.Unmarshal([]byte(reply), &h) != nil || !strings.Contains(h.Refused, tt.want) {
			t.Errorf("%s: %s, %v", tt.request, reply, err)
		}
	}
}

// A pool hears who is private, also what was said before it came; one of before does not, and
// hears all else.
func TestPrivacy(t *testing.T) {
	d := startCkdb(t)
	d.Store.SetPrivate("alice", true)
	d.Store.Lock("mallory", "gone")
	a := startClient(t, authority.Place{Dir: d.Dir, Name: "ckdb"}, authority.Position{})
	a.h.await(t, "privacy alice: true\nlock mallory: gone")
	conn, err := net.Dial("unix", filepath.Join(d.Dir, authority.Socket))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := control.WriteFrame(conn, []byte(`authority {"version":1,"program":"ckpool of before","position":{"store":"","number":0}}`)); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	hears := func(want string) {
		t.Helper()
		for {
			frame, err := control.ReadFrame(conn, 1<<20)
			if err != nil {
				t.Fatalf("%v, before %q", err, want)
			}
			if strings.Contains(string(frame), "privacy") || strings.Contains(string(frame), "alice") {
				t.Fatalf("the one of before hears %s", frame)
			}
			var m struct{ Changes []struct{ Kind, User string } }
			if err := json.Unmarshal(frame, &m); err != nil {
				t.Fatal(err)
			}
			for _, c := range m.Changes {
				if got := c.Kind + " " + c.User; got != want {
					t.Errorf("the one of before hears %q, want %q", got, want)
				}
				return
			}
		}
	}
	hears("lock mallory")
	d.Store.SetPrivate("alice", false)
	d.Store.Message("bob", "hello")
	a.h.await(t, "privacy alice: true\nlock mallory: gone\nprivacy alice: false\nmessage bob: hello")
	hears("message bob")
}
