package bitcoind

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/source"
)

// Times of a group.
const (
	checkEvery   = 5 * time.Second  // health of a node
	fetchEvery   = 30 * time.Second // proof that a node nobody asks still gives templates
	slowPoll     = 5 * time.Second  // where Notify is set
	warmEvery    = 10 * time.Second // submission connections
	rankPatience = 2 * time.Second  // at start, for nodes earlier in the list
	holdTime     = 10 * time.Second // for a better tip only unusable nodes know
	lagTime      = 10 * time.Second
	endPatience  = 5 * time.Second // for submissions under way when Run ends
)

// Group is an ordered list of nodes: health, choice, tips, submission.
//
// It follows the usable node with the most work; among equals the earlier in
// the list. A node is usable if it answers getblocktemplate and is on the same
// chain as the first one followed. Every node is watched for a new tip, by ZMQ,
// long poll and polling; the first to tell wins. Its methods may be called from any
// goroutine.
type Group struct {
	tracker

	// immutable
	ending  chan struct{} // closed when Run ends
	life    context.Context
	endLife context.CancelFunc
	tasks   sync.WaitGroup // submissions, blocks being saved or followed
	loops   sync.WaitGroup // of nodes

	left atomic.Bool // SaveDir is another process's

	// guarded by mu
	running context.Context // of Run; nil before it and after
	ended   bool
	blocks  map[[32]byte]*block // submitted or followed
}

// NewGroup makes a group of nodes, best first. It does not connect.
func NewGroup(nodes []Config, o Options) (*Group, error) {
	if len(nodes) == 0 {
		return nil, errors.New("no bitcoin node configured")
	}
	g := &Group{
		tracker: tracker{
			options:   o.withDefaults(),
			updates:   make(chan source.Update, 1),
			rearm:     make(chan struct{}, 1),
			changed:   make(chan struct{}),
			published: tip{height: -1},
		},
		ending: make(chan struct{}),
		blocks: make(map[[32]byte]*block),
	}
	list, err := g.plan(nodes)
	if err != nil {
		return nil, err
	}
	g.life, g.endLife = context.WithCancel(context.Background())
	g.replace(list)
	return g, nil
}

// Run watches all nodes until ctx ends and then returns nil, or with an
// error once it knows every node to be on a chain that Options.Fits refuses.
// Submissions under way get 5 seconds more. It can be called once.
func (g *Group) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.mu.Lock()
	g.started = time.Now()
	g.running = ctx
	for _, n := range g.nodes {
		g.start(n)
	}
	g.mu.Unlock()
	err := g.clockLoop(ctx)
	cancel()
	g.mu.Lock()
	g.running = nil
	g.mu.Unlock()
	g.loops.Wait()

	g.mu.Lock()
	g.ended = true
	nodes := g.nodes
	g.mu.Unlock()
	close(g.ending)
	patience := time.AfterFunc(endPatience, g.endLife)
	g.tasks.Wait()
	patience.Stop()
	g.endLife()
	for _, n := range nodes {
		n.client.Close()
	}
	return err
}

// clockLoop evaluates when time alone changes something. The error is that of
// unfit.
func (g *Group) clockLoop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-g.rearm:
		}
		g.update(nil)
		g.mu.Lock()
		timer.Reset(time.Until(g.wake))
		err := g.unfit()
		g.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// Templates delivers a new template of the followed node whenever the tip
// changed or Refresh asked; only the newest unread one is kept. The channel is not closed,
// also when Run has ended.
func (g *Group) Templates() <-chan source.Update { return g.updates }

// Refresh asks for a template now (timer, operator, notifier, own block), also
// from nodes that are pausing after a failure. Calls while a request is under
// way lead to one more.
func (g *Group) Refresh(reason string) {
	g.update(func(time.Time) {
		g.wish++
		g.tell(nil, event.Debug, "Template asked for: %s", reason)
		if g.current == nil {
			for _, n := range g.nodes {
				n.want()
			}
		}
	})
}

// Prepare makes ready for the next template of the followed node, see
// [Client.Prepare].
func (g *Group) Prepare() {
	if c := g.Current(); c != nil {
		c.Prepare()
	}
}

// Chain is the followed chain's name as Bitcoin Core calls it, "" unknown yet.
func (g *Group) Chain() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.chain
}

// Current is the client of the followed node, nil while none is usable.
func (g *Group) Current() *Client {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current == nil {
		return nil
	}
	return g.current.client
}

// Usable tells that some node is followed.
func (g *Group) Usable() bool { return g.Current() != nil }

// Transaction is RawTransaction of the followed node. The error is ErrNotUsable while there
// is none.
func (g *Group) Transaction(ctx context.Context, txid [32]byte) ([]byte, error) {
	c := g.Current()
	if c == nil {
		return nil, ErrNotUsable
	}
	return c.RawTransaction(ctx, txid)
}

// Announce is SendRawTransaction of the followed node. The error is ErrNotUsable while
// there is none.
func (g *Group) Announce(ctx context.Context, data []byte) error {
	c := g.Current()
	if c == nil {
		return ErrNotUsable
	}
	return c.SendRawTransaction(ctx, data)
}

// ErrNotUsable is that no node can be asked.
var ErrNotUsable = errors.New("no bitcoin node is usable")

// Status describes the nodes in list order.
func (g *Group) Status() []source.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	var list []source.Status
	for _, n := range g.nodes {
		p := g.state(n, now)
		list = append(list, source.Status{
			URL:     n.client.name,
			State:   p.state,
			Reason:  p.reason,
			Version: n.version,
			Current: n == g.current,
			Height:  n.tip.height,
			Latency: n.latency,
		})
	}
	return list
}
