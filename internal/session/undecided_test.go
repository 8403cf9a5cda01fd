package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

// askingRig leaves logins undecided until give.
func askingRig(t testing.TB) *rig {
	r := newRig(t, nil)
	r.backend.asks = true
	return r
}

// give gives the verdict on the login of a worker and returns what was written.
func (r *rig) give(slot netserver.Slot, worker string, v Verdict) []string {
	r.Helper()
	ticket, ok := r.backend.tickets[worker]
	if !ok {
		r.Fatalf("nobody asked about %s", worker)
	}
	delete(r.backend.tickets, worker)
	ticket.Give(v)
	for r.Step() {
	}
	return r.written(slot)
}

// subscribed opens a connection that has work and no worker.
func (r *rig) subscribed() (netserver.Slot, stratum.Notify) {
	slot := r.open()
	return slot, lastJob(r.send(slot, `{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1"]}`))
}

func (r *rig) nothingWaits() {
	r.Helper()
	u := &r.undecided
	if u.size != 0 || len(u.bySlot) != 0 || len(u.byTicket) != 0 || len(u.decided) != 0 {
		r.Errorf("left over: %d bytes, %d connections, %d tickets, %d decided", u.size, len(u.bySlot), len(u.byTicket), len(u.decided))
	}
}

const yes = `"result":true`

// All but what names the worker goes on while a login is undecided; what does is
// answered after it, and no share is lost.
func TestUndecidedLogin(t *testing.T) {
	for _, refused := range []string{"", "Wrong password"} {
		r := askingRig(t)
		slot, n := r.subscribed()
		r.want(slot, `{"id":2,"method":"mining.authorize","params":["bob.rig1","x"]}`)
		r.want(slot, `{"id":3,"method":"mining.ping","params":[]}`, `{"result":"pong","error":null,"id":3}`)
		r.want(slot, submitLine(4, "bob.rig1", &n, r.solve(slot, n.JobID, 1e-9, 0)))
		r.want(slot, `{"id":5,"method":"mining.authorize","params":["bob.rig1","x"]}`)
		if len(r.backend.shares) != 0 || r.backend.attached != 0 {
			t.Error("a share or a worker of an undecided login")
		}
		got := r.give(slot, "bob.rig1", Verdict{Answered: true, Refused: refused})
		var answers []string
		for _, l := range got {
			if !strings.Contains(l, `"method"`) {
				answers = append(answers, l)
			}
		}
		text := strings.Join(answers, "\n")
		if refused == "" {
			if len(answers) != 3 || strings.Count(text, yes) != 3 || !strings.Contains(answers[0], `"id":2`) || !strings.Contains(answers[1], `"id":4`) {
				t.Errorf("answers:\n%s", text)
			}
			if len(r.backend.shares) != 1 || r.backend.last().Reason != Accepted || r.backend.last().Worker != r.backend.workers["bob.rig1"] {
				t.Errorf("shares %+v", r.backend.shares)
			}
		} else {
			// The login that was sent again is a question of its own.
			if len(answers) != 2 || strings.Count(text, "[24,") != 2 || !strings.Contains(answers[0], refused) {
				t.Errorf("answers:\n%s", text)
			}
			if got := r.give(slot, "bob.rig1", Verdict{}); len(got) == 0 || !strings.Contains(got[0], yes) {
				t.Errorf("tried again: %q", got)
			}
		}
		r.nothingWaits()
		r.disconnect(slot)
	}
}

// A miner whose login is undecided makes no link: the verdict would be said in the middle of that,
// and its worker be there for ever.
func TestUndecidedLoginMakesNoLink(t *testing.T) {
	r := askingRig(t)
	r.Link = func(netserver.Slot, int, []byte, []byte) string { return "" }
	slot := r.open()
	r.want(slot, `{"id":1,"method":"mining.authorize","params":["bob","x"]}`)
	r.want(slot, `{"id":2,"method":"mining.passthrough","params":["x"]}`, rejectLine(20, "No link: it is not the first line", "2"))
	if r.closed[slot] != netserver.BadInput {
		t.Error("not closed for bad input")
	}
	r.disconnect(slot)
	r.give(slot, "bob", Verdict{Answered: true})
	r.nothingWaits()
	if r.backend.attached != 0 {
		t.Errorf("%d workers are attached", r.backend.attached)
	}
}

