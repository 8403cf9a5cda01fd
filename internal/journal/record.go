package journal

import (
	"fmt"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/sharelog"
)

// Position is the place of a record: the number of the writer's life, which begins
// with each Open, and the record's number in it, from 1. Positions grow in the order
// of records, whatever clocks say.
type Position struct {
	Epoch  uint64 `json:"epoch"`
	Number uint64 `json:"number"`
}

// Before reports whether p is the earlier.
func (p Position) Before(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Number < q.Number
}

func (p Position) String() string { return fmt.Sprintf("%d/%d", p.Epoch, p.Number) }

// Kind is what a record tells.
type Kind uint8

// The kinds of records, as numbered in files. A kind whose record gets another form
// than a longer one gets another number and name.
const (
	KindShare Kind = 1 + iota
	KindJob
	KindWorker
	KindConnect
	KindLeave
	KindDifficulty
	KindBlock
	KindStatistics
	KindLost
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

	// What else is in its coinbase: see work.Miner.
	Limit  int
	Payout []byte
}

// Share is a submit that was judged. Times are microseconds since 1970.
type Share struct {
	Time int64 // when the pool received it

	// What the miner found: see work.Miner and work.Solution.
	Job                      uint64 // id, 0 for an unknown one
	Variant                  uint8
	Extranonce1, Extranonce2 []byte   // at most 16 bytes each
	NTime, Nonce, Version    uint32   // of the header
	Hash                     [32]byte // of the header, internal order; zero if it was not computed

	Difficulty float64 // what it was judged by: that which its job was sent with
	Credit     float64 // what it earns; 0 if refused
	Reason     uint8   // why it was refused: index into Options.Reasons, of which 0 is that it was not
	Scheme     uint8   // of reward it earns in: index into Options.Schemes

	// Of a share that went up to another pool, whose work it was found on. Credit and
	// Reason have that pool's verdict in them.
	Above           Verdict
	AboveDifficulty float64 // that the pool owes for it if it accepts it
	Here            uint8   // what the share is as far as that pool is not asked: likewise an index into Options.Reasons
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
	ID     uint64
	Oldest uint64 // id of the oldest job that shares were still taken for then
	Record []byte // as work.JobReader reads it, without transactions
}

// Worker is that a worker was seen: it may mine. Its record has the miner.
type Worker struct {
	Time   int64
	Client uint64 // id of the connection
}

// Connect is a new connection. Its record has the miner as far as it is known.
type Connect struct {
	Time   int64
	Client uint64
}

// Leave is the end of a connection.
type Leave struct {
	Time   int64
	Client uint64
	Why    string
}

// Difficulty is another difficulty for a miner, from a job on.
type Difficulty struct {
	Time       int64
	Client     uint64
	Job        uint64 // the first sent with it
	Difficulty float64
}

// Block is a block that was found, or another fate of one. Its record has the miner.
type Block struct {
	Time              int64
	Job               uint64
	Height            int64
	Hash              [32]byte // internal order
	NetworkDifficulty float64
	Reward            int64  // satoshis
	State             string // as package bitcoind names them
	Confirmations     int64
	Text              string // why, in words of nodes
}

// Statistics are the pool's, without its user agents.
type Statistics struct {
	Time int64
	sharelog.PoolStatus
}

// Lost are records that a full ring had no room for, from the last record of this
// kind of the same ring up to this one.
type Lost struct {
	Time    int64 // when it was told
	Ring    int   // a loop's number; the one after the last for what others told
	Records uint64
	Shares  uint64 // of Records

	// Since the epoch began.
	TotalRecords, TotalShares uint64
}

// Missing are records that cannot be read any more, up to the position that they are
// told at.
type Missing struct {
	First Position
	Count uint64 // 0: not known

	// Where bytes are damaged; Bytes is 0 if there are none.
	File   string
	Offset int64
	Bytes  int64

	Why string
}

// Record is one of a journal. Kind tells which of the members at its end is set; what
// they refer to is valid until the next is read, unless it says otherwise.
type Record struct {
	Position
	Kind Kind
	Time int64 // microseconds since 1970, of the pool's clock

	// Miner is whom it is of, nil for nobody. It is immutable and the same for all
	// records of a segment with this miner.
	Miner *Miner
	// Reason, Scheme and Here of a share by name.
	Reason, Scheme, Here string

	Share      Share
	Job        Job
	Worker     Worker
	Connect    Connect
	Leave      Leave
	Difficulty Difficulty
	Block      Block
	Statistics Statistics
	Lost       Lost
	Missing    Missing
}
