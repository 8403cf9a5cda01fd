package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/buildinfo"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/forward"
	"github.com/ckpool/ckpool/internal/instance"
	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/logfile"
	"github.com/ckpool/ckpool/internal/metrics"
	"github.com/ckpool/ckpool/internal/notify"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/web"
)

// errLogged is an error the log and the console have told already.
var errLogged = errors.New("reported")

// flushLog is how long the log may take to write its last lines.
const flushLog = 3 * time.Second

// service is one running instance. Its fields are immutable once it runs, but for those that
// mu guards.
type service struct {
	options  *options
	where    string // the database
	log      *logfile.Log
	events   event.Func // writes to the log
	signals  <-chan os.Signal
	shutdown func()

	store    *store.Store      // nil: journals go to another site
	receiver *forward.Receiver // of other sites; nil: there are none
	chain    *accounting.Chain // nil: no node was named, or there is no store
	// forwarder makes what sends a journal to another site; nil: they stay here.
	forwarder func(dir string) *forward.Forwarder

	mu         sync.Mutex
	followers  []*accounting.Follower // guarded by mu; of the journals here, or
	forwarders []*forward.Forwarder   // guarded by mu

	page     *web.Accounts // nil: there is none
	notifier *notifier     // nil: nobody is told
	watch    watch

	blocks *kept[web.PoolBlock] // as pages have them

	orders   chan order // of pages, about payouts
	planning sync.Mutex // held where a page begins one, so that it begins once
}

// serve is the life of one instance.
func serve(ctx context.Context, o *options, stderr io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 4) // from now on: SIGHUP would end one that waits for its database
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGHUP)
	defer signal.Stop(signals)
	_ = instance.SetProcessName(o.name) // of no use but in ps and top
	dir := cmp.Or(o.sockDir, filepath.Join("/tmp", o.name))
	claim, err := instance.Claim(ctx, dir, o.group, o.killOld)
	var running *instance.RunningError
	if errors.As(err, &running) {
		return fmt.Errorf("%s is already running, as process %d in %s: -k ends it first, -n and -s start another", o.name, running.PID, dir)
	}
	if err != nil {
		return err
	}
	defer claim.Release()
	s := &service{options: o, where: cmp.Or(o.db, defaultDB), signals: signals, shutdown: cancel, orders: make(chan order, ordersMost), blocks: newKept[web.PoolBlock](), watch: watch{started: time.Now(), accounts: notify.Accounts{Away: "nobody has looked yet"}}}
	if err := s.openLog(stderr); err != nil {
		return err
	}
	defer s.closeLog()
	s.events.Say(event.Warning, fmt.Sprintf("%s %s starting", o.name, buildinfo.Version()))
	if err := s.run(ctx, claim.Dir); err != nil {
		s.events.Say(event.Emergency, oneLine(err))
		return errLogged
	}
	s.events.Say(event.Warning, o.name+" shutting down")
	return nil
}

func (s *service) openLog(stderr io.Writer) error {
	if err := os.MkdirAll(s.options.ownLog, 0o750); err != nil {
		return fmt.Errorf("log directory %s: %w", s.options.ownLog, errors.Unwrap(err))
	}
	f, ok := stderr.(*os.File)
	log, err := logfile.Open(logfile.Config{
		Path: filepath.Join(s.options.ownLog, s.options.name+".log"), Console: stderr, Terminal: ok && term.IsTerminal(int(f.Fd())),
		Level: s.options.level, Colours: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	})
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	s.log, s.events = log, log.Tell
	return nil
}

func (s *service) closeLog() {
	last, cancel := context.WithTimeout(context.Background(), flushLog)
	defer cancel()
	_ = s.log.Close(last) // there is nowhere left to tell
}

