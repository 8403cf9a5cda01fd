package remote

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/nodework"
	"github.com/ckpool/ckpool/internal/recent"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/work"
)

const (
	// queueMost is how many bytes of lines of one remote may wait; it sends far less
	// before it has an answer.
	queueMost = 64 << 20
	// sitesMost is how many remotes' journals are kept.
	sitesMost = 64
	// blockMemory is how many blocks that were brought are known again.
	blockMemory = 256
)

// CollectorOptions are what a Collector needs.
type CollectorOptions struct {
	Dir     string // of the copies of journals, one directory each
	MaxSize int64  // bytes of each
	Name    string // of this instance
	Program string // name and version, to give
	Network func() string
	Users   *users.Users
	Ckdb    *authority.Place // that says who may mine; nil: all may
	// Reader is the name of the cursor of who stores what is in the copies, without which
	// nothing is deleted; "" nobody does.
	Reader string
	// Works puts blocks together of what remotes that are ckpool in C say.
	Works *nodework.Node
	// Count counts a share of a worker that is in no journal, on the loop that it names.
	Count func(worker string, sh *session.Share)
	// Difficulty is that of the network at present, 0 while it is not known and on chains
	// where a block may be of any.
	Difficulty func() float64
	// Submit has a block submitted by all nodes here. It returns at once.
	Submit func(b *Block)
	Events event.Func
}

// Block is one that was found at another pool.
type Block struct {
	poolproto.WholeBlock
	ID [32]byte // hash, internal order
}

// String is the block in words.
func (b *Block) String() string {
	return fmt.Sprintf("Block %d, hash %s, by %s @ %s", b.Height, b.Hash, users.LogName(b.Worker), users.LogName(b.Name))
}

// parseBlock reads a block and checks that it is one: its hash is that of its header, and
// meets the target that stands there.
func parseBlock(text []byte) (*Block, error) {
	b := &Block{}
	if err := b.Parse(text); err != nil {
		return nil, err
	}
	id, err := work.ParseHash(b.Hash)
	if err != nil {
		return nil, err
	}
	if !work.SolvedHeader((*[80]byte)(b.Block), id) {
		return nil, fmt.Errorf("block: %s is no solution of its header", b.Hash)
	}
	b.ID = id
	return b, nil
}

// check reports a block that is none: it is far easier than those of the network, whose
// difficulty is given, so that anybody could solve any number of such, or its header is not
// that of its content. Its height is then that which the coinbase tells.
func (b *Block) check(network float64) error {
	header := (*[80]byte)(b.Block)
	if nodework.TooEasy(header, network) {
		is := difficulty.FromBits(binary.LittleEndian.Uint32(header[72:]))
		return fmt.Errorf("%v is of difficulty %g, where the network's is %g", b, is, network)
	}
	height, err := work.CheckBlock(b.Block)
	if err != nil {
		return fmt.Errorf("%v: %w", b, err)
	}
	b.Height = cmp.Or(height, b.Height)
	return nil
}

// Collector is the main pool's end of links of trusted remotes: it keeps copies of their
// journals, counts their shares, passes on who may mine, and submits their blocks. Run it
// beside the pool's server; its other methods may be called from any goroutine.
type Collector struct {
	options CollectorOptions // immutable
	begun   chan struct{}    // closed by Run

	mu sync.Mutex
	// guarded by mu
	ctx     context.Context // of Run; nil before
	running *sync.WaitGroup // of goroutines of Run
	links   map[*relay.RemoteLink]*conversation
	sites   map[string]*site // by instance of their journals
	blocks  [][32]byte       // hashes of those that were brought last
	hashes  hashes
}

// NewCollector makes a Collector; remotes are heard when it runs.
func NewCollector(o CollectorOptions) *Collector {
	return &Collector{
		options: o, begun: make(chan struct{}),
		links: map[*relay.RemoteLink]*conversation{}, sites: map[string]*site{}, hashes: recent.New[[32]byte, struct{}](hashesMost),
	}
}

