package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

// subscription sends a subscribe and returns the session id and extranonce1.
func (r *rig) subscription(slot netserver.Slot, id string) (session, extranonce1 string) {
	r.Helper()
	line := r.send(slot, `{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1","`+id+`"]}`)[0]
	var m stratum.Message
	stratum.Scan([]byte(line), &m)
	e, err := stratum.ParseSubscribeResult(m.Result)
	if err != nil {
		r.Fatal(err)
	}
	return e.SessionID, fmt.Sprintf("%x", e.Extranonce1)
}

func (r *rig) disconnect(slot netserver.Slot) { r.Closed(slot, netserver.PeerClosed) }

func TestResume(t *testing.T) {
	r := newRig(t, nil)
	authorize := `{"id":2,"method":"mining.authorize","params":["bob.rig1","x"]}`
	a := r.open()
	id, n1 := r.subscription(a, "")
	if len(id) != 16 || len(n1) != 8 {
		t.Fatalf("session %q, extranonce1 %q", id, n1)
	}
	r.send(a, authorize)
	r.disconnect(a)

	// The same worker gets its extranonce1 back, and its job at another time: it
	// begins anew with it and would find its shares a second time.
	b := r.open()
	if id2, again := r.subscription(b, id); id2 != id || again != n1 {
		t.Errorf("resumed as %s with %s, want %s with %s", id2, again, id, n1)
	}
	if r.session(b).later == 0 {
		t.Error("the job is announced again as it was")
	}
	r.send(b, authorize)

	// A second connection with the id takes over: the first is closed.
	c := r.open()
	r.subscription(c, id)
	if _, closed := r.closed[b]; closed {
		t.Error("subscribing alone closed the owner")
	}
	r.send(c, authorize)
	if why, closed := r.closed[b]; !closed || why != netserver.Replaced {
		t.Error("the old connection stays open")
	}
	r.disconnect(b)
	r.disconnect(c)

	// Under another name it is refused and given up; the owner still gets it.
	d := r.open()
	r.subscription(d, id)
	r.want(d, `{"id":2,"method":"mining.authorize","params":["eve","x"]}`, rejectLine(24, "Session belongs to another worker, subscribe again", "2"))
	if _, fresh := r.subscription(d, ""); fresh == n1 {
		t.Error("a stranger was given the extranonce1")
	}
	e := r.open()
	if _, again := r.subscription(e, id); again != n1 {
		t.Error("the owner lost its session to a stranger")
	}
	r.disconnect(e)

	// Ten minutes later it is gone.
	r.now = r.now.Add(11 * time.Minute)
	r.group.registry.Sweep(r.now)
	f := r.open()
	if again, _ := r.subscription(f, id); again == id {
		t.Error("resumed after ten minutes")
	}
}

// A share is found again on another loop of the same server, also on one that has the same
// bit in a session as the loop it was on, as with more than 64.
func TestResumeFindsDuplicates(t *testing.T) {
	for _, loop := range []int{1, 64} {
		r := newRig(t, nil)
		slot, sent := r.miner("bob")
		n := lastJob(sent)
		id := formatID(r.session(slot).id)
		nonce := r.solve(slot, n.JobID, 1e-9, 0)
		r.want(slot, submitLine(3, "bob", &n, nonce), `{"result":true,"error":null,"id":3}`)
		r.disconnect(slot)

		for len(r.group.seen) <= loop {
			r.group.seen = append(r.group.seen, &seen{})
		}
		other := *r
		other.Handler = NewHandler(onLoop{(*transport)(r), loop}, r.backend.asBackend(), r.group)
		slot = other.open()
		other.subscription(slot, id)
		other.send(slot, `{"id":2,"method":"mining.authorize","params":["bob","x"]}`)
		other.want(slot, submitLine(4, "bob", &n, nonce), rejectLine(22, "Duplicate", "4"))
	}
}

// Until its own loop has closed it, the old connection of a session that moved
// to another loop is paid for nothing: the new one may send the same shares.
func TestReplacedConnectionIsNotCredited(t *testing.T) {
	r := newRig(t, nil)
	var closing []uint64
	r.group.closeClient = func(c uint64, _ netserver.Reason) { closing = append(closing, c) }
	r.group.loops, r.group.seen = 2, append(r.group.seen, &seen{})
	old, sent := r.miner("bob")
	n := lastJob(sent)
	line := submitLine(3, "bob", &n, r.solve(old, n.JobID, 1e-9, 0))

	other := *r
	other.Handler = NewHandler(onLoop{(*transport)(r), 1}, r.backend.asBackend(), r.group)
	slot := other.open()
	other.subscription(slot, formatID(r.session(old).id))
	other.send(slot, `{"id":2,"method":"mining.authorize","params":["bob","x"]}`)
	other.want(slot, line, `{"result":true,"error":null,"id":3}`)
	r.want(old, line, rejectLine(21, "Stale", "3"))

	for _, c := range closing {
		r.Drop(c, netserver.Replaced, func(int) {})
	}
	if len(closing) != 1 || len(r.group.seen[0].replaced) != 0 {
		t.Errorf("closed %d, and %v is remembered for ever", closing, r.group.seen[0].replaced)
	}
}