// run serves until ctx ends, or no journal can be stored any more.
func (s *service) run(ctx context.Context, dir string) (err error) {
	manager, err := findManager()
	if err != nil {
		s.events.Say(event.Warning, err.Error())
	}
	defer manager.Close()
	if !s.options.forward {
		if s.store, err = s.openStore(ctx, manager); err != nil || s.store == nil {
			return err
		}
		defer s.store.Close()
	}
	if node := s.options.node(); node != nil && s.store != nil {
		defer node.Close()
		s.chain = &accounting.Chain{Node: node, Store: s.store, Events: s.events}
	}
	disconnect, err := s.connect()
	if err != nil {
		return err
	}
	defer disconnect()
	var journals []func(context.Context) error
	for _, dir := range s.options.journals {
		journals = append(journals, s.journal(dir))
	}
	server := control.NewServer(dir, s.options.group)
	s.commands(ctx, server)
	if err := server.Listen(); err != nil {
		return err
	}
	if err := s.makeNotifier(); err != nil {
		return err
	}
	var socket net.Listener
	if s.page, socket, err = s.openPage(ctx); err != nil {
		return err
	}
	if s.options.forward {
		s.events.Say(event.Notice, "The database is at another site, shares are sent by NATS "+forward.Redacted(s.options.nats))
	} else {
		s.events.Say(event.Notice, fmt.Sprintf("Database %s, shares are kept for %s", store.Redacted(s.where), s.kept()))
		if s.chain == nil {
			s.events.Say(event.Notice, notFollowed)
		} else {
			s.events.Say(event.Notice, "Blocks are followed on node "+s.chain.Node.String())
		}
	}

	// What runs beside those that store, and ends with the last of them.
	ctx, cancel := context.WithCancel(ctx)
	var around sync.WaitGroup
	defer around.Wait()
	defer cancel()
	around.Go(func() { server.Serve(ctx) })
	around.Go(func() { s.retain(ctx) })
	around.Go(func() { s.announce(ctx) })
	if s.chain != nil {
		around.Go(func() { s.chain.Run(ctx) })
		around.Go(func() { s.pay(ctx) })
	}
	if s.page != nil {
		around.Go(func() { s.servePage(ctx, s.page, socket) })
	}
	if s.options.metrics != "" || s.notifier != nil {
		around.Go(func() { s.keepWatch(ctx) })
	}
	if s.notifier != nil {
		around.Go(func() { s.notifier.Run(ctx) })
	}
	if address := s.options.metrics; address != "" {
		around.Go(func() {
			(&metrics.Server{Address: address, Handler: metrics.AccountHandler(s), Events: s.events}).Run(ctx)
		})
	}
	around.Go(func() { s.reopenLog(ctx) })
	around.Go(func() { s.keepManager(ctx, manager) })
	return s.follow(ctx, journals)
}

// openEvery is how often a database that is away is looked for.
const openEvery = time.Second

// openStore waits for a database that is away; the journals keep what comes. nil: ctx has
// ended before.
func (s *service) openStore(ctx context.Context, m manager) (*store.Store, error) {
	tick := time.NewTicker(openEvery)
	defer tick.Stop()
	for told := ""; ; {
		if m.watchdog > 0 {
			_ = m.Alive()
		}
		opened, err := store.Open(ctx, s.where)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				opened.Close()
			}
			return nil, nil
		case err == nil || !store.Away(err):
			return opened, err
		}
		if text := oneLine(err); text != told {
			s.events.Say(event.Warning, text+"; trying again, journals keep what comes")
			told = text
			if m.Notifier != nil {
				_ = m.Ready("Waiting for the database") // it hears of what fails from keepManager
			}
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-tick.C:
		}
	}
}

// notFollowed says what is not done where no node is named.
const notFollowed = "No node is named: blocks are not followed, and no rewards are made; --node names one"

// usual is whether a journal is the one that nobody has named, and that need not be
// there as there are other sites.
func (s *service) usual() bool { return s.receiver != nil && !s.options.named }

// follow stores or sends all journals, also those of remotes that are new. One for which that cannot be stops no other;
// the last one's error is returned.
func (s *service) follow(ctx context.Context, journals []func(context.Context) error) error {
	ended, n := make(chan error), 0
	begin := func(run func(context.Context) error) {
		n++
		go func() { ended <- run(ctx) }()
	}
	for _, run := range journals {
		begin(run)
	}
	if s.receiver != nil {
		begin(s.receiver.Run)
	}
	known := slices.Clone(s.options.journals)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			for _, dir := range s.newcomers(known) {
				s.events.Say(event.Notice, "A trusted remote reports for the first time: journal "+dir)
				known = append(known, dir)
				begin(s.journal(dir))
			}
		case err := <-ended:
			if n--; n == 0 {
				return err
			}
			if err != nil {
				s.events.Say(event.Critical, oneLine(err))
			}
		}
	}
}

