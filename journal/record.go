package journal

import (
	"fmt"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/sharelog"
)

// Position is the place of a record: the number of the writer's life, which begins
// with each start of the pool, and the record's number in it, from 1. Positions grow in the order
// of records, whatever clocks say.
type Position struct {
	Epoch  uint64 `json:"epoch"`  // number of the writer's life, from 1
	Number uint64 `json:"number"` // of the record in it, from 1
}

// Before reports whether p is the earlier.
func (p Position) Before(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Number < q.Number
}

// String is epoch and number with a slash between them.
func (p Position) String() string { return fmt.Sprintf("%d/%d", p.Epoch, p.Number) }

// Kind is what a record tells.
type Kind uint8

// The kinds of records, as numbered in files. A kind whose record gets another form
// than a longer one gets another number and name.
const (
	KindShare      Kind = 1 + iota // Record.Share is set, and Miner
	KindJob                        // Record.Job
	KindWorker                     // Record.Worker, and Miner
	KindConnect                    // Record.Connect, and Miner
	KindLeave                      // Record.Leave, and Miner
	KindDifficulty                 // Record.Difficulty, and Miner
	KindBlock                      // Record.Block, and Miner
	KindStatistics                 // Record.Statistics
	KindLost                       // Record.Lost
	kinds

	// KindMissing is no record of a file: a Reader tells in its place what it could
	// not read.
	KindMissing Kind = 255
)

// kindNames stand in each segment.
var kindNames = [kinds]string{
	KindShare: "share", KindJob: "job", KindWorker: "worker", KindConnect: "connect", KindLeave: "leave",
	KindDifficulty: "difficulty", KindBlock: "block", KindStatistics: "statistics", KindLost: "lost",
}

