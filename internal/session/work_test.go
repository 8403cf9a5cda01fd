package session

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
)

func startDiff(d float64) func(*Settings) {
	return func(s *Settings) { s.Listeners[0].StartDiff = d }
}

// The order miners depend on: nothing between the subscribe reply and its
// notify but the difficulty, and no difficulty without a notify behind it.
func TestOrderInPoolMode(t *testing.T) {
	r := newRig(t, startDiff(42))
	slot := r.open()
	r.wantMethods(r.send(slot, `{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}`),
		`reply {"version-rolling.mask":"1fffe000","version-rolling":true}`)
	r.wantMethods(r.send(slot, `{"id":2,"method":"mining.subscribe","params":["bitaxe/BM1370/v2.4"]}`)[1:], "set_difficulty 42", "notify true")
	r.wantMethods(r.send(slot, `{"id":3,"method":"mining.authorize","params":["bob"]}`),
		"reply true", "client.show_message", "mining.set_version_mask")
	r.wantMethods(r.send(slot, `{"id":4,"method":"mining.suggest_difficulty","params":[1000]}`), "set_difficulty 1000", "notify false")
	r.wantMethods(r.send(slot, `{"id":5,"method":"mining.suggest_difficulty","params":[1000]}`))
}

func TestOrderInSoloMode(t *testing.T) {
	r := newRig(t, func(s *Settings) { s.Solo = true; s.Listeners[0].StartDiff = 42 })
	slot := r.open()
	r.wantMethods(r.send(slot, `{"id":2,"method":"mining.subscribe","params":["x"]}`)[1:])
	r.wantMethods(r.send(slot, `{"id":3,"method":"mining.authorize","params":["1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2.rig","d=77"]}`),
		"reply true", "set_difficulty 77", "notify true")
	if got := r.backend.work.Job; got.ID != 0x6b02867d00000000 {
		t.Errorf("job %x", got.ID)
	}
	// Without an address there is no work.
	other := r.open()
	r.send(other, `{"id":2,"method":"mining.subscribe","params":["x"]}`)
	r.wantMethods(r.send(other, `{"id":3,"method":"mining.authorize","params":["nobody","x"]}`), "reply false")
}

// Firmware that authorizes first, suggests first or configures late.
func TestAnyOrder(t *testing.T) {
	for _, solo := range []bool{false, true} {
		r := newRig(t, func(s *Settings) { s.Solo = solo; s.Listeners[0].StartDiff = 42 })
		slot := r.open()
		r.wantMethods(r.send(slot, `{"id":1,"method":"mining.suggest_difficulty","params":[0.00015]}`))
		r.wantMethods(r.send(slot, `{"id":2,"method":"mining.authorize","params":["1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"]}`), "reply true")
		got := r.send(slot, `{"id":3,"method":"mining.subscribe","params":["NerdMiner"]}`)
		r.wantMethods(got[1:], "set_difficulty 0.00015", "notify true")
		n := lastJob(got)
		r.want(slot, submitLine(4, "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", &n, r.solve(slot, n.JobID, 0.00015, 0)), `{"result":true,"error":null,"id":4}`)
	}
}

// Suggest between subscribe and authorize waits for authorize, and then goes
// out with the job under a fresh id.
func TestSuggestBeforeAuthorize(t *testing.T) {
	r := newRig(t, startDiff(42))
	slot := r.open()
	first := lastJob(r.send(slot, `{"id":1,"method":"mining.subscribe","params":["bitaxe"]}`))
	r.wantMethods(r.send(slot, `{"id":2,"method":"mining.suggest_difficulty","params":[0.5]}`))
	got := r.send(slot, `{"id":3,"method":"mining.authorize","params":["bob","x"]}`)
	r.wantMethods(got, "reply true", "client.show_message", "set_difficulty 0.5", "notify false")
	if n := lastJob(got); n.JobID != first.JobID+"01" {
		t.Errorf("job %q after %q", n.JobID, first.JobID)
	}
}

func TestSuggestForms(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{`{"id":4,"method":"mining.suggest_difficulty","params":[512]}`, "set_difficulty 512"},
		{`{"id":4,"method":"mining.suggest_difficulty","params":512}`, "set_difficulty 512"},
		{`{"id":4,"method":"mining.suggest_difficulty","params":["512"]}`, "set_difficulty 512"},
		{`{"id":4,"method":"mining.suggest_difficulty(512)","params":[]}`, "set_difficulty 512"},
		{`{"id":4,"method":"mining.suggest_difficulty(512)"}`, "set_difficulty 512"},
		{`{"id":4,"method":"mining.suggest_difficulty","params":[0.0375]}`, "set_difficulty 0.0375"},
		{`{"id":4,"method":"mining.suggest_difficulty","params":[1.7]}`, "set_difficulty 2"},
		{`{"id":4,"method":"mining.suggest_target","params":["00000000000fffff000000000000000000000000000000000000000000000000"]}`, "set_difficulty 4096"},
	} {
		r := newRig(t, startDiff(42))
		slot, _ := r.miner("bob")
		r.wantMethods(r.send(slot, c.line), c.want, "notify false")
	}
}

