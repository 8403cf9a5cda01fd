package session

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ckpool/difficulty"
	"ckpool/internal/netserver"
	"ckpool/source"
	"ckpool/stratum"
	"ckpool/work"
)

// above is connections to other pools as sessions know them. It keeps what goes up, and
// judges when it is told to.
type above struct {
	*backend
	rig     *rig
	lines   map[uint32]*line
	works   map[uint32]*Work
	newest  *Work
	place   func(n *Newcomer) (uint32, bool)
	opened  map[uint32]int // sessions
	full    map[uint32]int
	renewed []uint32
	found   []source.Found
}

// line is one connection: what its pool gives.
type line struct {
	number      uint32
	shape       source.Shape
	pad         int
	difficulty  float64
	mask        uint32
	block       byte
	extranonce1 []byte
	dead        bool
}

// newProxy is a rig whose miners have work of other pools. Both lines are there, with
// work, and newcomers go to the first.
func newProxy(t testing.TB, change func(*Settings)) (*rig, *above) {
	r := newRig(t, change)
	a := &above{
		backend: r.backend, rig: r, lines: map[uint32]*line{}, works: map[uint32]*Work{},
		opened: map[uint32]int{}, full: map[uint32]int{},
		place: func(n *Newcomer) (uint32, bool) { return max(n.Source, 1), true },
	}
	r.group = NewGroup(NewRegistry(4, 1), 1, func(c uint64, why netserver.Reason) { r.Handler.Drop(c, why, func(int) {}) })
	b := r.backend.asBackend()
	b.Jobs, b.Sources = a, a
	r.Handler = NewHandler((*transport)(r), b, r.group)
	for number := range uint32(2) {
		number++
		a.lines[number] = &line{
			number: number, shape: source.Shape{Own: 2, Extranonce2: 4}, pad: 2, difficulty: 1e-7, mask: 0x1fffe000,
			extranonce1: []byte{0xf0, byte(number)},
		}
		a.give(number, true)
	}
	return r, a
}

