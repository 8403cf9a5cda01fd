package session

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// maxAgent is how much of a user agent is kept, in bytes.
const maxAgent = 256

// onSubscribe answers mining.subscribe: params are the user agent and a session
// id to resume, both optional. A second subscribe is answered as the first.
func (q request) onSubscribe() *stratum.Reject {
	m := &q.msg
	p, ok := stratum.ParseParams(m.Params)
	if !ok {
		return &rejectParamsArray
	}
	agent := q.nextString(&p)
	resume := q.nextString(&p)
	if len(agent) > maxAgent {
		agent = strings.Clone(agent[:maxAgent]) // without the rest
	}
	if !q.s.is(subscribed) {
		if !q.allowed(agent) {
			q.reject(m.ID, &rejectUserAgent)
			q.g.Log.notSubscribed(q.client, agent, &rejectUserAgent)
			return nil
		}
		if q.b.Sources != nil {
			if !q.enter(agent, resume) {
				if !q.waits() {
					q.reject(m.ID, &rejectNoPlace)
					q.g.Log.notSubscribed(q.client, agent, &rejectNoPlace)
				}
				return nil
			}
			q.s.loops = 1 << (q.loop % 64)
			if q.s.login != 0 {
				q.own(q.s.id, q.logins.get(q.s.login).name)
			}
		} else if !q.newSession(resume) {
			q.reject(m.ID, &rejectFull)
			q.g.Log.notSubscribed(q.client, agent, &rejectFull)
			return nil
		}
		if agent != "" {
			q.s.agent = q.agents.use(agent, agent)
		}
		q.s.limit = uint16(work.CoinbaseLimit(agent))
		q.s.flags |= subscribed
	}
	q.write(stratum.AppendSubscribeResult(q.out[:0], m.ID,
		formatID(q.s.id), hex.EncodeToString(q.s.extranonce1Bytes()), q.extranonce2Len()))
	if !q.b.Settings().Solo || q.s.is(authorised) {
		q.sendWork()
	}
	return nil
}

// nextString is the next parameter when it is a string, else "".
func (q request) nextString(p *stratum.Params) string {
	raw, ok := p.Next()
	if !ok {
		return ""
	}
	v, ok := stratum.String(raw, q.scratch[:0])
	if !ok {
		return ""
	}
	return string(v)
}

func (q request) allowed(agent string) bool {
	list := q.b.Settings().UserAgents
	for _, prefix := range list {
		if agent != "" && strings.HasPrefix(agent, prefix) {
			return true
		}
	}
	return len(list) == 0
}

// newSession gives the connection a session id and an extranonce1: those of the
// session it resumes, or new ones.
func (q request) newSession(resume string) bool {
	var extranonce1 uint64
	found := false
	if id, ok := parseID(resume); ok {
		var e entry
		e, found = q.g.registry.resume(id, q.presentJob(), q.t.Now())
		if found && q.s.login != 0 {
			found = q.own(id, q.logins.get(q.s.login).name)
		}
		q.s.id, extranonce1 = id, e.extranonce1
	}
	if found {
		q.s.flags |= resumed
	} else {
		var ok bool
		if q.s.id, extranonce1, ok = q.g.registry.subscribe(q.s.client, q.loop); !ok {
			q.s.id = 0
			return false
		}
		q.s.loops = 1 << (q.loop % 64)
		if q.s.login != 0 {
			q.own(q.s.id, q.logins.get(q.s.login).name)
		}
	}
	q.s.extranonce1Len = uint8(q.b.Settings().Extranonce1Len)
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], extranonce1)
	copy(q.s.extranonce1[:], b[:q.s.extranonce1Len])
	return true
}

// presentJob is the id of the newest job, 0 before the first.
func (c client) presentJob() uint64 {
	if w := c.work(); w != nil {
		return w.Job.ID
	}
	return 0
}

func parseID(text string) (id uint64, ok bool) {
	if len(text) != 16 {
		return 0, false
	}
	id, err := strconv.ParseUint(text, 16, 64)
	return id, err == nil
}

// formatID prints a session id as its 16 hex digits.
func formatID(id uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], id)
	return hex.EncodeToString(b[:])
}

// forget takes the subscription back: the session belongs to somebody else.
func (c client) forget() {
	if c.s.source != 0 {
		c.g.registry.release(c.s.id, c.s.client, false, c.t.Now())
		c.b.Sources.Closed(c.s.source)
		c.s.source = 0
		delete(c.moves, c.slot)
	}
	c.agents.release(c.s.agent)
	c.s.id, c.s.agent = 0, 0
	c.s.flags &^= subscribed | resumed
	c.s.job, c.s.tip, c.s.present = 0, 0, change{}
	c.forgetEarlier()
}
