package session

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/testkit/records"
	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

func (b *backend) WorkerName(id WorkerID) string {
	for name, w := range b.workers {
		if w == id {
			return name
		}
	}
	return ""
}

func (b *backend) ResumeWorker(name string) Grant {
	g, _ := b.Authorize(&Login{Worker: name})
	return g
}

// move gives every session to another rig, as another process would be, with
// other slots. The old one is of no more use.
func (r *rig) move(pause time.Duration) *rig {
	r.Helper()
	n := newRig(r.TB, func(s *Settings) { *s = *r.backend.set })
	n.backend.jobs, n.backend.work, n.backend.nextJob = maps.Clone(r.backend.jobs), r.backend.work, r.backend.nextJob
	n.now = r.now.Add(pause)
	n.nextID = 7
	n.group = NewGroup(NewRegistry(r.backend.set.Extranonce1Len, 1), 1, func(c uint64, why netserver.Reason) { n.Handler.Drop(c, why, func(int) {}) })
	n.Handler = NewHandler((*transport)(n), n.backend.asBackend(), n.group)

	from := &Exporter{Group: r.group}
	to := Importer{Group: n.group, Listeners: []int{0}}
	must := func(err error) {
		r.Helper()
		if err != nil {
			r.Fatal(err)
		}
	}
	must(to.SetClock(from.Clock(r.now), r.now))
	must(from.Seen(to.Seen))
	must(to.Registry(from.Registry(nil, r.now, nil)))
	for slot := range r.top {
		if r.session(slot).client == 0 {
			continue
		}
		record := exported(from, r.Handler, slot)
		in := wire.Read(record)
		must(to.Session(n.Handler, n.nextID, in))
		must(in.Done())
		again := exported(&Exporter{Group: n.group}, n.Handler, n.nextID)
		if !bytes.Equal(record, again) {
			r.Fatalf("session changed on its way\n%x\nwas\n%x", again, record)
		}
		n.nextID++
	}
	n.Resume()
	return n
}

// exported is the record of a session.
func exported(from *Exporter, h *Handler, slot netserver.Slot) []byte {
	c := wire.Append(nil)
	from.Session(h, slot, c)
	return c.Written()
}

func TestMoveSession(t *testing.T) {
	r := newRig(t, nil)
	slot, lines := r.miner("bob.rig1")
	r.want(slot, `{"id":3,"method":"mining.authorize","params":["bob.rig2","x"]}`, `{"result":true,"error":null,"id":3}`)
	job := lastJob(lines)
	first := submitLine(4, "bob.rig1", &job, r.solve(slot, job.JobID, 1e-9, 0))
	r.want(slot, first, `{"result":true,"error":null,"id":4}`)
	found := submitLine(5, "bob.rig2", &job, r.solve(slot, job.JobID, 1e-9, 0))
	idle := r.open()

	n := r.move(50 * time.Millisecond)
	const at = netserver.Slot(7)
	n.want(at, strings.Replace(first, `"id":4`, `"id":6`, 1), `{"reject-reason":"Duplicate","result":false,"error":[22,"Duplicate",null],"id":6}`)
	n.want(at, found, `{"result":true,"error":null,"id":5}`)
	if sh := n.backend.last(); n.backend.WorkerName(sh.Worker) != "bob.rig2" || sh.Credit != sh.Difficulty || sh.UserAgent != "cgminer/4.12.1" {
		t.Errorf("counted as %+v", sh)
	}
	if n.backend.attached != 2 {
		t.Errorf("%d workers attached", n.backend.attached)
	}
	if got := n.written(at); got != nil {
		t.Errorf("sent without need: %q", got)
	}
	// The next block reaches it, and nobody gets the client id of another.
	n.backend.newTip(n.now)
	n.Step()
	n.wantMethods(n.written(at), "notify true")
	fresh := n.open()
	if id := n.session(fresh).client; id <= r.session(idle).client {
		t.Errorf("client id %d again", id)
	}
	n.disconnect(at)
	if n.backend.attached != 0 {
		t.Errorf("%d workers attached after the end", n.backend.attached)
	}
}

