// Package pool puts the parts of a pool together and gives them a life: start,
// reload, end, and the way to another process. What the parts do is theirs.
package pool

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/blocks"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/history"
	"github.com/ckpool/ckpool/internal/jobs"
	"github.com/ckpool/ckpool/internal/logfile"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/nodework"
	"github.com/ckpool/ckpool/internal/notify"
	"github.com/ckpool/ckpool/internal/operator"
	"github.com/ckpool/ckpool/internal/ports"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/remote"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/upstream"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/sharelog"
	"github.com/ckpool/ckpool/source"
)

// Options are what the command line and the process decide.
type Options struct {
	Solo      bool // pay the finder
	Proxy     bool // work comes from other pools, not from nodes
	UserProxy bool // and users have accounts of their own there; implies Proxy
	LogShares bool
	Journal   bool   // keep shares, for ckdb
	Unasked   bool   // nobody has asked for that, but there is a journal: where it cannot be opened, shares are only counted
	Remote    bool   // a trusted remote: another pool, "upstream", counts the shares; with Journal
	Name      string // of the instance
	SockDir   string // of the instance
	Version   string
	Events    event.Func
	Wants     func(event.Level) bool // whether anybody reads texts of a level at present
	// Descriptors tells how many the pool may have; nil: the soft limit of the process.
	Descriptors func() int
	TakeOver    bool // statistics come from another process, not from files
	// Ckdb is where the one is that says who may mine; nil: all may.
	Ckdb *authority.Place
	// Quiet is called when miners have the newest work and nobody waits for
	// anything; nil: nothing is done then.
	Quiet func()
	// Metrics serves the pool's figures at an address until ctx ends; nil: nobody does.
	Metrics func(ctx context.Context, address string, p *Pool)

	// What follows is of a program that the pool is a part of; nil: nothing.
	Source   *Source             // where work comes from, instead of nodes or other pools
	Payout   *jobs.Payout        // whom blocks pay, instead of the configuration's
	Accounts users.Accounts      // who is asked whether users may mine, without Ckdb
	Sinks    []session.Sink      // further ones of judged submits, after those of the pool
	Found    func(*blocks.Block) // is told of a block before it is submitted, returns at once
	Working  func(*session.Work) // is told of new work once the loops were woken, returns at once
}

// Source is where work comes from and where blocks go to.
type Source struct {
	Work   jobs.Source
	Blocks blocks.Network
}

// Pool is a whole pool: nodes, work, sessions, statistics. Make it with New,
// open its ports with Listen, run it with Run.
type Pool struct {
	// immutable
	options   Options
	events    event.Func
	loops     int
	payout    jobs.Payout
	source    jobs.Source
	jobs      *jobs.Jobs
	generator *jobs.Generator
	users     *users.Users
	journal   *shareJournal     // nil: none
	accounts  *authority.Client // nil: there is no ckdb
	blocks    *blocks.Blocks
	network   blocks.Network
	registry  *session.Registry
	group     *session.Group
	miners    *session.Miners
	server    *netserver.Server
	links     *relay.Links
	feed      *nodework.Feed    // of nodes; nil: there are none
	collector *remote.Collector // of trusted remotes; nil: there are none
	reporter  *remote.Reporter  // to the main pool; nil: this is no trusted remote
	elsewhere *elsewhere        // blocks of other pools
	sinks     []session.Sink    // of judged submits
	works     *nodework.Node    // of trusted remotes that are ckpool in C; nil: there are none
	ports     *ports.Ports
	admission operator.Admission
	operator  *operator.Operator
	history   *history.History
	moved     chan struct{}        // closed when another process has taken over
	upstreams *upstream.Group      // nil: work comes from nodes
	logins    *upstream.Accounts   // of users there; nil: they have none
	node      func() operator.Node // that work comes from at present
	// planNodes prepares what changes the nodes that the source is made of.
	planNodes func([]bitcoind.Config) (replace func(), err error)

	// synchronised in themselves
	config   atomic.Pointer[config.Config] // what may not change while running is as at the start
	settings atomic.Pointer[session.Settings]
	chain    atomic.Pointer[string] // its name; nil: not known
	notices  *logfile.Limiter
	lines    *session.Log // about miners
	notifier *notify.Notifier
	private  *privateUsers

	background background // owned by Run, before it by Prepare
	workComes  bool       // from another process, with the connections to other pools; owned by Prepare, before it by NewIncoming
}

