package pool

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/blocks"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/nodework"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/remote"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum/client"
	"github.com/ckpool/ckpool/work"
)

// RemotesDir is where a configuration has what trusted remotes report.
func RemotesDir(c *config.Config) string { return filepath.Join(c.LogDir, "remotes") }

// makeCollector makes what hears trusted remotes, unless this pool is a proxy, or pays
// whoever finds a block.
func (p *Pool) makeCollector(c *config.Config) {
	if p.upstreams != nil || p.options.Solo || p.reporter != nil {
		return
	}
	p.works = nodework.NewNode(nodework.Options{Network: worksNetwork{p}, Workers: p.users, Sink: p.users, Events: p.events})
	p.collector = remote.NewCollector(remote.CollectorOptions{
		Dir: RemotesDir(c), MaxSize: c.JournalSize, Name: p.options.Name, Program: "ckpool " + p.options.Version,
		Network: p.chainName, Users: p.users, Ckdb: p.options.Ckdb, Reader: p.copyReader(), Works: p.works, Count: p.countRemote, Difficulty: p.networkDifficulty, Submit: p.submitOf, Events: p.events,
	})
	p.links.Remotes(p.collector)
}

// networkDifficulty is that of blocks at present, 0 while it is not known, and where a block
// may be of any.
func (p *Pool) networkDifficulty() float64 {
	w := p.jobs.Newest()
	if w == nil || nodework.AnyDifficulty(p.chainName()) {
		return 0
	}
	return w.Job.NetworkDifficulty
}

// countRemote counts a share that was found at another pool, which has no journal: as one of
// this pool, on the loop that it names.
func (p *Pool) countRemote(worker string, sh *session.Share) {
	p.users.With(worker, sh.Time, func(id session.WorkerID) {
		sh.Worker = id
		for _, sink := range p.sinks {
			sink.Share(sh)
			sink.Flush(sh.Loop)
		}
	})
}

// worksNetwork is what blocks go to that are put together of what remotes in C say.
type worksNetwork struct{ pool *Pool }

// Templates implements nodework.Network: all transactions are asked for.
func (worksNetwork) Templates() <-chan source.Update { return nil }

// Refresh implements nodework.Network.
func (worksNetwork) Refresh(string) {}

// Usable implements nodework.Network.
func (n worksNetwork) Usable() bool { return n.pool.source.Usable() }

// Transaction implements nodework.Network.
func (n worksNetwork) Transaction(ctx context.Context, txid [32]byte) ([]byte, error) {
	nodes, ok := n.pool.network.(interface {
		Transaction(ctx context.Context, txid [32]byte) ([]byte, error)
	})
	if !ok {
		return nil, errors.New("no transactions are to be had here")
	}
	return nodes.Transaction(ctx, txid)
}

// Submit implements nodework.Network.
func (n worksNetwork) Submit(height int64, hash [32]byte, block []byte, _ func(source.BlockState)) {
	n.pool.collector.Brought(&remote.Block{ID: hash, WholeBlock: poolproto.WholeBlock{
		Height: height, Hash: work.FormatHash(hash), Name: "a remote", Block: block,
	}})
}

// copyReader is the name of who stores the shares of this pool, "" nobody.
func (p *Pool) copyReader() string {
	switch {
	case !p.options.Journal:
		return ""
	case p.options.Ckdb != nil:
		return cmp.Or(p.options.Ckdb.Name, "ckdb")
	}
	return "ckdb"
}

// MainPool is how a trusted remote links to the main pool that its configuration names.
// secret is asked before each link.
func MainPool(c *config.Config, secret func() string) relay.Uplink {
	u := &c.Upstream
	return relay.Uplink{
		Endpoint: client.Endpoint{URL: u.URL}, Options: client.Options{SOCKS5: u.SOCKS5, Pin: u.Pin},
		Secret: secret, Dialect: poolproto.Dialect,
	}
}

// makeReporter makes what reports to the main pool, and has that say who may mine.
func (p *Pool) makeReporter(c *config.Config) {
	p.reporter = remote.NewReporter(remote.ReporterOptions{
		Uplink: MainPool(c, func() string { return p.config.Load().LinkSecret }), Program: "ckpool/" + p.options.Version, Name: p.options.Name, Network: p.chainName,
		Journal: JournalDir(c), Status: p.journalStatus, Workers: func() map[string]int { return p.users.Connected() },
		Difficulty: p.networkDifficulty, Submit: p.submitOf, Events: p.events,
	})
	p.options.Ckdb = &authority.Place{Through: p.reporter.Accounts, Who: "the main pool"}
}

// chainName is that of the pool's chain, "" while it is not known.
func (p *Pool) chainName() string {
	if name := p.chain.Load(); name != nil {
		return *name
	}
	return ""
}

// tellPools brings a block that was found here to the pools that this one is linked with.
func (p *Pool) tellPools(b *blocks.Block, block []byte) {
	k := &poolproto.WholeBlock{Height: b.Height, Hash: b.Hash, Worker: b.Worker, Name: p.options.Name, Block: block}
	if p.collector != nil {
		p.collector.Found(k)
	}
	if p.reporter != nil {
		p.reporter.Found(k)
	}
}

// tellAgain has the main pool brought what was found lately before this process began, from where
// it is kept until nodes have it: there may have been no link since. What the main pool has it
// leaves alone.
func (p *Pool) tellAgain(now time.Time) {
	unsaved := map[[32]byte][]byte{}
	for _, b := range p.network.Unsaved() {
		unsaved[b.Hash] = b.Serialised
	}
	for _, b := range p.blocks.List() {
		hash, err := work.ParseHash(b.Hash)
		if err != nil || now.Sub(b.Time) > remote.BlockTime || b.Worker == "" { // it is not known whose it is
			continue
		}
		block := unsaved[hash]
		if block == nil {
			block = savedBlock(p.config.Load(), b.Height, hash)
		}
		if block != nil {
			p.tellPools(&b, block)
		}
	}
}

// submitOf submits a block that was found at another pool. Its round is over when it is
// part of the chain.
func (p *Pool) submitOf(b *remote.Block) {
	p.events.Say(event.Notice, b.String()+", is submitted here too")
	if p.feed != nil {
		p.links.Solved(relay.Whole(&b.WholeBlock), -1, 0)
	}
	p.elsewhere.note(b)
	hash := work.FormatHash(b.ID)
	p.network.Submit(b.Height, b.ID, b.Block, func(s source.BlockState) {
		p.blocks.Ours(func() { p.changedElsewhere(hash, s) })
	})
	p.elsewhere.save() // it may be saved by now, and this run end
}

// Users are the users of the pool, for who looks at what is counted.
func (p *Pool) Users() *users.Users { return p.users }
