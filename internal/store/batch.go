package store

import (
	"fmt"
	"math"
	"slices"

	"github.com/ckpool/ckpool/difficulty"
)

// Position is a record's place in the journal of an instance. Journals begin at
// epoch 1, number 1; the zero Position is before them.
type Position struct {
	Epoch, Number int64
	// Life tells the epoch from another one of that number, of a journal of which an
	// older copy was put back; "" where that is not known.
	Life string
}

// Epoch of a journal.
type Epoch struct {
	Number int64  `json:"number"`
	Life   string `json:"life"` // as in Position
}

// String is as people write it, 3/1042.
func (p Position) String() string { return fmt.Sprintf("%d/%d", p.Epoch, p.Number) }

// After reports whether p comes after q.
func (p Position) After(q Position) bool {
	return p.Epoch > q.Epoch || p.Epoch == q.Epoch && p.Number > q.Number
}

// Instance is a pool that keeps a journal.
type Instance struct {
	ID      [16]byte // made once per journal directory
	Name    string
	Network string // main, test, signet, regtest
}

// Batch is what a row of records of one instance, of one epoch of its journal, says.
// Slices may be in any order where their elements have no Number.
type Batch struct {
	Instance [16]byte
	// From is the last record that was stored, which the database has to agree with;
	// To is the last one of this batch. Its time is At.
	From, To Position
	At       int64

	Workers []Worker // that the others name by index
	Agents  []string // user agents, likewise
	// Known tells that all workers are of accounts that there are, as of a database that is
	// imported; else those are stored that sent something.
	Known bool

	Jobs    []Job
	Shares  []Share
	Rejects []Reject
	Seen    []Seen
	Blocks  []Block
	Changes []BlockChange
	Minutes []Minute
	Gaps    []Gap
}

// Kind of an account.
type Kind string

// Kinds of accounts.
const (
	Address Kind = "address" // the name is an address, which is paid
	User    Kind = "user"    // a registered name
)

// Worker of an account.
type Worker struct {
	Kind    Kind
	Account string // a user's name, as it is, or an address in any case
	Name    string // what stands behind it; "" is a worker as well
}

// Job is work that was sent to miners.
type Job struct {
	Number     int64 // of the record, in To.Epoch
	ID         uint64
	Height     int64
	PrevHash   [32]byte // internal order
	Bits       uint32
	Difficulty difficulty.Exact // the network's
	Version    uint32
	NTime      uint32 // the least that a miner may set
	Reward     int64  // satoshis
	Created    int64
	Record     []byte // of work.JobWriter, to compute shares anew
}

// Share that was accepted.
type Share struct {
	Number   int64 // of the record, in To.Epoch
	Received int64
	NTime    uint32   // of the header
	Hash     [16]byte // of the header: the first 16 bytes in internal order
	Worker   int32    // index
	Agent    int32    // index
	Scheme   uint8    // how it is rewarded: the one scheme it earns in
	Job      uint64
	Credit   difficulty.Exact // what its job was sent with, at most 10¹⁸
	Achieved difficulty.Exact // of its hash
	Above    Above
}

// Above is what another pool said of a share that went up to it.
type Above struct {
	Verdict    Verdict
	Difficulty difficulty.Exact // that it owes for the share if it accepts it, at most 10¹⁸
}

// Verdict is that of another pool.
type Verdict uint8

// Verdicts.
const (
	NotSent Verdict = iota // the share did not go up
	AcceptedAbove
	RefusedAbove
	Unanswered
)

// Reason of a rejected share.
type Reason uint8

// Reasons that are counted apart.
const (
	Stale Reason = iota
	Duplicate
	AboveTarget
	Other
)

// Reject is a share that was rejected. Job is 0 where it is not known.
type Reject struct {
	Received   int64
	Worker     int32 // index
	Agent      int32 // index
	Job        uint64
	Reason     Reason
	Difficulty difficulty.Exact // that its job was sent with
	Above      Above
}

