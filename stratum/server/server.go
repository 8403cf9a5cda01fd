//go:build linux

package server

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

// Handler is what a server makes of its clients' requests. A function that is nil does what
// stands in brackets. All are called on the goroutine of the session's loop, and must not block.
type Handler struct {
	// Subscribe gives a miner the extranonce that makes its coinbases its own: no two sessions
	// may have the same at a time. Extranonce2Len is from 1 to 8; an empty SessionID is made up.
	// [Extranonce1 is four bytes that no other session has, Extranonce2Len is 8.]
	Subscribe func(s *Session, r Subscribe) (stratum.Extranonce, *stratum.Reject)

	// Authorize lets a worker mine, or refuses it. A session may have up to 64 workers, with names
	// of up to 256 bytes; one that may mine is not asked about again. [Everybody may mine.]
	Authorize func(s *Session, l Login) *stratum.Reject

	// Submit judges a share of a worker that may mine, whose version bits are among those that
	// were granted. Whether it has that job, whether the hash is good enough (package work
	// computes it) and whether it was sent before is the handler's to find out. The share is
	// valid during the call only. [Each is refused: there is no such job.]
	Submit func(s *Session, share *stratum.Submit) *stratum.Reject

	// Configure grants version bits that a miner may roll, of those it asks for (BIP310), and
	// tells whether its minimum difficulty is granted. [Nothing is granted.]
	Configure func(s *Session, asked *stratum.Configure) (mask uint32, minimum bool)

	// Suggest hears what difficulty a miner would like, see [Session.SetDifficulty]. [It is not
	// looked at.]
	Suggest func(s *Session, difficulty float64)

	// Closed is the last that is heard of a session, and why it has ended, in a few words. It is
	// called for each that another function was called for, and for those that said nothing.
	Closed func(s *Session, why string)
}

// Subscribe is a mining.subscribe.
type Subscribe struct {
	UserAgent string // as the miner calls itself; at most 256 bytes, may be empty
	SessionID string // of a session that the miner wants to go on with; may be empty
}

// Login is a mining.authorize.
type Login struct {
	Worker   string // name
	Password string // may be empty
}

// Work appends the lines that tell a session of work: a mining.notify, see
// [stratum.Notify.Append] and [stratum.NotifyLine]. The difficulty that was set by
// [Session.SetDifficulty], here or before, goes before it by itself. A Work that appends nothing
// has none for the session. It is called on the goroutine of the session's loop.
type Work func(b []byte, s *Session) []byte

// broadcast is work with a number that grows.
type broadcast struct {
	work   Work
	number uint64
}

// Server is a stratum server. Its methods are for any goroutine.
type Server struct {
	// immutable
	handler Handler
	engine  *netserver.Server
	timeout time.Duration // until a worker must be authorized; 0: for ever
	events  event.Func

	over     atomic.Bool   // Run or Close was called
	sessions atomic.Uint64 // ids given
	work     atomic.Pointer[broadcast]
}

// New makes a server, which Run or Close ends.
func New(h Handler, o Options) (*Server, error) {
	s := &Server{handler: h, timeout: o.AuthorizeTimeout, events: o.Events}
	switch {
	case s.timeout == 0:
		s.timeout = authorizeTimeout
	case s.timeout < 0:
		s.timeout = 0
	}
	var err error
	s.engine, err = netserver.New(o.config(), func(l *netserver.Loop) netserver.Handler {
		return &loop{Loop: l, server: s, scratch: make([]byte, 0, 512)}
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Listen begins to listen at all of the endpoints, or at none: the error wraps what the system
// says. Clients are served while the server runs.
func (s *Server) Listen(ctx context.Context, endpoints ...Endpoint) error {
	list := make([]netserver.Endpoint, len(endpoints))
	for i, e := range endpoints {
		list[i] = netserver.Endpoint{URL: e.Address, Certificate: e.Certificate, Proxies: e.Proxies}
	}
	_, err := s.engine.ListenAll(ctx, list)
	return err
}

// Addrs are the addresses that the server listens at, in the order of its endpoints.
func (s *Server) Addrs() (list []netip.AddrPort) {
	for _, l := range s.engine.Listeners() {
		list = append(list, l.Addrs...)
	}
	return list
}

// Run serves until ctx ends, sends what is under way for 300 ms at most, and returns nil when no
// goroutine of the server is left. It is called once. An error is one of the system that no client
// is to blame for.
func (s *Server) Run(ctx context.Context) error {
	if s.over.Swap(true) {
		return errors.New("server: it was run or closed before")
	}
	return s.engine.Run(ctx)
}

// Close gives back what a server has that is not to be run. After Run, or while it runs, it does
// nothing: what ends Run is its context.
func (s *Server) Close() {
	if !s.over.Swap(true) {
		s.engine.Close()
	}
}

// Clients is the number of connections.
func (s *Server) Clients() int { return s.engine.Clients() }

// Broadcast gives all sessions work in place of what they were given before, and those that come
// later too; with nil there is none for these. It returns at once.
func (s *Server) Broadcast(w Work) {
	for {
		last := s.work.Load()
		next := &broadcast{work: w, number: 1}
		if last != nil {
			next.number = last.number + 1
		}
		if s.work.CompareAndSwap(last, next) {
			break
		}
	}
	for _, l := range s.engine.Loops() {
		l.Wake()
	}
}