// Work that was on its way to the miners when they moved still reaches those
// that do not have it.
func TestMoveDuringBroadcast(t *testing.T) {
	r := newRig(t, nil)
	for i := range stepSize + 10 {
		r.miner(fmt.Sprintf("user%d", i))
	}
	r.backend.newTip(r.now)
	if !r.Step() {
		t.Fatal("the broadcast ended too early for this test")
	}
	n := r.move(0)
	for n.Step() {
	}
	for i := range netserver.Slot(stepSize + 10) {
		var want []string
		if i >= stepSize {
			want = []string{"notify true"}
		}
		n.wantMethods(n.written(7+i), want...)
	}
}

func TestMoveRegistry(t *testing.T) {
	r := newRig(t, nil)
	open, _ := r.miner("bob")
	gone, _ := r.miner("carol")
	ids := map[string]string{}
	for name, slot := range map[string]netserver.Slot{"bob": open, "carol": gone} {
		ids[name] = formatID(r.session(slot).id)
	}
	was := fmt.Sprintf("%x", r.session(gone).extranonce1Bytes())
	r.disconnect(gone)
	r.now = r.now.Add(keepSession - time.Minute)

	n := r.move(0)
	slot := n.open()
	if id, n1 := n.subscription(slot, ids["carol"]); id != ids["carol"] || n1 != was {
		t.Errorf("resumed as %s with %s, want %s with %s", id, n1, ids["carol"], was)
	}
	n.send(slot, `{"id":2,"method":"mining.authorize","params":["carol","x"]}`)
	// The open one is taken over as if it had never moved.
	other := n.open()
	n.subscription(other, ids["bob"])
	n.send(other, `{"id":2,"method":"mining.authorize","params":["bob","x"]}`)
	if why, closed := n.closed[7]; !closed || why != netserver.Replaced {
		t.Error("the old connection stays open")
	}
	// No extranonce1 is given out twice.
	seen := map[string]bool{string(n.session(7).extranonce1Bytes()): true, string(n.session(slot).extranonce1Bytes()): true}
	for range 20 {
		s := n.open()
		n.subscription(s, "")
		if x := string(n.session(s).extranonce1Bytes()); seen[x] {
			t.Fatalf("extranonce1 %x twice", x)
		} else {
			seen[x] = true
		}
	}
}

// Lines that wait for the first work wait in the other process.
func TestMoveHeldLines(t *testing.T) {
	r := newRig(t, nil)
	r.backend.work, r.Handler.work = nil, nil
	slot := r.open()
	if got := r.send(slot, `{"id":1,"method":"mining.subscribe","params":[]}`); got != nil {
		t.Fatalf("answered without work: %q", got)
	}
	n := r.move(0)
	n.backend.newTip(n.now)
	for n.Step() {
	}
	n.wantMethods(n.written(7), "reply [[[\"mining.notify\",\""+formatID(n.session(7).id)+"\"]],\""+fmt.Sprintf("%x", n.session(7).extranonce1Bytes())+"\",8]", "set_difficulty 0.000000001", "notify true")
}

func TestMoveSolo(t *testing.T) {
	const name = "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"
	r := newRig(t, func(s *Settings) { s.Solo = true })
	slot, lines := r.miner(name)
	job := lastJob(lines)
	found := submitLine(5, name, &job, r.solve(slot, job.JobID, 1e-9, 0))
	n := r.move(0)
	n.want(7, found, `{"result":true,"error":null,"id":5}`)
}

// Times go on: what was due before the move is due after it.
func TestMoveClock(t *testing.T) {
	r := newRig(t, nil)
	r.open() // never authorizes
	r.now = r.now.Add(50 * time.Second)
	n := r.move(time.Second)
	n.now = n.now.Add(8 * time.Second)
	n.Tick(n.now)
	if len(n.closed) != 0 {
		t.Error("closed too early")
	}
	n.now = n.now.Add(2 * time.Second)
	n.Tick(n.now)
	if n.closed[7] != netserver.UnauthorizedTimeout {
		t.Error("not closed")
	}
}

