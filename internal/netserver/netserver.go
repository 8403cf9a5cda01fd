// Package netserver: listeners, epoll loops, limits and slow clients. It moves
// lines and bytes between sockets and a Handler per loop and knows nothing of
// stratum.
//
// One goroutine per loop; a connection belongs to the loop that accepted it,
// for life. Everything a Handler is called with happens on its loop's
// goroutine, so neither side locks. See DESIGN.md and design.md 4, 8.
package netserver

import (
	"context"
	"net/netip"
	"time"
)

// Slot is a connection's dense index in its loop, reused after Closed. Handlers
// keep their state in a slab indexed by it.
type Slot = uint32

// Reason says why a connection ended. Counted, shown in stats.
type Reason uint8

const (
	PeerClosed Reason = iota
	PeerReset
	WriteStalled // backlog not moved for 60 s
	BacklogFull
	LineTooLong
	BadInput // not JSON and the like
	UnauthorizedTimeout
	Idle    // dropidle
	Dropped // operator
	Shutdown
	NoWork      // drop_without_work
	Replaced    // a session resumed elsewhere
	Invalid     // continuous invalid shares
	RateLimited // per-address limits (closed at accept)
	Reasons     // number of reasons
)

// Handler is one loop's protocol. Called on the loop's goroutine only.
type Handler interface {
	// Open: a connection was accepted.
	Open(s Slot, remote netip.AddrPort, listener int)
	// Line: one line without LF (and without a CR before it); valid during the
	// call only.
	Line(s Slot, line []byte)
	// TooLong: the line limit was passed; the loop closes the slot afterwards
	// once what the handler wrote is flushed.
	TooLong(s Slot)
	// Closed: the slot is gone and will be reused.
	Closed(s Slot, why Reason)
	// Flush: end of one iteration, before replies are written.
	Flush()
	// Step does a bounded part of pending background work (a broadcast: about
	// 64 clients) and reports whether more remains. Called after Wake and
	// between zero-timeout waits while it returns true.
	Step() (more bool)
	// Tick: about once a second.
	Tick(now time.Time)
}

// Config of a server. Zero values mean the defaults in brackets.
type Config struct {
	MaxLine      int           // [8192]
	Backlog      int           // bytes of unsent output per client [1 MiB]
	WriteTimeout time.Duration // [60 s]
	MaxClients   int           // [90 % of the descriptor limit]
	Loops        int           // [GOMAXPROCS]
	Event        func(level int, text string)
	// limits per address: decisions.md 21
	ConnectRate, ConnectBurst, MaxUnauthorized, MaxPerAddress int
	LimitExempt                                               []netip.Prefix
}

// Server owns listeners and loops.
type Server struct{}

// Listener is one configured listen address, resolved: every address of it is bound.
type Listener struct {
	URL string // as configured, for createinet
}

func New(c Config, handler func(l *Loop) Handler) (*Server, error) { panic("skeleton") }

// Listen binds every resolved address of url; returns the listener's index.
func (s *Server) Listen(ctx context.Context, url string) (int, error) { panic("skeleton") }

// Run serves until ctx ends, then flushes what is pending for at most 300 ms.
func (s *Server) Run(ctx context.Context) error { panic("skeleton") }

func (s *Server) Loops() []*Loop { panic("skeleton") }

// Pause and Resume accepting.
func (s *Server) Pause()  { panic("skeleton") }
func (s *Server) Resume() { panic("skeleton") }

// Stats: counters by reason etc., from any goroutine.
type Stats struct {
	Clients, Accepted uint64
	Drops             [Reasons]uint64
	BacklogClients    uint64 // clients with unsent bytes
	BacklogBytes      uint64
	ReplacedNotifies  uint64
}

func (s *Server) Stats() Stats { panic("skeleton") }

// Loop is one event loop. Methods are for its own goroutine unless said.
type Loop struct{}

// Post runs fn on the loop's goroutine (any goroutine may call).
func (l *Loop) Post(fn func()) { panic("skeleton") }

// Wake makes the loop call Step soon (any goroutine may call; cheap, coalesced).
func (l *Loop) Wake() { panic("skeleton") }

func (l *Loop) Index() int { panic("skeleton") }

// Now is the time of the present iteration.
func (l *Loop) Now() time.Time { panic("skeleton") }

// Write queues b (copied) for the slot; all writes of one iteration to one slot
// go out together at its end.
func (l *Loop) Write(s Slot, b []byte) { panic("skeleton") }

// WriteWork is Write for replaceable output (set_difficulty and notify): when
// unsent replaceable output of the slot still waits in the backlog, DropWork
// removes it first and returns its tag.
func (l *Loop) WriteWork(s Slot, b []byte, tag uint8) { panic("skeleton") }

// DropWork removes not yet begun replaceable output and returns the OR of its
// tags, 0 when there was none.
func (l *Loop) DropWork(s Slot) (tag uint8) { panic("skeleton") }

// Authorized tells that the slot no longer counts as unauthorised.
func (l *Loop) Authorized(s Slot) { panic("skeleton") }

// Close flushes what can be written at once and closes. Closed is called later
// in the same iteration.
func (l *Loop) Close(s Slot, why Reason) { panic("skeleton") }
