package session

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"ckpool/internal/netserver"
	"ckpool/stratum"
	"ckpool/work"
)

// maxAgent is how much of a user agent is kept, in bytes.
const maxAgent = 256

// onSubscribe answers mining.subscribe: params are the user agent and a session
// id to resume, both optional. A second subscribe is answered as the first.
func (h *Handler) onSubscribe(slot netserver.Slot, s *session) *stratum.Reject {
	m := &h.msg
	p, ok := stratum.ParseParams(m.Params)
	if !ok {
		return &rejectParamsArray
	}
	agent := h.nextString(&p)
	resume := h.nextString(&p)
	if len(agent) > maxAgent {
		agent = agent[:maxAgent]
	}
	if !s.is(subscribed) {
		if !h.allowed(agent) {
			h.reject(slot, m.ID, &rejectUserAgent)
			return nil
		}
		if !h.newSession(slot, s, resume) {
			h.reject(slot, m.ID, &rejectFull)
			return nil
		}
		s.agent = h.agents.use(agent, agent)
		s.profile = work.ProfileFor(agent)
		s.flags |= subscribed
	}
	h.write(slot, stratum.AppendSubscribeResult(h.out[:0], m.ID,
		formatID(s.id), hex.EncodeToString(s.extranonce1Bytes()), h.b.Settings().Extranonce2Len))
	if !h.b.Settings().Solo || s.is(authorised) {
		h.sendWork(slot, s)
	}
	return nil
}

// nextString is the next parameter when it is a string, else "".
func (h *Handler) nextString(p *stratum.Params) string {
	raw, ok := p.Next()
	if !ok {
		return ""
	}
	v, ok := stratum.String(raw, h.scratch[:0])
	if !ok {
		return ""
	}
	return string(v)
}

func (h *Handler) allowed(agent string) bool {
	list := h.b.Settings().UserAgents
	for _, prefix := range list {
		if agent != "" && strings.HasPrefix(agent, prefix) {
			return true
		}
	}
	return len(list) == 0
}

// newSession gives the connection a session id and an extranonce1: those of the
// session it resumes, or new ones.
func (h *Handler) newSession(slot netserver.Slot, s *session, resume string) bool {
	var extranonce1 uint64
	found := false
	if id, err := strconv.ParseUint(resume, 16, 64); err == nil && len(resume) == 16 {
		var e entry
		e, found = h.g.registry.resume(id, h.t.Remote(slot).Addr(), h.t.Now())
		if found && s.login != 0 {
			found = h.own(s, id, h.logins.get(s.login).name)
		}
		s.id, extranonce1 = id, e.extranonce1
	}
	if !found {
		var ok bool
		if s.id, extranonce1, ok = h.g.registry.subscribe(s.client, h.loop); !ok {
			s.id = 0
			return false
		}
		s.loops = 1 << (h.loop % 64)
		if s.login != 0 {
			h.own(s, s.id, h.logins.get(s.login).name)
		}
	}
	s.extranonce1Len = uint8(h.b.Settings().Extranonce1Len)
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], extranonce1)
	copy(s.extranonce1[:], b[:s.extranonce1Len])
	return true
}

// formatID prints a session id as its 16 hex digits.
func formatID(id uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], id)
	return hex.EncodeToString(b[:])
}

// forget takes the subscription back: the session belongs to somebody else.
func (h *Handler) forget(s *session) {
	h.agents.release(s.agent)
	s.id, s.agent = 0, 0
	s.flags &^= subscribed
	s.job, s.tip, s.changesLen = 0, 0, 0
}
