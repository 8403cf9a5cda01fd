//go:build linux

package server

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

// loop is the protocol of one event loop, owned by it.
type loop struct {
	*netserver.Loop
	server *Server

	sessions []*Session // by slot; nil: there is none
	spread   *broadcast // what next is about
	next     int        // slot that the broadcast is to look at next
	check    int        // slot whose time is to be looked at next

	handling *Session // whose line is; nil: none
	msg      stratum.Message
	submit   stratum.Submit
	login    string // worker of the authorize that is being handled
	later    *Later // of the request that is being handled
	refusal  stratum.Reject
	out      []byte
	lines    []byte
	scratch  []byte
}

// A step of a broadcast tells so many sessions, and looks at so many slots.
const (
	stepTold = 64
	stepSeen = 1024
)

const (
	maxAgent   = 256 // bytes of a user agent that are kept
	maxWorkers = 64  // of a session
	maxWorker  = 256 // bytes of the name of one
	maxBad     = 10  // unusable lines in a row that end a session

	extranonce2Len = 8 // by default

	toldDifficulty = 1 // tag of work that a difficulty goes before
)

// What clients are told that are refused. Texts are those that miners and their dashboards know.
var (
	tooLong       = &stratum.Reject{Code: stratum.Other, Text: "Line too long, disconnecting"}
	invalidJSON   = &stratum.Reject{Code: stratum.Other, Text: "Invalid JSON, disconnecting"}
	tooManyBad    = &stratum.Reject{Code: stratum.Other, Text: "Too many bad messages, disconnecting"}
	notObject     = &stratum.Reject{Code: stratum.Other, Text: "Not a JSON object"}
	noMethod      = &stratum.Reject{Code: stratum.Other, Text: "Method not found"}
	unknownMethod = &stratum.Reject{Code: stratum.Other, Text: "Unknown method"}
	paramsArray   = &stratum.Reject{Code: stratum.Other, Text: "Params not array"}
	workerName    = &stratum.Reject{Code: stratum.Other, Text: "Invalid workername parameter"}
	manyWorkers   = &stratum.Reject{Code: stratum.Unauthorized, Text: "Too many workers on this connection"}
	invalidParams = &stratum.Reject{Code: stratum.Other, Text: "Invalid params"}
	notSubscribed = &stratum.Reject{Code: stratum.NotSubscribed, Text: "Not subscribed"}
	unauthorized  = &stratum.Reject{Code: stratum.Unauthorized, Text: "Unauthorized worker"}
	noJob         = &stratum.Reject{Code: stratum.JobNotFound, Text: "Invalid JobID"}
	undecided     = &stratum.Reject{Code: stratum.Other, Text: "It is not decided yet"}
	busy          = &stratum.Reject{Code: stratum.Other, Text: "Too many requests wait for an answer"}
	broken        = &stratum.Reject{Code: stratum.Other, Text: "The pool has no usable extranonce"}
)

// Open implements netserver.Handler.
func (l *loop) Open(slot netserver.Slot, remote netip.AddrPort, listener int) {
	for int(slot) >= len(l.sessions) {
		l.sessions = append(l.sessions, nil)
	}
	l.sessions[slot] = &Session{
		loop: l, slot: slot, id: l.server.sessions.Add(1), remote: remote, listener: listener, opened: l.Now(), secure: l.Secure(slot),
	}
}

// Closed implements netserver.Handler.
func (l *loop) Closed(slot netserver.Slot, why netserver.Reason) {
	s := l.sessions[slot]
	l.sessions[slot] = nil
	s.closed = true
	f, text := l.server.handler.Closed, why.String()
	if why == netserver.Dropped {
		text = "closed by the server"
	}
	if f != nil {
		f(s, text)
	}
}

// TooLong implements netserver.Handler.
func (l *loop) TooLong(slot netserver.Slot) { l.answer(l.sessions[slot], nil, tooLong) }

// Flush implements netserver.Handler.
func (l *loop) Flush() {}

// Tick implements netserver.Handler.
func (l *loop) Tick(time.Time) { l.check = 0 }

// Step implements netserver.Handler.
func (l *loop) Step() (more bool) {
	if w := l.server.work.Load(); w != l.spread {
		l.spread, l.next = w, 0
	}
	told, seen := 0, 0
	for ; l.spread != nil && l.next < len(l.sessions) && told < stepTold && seen < stepSeen; l.next++ {
		if s := l.sessions[l.next]; s != nil && s.work != l.spread.number {
			l.sendWork(s)
			told++
		}
		seen++
	}
	for ; l.check < len(l.sessions) && seen < stepSeen; l.check++ {
		if s := l.sessions[l.check]; s != nil && !s.authorized && l.server.timeout > 0 && l.Now().Sub(s.opened) > l.server.timeout {
			l.Close(s.slot, netserver.UnauthorizedTimeout)
		}
		seen++
	}
	return l.spread != nil && l.next < len(l.sessions) || l.check < len(l.sessions)
}

