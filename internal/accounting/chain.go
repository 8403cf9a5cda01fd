package accounting

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/logfile"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/work"
)

const (
	// chainTime is between two looks at the node.
	chainTime = 5 * time.Second
	// chainBlocks are stored in one transaction at most.
	chainBlocks = 20
)

// Chain follows the chain of a node, for what becomes of the pool's blocks, and posts
// their money. Make it with its exported fields, which are immutable.
//
// A node that does not answer, answers with errors, is on another chain or still
// downloads it changes nothing.
type Chain struct {
	Node    *bitcoind.Client
	Network string // main, test, testnet4, signet, regtest; "": that of the database
	Store   *store.Store
	Events  event.Func

	// owned by Run
	limiter  *logfile.Limiter
	troubled bool

	mu       sync.Mutex
	progress ChainProgress // guarded by mu
}

// ChainProgress is how far a node's chain is followed.
type ChainProgress struct {
	Node    string // host:port
	Tip     int64  // height of the node's newest block; 0 before it answered
	At      int64  // when it was as it should be last, unix seconds; 0: never
	Trouble string // of the last look; "": none
}

// Progress may be asked for at any time.
func (c *Chain) Progress() ChainProgress {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress.Node = c.Node.String()
	return c.progress
}

// note keeps how a look at the node went.
func (c *Chain) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.progress.Trouble = ""; err != nil {
		c.progress.Trouble = err.Error()
		return
	}
	c.progress.At = time.Now().Unix()
}

// Run follows until ctx ends.
func (c *Chain) Run(ctx context.Context) {
	c.limiter = logfile.NewLimiter(tellEvery)
	for {
		again, err := c.Step(ctx)
		if ctx.Err() != nil {
			return
		}
		c.note(err)
		c.tell(err)
		if again && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(chainTime):
		}
	}
}

// tell tells how a look at the node went, and the same trouble now and then: with other numbers
// it is the same, as those of a node that downloads the chain.
func (c *Chain) tell(err error) {
	switch {
	case err != nil:
		kind := strings.Map(func(r rune) rune {
			if unicode.IsDigit(r) {
				return -1
			}
			return r
		}, err.Error())
		if text, ok := c.limiter.PassKind(kind, err.Error()); ok {
			c.troubled = true
			c.Events.Say(event.Warning, "Blocks are not followed: "+text+"; trying again")
		}
	case c.troubled:
		c.troubled = false
		c.Events.Say(event.Notice, "Blocks are followed again")
	}
}

// Step takes over the next blocks of the node's chain, and says whether there are more.
func (c *Chain) Step(ctx context.Context) (more bool, err error) {
	tip, err := c.synced(ctx)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	c.progress.Tip = tip
	c.mu.Unlock()
	kept, first, err := c.Store.Follow(ctx)
	if err != nil {
		return false, err
	}
	fork := store.Place{Height: first - 1}
	var top store.Place
	if len(kept) > 0 {
		top = kept[0]
		if fork, err = c.fork(ctx, kept, tip); err != nil {
			return false, err
		}
	}
	var list []store.ChainBlock
	for height := fork.Height + 1; height <= tip && len(list) < chainBlocks; height++ {
		b, err := c.block(ctx, height)
		if err != nil {
			return false, err
		}
		list = append(list, b)
	}
	if len(list) > 0 {
		if err := c.Store.Advance(ctx, top, fork, list); errors.Is(err, store.ErrPlace) {
			return true, nil
		} else if err != nil {
			return false, err
		}
		if list[len(list)-1].Height < tip {
			return true, nil
		}
	}
	// Only at the tip: what is posted on the way would be taken back.
	told, err := c.Store.Settle(ctx)
	for _, text := range told {
		c.Events.Say(event.Warning, text)
	}
	return false, err
}

// synced is the height of the node's tip, if it is a node to be believed.
func (c *Chain) synced(ctx context.Context) (tip int64, err error) {
	network := c.Network
	if network == "" {
		if network, err = c.Store.Network(ctx); err != nil {
			return 0, err
		}
	}
	info, err := c.Node.ChainInfo(ctx)
	if err != nil {
		return 0, err
	}
	genesis, err := c.Node.BlockHash(ctx, 0)
	if err != nil {
		return 0, err
	}
	chain := bitcoind.ChainOf(genesis)
	switch {
	case network == "":
		return 0, errors.New("the database is of no network yet: no journal was stored")
	case chain != network || info.Chain != "" && info.Chain != network:
		return 0, fmt.Errorf("bitcoind %s is on chain %q with the genesis block of %q, the database has shares of %s", c.Node, info.Chain, chain, network)
	case info.InitialBlockDownload != nil && *info.InitialBlockDownload:
		return 0, fmt.Errorf("bitcoind %s still downloads the chain: it has %d of %d blocks", c.Node, info.Blocks, info.Headers)
	case info.Blocks < 0:
		return 0, fmt.Errorf("bitcoind %s does not say how many blocks it has", c.Node)
	case info.Headers-info.Blocks >= store.OrphanedAt: // what is new comes by its header first
		return 0, fmt.Errorf("bitcoind %s has %d of %d blocks", c.Node, info.Blocks, info.Headers)
	}
	return info.Blocks, nil
}

// fork is the newest block of the kept chain that is also in the node's.
func (c *Chain) fork(ctx context.Context, kept []store.Place, tip int64) (store.Place, error) {
	same := func(p store.Place) (bool, error) {
		if p.Height > tip {
			return false, nil
		}
		hash, err := c.Node.BlockHash(ctx, p.Height)
		return hash == p.Hash, err
	}
	if ok, err := same(kept[0]); ok || err != nil {
		return kept[0], err
	}
	// Where one is the same all below it are.
	low, high := 1, len(kept)
	for low < high {
		middle := (low + high) / 2
		ok, err := same(kept[middle])
		switch {
		case err != nil:
			return store.Place{}, err
		case ok:
			high = middle
		default:
			low = middle + 1
		}
	}
	last := kept[len(kept)-1]
	switch {
	case low < len(kept):
		return kept[low], nil
	case len(kept) < store.ChainKept: // the chain is followed from there
		return store.Place{Height: last.Height - 1}, nil
	default:
		return store.Place{}, fmt.Errorf("bitcoind %s has none of the last %d blocks that were followed, of heights %d to %d: is it the right node?",
			c.Node, len(kept), last.Height, kept[0].Height)
	}
}

// block is that of the node's chain at a height.
func (c *Chain) block(ctx context.Context, height int64) (b store.ChainBlock, err error) {
	b.Height = height
	if b.Hash, err = c.Node.BlockHash(ctx, height); err != nil {
		return b, err
	}
	var text string
	if err := c.Node.Call(ctx, &text, "getblock", work.FormatHash(b.Hash), 0); err != nil {
		return b, err
	}
	var block wire.MsgBlock
	if err = block.Deserialize(hex.NewDecoder(strings.NewReader(text))); err == nil && len(block.Transactions) == 0 {
		err = errors.New("it has no transactions")
	}
	var coinbase bytes.Buffer
	if err == nil {
		if hash := block.BlockHash(); b.Hash != hash {
			err = fmt.Errorf("its hash is %s", hash)
		}
	}
	if err == nil {
		err = block.Transactions[0].SerializeNoWitness(&coinbase)
	}
	if err != nil {
		return b, fmt.Errorf("bitcoind %s: block %s: %w", c.Node, work.FormatHash(b.Hash), err)
	}
	b.Previous, b.NTime, b.Coinbase = block.Header.PrevBlock, uint32(block.Header.Timestamp.Unix()), coinbase.Bytes()
	return b, nil
}