// String is the name of the kind in small letters, such as "share".
func (k Kind) String() string {
	if k == KindMissing {
		return "missing"
	}
	if int(k) < len(kindNames) && k > 0 {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Miner is who a record is of. Texts are as the pool has them.
type Miner struct {
	User    string // whom it earns for
	Worker  string // whole name
	Agent   string // user agent of the connection
	Address string // IP address of the connection

	// What else is in its coinbase: see [work.Miner].
	Limit  int    // most bytes of a coinbase without witness that it takes
	Payout []byte // where the pool pays who finds a block, that miner's output script; else nil
}

// Share is a submit that was judged. Times are microseconds since 1970.
type Share struct {
	Time int64 // when the pool received it

	// What the miner found: see [work.Miner] and [work.Solution].
	Job                      uint64   // id, 0 for an unknown one
	Variant                  uint8    // of the job
	Extranonce1, Extranonce2 []byte   // at most 16 bytes each
	NTime, Nonce, Version    uint32   // of the header
	Hash                     [32]byte // of the header, internal order; zero if it was not computed

	Difficulty float64 // what it was judged by: that which its job was sent with
	Credit     float64 // what it earns; 0 if refused
	Reason     uint8   // why it was refused: index into Header.Reasons, of which 0 is that it was not
	Scheme     uint8   // of reward it earns in: index into Header.Schemes

	// Of a share that went up to another pool, whose work it was found on. Credit and
	// Reason have that pool's verdict in them.
	Above           Verdict
	AboveDifficulty float64 // that the pool owes for it if it accepts it
	Here            uint8   // what the share is as far as that pool is not asked: likewise an index into Header.Reasons
	AboveText       []byte  // why it was refused, in the pool's words; at most 255 bytes
}

// Verdict is that of another pool.
type Verdict uint8

// Verdicts.
const (
	NotSent       Verdict = iota // it was judged here alone
	AcceptedAbove                // by the other pool
	RefusedAbove                 // likewise
	Unanswered                   // it said nothing
	verdicts
)

var verdictNames = [verdicts]string{AcceptedAbove: "accepted", RefusedAbove: "refused", Unanswered: "unanswered"}

// String is "accepted", "refused" or "unanswered", and "" for NotSent.
func (v Verdict) String() string { return verdictNames[v] }

// Hashed tells whether the hash was computed.
func (s *Share) Hashed() bool { return s.Hash != [32]byte{} }

// Achieved is the difficulty of the share's own hash, 0 if it was not computed.
func (s *Share) Achieved() float64 {
	if !s.Hashed() {
		return 0
	}
	return difficulty.OfHash(&s.Hash)
}

// Job is work that shares are of.
type Job struct {
	ID     uint64 // as shares name it
	Oldest uint64 // id of the oldest job that shares were still taken for then
	Record []byte // JSON as [work.JobReader] reads it, without transactions
}

// Worker is that a worker was seen: it may mine. Its record has the miner.
type Worker struct {
	Time   int64  // microseconds since 1970
	Client uint64 // id of the connection
}

// Connect is a new connection. Its record has the miner as far as it is known.
type Connect struct {
	Time   int64  // microseconds since 1970
	Client uint64 // id of the connection
}

// Leave is the end of a connection.
type Leave struct {
	Time   int64  // microseconds since 1970
	Client uint64 // id of the connection
	Why    string // in a few words
}

// Difficulty is another difficulty for a miner, from a job on.
type Difficulty struct {
	Time       int64   // microseconds since 1970
	Client     uint64  // id of the connection
	Job        uint64  // the first sent with it
	Difficulty float64 // of shares, as mining.set_difficulty tells it
}

// Block is a block that was found, or another fate of one. Its record has the miner.
type Block struct {
	Time              int64    // microseconds since 1970
	Job               uint64   // id
	Height            int64    // in the chain
	Hash              [32]byte // of the header, internal order
	NetworkDifficulty float64  // that it had to reach
	Reward            int64    // satoshis, with fees
	State             string   // pending, confirmed, orphaned or rejected, as package source has them
	Confirmations     int64    // 1 for the tip; 0 outside the chain
	Text              string   // why, in words of nodes
}

// Statistics are the pool's, without its user agents.
type Statistics struct {
	Time int64 // microseconds since 1970
	sharelog.PoolStatus
}

// Lost are records that the pool had no room for: its disk took nothing until the memory
// before it was full. Each of the pool's loops has a ring of memory, and those who are on none
// have one together; this is about one ring, from the last record of this kind up to this one.
type Lost struct {
	Time    int64  // microseconds since 1970, when it was told
	Ring    int    // a loop's number; the one after the last for all others
	Records uint64 // how many
	Shares  uint64 // of Records

	TotalRecords, TotalShares uint64 // the same since the epoch began
}

// Missing are records that cannot be read any more, up to the position that they are
// told at.
type Missing struct {
	First Position // of the first of them
	Count uint64   // 0: not known

	// Where bytes are damaged.
	File   string // name of the segment's file
	Offset int64  // of the first damaged byte
	Bytes  int64  // how many; 0 if there are none

	Why string // in a few words
}

// Record is one of a journal. Kind tells which of the members at its end is set; what
// they refer to is valid until the next is read, unless it says otherwise.
type Record struct {
	Position
	Kind Kind  // which of the members below is set
	Time int64 // microseconds since 1970, of the pool's clock

	// Miner is whom it is of, nil for nobody, which a share is never of. It is immutable and the same for all
	// records of a segment with this miner.
	Miner *Miner
	// Reason, Scheme and Here of a share by name.
	Reason, Scheme, Here string

	Share      Share      // of KindShare
	Job        Job        // of KindJob
	Worker     Worker     // of KindWorker
	Connect    Connect    // of KindConnect
	Leave      Leave      // of KindLeave
	Difficulty Difficulty // of KindDifficulty
	Block      Block      // of KindBlock
	Statistics Statistics // of KindStatistics
	Lost       Lost       // of KindLost
	Missing    Missing    // of KindMissing
}
