package bitcoind

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ckpool/ckpool/work"
)

// node is a member of a group.
type node struct {
	// immutable
	config      Config
	client      *Client
	pollEvery   time.Duration
	subscribers []*subscriber

	// Capacity 1: a full one says what there is to say.
	checkNow, callsNow, fetchNow, pollNow, longPollNow chan struct{}

	// guarded by Group.mu
	index    int     // in the list of nodes
	stop     func()  // ends its loops; nil while they do not run
	asked    bool    // its first template request ended
	answers  bool    // its last template request was answered with a template
	verified bool    // its chain was asked for since it was last unreachable
	losses   uint64  // how often it has become unreachable
	problem  problem // why the last one was not
	nameless problem // why its chain is not known
	chain    string
	misfit   error // why chain is none to mine on
	info     ChainInfo
	noWork   bool // it does not tell the work of its chain

	forbidden string // calls it refuses to this user, "" none
	version   string
	latency   time.Duration
	answered  time.Time // when it last gave any answer

	tip         tip    // what it says is its newest block
	tips        uint64 // counts changes of tip
	template    *template
	received    time.Time // when template came
	fetching    bool      // a template request is wanted or under way
	endLongPoll func()    // of the long poll that has not begun to be answered; nil: there is none
	steady      bool
	behind      time.Time // since when its tip is lower than another's; zero: it is not
	told        schedule
	alive       bool // said so
}

// template is a node's answer.
type template struct {
	work     *work.Template // nil once delivered or of no use: it is large
	built    tip            // what it builds on
	longPoll string         // id
	answered time.Time
	tips     uint64   // the node's count of tips when it was asked for
	had      [32]byte // the node's tip then
	wish     uint64   // the group's count of wishes then
}

// ask fills the template with the client's answer.
func (t *template) ask(ctx context.Context, c *Client, longPollID string) error {
	var err error
	t.work, t.answered, err = c.template(ctx, longPollID)
	if err == nil {
		t.built = tip{hash: t.work.PrevHash, height: t.work.Height - 1}
		t.longPoll = t.work.LongPollID
	}
	return err
}

