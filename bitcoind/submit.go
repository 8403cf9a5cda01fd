package bitcoind

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/source"
)

// Retries of a submission: every second for 10 minutes, then every 10 s.
const (
	retryEvery   = time.Second
	retryEagerly = 10 * time.Minute
	retryLater   = 10 * time.Second
	sameText     = 10 * time.Second // between two events of the same text
	sameVerdict  = time.Hour        // likewise, of a node that has decided
)

// noParent is the verdict of a node that does not know the block below.
const noParent = "prev-blk-not-found"

// Submit starts submission of a solved block to every node at once, saves it
// under SaveDir in parallel, retries both until they are done, and follows the
// block to 100 confirmations. changed is called with each new state, one call
// at a time.
//
// A node's word is not enough for "confirmed": some node must have hash at
// height. A node that loses the block again before it has 6 confirmations gets
// it again; until then it stays in SaveDir for Resume. Once Run has ended the
// block is only saved. The block must not be changed afterwards.
func (g *Group) Submit(height int64, hash [32]byte, block []byte, changed func(source.BlockState)) {
	b := g.newBlock(height, hash, changed)
	b.keep(block, false)
	switch known, ended := g.begin(b); {
	case known:
		return
	case ended:
		b.save(b.request)
		return
	}
	defer g.tasks.Done()
	request := b.request // nobody has let it go yet
	g.tasks.Go(func() { b.save(request) })
	b.offer()
	g.tasks.Go(b.watch)
}

// Unsaved returns the blocks that are neither safe nor in SaveDir yet, for
// another process to submit. It does not wait for the disk.
func (g *Group) Unsaved() (list []source.SolvedBlock) {
	g.mu.Lock()
	blocks := slices.Collect(maps.Values(g.blocks))
	g.mu.Unlock()
	for _, b := range blocks {
		b.mu.Lock()
		if b.request != nil && !b.onDisk {
			if block, err := hex.DecodeString(string(b.request.block())); err == nil { // it was encoded here
				list = append(list, source.SolvedBlock{Height: b.height, Hash: b.hash, Serialised: block, Trouble: b.trouble})
			}
		}
		b.mu.Unlock()
	}
	return list
}

// Leave makes SaveDir another process's, which goes on with all blocks.
func (g *Group) Leave() { g.left.Store(true) }

// begin registers the task of a block, unless the block has one or Run has
// ended. The caller calls tasks.Done.
func (g *Group) begin(b *block) (known, ended bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	known = g.blocks[b.hash] != nil
	if !known && !g.ended {
		g.blocks[b.hash] = b
		g.tasks.Add(1)
	}
	return known, g.ended
}

// end is for a block whose task ends.
func (g *Group) end(b *block) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.blocks, b.hash)
}

// submitters are all nodes but those of another chain.
func (g *Group) submitters() []*node {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []*node
	for _, n := range g.nodes {
		if !g.wrongChain(n) {
			list = append(list, n)
		}
	}
	return list
}

// block is a block that is submitted or followed.
type block struct {
	// immutable
	g       *Group
	height  int64
	hash    [32]byte
	chain   string // of a block of an earlier run; "" any
	changed func(source.BlockState)

	kick   chan struct{} // capacity 1: a node's verdict or view is new
	unkept chan struct{} // closed when the block need not be kept any more
	saved  chan struct{} // closed when saving has ended; nil: nothing is saved

	// owned by watch
	last      source.BlockState
	by        string // the node that has it in its chain
	announced bool   // that it was confirmed
	partial   bool   // a node had not answered when its state was last looked at

	mu sync.Mutex
	// guarded by mu
	request submission // nil: only followed, or safe
	parent  [32]byte
	onDisk  bool
	trouble string               // why it is not
	offered *offering            // the newest; nil: none
	told    map[string]*repeated // verdicts, by node
}

// offering is one submission to every node, repeated until it is decided.
type offering struct {
	// immutable
	began   time.Time
	decided chan struct{} // closed when no more submission is needed
	decide  func()        // closes it

	// guarded by block.mu
	senders  int
	sending  int               // of them, those that have not ended
	found    string            // a node that has the block at its height; "" none yet
	accepted bool              // a node took it without reservation
	stored   bool              // a node has it at all
	verdicts map[string]string // of the nodes that did not take it
	refusals int               // nodes that never will
}