// give publishes work of a line, on another block or not, and brings it to the miners.
func (a *above) give(number uint32, tip bool) *Work {
	a.t.Helper()
	l, now := a.lines[number], a.rig.now
	if tip {
		l.block++
	}
	p := &work.Parts{
		Version: 0x20000000, PrevHash: [32]byte{byte(number), l.block}, Bits: 0x1b0404cb, CurTime: uint32(now.Unix()), Branch: [][32]byte{{1}, {2, byte(a.nextJob)}},
		Coinbase: &work.GivenCoinbase{Head: append(bytes.Repeat([]byte{byte(number)}, 50), l.extranonce1...), Tail: bytes.Repeat([]byte{7}, 60), Pad: l.pad},
	}
	tmpl, err := work.NewTemplate(p)
	if err != nil {
		a.t.Fatal(err)
	}
	b := work.Builder{Extranonce1Len: l.shape.Own, Extranonce2Len: l.shape.Extranonce2, VersionMask: l.mask}
	job, err := b.Job(tmpl, a.nextJob, now, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	a.nextJob++
	w := &Work{Job: job, Tip: job.ID, Upstream: &source.Upstream{
		Source: number, JobID: fmt.Sprintf("job%d", job.ID), Difficulty: l.difficulty, VersionMask: l.mask, Shape: l.shape, Judge: a,
	}}
	if old := a.works[number]; old != nil && !tip {
		w.Tip = old.Tip
	}
	a.jobs[job.ID] = w
	w.Oldest, w.OldestOfSource = a.oldest(job.ID), job.ID
	for id, f := range a.jobs {
		if f.Source() == number {
			w.OldestOfSource = min(w.OldestOfSource, id)
		}
	}
	a.works[number], a.newest = w, w
	for a.rig.Step() {
	}
	return w
}

func (a *above) Work(from uint32) *Work { return a.works[from] }
func (a *above) Newest() *Work          { return a.newest }
func (a *above) Renew(from uint32, after uint64) {
	if a.works[from].Job.ID <= after {
		a.renewed = append(a.renewed, from)
	}
}
func (a *above) Place(n *Newcomer) (uint32, bool) { return a.place(n) }
func (a *above) Opened(from uint32)               { a.opened[from]++ }
func (a *above) Closed(from uint32)               { a.opened[from]-- }
func (a *above) Full(from uint32)                 { a.full[from]++ }

// Submit implements source.Judge. Of each share the pool makes the header itself.
func (a *above) Submit(f *source.Found) bool {
	if a.lines[f.Upstream.Source].dead {
		return false
	}
	var id uint64
	fmt.Sscanf(f.Upstream.JobID, "job%d", &id)
	l, t := a.lines[f.Upstream.Source], a.jobs[id].Job.Template
	twice := func(b []byte) []byte {
		h := sha256.Sum256(b)
		h = sha256.Sum256(h[:])
		return h[:]
	}
	extranonce2 := f.Extranonce2[:f.Extranonce2Len]
	if want := l.pad + f.Upstream.Shape.Own + f.Upstream.Shape.Extranonce2; len(extranonce2) != want {
		a.t.Errorf("extranonce2 %x has not %d bytes", extranonce2, want)
	}
	root := twice(slices.Concat(bytes.Repeat([]byte{byte(l.number)}, 50), l.extranonce1, extranonce2, bytes.Repeat([]byte{7}, 60)))
	for _, h := range a.jobs[id].Job.Branch {
		root = twice(append(root, h[:]...))
	}
	version := uint32(0x20000000)
	if f.HasVersionBits {
		version = version&^l.mask | f.VersionBits
	}
	if f.VersionBits&^l.mask != 0 || f.HasVersionBits != (l.mask != 0) {
		a.t.Errorf("version bits %08x under mask %08x", f.VersionBits, l.mask)
	}
	var header []byte
	header = binary.LittleEndian.AppendUint32(header, version)
	header = append(header, t.PrevHash[:]...)
	header = append(header, root...)
	header = binary.LittleEndian.AppendUint32(header, f.NTime)
	header = binary.LittleEndian.AppendUint32(header, t.Bits)
	header = binary.LittleEndian.AppendUint32(header, f.Nonce)
	hash := [32]byte(twice(header))
	if got := difficulty.OfHash(&hash); got != f.Difficulty || got < f.Upstream.Difficulty {
		a.t.Errorf("a share of %g that is said to be of %g, asked for %g", got, f.Difficulty, f.Upstream.Difficulty)
	}
	a.found = append(a.found, *f)
	return true
}

// last is what went up last.
func (a *above) lastFound() source.Found {
	a.t.Helper()
	if len(a.found) == 0 {
		a.t.Fatal("nothing went up")
	}
	return a.found[len(a.found)-1]
}

// judge gives a verdict on what went up last.
func (a *above) judge(state source.VerdictState, code int, text string) {
	a.t.Helper()
	f := a.lastFound()
	f.Finder.Verdict(f.Client, f.Share, source.Verdict{State: state, Code: code, Text: text})
	for a.rig.Step() {
	}
}

// as is what the slot has of a coinbase, to be used after a move as well.
type as struct {
	slot        netserver.Slot
	extranonce1 []byte
	extranonce2 int
}

func (a *above) as(slot netserver.Slot) as {
	s := a.rig.session(slot)
	return as{slot, slices.Clone(s.extranonce1Bytes()), int(s.extranonce2Len)}
}

// find is the submit of a share of a job that is as hard as low, and not as hard as
// high if that is not 0.
func (a *above) find(m as, n *stratum.Notify, low, high float64) string {
	a.t.Helper()
	id, suffix, _ := stratum.JobID([]byte(n.JobID))
	job := a.jobs[id].Job
	found := work.Solution{Variant: suffix, Extranonce2: make([]byte, m.extranonce2), Time: n.NTime, Version: job.Version}
	var sh work.Share
	for range 10_000_000 {
		a.rig.nonce++
		found.Nonce = a.rig.nonce
		job.Hash(&sh, &work.Miner{Extranonce1: m.extranonce1}, &found)
		if difficulty.Meets(&sh.Hash, low) && (high == 0 || !difficulty.Meets(&sh.Hash, high)) {
			return fmt.Sprintf(`{"id":9,"method":"mining.submit","params":["bob.rig1","%s","%x","%08x","%08x"]}`, n.JobID, found.Extranonce2, n.NTime, found.Nonce)
		}
	}
	a.t.Fatal("no share found")
	return ""
}

const (
	up     = 1e-7 // what goes up, here
	agreed = `{"result":true,"error":null,"id":9}`
	dark   = 1e-9 // what miners are asked for
)

func refused(code int, text string) string { return rejectLine(code, text, "9") }

// A miner has bytes of its own behind those of the pool above, and only what that pool
// takes goes up: the miner hears what it says, of all else what we do.
func TestSharesGoUp(t *testing.T) {
	r, a := newProxy(t, nil)
	slot := r.open()
	reply := r.send(slot, `{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1"]}`)
	m := a.as(slot)
	if want := fmt.Sprintf(`"%x",4],`, m.extranonce1); len(m.extranonce1) != 2 || !strings.Contains(reply[0], want) {
		t.Errorf("subscribed with %s, want %s", reply[0], want)
	}
	n := lastJob(reply)
	r.send(slot, `{"id":2,"method":"mining.authorize","params":["bob.rig1","x"]}`)
	if !bytes.HasSuffix(n.Coinb1[:52], []byte{1, 0xf0, 1}) || len(n.Coinb1) != 54 {
		t.Errorf("coinb1 is %x", n.Coinb1)
	}
	r.want(slot, a.find(m, &n, dark, up), agreed)
	if sh := r.backend.last(); len(a.found) != 0 || sh.WentUp || sh.Credit != dark {
		t.Errorf("%d shares went up, counted %+v", len(a.found), sh)
	}
	counted := len(r.backend.shares)
	line := a.find(m, &n, up, 0)
	r.want(slot, line)
	if f := a.lastFound(); f.Worker != "bob.rig1" || f.Upstream.Source != 1 || f.Stale || f.Block {
		t.Errorf("went up as %+v", f)
	}
	r.want(slot, line, refused(22, "Duplicate"))
	if len(r.backend.shares) != counted+1 {
		t.Error("counted before the pool has judged it")
	}
	a.judge(source.AcceptedAbove, 0, "")
	if got := r.written(slot); len(got) != 1 || got[0] != agreed {
		t.Errorf("answered %q", got)
	}
	if sh := r.backend.last(); !sh.WentUp || sh.Above != source.AcceptedAbove || sh.Credit != dark || r.backend.WorkerName(sh.Worker) != "bob.rig1" {
		t.Errorf("counted as %+v", sh)
	}
	a.judge(source.RefusedAbove, 20, "twice") // nobody asked
	if got := r.written(slot); got != nil {
		t.Errorf("answered again %q", got)
	}
}

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
		}, refused(20, "No answer from upstream"), Unanswered, 0},
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
			if n := len(r.unjudged.byNumber) + len(r.unjudged.byClient); n != 0 {
				t.Errorf("%d are left", n)
			}
		})
	}
}