// Whatever happens between the copies, both sets know the same shares.
func TestSeenCopy(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var from, to seen
	w := &Work{Job: &work.Job{ID: 1}, Tip: 1, Oldest: 1}
	check := func() {
		t.Helper()
		for _, s := range []struct{ a, b *fingerprints }{{&from.young, &to.young}, {&from.old, &to.old}} {
			if a, b := contents(s.a), contents(s.b); !slices.Equal(a, b) {
				t.Fatalf("%d shares, want %d", len(b), len(a))
			}
		}
		if from.forgotten != to.forgotten || from.next != to.next {
			t.Errorf("forgotten before %d, next %d, want %d, %d", to.forgotten, to.next, from.forgotten, from.next)
		}
	}
	for range 200 {
		for range rng.IntN(2000) {
			from.add(rng.Uint64()>>rng.IntN(64), w.Job.ID, 1, w)
		}
		switch rng.IntN(10) {
		case 0: // a tip
			w = &Work{Job: &work.Job{ID: w.Job.ID + 1}, Tip: w.Job.ID + 1, Oldest: w.Oldest}
		case 1: // a job
			w = &Work{Job: &work.Job{ID: w.Job.ID + 1}, Tip: w.Tip, Oldest: w.Oldest}
		case 2: // old jobs are gone
			w = &Work{Job: &work.Job{ID: w.Job.ID + 1}, Tip: w.Tip, Oldest: w.Job.ID}
		case 3:
			from.stopCopying()
		}
		err := appendSeen(3, from.changesSince(), func(record []byte) error {
			k, err := readSeen(record)
			if k.loop != 3 {
				t.Errorf("loop %d", k.loop)
			}
			if err != nil {
				return err
			}
			return to.apply(k.changes)
		})
		if err != nil {
			t.Fatal(err)
		}
		check()
	}
}

func contents(f *fingerprints) (all []uint64) {
	for i := range f.parts {
		for _, fp := range f.parts[i].table {
			if fp != 0 {
				all = append(all, fp)
			}
		}
	}
	slices.Sort(all)
	return all
}

