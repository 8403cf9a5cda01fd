package relay

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/ckpool/ckpool/stratum"
)

const (
	// pastMost is how much of what a miner has said is kept for a pool that it goes on
	// with, in bytes; one who says more has to connect again.
	pastMost = 2 << 10
	// flightsMost is how many requests without an answer are kept, likewise, and
	// flightBytesMost how many bytes of them.
	flightsMost     = 64
	flightBytesMost = 16 << 10
)

// past is what a pool must know of a miner to go on with it, and what the miner still
// waits for. Owned by the miner's loop.
type past struct {
	requests []request // of its beginning, in order
	size     int       // of them; pastMost and more: they are not all there
	flights  []flight  // in order
	flying   int       // bytes of their lines

	extranonce stratum.Extranonce // that the pool has given
	agent      string
	configured []byte // raw result of its configuration

	replies int  // that are still to come of a resumption; 0: none is under way
	silent  bool // nothing comes for the miner until the pool has agreed to its session

	authorised, redirected bool
	begun                  bool // it was brought something of a pool

	checks *checks // nil: all shares go up
}

// request is one of the beginning, raw.
type request struct{ method, params []byte }

// append writes the request, under an id, as it was said.
func (r *request) append(b, id []byte) []byte {
	b = fmt.Appendf(b, `{"id":%s,"method":"%s"`, id, r.method)
	if len(r.params) > 0 { // some need none
		b = append(append(b, `,"params":`...), r.params...)
	}
	return append(b, "}\n"...)
}

// noID is that of what has no answer.
var noID = []byte("null")

// flight is a request that has no answer yet.
type flight struct {
	id, line []byte
	kind     requestKind
	print    uint64 // of a share, 0 not known; not moved
}

type requestKind uint8

const (
	otherRequest requestKind = iota
	subscribing
	configuring
	authorising
	submitting
	suggesting // has no answer
	extending
)

func kindOf(method []byte) requestKind {
	switch string(method) {
	case "mining.subscribe":
		return subscribing
	case "mining.configure":
		return configuring
	case "mining.authorize", "mining.authorise", "mining.auth", "login":
		return authorising
	case "mining.submit":
		return submitting
	case "mining.suggest_difficulty", "mining.suggest_target":
		return suggesting
	case "mining.extranonce.subscribe":
		return extending
	}
	return otherRequest
}

// said notes a line of the miner.
func (p *past) said(m *stratum.Message, line []byte) {
	if m.Method == nil {
		return
	}
	method, arg := stratum.SplitMethod(m.Method)
	kind := kindOf(method)
	switch kind {
	case otherRequest, submitting:
	case suggesting, extending, subscribing: // the last one counts
		if p.resuming() && p.replaced(kind, method, m.Params, arg == nil) {
			break
		}
		p.requests = slices.DeleteFunc(p.requests, func(r request) bool {
			same := kindOf(r.method) == kind
			if same && p.size < pastMost {
				p.size -= len(r.method) + len(r.params)
			}
			return same
		})
		fallthrough
	default:
		if p.size += len(method) + len(m.Params); p.size < pastMost && arg == nil {
			p.requests = append(p.requests, request{bytes.Clone(method), bytes.Clone(m.Params)})
		} else {
			p.size = pastMost // for good
		}
	}
	if kind == authorising && p.checks != nil {
		p.checks.worker = "" // until there is an answer
	}
	if kind == subscribing {
		params, _ := stratum.ParseParams(m.Params)
		raw, _ := params.Next()
		agent, _ := stratum.String(raw, nil)
		p.agent = string(agent)
	}
	if kind == suggesting || m.ID == nil || string(m.ID) == "null" {
		return
	}
	for p.flying += len(line); len(p.flights) >= flightsMost || p.flying > flightBytesMost && len(p.flights) > 0; {
		p.landed(0)
		p.size = pastMost
	}
	n := len(p.flights)
	if n < cap(p.flights) { // with the room of one that has landed
		p.flights = p.flights[:n+1]
	} else {
		p.flights = append(p.flights, flight{})
	}
	f := &p.flights[n]
	f.id, f.line, f.kind, f.print = append(f.id[:0], m.ID...), append(f.line[:0], line...), kind, 0
}

// replaced puts a request in the place of the one of its kind, if there is one: what it stands
// for in the answers to a resumption is its place. One that is not whole cannot be said again.
func (p *past) replaced(kind requestKind, method, params []byte, whole bool) bool {
	i := slices.IndexFunc(p.requests, func(r request) bool { return kindOf(r.method) == kind })
	if i < 0 {
		return false
	}
	r := &p.requests[i]
	if size := p.size + len(method) + len(params) - len(r.method) - len(r.params); !whole || p.size >= pastMost || size >= pastMost {
		p.size = pastMost // for good
	} else {
		p.size, *r = size, request{bytes.Clone(method), bytes.Clone(params)}
	}
	return true
}

