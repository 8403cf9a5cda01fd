package session

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
)

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