func TestPasswordOptions(t *testing.T) {
	for _, c := range []struct {
		password string
		want     float64
	}{
		{"diff=200", 200}, {"x, diff=200", 200}, {"x,diff=200,f=9", 200}, {"diff=200 ,x", 200}, {"d=200", 200},
		{"diff=0.0375", 0.0375}, {"diff=1e3", 1000}, {"diff=0x10", 16}, {"diff=1.5", 2}, {"diff=2.5", 3},
		{"  diff=77", 77}, {"x,  diff=33", 33}, {"diff=1,diff=2", 1}, {"diff=0.00000001", 0.000001},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,diff=523456", 523},
		{"diff=200x", 42}, {"diff= 200", 42}, {"xdiff=200", 42}, {"x diff=200", 42}, {"DIFF=5", 5}, {"D=5", 5}, {"Diff=5", 5}, {"MD=100", 100}, {"diff=-5", 42},
		{"diff=inf", 42}, {"diff=0", 42}, {"diff=x,diff=2", 42}, {"diff=1_0", 42}, {"diff=nan", 42}, {"", 42}, {"x", 42},
		{"md=20", 42}, {"md=100", 100}, {"d=10,md=20", 10},
	} {
		r := newRig(t, func(s *Settings) { s.Listeners[0] = ListenerSettings{MinDiff: 0.000001, StartDiff: 42} })
		slot := r.open()
		r.send(slot, `{"id":1,"method":"mining.subscribe","params":["x"]}`)
		r.send(slot, `{"id":2,"method":"mining.authorize","params":["bob","`+c.password+`"]}`)
		if got := r.session(slot).sent(); got != c.want {
			t.Errorf("password %q: difficulty %v, want %v", c.password, got, c.want)
		}
	}
	r := newRig(t, startDiff(42))
	slot := r.open()
	r.send(slot, `{"id":1,"method":"mining.subscribe","params":["x"]}`)
	r.wantMethods(r.send(slot, `{"id":2,"method":"mining.authorize","params":["bob","d=zero"]}`), "reply true", "client.show_message")
	if len(r.backend.notices) != 1 {
		t.Errorf("the log says %q", r.backend.notices)
	}
	// What the pool has another value for is said, and what it grants is not.
	for password, want := range map[string]string{
		"d=0.5": "Password option d=0.5 is below the least difficulty here: 10 is used",
		"D=0.5": "Password option d=0.5 is below the least difficulty here: 10 is used",
		"md=3":  "Password option md=3 is below the least difficulty here: 10 is used",
		"d=2e6": "Password option d=2000000 is above the largest difficulty here: 1000 is used",
		"d=9.6": "", "d=77.4": "", "d=10,md=1000": "", "x": "",
	} {
		r := newRig(t, func(s *Settings) { s.Listeners[0] = ListenerSettings{MinDiff: 10, StartDiff: 42, MaxDiff: 1000} })
		slot := r.open()
		r.send(slot, `{"id":1,"method":"mining.subscribe","params":["x"]}`)
		var got string
		for _, line := range r.send(slot, `{"id":2,"method":"mining.authorize","params":["bob","`+password+`"]}`) {
			if strings.Contains(line, "client.show_message") {
				got = line
			}
		}
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: told %s, want %s", password, got, want)
		}
	}
	r2 := newRig(t, startDiff(42))
	slot, _ = r2.miner("bob")
	r2.session(slot).flags |= fixed
	r2.wantMethods(r2.send(slot, `{"id":4,"method":"mining.suggest_difficulty","params":[9]}`))
}

