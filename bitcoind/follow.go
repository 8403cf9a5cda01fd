package bitcoind

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	finalDepth   = 100              // confirmations after which nothing is expected to change
	followEvery  = 30 * time.Second // beside every new tip
	viewPatience = time.Second      // for other nodes' views, after the first
)

// Follow watches an earlier block to 100 confirmations, or until another block
// has had its place for that long. changed is called with each new state.
func (g *Group) Follow(height int64, hash [32]byte, changed func(BlockState)) {
	if !g.begin() {
		return
	}
	defer g.tasks.Done()
	b := g.newBlock(height, hash, changed)
	b.announced = true
	g.tasks.Go(func() { b.watch(g.life) })
}

// watch finds out what became of the block and reports each change.
func (b *block) watch(ctx context.Context) {
	decide := sync.OnceFunc(func() { close(b.decided) })
	defer decide()
	began := time.Now()
	for ctx.Err() == nil {
		newTip := b.g.newTip()
		state, final := b.look(ctx)
		if ctx.Err() != nil {
			return
		}
		b.tell(state)
		if state.State == BlockConfirmed || final {
			decide()
		}
		b.keep(state, final)
		if final {
			return
		}
		select {
		case <-b.kick:
		case <-newTip:
		case <-time.After(b.patience(time.Since(began))):
		case <-ctx.Done():
		case <-b.g.ending:
			if b.settled() {
				return
			}
			// What nodes still answer is worth knowing.
			b.sending.Wait()
			state, final := b.look(ctx)
			b.tell(state)
			b.keep(state, final)
			return
		}
	}
}

// settled: there is no submission under way whose end matters.
func (b *block) settled() bool {
	return b.senders == 0 || b.last.State == BlockConfirmed || b.last.State == BlockOrphaned
}

// patience is the time to the next look if nothing happens.
func (b *block) patience(since time.Duration) time.Duration {
	switch {
	case b.settled():
		return followEvery
	case since < retryEagerly:
		return retryEvery
	}
	return retryLater
}

// look finds the block's state; final means that it will not change.
func (b *block) look(ctx context.Context) (state BlockState, final bool) {
	b.mu.Lock()
	found := b.found
	b.found = ""
	isStored := b.stored
	allRefuse := b.senders > 0 && b.refusals == b.senders
	text := b.verdictText()
	b.mu.Unlock()
	if found != "" && b.last.State != BlockConfirmed {
		b.by = found
		signal(b.kick) // what others say is looked at after this
		return BlockState{State: BlockConfirmed, Confirmations: 1}, false
	}
	if allRefuse {
		return BlockState{State: BlockRejected, Text: text}, true
	}
	if b.senders > 0 && !isStored && b.last.State == "" && text == "" {
		return BlockState{}, false // no answer yet
	}
	v, ok := b.g.views(ctx, b.height, b.hash)
	switch {
	case !ok && (text == "" || b.settled()):
		return b.last, false // nothing new
	case !ok:
		return BlockState{State: BlockPending, Text: text}, false
	case v.ours:
		b.by = v.node
		n := v.depth + 1
		return BlockState{State: BlockConfirmed, Confirmations: n}, n >= finalDepth
	case v.depth > 0:
		return BlockState{State: BlockOrphaned, Text: fmt.Sprintf("%s is at height %d of bitcoind %s", displayHash(v.hash), b.height, v.node)}, v.depth >= finalDepth
	}
	if text == "" {
		text = fmt.Sprintf("%s came first at height %d, the next block decides", displayHash(v.hash), b.height)
	}
	return BlockState{State: BlockPending, Text: text}, false
}

// verdictText is what nodes said that did not take the block.
func (b *block) verdictText() string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(b.verdicts)) {
		texts = append(texts, name+": "+b.verdicts[name])
	}
	return strings.Join(texts, "; ")
}

// tell reports a state if it is another than before.
func (b *block) tell(s BlockState) {
	if s == b.last || s.State == "" {
		return
	}
	before := b.last
	b.last = s
	if s.State != before.State {
		b.announce(before.State, s)
	}
	b.changed(s)
}

func (b *block) announce(before string, s BlockState) {
	b.mu.Lock()
	clear := b.accepted
	b.mu.Unlock()
	event := func(format string, args ...any) {
		b.g.options.Event(Event{levelWarning, fmt.Sprintf(format, args...)})
	}
	switch {
	case s.State == BlockConfirmed && b.announced:
		if before == BlockOrphaned {
			event("Block %d %s is in the chain again", b.height, displayHash(b.hash))
		}
	case s.State == BlockConfirmed:
		b.announced = true
		if !clear {
			event("Hash for forced possibly stale block, height %d confirms block was ACCEPTED", b.height)
		}
		b.g.options.Event(Event{levelNotice, // the caller tells it as news, with what only he knows
			fmt.Sprintf("BLOCK ACCEPTED! %d %s by bitcoind %s", b.height, displayHash(b.hash), b.by)})
	case s.State == BlockOrphaned && !b.announced:
		event("Hash for forced possibly stale block, height %d confirms block was REJECTED", b.height)
	case s.State == BlockOrphaned:
		event("Block %d %s was orphaned: %s", b.height, displayHash(b.hash), s.Text)
	case s.State == BlockRejected:
		event("Block %d %s was rejected: %s", b.height, displayHash(b.hash), s.Text)
	}
}

// keep removes the saved file once it is of no more use.
func (b *block) keep(s BlockState, final bool) {
	if b.saved == nil || s.State != BlockConfirmed && !final {
		return
	}
	<-b.saved
	b.saved = nil
	if err := b.g.unsave(b.height, b.hash, s.State == BlockRejected); err != nil {
		b.g.options.Event(Event{levelWarning, fmt.Sprintf("Block %d %s: %v", b.height, displayHash(b.hash), err)})
	}
}

// view is what a node has at a height.
type view struct {
	node  string
	hash  [32]byte
	depth int64 // blocks on top
	ours  bool
}

// views asks all nodes that can be reached and returns the view of the one
// with the longest chain; of equals, the one that has hash. It is false if none
// has a block there. A node that hangs is not waited for when others answered.
func (g *Group) views(ctx context.Context, height int64, hash [32]byte) (best view, ok bool) {
	nodes := g.reachable()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	views := make(chan *view, len(nodes)) // nil: no answer
	for _, n := range nodes {
		g.tasks.Go(func() { views <- n.view(ctx, height, hash) }) // views is called by a task
	}
	var late <-chan time.Time
	for range nodes {
		select {
		case v := <-views:
			if v == nil {
				continue
			}
			if !ok || v.depth > best.depth || v.depth == best.depth && v.ours && !best.ours {
				best, ok = *v, true
			}
			if late == nil {
				late = time.After(viewPatience)
			}
		case <-late:
			return best, ok
		}
	}
	return best, ok
}

// view is what the node has at a height, nil if it does not say.
func (n *node) view(ctx context.Context, height int64, hash [32]byte) *view {
	at, err := n.client.BlockHash(ctx, height)
	if err != nil {
		return nil
	}
	count, err := n.client.BlockCount(ctx)
	if err != nil {
		return nil
	}
	return &view{n.client.name, at, max(0, count-height), at == hash}
}

func (g *Group) reachable() []*node {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []*node
	for _, n := range g.nodes {
		if !g.wrongChain(n) && !n.problem.gone {
			list = append(list, n)
		}
	}
	return list
}

func asRPCError(err error) (*RPCError, bool) { return errors.AsType[*RPCError](err) }