// What cannot go up is not said to be accepted.
func TestLineIsDead(t *testing.T) {
	r, a := newProxy(t, nil)
	slot, lines := r.miner("bob.rig1")
	n := lastJob(lines)
	a.lines[1].dead = true
	r.want(slot, a.find(a.as(slot), &n, up, 0), refused(20, "No answer from upstream"))
	r.want(slot, a.find(a.as(slot), &n, dark, up), agreed)
	// Its source has ended: there is no work, and nobody is dropped.
	delete(a.works, 1)
	r.want(slot, a.find(a.as(slot), &n, up, 0), refused(21, "Stale"))
	for range 100 {
		r.now = r.now.Add(time.Second)
		r.Tick(r.now)
	}
	a.give(2, true)
	r.want(slot, `{"id":3,"method":"mining.suggest_difficulty","params":[5]}`)
	r.want(slot, `{"id":4,"method":"mining.authorize","params":["bob.rig2","x"]}`, `{"result":true,"error":null,"id":4}`)
	if len(r.closed) != 0 {
		t.Errorf("closed: %v", r.closed)
	}
}

// Whether a share is too late the pool above decides, as far as it takes it at all.
func TestStaleSharesGoUp(t *testing.T) {
	r, a := newProxy(t, nil)
	slot, lines := r.miner("bob.rig1")
	n := lastJob(lines)
	m := a.as(slot)
	a.give(1, true)
	r.wantMethods(r.written(slot), "notify true")
	r.want(slot, a.find(m, &n, dark, up), refused(21, "Stale"))
	line := a.find(m, &n, up, 0)
	r.want(slot, line)
	if !a.lastFound().Stale {
		t.Error("not said to be stale")
	}
	a.judge(source.AcceptedAbove, 0, "")
	if got, sh := r.written(slot), r.backend.last(); len(got) != 1 || got[0] != agreed || sh.Credit != dark {
		t.Errorf("answered %q, credit %g", got, sh.Credit)
	}
	r.want(slot, line, refused(22, "Duplicate"))
	r.want(slot, a.find(m, &n, up, 0))
	a.judge(source.RefusedAbove, 21, "Job not found")
	if got := r.written(slot); len(got) != 1 || got[0] != refused(21, "Job not found") {
		t.Errorf("answered %q", got)
	}
	r.want(slot, a.find(m, &n, up, 0))
	a.judge(source.NotSent, 0, "")
	if got := r.written(slot); len(got) != 1 || got[0] != refused(21, "Stale") {
		t.Errorf("answered %q", got)
	}
}

