package session

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

// quiet is a transport that keeps nothing.
type quiet struct{ *transport }

func (quiet) Write(netserver.Slot, []byte)              {}
func (quiet) WriteWork(netserver.Slot, []byte, uint8)   {}
func (quiet) WriteShared(netserver.Slot, []byte, uint8) {}
func (quiet) Remote(netserver.Slot) netip.AddrPort      { return netip.AddrPort{} }

// forgetful is a sink that keeps nothing, so that only the session's own
// allocations show.
type forgetful struct{}

func (forgetful) Share(*Share) {}
func (forgetful) Flush(int)    {}

func hotRig(t *testing.T) (*rig, netserver.Slot, func() []byte) {
	r := newRig(t, nil)
	r.group.Log = NewLog(func(l event.Level) bool { return l <= event.Notice }, nil) // as by default
	slot, sent := r.miner("bob.rig1")
	n := lastJob(sent)
	r.Handler.t = quiet{(*transport)(r)}
	r.Handler.b.Sinks = []Sink{forgetful{}}
	var line []byte
	nonce := uint32(0)
	return r, slot, func() []byte {
		nonce++
		line = fmt.Appendf(line[:0], `{"id":%d,"method":"mining.submit","params":["bob.rig1","%s","0000000000000000","%08x","%08x","00000000"]}`, nonce, n.JobID, n.NTime, nonce)
		return line
	}
}

func TestSubmitAllocatesNothing(t *testing.T) {
	r, slot, next := hotRig(t)
	lines := make([][]byte, 2000)
	for i := range lines {
		lines[i] = append([]byte(nil), next()...)
	}
	for _, l := range lines[:900] { // let the duplicate sets grow
		r.Line(slot, l)
	}
	i := 900
	if n := testing.AllocsPerRun(1000, func() { r.Line(slot, lines[i]); i++ }); n >= 1 {
		t.Errorf("a submit allocates %v times", n)
	}
}

func TestBroadcastAllocatesNothing(t *testing.T) {
	r, slot, _ := hotRig(t)
	if n := testing.AllocsPerRun(1000, func() {
		s := r.session(slot)
		s.job = 0
		r.client(slot).sendWork()
		r.group.registry.entries.find(s.id).suffix = 0
		s.want = 3 - s.want // a change of difficulty each time
		r.client(slot).sendWork()
	}); n != 0 {
		t.Errorf("sending work allocates %v times", n)
	}
}

func BenchmarkSubmit(b *testing.B) {
	r, slot, next := hotRig(&testing.T{})
	for b.Loop() {
		b.StopTimer()
		line := next()
		b.StartTimer()
		r.Line(slot, line)
	}
}

// Whatever a miner sends, in whatever state, the handler answers or closes and
// goes on.
func FuzzLine(f *testing.F) {
	for _, line := range []string{
		`{"id":1,"method":"mining.subscribe","params":["x","6b02867d00000000"]}`,
		`{"id":2,"method":"mining.authorize","params":["bob","d=5,md=2"]}`,
		`{"id":3,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}`,
		`{"id":4,"method":"mining.suggest_difficulty","params":[0.001]}`,
		`{"id":5,"method":"mining.suggest_target","params":["00ff"]}`,
		`{"id":6,"method":"mining.submit","params":["bob","6b02867d00000000","0000000000000000","6b02867d","00000001","1fffe000"]}`,
		`{"id":7,"method":"mining.get_txnhashes","params":["6b02867d00000000"]}`,
		`{"id":8,"method":"mining.get_transactions(6b02867d00000000)"}`,
		`[]`, `{`, `{"method":[]}`,
	} {
		f.Add(line, line)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		r := newRig(t, nil)
		fresh := r.open()
		mining, _ := r.miner("bob")
		for _, slot := range []netserver.Slot{fresh, mining} {
			r.send(slot, first)
			r.send(slot, second)
			r.now = r.now.Add(40 * time.Second)
			r.Tick(r.now)
			r.backend.newTip(r.now)
			for r.Step() {
			}
			r.disconnect(slot)
		}
		if r.backend.attached != 0 {
			t.Fatalf("%d workers still attached", r.backend.attached)
		}
	})
}

// A login that is refused, of a connection that has a worker.
func BenchmarkRefuse(b *testing.B) {
	r, slot, _ := hotRig(&testing.T{})
	r.backend.refuse = &stratum.Reject{Code: stratum.Unauthorized, Text: "Username must be a bitcoin address"}
	line := []byte(`{"id":7,"method":"mining.authorize","params":["jack"]}`)
	b.ReportAllocs()
	for b.Loop() {
		r.session(slot).refusals = 0
		r.Line(slot, line)
	}
}
