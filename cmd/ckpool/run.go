package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/buildinfo"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/descriptors"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/instance"
	"github.com/ckpool/ckpool/internal/logfile"
	"github.com/ckpool/ckpool/internal/metrics"
	"github.com/ckpool/ckpool/internal/operator"
	"github.com/ckpool/ckpool/internal/pool"
)

// errLogged is an error the log and the console have told already.
var errLogged = errors.New("reported")

// loggedError is one whose text is known.
type loggedError struct{ error }

func (loggedError) Is(target error) bool { return target == errLogged }

// flushLog is how long the log may take to write its last lines.
const flushLog = 3 * time.Second

// service is one running instance.
type service struct {
	options  Options
	argv     []string
	parent   *os.File // waits to hear that a detached instance is up; nil: none
	signals  chan os.Signal
	shutdown func()
	instance *instance.Instance
	log      *logfile.Log
	events   event.Func // writes to the log
	served   served
	page     *page           // nil: there is none
	metrics  *metrics.Server // of an instance without a pool; nil: there is none
	control  *control.Server
	manager  manager

	level event.Level // of the log as options and configuration have it; guarded by reloading while the service runs

	reloading sync.Mutex   // one at a time, and not while moving
	moving    sync.Mutex   // likewise
	upgrading sync.Mutex   // likewise
	handovers chan outcome // taken by upgrade

	old   *handover.Link // to the process taken over from; nil: there was none
	moved atomic.Bool    // another process has taken over

	ending atomic.Bool // by a command
}

// runPool is the life of one instance.
func runPool(ctx context.Context, o Options, c config.Config, warnings, argv []string, parent *os.File) error {
	signals := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &service{
		options: o, argv: argv, parent: parent, signals: make(chan os.Signal, 4), shutdown: cancel,
		handovers: make(chan outcome, 1),
	}
	signal.Ignore(syscall.SIGPIPE) // a console that went away is no reason to end
	signal.Notify(s.signals, syscall.SIGUSR1, syscall.SIGHUP)
	defer signal.Stop(s.signals)
	_ = instance.SetProcessName(o.Name) // of no use but in ps and top
	if !o.KillOld {                     // else it is not ended before this one can start
		if err := s.claim(ctx); err != nil {
			return err
		}
	}
	defer s.release()
	s.level = o.logLevel(c.LogLevel)
	if err := s.openLog(c.LogDir); err != nil {
		return err
	}
	defer s.closeLog()
	var err error
	if s.manager, err = findManager(); err != nil {
		s.events.Say(event.Warning, err.Error())
	}
	defer func() { s.manager.Close() }() // which a handover may bring
	s.events.Say(event.Warning, fmt.Sprintf("%s %s starting, log %s", o.Name, buildinfo.Version(), shown(s.logFile(c.LogDir))))
	for _, line := range warnings {
		s.events.Say(event.Warning, line)
	}
	defer context.AfterFunc(signals, func() {
		s.events.Say(event.Info, fmt.Sprintf("Process %s: %v", o.Name, context.Cause(signals)))
	})()
	err = s.open(ctx, c)
	if err == nil {
		defer s.close()
		err = s.run(ctx)
	}
	if err != nil {
		s.events.Say(event.Emergency, err.Error())
		return loggedError{err}
	}
	if !s.moved.Load() { // else it goes on in another process
		s.events.Say(event.Warning, o.Name+" shutting down")
	}
	return nil
}

// claim makes the socket directory this process's.
func (s *service) claim(ctx context.Context) (err error) {
	o := &s.options
	s.instance, err = instance.Claim(ctx, o.SockDir, o.Group, o.KillOld)
	return err
}

// release gives the socket directory up if it is this process's.
func (s *service) release() {
	switch {
	case s.instance == nil:
	case s.moved.Load(): // the pid file is another process's, which may have the same pid in another container
		s.instance.Return()
	default:
		s.instance.Release()
	}
}

// shown is a path that means the same in every directory.
func shown(path string) string {
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}

func (s *service) logFile(dir string) string { return filepath.Join(dir, s.options.Name+".log") }

func (s *service) openLog(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("Failed to make log directory %s: %w", dir, errors.Unwrap(err))
	}
	log, err := logfile.Open(logfile.Config{
		Path: s.logFile(dir), Console: os.Stderr, Terminal: term.IsTerminal(int(os.Stderr.Fd())), Level: s.level,
		Colours: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", // no-color.org
	})
	if err != nil {
		return fmt.Errorf("Failed to make open log file %s: %w; \"logdir\" of the configuration is its directory", s.logFile(dir), errors.Unwrap(err))
	}
	s.log, s.events = log, log.Tell
	return nil
}

func (s *service) closeLog() {
	last, cancel := context.WithTimeout(context.Background(), flushLog)
	defer cancel()
	_ = s.log.Close(last) // there is nowhere left to tell
}