// A farm that comes from another pool presents ids nobody knows here, all from
// one address: the known ids among them are taken all the same.
func TestUnknownSessionIDs(t *testing.T) {
	r := newRig(t, nil)
	slot, _ := r.miner("bob")
	id := formatID(r.session(slot).id)
	n1 := fmt.Sprintf("%x", r.session(slot).extranonce1Bytes())
	for i := range 100 {
		r.subscription(r.open(), fmt.Sprintf("%016x", i+1))
	}
	if _, got := r.subscription(r.open(), id); got != n1 {
		t.Errorf("extranonce1 %s after a hundred unknown ids from there, want %s", got, n1)
	}
}

func TestExtranonce1IsNeverSharedOrReused(t *testing.T) {
	r := NewRegistry(2, 1)
	taken := map[uint64]bool{}
	var last uint64
	for range 1 << 16 {
		id, n1, ok := r.subscribe(1, 0)
		if !ok || taken[n1] {
			t.Fatalf("extranonce1 %x: ok %v, taken %v", n1, ok, taken[n1])
		}
		taken[n1], last = true, id
	}
	if _, _, ok := r.subscribe(1, 0); ok {
		t.Fatal("more sessions than extranonce1 values")
	}
	r.release(last, 1, true, time.Now())
	if _, _, ok := r.subscribe(1, 0); !ok {
		t.Fatal("a released extranonce1 is not used again")
	}
	if _, ok := r.resume(12345, 0, time.Now()); ok {
		t.Fatal("resumed an unknown session")
	}
}

func TestVersionRolling(t *testing.T) {
	ask := func(mask string) string {
		return `{"id":1,"method":"mining.configure","params":[["version-rolling","subscribe-extranonce","minimum-difficulty","info","x-future"],{"version-rolling.mask":"` + mask + `","version-rolling.min-bit-count":16}]}`
	}
	answer := func(version string) string {
		return `{"result":{` + version + `,"subscribe-extranonce":true,"minimum-difficulty":true,"info":true,"x-future":false},"error":null,"id":1}`
	}
	r := newRig(t, nil)
	r.want(r.open(), ask("ffffffff"), answer(`"version-rolling.mask":"1fffe000","version-rolling":true`))
	r.want(r.open(), ask("00ffff00"), answer(`"version-rolling.mask":"00ffe000","version-rolling":true`))
	r.want(r.open(), ask("00000fff"), answer(`"version-rolling":false`))
	r.want(r.open(), `{"id":9966,"method":"mining.configure","params":[["version-rolling"],{}]}`,
		`{"result":{"version-rolling.mask":"1fffe000","version-rolling":true},"error":null,"id":9966}`)
	r.want(r.open(), `{"id":1,"method":"mining.configure","params":[["minimum-difficulty"],{"minimum-difficulty.value":2048}]}`,
		`{"result":{"minimum-difficulty":true},"error":null,"id":1}`)
}

func TestVersionBitsOfAShare(t *testing.T) {
	r := newRig(t, nil)
	slot, sent := r.miner("bob") // never configured: may use the pool's mask
	n := lastJob(sent)
	share := func(id int, bits string) string {
		return strings.Replace(submitLine(id, "bob", &n, "00000001"), `]}`, `,"`+bits+`"]}`, 1)
	}
	judged := func(line string) string {
		got := r.send(slot, line)[0]
		for _, word := range []string{"Invalid version mask", "Above target", "true"} {
			if strings.Contains(got, word) {
				return word
			}
		}
		return got
	}
	if got := judged(share(1, "1fffe000")); got == "Invalid version mask" {
		t.Errorf("bits of the pool's mask: %s", got)
	}
	if got := judged(share(2, "00001000")); got != "Invalid version mask" {
		t.Errorf("a bit outside: %s", got)
	}
	// A smaller mask leaves the older bits a minute.
	r.send(slot, `{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"00ffe000"}]}`)
	if got := judged(share(3, "10000000")); got == "Invalid version mask" {
		t.Errorf("an older bit at once: %s", got)
	}
	r.now = r.now.Add(61 * time.Second)
	if got := judged(share(4, "10000000")); got != "Invalid version mask" {
		t.Errorf("an older bit after a minute: %s", got)
	}
}

// A job that needs a bit takes it from the miners, and says so.
func TestMaskShrinksWithTheJob(t *testing.T) {
	r := newRig(t, nil)
	slot := r.open()
	r.send(slot, `{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}`)
	r.send(slot, `{"id":2,"method":"mining.subscribe","params":["x"]}`)
	r.wantMethods(r.send(slot, `{"id":3,"method":"mining.authorize","params":["bob"]}`), "reply true", "mining.set_version_mask")
	r.backend.vbrequired = 0x00002000
	r.backend.newJob(r.now)
	for r.Step() {
	}
	got := r.written(slot)
	r.wantMethods(got, "mining.set_version_mask", "notify false")
	if got[0] != `{"params":["1fffc000"],"id":null,"method":"mining.set_version_mask"}` {
		t.Error(got[0])
	}
}