// sendWork tells a session of the newest work, if it has not been told and knows who mines.
func (l *loop) sendWork(s *Session) {
	w := l.server.work.Load()
	if w == nil || w.work == nil || s.closed || s.work == w.number || !s.subscribed || !s.authorized {
		return
	}
	l.lines = w.work(l.lines[:0], s)
	if s.work = w.number; len(l.lines) == 0 {
		return
	}
	if l.DropWork(s.slot)&toldDifficulty != 0 {
		s.told = 0
	}
	tag := uint8(0)
	b := l.out[:0]
	if s.difficulty != s.told {
		b = stratum.AppendSetDifficulty(b, s.difficulty)
		s.told, tag = s.difficulty, toldDifficulty
	}
	l.out = append(b, l.lines...)
	l.WriteWork(s.slot, l.out, tag)
}

// Line implements netserver.Handler.
func (l *loop) Line(slot netserver.Slot, line []byte) {
	s := l.sessions[slot]
	m := &l.msg
	switch stratum.Scan(line, m) {
	case stratum.Empty:
		return
	case stratum.Invalid:
		l.answer(s, nil, invalidJSON)
		l.Close(slot, netserver.BadInput)
		return
	case stratum.Array, stratum.Scalar:
		l.unusable(s, nil, notObject)
		return
	}
	if m.Method == nil {
		if m.MethodPresent || m.Result == nil { // else it is an answer
			l.unusable(s, m.ID, noMethod)
		}
		return
	}
	l.handling = s
	if bad := l.call(s); bad != nil {
		l.unusable(s, m.ID, bad)
	} else {
		s.bad = 0
	}
	if l.handling = nil; s.ending {
		s.Close()
	}
}

// unusable answers a line that is no request, and the tenth in a row with a close.
func (l *loop) unusable(s *Session, id []byte, r *stratum.Reject) {
	l.answer(s, id, r)
	if s.bad++; s.bad >= maxBad {
		l.answer(s, nil, tooManyBad)
		l.Close(s.slot, netserver.BadInput)
	}
}

func (l *loop) answer(s *Session, id []byte, r *stratum.Reject) {
	if r == nil {
		l.out = stratum.AppendTrue(l.out[:0], id)
	} else {
		l.out = stratum.AppendReject(l.out[:0], id, r)
	}
	l.Write(s.slot, l.out)
}

// call handles the request in msg; what it returns tells that the line was unusable and is not
// answered yet.
func (l *loop) call(s *Session) *stratum.Reject {
	m, h := &l.msg, &l.server.handler
	method, arg := stratum.SplitMethod(m.Method)
	switch string(method) {
	case "mining.submit":
		return l.onSubmit(s)
	case "mining.subscribe":
		return l.onSubscribe(s)
	case "mining.authorize", "mining.authorise", "mining.auth", "login":
		return l.onAuthorize(s)
	case "mining.configure":
		return l.onConfigure(s)
	case "mining.suggest_difficulty", "mining.suggest_target": // never answered when usable
		d, ok := stratum.Suggestion(method, m.Params, arg)
		if !ok {
			return invalidParams
		}
		if h.Suggest != nil {
			h.Suggest(s, d)
		}
	case "mining.extranonce.subscribe":
		l.answer(s, m.ID, nil)
	case "mining.ping":
		l.out = stratum.AppendResult(l.out[:0], m.ID, `"pong"`)
		l.Write(s.slot, l.out)
	case "pong", "mining.pong":
	default:
		return unknownMethod
	}
	return nil
}

// text is the next parameter when it is a string, else "".
func (l *loop) text(p *stratum.Params) string {
	raw, _ := p.Next()
	v, _ := stratum.String(raw, l.scratch[:0])
	return string(v)
}