// What another pool does not take would be lost: no miner works above that, from the
// moment on that less is taken, and it has its own difficulty again when it may.
func TestDifficultyUpstream(t *testing.T) {
	r, a := newProxy(t, nil)
	a.lines[1].difficulty = 1000
	a.give(1, false)
	slot := r.open()
	r.send(slot, `{"id":1,"method":"mining.subscribe","params":[]}`)
	lines := r.send(slot, `{"id":2,"method":"mining.authorize","params":["bob.rig1","d=5000"]}`)
	r.wantMethods(lines, "reply true", "set_difficulty 1000", "notify false")
	a.lines[1].difficulty = 10.5
	a.give(1, false)
	r.wantMethods(r.written(slot), "set_difficulty 10", "notify false")
	a.lines[1].difficulty = 0.25
	a.give(1, false)
	r.wantMethods(r.written(slot), "set_difficulty 0.25", "notify false")
	a.lines[1].difficulty = 8000
	r.now = r.now.Add(11 * time.Second)
	a.give(1, false)
	r.wantMethods(r.written(slot), "set_difficulty 5000", "notify false")
	// A move to a pool that takes less.
	a.lines[2].difficulty = 100
	a.give(2, false)
	r.Move([]Move{{r.session(slot).client, 2}})
	r.wantMethods(r.written(slot), "set_difficulty 100", "notify true")
}

