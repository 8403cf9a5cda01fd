package session

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/source"
)

// Versions of the records; older ones are read.
const (
	sessionVersion  = 1
	registryVersion = 1
	seenVersion     = 1
	leftVersion     = 1
)

// record is what is moved of a session.
type record struct {
	*session
	also    flags // that the session has once it is moved
	earlier earlier
	owned   bool
	own     entryRecord // if owned
	agent   string
	held    []byte
	logins  []loginRecord

	// Of a session that gets work from one of several sources.
	former   []former
	unjudged []unjudgedRecord
}

// fields has those of a kind together: the pool stands still for as long as its
// sessions take to write and read, and one call is faster than several.
func (k *record) fields(c *wire.Codec) {
	wire.Word(c, &k.client, &k.id, &k.loops, &k.job, &k.tip)
	later, limit := uint32(k.later), uint32(k.limit)
	wire.Uint(c, &k.mask, &k.sentMask, &k.oldMask, &later, &k.accepted, &k.rejected, &limit)
	if c.Reading() {
		k.later, k.limit = uint16(min(later, math.MaxUint16)), uint16(min(limit, math.MaxUint16))
	}
	moved := uint16(k.flags&^notMoved | k.also)
	if wire.Uint(c, &k.newNames, &moved); c.Reading() {
		k.flags = flags(moved) &^ notMoved
	}
	wire.Uint(c, &k.badLines, &k.listener, &k.invalid)
	wire.Amount(c, &k.start, &k.lastShare, &k.lastSent, &k.firstInvalid, &k.lastChange, &k.maskUntil, &k.lastList)
	wire.Amount(c, &k.want, &k.floor, &k.best, &k.rates.last)
	wire.Amount(c, &k.rates.amount)
	wire.Amounts(c, k.rates.average[:])
	extranonce1 := k.extranonce1Bytes()
	if c.Bytes(&extranonce1); len(extranonce1) > len(k.extranonce1) {
		c.Fail(fmt.Errorf("extranonce1 of %d bytes", len(extranonce1)))
	}
	if c.Reading() {
		k.extranonce1Len = uint8(copy(k.extranonce1[:], extranonce1))
	}
	k.measurement(c)
	sent := k.sent() != 0
	if c.Bool(&sent); sent {
		c.Record(k.present.fields)
	}
	wire.List(c, (*[]change)(&k.earlier), (*change).fields)
	if c.Bool(&k.owned); k.owned {
		c.Record(k.own.fields)
	}
	c.Text(&k.agent)
	c.Bytes(&k.held)
	wire.List(c, &k.logins, (*loginRecord).fields)
	c.Record(k.sourceFields)
}

// sourceFields are those of a session that gets work from one of several sources; of
// others there are none.
func (k *record) sourceFields(c *wire.Codec) {
	if !c.Reading() && k.source == 0 {
		return
	}
	wire.Uint(c, &k.session.source)
	wire.Uint(c, &k.extranonce2Len)
	wire.List(c, &k.former, (*former).fields)
	wire.List(c, &k.unjudged, (*unjudgedRecord).fields)
}

func (f *former) fields(c *wire.Codec) {
	wire.Uint(c, &f.source)
	f.extranonce1.fields(c)
	wire.Uint(c, &f.extranonce2Len)
	wire.Word(c, &f.job)
}

func (e *Extranonce) fields(c *wire.Codec) {
	b := e.Bytes()
	if c.Bytes(&b); c.Reading() {
		if len(b) > len(e.bytes) {
			c.Fail(fmt.Errorf("an extranonce of %d bytes", len(b)))
		}
		*e = MakeExtranonce(b)
	}
}

// unjudgedRecord is what is moved of a share that another pool has still to judge: what
// it is computed from again, and what is known of it.
type unjudgedRecord struct {
	number                   uint64
	since                    moment
	id                       []byte // of the message
	worker                   string // as the miner spelt it
	job                      uint64
	time                     int64 // unix nanoseconds
	extranonce1, extranonce2 Extranonce
	mask                     uint32
	variant                  uint8
	ntime, nonce, version    uint32
	difficulty               float64
	stale                    bool
	decided                  bool // there is a verdict, which the miner has not heard
	verdict                  source.Verdict
}

func (k *unjudgedRecord) fields(c *wire.Codec) {
	wire.Word(c, &k.number, &k.job)
	wire.Amount(c, &k.since)
	c.Bytes(&k.id)
	c.Text(&k.worker)
	wire.Int(c, &k.time)
	k.extranonce1.fields(c)
	k.extranonce2.fields(c)
	wire.Uint(c, &k.mask, &k.ntime, &k.nonce, &k.version)
	wire.Uint(c, &k.variant)
	wire.Amount(c, &k.difficulty)
	c.Bool(&k.stale)
	c.Bool(&k.decided)
	wire.Uint(c, &k.verdict.State)
	wire.Int(c, &k.verdict.Code)
	c.Text(&k.verdict.Text)
	wire.Amount(c, &k.verdict.Difficulty)
}