// Run serves remotes until ctx ends.
func (c *Collector) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	c.mu.Lock()
	c.ctx, c.running = ctx, &running
	for _, k := range c.links {
		running.Go(func() { k.run(ctx) })
	}
	c.mu.Unlock()
	close(c.begun)
	for _, instance := range c.known() {
		if _, err := c.site(instance[0], instance[1], ""); err != nil {
			c.options.Events.Say(event.Error, "Trusted remote "+instance[1]+": "+err.Error())
		}
	}
	<-ctx.Done()
	c.mu.Lock()
	c.running = nil
	c.mu.Unlock()
}

// known are the journals that copies are kept of, as instance and name.
func (c *Collector) known() (list [][2]string) {
	for _, dir := range journalwriter.Mirrors(c.options.Dir) {
		instance, name, _ := journalwriter.MirrorOf(dir)
		list = append(list, [2]string{instance, name})
	}
	return list
}

// site is the journal of a remote; a new one is kept from now on. network is "" for one
// that is known.
func (c *Collector) site(instance, name, network string) (*site, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sites[instance]; s != nil {
		return s, nil
	}
	switch {
	case c.running == nil:
		return nil, errors.New("the pool is ending")
	case len(c.sites) >= sitesMost:
		return nil, fmt.Errorf("journals of %d remotes are kept already, in %s: move those away that never come back", len(c.sites), c.options.Dir)
	}
	s := &site{
		collector: c, instance: instance, name: name, network: network,
		dir: filepath.Join(c.options.Dir, journalwriter.MirrorDir(instance, name)), opened: make(chan struct{}), turn: make(chan struct{}, 1),
	}
	c.sites[instance] = s
	ctx := c.ctx
	c.running.Go(func() { s.run(ctx) })
	return s, nil
}

// Any tells whether there are trusted remotes: one is linked, or a copy of its journal is kept.
func (c *Collector) Any() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.links)+len(c.sites) > 0
}

// Joined implements relay.Remotes.
func (c *Collector) Joined(r *relay.RemoteLink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &conversation{collector: c, link: r, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	c.links[r] = k
	if c.running != nil {
		ctx := c.ctx
		c.running.Go(func() { k.run(ctx) })
	}
}

// Left implements relay.Remotes.
func (c *Collector) Left(r *relay.RemoteLink) {
	c.mu.Lock()
	k := c.links[r]
	delete(c.links, r)
	c.mu.Unlock()
	if k != nil {
		k.end()
	}
}

// Said implements relay.Remotes.
func (c *Collector) Said(r *relay.RemoteLink, line []byte) {
	c.mu.Lock()
	k := c.links[r]
	c.mu.Unlock()
	if k != nil {
		k.add(line)
	}
}

// Found brings a block that was found here to all remotes. It is not submitted for one that says
// it again.
func (c *Collector) Found(b *poolproto.WholeBlock) {
	if id, err := work.ParseHash(b.Hash); err == nil {
		c.isNew(id)
	}
	c.tell(b, nil)
}

// Brought has a block submitted that was put together here, and brings it to all remotes.
func (c *Collector) Brought(b *Block) {
	if err := b.check(c.options.Difficulty()); err != nil {
		c.options.Events.Say(event.Warning, fmt.Sprintf("Left alone what was put together of a remote's work: %v", err))
		return
	}
	if c.isNew(b.ID) {
		c.tell(&b.WholeBlock, nil)
		c.options.Submit(b)
	}
}

// tell brings a block to all remotes but one. Where there is none it takes no time: the block
// is not submitted before.
func (c *Collector) tell(b *poolproto.WholeBlock, but *relay.RemoteLink) {
	var to []*relay.RemoteLink
	c.mu.Lock()
	for r := range c.links {
		if r != but && r.Short() {
			to = append(to, r)
		}
	}
	c.mu.Unlock()
	if to == nil {
		return
	}
	line := poolproto.AppendFrame(nil, &poolproto.Frame{Kind: poolproto.Whole, Text: b.Append(nil)})
	for _, r := range to {
		r.Send(line)
	}
}

// isNew notes a block, and tells whether it was not brought before.
func (c *Collector) isNew(id [32]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, known := range c.blocks {
		if known == id {
			return false
		}
	}
	if c.blocks = append(c.blocks, id); len(c.blocks) > blockMemory {
		c.blocks = c.blocks[1:]
	}
	return true
}

// conversation is one link of a remote.
type conversation struct {
	// immutable
	collector *Collector
	link      *relay.RemoteLink
	wake      chan struct{} // capacity 1: there are lines
	ended     chan struct{} // closed when the link has ended

	once   sync.Once    // closes ended
	logins atomic.Int32 // of a remote in C that have no answer yet

	mu    sync.Mutex
	lines [][]byte // guarded by mu
	size  int      // guarded by mu; bytes of lines

	// owned by run
	site  *site // nil: it has not said which
	name  string
	asks  *tunnel // nil: it asks nothing
	told  time.Time
	dirty bool // what was written is not safe yet
}

func (k *conversation) end() { k.once.Do(func() { close(k.ended) }) }

// add leaves a line for run.
func (k *conversation) add(line []byte) {
	k.mu.Lock()
	k.lines = append(k.lines, line)
	k.size += len(line)
	full := k.size > queueMost
	k.mu.Unlock()
	if full {
		k.fail(errors.New("it sends more than it may before it has an answer"))
		return
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *conversation) take() (lines [][]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	lines, k.lines, k.size = k.lines, nil, 0
	return lines
}

// fail ends the link.
func (k *conversation) fail(err error) {
	k.collector.options.Events.Say(event.Warning, fmt.Sprintf("Link with %v: closing it: %v", k.link, err))
	k.link.Close()
	k.end()
}

// run handles what the remote says until the link ends, or ctx does.
func (k *conversation) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer k.leave()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.ended:
			return
		case <-k.wake:
		}
		for _, line := range k.take() {
			if err := k.line(ctx, line); err != nil {
				k.fail(err)
				return
			}
		}
		if err := k.keep(); err != nil {
			k.fail(err)
			return
		}
	}
}

