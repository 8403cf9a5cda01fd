// Package session is one miner's stratum state: subscribe, authorize,
// configure, suggest, submit, and what is sent to the miner and when. One
// Handler per event loop owns the sessions of that loop; it never blocks and
// takes no lock but the registry's. It knows work and shares, but neither
// nodes, files nor users: those are the Backend's.
package session

import (
	"net/netip"
	"sync/atomic"
	"time"

	"ckpool/stratum"
	"ckpool/work"
)

// WorkerID is a handle to a worker record of the Backend; 0 is none. One is
// valid while somebody holds the worker, and never names another one later.
type WorkerID uint64

// Work is the newest job, published by one atomic store. Its content never
// changes; lines for miners are rendered on first use. Safe for concurrent use. A
// Work must not be copied.
type Work struct {
	Job *work.Job
	Tip uint64 // id of the first job on this previous block; equal Tip = same tip
	// Oldest is the id of the oldest job that Find still knows, of whatever tip.
	// Everything that must outlive jobs (seen shares, earlier difficulties) is
	// kept by it.
	Oldest uint64

	lines atomic.Pointer[[]coinbaseLine] // immutable lists
}

// Found is a job found by id.
type Found struct {
	Job *work.Job
	Tip uint64 // as in Work
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
}

// Grant is a successful login. The connection holds the worker until Detach.
type Grant struct {
	Worker  WorkerID
	Name    string // full worker name in the Backend's spelling, immutable
	User    *User
	NewName bool   // the login made a name that counts for Login.NewNames
	Message string // show_message text
}

// User is whom a worker belongs to, one for all connections. Immutable.
type User struct {
	Name   string // text before the first '.' or '_', bech32 in lower case
	Payout []byte // solo: output script; nil in pool mode
}

// Share is one judged submit, passed by pointer and reused by the loop: the
// Backend copies what it keeps. Of a submit that cannot be read, or whose sender
// is not known, Submit may be incomplete and Worker is that of the connection, or
// 0.
type Share struct {
	Time       time.Time
	Loop       int
	Client     uint64
	Worker     WorkerID
	Job        *work.Job // nil: unknown job id
	Current    *work.Job // the newest job at that time
	Submit     *stratum.Submit
	Computed   *work.Share // nil when no hash was computed
	Miner      work.Miner
	Solution   work.Solution // where Computed is there
	Mask       uint32        // version bits this session may roll
	Difficulty float64       // what the share was judged by
	Credit     float64       // 0 when rejected, or accepted below its job's difficulty
	Reason     Reason
	Format     *stratum.Reject // of a Malformed submit: what is wrong with it
	Remote     netip.AddrPort
	Listener   int
	UserAgent  string
}

// Best is what a share improved.
type Best uint8

const (
	BestNone   Best = iota
	BestWorker      // the worker's best of the round
	BestUser        // the user's best of the round
	BestWorkerEver
	BestUserEver
)

// Backend is the pool as sessions see it. Methods are called from any loop,
// never block and do no I/O.
type Backend interface {
	// Settings is the present configuration snapshot.
	Settings() *Settings
	// Work is the newest work, nil before the first template.
	Work() *Work
	// Find looks a job up by id; nil Job: unknown or aged out.
	Find(id uint64) Found
	// Authorize decides a login. A refusal is a Reject (code 24).
	Authorize(l *Login) (Grant, *stratum.Reject)
	// Attach counts a connection on a worker it was granted, and on its user.
	Attach(w WorkerID, client uint64, userAgent string, at time.Time)
	// Detach gives a Grant back, once for each, and ends what Attach began.
	Detach(w WorkerID, client uint64, userAgent string)
	// Share accounts one judged submit, also one that is no share.
	Share(s *Share) Best
	// Block takes a candidate block (Computed.Block is true). It is called
	// before Share and returns at once; submission happens elsewhere.
	Block(s *Share)
	// Flush ends one loop iteration, before replies are written (journal,
	// share log).
	Flush(loop int)
	// Notice puts a line into the log; the Backend limits how often for a kind.
	Notice(kind, text string)
}

// Settings is one immutable snapshot of what sessions need of the
// configuration.
type Settings struct {
	PoolName        string
	Solo            bool
	Extranonce1Len  int // own bytes, 2..8
	Extranonce2Len  int // 2..8
	VersionMask     uint32
	UserAgents      []string // prefix whitelist; empty: all
	Listeners       []ListenerSettings
	DropIdle        time.Duration // 0: never
	UnauthTimeout   time.Duration // 60 s
	DropWithoutWork time.Duration // 300 s, 0: never
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
	UserAgent, WorkerName                     string
	Worker                                    WorkerID
	Listener                                  int
	Best                                      float64
}
