package pool

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"ckpool/bitcoind"
	"ckpool/internal/config"
	"ckpool/internal/keypair"
	"ckpool/internal/logfile"
	"ckpool/internal/netserver"
	"ckpool/internal/session"
	"ckpool/work"
)

// Options are what the command line decides.
type Options struct {
	Solo      bool // pay the finder
	LogShares bool
	Version   string
	Log       *slog.Logger
	TakeOver  bool // statistics come from another process, not from files
}

// Pool is a whole pool: nodes, work, sessions, statistics. Make it with New,
// open its ports with Listen, run it with Run.
type Pool struct {
	*State
	*jobs

	// immutable
	options  Options
	log      *slog.Logger
	started  time.Time
	nodes    *bitcoind.Group
	server   *netserver.Server
	registry *session.Registry
	group    *session.Group
	handlers []*session.Handler // by loop
	left     departure

	config     atomic.Pointer[config.Config] // what may not change while running is as at the start
	sessions   atomic.Pointer[session.Settings]
	rejecting  atomic.Bool  // by an operator's word
	workless   atomic.Bool  // no node has been usable for long
	shared     atomic.Bool  // another process was given a listening socket, and may take over
	admission  sync.Mutex   // held while one of these three changes
	leftSince  time.Time    // new connections are left to that process; zero: they are not; guarded by admission
	resumable  atomic.Int64 // sessions
	blocks     *Blocks
	candidates candidates
	notices    *logfile.Limiter
	miners     *session.Log
	published  chan struct{} // there is a job tidy has not looked at

	submissions sync.WaitGroup // goroutines of Block; waited for by Run
	moving      sync.RWMutex   // held for reading while what became of a block is noted
	updater     *updater       // owned by Run, before it by Prepare
	background  background
	inherited   []bitcoind.SolvedBlock // that the process before could not save; owned by Run, before it by Arriving

	certificates []*keypair.Pair // owned by Listen and Reload, which are never at the same time

	tidied *work.Job // owned by tidy; the last one it saw
}

