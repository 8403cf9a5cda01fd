package source

// MaxExtranonce2 is how many bytes of extranonce2 another pool may ask for.
const MaxExtranonce2 = 16

// Shape is what a miner has of a coinbase: how many bytes of extranonce1 are a
// session's own, and how many of extranonce2 are the miner's.
type Shape struct{ Own, Extranonce2 int }

// Upstream is a connection to another pool as one of its templates sees it. There is
// one for each template; it does not change.
type Upstream struct {
	// Source is the number of the connection, from 1 on. No other has it, be it earlier
	// or later or in a process that its work moves to.
	Source uint32
	JobID  string // as the pool wrote it
	// Difficulty is the least that the pool takes for the job, above 0.
	Difficulty  float64
	VersionMask uint32 // bits that the pool lets be rolled, 0 none
	// Shape is that of all sessions of the source. With the Pad of the template's coinbase
	// it is as long as the extranonce2 that the pool asks for.
	Shape Shape
	Judge Judge
}

// Judge is who has shares judged by the pool whose work they are for. Its methods
// may be called from any goroutine, and return at once.
type Judge interface {
	// Submit takes a share for the pool, which keeps nothing of f but copies. It is
	// false when it cannot go up: the connection has ended, or does not take what was
	// submitted before. Of what was taken the Finder hears once.
	Submit(f *Found) bool
}

// Found is a share that a pool is to judge.
type Found struct {
	Upstream *Upstream // of its job
	Worker   string    // its full name here
	Finder   Finder    // who is to hear
	Client   uint64    // what it is known by to the Finder: connection, and number
	Share    uint64    // number of it

	Extranonce2    [MaxExtranonce2]byte // as it is to be submitted, the first Extranonce2Len bytes
	Extranonce2Len int                  // bytes
	NTime, Nonce   uint32               // of the header
	VersionBits    uint32               // that the miner has rolled
	HasVersionBits bool                 // the connection was granted version rolling

	Difficulty float64 // that the hash reached
	Block      bool    // it meets the network's target
	Stale      bool    // here it is for an earlier block already
}

// Finder hears what became of shares. Its method may be called from any goroutine,
// and returns at once.
type Finder interface {
	// Verdict tells what became of a share, once, by the Client and Share of its Found.
	Verdict(client, share uint64, v Verdict)
}

// Verdict is what became of a share that a Judge took.
type Verdict struct {
	State      VerdictState // what the pool said, if anything
	Difficulty float64      // that the pool owes for the share if it accepts it; 0: it was not sent
	Code       int          // of a refusal, as the pool gave it; 0 none
	Text       string       // likewise
	TimedOut   bool         // unanswered for too long, on a connection that lives
}

// VerdictState is what a Verdict says.
type VerdictState uint8

const (
	// Unanswered: the pool has not said anything in time, or until the connection
	// ended.
	Unanswered VerdictState = iota
	// AcceptedAbove: the pool has accepted it.
	AcceptedAbove
	// RefusedAbove: the pool has refused it.
	RefusedAbove
	// NotSent: it was not submitted, since the pool's difficulty is known to be higher by
	// now; it counts here alone.
	NotSent
)