// A row of changes is cut between operations only.
func TestSeenChunks(t *testing.T) {
	for shift := range 5 {
		changes := make([]uint64, seenChunk-shift)
		for i := range changes {
			changes[i] = uint64(i + 1)
		}
		changes = append(changes, 0, opRotate, 0, 7, 8)
		n := 0
		err := appendSeen(0, changes, func(record []byte) error {
			k, err := readSeen(record)
			n += len(k.changes)
			return firstError(err, new(seen).apply(k.changes))
		})
		if err != nil || n != len(changes) {
			t.Errorf("%d numbers of %d, %v", n, len(changes), err)
		}
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func readSeen(record []byte) (k seenRecord, err error) {
	c := wire.Read(record)
	c.Versioned(seenVersion, k.fields)
	return k, c.Done()
}

// The first form of the records is read for ever, and grows only at the end: the
// files are never made anew.
func TestReadSessionV1(t *testing.T) {
	r := newRig(t, nil)
	m := Importer{Group: r.group, Listeners: []int{3, 4}}
	v1 := records.V1(t, "session")
	records.Earlier(t, v1, sessionVersion, newRecord)
	v2 := records.Earlier(t, records.Of(t, "v2", "session"), sessionVersion, newRecord)
	if v2.logins[0].minimum != 4 || v2.logins[1].minimum != 0 { // which v1 has not
		t.Errorf("%+v", v2.logins)
	}
	in := wire.Read(v1)
	if err := firstError(m.Session(r.Handler, 5, in), in.Done()); err != nil {
		t.Fatal(err)
	}
	s := r.session(5)
	c := r.client(5)
	if s.client != 17 || formatID(s.id) != "00112233445566aa" || fmt.Sprintf("%x", s.extranonce1Bytes()) != "7e86026b" || s.listener != 4 ||
		c.agents.get(s.agent) != "cgminer/4.12.1" || s.flags != subscribed|authorised|configured|maskSent|resumed|hasEarlier {
		t.Errorf("%+v", s)
	}
	if s.want != 8 || s.floor != 2 || s.start != 10 || s.lastShare != 200.5 || s.lastSent != 201.5 || s.firstInvalid != 190 || s.lastChange != 150 ||
		s.maskUntil != 210 || s.lastList != 20 || s.best != 12345.5 || s.rates != (rates{[5]float32{1, 2, 3, 4, 5}, 6, 199}) {
		t.Errorf("%+v", s)
	}
	before, now := change{4, 0x6b02867d00000001, 10.25, 0}, change{8, 0x6b02867d00000002, 150, 3}
	if !slices.Equal(r.earlier[5], earlier{before}) || s.present != now || s.job != 0x6b02867d00000002 || s.tip != 9 ||
		s.vardiff != v1Vardiff() || s.loops != 1<<4|1 || s.mask != 0x1fffe000 || s.sentMask != 0x1fffe000 || s.oldMask != 0x1ffff000 || s.newNames != 2 || s.badLines != 1 || s.invalid != 1 || s.limit != 750 || s.later != 44 || s.accepted != 41 || s.rejected != 3 {
		t.Errorf("%+v", s)
	}
	if e := r.group.registry.entries.find(s.id); e.client != 17 || e.name != nameHash("bob.rig1") || e.until != 0 || e.extranonce1 != 0x6b02867e ||
		e.job != s.job || e.suffix != 3 || e.present != now || !slices.Equal(r.group.registry.earlier[s.id], earlier{before}) {
		t.Errorf("%+v", e)
	}
	if c.findLogin([]byte("bob.rig1")) == 0 || c.findLogin([]byte("bob.rig2")) == 0 || string(r.held[5]) != "{}\n" {
		t.Errorf("logins %v, held %q", r.extra[5], r.held[5])
	}
}

// newRecord are the fields of a record and of the session that it is of.
func newRecord(k *record, c *wire.Codec) {
	if c.Reading() {
		k.session = new(session)
	}
	k.fields(c)
}

// v1Vardiff has a value in each of its fields.
func v1Vardiff() (v difficulty.Vardiff) {
	l := difficulty.Limits{Min: 1}
	v.Start(10)
	v.Share(12, 8, 8, l)
	v.Idle(300, 8, l)
	v.Share(301, 8, 8, l)
	v.Share(301.25, 8, 8, l)
	v.Share(301.28, 8, 8, l)
	return v
}

// A later release may have another window of the averages, at their end.
func TestAveragesOfALaterRelease(t *testing.T) {
	in := wire.Read(records.V1(t, "session"))
	k := &record{session: new(session)}
	in.Versioned(sessionVersion, k.fields)
	records.Array(t, k, k.rates.average[:], func() (*record, []float32) {
		k := &record{session: new(session)}
		return k, k.rates.average[:]
	}, (*record).fields)
}

func TestReadRegistryV1(t *testing.T) {
	k := records.Earlier(t, records.V1(t, "registry"), registryVersion, (*registryRecord).fields)
	if want := (registryRecord{clients: 99, length: 4, next: 0x1122334455, closed: []closedRecord{{0xaa, entryRecord{
		entry{extranonce1: 0xbb, name: 0xcc, loops: 3, until: 1795327700, job: 7, suffix: 2}, earlier{{4, 7, 10.25, 1}}, 0,
	}}}}); !reflect.DeepEqual(*k, want) {
		t.Errorf("%+v, want %+v", *k, want)
	}
}

// The form with what sessions have of several sources.
func TestReadSessionV3(t *testing.T) {
	v3 := records.Of(t, "v3", "session")
	k := records.Earlier(t, v3, sessionVersion, newRecord)
	if k.source != 7 || k.extranonce2Len != 4 || len(k.former) != 1 || len(k.unjudged) != 1 {
		t.Fatalf("%+v", k)
	}
	if want := (former{5, MakeExtranonce([]byte{0xab, 0xcd}), 6, 0x6b02867d00000001}); k.former[0] != want {
		t.Errorf("%+v", k.former)
	}
	if want := (unjudgedRecord{
		number: 1<<48 | 99, since: 201, id: []byte(`"x"`), worker: "bob.rig2", job: 0x6b02867d00000002, time: 1795327613e9,
		extranonce1: MakeExtranonce([]byte{1, 2}), extranonce2: MakeExtranonce([]byte{3, 4, 5, 6}), mask: 0x1fffe000, variant: 3,
		ntime: 0x6b02867d, nonce: 8, version: 0x20002000, difficulty: 8, stale: true,
	}); !reflect.DeepEqual(k.unjudged[0], want) {
		t.Errorf("%+v", k.unjudged)
	}
	r := newRig(t, nil)
	m := Importer{Group: r.group, Listeners: []int{0}}
	if err := m.Session(r.Handler, 5, wire.Read(v3)); err == nil || !strings.Contains(err.Error(), "another pool") {
		t.Errorf("a pool with nodes takes a proxy's session: %v", err)
	}
	if err := m.Registry(records.Of(t, "v2", "registry")); err == nil || !strings.Contains(err.Error(), "other pools") {
		t.Errorf("a pool with nodes takes a proxy's registry: %v", err)
	}
}

// The form with verdicts that miners have not heard.
func TestReadSessionV4(t *testing.T) {
	k := records.Earlier(t, records.Of(t, "v4", "session"), sessionVersion, newRecord)
	want := source.Verdict{State: source.RefusedAbove, Code: 23, Text: "low", Difficulty: 512}
	if len(k.unjudged) != 2 || k.unjudged[0].decided || !k.unjudged[1].decided || k.unjudged[1].verdict != want || k.unjudged[1].number != 1<<48|100 {
		t.Errorf("%+v", k.unjudged)
	}
}

// The form with the number of the last report of a passthrough.
func TestReadSessionV5(t *testing.T) {
	k := records.Check(t, records.Of(t, "v5", "session"), sessionVersion, newRecord)
	if k.own.reported != 0x0102030405060708 || len(k.unjudged) != 2 || !k.owned {
		t.Errorf("%+v", k.own)
	}
}

func TestReadLeftV1(t *testing.T) {
	k := records.Check(t, records.V1(t, "left"), leftVersion, (*leftRecords).fields)
	want := []leftRecord{{
		client: 5, agent: "cgminer/4.12.1", addr: netip.MustParseAddr("192.0.2.7"), port: 4000, listener: 1, limit: 16000,
		workers: []heldWorker{{"bob.rig1"}, {"bob.rig2"}},
		shares: []leftShare{{2, unjudgedRecord{
			number: 1<<48 | 99, since: 201, id: []byte(`"x"`), worker: "bob.rig2", job: 0x6b02867d00000002, time: 1795327613e9,
			extranonce1: MakeExtranonce([]byte{1, 2}), extranonce2: MakeExtranonce([]byte{3, 4, 5, 6}), mask: 0x1fffe000, variant: 3,
			ntime: 0x6b02867d, nonce: 8, version: 0x20002000, difficulty: 8, stale: true,
			decided: true, verdict: source.Verdict{State: source.RefusedAbove, Code: 23, Text: "low", Difficulty: 512},
		}}},
	}}
	if !reflect.DeepEqual(k.clients, want) {
		t.Errorf("%+v", k.clients)
	}
	r := newRig(t, nil)
	m := Importer{Group: r.group, Listeners: []int{0}}
	if err := m.Left(r.Handler, records.V1(t, "left")); err == nil || !strings.Contains(err.Error(), "other pools") {
		t.Errorf("a pool with nodes takes shares of a proxy: %v", err)
	}
}

func TestReadRegistryV2(t *testing.T) {
	k := records.Earlier(t, records.Of(t, "v2", "registry"), registryVersion, (*registryRecord).fields)
	if want := []spaceRecord{{7, 2, []restingRecord{{0x0102, 0xaa, 9}}}, {8, 0, nil}}; !reflect.DeepEqual(k.spaces, want) || k.hint != 77 || len(k.closed) != 1 {
		t.Errorf("%+v", k)
	}
}

func TestReadRegistryV3(t *testing.T) {
	k := records.Check(t, records.Of(t, "v3", "registry"), registryVersion, (*registryRecord).fields)
	if len(k.closed) != 1 || k.closed[0].reported != 0x0102030405060708 || len(k.spaces) != 2 {
		t.Errorf("%+v", k)
	}
}

func TestReadSeenV1(t *testing.T) {
	k := records.Check(t, records.V1(t, "seen"), seenVersion, (*seenRecord).fields)
	var s seen
	if err := s.apply(k.changes); err != nil || k.loop != 1 {
		t.Fatal(k.loop, err)
	}
	if !s.old.has(1001) || !s.old.has(1002) || !s.young.has(1003) || s.young.has(1001) || s.forgotten != 0x6b02867d00000001 || s.next != 0x6b02867d00000015 || s.len() != 3 {
		t.Errorf("%v young, %v old, %v", contents(&s.young), contents(&s.old), s.next)
	}
}

func FuzzReadSession(f *testing.F) {
	f.Add(records.V1(f, "session"))
	f.Add(records.Of(f, "v3", "session"))
	f.Add(records.Of(f, "v4", "session"))
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, in []byte) {
		proxy, _ := newProxy(t, nil)
		for _, r := range []*rig{newRig(t, nil), proxy} {
			m := Importer{Group: r.group, Listeners: []int{0}}
			if m.Session(r.Handler, 0, wire.Read(in)) != nil {
				continue
			}
			r.Resume()
			r.Step()
			r.Tick(r.now)
			r.send(0, `{"id":1,"method":"mining.submit","params":["bob.rig1","6b02867d00000000","0000000000000000","6b02867d","00000000"]}`)
			r.disconnect(0)
		}
	})
}

