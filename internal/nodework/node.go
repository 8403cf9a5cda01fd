package nodework

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

const (
	// fetchMost is how many transactions of one work the own node is asked for, each with a
	// call, and fetchCalls how many calls are under way.
	fetchMost  = 512
	fetchCalls = 4
	// fetchTime is how long that may take altogether.
	fetchTime = 5 * time.Second
	// askAgain is how long an answer of a pool is waited for.
	askAgain = 5 * time.Second
	// mailMost is how many messages of pools wait; a link with more waits itself.
	mailMost = 64
	// mostBlocks is how many blocks of one work are submitted, or wait for its transactions:
	// there are more only where every other share is one.
	mostBlocks = 16
	// announceMost is how many transactions wait to be handed to the own node, and announceTime
	// how long that may take for each.
	announceMost = 4096
	announceTime = 5 * time.Second
	// mostFound is how many blocks of own miners wait to be looked at.
	mostFound = 1024
)

// Network is the bitcoin nodes of a Node.
type Network interface {
	Templates() <-chan source.Update
	Refresh(reason string)
	Usable() bool
	// Transaction is one of the mempool, by its txid.
	Transaction(ctx context.Context, txid [32]byte) ([]byte, error)
	Submit(height int64, hash [32]byte, block []byte, changed func(source.BlockState))
}

// Options are what a Node needs of the program around it.
type Options struct {
	Network Network
	// Announce hands the own nodes a transaction that they lack, so that they know it before a
	// block has it; nil: nobody does.
	Announce func(ctx context.Context, data []byte) error
	// Chain is that of the own nodes, as Bitcoin Core names it, "" unknown. Blocks that are
	// too easy for it are left alone; nil: whoever they are submitted to looks at that.
	Chain func() string
	// Workers are whom shares are credited to, and Sink who counts them.
	Workers session.Workers
	Sink    session.Sink
	Loops   int
	Events  event.Func
}

// Node is the node's end of links: a relay.NodeEnd. Run it beside the Edge. Its other
// methods may be called from any goroutine unless they say otherwise.
type Node struct {
	options Options    // immutable
	loops   []loopJobs // by loop, owned by it

	mail  chan mail     // of pools
	wake  chan struct{} // capacity 1: there are found blocks
	mu    sync.Mutex
	found []*solved // guarded by mu; by own miners

	over  sync.Once
	ended chan struct{} // closed by Close

	// owned by Run
	store    *store
	template *work.Template // the newest of the own node
	places   map[[32]byte]int
	pools    map[Pool]time.Time // when each was last asked for transactions; zero: it has answered
	fetching map[*entry]bool
	fetched  chan fetched
	lacking  chan *work.Transaction // that the own nodes lack, for announce
	unknown  int                    // blocks that were submitted before there was a template
	early    []*solved              // whose work is not here
	told     map[string]time.Time   // complaints, by kind
}

// Pool is a link to one.
type Pool interface {
	String() string
	// Asks tells that it may be asked for transactions, Ask asks.
	Asks() bool
	Ask(txids [][32]byte)
}

var _ Pool = (*relay.NodePool)(nil)

// mail is a message of a pool, or that there is a link.
type mail struct {
	pool    Pool
	kind    poolproto.Kind // 0: a link
	message []byte
	moved   bool
}

// fetched are transactions that the own node has given for a work.
type fetched struct {
	of   *entry
	list [][]byte
}

// NewNode makes a node.
func NewNode(o Options) *Node {
	n := &Node{
		options: o, loops: make([]loopJobs, o.Loops), mail: make(chan mail, mailMost), wake: make(chan struct{}, 1), ended: make(chan struct{}),
		store: newStore(), pools: map[Pool]time.Time{}, fetching: map[*entry]bool{}, fetched: make(chan fetched, 1), lacking: make(chan *work.Transaction, announceMost), told: map[string]time.Time{},
	}
	for i := range n.loops {
		n.loops[i].Most = jobsOfMiner
	}
	return n
}

// Linked implements relay.NodeEnd.
func (n *Node) Linked(p *relay.NodePool, moved bool) { n.post(mail{pool: p, moved: moved}) }

// Message implements relay.NodeEnd.
func (n *Node) Message(p *relay.NodePool, kind poolproto.Kind, message []byte) {
	n.From(p, kind, bytes.Clone(message))
}

// From is Message for any pool that brings work and blocks. The message is the callee's.
func (n *Node) From(p Pool, kind poolproto.Kind, message []byte) {
	n.post(mail{pool: p, kind: kind, message: message})
}