// A session whose bytes are free at another source gets one clean job of it, and
// nothing else. What it finds for either goes where the job was from.
func TestSilentMove(t *testing.T) {
	r, a := newProxy(t, nil)
	slot, lines := r.miner("bob.rig1")
	first, m := lastJob(lines), a.as(slot)
	a.give(2, false)
	r.Move([]Move{{r.session(slot).client, 2}, {99, 2}})
	lines = r.written(slot)
	r.wantMethods(lines, "notify true")
	if !bytes.Equal(m.extranonce1, r.session(slot).extranonce1Bytes()) {
		t.Error("has another extranonce1 without a word")
	}
	second := lastJob(lines)
	for i, n := range []*stratum.Notify{&first, &second} {
		r.want(slot, a.find(m, n, up, 0))
		if f := a.lastFound(); f.Upstream.Source != uint32(i+1) {
			t.Errorf("share of line %d goes to %d", i+1, f.Upstream.Source)
		}
		a.judge(source.AcceptedAbove, 0, "")
		if got := r.written(slot); len(got) != 1 || got[0] != agreed {
			t.Errorf("answered %q", got)
		}
	}
	if a.opened[1] != 0 || a.opened[2] != 1 {
		t.Errorf("sessions by source: %v", a.opened)
	}
	a.give(1, true) // is not its any more
	if got := r.written(slot); got != nil {
		t.Errorf("sent %q of the source before", got)
	}
	a.give(2, false)
	r.wantMethods(r.written(slot), "notify false")
	// Back again, where its bytes rest from itself; it has had later jobs than is there.
	r.Move([]Move{{r.session(slot).client, 1}})
	if got := r.written(slot); got != nil || !slices.Equal(a.renewed, []uint32{1}) {
		t.Errorf("sent %q, asked for %v", got, a.renewed)
	}
	a.give(1, false)
	r.wantMethods(r.written(slot), "notify true")
	if !bytes.Equal(m.extranonce1, r.session(slot).extranonce1Bytes()) {
		t.Error("has another extranonce1 without a word")
	}
	r.disconnect(slot)
	if a.opened[1] != 0 || a.opened[2] != 0 {
		t.Errorf("sessions by source after the end: %v", a.opened)
	}
}

// Where a session's bytes or shape do not fit, a miner that knows mining.set_extranonce
// gets others, and its shares of before are judged with what it had; others are asked to
// connect again.
func TestMoveToAnotherShape(t *testing.T) {
	for _, tt := range []struct {
		name  string
		shape source.Shape
		want  string
	}{
		{"bytes taken", source.Shape{Own: 2, Extranonce2: 4}, "%x,4"},
		{"longer extranonce2", source.Shape{Own: 2, Extranonce2: 6}, "%x,6"},
		{"shorter extranonce1", source.Shape{Own: 1, Extranonce2: 4}, "%x,4"},
		{"no extranonce1", source.Shape{Own: 0, Extranonce2: 3}, "%x,3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, a := newProxy(t, nil)
			a.lines[2].shape = tt.shape
			a.give(2, false)
			old, _ := r.miner("old")
			slot, lines := r.miner("bob.rig1")
			r.want(slot, `{"id":5,"method":"mining.extranonce.subscribe","params":[]}`, `{"result":true,"error":null,"id":5}`)
			if tt.shape == a.lines[1].shape { // somebody has them there
				reg := r.group.registry
				for _, s := range []netserver.Slot{old, slot} {
					var b [8]byte
					copy(b[:], r.session(s).extranonce1Bytes())
					reg.spaces[reg.spaceOf(a.works[2])].take(12345+uint64(s), binary.LittleEndian.Uint64(b[:]), true, 0)
				}
			}
			first, m := lastJob(lines), a.as(slot)
			a.give(2, false)
			r.Move([]Move{{r.session(slot).client, 2}, {r.session(old).client, 2}})
			lines = r.written(slot)
			r.wantMethods(lines, "mining.set_extranonce", "notify true")
			now := a.as(slot)
			if want := fmt.Sprintf(`{"params":["%x",%d],`, now.extranonce1, tt.shape.Extranonce2); !strings.HasPrefix(lines[0], want) || len(now.extranonce1) != tt.shape.Own {
				t.Errorf("sent %s, want %s", lines[0], want)
			}
			if tt.shape == a.lines[1].shape && bytes.Equal(now.extranonce1, m.extranonce1) {
				t.Error("has the bytes of somebody else")
			}
			second := lastJob(lines)
			r.want(slot, a.find(m, &first, up, 0))
			if f := a.lastFound(); f.Upstream.Source != 1 {
				t.Errorf("share of line 1 goes to %d", f.Upstream.Source)
			}
			r.want(slot, a.find(now, &second, up, 0))
			if f := a.lastFound(); f.Upstream.Source != 2 {
				t.Errorf("share of line 2 goes to %d", f.Upstream.Source)
			}
			r.wantMethods(r.written(old), "client.reconnect")
			r.now = r.now.Add(62 * time.Second)
			r.Tick(r.now)
			if _, gone := r.closed[old]; !gone || len(r.closed) != 1 {
				t.Errorf("closed: %v", r.closed)
			}
		})
	}
}

