package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/systemd"
)

// manager is the service manager, if the instance runs under one.
type manager struct {
	*systemd.Notifier
	watchdog time.Duration // within which it wants to hear of us; 0: it does not care
}

// findManager reads what a service manager has put into the environment.
func findManager() (m manager, err error) {
	var errs [2]error
	m.Notifier, errs[0] = systemd.NewNotifier(os.Getenv("NOTIFY_SOCKET"))
	m.watchdog, errs[1] = systemd.Watchdog(os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID"))
	return m, errors.Join(errs[:]...)
}

// keepManager tells the manager how it goes until ctx ends.
func (s *service) keepManager(ctx context.Context, m manager) {
	if m.Notifier == nil {
		return
	}
	every := 10 * time.Second
	if m.watchdog > 0 {
		every = min(every, m.watchdog/3)
	}
	told := error(nil)
	tell := func(err error) {
		if err != nil && told == nil {
			s.events.Say(event.Warning, err.Error())
		}
		told = err
	}
	tell(m.Ready(s.summary()))
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if m.watchdog > 0 {
			tell(m.Alive())
		}
		select {
		case <-ctx.Done():
			tell(m.Stopping())
			return
		case <-tick.C:
			tell(m.Status(s.summary()))
		}
	}
}

// summary says in a line how it goes.
func (s *service) summary() string {
	d := s.daemon()
	var shares, sent uint64
	for _, j := range d.Journals {
		if j.Trouble != "" {
			return "Journal " + j.Dir + ": " + j.Trouble
		}
		shares += j.Shares
		sent += j.Sent
	}
	for _, v := range d.Visits {
		shares += v.Shares
	}
	from := figures.Things(int64(len(d.Journals)), "journal")
	if d.Forward {
		return fmt.Sprintf("%s of %s sent since the start, %s of them not known to be stored", figures.Things(int64(shares), "share"), from, figures.Count(int64(sent)))
	}
	if s.receiver != nil {
		from += " and " + figures.Things(int64(len(d.Visits)), "other site")
	}
	return fmt.Sprintf("%s of %s stored since the start", figures.Things(int64(shares), "share"), from)
}