func (n *Node) post(m mail) {
	select {
	case n.mail <- m:
	case <-n.ended:
	}
}

// solved has a block submitted that an own miner has found. It returns at once.
func (n *Node) solved(b *solved) {
	n.mu.Lock()
	if len(n.found) < mostFound {
		n.found = append(n.found, b)
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Run keeps work and submits blocks until ctx ends.
func (n *Node) Run(ctx context.Context) {
	defer n.Close()
	var fetching sync.WaitGroup
	defer fetching.Wait()
	fetch := func(e *entry, txids [][32]byte) {
		fetching.Go(func() {
			f := fetched{of: e, list: n.fetch(ctx, txids)}
			select {
			case n.fetched <- f:
			case <-ctx.Done():
			}
		})
	}
	if n.options.Announce != nil {
		fetching.Go(func() { n.announce(ctx) })
	}
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for {
		select { // a block comes before anything else
		case <-n.wake:
			n.submitFound()
		default:
		}
		select {
		case <-ctx.Done():
			n.submitFound()
			return
		case <-n.wake:
			n.submitFound()
		case m := <-n.mail:
			n.handle(&m, fetch)
		case u := <-n.options.Network.Templates():
			n.takeTemplate(&u)
		case f := <-n.fetched:
			delete(n.fetching, f.of)
			for _, data := range f.list {
				_, _ = n.store.learn(data) // of the own node, whose transactions they are
			}
			n.complete()
			n.ask()
		case <-again.C:
			n.ask()
		}
	}
}

// Close ends what waits for Run.
func (n *Node) Close() { n.over.Do(func() { close(n.ended) }) }

// handle handles a message of a pool.
func (n *Node) handle(m *mail, fetch func(*entry, [][32]byte)) {
	var err error
	switch m.kind {
	case 0:
		n.linked(m)
	case poolproto.Work:
		err = n.takeWork(m, fetch)
		n.takeEarly()
	case poolproto.Transactions:
		var list []poolproto.NamedTransaction
		list, err = poolproto.ParseTransactions(m.message)
		for i := range list {
			tx, bad := n.store.learn(list[i].Data)
			if bad != nil {
				err = bad
			}
			n.lacks(tx)
		}
		n.pools[m.pool] = time.Time{}
		n.complete()
	case poolproto.Solved:
		var b poolproto.Block
		if err = b.Parse(m.message); err == nil {
			err = n.takeBlock(&b)
		}
	case poolproto.Whole:
		var b poolproto.WholeBlock
		if err = b.Parse(m.message); err == nil {
			err = n.takeWhole(&b)
		}
	}
	if err != nil {
		n.complain(event.Warning, m.pool.String(), fmt.Sprintf("Pool %v: left alone what it says to nodes: %v", m.pool, err))
	}
}

// linked forgets links that nothing was heard of for long, and asks for the work that
// another process has had.
func (n *Node) linked(m *mail) {
	if n.pools[m.pool] = (time.Time{}); m.moved && m.pool.Asks() {
		m.pool.Ask(nil)
	}
	const mostPools = 64
	if len(n.pools) > mostPools {
		n.pools = map[Pool]time.Time{m.pool: {}}
	}
}

// takeWork stores work and gets its transactions, from what is known, from the template of
// the own node, from that's mempool, and at last from the pool.
func (n *Node) takeWork(m *mail, fetch func(*entry, [][32]byte)) error {
	var w poolproto.WorkInfo
	if err := w.Parse(m.message); err != nil {
		return err
	}
	n.pools[m.pool] = time.Time{}
	e, err := n.store.add(&w, time.Now())
	if e == nil {
		return err
	}
	if e.missing > 0 {
		n.fromTemplate(e.lacks())
	}
	if n.store.fill(e) {
		n.options.Events.Say(event.Debug, fmt.Sprintf("Stored work %016x of %v, height %d, with %d transactions", e.JobID, m.pool, e.Height, len(e.txs)))
		return nil
	}
	n.options.Network.Refresh("work of a pool with transactions that are not in the template here")
	if lacks := e.lacks(); !e.distrust && len(lacks) <= fetchMost && n.options.Network.Usable() {
		n.fetching[e] = true
		fetch(e, lacks)
		return nil
	}
	n.ask()
	return nil
}

// fromTemplate learns those transactions that the template of the own node has.
func (n *Node) fromTemplate(txids [][32]byte) {
	for _, txid := range txids {
		if i, here := n.places[txid]; here {
			_, _ = n.store.learn(n.template.AppendTransaction(nil, i)) // a template that cannot be read gives none
		}
	}
}

// takeTemplate keeps the newest template of the own node, whose transactions work may have.
func (n *Node) takeTemplate(u *source.Update) {
	if u.Template == nil {
		return
	}
	n.template, n.places = u.Template, make(map[[32]byte]int, u.Template.TxCount())
	for i := range u.Template.TxCount() {
		n.places[u.Template.TxID(i)] = i
	}
	for _, e := range n.store.incomplete() {
		if !e.distrust {
			n.fromTemplate(e.lacks())
		}
	}
	n.complete()
}

// fetch asks the own node for transactions.
func (n *Node) fetch(ctx context.Context, txids [][32]byte) (list [][]byte) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	var mu sync.Mutex
	var calls sync.WaitGroup
	next := make(chan [32]byte)
	for range fetchCalls {
		calls.Go(func() {
			for txid := range next {
				if data, err := n.options.Network.Transaction(ctx, txid); err == nil {
					mu.Lock()
					list = append(list, data)
					mu.Unlock()
				}
			}
		})
	}
	for _, txid := range txids {
		if ctx.Err() != nil || !n.options.Network.Usable() {
			break
		}
		next <- txid
	}
	close(next)
	calls.Wait()
	return list
}

// lacks has the own nodes get a new transaction of a pool, unless it is in their template; nil:
// there is none. Where too many wait it is left to others.
func (n *Node) lacks(tx *work.Transaction) {
	if tx == nil || n.options.Announce == nil {
		return
	}
	if _, here := n.places[tx.TxID]; here {
		return
	}
	select {
	case n.lacking <- tx:
	default:
	}
}

// announce hands transactions to the own nodes until ctx ends. Those in their mempool they
// refuse, and others by rules of their own: blocks are made here all the same.
func (n *Node) announce(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case tx := <-n.lacking:
			timed, cancel := context.WithTimeout(ctx, announceTime)
			if err := n.options.Announce(timed, tx.Data); err != nil && ctx.Err() == nil {
				n.options.Events.Say(event.Debug, fmt.Sprintf("Transaction %s of a pool is not taken: %v", work.FormatHash(tx.TxID), err))
			}
			cancel()
		}
	}
}