// roomKept is how many flights keep their room for the next ones.
const roomKept = 4

// landed forgets a flight.
func (p *past) landed(i int) {
	f, last := p.flights[i], len(p.flights)-1
	p.flying -= len(f.line)
	copy(p.flights[i:], p.flights[i+1:])
	p.flights[last] = f
	if p.flights = p.flights[:last]; last == 0 && cap(p.flights) > roomKept {
		p.flights = nil
	}
}

// user is whom the miner has last said to be, "" nobody.
func (p *past) user() string {
	for _, r := range slices.Backward(p.requests) {
		if kindOf(r.method) == authorising {
			params, _ := stratum.ParseParams(r.params)
			raw, _ := params.Next()
			name, _ := stratum.String(raw, nil)
			return string(name)
		}
	}
	return ""
}

// resumable tells that a pool which knows the session can go on with the miner, without
// its noticing.
func (p *past) resumable() bool {
	return p.size < pastMost && p.authorised && p.extranonce.SessionID != "" &&
		!slices.ContainsFunc(p.flights, func(f flight) bool {
			return f.kind != submitting && f.kind != otherRequest
		})
}

// resume writes what is to be said to such a pool.
func (p *past) resume(b []byte) []byte {
	p.replies, p.silent = 0, true
	for i, r := range p.requests {
		id := fmt.Appendf(nil, resumeID+`%d"`, i)
		switch kindOf(r.method) {
		case subscribing:
			b = stratum.AppendSubscribe(b, id, p.agent, p.extranonce.SessionID)
		case suggesting:
			b = r.append(b, noID)
			continue
		default:
			b = r.append(b, id)
		}
		p.replies++
	}
	return b
}

// begins tells that any pool can begin with the miner, who has heard of none yet.
func (p *past) begins() bool { return !p.begun && p.size < pastMost }

// begin writes what the miner has said, for such a pool.
func (p *past) begin(b []byte) []byte {
	for i := range p.flights {
		b = append(append(b, p.flights[i].line...), '\n')
	}
	for _, r := range p.requests {
		if kindOf(r.method) == suggesting {
			b = r.append(b, noID)
		}
	}
	return b
}

// resuming tells that the pool has not yet agreed to go on.
func (p *past) resuming() bool { return p.replies > 0 }

// outcome is what is to be done with a line of a pool.
type outcome uint8

const (
	forMiner outcome = iota
	forNobody
	resumed    // it was the last word of a resumption: flights can go up again
	notResumed // the miner has to connect again
)

// heard notes a line of the pool. kind is that of the request that it answers, and
// accepted whether it says true.
func (p *past) heard(m *stratum.Message) (what outcome, kind requestKind, accepted bool) {
	if m.Method != nil {
		if string(m.Method) == "mining.set_extranonce" {
			p.size = pastMost // its session is not enough any more
		}
		if p.silent {
			return forNobody, 0, false
		}
		return forMiner, 0, false
	}
	accepted = string(m.Result) == "true" && !m.HasError()
	if n, ours := ourID(m.ID); ours {
		return p.agreed(n, m, accepted), 0, accepted
	}
	i := slices.IndexFunc(p.flights, func(f flight) bool { return bytes.Equal(f.id, m.ID) })
	if i < 0 {
		return forMiner, 0, accepted
	}
	kind = p.flights[i].kind
	if p.checks != nil {
		if p.checks.accepted = 0; accepted && kind == submitting {
			p.checks.accepted = p.flights[i].print
		}
	}
	p.landed(i)
	switch kind {
	case subscribing:
		p.extranonce, _ = stratum.ParseSubscribeResult(m.Result)
	case configuring:
		p.configured = bytes.Clone(m.Result)
	case authorising:
		p.authorised = p.authorised || accepted
	}
	return forMiner, kind, accepted
}

// agreed handles the answer to one of our own requests.
func (p *past) agreed(n int, m *stratum.Message, accepted bool) outcome {
	if n >= len(p.requests) || p.replies == 0 {
		return forNobody
	}
	switch kindOf(p.requests[n].method) {
	case subscribing:
		x, err := stratum.ParseSubscribeResult(m.Result)
		if err != nil || !bytes.Equal(x.Extranonce1, p.extranonce.Extranonce1) || x.Extranonce2Len != p.extranonce.Extranonce2Len {
			p.replies = 0
			return notResumed
		}
		p.extranonce, p.silent = x, false
	case configuring:
		if !bytes.Equal(m.Result, p.configured) {
			p.replies = 0
			return notResumed
		}
	case authorising:
		if !accepted {
			p.replies = 0
			return notResumed
		}
	}
	if p.replies--; p.replies == 0 {
		return resumed
	}
	return forNobody
}