func (g *Group) newBlock(height int64, hash [32]byte, changed func(source.BlockState)) *block {
	return &block{
		g: g, height: height, hash: hash, changed: changed,
		kick:   make(chan struct{}, 1),
		unkept: make(chan struct{}),
		told:   make(map[string]*repeated),
	}
}

// keep makes the block one that can be submitted. save is to be called then.
func (b *block) keep(block []byte, onDisk bool) {
	b.saved = make(chan struct{})
	b.request, b.onDisk = newSubmission(block), onDisk
	if len(block) >= 80 {
		b.parent = [32]byte(block[4:36])
	}
}

// offer begins to submit the block to every node, in place of what is under way.
func (b *block) offer() {
	nodes := b.g.submitters()
	o := &offering{began: time.Now(), decided: make(chan struct{}), verdicts: make(map[string]string)}
	o.decide = sync.OnceFunc(func() { close(o.decided) })
	b.mu.Lock()
	if b.offered != nil {
		b.offered.decide()
	}
	b.offered = o
	b.sendTo(nodes)
	b.mu.Unlock()
}

// offerAlso takes further nodes into a submission that is under way.
func (b *block) offerAlso(nodes []*node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.request == nil || b.offered == nil {
		return
	}
	select {
	case <-b.offered.decided:
	default:
		b.sendTo(nodes)
	}
}

// sendTo begins to send what is offered to nodes. The caller holds mu, and is a task.
func (b *block) sendTo(nodes []*node) {
	o, request := b.offered, b.request
	o.senders += len(nodes)
	o.sending += len(nodes)
	for _, n := range nodes {
		b.g.tasks.Go(func() {
			b.send(b.g.life, n, o, request)
			b.mu.Lock()
			o.sending--
			b.mu.Unlock()
			signal(b.kick)
		})
	}
}

// outcome is what a reply to submitblock means.
type outcome int

const (
	accepted outcome = iota // taken without reservation
	stored                  // known; whether it is in the chain is to be asked
	refused                 // never to be taken by this node
	again                   // not decided
)

func outcomeOf(verdict string, err error) outcome {
	if err != nil {
		const codeUndecodable = -22
		if e, ok := asRPCError(err); ok && e.Code == codeUndecodable {
			return refused
		}
		return again
	}
	switch verdict {
	case "", "duplicate":
		return accepted
	case "inconclusive", "duplicate-inconclusive":
		return stored
	case noParent, "time-too-new":
		return again
	}
	switch { // btcd
	case strings.Contains(verdict, "already have block"):
		return stored
	case strings.Contains(verdict, "too far in the future"):
		return again
	}
	return refused
}

// send submits the block to one node until the node decided or no decision is
// needed any more.
func (b *block) send(ctx context.Context, n *node, o *offering, request submission) {
	for b.chain != "" {
		chain := b.g.chainOfNode(n)
		if b.isOf(chain) {
			break
		}
		if chain != "" || !pauseUnless(ctx, retryEvery, o.decided, b.g.ending) {
			return
		}
	}
	for attempt := 1; ; attempt++ {
		sent := time.Now()
		verdict, err := n.client.submit(ctx, request)
		if verdict == noParent && b.g.bringParent(ctx, n, b) {
			verdict, err = n.client.submit(ctx, request)
		}
		if ctx.Err() != nil {
			return
		}
		what := outcomeOf(verdict, err)
		b.tellVerdict(n, what, verdict, err, time.Since(sent))
		b.note(n, o, what, verdict, err)
		switch what {
		case accepted, stored:
			b.confirm(ctx, n, o)
			return
		case refused:
			return
		}
		if attempt == 1 && err != nil && n.client.explain(err).gone {
			continue // a connection that broke is worth another one at once
		}
		every := retryEvery
		if time.Since(o.began) > retryEagerly {
			every = retryLater
		}
		if !pauseUnless(ctx, every, o.decided, b.g.ending) {
			return
		}
	}
}