// ask asks pools for what is still missing, of one work at a time: one that a block waits
// for, or else the newest.
func (n *Node) ask() {
	list := n.store.incomplete()
	slices.SortStableFunc(list, func(a, b *entry) int { return cmp.Compare(min(len(b.waiting), 1), min(len(a.waiting), 1)) })
	for _, e := range list {
		if n.fetching[e] {
			continue
		}
		for p, asked := range n.pools {
			if p.Asks() && time.Since(asked) > askAgain {
				n.pools[p] = time.Now()
				p.Ask(e.lacks())
			}
		}
		n.complain(event.Notice, "incomplete", fmt.Sprintf("Work %016x lacks %d of %d transactions: no block can be made of it here until they come", e.JobID, e.missing, len(e.txs)))
		return
	}
}

// complete gives works what is known by now, and submits the blocks that have waited.
func (n *Node) complete() {
	for _, e := range n.store.incomplete() {
		if !n.store.fill(e) {
			continue
		}
		n.options.Events.Say(event.Debug, fmt.Sprintf("Stored work %016x, height %d, with %d transactions", e.JobID, e.Height, len(e.txs)))
		for _, b := range e.waiting {
			if err := n.submit(e, b); err != nil {
				n.options.Events.Say(event.Error, fmt.Sprintf("Block %s is left to the pool: %v", work.FormatHash(work.HashHeader(&b.header)), err))
			}
		}
		e.waiting = nil
	}
}

// takeBlock submits a block that a pool tells of.
func (n *Node) takeBlock(k *poolproto.Block) error {
	b := &solved{header: k.Header, coinbase: k.Coinbase, job: k.JobID, name: k.Name}
	if b.coinbase == nil { // of ckpool in C before December 2016
		e := n.store.byID(k.JobID)
		if e == nil || e.Coinb1 == nil {
			return fmt.Errorf("block of work %016x, which is not known", k.JobID)
		}
		b.coinbase = slices.Concat(e.Coinb1, k.Extranonce1, k.Extranonce2, e.Coinb2)
		b.header = work.Header(&work.HeaderParts{
			Version: e.Version | k.VersionMask, PrevHash: e.PrevHash, Root: work.MerkleRoot(work.HashTransaction(b.coinbase), e.branch),
			Time: k.NTime, Bits: e.Bits, Nonce: k.Nonce,
		})
	}
	return n.dispatchSoon(b)
}