// A block waits for nobody.
func TestBlockOfAnUndecidedLogin(t *testing.T) {
	r := askingRig(t)
	slot, n := r.subscribed()
	target := &r.backend.work.Job.Target
	for i := range target { // any hash is one
		target[i] = 0xff
	}
	r.send(slot, `{"id":2,"method":"mining.authorize","params":["bob.rig1","x"]}`)
	r.send(slot, submitLine(4, "bob.rig1", &n, "00000001"))
	if len(r.backend.blocks) != 1 {
		t.Fatalf("%d blocks", len(r.backend.blocks))
	}
	r.give(slot, "bob.rig1", Verdict{Answered: true})
	if len(r.backend.shares) != 1 || r.backend.last().Reason != Accepted {
		t.Errorf("shares %+v", r.backend.shares)
	}
}

// Several logins wait side by side, are answered as their verdicts come, and a
// connection that ends leaves nothing.
func TestUndecidedLoginsSideBySide(t *testing.T) {
	r := askingRig(t)
	slot, _ := r.subscribed()
	const workers = 200
	for i := range workers {
		r.want(slot, fmt.Sprintf(`{"id":%d,"method":"mining.authorize","params":["bob.%d","x"]}`, i+10, i))
	}
	for i := workers - 1; i >= workers/2; i-- {
		got := r.give(slot, fmt.Sprintf("bob.%d", i), Verdict{Answered: true})
		if !strings.Contains(strings.Join(got, ""), fmt.Sprintf(`%s,"error":null,"id":%d}`, yes, i+10)) {
			t.Fatalf("%d: %q", i, got)
		}
	}
	if r.backend.attached != workers/2 {
		t.Errorf("%d workers", r.backend.attached)
	}
	r.disconnect(slot)
	if r.backend.attached != 0 {
		t.Errorf("%d workers of a connection that ended", r.backend.attached)
	}
	again := r.open() // may have the same place
	for i := range workers / 2 {
		r.give(slot, fmt.Sprintf("bob.%d", i), Verdict{Answered: true})
	}
	if got := r.written(again); got != nil || r.backend.attached != 0 {
		t.Errorf("another connection got %q, %d workers", got, r.backend.attached)
	}
	r.nothingWaits()
}

// Who sends more than may wait is decided without asking.
func TestUndecidedLoginsAreBounded(t *testing.T) {
	r := askingRig(t)
	slot, _ := r.subscribed()
	name := strings.Repeat("x", 4000)
	for i := 0; r.undecided.size <= maxWaitingOfClient-5000; i++ {
		r.want(slot, fmt.Sprintf(`{"id":%d,"method":"mining.authorize","params":["%s.%d","x"]}`, i, name, i))
	}
	for i := range 2 {
		line := fmt.Sprintf(`{"id":77,"method":"mining.authorize","params":["%s.y%d","x"]}`, name, i)
		if got := strings.Join(r.send(slot, line), ""); i > 0 && !strings.Contains(got, yes) {
			t.Errorf("no room: %.200q", got)
		}
	}
	if r.undecided.size > maxWaitingOfClient {
		t.Errorf("%d bytes wait", r.undecided.size)
	}
	r.disconnect(slot)
	r.nothingWaits()
}

// Another process asks again about logins that were undecided, shares behind them
// included.
func TestMoveUndecidedLogin(t *testing.T) {
	r := askingRig(t)
	slot, n := r.subscribed()
	r.send(slot, `{"id":2,"method":"mining.authorize","params":["bob.rig1","x"]}`)
	r.send(slot, submitLine(4, "bob.rig1", &n, r.solve(slot, n.JobID, 1e-9, 0)))
	next := r.move(time.Second)
	next.backend.asks = true
	for next.Step() {
	}
	got := methods(next.give(7, "bob.rig1", Verdict{Answered: true}))
	text := strings.Join(got, ", ")
	if strings.Count(text, "reply true") != 2 || len(next.backend.shares) != 1 || next.backend.last().Reason != Accepted {
		t.Errorf("after the move: %s, shares %+v", text, next.backend.shares)
	}
}

