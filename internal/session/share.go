package session

import (
	"net/netip"
	"time"

	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// Share is one submit with the verdict on it: the record that statistics, share
// log and block are made of. It is passed by pointer, and the loop uses it again:
// who keeps it copies it, which needs no more than an assignment. In a malformed
// submit the fields of what was found may be empty. Worker is that of the
// connection, or 0, where the submit's own is unknown.
type Share struct {
	Time      time.Time
	Loop      int
	Client    uint64
	Worker    WorkerID
	Remote    netip.AddrPort
	Listener  int
	UserAgent string

	Job     *work.Job // nil: unknown job id
	Current *work.Job // the newest job at that time
	// Upstream is what the pool asks whose work it is for; nil: it is judged here alone.
	Upstream *source.Upstream

	// Of the miner.
	Limit       int    // the largest coinbase it takes, in bytes
	Payout      []byte // solo: output script, immutable; nil in pool mode
	Extranonce1 Extranonce
	Mask        uint32 // version bits it may roll

	// What it found.
	Variant               uint8 // of the job
	Extranonce2           Extranonce
	NTime, Nonce, Version uint32 // Version: of the header

	Hashed   bool
	Computed work.Share // if Hashed

	// The verdict.
	Difficulty float64 // what the share was judged by
	Credit     float64 // 0 when rejected, or accepted below its job's difficulty
	Reason     Reason
	Also       uint32          // so many more were refused likewise, of which nothing else is known: see Handler.Refused
	Format     *stratum.Reject // of a Malformed submit: what is wrong with it; of a Refused or Unanswered one: what is known of that pool
	Best       Best            // what it improved; set by the sink that counts

	// The verdict of the pool above, if the share WentUp: it was to judge it. The verdict
	// before this has that in it.
	WentUp          bool
	Above           source.VerdictState
	AboveDifficulty float64 // see source.Verdict
	Here            Reason  // what the share is as far as that pool is not asked: Accepted or Stale
}

// Miner is what of the miner is in the coinbase. It aliases s.
func (s *Share) Miner() work.Miner {
	return work.Miner{Limit: s.Limit, Payout: s.Payout, Extranonce1: s.Extranonce1.Bytes()}
}

// Solution is what the miner found. It aliases s.
func (s *Share) Solution() work.Solution {
	return work.Solution{Variant: s.Variant, Extranonce2: s.Extranonce2.Bytes(), Time: s.NTime, Nonce: s.Nonce, Version: s.Version}
}

// Extranonce is an extranonce of at most 16 bytes.
type Extranonce struct {
	bytes  [16]byte
	length uint8
}

// MakeExtranonce is one with the bytes of b, of which it has at most 16.
func MakeExtranonce(b []byte) (e Extranonce) {
	e.length = uint8(copy(e.bytes[:], b))
	return e
}

// Bytes aliases e.
func (e *Extranonce) Bytes() []byte { return e.bytes[:e.length] }

// Best is what a share improved.
type Best uint8

const (
	BestNone   Best = iota
	BestWorker      // the worker's best of the round
	BestUser        // the user's best of the round
	BestWorkerEver
	BestUserEver
)