// Seen tells that a worker was there.
type Seen struct {
	Worker int32 // index
	At     int64
}

// Block that was found.
type Block struct {
	Hash       [32]byte // internal order
	Height     int64
	Job        uint64
	Worker     int32 // index, -1 where it is not known
	Difficulty difficulty.Exact
	Reward     int64 // satoshis
	Found      int64
}

// BlockChange is what became of a block.
type BlockChange struct {
	Hash          [32]byte // internal order
	At            int64
	State         string // pending, confirmed, orphaned, rejected
	Confirmations int64
	Note          string
}

// Minute is a pool's own statistics. Rates are difficulty per second, on average
// over the time in the name.
type Minute struct {
	At                              int64
	Users, Workers                  int64
	Rate1m, Rate5m, Rate1h, Rate24h difficulty.Exact
}

// Gap is a range of records that the journal does not have.
type Gap struct {
	Epoch, First, Last int64
	Seen               int64
	Cause              string // damaged, lost, missing, replaced by an older copy
}

// ToEnd is the last record of a gap that goes to the end of its epoch.
const ToEnd = math.MaxInt64

// MaxCredit is the most that a share is credited with, here or by another pool.
const MaxCredit = 1e18

var maxCredit = difficulty.ExactOf(MaxCredit)

func (a Above) ok() bool { return a.Verdict <= Unanswered && a.Difficulty.Cmp(maxCredit) <= 0 }

// Check tells whether a batch can be: Apply refuses one that it finds an error in.
func (b *Batch) Check() error {
	if !b.To.After(b.From) {
		return fmt.Errorf("batch to record %s begins after %s", b.To, b.From)
	}
	worker := func(i int32) bool { return i >= 0 && int(i) < len(b.Workers) }
	agent := func(i int32) bool { return i >= 0 && int(i) < len(b.Agents) }
	for i := range b.Shares {
		s := &b.Shares[i]
		if !worker(s.Worker) || !agent(s.Agent) || s.Received <= 0 || s.Credit.Cmp(maxCredit) > 0 || s.Achieved.Cmp(difficulty.MaxExact) > 0 || !s.Above.ok() {
			return fmt.Errorf("record %s: share with worker %d, agent %d, time %d, credit %s cannot be", Position{Epoch: b.To.Epoch, Number: s.Number}, s.Worker, s.Agent, s.Received, s.Credit)
		}
	}
	for _, r := range b.Rejects {
		if !worker(r.Worker) || !agent(r.Agent) || r.Received <= 0 || r.Difficulty.Cmp(maxCredit) > 0 || r.Reason > Other || !r.Above.ok() {
			return fmt.Errorf("batch to record %s: rejected share with worker %d, agent %d, time %d, reason %d cannot be", b.To, r.Worker, r.Agent, r.Received, r.Reason)
		}
	}
	for _, s := range b.Seen {
		if !worker(s.Worker) {
			return fmt.Errorf("batch to record %s: no worker %d was seen", b.To, s.Worker)
		}
	}
	large := func(d difficulty.Exact) bool { return d.Cmp(difficulty.MaxExact) > 0 }
	for _, v := range b.Blocks {
		if v.Worker != -1 && !worker(v.Worker) || large(v.Difficulty) {
			return fmt.Errorf("batch to record %s: no worker %d found a block, of difficulty %s", b.To, v.Worker, v.Difficulty)
		}
	}
	for _, j := range b.Jobs {
		if large(j.Difficulty) {
			return fmt.Errorf("batch to record %s: a job of difficulty %s cannot be", b.To, j.Difficulty)
		}
	}
	for _, m := range b.Minutes {
		if slices.ContainsFunc([]difficulty.Exact{m.Rate1m, m.Rate5m, m.Rate1h, m.Rate24h}, large) {
			return fmt.Errorf("batch to record %s: statistics of %d cannot be", b.To, m.At)
		}
	}
	return nil
}
