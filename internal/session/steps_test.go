package session

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
)

// touched counts the clients something was written to or that were closed.
func (r *rig) touched() (n int) {
	n = len(r.closed)
	for _, b := range r.out {
		if b.Len() > 0 {
			n++
		}
	}
	return n
}

// What is done to all clients is done to a few at a time, so that others are
// served in between, and how many they were is told at the end.
func TestAllClientsInSteps(t *testing.T) {
	const clients = 1000
	for name, do := range map[string]func(*rig, Done){
		"message":   func(r *rig, done Done) { r.Message(0, "hello", done) },
		"user":      func(r *rig, done Done) { r.MessageUser("bob", "hello", done) },
		"reconnect": func(r *rig, done Done) { r.Reconnect(0, "", "", done) },
		"drop":      func(r *rig, done Done) { r.Drop(0, netserver.Dropped, done) },
	} {
		r := newRig(t, nil)
		for range clients {
			slot, _ := r.miner("bob")
			r.written(slot)
		}
		told := -1
		do(r, func(n int) { told = n })
		late, _ := r.miner("bob") // not one of those it is about
		r.written(late)
		for before := r.touched(); ; {
			more := r.Step()
			after := r.touched()
			if after-before > stepSize {
				t.Fatalf("%s: %d clients in a step", name, after-before)
			}
			if before = after; !more {
				break
			}
			if told >= 0 && after < clients {
				t.Fatalf("%s: told of %d after %d", name, told, after)
			}
		}
		if told != clients || r.touched() != clients {
			t.Errorf("%s: told of %d, done to %d, want %d", name, told, r.touched(), clients)
		}
	}
}

// A place whose miner has left is nobody: it is neither listed nor counted when
// all are closed.
func TestWhoLeftIsNobody(t *testing.T) {
	r := newRig(t, nil)
	bob, _ := r.miner("bob")
	carol, _ := r.miner("carol")
	dave, _ := r.miner("dave")
	r.Closed(carol, netserver.Dropped)
	all, _, more := r.Sessions(nil, 0, func(WorkerID) bool { return true })
	var names []string
	for _, s := range all {
		names = append(names, s.WorkerName)
	}
	if !slices.Equal(names, []string{"bob", "dave"}) || more {
		t.Errorf("listed %q, more %v", names, more)
	}
	told := -1
	r.Drop(0, netserver.Dropped, func(n int) { told = n })
	for r.Step() {
	}
	want := map[netserver.Slot]netserver.Reason{bob: netserver.Dropped, dave: netserver.Dropped}
	if told != 2 || !maps.Equal(r.closed, want) {
		t.Errorf("told of %d, closed %v", told, r.closed)
	}
}

// Who did not follow client.reconnect, and who does not authorise, is closed a
// few at a time; the idle ones are counted on the way.
func TestTickInSteps(t *testing.T) {
	const clients = 1000
	r := newRig(t, nil)
	for range clients {
		r.miner("bob")
	}
	r.now = r.now.Add(70 * time.Second)
	r.Tick(r.now)
	if r.Idle() != clients {
		t.Errorf("%d idle", r.Idle())
	}
	r.Reconnect(0, "", "", func(int) {})
	for r.Step() {
	}
	for range clients {
		r.open()
	}
	r.now = r.now.Add(2 * time.Minute)
	r.Handler.Tick(r.now)
	if len(r.closed) > 0 {
		t.Fatalf("%d closed in the tick itself", len(r.closed))
	}
	for before := 0; r.Step(); before = len(r.closed) {
		if n := len(r.closed) - before; n > walkPart {
			t.Fatalf("%d closed in a step", n)
		}
	}
	if len(r.closed) != 2*clients {
		t.Errorf("%d closed", len(r.closed))
	}
}

// Lines that waited for work are handled a few clients at a time, each client's
// in their order, also when more come meanwhile.
func TestHeldLinesInSteps(t *testing.T) {
	const clients = 500
	r := newRig(t, nil)
	w := r.backend.work
	r.backend.work = nil
	for range clients {
		slot := r.open()
		r.send(slot, `{"id":1,"method":"mining.subscribe","params":[]}`)
		r.send(slot, `{"id":2,"method":"mining.ping","params":[]}`)
	}
	r.backend.work = w
	last := netserver.Slot(clients - 1)
	got := r.send(last, `{"id":3,"method":"mining.ping","params":[]}`)
	if n := len(got); n < 3 || !strings.HasSuffix(got[n-2], `"id":2}`) || !strings.HasSuffix(got[n-1], `"id":3}`) || r.touched() != 0 {
		t.Errorf("%q; %d others", got, r.touched())
	}
	answered := 0
	for before := r.touched(); ; before = answered {
		more := r.Step()
		if answered = r.touched(); answered-before > stepSize {
			t.Fatalf("%d clients in a step", answered-before)
		}
		if !more {
			break
		}
	}
	if answered != clients-1 || len(r.held) != 0 {
		t.Errorf("%d answered, want %d", answered, clients-1)
	}
}

// BenchmarkSteps measures the longest time for which a loop of 100,000 miners does
// not serve anybody.
func BenchmarkSteps(b *testing.B) {
	const clients = 100_000
	for name, do := range map[string]func(*Handler, Done){
		"message":   func(h *Handler, done Done) { h.Message(0, "hello", done) },
		"reconnect": func(h *Handler, done Done) { h.Reconnect(0, "", "", done) },
		"tick":      func(h *Handler, _ Done) { h.Tick(time.Time{}) },
	} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, nil)
			h := NewHandler(silent{r.now}, r.backend.asBackend(), r.group)
			h.Step()
			for slot := range netserver.Slot(clients) {
				h.Open(slot, netip.AddrPort{}, 0)
				h.Line(slot, []byte(`{"id":1,"method":"mining.subscribe","params":[]}`))
				h.Line(slot, []byte(`{"id":2,"method":"mining.authorize","params":["bob","x"]}`))
			}
			for h.Step() {
			}
			longest := time.Duration(0)
			timed := func(fn func()) {
				start := time.Now()
				fn()
				longest = max(longest, time.Since(start))
			}
			for b.Loop() {
				timed(func() { do(h, func(int) {}) })
				for more := true; more; {
					timed(func() { more = h.Step() })
				}
			}
			b.ReportMetric(float64(longest.Microseconds()), "µs-longest")
		})
	}
}

// silent is a transport that takes everything.
type silent struct{ now time.Time }

func (silent) Write(netserver.Slot, []byte)              {}
func (silent) WriteWork(netserver.Slot, []byte, uint8)   {}
func (silent) WriteShared(netserver.Slot, []byte, uint8) {}
func (silent) DropWork(netserver.Slot) uint8             { return 0 }
func (silent) Answered()                                 {}
func (silent) Notified(time.Time)                        {}
func (silent) Authorized(netserver.Slot)                 {}
func (silent) Close(netserver.Slot, netserver.Reason)    {}
func (silent) Remote(netserver.Slot) netip.AddrPort      { return netip.AddrPort{} }
func (s silent) Now() time.Time                          { return s.now }
func (silent) Index() int                                { return 0 }
func (silent) Post(fn func())                            { fn() }
