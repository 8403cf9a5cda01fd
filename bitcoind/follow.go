package bitcoind

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/source"
)

const (
	safeDepth    = 6                // confirmations after which no node is expected to lose the block
	finalDepth   = 100              // confirmations after which nothing is expected to change
	followEvery  = 30 * time.Second // beside every new tip
	viewPatience = time.Second      // for other nodes' views, after the first
)

// Follow watches an earlier block to 100 confirmations, or until another block
// has had its place for that long. known is the state the caller knows: it is
// not told again. changed is called with each new state. A block that is
// submitted or followed already is left alone, and so is one of a chain no node
// is on. chain is named as [Group.Chain] does, "" if it is not known.
func (g *Group) Follow(height int64, hash [32]byte, chain string, known source.BlockState, changed func(source.BlockState)) {
	b := g.newBlock(height, hash, changed)
	b.chain = chain
	b.know(known)
	if known, ended := g.begin(b); known || ended {
		return
	}
	defer g.tasks.Done()
	g.tasks.Go(b.watch)
}

// know sets what is known of the block from an earlier run.
func (b *block) know(s source.BlockState) {
	b.last, b.announced = s, s.State == source.BlockConfirmed
}

// finding is what a look at the nodes gives.
type finding struct {
	source.BlockState
	safe  bool // the block need not be kept any more
	final bool // the state will not change
	short bool // the longest chain does not reach the block's height
	rival bool // another block of ours has its place
}

// watch finds out what became of the block and reports each change.
func (b *block) watch() {
	ctx := b.g.life
	defer b.g.end(b)
	defer b.decide()
	began := time.Now()
	for ctx.Err() == nil {
		newTip := b.g.newTip()
		before := b.last.State
		f := b.look(ctx)
		if ctx.Err() != nil {
			return
		}
		b.take(f)
		if f.final {
			return
		}
		if b.isToBeOffered(before, f) {
			began = time.Now()
			b.offer()
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
			for b.senders() > 0 && ctx.Err() == nil {
				select {
				case <-b.kick:
				case <-ctx.Done():
				}
			}
			b.take(b.look(ctx))
			return
		}
	}
}

// take reports a finding and does what follows from it.
func (b *block) take(f finding) {
	b.tell(f.BlockState)
	if f.State == source.BlockConfirmed || f.final {
		b.decide()
	}
	if f.safe || f.final {
		b.letGo(f.State == source.BlockRejected)
	}
}

// decide ends the submission that is under way.
func (b *block) decide() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.offered != nil {
		b.offered.decide()
	}
}

// senders are those at work.
func (b *block) senders() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.offered == nil {
		return 0
	}
	return b.offered.sending
}

// isToBeOffered: nodes must get the block again when it is no longer in the
// chain, and from time to time while their chain is too short to have it.
func (b *block) isToBeOffered(before string, f finding) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.request == nil, f.State != source.BlockPending: // nodes keep what is orphaned
		return false
	case before == source.BlockConfirmed:
		return !f.rival // else nodes have both
	}
	o := b.offered
	return f.short && (o == nil || o.sending == 0 && time.Since(o.began) >= retryLater)
}

// settled: there is no submission under way whose end matters.
func (b *block) settled() bool {
	return b.last.State == source.BlockConfirmed || b.last.State == source.BlockOrphaned || b.senders() == 0
}

// patience is the time to the next look if nothing happens.
func (b *block) patience(since time.Duration) time.Duration {
	b.mu.Lock()
	kept := b.request != nil
	b.mu.Unlock()
	switch {
	case b.partial: // who was late may know of a longer chain
		return retryLater
	case !kept, b.last.State == source.BlockConfirmed, b.last.State == source.BlockOrphaned:
		return followEvery
	case since < retryEagerly:
		return retryEvery
	}
	return retryLater
}

// look finds the block's state.
func (b *block) look(ctx context.Context) finding {
	b.mu.Lock()
	var found, text string
	var unanswered, unfinished, refused bool
	if o := b.offered; o != nil {
		found, o.found = o.found, ""
		text = o.verdictText()
		unfinished = o.sending > 0
		unanswered = !o.stored && text == "" && o.senders > 0
		refused = o.senders > 0 && o.refusals == o.senders
	}
	b.mu.Unlock()
	if found != "" && !b.announced && b.last.State != source.BlockOrphaned { // the first good news need no second opinion
		b.by = found
		signal(b.kick) // what others say is looked at after this
		return finding{BlockState: source.BlockState{State: source.BlockConfirmed, Confirmations: 1}}
	}
	if refused && !b.announced { // else it was good once
		return finding{BlockState: source.BlockState{State: source.BlockRejected, Text: text}, final: true}
	}
	if unanswered && b.last.State == "" {
		return finding{}
	}
	v, ok, all := b.views(ctx)
	b.partial = !all
	pending := func(format string, args ...any) finding {
		if text == "" {
			text = fmt.Sprintf(format, args...)
		}
		return finding{BlockState: source.BlockState{State: source.BlockPending, Text: text}, short: ok && v.depth < 0}
	}
	switch {
	case !ok && (text == "" || b.settled()):
		return finding{BlockState: b.last} // nothing new
	case !ok:
		return pending("")
	case v.ours:
		b.by = v.node
		n := v.depth + 1
		return finding{BlockState: source.BlockState{State: source.BlockConfirmed, Confirmations: n}, safe: n >= safeDepth, final: n >= finalDepth}
	case v.depth > 0:
		text := fmt.Sprintf("%s is at height %d of bitcoind %s", displayHash(v.hash), b.height, v.node)
		return finding{BlockState: source.BlockState{State: source.BlockOrphaned, Text: text}, safe: v.depth >= safeDepth, final: v.depth >= finalDepth}
	case v.depth < 0 && unfinished && b.last.State == "":
		return finding{} // a node may be about to take it
	case v.depth < 0:
		return pending("bitcoind %s has the blocks up to %d only", v.node, b.height+v.depth)
	}
	f := pending("%s came first at height %d, the next block decides", displayHash(v.hash), b.height)
	f.rival = b.g.submits(v.hash)
	return f
}