// open makes everything that can fail at the start, or takes it over from the
// running instance. After an error nothing is open.
func (s *service) open(ctx context.Context, c config.Config) error {
	if s.options.Handover {
		done, err := s.takeOver(ctx, c)
		if err != nil {
			return err
		}
		if done {
			// The miners are this process's, whether who started it is still there to hear that or not.
			if err := s.tellParent(c, nil); err != nil {
				s.events.Say(event.Warning, "Whoever started this process is not told that it serves: "+err.Error())
			}
			return nil
		}
	}
	if s.options.KillOld {
		err := s.try(ctx, c)
		if err == nil {
			err = s.claim(ctx)
		}
		if err != nil {
			return err
		}
	}
	err := s.prepare(c, false)
	if err == nil {
		// Who reads of open ports in the log finds the control sockets there.
		if err = s.control.Listen(); err == nil {
			err = s.listen(ctx)
		}
		err = s.tellParent(c, err)
		if err != nil {
			s.close()
		}
	}
	return err
}

// prepare makes what is served, and its commands.
func (s *service) prepare(c config.Config, takeOver bool) (err error) {
	if s.served, err = s.makeServed(c, takeOver); err != nil {
		return err
	}
	s.makeRoom()
	s.control = control.NewServer(s.options.SockDir, s.options.Group)
	s.moveCommands()
	s.served.Commands(s.control, operator.Process{Shutdown: s.end, Ending: s.ending.Load, SetLogLevel: s.log.SetLevel, Reload: s.reload})
	return nil
}

// end ends the process as a command says.
func (s *service) end() {
	s.ending.Store(true)
	s.shutdown()
}

// makePool makes a pool.
func (s *service) makePool(c config.Config, takeOver bool) (served, error) {
	ckdb := s.ckdb()
	keeps, unasked := s.keepsShares(&c, ckdb)
	p, err := pool.New(c, pool.Options{
		Solo: c.Solo, Remote: s.options.Mode == config.Remote, Proxy: s.options.Mode == config.Proxy, UserProxy: s.options.Mode == config.UserProxy, LogShares: s.options.LogShares, Version: buildinfo.Version(), Events: s.events, Wants: s.log.Wants,
		Descriptors: mayOpen, TakeOver: takeOver, Ckdb: ckdb, Quiet: collect,
		Journal: keeps, Unasked: unasked, Name: s.options.Name, SockDir: s.options.SockDir,
		Metrics: s.serveMetrics,
	})
	if err != nil {
		return nil, err // of no type
	}
	if s.page, err = newPage(p, s.events); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// serveMetrics serves a pool's metrics until ctx ends.
func (s *service) serveMetrics(ctx context.Context, address string, p *pool.Pool) {
	(&metrics.Server{Address: address, Handler: metrics.Handler(p), Events: s.events}).Run(ctx)
}

// mayOpen is how many descriptors the process may have. Where the system does not
// tell, the pool says so.
func mayOpen() int {
	limit, _ := descriptors.Raise()
	return limit
}

// makeRoom makes room for the descriptors of all miners that may come.
func (s *service) makeRoom() { descriptors.Grow(s.served.MaxClients()) }

// tellParent tells the program that has detached this one that it is up.
func (s *service) tellParent(c config.Config, err error) error {
	if err != nil || s.parent == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.log.FlushConsole(ctx)
	return tellUp(s.parent, s.logFile(c.LogDir))
}

// listen opens the ports, those that a service manager has opened already among
// them.
func (s *service) listen(ctx context.Context) error {
	err := s.served.Inherit(s.manager.sockets)
	if err == nil {
		err = s.served.Listen(ctx)
	}
	if err == nil {
		s.served.DropInherited()
		err = s.page.listen(ctx)
	}
	return err
}

func (s *service) close() {
	s.page.close()
	s.control.Close()
	s.served.Close()
}

// run serves until ctx ends or what is served fails.
func (s *service) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var around sync.WaitGroup
	defer around.Wait()
	defer cancel()
	around.Go(func() { s.control.Serve(ctx) })
	around.Go(func() { s.handleSignals(ctx) })
	around.Go(func() {
		part(ctx, s.old)
		s.keepManager(ctx)
	})
	around.Go(func() { s.page.run(ctx) })
	if s.metrics != nil {
		around.Go(func() { s.metrics.Run(ctx) })
	}
	if !s.options.Quiet && term.IsTerminal(int(os.Stdout.Fd())) {
		around.Go(func() { showStatus(ctx, s.served) })
	}
	if err := s.served.Run(ctx); err != nil {
		return fmt.Errorf("Fatal: %w", err)
	}
	return nil
}

// showStatus keeps a status line on the console.
func showStatus(ctx context.Context, p served) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for cycle := 0; ; cycle++ {
		select {
		case <-ctx.Done():
			fmt.Println()
			return
		case now := <-tick.C:
			width, _, err := term.GetSize(int(os.Stdout.Fd()))
			if err != nil || width == 0 { // a terminal that does not know
				width = 80
			}
			fmt.Print(p.StatusLine(now, cycle, width))
		}
	}
}
