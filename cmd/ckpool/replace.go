package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/instance"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/operator"
	"github.com/ckpool/ckpool/internal/ports"
)

// replace takes the place of an instance that passes on its listening sockets
// only, as ckpool in C does: once everything is ready its miners are told to
// reconnect and it is ended. Without an error, and with true, the service
// serves as soon as it is run; false means that there is no such instance.
func (s *service) replace(ctx context.Context, c config.Config) (done bool, err error) {
	old := handover.NewForeign(filepath.Join(s.options.SockDir, operator.Sockets[0]), s.events)
	if !old.Alive(ctx) {
		return false, nil
	}
	if err := s.prepare(c, true); err != nil {
		return false, err
	}
	fail := func(err error) (bool, error) {
		s.close()
		return false, err
	}
	pid, err := instance.Running(s.options.SockDir)
	if err != nil {
		return fail(err)
	}
	p := s.served
	if err := p.Inherit(old.Sockets(ctx, max(len(c.Servers), 1))); err != nil {
		return fail(err)
	}
	opened, err := p.ListenBeside(ctx, pid)
	if err != nil {
		return fail(err)
	}
	if err := p.Prepare(ctx); err != nil {
		return fail(fmt.Errorf("handover: %w", err))
	}
	if err := instance.Prepare(s.options.SockDir, s.options.Group); err != nil {
		return fail(err)
	}
	_ = old.End(ctx) // it is ended in the next step whatever it answers
	if err := s.claimFrom(ctx, pid); err != nil {
		return fail(err)
	}
	p.DropInherited()
	if !opened {
		err = listenAfter(ctx, p)
	}
	if err == nil {
		err = p.Load(time.Now())
	}
	if err == nil {
		err = s.control.Listen()
	}
	if err != nil {
		return fail(err)
	}
	return true, nil
}

// listenTime is how long ports of a process that is gone may still be in use, by
// others that have them from it.
const listenTime = 5 * time.Second

// listenAfter opens the ports that another process has just given up.
func listenAfter(ctx context.Context, p served) error {
	ctx, cancel := context.WithTimeout(ctx, listenTime)
	defer cancel()
	for {
		err := p.Listen(ctx)
		if netserver.InUse(err) == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// try sees, before the running instance is ended for this one, that this one can
// start: it makes what can be made beside it, and gives it up again.
func (s *service) try(ctx context.Context, c config.Config) error {
	pid, err := instance.Running(s.options.SockDir)
	if pid == 0 || err != nil {
		return err
	}
	if err := s.prepare(c, true); err != nil {
		return err
	}
	defer s.close()
	if err := instance.Prepare(s.options.SockDir, s.options.Group); err != nil {
		return err
	}
	if _, err := s.served.ListenBeside(ctx, pid); err != nil && !errors.Is(err, ports.ErrHidden) {
		return err
	}
	return nil
}

// What the running instance gets to be gone by itself, and by SIGTERM: its miners
// wait in the sockets meanwhile.
const (
	endTime  = 500 * time.Millisecond
	termTime = 2 * time.Second
)

// claimFrom waits for the running instance to be gone, or makes it; pid is its
// process, 0 for none. It has removed its pid file before its end.
func (s *service) claimFrom(ctx context.Context, pid int) error {
	if pid != 0 && !instance.AwaitEnd(ctx, pid, endTime) {
		s.events.Say(event.Warning, fmt.Sprintf("Old process pid %d failed to shutdown cleanly, terminating", pid))
		if err := instance.Kill(ctx, pid, termTime); err != nil {
			return err
		}
	}
	return s.claim(ctx)
}
