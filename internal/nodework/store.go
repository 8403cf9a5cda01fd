package nodework

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/work"
)

const (
	// keepWork is how long work is kept after it came, but for the two newest, and mostWork
	// how much of it is.
	keepWork = 600 * time.Second
	mostWork = 1024
	// keepKnown is for how many works a transaction is kept that none of them has.
	keepKnown = 20
	// mostKnown is how many bytes of transactions are kept beside those of works.
	mostKnown = 256 << 20
)

// entry is work of a pool with its transactions.
type entry struct {
	poolproto.WorkInfo // without TxIDs
	came               time.Time
	branch             [][32]byte          // of txids
	txids              [][32]byte          // nil when all are known
	txs                []*work.Transaction // in order; nil those that are not known
	missing            int
	commitment         []byte     // script that the coinbase has, nil: none, or not known
	distrust           bool       // the own node has some of them with another witness
	waiting            []*solved  // blocks that wait for them
	blocks             [][32]byte // hashes of those, and of those that were submitted
}

// solved is a block on its way to the nodes.
type solved struct {
	header   [80]byte
	coinbase []byte
	job      uint64
	name     string // of the instance that it was found at, "" here
}

// store is the works of pools and the transactions of the network. It is owned by one
// goroutine.
type store struct {
	works []*entry // the oldest first
	known map[[32]byte]*kept
	bytes int // of known
	count int // works that came
}

type kept struct {
	tx   *work.Transaction
	seen int // number of the last work that it was in, or after which it came
}

func newStore() *store { return &store{known: map[[32]byte]*kept{}} }

// find is the work with the id of a job and a merkle branch that ends in a root over a
// coinbase; nil: there is none.
func (s *store) find(job uint64, coinbase, root [32]byte) *entry {
	for _, e := range slices.Backward(s.works) {
		if e.JobID == job && work.MerkleRoot(coinbase, e.branch) == root {
			return e
		}
	}
	return nil
}

// byID is the newest work with the id of a job.
func (s *store) byID(job uint64) *entry {
	for _, e := range slices.Backward(s.works) {
		if e.JobID == job {
			return e
		}
	}
	return nil
}

// errBranch is that the merkle branch of work is not that of its transactions.
var errBranch = errors.New("its merkle branch is not that of its transactions")

// add takes work; e is nil if it is there already.
func (s *store) add(w *poolproto.WorkInfo, now time.Time) (e *entry, err error) {
	branch := work.MerkleBranch(w.TxIDs)
	if len(w.Branch) > 0 && !slices.Equal(branch, w.Branch) {
		return nil, errBranch
	}
	if old := s.byID(w.JobID); old != nil && old.PrevHash == w.PrevHash && slices.Equal(old.branch, branch) {
		return nil, nil
	}
	e = &entry{WorkInfo: *w, came: now, branch: branch, txids: w.TxIDs, txs: make([]*work.Transaction, len(w.TxIDs)), missing: len(w.TxIDs)}
	e.TxIDs = nil
	e.commitment = work.FindCommitment(w.Coinb2)
	s.works = append(s.works, e)
	s.count++
	s.forget(now)
	s.fill(e)
	return e, nil
}

// forget drops what is too old.
func (s *store) forget(now time.Time) {
	n := 0
	for len(s.works)-n > 2 && (now.Sub(s.works[n].came) > keepWork || len(s.works)-n > mostWork) {
		n++
	}
	s.works = slices.Delete(s.works, 0, n)
	for txid, k := range s.known {
		if s.count-k.seen > keepKnown {
			s.bytes -= len(k.tx.Data)
			delete(s.known, txid)
		}
	}
}

// fill gives work the transactions that are known, and tells whether it has all of them.
func (s *store) fill(e *entry) (whole bool) {
	for i, txid := range e.txids {
		if k := s.known[txid]; k != nil {
			k.seen = s.count
			if e.txs[i] == nil {
				e.txs[i] = k.tx
				e.missing--
			}
		}
	}
	if e.missing > 0 {
		return false
	}
	if e.txids != nil && !e.committed() {
		s.distrust(e)
		return false
	}
	e.txids = nil
	return true
}

// committed tells that the transactions have the witnesses that the coinbase commits to.
func (e *entry) committed() bool {
	if e.commitment == nil {
		return true
	}
	ids := make([][32]byte, 1, 1+len(e.txs))
	for _, tx := range e.txs {
		ids = append(ids, tx.WTxID)
	}
	return bytes.Equal(e.commitment, work.CommitmentScript(ids))
}

// distrust forgets the transactions of a work: some have come with another witness than the
// pool has.
func (s *store) distrust(e *entry) {
	for i, txid := range e.txids {
		if k := s.known[txid]; k != nil {
			s.bytes -= len(k.tx.Data)
			delete(s.known, txid)
		}
		e.txs[i] = nil
	}
	e.missing, e.distrust = len(e.txids), true
}

// lacks are the transactions of a work that are not known.
func (e *entry) lacks() (txids [][32]byte) {
	for i, txid := range e.txids {
		if e.txs[i] == nil {
			txids = append(txids, txid)
		}
	}
	return txids
}

// learn keeps a transaction, and returns it if it is new. Which one it is says its content
// alone.
func (s *store) learn(data []byte) (*work.Transaction, error) {
	tx, err := work.ReadTransaction(data)
	if err != nil {
		return nil, err
	}
	if k := s.known[tx.TxID]; k != nil && k.tx.WTxID == tx.WTxID {
		k.seen = max(k.seen, s.count)
		return nil, nil
	}
	if s.bytes > mostKnown {
		return nil, errors.New("more transactions than are kept")
	}
	if k := s.known[tx.TxID]; k != nil {
		s.bytes -= len(k.tx.Data)
	}
	s.bytes += len(data)
	s.known[tx.TxID] = &kept{&tx, s.count}
	return &tx, nil
}

// incomplete are the works that lack transactions, the newest first.
func (s *store) incomplete() (list []*entry) {
	for _, e := range slices.Backward(s.works) {
		if e.missing > 0 {
			list = append(list, e)
		}
	}
	return list
}

// block puts a block together: work of it has all transactions.
func (e *entry) block(b *solved) ([]byte, error) {
	return work.AssembleBlock(&b.header, b.coinbase, e.txs)
}

// height is that of the block. What the coinbase tells is what nodes compare.
func (e *entry) height(coinbase []byte) int64 {
	return cmp.Or(work.CoinbaseHeight(coinbase), e.Height)
}
