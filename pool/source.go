package pool

import (
	"context"
	"fmt"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/config"
	core "github.com/ckpool/ckpool/internal/pool"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum/client"
)

// Source is where a pool gets its work from, and where its blocks go to. [Nodes],
// [Upstreams] and [From] make one.
type Source struct {
	nodes     []bitcoind.Config
	upstreams []client.Endpoint
	own       WorkSource
}

// Nodes are bitcoin nodes, the best first: the pool works on templates of the first that
// is usable, watches all of them for new blocks, and submits a block to all of them.
func Nodes(nodes ...bitcoind.Config) Source {
	return Source{nodes: append([]bitcoind.Config{}, nodes...)}
}

// Upstreams are accounts at other pools, the best first: the pool is a proxy, whose miners
// are one to the pool there. It works for the first that has work; the pools there are
// told of shares that meet what they ask for, find blocks in them, and pay.
func Upstreams(pools ...client.Endpoint) Source {
	return Source{upstreams: append([]client.Endpoint{}, pools...)}
}

// From is a source of the caller's own.
func From(s WorkSource) Source { return Source{own: s} }

// WorkSource is what gives a pool its work, and takes its blocks. Its methods are called
// from any goroutine, and all but Run return at once.
type WorkSource interface {
	// Run is called once and runs the source until ctx ends. The context outlives that of
	// [Pool.Run] until all blocks have been submitted. An error ends the pool.
	Run(ctx context.Context) error

	// Updates gives the channel on which the source sends an update whenever miners should
	// change their work, the first as soon as there is one. It is the same channel each
	// time, and is not closed. Sending to it is not to wait for long: a channel with a
	// capacity of 1, of which the source takes back an update that it replaces, always
	// has the newest. The pool looks at it until Run is told to end.
	//
	// An update has a Template, of a node's answer (work.ParseTemplate) or made by hand
	// (work.NewTemplate); one without its transactions can be mined on, but its blocks
	// cannot be put together and are lost. One without a template, such as a closed channel
	// gives, ends the pool with an error. NewTip tells whether it builds on another block
	// than the one before. From and Received are for the log. Upstream, Clean and Ended stay
	// zero.
	Updates() <-chan source.Update

	// Refresh asks for an update now, for a reason in a word or two: about each 30 s, and
	// when the pool has found a block. A source that has none to give may do nothing.
	Refresh(reason string)

	// Chain is the chain of the updates as Bitcoin Core names it (main, test, testnet4,
	// signet, regtest), "" unknown. It decides on which network addresses must be, and
	// is asked when the first update has come.
	Chain() string

	// Submit takes a block, which is not changed any more, to bring it to the network.
	// changed is to be called with what is known to become of it, for the first time
	// when something is: at last confirmed with its number of confirmations, up to 100,
	// orphaned, or rejected with a text. It may be called from any goroutine, one call at a
	// time, until Run returns, and does not block. Nobody else has the block: a source that
	// cannot be sure of its network keeps it in a file.
	//
	// What becomes of blocks of an earlier run is not asked.
	Submit(block source.SolvedBlock, changed func(source.BlockState))

	// Status is how the places do that the work is from, at least one. While none is
	// Current there is no work to be had: after five minutes of that the pool closes its
	// miners, so that they go elsewhere.
	Status() []source.Status
}

// fill puts the source into a configuration.
func (s *Source) fill(c *config.Config, errs *errorList) {
	c.Nodes = s.nodes
	for i, e := range s.upstreams {
		if _, err := e.Address(); err != nil {
			*errs = append(*errs, fmt.Errorf("pool: Upstreams: endpoint %d: %w", i, err))
		}
		c.Proxies = append(c.Proxies, config.Upstream{URL: e.URL, User: e.User, Pass: e.Password})
	}
	if len(s.nodes) == 0 && len(s.upstreams) == 0 && s.own == nil {
		*errs = append(*errs, fmt.Errorf("pool: the source has no node, no upstream, and is not the caller's own"))
	}
}

// core is the source as the pool's core has one; nil for what a configuration has.
func (s *Source) core() *core.Source {
	if s.own == nil {
		return nil
	}
	return &core.Source{Work: own{s.own}, Blocks: ownBlocks{s.own}}
}

// own is a caller's source of work: it implements jobs.Source.
type own struct{ WorkSource }

func (o own) Templates() <-chan source.Update { return o.Updates() }

func (o own) Prepare() {}

func (o own) Usable() bool {
	for _, s := range o.WorkSource.Status() {
		if s.Current {
			return true
		}
	}
	return false
}

func (o own) Status() []source.Status {
	if list := o.WorkSource.Status(); len(list) > 0 {
		return list
	}
	return []source.Status{{State: "unknown", Height: -1}}
}

// ownBlocks is where blocks go to of a caller's source: it implements blocks.Network.
type ownBlocks struct{ own WorkSource }

func (o ownBlocks) Chain() string { return o.own.Chain() }

func (o ownBlocks) Refresh(reason string) { o.own.Refresh(reason) }

func (o ownBlocks) Submit(height int64, hash [32]byte, block []byte, changed func(source.BlockState)) {
	o.own.Submit(source.SolvedBlock{Height: height, Hash: hash, Serialised: block}, changed)
}

// Follow has nothing to do: what becomes of earlier blocks is not asked.
func (ownBlocks) Follow(int64, [32]byte, string, source.BlockState, func(source.BlockState)) {}

// Resume has nothing to do: the source keeps its blocks.
func (ownBlocks) Resume(func([32]byte) (source.BlockState, string), func(int64, [32]byte, source.BlockState)) error {
	return nil
}

func (ownBlocks) Unsaved() []source.SolvedBlock { return nil }

func (ownBlocks) Leave() {}