// What a session had before is forgotten with the last job that it concerns.
func TestFormerExtranoncesAreForgotten(t *testing.T) {
	r, a := newProxy(t, nil)
	slot, _ := r.miner("bob.rig1")
	for i := range uint32(3 * maxFormer) {
		to := 2 - i%2
		a.give(to, false)
		r.Move([]Move{{r.session(slot).client, to}})
	}
	if n := len(r.former[slot]); n != maxFormer {
		t.Errorf("%d are kept", n)
	}
	a.keepFrom = a.nextJob
	a.give(1, false)
	r.Tick(r.now)
	if len(r.former) != 0 || r.session(slot).is(hasFormer) {
		t.Errorf("kept: %v", r.former)
	}
}

// A miner that was told it may roll versions goes where it may, and is told that it may
// not only where no pool lets it.
func TestVersionRollingUpstream(t *testing.T) {
	r, a := newProxy(t, nil)
	a.lines[1].mask, a.lines[2].mask = 0, 0x00ffe000
	a.give(1, false)
	a.give(2, false)
	var asked Newcomer
	a.place = func(n *Newcomer) (uint32, bool) {
		asked = *n
		if n.Rolls {
			return 2, true
		}
		return 1, true
	}
	const configure = `{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}`
	slot := r.open()
	r.want(slot, configure, `{"result":{"version-rolling.mask":"00ffe000","version-rolling":true},"error":null,"id":1}`)
	if !asked.Rolls || asked.VersionMask != 0x1fffe000 {
		t.Errorf("placed as %+v", asked)
	}
	r.send(slot, `{"id":2,"method":"mining.subscribe","params":["rolls"]}`)
	lines := r.send(slot, `{"id":3,"method":"mining.authorize","params":["bob.rig1","x"]}`)
	r.wantMethods(lines, "reply true", "mining.set_version_mask")
	plain := r.open()
	n := lastJob(r.send(plain, `{"id":2,"method":"mining.subscribe","params":[]}`))
	if n.Version != 0x20000000 || r.session(plain).source != 1 {
		t.Errorf("version %08x of source %d", n.Version, r.session(plain).source)
	}
	r.want(plain, configure, `{"result":{"version-rolling":false},"error":null,"id":1}`)
	a.give(1, false)
	r.Move([]Move{{r.session(slot).client, 1}})
	if got := r.written(slot); len(got) == 0 || !slices.Equal(methods(got[len(got)-1:]), []string{"client.reconnect"}) {
		t.Errorf("sent %q, it may not roll there", got)
	}
	// A pool that takes fewer bits.
	another := r.open()
	r.send(another, configure)
	r.send(another, `{"id":2,"method":"mining.subscribe","params":[]}`)
	r.send(another, `{"id":3,"method":"mining.authorize","params":["bob.rig1","x"]}`)
	a.lines[1].mask = 0x0000e000
	a.give(1, false)
	r.Move([]Move{{r.session(another).client, 1}})
	r.wantMethods(r.written(another), "mining.set_version_mask", "notify true")
}