// New prepares a pool. It makes the log directories and reads what an earlier
// run left in them.
func New(c config.Config, o Options) (*Pool, error) {
	now := time.Now()
	for _, dir := range logDirs(c.LogDir) {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("make log directory: %w", err)
		}
	}
	p := &Pool{
		jobs:      newJobs(now),
		options:   o,
		log:       o.Log,
		started:   now,
		registry:  session.NewRegistry(c.Nonce1Length, uint64(len(c.Servers))),
		notices:   logfile.NewLimiter(time.Minute),
		published: make(chan struct{}, 1),
		miners: session.NewLog(
			func(level int) bool { return o.Log.Enabled(context.Background(), logfile.Level(level)) },
			func(level int, text string) { o.Log.Log(context.Background(), logfile.Level(level), text) },
		),
		left: make(departure),
	}
	p.updater = &updater{Pool: p}
	p.config.Store(&c)
	p.sessions.Store(sessionSettings(&c, o.Solo))
	var err error
	p.nodes, err = bitcoind.NewGroup(c.Nodes, bitcoind.Options{
		BlockPoll: c.BlockPoll,
		SaveDir:   filepath.Join(c.LogDir, "pool", "blocks"),
		Event:     func(e bitcoind.Event) { p.logAt(logfile.Level(e.Level), e.Text) },
		Fits: func(chain string) error {
			_, err := scriptsOn(chain, p.config.Load(), o.Solo)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	serverConfig := limits(&c)
	serverConfig.MaxLine = c.MaxLine
	serverConfig.Event = func(level int, text string) { p.logAt(logfile.Level(level), text) }
	serverConfig.Page = func(secure bool) string { return webPage(p.config.Load(), o.Solo, secure) }
	p.server, err = netserver.New(serverConfig, func(l *netserver.Loop) netserver.Handler {
		if p.group == nil {
			p.group = session.NewGroup(p.registry, loopCount(), p.closeClient)
			p.group.Log = p.miners
		}
		h := session.NewHandler(l, p, p.group)
		p.handlers = append(p.handlers, h)
		return h
	})
	if err != nil {
		return nil, err
	}
	p.State = NewState(Config{
		Settings: stateSettings(&c), LogDir: c.LogDir, Solo: o.Solo, LogShares: o.LogShares,
		Loops: loopCount(),
		Event: func(level int, text string) { p.logAt(logfile.Level(level), text) },
	}, now)
	p.blocks = NewBlocks(c.LogDir, p.State.cfg.Event)
	if !o.TakeOver {
		if err := loadSaved(p, now); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// logDirs are the directories of files in the log directory, and itself.
func logDirs(dir string) []string {
	return []string{dir, filepath.Join(dir, "pool"), filepath.Join(dir, "users")}
}

// loadSaved reads what an earlier run has left of blocks, statistics and
// sessions.
func loadSaved(p *Pool, now time.Time) error {
	p.blocks.Load()
	if err := p.Load(now); err != nil {
		return err
	}
	c := p.config.Load()
	resumable, err := loadSessions(p.registry, sessionsPath(c.LogDir), c.Nonce1Length, now)
	if err != nil {
		p.logAt(logfile.LevelWarning, "Sessions left out: "+putAside(sessionsPath(c.LogDir), err))
	}
	if resumable > 0 {
		p.logAt(logfile.LevelNotice, fmt.Sprintf("Loaded %d sessions that may be resumed", resumable))
	}
	return nil
}

// Listen opens the ports. The error says which and why.
func (p *Pool) Listen(ctx context.Context) error { return p.listen(ctx, p.config.Load().Servers) }

func (p *Pool) listen(ctx context.Context, list []config.Listener) error {
	c := p.config.Load()
	endpoints := make([]netserver.Endpoint, len(list))
	var pairs []*keypair.Pair
	event := func(warning bool, text string) {
		level := logfile.LevelNotice
		if warning {
			level = logfile.LevelWarning
		}
		p.logAt(level, text)
	}
	for i, l := range list {
		endpoints[i] = netserver.Endpoint{URL: l.URL, Proxies: c.ProxyNetworks(&l)}
		if l.TLSCert == "" {
			continue
		}
		pair, err := keypair.Open(l.TLSCert, l.TLSKey, event)
		if err != nil {
			return fmt.Errorf("listen address %q: %w", l.URL, err)
		}
		pairs = append(pairs, pair)
		endpoints[i].Certificate = pair.Certificate
	}
	first, err := p.server.ListenAll(ctx, endpoints)
	if err != nil {
		return err
	}
	p.certificates = append(p.certificates, pairs...)
	for i, l := range p.server.Listeners()[first:] {
		secured := ""
		if endpoints[i].Certificate != nil {
			secured = " (TLS)"
		}
		for _, addr := range l.Addrs {
			p.logAt(logfile.LevelWarning, "Listening on "+addr.String()+secured)
		}
	}
	return nil
}

// ReopenLogs opens the share logs by name again, after they were renamed.
func (p *Pool) ReopenLogs() {
	if l := p.State.log; l != nil {
		l.reopen.Store(true)
		l.signal()
	}
}

// Close gives back what New, Listen and Prepare opened when Run is not called.
func (p *Pool) Close() {
	p.background.end()
	p.server.Close()
}

// Settings implements session.Backend.
func (p *Pool) Settings() *session.Settings { return p.sessions.Load() }

// Notice implements session.Backend: one text of a kind goes to the log each
// minute.
func (p *Pool) Notice(kind, text string) {
	if line, ok := p.notices.PassKind(kind, text); ok {
		p.logAt(logfile.LevelNotice, line)
	}
}

func (p *Pool) logAt(level slog.Level, text string) {
	p.log.Log(context.Background(), level, text)
}
