package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
)

// reloadTime is for names of listen addresses to be resolved.
const reloadTime = 10 * time.Second

// handleSignals opens the logs anew on SIGUSR1; on SIGHUP it reads the
// configuration again too.
func (s *service) handleSignals(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case signal := <-s.signals:
			s.log.Reopen()
			s.served.ReopenLogs()
			if signal == syscall.SIGHUP {
				s.reloadOnSignal(ctx)
			}
		}
	}
}

func (s *service) reloadOnSignal(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	_, _ = s.reload(ctx) // it was logged
}

// reload reads the configuration again, and tells what came of it.
func (s *service) reload(ctx context.Context) (config.Merged, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if s.moved.Load() { // while this waited
		return config.Merged{}, errMoved
	}
	s.tell(s.manager.Reloading())
	m, err := s.reloadFile(ctx)
	status := s.served.Summary(time.Now())
	if err != nil {
		status = "Configuration not reloaded: " + err.Error()
	}
	s.tell(s.manager.Ready(status))
	return m, err
}

func (s *service) reloadFile(ctx context.Context) (config.Merged, error) {
	var m config.Merged
	c, warnings, err := loadConfig(s.options)
	for _, line := range texts(warnings) {
		s.events.Say(event.Warning, line)
	}
	if err == nil {
		m, err = s.served.Apply(ctx, c)
		s.makeRoom()
	} else {
		err = errors.New(oneLine(err))
	}
	if err != nil {
		s.events.Say(event.Error, "Configuration not reloaded, the old one stays in force: "+err.Error())
		return m, err
	}
	if slices.Contains(m.Changed, "loglevel") {
		s.level = event.Level(m.LogLevel) // who changes the file means it, whatever -l says
		if s.level < 0 {
			s.level = s.options.logLevel(m.LogLevel)
		}
		s.log.SetLevel(s.level)
	}
	changed := "nothing changed"
	if len(m.Changed) > 0 {
		changed = "changed " + strings.Join(m.Changed, ", ")
	}
	s.events.Say(event.Warning, "Configuration reloaded: "+changed)
	if len(m.Restart) > 0 {
		s.events.Say(event.Warning, "Changes that wait for the next start: "+strings.Join(m.Restart, ", "))
	}
	return m, nil
}