func FuzzReadLeft(f *testing.F) {
	f.Add(records.V1(f, "left"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, _ := newProxy(t, nil)
		m := Importer{Group: r.group, Listeners: []int{0}}
		if m.Left(r.Handler, in) != nil {
			return
		}
		r.Resume()
		for r.Step() {
		}
		r.Tick(r.now.Add(time.Minute))
	})
}

func FuzzReadRegistry(f *testing.F) {
	f.Add(records.V1(f, "registry"))
	f.Add(records.Of(f, "v2", "registry"))
	f.Fuzz(func(t *testing.T, in []byte) {
		m := Importer{Group: NewGroup(NewRegistry(4, 1), 1, nil)}
		m.Group.registry.follow(&backend{})
		if m.Registry(in) == nil {
			m.Group.registry.Sweep(time.Unix(1795327613, 0))
		}
	})
}

func FuzzReadSeen(f *testing.F) {
	f.Add(records.V1(f, "seen"))
	c := wire.Append(nil)
	c.Versioned(seenVersion, (&seenRecord{0, []uint64{0}}).fields)
	f.Add(c.Written())
	f.Fuzz(func(t *testing.T, in []byte) {
		m := Importer{Group: NewGroup(NewRegistry(4, 1), 2, nil)}
		if m.Seen(in) == nil {
			m.Group.seen[0].add(1, 1, 1, &Work{Job: &work.Job{ID: 1}})
		}
	})
}

