package nodework

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// bitcoin is the nodes of a Node, as far as it asks them.
type bitcoin struct {
	templates chan source.Update
	mempool   map[[32]byte][]byte

	mu        sync.Mutex
	blocks    [][]byte // guarded by mu
	at        []int64  // guarded by mu; their heights
	announced [][]byte // guarded by mu
	hangs     bool     // it takes no transaction
}

func (b *bitcoin) announce(ctx context.Context, data []byte) error {
	if b.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.announced = append(b.announced, data)
	return errors.New("txn-already-known")
}

func (b *bitcoin) Templates() <-chan source.Update { return b.templates }
func (b *bitcoin) Refresh(string)                  {}
func (b *bitcoin) Usable() bool                    { return len(b.mempool) > 0 }
func (b *bitcoin) Transaction(_ context.Context, txid [32]byte) ([]byte, error) {
	if data := b.mempool[txid]; data != nil {
		return data, nil
	}
	return nil, errors.New("no such mempool transaction")
}

func (b *bitcoin) Submit(height int64, _ [32]byte, block []byte, _ func(source.BlockState)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blocks, b.at = append(b.blocks, block), append(b.at, height)
}

func (b *bitcoin) heights() []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.at)
}

func (b *bitcoin) submitted() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.blocks)
}

// following is nodes that tell of a block until it is mature.
type following struct{ bitcoin }

func (*following) Submit(_ int64, _ [32]byte, _ []byte, changed func(source.BlockState)) {
	changed(source.BlockState{State: source.BlockPending, Text: "a:1: connection refused"})
	changed(source.BlockState{State: source.BlockPending, Text: "a:1: no answer"})
	for n := range int64(100) {
		changed(source.BlockState{State: source.BlockConfirmed, Confirmations: 1 + n})
	}
}

// What becomes of a block is said once, and not with each confirmation.
func TestFateIsSaidOnce(t *testing.T) {
	var said []string
	n := NewNode(Options{Network: &following{}, Events: func(e event.Event) { said = append(said, e.Text) }})
	n.send(1000, [32]byte{7}, nil, "an own miner")
	hash := work.FormatHash([32]byte{7})
	want := []string{"Submitting block of height 1000, hash " + hash + ", by an own miner", "Block 1000 " + hash + " is pending", "Block 1000 " + hash + " is confirmed"}
	if !slices.Equal(said, want) {
		t.Errorf("%d lines: %q", len(said), said)
	}
}

// asking is a pool that may be asked.
type asking struct{ wanted chan [][32]byte }

func (*asking) String() string         { return "pool.example:3335" }
func (*asking) Asks() bool             { return true }
func (p *asking) Ask(txids [][32]byte) { p.wanted <- txids }

// rig is a Node that runs.
type rig struct {
	*Node
	t    *testing.T
	node *bitcoin
	pool *asking
	job  *work.Job
	mu   sync.Mutex
	log  strings.Builder // guarded by mu
}

// transaction is one with that many bytes of witness, and without any for 0.
func transaction(n uint32, witness byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	if witness != 0 {
		b = append(b, 0, 1)
	}
	b = append(b, 1)
	b = append(b, bytes.Repeat([]byte{7}, 32)...)
	b = binary.LittleEndian.AppendUint32(b, n)
	b = append(b, 0, 0xff, 0xff, 0xff, 0xff, 1)
	b = binary.LittleEndian.AppendUint64(b, 1000)
	b = append(b, 1, 0x51)
	if witness != 0 {
		b = append(b, 1, 1, witness)
	}
	return binary.LittleEndian.AppendUint32(b, 0)
}

