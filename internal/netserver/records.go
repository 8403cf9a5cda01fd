//go:build linux

package netserver

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ckpool/ckpool/internal/wire"
)

// Versions of the records; older ones are read.
const (
	connectionVersion = 1
	limitsVersion     = 1
)

// What a moved connection is.
const (
	movedOpen  = 1 // known to the handler
	movedGuest = 2 // waiting for its PROXY header or the first byte of TLS
)

// connRecord is what is moved of a connection.
type connRecord struct {
	addr         netip.Addr
	port         uint16
	unauthorized bool
	kind         uint8
	partial      []byte // a line without its end
	backlogged   bool
	backlog      backlogRecord // if backlogged
	guest        guestRecord   // of movedGuest
}

func (k *connRecord) fields(c *wire.Codec) {
	c.Addr(&k.addr)
	wire.Uint(c, &k.port)
	c.Bool(&k.unauthorized)
	wire.Uint(c, &k.kind)
	switch c.Bytes(&k.partial); k.kind {
	case movedOpen:
		if c.Bool(&k.backlogged); k.backlogged {
			c.Record(k.backlog.fields)
		}
	case movedGuest:
		c.Record(k.guest.fields)
	default:
		c.Fail(fmt.Errorf("a connection of kind %d", k.kind))
	}
}

// backlogRecord is what is moved of a backlog.
type backlogRecord struct {
	unsent  []byte
	work    []unit
	stalled time.Duration
}

func (b *backlog) record() backlogRecord {
	b.compact() // so that units count from the first unsent byte
	return backlogRecord{b.buf, b.work, b.stalled}
}

func (k *backlogRecord) fields(c *wire.Codec) {
	c.Bytes(&k.unsent)
	wire.List(c, &k.work, (*unit).fields)
	wire.Int(c, &k.stalled)
	end := 0
	for _, u := range k.work {
		if u.start < end || u.end <= u.start || u.end > len(k.unsent) {
			c.Fail(errors.New("replaceable output is not where it can be"))
		}
		end = u.end
	}
	if k.stalled < 0 {
		c.Fail(errors.New("output is stalled for a negative time"))
	}
}

func (u *unit) fields(c *wire.Codec) {
	wire.Int(c, &u.start)
	wire.Int(c, &u.end)
	wire.Uint(c, &u.tag)
}

// guestRecord is what is moved of a guest.
type guestRecord struct {
	listener uint8 // in the process that writes
	stage    stage
	header   []byte
	waited   time.Duration
}

func (k *guestRecord) fields(c *wire.Codec) {
	wire.Uint(c, &k.listener)
	wire.Uint(c, &k.stage)
	c.Bytes(&k.header)
	wire.Int(c, &k.waited)
}

// limitsRecord is what is moved of a server beside its connections.
type limitsRecord struct {
	accepted, replaced uint64
	drops              []uint64 // by reason
	buckets            []bucketRecord
}

func (k *limitsRecord) fields(c *wire.Codec) {
	wire.Uint(c, &k.accepted)
	wire.Uint(c, &k.replaced)
	c.Words(&k.drops)
	wire.List(c, &k.buckets, (*bucketRecord).fields)
}

type bucketRecord struct {
	key    addrKey
	tokens float64
	age    time.Duration // since it had so many
}

func (k *bucketRecord) fields(c *wire.Codec) {
	wire.Uint(c, &k.key)
	wire.Float(c, &k.tokens)
	wire.Int(c, &k.age)
}
