// Package session is one miner's stratum state: subscribe, authorize,
// configure, suggest, submit, and what is sent to the miner and when. One
// Handler per event loop owns the sessions of that loop; it never blocks and
// takes no lock but the registry's. It knows work and shares, but neither
// nodes, files nor users: those are for whoever gives it a Backend.
package session

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// WorkerID is a handle to a worker record of the Backend; 0 is none. One is
// valid while somebody holds the worker, and never names another one later.
type WorkerID uint64

// Work is the newest job of a source, published by one atomic store. Its content never
// changes; lines for miners are rendered on first use. Safe for concurrent use. A
// Work must not be copied.
type Work struct {
	Job *work.Job
	// Tip is the id of the first job of the source on this previous block, or since all
	// before were void; equal Tip = same tip.
	Tip uint64
	// Oldest is the id of the oldest job that Find still knows, of whatever tip.
	// Everything that must outlive jobs (seen shares, earlier difficulties) is
	// kept by it.
	Oldest uint64
	// OldestOfSource is that of the oldest job of the same source.
	OldestOfSource uint64
	// Upstream is what the pool that the job comes from asks of shares of it, nil where
	// that is nobody's but ours.
	Upstream *source.Upstream

	lines atomic.Pointer[[]coinbaseLine] // immutable lists
}

// Source is the number of the source that the work comes from, 0 for the pool's own.
func (w *Work) Source() uint32 {
	if w.Upstream == nil {
		return 0
	}
	return w.Upstream.Source
}

// most is the greatest difficulty that miners may have with the work, 0 without limit:
// what another pool takes no share below.
func (w *Work) most() float64 {
	if w.Upstream == nil {
		return 0
	}
	return w.Upstream.Difficulty
}

// Login is one authorize request.
type Login struct {
	Time             time.Time
	Worker, Password string
	UserAgent        string
	Remote           netip.AddrPort
	Client           uint64
	NewNames         int  // new names this connection has already made
	Further          bool // the connection has a worker already

	// Verdict is what came to the Ticket of this login; nil at first.
	Verdict *Verdict
	Ticket  Ticket
}

// Verdict is what somebody says of a login whom the Backend has asked.
type Verdict struct {
	Answered bool    // false: nobody says anything, the Backend is to decide alone
	Refused  string  // text for the miner; "" that the login is allowed
	Minimum  float64 // least difficulty of the worker, 0 none
}

// Grant is a successful login. The connection holds the worker until Detach.
type Grant struct {
	Worker  WorkerID
	Name    string // full worker name in the Backend's spelling, immutable
	User    *User
	NewName bool    // the login made a name that counts for Login.NewNames
	Message string  // show_message text
	Minimum float64 // least difficulty of the worker, 0 none

	// Undecided is no grant yet: nothing is held, the miner waits for its answer.
	// Login.Ticket gets a Verdict within seconds, with which Authorize decides.
	Undecided bool
}

// User is whom a worker belongs to, one for all connections. Immutable.
type User struct {
	Name   string // text before the first '.' or '_', bech32 in lower case
	Payout []byte // solo: output script; nil in pool mode
}

// Backend is the pool as sessions see it. Its functions and methods are called
// from any loop, never block and do no I/O.
type Backend struct {
	Settings func() *Settings // the present configuration snapshot
	Jobs     Jobs
	Workers  Workers
	Sinks    []Sink  // of every judged submit, in this order
	Witness  Witness // of what else miners do; nil: nobody
	Sources  Sources // where sessions get work; nil: all from source 0
	// Block takes a candidate block (Computed.Block is true). It is called before
	// the sinks and returns at once; submission happens elsewhere.
	Block func(*Share)
	// Notice puts a line into the log; how often for a kind is limited.
	Notice func(kind, text string)
}

// Jobs are those that shares may come for.
type Jobs interface {
	// Work is the newest work of a source, nil before the first and after its end.
	Work(from uint32) *Work
	// Newest is the newest work of any source, nil before the first.
	Newest() *Work
	// Find looks the work of a job up by its id; nil: unknown or aged out.
	Find(id uint64) *Work
	// Renew asks for another job of what a source has at present, for a session that has
	// had the job of an id: ids of the jobs of a session count up.
	Renew(from uint32, after uint64)
}