func read(t *testing.T, data []byte) work.Transaction {
	t.Helper()
	tx, err := work.ReadTransaction(data)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// jobOf is work of an easy chain with transactions.
func jobOf(t *testing.T, id uint64, txs ...work.Transaction) *work.Job {
	t.Helper()
	template, err := work.NewTemplate(&work.Parts{
		Height: 1000 + int64(id), Version: 0x20000000, PrevHash: [32]byte{byte(id), 1}, Bits: 0x207fffff, CurTime: 1795327613, CoinbaseValue: 5_000_000_000, Transactions: txs,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &work.Builder{Tag: "ckpool", PayoutScript: []byte{0x51}, Extranonce1Len: 4, Extranonce2Len: 8}
	j, err := b.Job(template, id, time.Unix(1795327613, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// start runs a Node that has been sent no work.
func start(t *testing.T, txs ...work.Transaction) *rig {
	t.Helper()
	r := &rig{t: t, node: &bitcoin{templates: make(chan source.Update)}, pool: &asking{make(chan [][32]byte, 100)}, job: jobOf(t, 77, txs...)}
	r.Node = NewNode(Options{Network: r.node, Announce: r.node.announce, Loops: 1, Events: func(e event.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.log.WriteString(e.Text + "\n")
	}})
	return r
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	r.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

func (r *rig) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

func (r *rig) says(what string) {
	r.t.Helper()
	wait.Until(r.t, patience, what, func() bool { return strings.Contains(r.text(), what) })
}

// wanted is what the pool is asked for next.
func (r *rig) wanted() [][32]byte {
	r.t.Helper()
	select {
	case txids := <-r.pool.wanted:
		return txids
	case <-time.After(patience):
		r.t.Fatal("the pool is asked for nothing")
		return nil
	}
}

func (r *rig) send(kind poolproto.Kind, message []byte) {
	r.post(mail{pool: r.pool, kind: kind, message: message})
}

// info is the message of the job.
func info(j *work.Job) *poolproto.WorkInfo {
	c, t := j.Coinbase(750), j.Template
	w := &poolproto.WorkInfo{
		JobID: j.ID, Target: j.Target, Version: j.Version, CurTime: t.CurTime, PrevHash: t.PrevHash, Bits: t.Bits, Value: t.CoinbaseValue, Height: t.Height,
		Branch: j.Branch, Coinb1: c.Head, Coinb2: slices.Concat(c.Mid, c.Tail), Extranonce1Len: 4, Extranonce2Len: 8,
	}
	for i := range t.TxCount() {
		w.TxIDs = append(w.TxIDs, t.TxID(i))
	}
	return w
}

// block is a block of a job as a pool tells of it, and whole.
func block(t *testing.T, j *work.Job) (told poolproto.Block, whole []byte) {
	t.Helper()
	m := work.Miner{Limit: 750, Extranonce1: []byte{1, 2, 3, 4}}
	s := work.Solution{Extranonce2: make([]byte, 8), Time: 1795327613, Version: j.Version, Nonce: rand.Uint32()}
	var sh work.Share
	for j.Hash(&sh, &m, &s); !sh.Block; j.Hash(&sh, &m, &s) {
		s.Nonce++
	}
	return poolproto.Block{
		Extranonce1: m.Extranonce1, Extranonce2: s.Extranonce2, Nonce: s.Nonce, NTime: s.Time, JobID: j.ID, Difficulty: sh.Difficulty, Name: "elsewhere",
		Coinbase: j.CoinbaseTx(&m, &s), Header: sh.Header,
	}, j.Block(&sh, &m, &s)
}

func (r *rig) wantBlocks(want ...[]byte) {
	r.t.Helper()
	wait.Until(r.t, patience, "blocks are submitted", func() bool { return len(r.node.submitted()) >= len(want) })
	got := r.node.submitted()
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			r.t.Errorf("block %d is\n%x, want\n%x", i, got[i], want[i])
		}
	}
}

func (r *rig) transactions(list ...work.Transaction) {
	var named []poolproto.NamedTransaction
	for _, tx := range list {
		named = append(named, poolproto.NamedTransaction{Hash: tx.WTxID, Data: tx.Data})
	}
	r.send(poolproto.Transactions, poolproto.AppendTransactions(nil, named))
}

// handles waits until all that was sent before is handled. id is of work that is not there yet.
func (r *rig) handles(id uint64) {
	r.t.Helper()
	r.send(poolproto.Work, info(jobOf(r.t, id)).Append(nil))
	r.says(fmt.Sprintf("Stored work %016x", id))
}

// A block waits for the transactions of its work, which the pool is asked for, whatever is
// heard of first.
func TestBlockWaits(t *testing.T) {
	a, b := read(t, transaction(1, 0)), read(t, transaction(2, 5))
	r := start(t, a, b)
	r.run()
	r.post(mail{pool: r.pool})
	r.send(poolproto.Work, info(r.job).Append(nil))
	if wanted := r.wanted(); !slices.Equal(wanted, [][32]byte{a.TxID, b.TxID}) {
		t.Errorf("%x are asked for", wanted)
	}
	k, whole := block(t, r.job)
	r.send(poolproto.Solved, k.Append(nil))
	own, second := block(t, r.job)
	r.solved(&solved{header: own.Header, coinbase: own.Coinbase, job: own.JobID})
	r.transactions(a)
	r.handles(78)
	if len(r.node.submitted()) > 0 {
		t.Error("a block is submitted without its transactions")
	}
	r.send(poolproto.Solved, k.Append(nil)) // another pool tells of it too
	r.transactions(b)
	r.handles(79)
	got := r.node.submitted()
	if len(got) != 2 {
		t.Errorf("%d blocks are submitted, want 2", len(got))
	}
	for _, want := range [][]byte{whole, second} {
		if !slices.ContainsFunc(got, func(b []byte) bool { return bytes.Equal(b, want) }) {
			t.Errorf("%x is not submitted", want)
		}
	}
}

// A block overtakes on the link whatever waits there, its work among it: it is submitted when that
// has come.
func TestBlockOvertakesItsWork(t *testing.T) {
	r := start(t)
	r.run()
	other := jobOf(t, 78)
	for range 2 * mostBlocks { // of work that never comes
		k, _ := block(t, jobOf(t, 79))
		r.send(poolproto.Solved, k.Append(nil))
	}
	k, first := block(t, r.job)
	r.send(poolproto.Solved, k.Append(nil))
	l, second := block(t, other)
	r.send(poolproto.Solved, l.Append(nil))
	r.send(poolproto.Work, info(other).Append(nil))
	r.wantBlocks(second)
	r.send(poolproto.Work, info(r.job).Append(nil))
	r.wantBlocks(second, first)
}

// A block of an own miner comes before the messages that wait, that of its work among them, and is
// submitted when that is read.
func TestOwnBlockOvertakesItsWork(t *testing.T) {
	r := start(t)
	r.run()
	k, whole := block(t, r.job)
	r.solved(&solved{header: k.Header, coinbase: k.Coinbase, job: k.JobID})
	r.says("is left to the pool")
	r.send(poolproto.Work, info(r.job).Append(nil))
	r.wantBlocks(whole)
}

// Before December 2016 ckpool in C told of a block without its coinbase.
func TestOldBlock(t *testing.T) {
	r := start(t)
	r.run()
	r.send(poolproto.Work, info(r.job).Append(nil))
	k, whole := block(t, r.job)
	k.Coinbase = nil
	r.send(poolproto.Solved, k.Append(nil))
	r.wantBlocks(whole)
}

// Where every share is a block, a few of each work are submitted.
func TestManyBlocks(t *testing.T) {
	r := start(t)
	r.run()
	r.send(poolproto.Work, info(r.job).Append(nil))
	r.says("Stored work")
	for range 2 * mostBlocks {
		k, _ := block(t, r.job)
		r.solved(&solved{header: k.Header, coinbase: k.Coinbase, job: k.JobID})
	}
	r.says("too many already")
	if n := len(r.node.submitted()); n != mostBlocks {
		t.Errorf("%d are submitted, want %d", n, mostBlocks)
	}
}

// Transactions come from the template of the own node, and from its mempool, before the pool
// is asked.
func TestOwnTransactions(t *testing.T) {
	a, b, c := read(t, transaction(1, 3)), read(t, transaction(2, 5)), read(t, transaction(3, 0))
	r := start(t, a, b, c)
	r.node.mempool = map[[32]byte][]byte{b.TxID: b.Data}
	r.run()
	r.node.templates <- source.Update{Template: jobOf(t, 1, a).Template}
	r.send(poolproto.Work, info(r.job).Append(nil))
	if wanted := r.wanted(); !slices.Equal(wanted, [][32]byte{c.TxID}) {
		t.Errorf("%x are asked for", wanted)
	}
	r.transactions(c)
	k, whole := block(t, r.job)
	r.send(poolproto.Solved, k.Append(nil))
	r.wantBlocks(whole)
}

// Transactions that come from a pool are handed to the own node, each once, unless they are in
// its template. One that it refuses is in a block all the same, and a node that hangs holds up
// nothing.
func TestAnnounce(t *testing.T) {
	a, b, c := read(t, transaction(1, 3)), read(t, transaction(2, 5)), read(t, transaction(3, 0))
	for _, hangs := range []bool{false, true} {
		r := start(t, a, b, c)
		r.node.hangs = hangs
		r.run()
		r.node.templates <- source.Update{Template: jobOf(t, 1, a).Template}
		r.send(poolproto.Work, info(r.job).Append(nil))
		r.wanted()
		r.transactions(a, b)
		r.transactions(b, c)
		k, whole := block(t, r.job)
		r.send(poolproto.Solved, k.Append(nil))
		r.wantBlocks(whole)
		if hangs {
			continue
		}
		r.says("txn-already-known")
		wait.Until(t, patience, "both are handed over", func() bool {
			r.node.mu.Lock()
			defer r.node.mu.Unlock()
			return slices.EqualFunc(r.node.announced, [][]byte{b.Data, c.Data}, bytes.Equal)
		})
	}
}

// A transaction that the own node has with another witness would spoil a block: all of that
// work come from the pool then.
func TestOtherWitness(t *testing.T) {
	a, b := read(t, transaction(1, 3)), read(t, transaction(2, 5))
	other := read(t, transaction(2, 6))
	r := start(t, a, b)
	r.node.mempool = map[[32]byte][]byte{a.TxID: a.Data, b.TxID: other.Data}
	r.run()
	r.send(poolproto.Work, info(r.job).Append(nil))
	if wanted := r.wanted(); !slices.Equal(wanted, [][32]byte{a.TxID, b.TxID}) {
		t.Errorf("%x are asked for", wanted)
	}
	r.transactions(a, b)
	k, whole := block(t, r.job)
	r.send(poolproto.Solved, k.Append(nil))
	r.wantBlocks(whole)
}

// What cannot be right is left alone, and said.
func TestNodeRefuses(t *testing.T) {
	good := read(t, transaction(1, 3))
	wrong := func(change func(k *poolproto.Block)) []byte {
		k, _ := block(t, jobOf(t, 77, good))
		change(&k)
		return k.Append(nil)
	}
	for _, c := range []struct {
		name    string
		kind    poolproto.Kind
		message []byte
		says    string
	}{
		{"a branch of other transactions", poolproto.Work, func() []byte {
			w := info(jobOf(t, 77, good))
			w.JobID, w.Branch[0][5] = 78, 1
			return w.Append(nil)
		}(), "merkle branch"},
		{"another merkle root", poolproto.Solved, wrong(func(k *poolproto.Block) { k.Header[40]++ }), "merkle root"},
		{"other work", poolproto.Solved, wrong(func(k *poolproto.Block) { k.JobID++ }), "not known"},
		{"no work at all", poolproto.Solved, wrong(func(k *poolproto.Block) { k.Header[75] = 0x10 }), "target"},
		{"no transaction", poolproto.Transactions, []byte(`{"transaction":[{"hash":"` + strings.Repeat("0", 64) + `","data":"00"}]}`), "not a transaction"},
		{"no object", poolproto.Work, []byte(`[]`), "not a JSON object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, good)
			r.job = jobOf(t, 77, good)
			r.run()
			r.transactions(good)
			r.send(poolproto.Work, info(r.job).Append(nil))
			r.says("Stored work")
			r.send(c.kind, c.message)
			r.says(c.says)
			if len(r.node.submitted()) > 0 {
				t.Error("something is submitted")
			}
		})
	}
}

// Work is kept for ten minutes, the two newest for ever, and transactions while works have
// them.
func TestStoreForgets(t *testing.T) {
	s := newStore()
	now := time.Unix(1795327613, 0)
	tx := read(t, transaction(1, 0))
	if _, err := s.learn(tx.Data); err != nil {
		t.Fatal(err)
	}
	for id := range uint64(30) {
		if _, err := s.add(info(jobOf(t, id)), now); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
	}
	if n := len(s.works); n != 11 {
		t.Errorf("%d works of one a minute are kept, want 11", n)
	}
	if len(s.known) != 0 || s.bytes != 0 {
		t.Errorf("%d transactions with %d bytes are kept", len(s.known), s.bytes)
	}
	if _, err := s.add(info(jobOf(t, 31)), now.Add(time.Hour)); err != nil || len(s.works) != 2 {
		t.Errorf("%d works are kept, want 2", len(s.works))
	}
	for id := range uint64(2 * mostWork) {
		if _, err := s.add(info(jobOf(t, 100+id)), now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.works); n > mostWork {
		t.Errorf("%d works are kept", n)
	}
}

// A pool tells nodes of each transaction once, and again when it was away for long.
func TestTable(t *testing.T) {
	a, b := read(t, transaction(1, 3)), read(t, transaction(2, 5))
	k := newTable()
	both, one := jobOf(t, 1, a, b).Template, jobOf(t, 2, a).Template
	for i, c := range []struct {
		template *work.Template
		times    int
		want     int
	}{{both, 1, 2}, {both, 20, 0}, {one, 5, 0}, {both, 1, 1}, {one, 11, 0}, {both, 1, 1}} {
		got := 0
		for range c.times {
			got += len(k.follow(c.template))
		}
		if got != c.want {
			t.Errorf("step %d tells of %d transactions, want %d", i, got, c.want)
		}
	}
	for range keepTransactions + 1 {
		k.follow(one)
	}
	if len(k.known) != 1 {
		t.Errorf("%d transactions are kept", len(k.known))
	}
	var m relay.Messages
	k.tell(&m, [][32]byte{a.TxID, b.TxID, a.TxID}) // of what it is asked for twice there is one, lest a line asks for terabytes
	if list, err := poolproto.ParseTransactions(bytes.TrimSuffix(bytes.TrimPrefix(m.Short, []byte("t ")), []byte("\n"))); err != nil || len(list) != 1 || list[0].Hash != a.WTxID {
		t.Errorf("%v, %v", list, err)
	}
}