// submits reports whether a block is one that is submitted or followed.
func (g *Group) submits(hash [32]byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.blocks[hash] != nil
}

// verdictText is what nodes said that did not take the block.
func (o *offering) verdictText() string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(o.verdicts)) {
		texts = append(texts, name+": "+o.verdicts[name])
	}
	return strings.Join(texts, "; ")
}

// tell reports a state if it is another than before.
func (b *block) tell(s source.BlockState) {
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

func (b *block) announce(before string, s source.BlockState) {
	b.mu.Lock()
	clear := b.offered != nil && b.offered.accepted
	b.mu.Unlock()
	tell := func(level event.Level, format string, args ...any) {
		b.g.options.Events.Tell(event.Event{
			Level: level, Text: fmt.Sprintf(format, args...),
			What: source.BlockChange{Height: b.height, Hash: b.hash, BlockState: s, Before: before},
		})
	}
	switch {
	case s.State == source.BlockConfirmed && b.announced:
		if before != source.BlockConfirmed {
			tell(event.Warning, "Block %d %s is in the chain again", b.height, displayHash(b.hash))
		}
	case s.State == source.BlockConfirmed:
		b.announced = true
		if !clear {
			b.g.options.Events.Say(event.Warning, fmt.Sprintf("Hash for forced possibly stale block, height %d confirms block was ACCEPTED", b.height))
		}
		// The caller tells it as news, with what only he knows.
		tell(event.Notice, "BLOCK ACCEPTED! %d %s by bitcoind %s", b.height, displayHash(b.hash), b.by)
	case s.State == source.BlockPending && before == source.BlockConfirmed:
		tell(event.Warning, "Block %d %s is no longer in the chain: %s", b.height, displayHash(b.hash), s.Text)
	case s.State == source.BlockOrphaned && !b.announced:
		tell(event.Warning, "Hash for forced possibly stale block, height %d confirms block was REJECTED", b.height)
	case s.State == source.BlockOrphaned:
		tell(event.Warning, "Block %d %s was orphaned: %s", b.height, displayHash(b.hash), s.Text)
	case s.State == source.BlockRejected:
		tell(event.Warning, "Block %d %s was rejected: %s", b.height, displayHash(b.hash), s.Text)
	}
}

// view is what a node has at a height.
type view struct {
	node  string
	hash  [32]byte // zero: its chain is not that long
	depth int64    // blocks on top; negative: blocks that are missing
	ours  bool
}

// views asks all nodes that can be reached and returns the view of the one
// with the longest chain; of equals, the one that has the block. ok is false if
// none says what it has. A node that hangs is not waited for when others answered, of
// which all tells.
func (b *block) views(ctx context.Context) (best view, ok, all bool) {
	nodes := b.witnesses()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	views := make(chan *view, len(nodes)) // nil: no answer
	for _, n := range nodes {
		b.g.tasks.Go(func() { views <- n.view(ctx, b.height, b.hash) }) // views is called by a task
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
			if late == nil && v.depth >= 0 { // a node that lags does not speak for others
				late = time.After(viewPatience)
			}
		case <-late:
			return best, ok, false
		}
	}
	return best, ok, true
}

// view is what the node has at a height, nil if it does not say.
func (n *node) view(ctx context.Context, height int64, hash [32]byte) *view {
	for range 2 {
		at, err := n.client.BlockHash(ctx, height)
		short := outOfRange(err)
		if err != nil && !short {
			return nil
		}
		count, err := n.client.BlockCount(ctx)
		switch {
		case err != nil:
			return nil
		case short == (count < height):
			return &view{n.client.name, at, count - height, at == hash}
		}
		// Its tip has passed that height between the two calls.
	}
	return nil
}

// outOfRange: the node was asked for a block above its tip.
func outOfRange(err error) bool {
	e, ok := asRPCError(err)
	// Bitcoin Core: "Block height out of range", btcd: "Block number out of range".
	return ok && (e.Code == codeParameter || e.Code == codeMisc) && strings.Contains(e.Message, "out of range")
}

// witnesses are the nodes that can say what became of the block.
func (b *block) witnesses() []*node {
	b.g.mu.Lock()
	defer b.g.mu.Unlock()
	var list []*node
	for _, n := range b.g.nodes {
		if !b.g.wrongChain(n) && !n.problem.gone && b.isOf(n.chain) {
			list = append(list, n)
		}
	}
	return list
}

// isOf reports whether the block may be part of a chain. A node of another one,
// or not heard of yet, would call it orphaned or refuse it.
func (b *block) isOf(chain string) bool { return b.chain == "" || b.chain == chain }

func asRPCError(err error) (*RPCError, bool) { return errors.AsType[*RPCError](err) }
