// Package nodework is what nodes get of the work of a pool, and what they make of it. A
// node serves the pool's miners somewhere else and has a bitcoin node of its own, so that
// a block that is found anywhere is submitted everywhere. Feed is the pool's end: it makes
// messages of new work, transactions and blocks. Node is the other end: it keeps work with
// its transactions, looks for blocks in what its miners find, and submits blocks.
package nodework

import (
	"context"
	"encoding/hex"
	"slices"
	"sync"

	"github.com/ckpool/ckpool/internal/jobs"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/work"
)

const (
	// keepTransactions is for how many templates a transaction is kept that is in none of
	// them, and sayAgain after how many such nodes are told of it again.
	keepTransactions = 10
	sayAgain         = 5
	// messageSize is of how many bytes a message with transactions is, about.
	messageSize = 1 << 20
)

// Feed gives nodes the work of a pool. Run it beside the pool's server; its other methods
// may be called from any goroutine, and return at once.
type Feed struct {
	// immutable
	jobs        *jobs.Jobs
	name        string        // of the instance
	extranonces [2]int        // lengths in bytes
	wake        chan struct{} // capacity 1: there is something to do

	mu   sync.Mutex
	todo []func() // guarded by mu; for Run, in order

	// owned by Run
	nodes map[*relay.NodeLink]bool
	table table
	done  uint64 // job up to which the table knows, and nodes have, all
}

// NewFeed makes the feed of the work in j, of an instance whose extranonces have so many
// bytes.
func NewFeed(j *jobs.Jobs, name string, extranonce1, extranonce2 int) *Feed {
	return &Feed{jobs: j, name: name, extranonces: [2]int{extranonce1, extranonce2}, wake: make(chan struct{}, 1), nodes: map[*relay.NodeLink]bool{}}
}

// Newest implements relay.Feed.
func (f *Feed) Newest() uint64 {
	if w := f.jobs.Newest(); w != nil {
		return w.Job.ID
	}
	return 0
}

// Joined implements relay.Feed.
func (f *Feed) Joined(n *relay.NodeLink, work uint64) { f.do(func() { f.join(n, work) }) }

// Left implements relay.Feed.
func (f *Feed) Left(n *relay.NodeLink) {
	f.do(func() {
		if delete(f.nodes, n); len(f.nodes) == 0 {
			f.table, f.done = table{}, 0
		}
	})
}

// Asked implements relay.Feed.
func (f *Feed) Asked(n *relay.NodeLink, txids [][32]byte) { f.do(func() { f.answer(n, txids) }) }

// Wake tells that there is new work.
func (f *Feed) Wake() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *Feed) do(what func()) {
	f.mu.Lock()
	f.todo = append(f.todo, what)
	f.mu.Unlock()
	f.Wake()
}

// Run serves nodes until ctx ends.
func (f *Feed) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		f.mu.Lock()
		todo := f.todo
		f.todo = nil
		f.mu.Unlock()
		if len(f.nodes) > 0 {
			f.follow()
		}
		for _, do := range todo {
			do()
		}
	}
}

// join gives a node all that is needed for the present work, unless it has that.
func (f *Feed) join(n *relay.NodeLink, had uint64) {
	recent := f.jobs.Recent()
	if len(f.nodes) == 0 { // nobody has looked after the table
		f.table, f.done = newTable(), 0
		known := had
		if !slices.ContainsFunc(recent, func(w *session.Work) bool { return w.Job.ID == had }) {
			known = f.Newest()
		}
		last := len(recent)
		for last > 0 && recent[last-1].Job.ID > known {
			last--
		}
		for _, w := range recent[max(last-keepTransactions, 0):last] {
			f.table.follow(w.Job.Template)
			f.done = w.Job.ID
		}
	}
	f.nodes[n] = true
	if f.done != 0 && had != f.done {
		var m relay.Messages
		if !n.Short() {
			f.table.tell(&m, f.table.all())
		}
		if w := f.jobs.Find(f.done); w != nil {
			f.addWork(&m, w)
		}
		n.Work(&m, f.done)
	}
	f.follow()
}