// Sources says from which source sessions get work, where there are several. Its
// methods are called on loops and return at once.
type Sources interface {
	// Place is the source that a newcomer gets work from; not ok: there is none for it
	// now, and it waits.
	Place(n *Newcomer) (from uint32, ok bool)
	// Opened and Closed tell that a session has begun or ended to get work from a source.
	Opened(from uint32)
	Closed(from uint32)
	// Full tells that a source had no extranonce1 left for a session.
	Full(from uint32)
	// Admits tells that a user's sessions may get work from a source. Of those that Place
	// names for the user they may.
	Admits(from uint32, user string) bool
	// Login tells that a session belongs to a user from now on, until Logout; Return that
	// one does which has come from another process.
	Login(user, password string)
	Return(user string)
	Logout(user string)
}

// Newcomer is a session that has no source, or one whose first login may ask for
// another.
type Newcomer struct {
	Client      uint64
	User        string // "" before the first login
	UserAgent   string
	Rolls       bool   // it rolls versions, or asks for it
	VersionMask uint32 // bits that it may or would roll, if Rolls
	Source      uint32 // that it has, 0 none
}

// Workers are whom shares are credited to.
type Workers interface {
	// Authorize decides a login, at once if it has a Verdict. A refusal is a Reject
	// (code 24).
	Authorize(l *Login) (Grant, *stratum.Reject)
	// Attach counts a connection on a worker it was granted, and on its user.
	Attach(w WorkerID, client uint64, userAgent string, at time.Time)
	// Detach gives a Grant back, once for each, and ends what Attach began.
	Detach(w WorkerID, client uint64, userAgent string)
	// WorkerName is the full name of a worker.
	WorkerName(id WorkerID) string
	// ResumeWorker is the worker of a session that was logged in under that full
	// name in another process.
	ResumeWorker(name string) Grant
}

// Sink takes every judged submit, also one that is no share.
type Sink interface {
	// Share takes one; it copies what it keeps.
	Share(s *Share)
	// Flush ends one iteration of a loop, before replies are written.
	Flush(loop int)
}

// Witness is told what miners do beside shares, on their loops and before they
// hear of it. It copies what it keeps.
type Witness interface {
	// Authorised: a worker may mine. It is the connection's first, or a further one.
	Authorised(m *Event, first bool)
	// Difficulty: the connection has another difficulty, from a job on.
	Difficulty(m *Event, difficulty float64, job uint64)
	// Left: a connection that had a worker has ended.
	Left(m *Event, why string)
}

// Event is who does something, and when.
type Event struct {
	Time      time.Time
	Loop      int
	Client    uint64
	Worker    WorkerID // the first of the connection, where no other is meant
	Remote    netip.AddrPort
	UserAgent string
	Limit     int    // as in Share
	Payout    []byte // likewise
}

// Settings is one immutable snapshot of what sessions need of the
// configuration.
type Settings struct {
	PoolName        string
	Solo            bool
	UserAccounts    bool // users have accounts of their own at other pools
	Extranonce1Len  int  // own bytes, 2..8
	Extranonce2Len  int  // 2..8
	VersionMask     uint32
	UserAgents      []string // prefix whitelist; empty: all
	Listeners       []ListenerSettings
	DropIdle        time.Duration // 0: never
	UnauthTimeout   time.Duration
	DropWithoutWork time.Duration // 0: never
}

// ListenerSettings are the difficulty settings of one listener (index as given
// by netserver).
type ListenerSettings struct {
	URL                         string
	MinDiff, StartDiff, MaxDiff float64 // MaxDiff 0: none
	HighDiff                    float64 // > 0 on a high difficulty listener
}

// Info is one session as control commands show it.
type Info struct {
	ID                                        uint64
	Extranonce1                               string
	Difficulty                                float64
	DSPS1, DSPS5, DSPS60, DSPS1440, DSPS10080 float64
	LastShare, Start                          time.Time
	Address                                   string
	Subscribed, Authorised, Idle              bool
	UserAgent, WorkerName, User               string
	Worker                                    WorkerID
	Listener                                  int
	Best                                      float64
	Job                                       uint64 // id of the one it was sent last, 0 none
	Limit                                     int    // most bytes of a coinbase without witness that it takes

	// Where there are several sources.
	Source          uint32 // that it gets work from, 0 none
	Extranonce2Len  int
	TakesExtranonce bool   // it understands mining.set_extranonce
	Rolls           bool   // it was told that it may roll versions
	VersionMask     uint32 // which bits
	NoRolling       bool   // it asked for that and was told false
}