func newNode(c Config, o Options) (*node, error) {
	n := &node{
		config:      c,
		client:      NewClient(c, o),
		pollEvery:   o.BlockPoll,
		checkNow:    make(chan struct{}, 1),
		callsNow:    make(chan struct{}, 1),
		fetchNow:    make(chan struct{}, 1),
		pollNow:     make(chan struct{}, 1),
		longPollNow: make(chan struct{}, 1),
		tip:         tip{height: -1},
		info:        ChainInfo{Blocks: -1, Headers: -1},
	}
	if n.client.err != nil {
		return nil, n.client.err
	}
	if c.Notify {
		n.pollEvery = slowPoll
	}
	for _, endpoint := range c.ZMQ {
		s, err := newSubscriber(endpoint)
		if err != nil {
			return nil, err
		}
		n.subscribers = append(n.subscribers, s)
	}
	return n, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// want asks the node's fetcher for a template request.
func (n *node) want() {
	if !n.fetching {
		n.fetching = true
		signal(n.fetchNow)
	}
}

// reachable: it may answer, whatever it says.
func (n *node) reachable() bool {
	return !n.problem.gone && !n.problem.barred()
}

// fail notes why the node cannot be used.
func (n *node) fail(p problem) {
	n.problem = p
	n.answers, n.steady = false, false
	if p.gone {
		n.verified = false // another node may come back in its place
		n.losses++
	}
}

// disagrees: asked since its tip changed, it still builds on another block.
func (n *node) disagrees() bool {
	t := n.template
	return t != nil && t.tips == n.tips && n.tip.hash != [32]byte{} && t.built.hash != n.tip.hash
}

// outdated: the node has told of another block since the template was asked for.
func (n *node) outdated(t *template) bool {
	return t.tips != n.tips && t.built.hash != n.tip.hash
}

// informed: all is known of its tip that it tells.
func (n *node) informed() bool {
	return n.tip.height >= 0 && (n.tip.work != nil || n.noWork)
}

// deduceHeight takes the height of its tip from its template, if it does not
// tell more.
func (n *node) deduceHeight() {
	if t := n.template; n.noWork && n.tip.height < 0 && t != nil && t.built.hash == n.tip.hash {
		n.tip.height = t.built.height
	}
}

// owesWork: the work of t will be known when getblockchaininfo is answered.
func (n *node) owesWork(t tip) bool {
	return t.hash == n.tip.hash && !n.informed()
}

// effective is the tip the node can give work for, as far as is known.
func (n *node) effective() tip {
	if n.disagrees() {
		return n.builtOn(n.template)
	}
	return n.tip
}

// builtOn is the tip a template of the node builds on.
func (n *node) builtOn(t *template) tip {
	if t.built.hash == n.tip.hash {
		t.built.work = n.tip.work
	}
	return t.built
}

// state tells how the node does: a state as Status tells it and, if it is not ok, a
// kind and a reason for the operator.
func (tr *tracker) state(n *node, now time.Time) problem {
	switch {
	case !n.asked:
		return problem{state: stateChecking}
	case !n.answers:
		p := n.problem
		if p.state == stateSyncing && n.info.Headers > 0 {
			p.reason += fmt.Sprintf(" (block %d of %d)", n.info.Blocks, n.info.Headers)
		}
		return p
	case !n.verified && n.nameless.kind != "":
		return n.nameless
	case !n.verified:
		return problem{state: stateChecking}
	case tr.wrongChain(n) && tr.chain == "":
		return problem{state: stateWrongChain, kind: "chain", reason: fmt.Sprintf("is on chain %s: %v", n.chain, n.misfit)}
	case tr.wrongChain(n):
		return problem{state: stateWrongChain, kind: "chain",
			reason: fmt.Sprintf("is on chain %s, but the pool mines on %s: take it out of the list of nodes, or the others", n.chain, tr.chain)}
	case n.forbidden != "":
		reason := "does not let this user call " + n.forbidden + ": add that to its rpcwhitelist"
		if strings.Contains(n.forbidden, "submitblock") {
			reason += ", or a block that is found does not get there"
		}
		return problem{state: stateRefused, kind: "forbidden", reason: reason}
	case n.downloads():
		return problem{state: stateSyncing, kind: "download",
			reason: fmt.Sprintf("is in initial block download (block %d of %d): on a test network it gives work all the same, which others may be far ahead of", n.info.Blocks, n.info.Headers)}
	case !n.behind.IsZero() && now.Sub(n.behind) > lagTime:
		return problem{state: stateLagging, kind: "lagging",
			reason: fmt.Sprintf("lags: its newest block is %d, others have %d", n.tip.height, tr.highest())}
	}
	return problem{state: stateOK}
}

// downloads: it does not have the chain yet, and gives templates all the same.
// On regtest, where nobody else mines, that means nothing.
func (n *node) downloads() bool {
	ibd := n.info.InitialBlockDownload
	return ibd != nil && *ibd && n.chain != "main" && n.chain != "regtest"
}

func (tr *tracker) wrongChain(n *node) bool {
	return n.misfit != nil || tr.chain != "" && n.chain != "" && n.chain != tr.chain
}

// learnChain takes in what chain the node is on.
func (tr *tracker) learnChain(n *node, chain string) {
	if n.chain != chain {
		tr.wakeFollowers() // whose blocks may be of that chain
	}
	n.chain, n.misfit = chain, nil
	if chain != "" && tr.options.Fits != nil {
		n.misfit = tr.options.Fits(chain)
	}
	if n.misfit != nil {
		signal(tr.rearm)
	}
}

// unfit is why there will never be work: no node is on a chain that fits. A
// node not heard of yet may be, one that was followed may be again.
func (tr *tracker) unfit() error {
	if tr.chain != "" {
		return nil
	}
	for _, n := range tr.nodes {
		if n.misfit == nil {
			return nil
		}
	}
	return tr.nodes[0].misfit
}

func (tr *tracker) usable(n *node) bool {
	return n != nil && n.answers && n.verified && !tr.wrongChain(n)
}

// highest is the greatest height any node of the right chain claims.
func (tr *tracker) highest() int64 {
	height := int64(-1)
	for _, n := range tr.nodes {
		if !tr.wrongChain(n) {
			height = max(height, n.tip.height)
		}
	}
	return height
}