// newcomers are copies of journals of trusted remotes that are not known, and have something.
func (s *service) newcomers(known []string) (dirs []string) {
	if s.options.remotes == "" {
		return nil
	}
	for _, dir := range journalwriter.Mirrors(s.options.remotes) {
		if slices.Contains(known, dir) {
			continue
		}
		if files, err := os.ReadDir(dir); err == nil && len(files) > 0 {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// journal is what stores or sends one journal, until ctx ends or that cannot be.
func (s *service) journal(dir string) (run func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forwarder != nil {
		f := s.forwarder(dir)
		s.forwarders = append(s.forwarders, f)
		return f.Run
	}
	f := &accounting.Follower{Dir: dir, Reader: s.options.name, Store: s.journaled(), Events: s.events}
	s.followers = append(s.followers, f)
	if s.usual() {
		return func(ctx context.Context) error { return s.followUsual(ctx, f) }
	}
	return f.Run
}

// reopenLog opens the log anew when it may have been renamed, and with SIGHUP also reads
// anew who is told what.
func (s *service) reopenLog(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-s.signals:
			s.log.Reopen()
			if sig == syscall.SIGHUP && s.notifier != nil {
				s.notifier.reload(s.events)
			}
		}
	}
}

func (s *service) kept() string {
	if s.options.keep == 0 {
		return "ever"
	}
	return figures.Things(int64(s.options.keep), "day")
}

// retainEvery is how often old shares are looked for.
const retainEvery = time.Hour

// retain drops the days of shares that are old enough.
func (s *service) retain(ctx context.Context) {
	if s.options.keep == 0 || s.store == nil {
		return
	}
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	r := retention{keep: s.options.keep}
	for {
		if err := s.drop(ctx, &r); err != nil && ctx.Err() == nil {
			s.events.Say(event.Warning, "Old shares are not dropped: "+err.Error()+"; trying again in an hour")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *service) drop(ctx context.Context, r *retention) error {
	list, _, err := s.store.Status(ctx)
	if err != nil {
		return err
	}
	days, err := s.store.Days(ctx)
	if err != nil {
		return err
	}
	if before := r.before(list, days, time.Now()); before > 0 {
		return s.store.Retain(ctx, before)
	}
	return nil
}

// retention tells which days of shares are old enough.
type retention struct {
	keep int                         // days
	at   map[[16]byte]store.Position // how far each pool was stored when it was looked last
}

// before is the time, in seconds since 1970, before which those days may be dropped that shares
// are kept of; 0: none may. Days are those of the shares' own times, and so the newest one
// stored tells which day it is: a clock that is ahead drops nothing. Of a day that is dropped no
// share is taken any more: where an import, or a pool that is late, has come to a day, that and
// later ones stay until it has come further, or has ended.
func (r *retention) before(list []store.InstanceStatus, days []int64, now time.Time) int64 {
	const (
		second = 1_000_000 // microseconds
		day    = 24 * 3600
	)
	newest := int64(0)
	for i := range list {
		newest = max(newest, list[i].Time)
	}
	if newest < now.UnixMicro() {
		now = time.UnixMicro(newest)
	}
	before, at := now.Unix()-int64(r.keep)*day, make(map[[16]byte]store.Position, len(list))
	for i := range list {
		v := &list[i]
		was, known := r.at[v.ID]
		if at[v.ID] = v.At; known && was == v.At {
			continue
		}
		// Its shares may be of the day before, and tables are made for two days after. Where
		// there are none about that day its clock is wrong.
		d := v.Time / second / day
		if v.Time == 0 || slices.ContainsFunc(days, func(kept int64) bool { return d-1 <= kept && kept <= d+3 }) {
			before = min(before, (d-1)*day)
		}
	}
	r.at = at
	return max(before, 0)
}

// announceEvery is how often changes that wait are looked for, of which miners are told.
const announceEvery = time.Hour

// announce tells miners of changed payout addresses for as long as these wait.
func (s *service) announce(ctx context.Context) {
	if s.store == nil {
		return
	}
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	for {
		if err := s.store.Announce(ctx, time.Now().UnixMicro()); err != nil && ctx.Err() == nil {
			s.events.Say(event.Warning, "Changed payout addresses are not announced: "+err.Error()+"; trying again in an hour")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