// A newcomer waits, and nobody else, until a pool above has room for it; after half a
// minute it is told that there is none.
func TestNewcomerWaits(t *testing.T) {
	r, a := newProxy(t, nil)
	mining, _ := r.miner("alice")
	place := a.place
	a.place = func(n *Newcomer) (uint32, bool) { return 0, false }
	for _, line := range []string{
		`{"id":1,"method":"mining.subscribe","params":["x"]}`,
		`{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}`,
	} {
		slot := r.open()
		r.want(slot, line)
		r.want(slot, `{"id":2,"method":"mining.authorize","params":["bob.rig1","x"]}`)
		r.now = r.now.Add(5 * time.Second)
		r.Tick(r.now)
		if got := r.written(slot); got != nil {
			t.Errorf("answered %q", got)
		}
		a.place = place
		r.Tick(r.now)
		a.place = func(n *Newcomer) (uint32, bool) { return 0, false }
		if got := methods(r.written(slot)); len(got) < 2 || !strings.HasPrefix(got[0], "reply") || got[0] == "reply false" || !slices.Contains(got, "reply true") {
			t.Errorf("answered %q", got)
		}
	}
	slot := r.open()
	r.want(slot, `{"id":1,"method":"mining.subscribe","params":["x"]}`)
	for range 31 {
		r.now = r.now.Add(time.Second)
		r.Tick(r.now)
	}
	if got := r.written(slot); len(got) != 1 || got[0] != rejectLine(20, "No pool upstream has room for another miner", "1") {
		t.Errorf("answered %q", got)
	}
	for range 40 {
		r.now = r.now.Add(time.Second)
		r.Tick(r.now)
	}
	if why, gone := r.closed[slot]; !gone || why != netserver.UnauthorizedTimeout {
		t.Errorf("closed: %v", r.closed)
	}
	if _, gone := r.closed[mining]; gone {
		t.Error("another was closed")
	}
}

