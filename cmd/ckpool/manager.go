package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/logfile"
	"github.com/ckpool/ckpool/internal/systemd"
)

// statusEvery is how often the service manager gets a new status line.
const statusEvery = 10 * time.Second

// manager is the service manager, if the instance runs under one.
type manager struct {
	*systemd.Notifier
	socket   string        // where it listens
	watchdog time.Duration // within which it wants to hear of us; 0: it does not care
	sockets  []*os.File    // listening ones it passed on
	troubles *logfile.Limiter
}

// findManager reads what a service manager has put into the environment.
func findManager() (m manager, err error) {
	m.troubles = logfile.NewLimiter(time.Minute)
	var errs [3]error
	m.socket = os.Getenv("NOTIFY_SOCKET")
	m.Notifier, errs[0] = systemd.NewNotifier(m.socket)
	m.watchdog, errs[1] = systemd.Watchdog(os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID"))
	m.sockets, errs[2] = systemd.Sockets(os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID"))
	return m, errors.Join(errs[:]...)
}

// adopt makes the manager of the process that is taken over from this one's,
// which was started by somebody else.
func (m *manager) adopt(socket string, watchdog time.Duration) (err error) {
	if m.Notifier != nil || socket == "" {
		return nil
	}
	m.socket, m.watchdog = socket, watchdog
	m.Notifier, err = systemd.NewNotifier(socket)
	return err
}

// tell logs that the manager could not be told.
func (s *service) tell(err error) {
	if err == nil {
		return
	}
	if line, ok := s.manager.troubles.Pass(err.Error()); ok {
		s.events.Say(event.Warning, line)
	}
}

// keepManager tells the manager how the pool does until ctx ends.
func (s *service) keepManager(ctx context.Context) {
	if s.manager.Notifier == nil {
		return
	}
	every := statusEvery
	if s.manager.watchdog > 0 {
		every = min(every, s.manager.watchdog/3)
	}
	s.tell(s.manager.Ready(s.served.Summary(time.Now())))
	s.feedWatchdog(ctx, every)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if !s.moved.Load() { // else the service goes on in another process
				s.tell(s.manager.Stopping())
			}
			return
		case now := <-tick.C:
			s.tell(s.manager.Status(s.served.Summary(now)))
			s.feedWatchdog(ctx, every)
		}
	}
}

// feedWatchdog tells the manager that the loops work, if they do.
func (s *service) feedWatchdog(ctx context.Context, timeout time.Duration) {
	if s.manager.watchdog == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if s.served.Alive(ctx) == nil {
		s.tell(s.manager.Alive())
	}
}