// A lowering is accepted on older jobs at once but credited only what meets the
// job's own difficulty; a raise leaves older jobs theirs for 120 s.
func TestCreditAcrossChanges(t *testing.T) {
	r := newRig(t, startDiff(1e-6))
	slot, sent := r.miner("bob")
	old := lastJob(sent)
	lowered := lastJob(r.send(slot, `{"id":4,"method":"mining.suggest_difficulty","params":[0.00000001]}`))
	accept := func(n string, low, high, credit float64) {
		t.Helper()
		job := old
		job.JobID = n
		r.want(slot, submitLine(9, "bob", &job, r.solve(slot, n, low, high)), `{"result":true,"error":null,"id":9}`)
		if got := r.backend.last().Credit; got != credit {
			t.Errorf("job %s, hash of [%v, %v): credit %v, want %v", n, low, high, got, credit)
		}
	}
	accept(old.JobID, 1e-8, 1e-6, 0)
	accept(old.JobID, 1e-6, 0, 1e-6)
	accept(lowered.JobID, 1e-8, 1e-6, 1e-8)
	accept(lowered.JobID, 1e-6, 0, 1e-8)

	r.now = r.now.Add(11 * time.Second)
	raised := lastJob(r.send(slot, `{"id":5,"method":"mining.suggest_difficulty","params":[0.000001]}`))
	accept(lowered.JobID, 1e-8, 1e-6, 1e-8)
	accept(raised.JobID, 1e-6, 0, 1e-6)
	r.now = r.now.Add(119 * time.Second)
	accept(lowered.JobID, 1e-8, 1e-6, 1e-8)
	r.now = r.now.Add(2 * time.Second)
	job := old
	job.JobID = lowered.JobID
	r.want(slot, submitLine(9, "bob", &job, r.solve(slot, lowered.JobID, 1e-8, 1e-6)), rejectLine(23, "Above target", "9"))
}

// New work on the same tip is not clean, on a new tip it is, and unsent work is
// replaced without losing what it said.
func TestBroadcast(t *testing.T) {
	r := newRig(t, nil)
	a, _ := r.miner("a")
	b, _ := r.miner("b")
	r.backend.newJob(r.now)
	for r.Step() {
	}
	r.wantMethods(r.written(a), "notify false")
	r.wantMethods(r.written(b), "notify false")

	r.block[b] = []unsent{}
	r.session(b).want = 5
	r.backend.newTip(r.now)
	for r.Step() {
	}
	r.wantMethods(r.written(a), "notify true")
	if q := r.block[b]; len(q) != 1 || q[0].tag != tagClean|tagDifficulty {
		t.Fatalf("unsent %v", q)
	}
	r.backend.newJob(r.now) // same tip: on its own not clean
	for r.Step() {
	}
	q := r.block[b]
	if len(q) != 1 {
		t.Fatalf("%d unsent pieces of work", len(q))
	}
	delete(r.block, b)
	r.out[b].WriteString(q[0].text)
	r.wantMethods(r.written(b), "set_difficulty 5", "notify true")
}

// A miner that hears nothing for half a minute gets its job again.
func TestSilence(t *testing.T) {
	r := newRig(t, nil)
	slot, sent := r.miner("bob")
	first := lastJob(sent)
	for range 29 {
		r.now = r.now.Add(time.Second)
		r.Tick(r.now)
	}
	r.wantMethods(r.written(slot))
	for range 3 {
		r.now = r.now.Add(time.Second)
		r.Tick(r.now)
	}
	got := r.written(slot)
	r.wantMethods(got, "notify false")
	// Under another id, which Bitaxe needs, and at another time, or it would find
	// the same shares again.
	if n := lastJob(got); n.JobID != first.JobID+"01" || n.NTime <= first.NTime {
		t.Errorf("job %q at %d, before %d", n.JobID, n.NTime, first.NTime)
	}
}

// A miner that cannot reach its difficulty is lowered without any share.
func TestIdleRule(t *testing.T) {
	r := newRig(t, startDiff(640))
	slot, _ := r.miner("bob")
	for range 245 {
		r.now = r.now.Add(time.Second)
		r.Tick(r.now)
	}
	if got := r.session(slot).sent(); got != 10 {
		t.Errorf("difficulty %v after 245 s without a share, want 10", got)
	}
}

// Not every miner follows client.reconnect.
func TestReconnectTime(t *testing.T) {
	r := newRig(t, nil)
	stays, _ := r.miner("bob")
	goes, _ := r.miner("alice")
	told := 0
	r.Reconnect(0, "", "", func(n int) { told = n })
	for r.Step() {
	}
	if told != 2 {
		t.Fatalf("told %d", told)
	}
	r.disconnect(goes)
	later, _ := r.miner("carol")
	r.now = r.now.Add(59 * time.Second)
	r.Tick(r.now)
	if len(r.closed) != 0 {
		t.Fatalf("closed early: %v", r.closed)
	}
	r.now = r.now.Add(2 * time.Second)
	r.Tick(r.now)
	if why, closed := r.closed[stays]; !closed || why != netserver.Dropped || len(r.closed) != 1 {
		t.Errorf("after 61 s closed: %v, want %d; %d came later", r.closed, stays, later)
	}
}