// A record that is cut off, or of a newer version, is refused.
func TestDamagedRecords(t *testing.T) {
	for name, read := range map[string]func(in []byte) error{
		"session":  func(in []byte) error { return readSession(t, in) },
		"registry": (&Importer{Group: NewGroup(NewRegistry(4, 1), 1, nil)}).Registry,
		"seen":     (&Importer{Group: NewGroup(NewRegistry(4, 1), 2, nil)}).Seen,
		"left": func(in []byte) error {
			r, _ := newProxy(t, nil)
			return (&Importer{Group: r.group, Listeners: []int{0}}).Left(r.Handler, in)
		},
	} {
		good := records.V1(t, name)
		if err := read(good); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for n := range good {
			if err := read(good[:n:n]); err == nil {
				t.Errorf("%s: the first %d of %d bytes are taken for all", name, n, len(good))
			}
		}
		newer := append([]byte{2}, good[1:]...)
		if err := read(newer); err == nil || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("%s of version 2: %v", name, err)
		}
	}
}

// A session that cannot be is refused: its miner would be mute, or its shares
// counted with a wrong weight.
func TestImpossibleSessionIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(s *session){
		"no client":                 func(s *session) { s.client = 0 },
		"subscribed without id":     func(s *session) { s.id = 0 },
		"subscribed, no extranonce": func(s *session) { s.extranonce1Len = 0 },
		"negative difficulty":       func(s *session) { s.want = -1 },
		"infinite difficulty":       func(s *session) { s.want = math.Inf(1) },
		"no number":                 func(s *session) { s.best = math.NaN() },
	} {
		r := newRig(t, nil)
		slot, _ := r.miner("bob.rig1")
		from := &Exporter{Group: r.group}
		if err := readSession(t, exported(from, r.Handler, slot)); err != nil {
			t.Fatal(err)
		}
		spoil(r.session(slot))
		if err := readSession(t, exported(from, r.Handler, slot)); err == nil {
			t.Errorf("%s: taken over", name)
		}
	}
}