// follow gives nodes the work that is newer than what they have.
func (f *Feed) follow() {
	for _, w := range f.jobs.Recent() {
		if w.Job.ID <= f.done {
			continue
		}
		added := f.table.follow(w.Job.Template)
		f.done = w.Job.ID
		var forC, short relay.Messages
		for n := range f.nodes {
			m := &short
			if !n.Short() {
				m = &forC
			}
			if m.C == nil {
				if !n.Short() {
					f.table.tell(m, added)
				}
				f.addWork(m, w)
			}
			n.Work(m, w.Job.ID)
		}
	}
}

// answer gives a node the transactions that it wants, as far as they are known, or the
// present work.
func (f *Feed) answer(n *relay.NodeLink, txids [][32]byte) {
	var m relay.Messages
	if len(txids) > 0 {
		f.table.tell(&m, txids)
	} else if w := f.jobs.Find(f.done); w != nil {
		f.addWork(&m, w)
	}
	n.Answer(&m)
}

// addWork adds a job.
func (f *Feed) addWork(m *relay.Messages, w *session.Work) {
	j, t := w.Job, w.Job.Template
	c := j.Coinbase(work.CoinbaseLimit(""))
	info := poolproto.WorkInfo{
		JobID: j.ID, Target: j.Target, Version: j.Version, CurTime: t.CurTime, PrevHash: t.PrevHash, Bits: t.Bits,
		Value: t.CoinbaseValue, Height: t.Height, Flags: hex.EncodeToString(t.Flags), Branch: j.Branch,
		Coinb1: c.Head, Coinb2: slices.Concat(c.Mid, c.Tail),
		Extranonce1Len: f.extranonces[0], Extranonce2Len: f.extranonces[1],
	}
	for i := range t.TxCount() {
		info.TxIDs = append(info.TxIDs, t.TxID(i))
	}
	m.Add(poolproto.Work, info.Append(nil))
}

// Solved is the message of a block that a share has found.
func (f *Feed) Solved(s *session.Share) *relay.Messages {
	miner, solution := s.Miner(), s.Solution()
	b := poolproto.Block{
		Extranonce1: s.Extranonce1.Bytes(), Extranonce2: s.Extranonce2.Bytes(), Nonce: s.Nonce, NTime: s.NTime,
		VersionMask: s.Version &^ s.Job.Version, JobID: s.Job.ID, Difficulty: s.Computed.Difficulty, Name: f.name,
		Coinbase: s.Job.CoinbaseTx(&miner, &solution), Header: s.Computed.Header,
	}
	m := &relay.Messages{}
	m.Add(poolproto.Solved, b.Append(nil))
	return m
}

// table is the transactions that nodes may need, by txid.
type table struct {
	templates int // that were followed
	known     map[[32]byte]*known
}

type known struct {
	tx   poolproto.NamedTransaction
	seen int // number of the last template that it was in
}

func newTable() table { return table{known: map[[32]byte]*known{}} }

// follow looks at the transactions of new work, and returns those that nodes are to be told
// of. What was in no template for long is forgotten.
func (t *table) follow(w *work.Template) (tell [][32]byte) {
	t.templates++
	for i := range w.TxCount() {
		txid, hash := w.TxID(i), w.WTxID(i)
		k := t.known[txid]
		switch {
		case k == nil || k.tx.Hash != hash:
			k = &known{tx: poolproto.NamedTransaction{Hash: hash, Data: w.AppendTransaction(nil, i)}}
			t.known[txid] = k
			tell = append(tell, txid)
		case t.templates-k.seen > sayAgain:
			tell = append(tell, txid)
		}
		k.seen = t.templates
	}
	for txid, k := range t.known {
		if t.templates-k.seen > keepTransactions {
			delete(t.known, txid)
		}
	}
	return tell
}

func (t *table) all() (txids [][32]byte) {
	for txid := range t.known {
		txids = append(txids, txid)
	}
	return txids
}

// tell adds messages with those transactions that are known, each once: a node may name one any
// number of times.
func (t *table) tell(m *relay.Messages, txids [][32]byte) {
	var list []poolproto.NamedTransaction
	size := 0
	say := func() {
		if len(list) > 0 {
			m.Add(poolproto.Transactions, poolproto.AppendTransactions(nil, list))
		}
		list, size = list[:0], 0
	}
	told := make(map[*known]bool, min(len(txids), len(t.known)))
	for _, txid := range txids {
		if k := t.known[txid]; k != nil && !told[k] {
			told[k] = true
			list = append(list, k.tx)
			if size += 2*len(k.tx.Data) + 100; size > messageSize {
				say()
			}
		}
	}
	say()
}