// pauseUnless reports whether the time has passed before anything ended.
func pauseUnless(ctx context.Context, pause time.Duration, decided, ending <-chan struct{}) bool {
	select {
	case <-time.After(pause):
		return true
	case <-decided:
	case <-ending:
	case <-ctx.Done():
	}
	return false
}

// chainOfNode is the chain a node is on, "" unknown yet.
func (g *Group) chainOfNode(n *node) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return n.chain
}

// bringParent submits the parent of a block to a node that does not know it, if
// that is a block of ours that is still kept; likewise the parent's parent. It
// reports whether the node may know it now.
func (g *Group) bringParent(ctx context.Context, n *node, child *block) bool {
	g.mu.Lock()
	parent := g.blocks[child.parent]
	g.mu.Unlock()
	if parent == nil {
		return false
	}
	parent.mu.Lock()
	request := parent.request
	parent.mu.Unlock()
	if request == nil {
		return false
	}
	verdict, err := n.client.submit(ctx, request)
	if verdict == noParent && g.bringParent(ctx, n, parent) {
		verdict, err = n.client.submit(ctx, request)
	}
	return err == nil && verdict != noParent
}

// tellVerdict tells what a node said, the same not again and again.
func (b *block) tellVerdict(n *node, what outcome, verdict string, err error, took time.Duration) {
	text, level := replyText(verdict, err)
	every := sameText
	if what != again {
		every = sameVerdict
	}
	b.mu.Lock()
	t := b.told[n.client.name]
	if t == nil {
		t = new(repeated)
		b.told[n.client.name] = t
	}
	text, tell := t.tell(text, every, time.Now())
	b.mu.Unlock()
	if tell {
		b.g.options.Events.Say(level, fmt.Sprintf("%s: bitcoind %s, block %d, %d ms", text, n.client, b.height, took.Milliseconds()))
	}
}

// replyText is what an operator reads of a reply. Where several nodes get the
// block, it is usual that one has it from the other already.
func replyText(verdict string, err error) (text string, level event.Level) {
	if e, ok := asRPCError(err); ok {
		return "SUBMIT BLOCK RETURNED: " + brief(e.Error()), event.Warning
	}
	if err != nil {
		return "SUBMIT BLOCK GOT NO RESPONSE! " + brief(err.Error()), event.Warning
	}
	switch verdict {
	case "":
		return "Block taken", event.Notice
	case "duplicate":
		return "Block taken before (duplicate)", event.Notice
	}
	return "SUBMIT BLOCK RETURNED: " + verdict, event.Warning
}

// repeated keeps the same text from being told at every attempt.
type repeated struct {
	text    string
	told    time.Time
	skipped int
}

// tell reports whether text is to be told now, and what of it.
func (r *repeated) tell(text string, every time.Duration, now time.Time) (string, bool) {
	if text == r.text && now.Sub(r.told) < every {
		r.skipped++
		return "", false
	}
	said := text
	if text == r.text && r.skipped > 0 {
		said = fmt.Sprintf("%s (%d times more)", text, r.skipped)
	}
	*r = repeated{text: text, told: now}
	return said, true
}

// note keeps a node's verdict.
func (b *block) note(n *node, o *offering, what outcome, verdict string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(o.verdicts, n.client.name)
	switch what {
	case accepted:
		o.accepted, o.stored = true, true
	case stored:
		o.stored = true
	default:
		if err != nil {
			verdict = n.client.explain(err).reason
		}
		o.verdicts[n.client.name] = verdict
	}
	if what == refused {
		o.refusals++
	}
	signal(b.kick)
}

// confirm asks the node to prefer the block over another of the same height,
// and whether it has it in its chain. New work follows from its new tip.
func (b *block) confirm(ctx context.Context, n *node, o *offering) {
	c := n.client
	// Bitcoin Core alone has this call, and it changes nothing elsewhere.
	_ = c.call(ctx, c.submissions, c.options.Timeout, nil, "preciousblock", displayHash(b.hash).String())
	var at displayHash
	err := c.call(ctx, c.submissions, c.options.Timeout, &at, "getblockhash", b.height)
	if err == nil && at == b.hash {
		b.mu.Lock()
		o.found = c.name
		b.mu.Unlock()
	}
	signal(b.kick)
	signal(n.pollNow)
}