func (l *loop) onSubscribe(s *Session) *stratum.Reject {
	p, ok := stratum.ParseParams(l.msg.Params)
	if !ok {
		return paramsArray
	}
	r := Subscribe{UserAgent: l.text(&p), SessionID: l.text(&p)}
	if len(r.UserAgent) > maxAgent {
		r.UserAgent = strings.Clone(r.UserAgent[:maxAgent])
	}
	if !s.subscribed { // a second one is answered as the first
		e := stratum.Extranonce{Extranonce1: binary.BigEndian.AppendUint32(nil, uint32(s.id)), Extranonce2Len: extranonce2Len}
		var bad *stratum.Reject
		s.agent = r.UserAgent
		if f := l.server.handler.Subscribe; f != nil {
			e, bad = f(s, r)
		}
		if bad == nil && (e.Extranonce2Len < 1 || e.Extranonce2Len > extranonce2Len) {
			l.server.events.Say(event.Error, fmt.Sprintf("Extranonce2Len is %d for %s, want 1 to %d", e.Extranonce2Len, s.remote, extranonce2Len))
			bad = broken
		}
		if bad != nil {
			l.answer(s, l.msg.ID, bad)
			return nil
		}
		if e.SessionID == "" {
			e.SessionID = fmt.Sprintf("%016x", s.id)
		}
		s.extranonce, s.subscribed = e, true
	}
	e := &s.extranonce
	l.out = stratum.AppendSubscribeResult(l.out[:0], l.msg.ID, e.SessionID, hex.EncodeToString(e.Extranonce1), e.Extranonce2Len)
	l.Write(s.slot, l.out)
	l.sendWork(s)
	return nil
}

func (l *loop) onAuthorize(s *Session) *stratum.Reject {
	p, ok := stratum.ParseParams(l.msg.Params)
	if !ok {
		return paramsArray
	}
	name := l.text(&p)
	if name == "" || len(name) > maxWorker {
		return workerName
	}
	switch decided, known := s.workers[name]; {
	case decided:
		l.answer(s, l.msg.ID, nil)
		return nil
	case known: // it is asked twice
		l.answer(s, l.msg.ID, undecided)
		return nil
	case len(s.workers) >= maxWorkers:
		l.answer(s, l.msg.ID, manyWorkers)
		return nil
	}
	var bad *stratum.Reject
	if f := l.server.handler.Authorize; f != nil {
		l.login, l.later = name, nil
		bad = f(s, Login{Worker: name, Password: l.text(&p)})
		l.login = ""
		if l.isLater(s) {
			s.know(name, false)
			return nil
		}
	}
	l.decided(s, l.msg.ID, name, bad)
	return nil
}

// know notes a worker, and whether it may mine.
func (s *Session) know(worker string, may bool) {
	if s.workers == nil {
		s.workers = map[string]bool{}
	}
	s.workers[worker] = may
}

// isLater tells that the request is answered later.
func (l *loop) isLater(s *Session) bool {
	later := l.later
	if l.later = nil; later == nil {
		return false
	}
	s.undecided++
	return true
}

// decided answers an authorize.
func (l *loop) decided(s *Session, id []byte, worker string, bad *stratum.Reject) {
	l.answer(s, id, bad)
	if bad != nil {
		delete(s.workers, worker)
		return
	}
	s.know(worker, true)
	if s.authorized {
		return
	}
	s.authorized = true
	l.Authorized(s.slot)
	if s.configured { // earlier it makes some firmware drop the connection
		l.out = stratum.AppendSetVersionMask(l.out[:0], s.mask)
		l.Write(s.slot, l.out)
	}
	l.sendWork(s)
}

func (l *loop) onConfigure(s *Session) *stratum.Reject {
	var asked stratum.Configure
	if bad := asked.Parse(l.msg.Params); bad != nil {
		return bad
	}
	mask, minimum := uint32(0), false
	if f := l.server.handler.Configure; f != nil {
		mask, minimum = f(s, &asked)
	}
	mask &= asked.VersionMask
	var grants []stratum.Grant
	for _, extension := range asked.Extensions {
		g := stratum.Grant{Extension: extension}
		switch extension {
		case "version-rolling":
			g.Granted, g.VersionMask = mask != 0, mask
			s.mask, s.configured = mask, mask != 0
		case "minimum-difficulty":
			g.Granted = minimum
		}
		grants = append(grants, g)
	}
	l.out = stratum.AppendConfigureResult(l.out[:0], l.msg.ID, grants)
	l.Write(s.slot, l.out)
	return nil
}

func (l *loop) onSubmit(s *Session) *stratum.Reject {
	m, submit := &l.msg, &l.submit
	if !s.subscribed {
		l.answer(s, m.ID, notSubscribed)
		return nil
	}
	if bad := submit.Parse(m.Params, s.extranonce.Extranonce2Len, l.scratch[:0]); bad != nil {
		l.answer(s, m.ID, bad)
		return nil
	}
	bad := noJob
	switch f := l.server.handler.Submit; {
	case !s.workers[string(submit.Worker)]:
		bad = unauthorized
	case submit.HasVersionBits && submit.VersionBits&^s.mask != 0:
		l.refusal = stratum.InvalidVersionMask()
		bad = &l.refusal
	case s.undecided >= maxUndecided:
		bad = busy
	case f != nil:
		l.later = nil
		if bad = f(s, submit); l.isLater(s) {
			return nil
		}
	}
	l.answer(s, m.ID, bad)
	return nil
}
