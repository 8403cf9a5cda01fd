package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"ckpool/control"
	"ckpool/internal/config"
	"ckpool/internal/instance"
	"ckpool/internal/logfile"
	"ckpool/internal/pool"
)

// errLogged is an error the log and the console have told already.
var errLogged = errors.New("reported")

// flushLog is how long the log may take to write its last lines.
const flushLog = 300 * time.Millisecond

// service is one running instance.
type service struct {
	options Options
	parent  *os.File // waits to hear that a detached instance is up; nil: none
	signals chan os.Signal
	log     *logfile.Log
	logger  *slog.Logger
	pool    *pool.Pool
	control *control.Server

	reloading sync.Mutex // one at a time
}

// runPool is the life of one instance.
func runPool(ctx context.Context, o Options, c config.Config, parent *os.File) error {
	inst, err := instance.Claim(ctx, o.SockDir, o.Group, o.KillOld)
	if err != nil {
		return err
	}
	defer inst.Release()
	_ = instance.SetProcessName(o.Name) // of no use but in ps and top
	s := &service{options: o, parent: parent, signals: make(chan os.Signal, 4)}
	signal.Ignore(syscall.SIGPIPE) // a console that went away is no reason to end
	signal.Notify(s.signals, syscall.SIGUSR1, syscall.SIGHUP)
	defer signal.Stop(s.signals)
	if err := s.openLog(c.LogDir); err != nil {
		return err
	}
	defer s.closeLog()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := s.open(ctx, c, cancel); err != nil {
		s.say(logfile.LevelEmergency, err.Error())
		return errLogged
	}
	defer s.close()
	if err := s.run(ctx); err != nil {
		s.say(logfile.LevelEmergency, err.Error())
		return errLogged
	}
	s.say(logfile.LevelWarning, o.Name+" shutting down")
	return nil
}

func (s *service) logFile(dir string) string { return filepath.Join(dir, s.options.Name+".log") }

func (s *service) openLog(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("Failed to make log directory %s: %w", dir, errors.Unwrap(err))
	}
	log, err := logfile.Open(logfile.Config{
		Path: s.logFile(dir), Console: os.Stderr, Terminal: term.IsTerminal(int(os.Stderr.Fd())), Level: s.options.LogLevel,
	})
	if err != nil {
		return fmt.Errorf("Failed to make open log file: %w", err)
	}
	s.log, s.logger = log, log.Logger()
	return nil
}

func (s *service) closeLog() {
	last, cancel := context.WithTimeout(context.Background(), flushLog)
	defer cancel()
	_ = s.log.Close(last) // there is nowhere left to tell
}

func (s *service) say(level slog.Level, text string) {
	s.logger.Log(context.Background(), level, text)
}

// open makes everything that can fail at the start. After an error nothing is
// open.
func (s *service) open(ctx context.Context, c config.Config, shutdown func()) (err error) {
	s.say(logfile.LevelWarning, fmt.Sprintf("%s %s starting", s.options.Name, version()))
	s.pool, err = pool.New(c, pool.Options{
		Solo: s.options.Mode == config.Solo, LogShares: s.options.LogShares, Version: version(), Log: s.logger,
	})
	if err != nil {
		return err
	}
	s.control = control.NewServer(s.options.SockDir, s.options.Group)
	s.pool.Commands(s.control, pool.Process{Shutdown: shutdown, SetLogLevel: s.log.SetLevel, Reload: s.reload})
	if err = s.pool.Listen(ctx); err == nil {
		err = s.control.Listen()
	}
	if err == nil && s.parent != nil {
		err = tellUp(s.parent, s.logFile(c.LogDir))
	}
	if err != nil {
		s.close()
	}
	return err
}

func (s *service) close() {
	s.control.Close()
	s.pool.Close()
}

// run serves until ctx ends or the pool fails.
func (s *service) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var around sync.WaitGroup
	defer around.Wait()
	defer cancel()
	around.Go(func() { s.control.Serve(ctx) })
	around.Go(func() { s.handleSignals(ctx) })
	if !s.options.Quiet && term.IsTerminal(int(os.Stdout.Fd())) {
		around.Go(func() { showStatus(ctx, s.pool) })
	}
	return s.pool.Run(ctx)
}

// showStatus keeps a status line on the console.
func showStatus(ctx context.Context, p *pool.Pool) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for cycle := 0; ; cycle++ {
		select {
		case <-ctx.Done():
			fmt.Println()
			return
		case now := <-tick.C:
			status := p.Status(now, pool.Sessions{})
			fmt.Print(pool.ConsoleLine(now, cycle, &status))
		}
	}
}
