package upstream

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum/client"
)

// Versions of the records written here.
const (
	lineVersion     = 1
	groupVersion    = 1
	accountsVersion = 1
)

// lineRecord is a connection as it moves, beside its socket.
type lineRecord struct {
	url, user string // of the pool, as configured
	source    uint32
	told      bool
	force     float64
	began     time.Time
	state     client.State
	newest    *jobRecord // nil: none yet
	names     []nameRecord
	flights   []flight
	ledger    ledgerRecord
}

func (r *lineRecord) fields(c *wire.Codec) {
	c.Text(&r.url)
	c.Text(&r.user)
	wire.Uint(c, &r.source)
	c.Bool(&r.told)
	wire.Amount(c, &r.force)
	timeField(c, &r.began)
	c.Record(func(c *wire.Codec) { stateFields(&r.state, c) })
	has := r.newest != nil
	c.Bool(&has)
	if c.Reading() && has {
		r.newest = new(jobRecord)
	}
	c.Record(func(c *wire.Codec) {
		if r.newest != nil {
			r.newest.fields(c)
		}
	})
	wire.List(c, &r.names, (*nameRecord).fields)
	wire.List(c, &r.flights, (*flight).fields)
	c.Record(r.ledger.fields)
	if c.Reading() && c.Err() == nil {
		if err := r.check(); err != nil {
			c.Fail(err)
		}
	}
}

// check refuses what no connection has.
func (r *lineRecord) check() error {
	if r.source == 0 {
		return fmt.Errorf("a connection to %s without a number", r.url)
	}
	if _, err := layoutOf(r.state.Extranonce.Extranonce2Len); err != nil {
		return err
	}
	if r.newest != nil {
		if _, err := layoutOf(r.newest.notify.Extranonce.Extranonce2Len); err != nil {
			return err
		}
	}
	if r.newest != nil && !(r.newest.announced > 0 && r.newest.difficulty > 0) {
		return fmt.Errorf("a job at difficulty %g and %g", r.newest.announced, r.newest.difficulty)
	}
	return nil
}

// jobRecord is the newest job of a connection.
type jobRecord struct {
	notify                client.Notify
	announced, difficulty float64
}

func (r *jobRecord) fields(c *wire.Codec) {
	n := &r.notify
	c.Text(&n.JobID)
	c.Array(n.PrevHash[:])
	c.Bytes(&n.Coinb1)
	c.Bytes(&n.Coinb2)
	wire.List(c, &n.Branch, func(h *[32]byte, c *wire.Codec) { c.Array(h[:]) })
	wire.Uint(c, &n.Version, &n.Bits, &n.NTime, &n.VersionMask)
	c.Bool(&n.Clean)
	c.Bytes(&n.Extranonce.Extranonce1)
	wire.Int(c, &n.Extranonce.Extranonce2Len)
	wire.Amount(c, &n.Difficulty, &r.announced, &r.difficulty)
}

func stateFields(s *client.State, c *wire.Codec) {
	c.Text(&s.URL)
	c.Text(&s.Extranonce.SessionID)
	c.Bytes(&s.Extranonce.Extranonce1)
	wire.Int(c, &s.Extranonce.Extranonce2Len)
	wire.Amount(c, &s.Difficulty)
	wire.Uint(c, &s.VersionMask)
	wire.Uint(c, &s.LastID)
	c.Bytes(&s.Unread)
	c.Bytes(&s.Unwritten)
}

type nameRecord struct {
	name   string
	agreed bool
}

func (r *nameRecord) fields(c *wire.Codec) {
	c.Text(&r.name)
	c.Bool(&r.agreed)
}

// flight is a share that has gone up and was not answered before its connection moved.
type flight struct {
	id            uint64 // of its message
	finder        source.Finder
	client, share uint64
	credit        float64
	direction     direction
	between       bool
}

func (f *flight) fields(c *wire.Codec) {
	wire.Uint(c, &f.id)
	wire.Word(c, &f.client, &f.share)
	wire.Amount(c, &f.credit)
	wire.Uint(c, &f.direction)
	c.Bool(&f.between)
	if c.Reading() && f.direction > raised {
		c.Fail(fmt.Errorf("a change of difficulty in direction %d", f.direction))
	}
}

// ledgerRecord is a ledger as it moves. Shares that are open are counted by who goes on
// with them.
type ledgerRecord struct {
	began   time.Time
	f       Figures
	rates   [4]difficulty.Average
	fresh   float64
	decayed time.Time
	answers int64
}