// dispatchSoon is dispatch, once more when further work has come if that of the block is not here.
func (n *Node) dispatchSoon(b *solved) error {
	err := n.dispatch(b)
	if errors.Is(err, errNoWork) {
		n.early = append(n.early[max(len(n.early)+1-mostBlocks, 0):], b)
	}
	return err
}

// takeEarly submits blocks whose work they have overtaken: on the link they are said before all
// else that waits, and those of own miners come before the messages that wait here.
func (n *Node) takeEarly() {
	early := n.early
	n.early = nil
	for _, b := range early {
		if err := n.dispatch(b); errors.Is(err, errNoWork) {
			n.early = append(n.early, b)
		} else if err != nil {
			n.options.Events.Say(event.Warning, fmt.Sprintf("Block %s is left to the pool: %v", work.FormatHash(work.HashHeader(&b.header)), err))
		}
	}
}

// takeWhole submits a block of another pool, whose work is not known.
func (n *Node) takeWhole(b *poolproto.WholeBlock) error {
	header := (*[80]byte)(b.Block)
	hash, err := work.ParseHash(b.Hash)
	if err != nil || !work.SolvedHeader(header, hash) {
		return errTarget
	}
	if err := n.ofNetwork(header); err != nil {
		return err
	}
	height, err := work.CheckBlock(b.Block)
	if err != nil {
		return err
	}
	n.send(cmp.Or(height, b.Height), hash, b.Block, "a miner of "+b.Name)
	return nil
}

// submitFound submits the blocks of own miners.
func (n *Node) submitFound() {
	n.mu.Lock()
	found := n.found
	n.found = nil
	n.mu.Unlock()
	for _, b := range found {
		if err := n.dispatchSoon(b); err != nil {
			n.complain(event.Warning, "own "+err.Error(), fmt.Sprintf("Block %s of an own miner is left to the pool: %v", work.FormatHash(work.HashHeader(&b.header)), err))
		}
	}
}

var (
	errNoWork  = errors.New("block of work that is not known, or whose merkle root is another")
	errTooMany = errors.New("block of work of which there are too many already")
	errTarget  = errors.New("block whose hash does not meet its target")
)

// dispatch submits a block, or has it wait for its transactions.
func (n *Node) dispatch(b *solved) error {
	e := n.store.find(b.job, work.HashTransaction(b.coinbase), [32]byte(b.header[36:68]))
	switch {
	case e == nil:
		return errNoWork
	case !meetsTarget(&b.header):
		return errTarget
	}
	hash := work.HashHeader(&b.header)
	if slices.Contains(e.blocks, hash) { // found here, and told of by another pool
		return nil
	}
	if len(e.blocks) >= mostBlocks {
		return errTooMany
	}
	if err := n.ofNetwork(&b.header); err != nil {
		return err
	}
	e.blocks = append(e.blocks, hash)
	if e.missing == 0 {
		return n.submit(e, b)
	}
	e.waiting = append(e.waiting, b)
	n.ask()
	return nil
}

// submit hands a block to the own nodes, which is tried until one answers.
func (n *Node) submit(e *entry, b *solved) error {
	block, err := e.block(b)
	if err != nil {
		return err
	}
	height, hash := e.height(b.coinbase), work.HashHeader(&b.header)
	from := "an own miner"
	if b.name != "" {
		from = "a miner of " + b.name
	}
	n.send(height, hash, block, from)
	return nil
}

// send submits a block.
func (n *Node) send(height int64, hash [32]byte, block []byte, from string) {
	n.options.Events.Say(event.Notice, fmt.Sprintf("Submitting block of height %d, hash %s, by %s", height, work.FormatHash(hash), from))
	said := ""
	n.options.Network.Submit(height, hash, block, func(s source.BlockState) {
		if s.State == said { // another confirmation, or reason
			return
		}
		said = s.State
		n.options.Events.Say(event.Notice, fmt.Sprintf("Block %d %s is %s", height, work.FormatHash(hash), said))
	})
}

// complainEvery is how often a kind of complaint is told.
const complainEvery = time.Minute

func (n *Node) complain(level event.Level, kind, text string) {
	if now := time.Now(); now.Sub(n.told[kind]) >= complainEvery {
		n.told[kind] = now
		n.options.Events.Say(level, text)
	}
}
