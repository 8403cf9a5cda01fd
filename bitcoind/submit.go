package bitcoind

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Retries of a submission: every second for 10 minutes, then every 10 s.
const (
	retryEvery   = time.Second
	retryEagerly = 10 * time.Minute
	retryLater   = 10 * time.Second
	sameText     = 10 * time.Second // between two events of the same text
)

// BlockState is what is known of a submitted block.
type BlockState struct {
	// State is pending, confirmed (a node has it at its height), orphaned
	// (another block is there; it may become confirmed again) or rejected.
	State         string
	Confirmations int64  // 1 for the tip; 0 unless confirmed
	Text          string // why, in words of nodes
}

// States of a block: BlockState.State.
const (
	BlockPending   = "pending"
	BlockConfirmed = "confirmed"
	BlockOrphaned  = "orphaned"
	BlockRejected  = "rejected"
)

// Submit starts submission of a solved block to every node at once, saves it
// under SaveDir in parallel, retries until it is decided, and follows it to 100
// confirmations. changed is called with each new state, one call at a time.
//
// A node's word is not enough for "confirmed": some node must have hash at
// height. Undecided blocks stay in SaveDir for Resume. Once Run has ended the
// block is only saved. The block must not be changed afterwards.
func (g *Group) Submit(height int64, hash [32]byte, block []byte, changed func(BlockState)) {
	g.submit(height, hash, block, changed, false)
}

func (g *Group) submit(height int64, hash [32]byte, block []byte, changed func(BlockState), isSaved bool) {
	b := g.newBlock(height, hash, changed)
	b.saved = make(chan struct{})
	g.saves.Add(1)
	save := func() {
		defer g.saves.Done()
		defer close(b.saved)
		if isSaved {
			return
		}
		if err := g.save(height, hash, block); err != nil {
			g.options.Event(Event{levelError, fmt.Sprintf("Block %d %s is not saved: %v", height, displayHash(hash), err)})
		}
	}
	if !g.begin() {
		save()
		return
	}
	defer g.tasks.Done()
	g.tasks.Go(save)
	g.tasks.Go(func() {
		request := newSubmission(block)
		nodes := g.submitters()
		b.senders = len(nodes)
		for _, n := range nodes {
			b.sending.Go(func() { b.send(g.life, n, request) })
		}
		b.watch(g.life)
		b.sending.Wait()
	})
}

// WaitSaved returns when every block given to Submit until now is in SaveDir,
// so that another process can go on with it. No Submit may begin meanwhile.
func (g *Group) WaitSaved() { g.saves.Wait() }

// begin registers a task, unless Run has ended. The caller calls tasks.Done.
func (g *Group) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return false
	}
	g.tasks.Add(1)
	return true
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
	changed func(BlockState)
	senders int           // nodes it is submitted to; 0 before, and if it is only followed
	saved   chan struct{} // closed when saving ended; nil: nothing is saved

	kick    chan struct{} // capacity 1: a node's verdict or view is new
	decided chan struct{} // closed when no more submission is needed
	sending sync.WaitGroup

	// owned by watch
	last      BlockState
	by        string // the node that has it in its chain
	announced bool   // that it was confirmed

	mu sync.Mutex
	// guarded by mu
	found    string            // a node that has it at its height; "" none yet
	accepted bool              // a node took it without reservation
	stored   bool              // a node has it at all
	verdicts map[string]string // of the nodes that did not take it
	refusals int               // nodes that never will
}

func (g *Group) newBlock(height int64, hash [32]byte, changed func(BlockState)) *block {
	return &block{
		g: g, height: height, hash: hash, changed: changed,
		kick:     make(chan struct{}, 1),
		decided:  make(chan struct{}),
		verdicts: make(map[string]string),
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

func judge(verdict string, err error) outcome {
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
	case "prev-blk-not-found", "time-too-new":
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
func (b *block) send(ctx context.Context, n *node, request submission) {
	began := time.Now()
	var t repeated
	for attempt := 1; ; attempt++ {
		sent := time.Now()
		verdict, err := n.client.submit(ctx, request)
		if ctx.Err() != nil {
			return
		}
		what := judge(verdict, err)
		text, level := replyText(verdict, err)
		if text, tell := t.tell(text, time.Now()); tell {
			b.g.options.Event(Event{level, fmt.Sprintf("%s: bitcoind %s, block %d, %d ms",
				text, n.client, b.height, time.Since(sent).Milliseconds())})
		}
		b.note(n, what, verdict, err)
		switch what {
		case accepted, stored:
			b.confirm(ctx, n)
			return
		case refused:
			return
		}
		if attempt == 1 && err != nil && n.client.explain(err).gone {
			continue // a connection that broke is worth another one at once
		}
		every := retryEvery
		if time.Since(began) > retryEagerly {
			every = retryLater
		}
		select {
		case <-time.After(every):
		case <-b.decided:
			return
		case <-b.g.ending:
			return
		case <-ctx.Done():
			return
		}
	}
}

// replyText is what an operator reads of a reply. Where several nodes get the
// block, it is usual that one has it from the other already.
func replyText(verdict string, err error) (text string, level int) {
	if e, ok := asRPCError(err); ok {
		return "SUBMIT BLOCK RETURNED: " + e.Error(), levelWarning
	}
	if err != nil {
		return "SUBMIT BLOCK GOT NO RESPONSE! " + err.Error(), levelWarning
	}
	switch verdict {
	case "":
		return "Block taken", levelNotice
	case "duplicate":
		return "Block taken before (duplicate)", levelNotice
	}
	return "SUBMIT BLOCK RETURNED: " + verdict, levelWarning
}

// repeated keeps the same text from being told at every attempt.
type repeated struct {
	text    string
	told    time.Time
	skipped int
}

func (r *repeated) tell(text string, now time.Time) (string, bool) {
	if text == r.text && now.Sub(r.told) < sameText {
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
func (b *block) note(n *node, what outcome, verdict string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.verdicts, n.client.name)
	switch what {
	case accepted:
		b.accepted, b.stored = true, true
	case stored:
		b.stored = true
	default:
		if err != nil {
			verdict = n.client.explain(err).reason
		}
		b.verdicts[n.client.name] = verdict
	}
	if what == refused {
		b.refusals++
	}
	signal(b.kick)
}

// confirm asks the node to prefer the block over another of the same height,
// and whether it has it in its chain. New work follows from its new tip.
func (b *block) confirm(ctx context.Context, n *node) {
	c := n.client
	// Bitcoin Core alone has this call, and it changes nothing elsewhere.
	_ = c.call(ctx, c.submissions, c.options.Timeout, nil, "preciousblock", displayHash(b.hash).String())
	var at displayHash
	err := c.call(ctx, c.submissions, c.options.Timeout, &at, "getblockhash", b.height)
	if err == nil && at == b.hash {
		b.mu.Lock()
		b.found = c.name
		b.mu.Unlock()
	}
	signal(b.kick)
	signal(n.pollNow)
}
