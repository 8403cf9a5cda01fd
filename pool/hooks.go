package pool

import (
	"context"
	"net/netip"
	"time"

	"github.com/ckpool/ckpool/internal/blocks"
	core "github.com/ckpool/ckpool/internal/pool"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// Hooks are functions that a pool calls when something happens; one that is nil costs
// nothing. All values they are given are the caller's to keep. No hook is called before
// [Pool.Run] is, nor after it has returned.
type Hooks struct {
	// Share is told each share, accepted or not, before its miner is. It is called on the
	// goroutine that serves the miner, of which there is one for each processor: so it may
	// be called by several at once, and must not block, not even on a lock that somebody
	// holds while waiting for a disk. What takes longer it leaves to another goroutine, as
	// by sending on a channel that has room.
	Share func(Share)

	// Block is told of each block that is found, and of each change in what has become of
	// it until it has 100 confirmations or is rejected; with [Nodes] also of blocks of
	// earlier runs, found again in Config.Dir. Calls come one at a time, with those of Work,
	// on a goroutine of their own, so that it may take its time: what comes meanwhile
	// waits, a thousand blocks and more are dropped with a word to Config.Events. Run
	// returns when the last call has.
	Block func(Block)

	// Work is told of new work, when it is on its way to the miners. It is called as Block
	// is; of work that came while it was busy it is told the newest alone.
	Work func(Work)

	// Login decides whether a miner may mine: nil lets it, an error refuses it, and the
	// miner is told its text. It is asked for each name that a connection logs in with,
	// once the name itself is one that the pool takes. Its calls are on goroutines of their
	// own, at most 16 at once, and may take their time, until ctx ends after three
	// seconds: the miner waits, and nobody else does. It is refused when there is no answer
	// by then, or when too many are waiting. A name that was refused ten times in a
	// minute is refused for a minute without being asked for.
	Login func(ctx context.Context, l Login) error
}

// Share is what a miner has submitted, and the verdict on it. Malformed submits and those
// of nobody who is logged in are no shares.
type Share struct {
	Time      time.Time      // when it was read
	User      string         // Worker until its first '.' or '_'
	Worker    string         // the full name that the miner logged in with
	Client    uint64         // number of the connection: no other of the pool has it
	Remote    netip.AddrPort // of the miner
	UserAgent string         // as the miner calls its program, "" unknown

	Job    uint64 // id; 0: the job is not known, and nothing was computed
	Height int64  // of the block that the job is for; 0 unknown

	Difficulty float64  // that the miner was asked for
	Reached    float64  // difficulty of the hash, 0 if it was not computed; below Difficulty in one accepted for being a block
	Hash       [32]byte // of the header, in internal byte order: work.FormatHash prints it
	Block      bool     // the hash solves the block, be the share accepted or not

	// Credit is what the share counts: Difficulty if it was accepted, or 0. It is 0 also
	// of one that was accepted for being a block, below Difficulty. Sums of it are work.
	Credit float64
	// Reason is why it was not accepted, as in the pool's statistics: "job not found",
	// "stale", "ntime out of range", "duplicate", "above target", "invalid version mask",
	// or with Upstreams "refused upstream" and "unanswered upstream". "": it was accepted.
	Reason string
}

// Block is a block that a miner of the pool has found.
type Block struct {
	Height     int64     // in its chain
	Hash       [32]byte  // in internal byte order: work.FormatHash prints it
	User       string    // Worker until its first '.' or '_'
	Worker     string    // full name of who found it
	Difficulty float64   // of the network
	Reward     int64     // satoshis, all that the coinbase pays
	Time       time.Time // when it was found; a second is exact
	Chain      string    // as Bitcoin Core names it, "" unknown

	source.BlockState // what has become of it; the first that is told is source.BlockPending
}

// Work is a job, which all miners get.
type Work struct {
	Job          uint64    // id
	Time         time.Time // when it was made
	Height       int64     // of the block to be found; 0 unknown, as it may be with Upstreams
	PrevHash     [32]byte  // of the block it builds on, in internal byte order
	NewTip       bool      // it is the first on that block
	Difficulty   float64   // of the network
	Value        int64     // satoshis that the coinbase pays; with Upstreams unknown and 0
	Transactions int       // without the coinbase; -1 unknown, as with Upstreams
}

// Login is who wants to mine.
type Login struct {
	User      string     // Worker until its first '.' or '_'
	Worker    string     // full name; an address in it is written as it is usual
	Password  string     // as the miner sent it, "" for none
	Remote    netip.Addr // of the miner
	UserAgent string     // "" unknown
}

// shares is the sink that tells the hook. It allocates nothing.
type shares struct {
	hook func(Share)
	pool *core.Pool // set before the first share
}

// Share implements session.Sink.
func (k *shares) Share(s *session.Share) {
	if _, share := s.Reason.Logged(); !share {
		return
	}
	name := k.pool.WorkerName(s.Worker)
	told := Share{
		Time: s.Time, User: users.UserOf(name), Worker: name, Client: s.Client, Remote: s.Remote, UserAgent: s.UserAgent,
		Difficulty: s.Difficulty, Credit: s.Credit,
	}
	if s.Reason != session.Accepted {
		told.Reason = s.Reason.String()
	}
	if s.Job != nil {
		told.Job, told.Height = s.Job.ID, s.Job.Template.Height
	}
	if s.Hashed {
		told.Reached, told.Hash, told.Block = s.Computed.Difficulty, s.Computed.Hash, s.Computed.Block
	}
	k.hook(told)
}

// Flush implements session.Sink.
func (k *shares) Flush(int) {}

func blockOf(b *blocks.Block) Block {
	hash, _ := work.ParseHash(b.Hash) // it was formatted
	return Block{
		Height: b.Height, Hash: hash, User: users.UserOf(b.Worker), Worker: b.Worker, Difficulty: b.Difficulty, Reward: b.Reward,
		Time: b.Time, Chain: b.Chain, BlockState: b.BlockState,
	}
}

func workOf(w *session.Work) Work {
	t := w.Job.Template
	k := Work{
		Job: w.Job.ID, Time: w.Job.Created, Height: t.Height, PrevHash: t.PrevHash, NewTip: w.Tip == w.Job.ID,
		Difficulty: w.Job.NetworkDifficulty, Value: t.CoinbaseValue, Transactions: -1,
	}
	if t.HasTransactions() {
		k.Transactions = t.TxCount()
	}
	return k
}