func TestTimeLimits(t *testing.T) {
	r := newRig(t, func(s *Settings) { s.DropIdle = 5 * time.Minute })
	silent := r.open()
	subscribed := r.open()
	r.send(subscribed, `{"id":1,"method":"mining.subscribe","params":[]}`)
	mining, _ := r.miner("bob")
	r.now = r.now.Add(59 * time.Second)
	r.Tick(r.now)
	if len(r.closed) != 0 {
		t.Fatalf("closed early: %v", r.closed)
	}
	r.now = r.now.Add(2 * time.Second)
	r.Tick(r.now)
	if r.closed[silent] != netserver.UnauthorizedTimeout || r.closed[subscribed] != netserver.UnauthorizedTimeout || len(r.closed) != 2 {
		t.Fatalf("after 61 s closed: %v", r.closed)
	}
	r.now = r.now.Add(5 * time.Minute)
	r.Tick(r.now)
	if why, closed := r.closed[mining]; !closed || why != netserver.Idle {
		t.Error("a miner without shares was kept beyond dropidle")
	}
}

// Before the first template nothing is answered; then everything in order.
func TestLinesWaitForWork(t *testing.T) {
	r := newRig(t, startDiff(42))
	w := r.backend.work
	r.backend.work, r.Handler.work = nil, nil
	slot := r.open()
	r.want(slot, `{"id":1,"method":"mining.subscribe","params":["x"]}`)
	r.want(slot, `{"id":2,"method":"mining.authorize","params":["bob"]}`)
	r.now = r.now.Add(10 * time.Minute)
	r.Tick(r.now)
	if len(r.closed) != 0 {
		t.Fatal("waiting for work was taken for being unauthorised")
	}
	r.backend.work = w
	for r.Step() {
	}
	r.wantMethods(r.written(slot)[1:], "set_difficulty 42", "notify true", "reply true")
}

// Only bad shares for minutes: new work, then reconnect, then the end.
func TestInvalidLadder(t *testing.T) {
	r := newRig(t, nil)
	slot, sent := r.miner("bob")
	n := lastJob(sent)
	n.JobID = "ffffffffffffffff"
	bad := func(after time.Duration) []string {
		r.now = r.now.Add(after)
		return r.send(slot, submitLine(1, "bob", &n, "00000001"))
	}
	r.wantMethods(bad(0), "reply false")
	r.wantMethods(bad(61*time.Second), "reply false", "notify true")
	r.wantMethods(bad(60*time.Second), "reply false", "client.show_message", "client.reconnect")
	bad(60 * time.Second)
	if r.closed[slot] != netserver.Invalid {
		t.Errorf("closed: %v", r.closed)
	}
}

// Changes are at least ten seconds apart, whatever the miner asks and whatever
// is broadcast meanwhile.
func TestChangesAreApart(t *testing.T) {
	r := newRig(t, startDiff(42))
	slot, _ := r.miner("bob")
	suggest := func(d string) []string {
		return r.send(slot, `{"id":4,"method":"mining.suggest_difficulty","params":[`+d+`]}`)
	}
	r.wantMethods(suggest("100"), "set_difficulty 100", "notify false")
	r.now = r.now.Add(2 * time.Second)
	r.wantMethods(suggest("50"))
	r.backend.newJob(r.now)
	for r.Step() {
	}
	r.wantMethods(r.written(slot), "notify false")
	r.now = r.now.Add(7 * time.Second)
	r.Tick(r.now)
	r.wantMethods(r.written(slot))
	r.now = r.now.Add(time.Second)
	r.Tick(r.now)
	r.wantMethods(r.written(slot), "set_difficulty 50", "notify false")
}

// After a quiet time all miners may be due at once: Tick only marks them, and
// each Step sends to few.
func TestSilenceOfManyIsInSteps(t *testing.T) {
	const miners = 10*stepSize + 7
	r := newRig(t, nil)
	for i := range miners {
		slot, _ := r.miner(fmt.Sprint("bob.", i))
		r.written(slot)
	}
	sent := func() (n int) {
		for slot := range netserver.Slot(miners) {
			n += len(r.written(slot))
		}
		return n
	}
	r.now = r.now.Add(silence * time.Second)
	r.Handler.Tick(r.now)
	if n := sent(); n != 0 {
		t.Errorf("Tick itself sent %d lines", n)
	}
	r.Handler.Tick(r.now) // a slow loop: nobody is sent the job twice
	r.Closed(3, netserver.PeerClosed)
	r.Open(3, netip.AddrPort{}, 0) // nor is who came since
	total := 0
	for more := true; more; {
		more = r.Step()
		n := sent()
		if total += n; n > stepSize {
			t.Errorf("one step sent to %d miners", n)
		}
	}
	if total != miners-1 {
		t.Errorf("%d of %d miners were sent their job", total, miners-1)
	}
}