// New prepares a pool. It makes the log directories and reads what an earlier
// run left in them.
func New(c config.Config, o Options) (*Pool, error) {
	if o.Quiet == nil {
		o.Quiet = func() {}
	}
	o.Proxy = o.Proxy || o.UserProxy
	now := time.Now()
	for _, dir := range logDirs(c.LogDir) {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("make log directory: %w", err)
		}
	}
	if o.Journal && !o.Unasked {
		if err := usable(JournalDir(&c)); err != nil {
			return nil, fmt.Errorf("journal: %w", err)
		}
	}
	p := &Pool{
		options:  o,
		events:   o.Events,
		loops:    runtime.GOMAXPROCS(0), // which may be another in a moment
		jobs:     jobs.New(now),
		registry: session.NewRegistry(c.Nonce1Length, uint64(len(c.Servers))),
		notices:  logfile.NewLimiter(time.Minute),
		moved:    make(chan struct{}),
		lines:    session.NewLog(o.Wants, o.Events),
		miners:   &session.Miners{},
	}
	if p.payout = jobs.PayoutOf(&c, o.Solo); o.Payout != nil {
		p.payout = *o.Payout
	}
	p.group = session.NewGroup(p.registry, p.loops, p.miners.Close)
	p.group.Log = p.lines
	p.config.Store(&c)
	p.settings.Store(sessionSettings(&c, &o))
	p.private = newPrivateUsers(c.LogDir, o.Events)
	p.elsewhere = newElsewhere(c.LogDir, o.Events)
	p.makeNotifier(&c)
	network, err := p.makeSource(&c)
	if err != nil {
		return nil, err
	}
	if o.Remote {
		p.makeReporter(&c)
		o.Ckdb = p.options.Ckdb
	}
	if o.Ckdb != nil {
		p.accounts = authority.NewClient(authority.Options{Place: *o.Ckdb, Program: "ckpool " + o.Version, Miners: accountHolders{p}, Events: o.Events})
	}
	if p.accounts != nil {
		o.Accounts = p.accounts
	}
	p.users = users.New(users.Config{
		Settings: usersSettings(&c), LogDir: c.LogDir, Solo: o.Solo, Proxy: o.Proxy, LogShares: o.LogShares,
		Loops: p.loops, Accounts: o.Accounts, Events: p.noticed,
	}, now)
	made := jobs.Options{
		Config: p.config.Load, Payout: p.payout, Events: o.Events, Notice: p.notice,
		OnChain: p.onChain, Wake: p.wake, Quiet: o.Quiet,
	}
	switch {
	case o.Proxy:
		made.Place = "upstream"
	case o.Source != nil:
		made.Place = "source"
	}
	found := event.Func(p.noticed)
	if o.Journal {
		p.journal = newShareJournal(&c, &o, p.loops, p.users, p.jobs.Recent)
		made.Before = p.journal.work
		found = func(e event.Event) {
			p.journal.told(e)
			p.noticed(e)
		}
	}
	p.generator = jobs.NewGenerator(p.source, p.jobs, made)
	p.network = network
	p.blocks = blocks.New(blocks.Options{
		LogDir: c.LogDir, Network: network, Jobs: p.jobs, Users: p.users, Events: found,
		Limit:  func(kind string) bool { _, ok := p.notices.PassKind(kind, ""); return ok },
		Show:   func(text string) { p.miners.Show("", text) },
		Solved: p.tellNodes,
		Before: p.found, Elsewhere: p.changedElsewhere,
	})
	if err := p.makeServer(&c); err != nil {
		return nil, err
	}
	p.admission.Server, p.admission.Events = p.server, p.events
	p.operator = &operator.Operator{
		Version: o.Version, Solo: o.Solo, Users: p.users, Jobs: p.jobs, Blocks: p.blocks, Source: p.source, Journal: p.journalStatus,
		Miners: p.miners, Registry: p.registry, Server: p.server, Links: p.links, Admission: &p.admission, Events: o.Events,
		Node: p.node, Expires: p.ports.Expires,
	}
	if p.upstreams != nil {
		p.operator.Proxies = p.proxies()
	}
	p.history = history.New(filepath.Join(c.LogDir, "history"), p.operator, o.Events)
	if !o.TakeOver {
		if err := p.Load(now); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// makeSource makes where work comes from, and the network that found blocks go to.
func (p *Pool) makeSource(c *config.Config) (blocks.Network, error) {
	if p.options.Proxy {
		group, err := p.makeUpstreams(c)
		if err != nil {
			return nil, err
		}
		p.source, p.upstreams = group, group
		if p.options.UserProxy && c.MaxUserProxies > 0 {
			p.logins = upstream.NewAccounts(group, c.MaxUserProxies, nil)
		}
		p.planNodes = func([]bitcoind.Config) (func(), error) { return func() {}, nil }
		p.node = func() operator.Node { return nil }
		if n := bitcoind.SavedBlocks(blocksDir(c)); n > 0 {
			p.events.Say(event.Warning, fmt.Sprintf("Blocks of a run as a pool that wait in %s: %d. A proxy has no node to submit them to: start the instance as a pool, without -p", blocksDir(c), n))
		}
		return noNodes{}, nil
	}
	if own := p.options.Source; own != nil {
		p.source = own.Work
		p.planNodes = func([]bitcoind.Config) (func(), error) { return func() {}, nil }
		p.node = func() operator.Node { return nil }
		return own.Blocks, nil
	}
	nodes, err := p.makeNodes(c)
	if err != nil {
		return nil, err
	}
	p.source, p.planNodes = nodes, nodes.PlanNodes
	p.node = func() operator.Node {
		if c := nodes.Current(); c != nil {
			return c
		}
		return nil
	}
	return nodes, nil
}

// blocksDir is where blocks are saved until a node has them.
func blocksDir(c *config.Config) string { return filepath.Join(c.LogDir, "pool", "blocks") }

// savedBlock is one of them, nil if it is not there.
func savedBlock(c *config.Config, height int64, hash [32]byte) []byte {
	block, _ := bitcoind.SavedBlock(blocksDir(c), height, hash)
	return block
}

func (p *Pool) makeNodes(c *config.Config) (*bitcoind.Group, error) {
	return bitcoind.NewGroup(c.Nodes, bitcoind.Options{
		BlockPoll: c.BlockPoll,
		SaveDir:   blocksDir(c),
		Events:    p.events,
		Fits:      func(chain string) error { return p.payout.Fits(chain) },
	})
}

// makeServer makes the server with a session handler on each loop.
func (p *Pool) makeServer(c *config.Config) (err error) {
	set := p.limits(c)
	set.Loops = p.loops
	set.MaxLine = c.MaxLine
	set.Events = p.events
	set.Page = func(secure bool) string { return webPage(p.config.Load(), p.options.Solo, secure) }
	p.links = relay.NewLinks(p.linkGate, c.MaxLine, p.events)
	if p.upstreams == nil {
		p.feed = nodework.NewFeed(p.jobs, p.options.Name, c.Nonce1Length, c.Nonce2Length)
		p.links.Feed(p.feed)
		if !p.options.LogShares && p.options.Sinks == nil { // which have what was found, also of refused shares
			p.links.Sums()
		}
	}
	p.makeCollector(c)
	backend := session.Backend{
		Settings: p.settings.Load, Jobs: p.jobs, Workers: p.users, Sinks: p.users.Sinks(), Block: p.blocks.Take, Notice: p.notice,
	}
	if p.upstreams != nil {
		backend.Sources, backend.Block = p.upstreams, p.solvedAbove
		backend.Sinks = append(backend.Sinks, upstream.Sink{})
	}
	if p.journal != nil { // before statistics, which say what is kept
		backend.Sinks = append(backend.Sinks, p.journal)
		backend.Witness = p.journal
	}
	backend.Sinks = append(backend.Sinks, p.options.Sinks...)
	p.sinks = backend.Sinks
	p.server, err = netserver.New(set, func(l *netserver.Loop) netserver.Handler {
		h := relay.NewHandler(l, p.links, func(t session.Transport) *session.Handler { return session.NewHandler(t, backend, p.group) })
		p.miners.Handlers = append(p.miners.Handlers, h.Handler)
		return h
	})
	if err != nil {
		return err
	}
	p.miners.Loops = p.server.Loops()
	p.ports = ports.New(p.server, p.config.Load, p.events)
	if p.upstreams != nil {
		p.upstreams.Attend(p.miners)
	}
	return nil
}

// onChain is for the chain becoming known.
func (p *Pool) onChain(chain string, network address.Network) error {
	name := cmp.Or(chain, network.String())
	p.chain.Store(&name)
	p.users.SetNetwork(network)
	p.blocks.OnChain(chain)
	if p.journal == nil {
		return nil
	}
	return p.journal.setNetwork(name)
}

// wake tells the loops that there is new work.
func (p *Pool) wake(w *session.Work) {
	for _, l := range p.server.Loops() {
		l.Wake()
	}
	if p.feed != nil {
		p.feed.Wake()
	}
	p.users.SetNetworkDifficulty(w.Job.NetworkDifficulty)
	if p.options.Working != nil {
		p.options.Working(w)
	}
}

// found is for a block before it is submitted.
func (p *Pool) found(b *blocks.Block, block []byte) {
	if p.options.Found != nil {
		p.options.Found(b)
	}
	p.tellPools(b, block)
}

// logDirs are the directories of files in the log directory, and itself.
func logDirs(dir string) []string {
	return []string{dir, filepath.Join(dir, "pool"), filepath.Join(dir, "users")}
}

// Load reads what an earlier run has left of blocks, statistics and sessions. For a
// pool made without TakeOver, New does it.
func (p *Pool) Load(now time.Time) error {
	p.blocks.Load()
	if err := p.users.Load(now); err != nil {
		return err
	}
	if at := p.users.Written(); !at.IsZero() && p.blocks.EndedSince(at, now) {
		p.users.ResetRound() // the run ended without writing that another one has begun
	}
	c := p.config.Load()
	resumable, err := loadSessions(p.registry, sessionsPath(c.LogDir), c.Nonce1Length, now)
	if err != nil {
		p.events.Say(event.Warning, "Sessions left out: "+sharelog.PutAside(sessionsPath(c.LogDir), err))
	}
	if resumable > 0 {
		p.events.Say(event.Notice, fmt.Sprintf("Loaded %d sessions that may be resumed", resumable))
	}
	return nil
}

// Commands registers the pool's commands with a control server.
func (p *Pool) Commands(s *control.Server, process operator.Process) { p.operator.Commands(s, process) }

// View is what pages show.
func (p *Pool) View() operator.View { return p.operator.View() }

// Addrs are the addresses that miners may connect to, in the order of the listeners.
func (p *Pool) Addrs() (list []netip.AddrPort) {
	for _, l := range p.server.Listeners() {
		list = append(list, l.Addrs...)
	}
	return list
}

// Figures are what the pool does.
func (p *Pool) Figures(now time.Time) operator.Figures { return p.operator.Figures(now) }

// Newest is the newest work, nil before the first.
func (p *Pool) Newest() *session.Work { return p.jobs.Newest() }

// Sources are how the places do that work comes from.
func (p *Pool) Sources() []source.Status { return p.source.Status() }

// WorkerName is the full name of a worker, "" of one that is not known.
func (p *Pool) WorkerName(id session.WorkerID) string { return p.users.WorkerName(id) }

// Config is the configuration in force, which is not to be changed.
func (p *Pool) Config() *config.Config { return p.config.Load() }

// Summary is what the pool does, in a line.
func (p *Pool) Summary(now time.Time) string { return p.operator.Summary(now) }

// StatusLine is what the pool does, in a line of at most width columns that replaces the
// one before. Cycle counts the lines.
func (p *Pool) StatusLine(now time.Time, cycle, width int) string {
	return p.operator.StatusLine(now, cycle, width)
}

// Alive returns nil when every loop gets to its work before ctx ends.
func (p *Pool) Alive(ctx context.Context) error { return p.operator.Alive(ctx) }

// MaxClients is how many connections there may be at present.
func (p *Pool) MaxClients() int { return p.server.MaxClients() }

// Unsaved names the found blocks that no node and no file has yet; "" none.
func (p *Pool) Unsaved() string { return p.blocks.Unsaved() }

// ReopenLogs opens the share logs by name again, after they were renamed.
func (p *Pool) ReopenLogs() { p.users.ReopenShareLogs() }

// History is the history of the pool, for who shows it.
func (p *Pool) History() *history.History { return p.history }

// Close gives back what New, Listen and Prepare opened when Run is not called.
func (p *Pool) Close() {
	p.background.end()
	p.server.Close()
}

// notice puts one text of a kind into the log each minute.
func (p *Pool) notice(kind, text string) {
	if line, ok := p.notices.PassKind(kind, text); ok {
		p.events.Say(event.Notice, line)
	}
}