// A source without room turns only the newcomer away, to another one, and has room again
// when the jobs are gone that the one before may have had.
func TestFullSource(t *testing.T) {
	r, a := newProxy(t, nil)
	a.lines[1].shape = source.Shape{Own: 0, Extranonce2: 4}
	a.give(1, false)
	asked := 0
	a.place = func(n *Newcomer) (uint32, bool) {
		asked++
		return 1 + uint32(a.full[1]), a.full[1] < 2
	}
	only, _ := r.miner("alice")
	if len(r.session(only).extranonce1Bytes()) != 0 {
		t.Error("has bytes of its own")
	}
	second, _ := r.miner("bob.rig1")
	if r.session(second).source != 2 || a.full[1] != 1 {
		t.Errorf("source %d, %v", r.session(second).source, a.full)
	}
	if used, resting, all := r.group.registry.Space(1); used != 1 || resting != 0 || all != 1 {
		t.Errorf("%v used, %v resting of %v", used, resting, all)
	}
	r.disconnect(only)
	a.full[1] = 0
	if third, _ := r.miner("carol"); r.session(third).source != 2 {
		t.Error("has the extranonce1 of another's job")
	}
	if used, resting, _ := r.group.registry.Space(1); used != 0 || resting != 1 {
		t.Errorf("%v used, %v resting", used, resting)
	}
	a.full[1] = 0
	a.keepFrom = a.nextJob
	a.give(1, false)
	if fourth, _ := r.miner("dave"); r.session(fourth).source != 1 {
		t.Error("the source has no room although no job counts any more")
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

// Without bytes for it, a job that is announced again would be the same work: it is not,
// and what is new waits for the next job.
func TestJobWithOneVariantIsSentOnce(t *testing.T) {
	r, a := newProxy(t, nil)
	a.lines[1].pad = 0
	a.give(1, false)
	slot, _ := r.miner("bob.rig1")
	r.now = r.now.Add(40 * time.Second)
	r.Tick(r.now)
	r.want(slot, `{"id":3,"method":"mining.suggest_difficulty","params":[0.00000005]}`)
	for range 100 {
		r.now = r.now.Add(time.Second)
		r.Tick(r.now)
	}
	if got := r.written(slot); got != nil {
		t.Errorf("sent %q", got)
	}
	a.give(1, false)
	r.wantMethods(r.written(slot), "set_difficulty 0.00000005", "notify false")
	// With them it is another variant, whose shares the pool can make.
	a.lines[1].pad = 1
	a.give(1, false)
	r.written(slot)
	for range 3 {
		r.now = r.now.Add(40 * time.Second)
		r.Tick(r.now)
		n := lastJob(r.written(slot))
		if len(n.JobID) != 18 {
			t.Fatalf("job %q", n.JobID)
		}
		r.want(slot, a.find(a.as(slot), &n, up, 0))
		a.judge(source.AcceptedAbove, 0, "")
		if got := r.written(slot); len(got) != 1 || got[0] != agreed {
			t.Errorf("answered %q", got)
		}
	}
	if len(a.found) != 3 {
		t.Errorf("%d shares went up", len(a.found))
	}
}

// A miner whose user is known by now goes to that user's source.
func TestPlaceByUser(t *testing.T) {
	r, a := newProxy(t, nil)
	a.place = func(n *Newcomer) (uint32, bool) {
		if n.User == "alice" {
			return 2, true
		}
		return 1, true
	}
	_, lines := r.miner("alice.rig1")
	r.wantMethods(lines[2:], "notify true", "reply true", "client.show_message", "notify true")
	a.give(2, false)
	r.wantMethods(r.written(r.nextID-1), "notify false")
	a.give(1, false)
	if got := r.written(r.nextID - 1); got != nil {
		t.Errorf("sent %q", got)
	}
	before := r.open() // authorises first
	r.send(before, `{"id":2,"method":"mining.authorize","params":["alice.rig2","x"]}`)
	r.send(before, `{"id":1,"method":"mining.subscribe","params":[]}`)
	if s := r.session(before); s.source != 2 {
		t.Errorf("at source %d", s.source)
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

// Whatever a miner sends to a proxy, in whatever state, also when it is moved.
func FuzzLineOfProxy(f *testing.F) {
	for _, line := range []string{
		`{"id":1,"method":"mining.subscribe","params":["x","6b02867d00000000"]}`,
		`{"id":2,"method":"mining.authorize","params":["bob","d=5,md=2"]}`,
		`{"id":3,"method":"mining.configure","params":[["version-rolling","subscribe-extranonce"],{"version-rolling.mask":"ffffffff"}]}`,
		`{"id":4,"method":"mining.extranonce.subscribe","params":[]}`,
		`{"id":"x","method":"mining.submit","params":["bob","6b02867d00000001","00000000","6b02867d","0000025b"]}`,
		`{"id":6,"method":"mining.submit","params":["bob","6b02867d00000002","0000000000","6b02867d","00000001","1fffe000"]}`,
	} {
		f.Add(line, line, true)
		f.Add(line, line, false)
	}
	f.Fuzz(func(t *testing.T, first, second string, room bool) {
		r, a := newProxy(t, nil)
		a.lines[1].difficulty, a.lines[2].shape = dark, source.Shape{Own: 1, Extranonce2: 5}
		a.give(1, false)
		fresh := r.open()
		mining, _ := r.miner("bob")
		place := a.place
		if !room {
			a.place = func(*Newcomer) (uint32, bool) { return 0, false }
		}
		for _, slot := range []netserver.Slot{fresh, mining} {
			r.send(slot, first)
			a.give(2, false)
			r.Move([]Move{{r.session(slot).client, 2}})
			r.send(slot, second)
			for len(a.found) > 0 {
				f := a.found[0]
				a.found = a.found[1:]
				r.group.Verdict(f.Client, f.Share, source.Verdict{State: source.VerdictState(len(a.found) % 4)})
			}
			r.now = r.now.Add(40 * time.Second)
			r.Tick(r.now)
			a.place = place
			r.Tick(r.now)
			r.disconnect(slot)
			r.Tick(r.now)
		}
		if r.backend.attached != 0 || a.opened[1] != 0 || a.opened[2] != 0 {
			t.Fatalf("%d workers still attached, sessions by source %v", r.backend.attached, a.opened)
		}
	})
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
