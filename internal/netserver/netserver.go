// Package netserver is listeners, epoll loops, limits and slow clients. It
// moves lines and bytes between sockets and one Handler per loop, and knows
// nothing of stratum, of users or of work.
//
// There is one goroutine per loop; a connection belongs to the loop that
// accepted it, for life. Everything a Handler is called with happens on its
// loop's goroutine, so neither side locks. DESIGN.md says why it is built so.
package netserver

import (
	"net/netip"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/latency"
)

// Slot is a connection's dense index in its loop, reused after Closed. Handlers
// keep their state in a slab indexed by it.
type Slot = uint32

// Handler is one loop's protocol. It is called on the loop's goroutine only
// and must not block.
type Handler interface {
	// Open: a connection was accepted on the listener of that index.
	Open(s Slot, remote netip.AddrPort, listener int)
	// Line: one line without LF (and without a CR before it); valid during the
	// call only.
	Line(s Slot, line []byte)
	// TooLong: the line limit was passed; the loop closes the slot afterwards
	// once what the handler wrote is flushed.
	TooLong(s Slot)
	// Closed: the slot is gone and will be reused. Called once for each Open.
	Closed(s Slot, why Reason)
	// Flush: end of one iteration, before replies are written. It may be called
	// more than once in an iteration and with nothing to do.
	Flush()
	// Step does a bounded part of pending background work (a broadcast: about
	// 64 clients) and reports whether more remains. Called after Wake, after Tick and
	// between zero-timeout waits while it returns true.
	Step() (more bool)
	// Tick: about once a second.
	Tick(now time.Time)
}

// Config of a server. Zero values mean the defaults in brackets.
type Config struct {
	MaxLine      int           // bytes of a line with its LF [8192]
	Backlog      int           // bytes of unsent output per client [1 MiB]
	LinkLine     int           // MaxLine of a link [32 MiB]
	LinkBacklog  int           // Backlog of a link [256 MiB]
	WriteTimeout time.Duration // without progress of a client's unsent output [60 s]
	MaxClients   int           // [90 % of Descriptors, which is also the most]
	Descriptors  int           // that this server and what Reserve is for may have [the soft limit of the process]
	Reserve      int           // descriptors that clients leave to the rest of the process, at least
	Loops        int           // [GOMAXPROCS]
	Events       event.Func    // also told by loops

	// Page is the text that a web browser is shown which comes by mistake, on a
	// port with TLS or without [one line].
	Page func(secure bool) string

	// Limits per address, an IPv6 address counting as its /64. Negative means
	// no limit. A connection over a limit is closed at once and counted as
	// RateLimited.
	ConnectRate     int // new connections per second [1000]
	ConnectBurst    int // of them at once [10 × ConnectRate]
	MaxUnauthorized int // connections not yet told by Authorized [2000]
	MaxPerAddress   int // open connections [no limit]

	// LimitExempt are the addresses without limits. nil means loopback, private
	// and link-local ones; an empty slice means none.
	LimitExempt []netip.Prefix
}

// Stats are the counters of a server.
type Stats struct {
	Clients, Accepted uint64
	Entering          uint64 // connections with PROXY header or TLS handshake not complete
	Drops             [Reasons]uint64
	BacklogClients    uint64 // clients with unsent bytes
	BacklogBytes      uint64
	ReplacedNotifies  uint64 // units removed by DropWork

	// How long it took from the arrival of a share to its answer, and from work on a
	// new tip to each client that was told of it, until the kernel had it.
	Answers, Notifies latency.Counts
	Tip               time.Time     // since when there is work on the newest tip; zero: nobody was told of any
	LastNotified      time.Duration // how long it took to the last client
}