func readSession(t testing.TB, in []byte) error {
	r := newRig(t, nil)
	c := wire.Read(in)
	m := Importer{Group: r.group, Listeners: []int{0}}
	return firstError(m.Session(r.Handler, 0, c), c.Done())
}

// A session that is written costs no memory of its own: there may be 100,000 while
// the pool stands still.
func TestWritingASessionAllocatesNothing(t *testing.T) {
	r := newRig(t, nil)
	slot, _ := r.miner("bob.rig1")
	from := &Exporter{Group: r.group}
	c := wire.Append(make([]byte, 0, 4096))
	if n := testing.AllocsPerRun(100, func() {
		c.Reset(0)
		from.Session(r.Handler, slot, c)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// An upgrade stands still for as long as its sessions take.
func BenchmarkMoveSessions(b *testing.B) {
	const sessions = 10_000
	r := newRig(b, nil)
	for range sessions {
		r.miner("bob.rig1")
	}
	from := &Exporter{Group: r.group}
	var record []byte
	b.Run("export", func(b *testing.B) {
		b.ReportAllocs()
		c := wire.Append(nil)
		for b.Loop() {
			c.Reset(0)
			for slot := range r.top {
				from.Session(r.Handler, slot, c)
			}
			record = c.Written()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions, "ns/session")
		b.ReportMetric(float64(len(record))/sessions, "B/session")
	})
	b.Run("import", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			n := newRig(b, nil)
			to := Importer{Group: n.group, Listeners: []int{0}}
			to.MakeRoom([]*Handler{n.Handler}, sessions)
			in := wire.Read(record)
			b.StartTimer()
			for slot := range r.top {
				if err := to.Session(n.Handler, slot, in); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions, "ns/session")
	})
}

// What a session costs beside finding it in memory.
func BenchmarkSessionRecord(b *testing.B) {
	r := newRig(b, nil)
	slot, _ := r.miner("bob.rig1")
	from := &Exporter{Group: r.group}
	b.Run("write", func(b *testing.B) {
		c := wire.Append(nil)
		for b.Loop() {
			c.Reset(0)
			from.Session(r.Handler, slot, c)
		}
	})
	in := exported(from, r.Handler, slot)
	b.Run("read", func(b *testing.B) {
		var s session
		for b.Loop() {
			k := record{session: &s, agent: "cgminer/4.12.1"}
			c := wire.Read(in)
			c.Versioned(sessionVersion, k.fields)
			if err := c.Done(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