func (r *ledgerRecord) fields(c *wire.Codec) {
	timeField(c, &r.began)
	for _, t := range []*Tally{&r.f.RefusedHere, &r.f.NotSent, &r.f.Unsendable, &r.f.Accepted, &r.f.Unanswered, &r.f.Refused} {
		t.fields(c)
	}
	type reason struct {
		text  string
		tally Tally
	}
	var reasons []reason
	for _, text := range slices.Sorted(maps.Keys(r.f.Reasons)) {
		reasons = append(reasons, reason{text, r.f.Reasons[text]})
	}
	wire.List(c, &reasons, func(k *reason, c *wire.Codec) {
		c.Text(&k.text)
		k.tally.fields(c)
	})
	timeField(c, &r.f.LastAccepted)
	wire.Int(c, &r.f.Latency, &r.f.Slowest)
	wire.Amounts(c, r.rates[:])
	wire.Amount(c, &r.fresh)
	timeField(c, &r.decayed)
	wire.Int(c, &r.answers)
	if c.Reading() && len(reasons) > 0 {
		r.f.Reasons = make(map[string]Tally, len(reasons))
		for _, k := range reasons {
			r.f.Reasons[k.text] = k.tally
		}
	}
}

func (t *Tally) fields(c *wire.Codec) {
	wire.Int(c, &t.Shares)
	b, _ := t.Difficulty.AppendBinary(nil) // never fails
	c.Array(b)
	if c.Reading() {
		if err := t.Difficulty.UnmarshalBinary(b); err != nil {
			c.Fail(err)
		}
	}
}

// timeField passes a time, to the nanosecond; the zero time is none.
func timeField(c *wire.Codec, t *time.Time) {
	n := int64(0)
	if !t.IsZero() {
		n = t.UnixNano()
	}
	wire.Int(c, &n)
	if c.Reading() {
		if *t = (time.Time{}); n != 0 {
			*t = time.Unix(0, n)
		}
	}
}

// record is a copy of the ledger.
func (l *ledger) record() ledgerRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := ledgerRecord{began: l.began, f: l.f, rates: l.rates, fresh: l.fresh, decayed: l.decayed, answers: l.answers}
	r.f.Reasons = maps.Clone(l.f.Reasons)
	return r
}

// restore makes the ledger go on from a copy.
func (l *ledger) restore(r *ledgerRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.began, l.f, l.rates, l.fresh, l.decayed, l.answers = r.began, r.f, r.rates, r.fresh, r.decayed, r.answers
	l.f.Open = 0
}

// groupRecord is a group as it moves, without its connections.
type groupRecord struct {
	number uint32 // of the last source
	pools  []poolRecord
}

func (r *groupRecord) fields(c *wire.Codec) {
	wire.Uint(c, &r.number)
	wire.List(c, &r.pools, (*poolRecord).fields)
}

// poolRecord is what is known of a pool.
type poolRecord struct {
	url, user string
	serves    bool // miners belong there
	habits    [2]habit
	ledger    ledgerRecord
}

func (r *poolRecord) fields(c *wire.Codec) {
	c.Text(&r.url)
	c.Text(&r.user)
	c.Bool(&r.serves)
	habitsFields(&r.habits, c)
	c.Record(r.ledger.fields)
}

func habitsFields(h *[2]habit, c *wire.Codec) {
	for i := range h {
		c.Bool(&h[i].known)
		c.Bool(&h[i].lower)
		timeField(c, &h[i].since)
	}
}

// accountsRecord is users who may have accounts of their own.
type accountsRecord struct{ users []userRecord }

func (r *accountsRecord) fields(c *wire.Codec) { wire.List(c, &r.users, (*userRecord).fields) }

// userRecord is a user, and the passwords that were tried at a pool.
type userRecord struct {
	user, url string
	passwords []knownPassword
	ledger    ledgerRecord

	// Of the account that he has there, which older versions make anew.
	has    bool
	using  string    // password
	worked time.Time // since when it has had work
	habits [2]habit
	pool   ledgerRecord
}

func (r *userRecord) fields(c *wire.Codec) {
	c.Text(&r.user)
	c.Text(&r.url)
	wire.List(c, &r.passwords, (*knownPassword).fields)
	c.Record(r.ledger.fields)
	c.Bool(&r.has)
	c.Text(&r.using)
	timeField(c, &r.worked)
	c.Record(func(c *wire.Codec) { habitsFields(&r.habits, c) })
	c.Record(r.pool.fields)
}

func (p *knownPassword) fields(c *wire.Codec) {
	c.Text(&p.text)
	c.Bool(&p.good)
	wire.Int(c, &p.pause)
	timeField(c, &p.again)
	c.Text(&p.refused)
}
