package session

import (
	"errors"
	"fmt"
	"math"

	"ckpool/internal/wire"
)

// Versions of the records; older ones are read.
const (
	sessionVersion  = 1
	registryVersion = 1
	seenVersion     = 1
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
	case k.is(subscribed) && (k.id == 0 || k.extranonce1Len == 0), k.owned && k.id == 0:
		return errors.New("a subscription without id or extranonce1")
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
}

func (e *entryRecord) fields(c *wire.Codec) {
	wire.Word(c, &e.extranonce1, &e.name, &e.loops, &e.job)
	wire.Uint(c, &e.suffix)
	wire.List(c, (*[]change)(&e.difficulties), (*change).fields)
}

// registryRecord is what is moved of a registry beside the open sessions.
type registryRecord struct {
	clients uint64
	length  uint8
	next    uint64
	closed  []closedRecord
}

type closedRecord struct {
	id uint64
	entryRecord
}

func (k *registryRecord) fields(c *wire.Codec) {
	wire.Uint(c, &k.clients)
	wire.Uint(c, &k.length)
	wire.Word(c, &k.next)
	wire.List(c, &k.closed, (*closedRecord).fields)
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