// A session is resumed by the login that waited, and by no other name.
func TestResumeWithUndecidedLogin(t *testing.T) {
	r := askingRig(t)
	slot, _ := r.subscribed()
	id := formatID(r.session(slot).id)
	r.send(slot, `{"id":2,"method":"mining.authorize","params":["bob.rig1","x"]}`)
	r.give(slot, "bob.rig1", Verdict{Answered: true})
	extranonce1 := r.session(slot).extranonce1
	for _, name := range []string{"eve", "bob.rig1"} {
		again := r.open()
		r.send(again, `{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1","`+id+`"]}`)
		r.send(again, `{"id":2,"method":"mining.authorize","params":["`+name+`","x"]}`)
		if _, closed := r.closed[slot]; closed {
			t.Fatal("the session is taken by a login that is undecided")
		}
		got := strings.Join(r.give(again, name, Verdict{Answered: true}), "\n")
		if name == "eve" && !strings.Contains(got, rejectOther.Text) {
			t.Errorf("eve: %s", got)
		}
		if name == "bob.rig1" && (!strings.Contains(got, yes) || r.session(again).extranonce1 != extranonce1) {
			t.Errorf("bob: %s", got)
		}
	}
	if r.closed[slot] != netserver.Replaced {
		t.Errorf("the old connection: %v", r.closed[slot])
	}
}

// A worker's least difficulty is one that nothing the miner says goes below; it
// rises at once and falls with the miner's shares.
func TestMinimum(t *testing.T) {
	r := newRig(t, func(s *Settings) { s.Listeners[0].MinDiff, s.Listeners[0].StartDiff = 1, 2 })
	r.backend.minimum = 64
	slot, got := r.miner("bob.rig1")
	if !strings.Contains(strings.Join(got, "\n"), `{"params":[64],"id":null,"method":"mining.set_difficulty"}`) {
		t.Errorf("login: %q", got)
	}
	r.want(slot, `{"id":5,"method":"mining.suggest_difficulty","params":[8]}`)
	if s := r.session(slot); s.want != 64 {
		t.Errorf("a suggestion below it makes %v", s.want)
	}
	push := func(d float64) string {
		r.now = r.now.Add(2 * changePause * time.Second)
		r.SetMinimum(r.backend.workers["bob.rig1"], d, func(int) {})
		for r.Step() {
		}
		return strings.Join(r.written(slot), "\n")
	}
	if got := push(4096); !strings.Contains(got, `{"params":[4096],"id":null,"method":"mining.set_difficulty"}`) || !strings.Contains(got, "mining.notify") {
		t.Errorf("raised: %s", got)
	}
	// It goes along, and is that of this worker.
	next := r.move(time.Second)
	if c := next.client(7); c.minimum() != 4096 {
		t.Errorf("after a move %v", c.minimum())
	}
	if got := push(0); got != "" || r.client(slot).minimum() != 0 {
		t.Errorf("taken away: %s", got)
	}
	r.send(slot, `{"id":6,"method":"mining.suggest_difficulty","params":[8]}`)
	if s := r.session(slot); s.want != 8 {
		t.Errorf("a suggestion makes %v", s.want)
	}
	r.disconnect(slot)
	if len(r.minimums) != 0 {
		t.Error("left over")
	}
}

// Miners of a locked user are told and closed, whatever else they mine for.
func TestLock(t *testing.T) {
	r := newRig(t, nil)
	bob, _ := r.miner("bob.rig1")
	proxy, _ := r.miner("alice")
	r.send(proxy, `{"id":7,"method":"mining.authorize","params":["bob.rig2","x"]}`)
	carol, _ := r.miner("carol")
	n := 0
	r.Lock("bob", "unpaid", func(clients int) { n = clients })
	for r.Step() {
	}
	for _, slot := range []netserver.Slot{bob, proxy} {
		if got := strings.Join(r.written(slot), ""); r.closed[slot] != netserver.Locked || !strings.Contains(got, `"client.show_message","params":["unpaid"]`) {
			t.Errorf("%d: %v, %s", slot, r.closed[slot], got)
		}
	}
	if _, closed := r.closed[carol]; closed || n != 2 {
		t.Errorf("carol closed: %v; %d clients", closed, n)
	}
}
