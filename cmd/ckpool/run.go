package main

import (
	"context"
	"errors"
	"fmt"
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

// runPool is the life of one instance.
func runPool(ctx context.Context, o Options, c config.Config) error {
	inst, err := instance.Claim(ctx, o.SockDir, o.KillOld)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.LogDir, 0o750); err != nil {
		return fmt.Errorf("Failed to make log directory %s: %w", c.LogDir, err)
	}
	terminal := term.IsTerminal(int(os.Stderr.Fd()))
	log, err := logfile.Open(logfile.Config{
		Path: filepath.Join(c.LogDir, o.Name+".log"), Console: os.Stderr, Terminal: terminal, Level: o.LogLevel,
	})
	if err != nil {
		return fmt.Errorf("Failed to make open log file: %w", err)
	}
	defer func() {
		last, cancel := context.WithTimeout(context.Background(), flushLog)
		defer cancel()
		log.Close(last)
	}()
	logger := log.Logger()
	logger.Log(ctx, logfile.LevelWarning, fmt.Sprintf("%s %s starting", o.Name, version()))

	p, err := pool.New(c, pool.Options{Solo: o.Mode == config.Solo, LogShares: o.LogShares, Version: version(), Log: logger})
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Listen(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := control.NewServer(o.SockDir, o.Group)
	p.Commands(server, pool.Process{Shutdown: cancel, SetLogLevel: log.SetLevel})
	if err := server.Listen(); err != nil {
		return err
	}
	defer server.Close()
	if err := inst.WritePID(); err != nil {
		return err
	}
	defer inst.RemovePID()

	var around sync.WaitGroup
	defer around.Wait()
	defer cancel()
	around.Go(func() { server.Serve(ctx) })
	around.Go(func() { reopenLogs(ctx, log) })
	if !o.Quiet && term.IsTerminal(int(os.Stdout.Fd())) {
		around.Go(func() { showStatus(ctx, p) })
	}
	err = p.Run(ctx)
	if err != nil {
		logger.Log(ctx, logfile.LevelEmergency, err.Error())
		return errLogged
	}
	logger.Log(ctx, logfile.LevelWarning, fmt.Sprintf("%s shutting down", o.Name))
	return nil
}

// reopenLogs opens the log anew on SIGUSR1 and SIGHUP.
func reopenLogs(ctx context.Context, log *logfile.Log) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			log.Reopen()
		}
	}
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
