//go:build linux

package server

import (
	"math"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

// Session is a client. All but Do is for the goroutine of its loop: see the package.
type Session struct {
	// Value is the handler's own.
	Value any

	// immutable
	loop     *loop
	slot     netserver.Slot
	id       uint64
	remote   netip.AddrPort
	listener int
	opened   time.Time
	secure   bool

	// owned by the loop
	agent      string
	extranonce stratum.Extranonce
	mask       uint32
	subscribed bool
	configured bool
	workers    map[string]bool // that may mine; false: it is to be decided
	authorized bool            // there is one of them
	difficulty float64         // to be told, 0: none
	told       float64         // the last
	work       uint64          // number of the last that was told
	bad        int             // unusable lines in a row
	undecided  int             // answers that are to come
	ending     bool            // to be closed when its line is done with
	closed     bool
}

// ID is a number from 1 on that no other session of the server has.
func (s *Session) ID() uint64 { return s.id }

// Remote is where the client is.
func (s *Session) Remote() netip.AddrPort { return s.remote }

// Listener is by which address the client came: an index into the endpoints that were given to
// Listen, of all calls.
func (s *Session) Listener() int { return s.listener }

// Secure reports whether the client speaks TLS.
func (s *Session) Secure() bool { return s.secure }

// UserAgent is how the client called itself when it subscribed.
func (s *Session) UserAgent() string { return s.agent }

// Extranonce is what the client was given when it subscribed; the zero value before that.
func (s *Session) Extranonce() stratum.Extranonce { return s.extranonce }

// VersionMask is the version bits that the client may roll.
func (s *Session) VersionMask() uint32 { return s.mask }

// Difficulty is what the client was last told, 0 before that.
func (s *Session) Difficulty() float64 { return s.told }

// SetDifficulty sets the difficulty that the client is told with the next work, for shares of
// that. It must be positive and finite; others are left out.
func (s *Session) SetDifficulty(d float64) {
	if d > 0 && !math.IsInf(d, 0) {
		s.difficulty = d
	}
}

// Send sends lines, each with its LF. They are copied. It does nothing when the session has ended.
func (s *Session) Send(lines []byte) {
	if !s.closed {
		s.loop.Write(s.slot, lines)
	}
}

// Close ends the session, when what was sent before is on its way, and the answer to the request
// that is being handled.
func (s *Session) Close() {
	switch {
	case s.closed:
	case s.loop.handling == s:
		s.ending = true
	default:
		s.loop.Close(s.slot, netserver.Dropped)
	}
}

// Do runs f on the goroutine of the session's loop, soon, unless the session has ended by then.
// Any goroutine may call.
func (s *Session) Do(f func()) {
	s.loop.Post(func() {
		if !s.closed {
			f()
		}
	})
}

// maxUndecided is how many requests of a session may wait for their answers.
const maxUndecided = 1000

// Later makes the request that is being handled one that Answer answers: what the function
// returns is not looked at. It is for Handler.Authorize and Handler.Submit alone. At most 1000
// shares of a session wait; further ones are refused.
func (s *Session) Later() *Later {
	l := &Later{session: s, id: slices.Clone(s.loop.msg.ID), worker: s.loop.login}
	s.loop.later = l
	return l
}

// Later is a request that is to be answered.
type Later struct {
	// immutable
	session *Session
	id      []byte
	worker  string // that wants to mine; "": it is about a share

	answered atomic.Bool
}

// Answer answers the request: nil is yes. Any goroutine may call, once; a further call, and one after
// the session has ended, does nothing.
func (l *Later) Answer(r *stratum.Reject) {
	if l.answered.Swap(true) {
		return
	}
	s := l.session
	s.Do(func() {
		s.undecided--
		if l.worker != "" {
			s.loop.decided(s, l.id, l.worker, r)
		} else {
			s.loop.answer(s, l.id, r)
		}
	})
}
