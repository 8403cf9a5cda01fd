package session

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
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
	owner   map[uint32]string // who alone may be there
	users   map[string]int    // sessions
	renewed []uint32
	found   []source.Found

	passwords []string
	ended     bool // its connections do not come along to another process
}

// line is one connection: what its pool gives.
type line struct {
	number      uint32
	shape       source.Shape
	pad         int
	difficulty  float64
	mask        uint32
	block       byte
	bits        uint32
	extranonce1 []byte
	dead        bool
}

// newProxy is a rig whose miners have work of other pools. Both lines are there, with
// work, and newcomers go to the first.
func newProxy(t testing.TB, change func(*Settings)) (*rig, *above) {
	r := newRig(t, change)
	a := &above{
		backend: r.backend, rig: r, lines: map[uint32]*line{}, works: map[uint32]*Work{},
		opened: map[uint32]int{}, full: map[uint32]int{}, owner: map[uint32]string{}, users: map[string]int{},
		place: func(n *Newcomer) (uint32, bool) { return max(n.Source, 1), true },
	}
	r.group = NewGroup(NewRegistry(4, 1), 1, func(c uint64, why netserver.Reason) { r.Handler.Drop(c, why, func(int) {}) })
	b := r.backend.asBackend()
	b.Jobs, b.Sources = a, a
	r.Handler = NewHandler((*transport)(r), b, r.group)
	for number := range uint32(2) {
		number++
		a.lines[number] = &line{
			number: number, shape: source.Shape{Own: 2, Extranonce2: 4}, pad: 2, difficulty: 1e-7, mask: 0x1fffe000, bits: 0x1b0404cb,
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
		Version: 0x20000000, PrevHash: [32]byte{byte(number), l.block}, Bits: l.bits, CurTime: uint32(now.Unix()), Branch: [][32]byte{{1}, {2, byte(a.nextJob)}},
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
func (a *above) Admits(from uint32, user string) bool {
	return a.owner[from] == "" || a.owner[from] == user
}
func (a *above) Login(user, password string) {
	a.users[user]++
	a.passwords = append(a.passwords, password)
}
func (a *above) Return(user string) { a.users[user]++ }
func (a *above) Logout(user string) { a.users[user]-- }

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
	if got := difficulty.OfHash(&hash); got != f.Difficulty || got < f.Upstream.Difficulty && !f.Block {
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
	f.Finder.Verdict(f.Client, f.Share, source.Verdict{State: state, Difficulty: f.Upstream.Difficulty, Code: code, Text: text})
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