// measurement is the vardiff's own record.
func (k *record) measurement(c *wire.Codec) {
	var room [64]byte
	var measured []byte
	if !c.Reading() {
		measured, _ = k.vardiff.AppendBinary(room[:0]) // never fails
	}
	c.Bytes(&measured)
	if c.Reading() {
		if err := k.vardiff.UnmarshalBinary(measured); err != nil {
			c.Fail(err)
		}
	}
}

// check refuses what this program would stumble over.
func (k *record) check() error {
	switch {
	case k.client == 0:
		return errors.New("no client id")
	case k.is(subscribed) && (k.id == 0 || k.extranonce1Len == 0 && k.source == 0), k.owned && k.id == 0:
		return errors.New("a subscription without id or extranonce1")
	case k.extranonce2Len > 8 || slices.ContainsFunc(k.former, func(f former) bool { return f.extranonce2Len > 8 }):
		return errors.New("an extranonce2 of more than 8 bytes")
	case k.is(authorised) && len(k.logins) == 0:
		return errors.New("an authorisation without worker")
	case len(k.held) > 0 && k.held[len(k.held)-1] != '\n':
		return errors.New("held lines without end")
	}
	return nil
}

type loginRecord struct {
	name, worker string
	minimum      float64 // least difficulty, 0 none
}

func (l *loginRecord) fields(c *wire.Codec) {
	if c.Text(&l.name); c.Reading() {
		l.worker = l.name // most often
	}
	if c.Text(&l.worker); l.name == "" || l.worker == "" {
		c.Fail(errors.New("a worker without name"))
	}
	wire.Amount(c, &l.minimum)
}

func (v *change) fields(c *wire.Codec) {
	wire.Amount(c, &v.difficulty)
	wire.Amount(c, &v.at)
	wire.Word(c, &v.job)
	if wire.Uint(c, &v.suffix); v.difficulty == 0 {
		c.Fail(errors.New("a difficulty of 0"))
	}
}

// entryRecord is what is moved of an entry, open or closed.
type entryRecord struct {
	entry
	difficulties earlier // the present one last
	reported     uint64  // number of the last report on its shares, 0 none
}

func (e *entryRecord) fields(c *wire.Codec) {
	wire.Word(c, &e.extranonce1, &e.name, &e.loops, &e.job)
	wire.Uint(c, &e.suffix)
	wire.List(c, (*[]change)(&e.difficulties), (*change).fields)
	c.Record(func(c *wire.Codec) {
		if c.Reading() || e.reported != 0 { // few have any
			wire.Word(c, &e.reported)
		}
	})
}

// registryRecord is what is moved of a registry beside the open sessions.
type registryRecord struct {
	clients uint64
	length  uint8
	next    uint64 // where programs before that choose at random go on
	closed  []closedRecord

	// Where there are several sources.
	hint   uint64
	spaces []spaceRecord
}

// spaceRecord is what is moved of a space beside what open sessions have of it.
type spaceRecord struct {
	source uint32
	own    uint8
	rest   []restingRecord // in the order in which they rest
}

type restingRecord struct{ number, session, until uint64 }

func (k *spaceRecord) fields(c *wire.Codec) {
	wire.Uint(c, &k.source)
	if wire.Uint(c, &k.own); k.own > 8 || k.source == 0 {
		c.Fail(fmt.Errorf("extranonce1 of %d bytes at source %d", k.own, k.source))
	}
	wire.List(c, &k.rest, (*restingRecord).fields)
}

func (k *restingRecord) fields(c *wire.Codec) { wire.Word(c, &k.number, &k.session, &k.until) }

type closedRecord struct {
	id uint64
	entryRecord
}

func (k *registryRecord) fields(c *wire.Codec) {
	wire.Uint(c, &k.clients)
	wire.Uint(c, &k.length)
	wire.Word(c, &k.next)
	wire.List(c, &k.closed, (*closedRecord).fields)
	c.Record(k.sourceFields)
}

// sourceFields are those of a registry of several sources; of others there are none.
func (k *registryRecord) sourceFields(c *wire.Codec) {
	if !c.Reading() && len(k.spaces) == 0 {
		return
	}
	wire.Word(c, &k.hint)
	wire.List(c, &k.spaces, (*spaceRecord).fields)
}

func (k *closedRecord) fields(c *wire.Codec) {
	wire.Word(c, &k.id)
	wire.Uint(c, &k.until)
	if c.Record(k.entryRecord.fields); k.id == 0 || k.until == 0 {
		c.Fail(errors.New("a closed session without id or time"))
	}
}

// seenRecord is a part of the changes of a loop's set.
type seenRecord struct {
	loop    uint16
	changes []uint64
}

func (k *seenRecord) fields(c *wire.Codec) {
	wire.Uint(c, &k.loop)
	c.Words(&k.changes)
}