// leave lets others have what the conversation has.
func (k *conversation) leave() {
	if k.asks != nil {
		k.asks.close()
	}
	k.collector.options.Users.DropRemoteWorkers(k.link.String())
	if k.site != nil {
		k.collector.options.Users.DropRemoteWorkers(k.site.instance)
		k.site.release()
	}
}

func (k *conversation) line(ctx context.Context, line []byte) error {
	if !k.link.Short() {
		k.lineOfC(line)
		return nil
	}
	f, err := poolproto.ParseFrame(line)
	if err != nil {
		return err
	}
	if k.site == nil && f.Kind != poolproto.Journal && f.Kind != poolproto.Accounts {
		return fmt.Errorf("a line of kind %q before that of its journal", byte(f.Kind))
	}
	switch f.Kind {
	case poolproto.Journal:
		return k.journal(ctx, f.Text)
	case poolproto.Bytes:
		return k.bytes(&f)
	case poolproto.Workers:
		if user := string(f.Text); user != "" && len(user) <= 255 {
			k.collector.options.Users.SetRemoteWorkers(k.site.instance, user, int(min(f.Number, 1<<30)))
		}
	case poolproto.Accounts:
		return k.accounts(ctx, &f)
	case poolproto.Whole:
		k.block(f.Text)
	default:
		return fmt.Errorf("a line of kind %q, which is not for main pools", byte(f.Kind))
	}
	return nil
}

func (k *conversation) send(f *poolproto.Frame) { k.link.Send(poolproto.AppendFrame(nil, f)) }

// block has a block submitted here, and by all others.
func (k *conversation) block(text []byte) {
	b, err := parseBlock(text)
	if err == nil {
		b.Name = k.name
		err = b.check(k.collector.options.Difficulty())
	}
	if err != nil {
		k.complain(err)
		return
	}
	if !k.collector.isNew(b.ID) {
		return
	}
	k.collector.tell(&b.WholeBlock, k.link)
	k.collector.options.Submit(b)
}

// complain tells of something of the remote that is left alone, once a minute.
func (k *conversation) complain(err error) {
	if now := time.Now(); now.Sub(k.told) >= time.Minute {
		k.told = now
		k.collector.options.Events.Say(event.Warning, fmt.Sprintf("Link with %v: left alone: %v", k.link, err))
	}
}
