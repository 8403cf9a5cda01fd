package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/notify"
	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/work"
)

// notifier tells people elsewhere what a file says.
type notifier struct {
	*notify.Notifier
	path   string                        // immutable
	config atomic.Pointer[config.Config] // in force
}

// makeNotifier makes it, if there is to be one.
func (s *service) makeNotifier() error {
	path := s.options.notify
	if path == "" {
		return nil
	}
	c, errs := notify.Load(path)
	if len(errs) > 0 {
		return errs[0]
	}
	if len(c.Notify) == 0 {
		return fmt.Errorf("%s: \"notify\" has no target", path)
	}
	n := &notifier{path: path}
	n.config.Store(&c)
	n.Notifier = notify.New(c.Notify, notify.Options{
		Dir:     filepath.Join(s.options.ownLog, s.options.name+"-notify"),
		Pool:    func() string { return n.config.Load().PoolTag },
		Private: func(user string) bool { return n.config.Load().Private(user) },
		Events:  s.events,
		View: notify.View{
			Accounts:    s.watch.Accounts,
			Directories: s.directories,
			Certificates: func() (pairs [][2]string) {
				if o := &s.options.webOptions; o.cert != "" {
					pairs = append(pairs, [2]string{o.cert, o.key})
				}
				return pairs
			},
		},
	})
	s.notifier = n
	return nil
}

// directories are those whose disks must have room.
func (s *service) directories() []string {
	dirs := append([]string{s.options.ownLog}, s.options.journals...)
	if s.store != nil && !strings.Contains(s.where, "://") {
		dirs = append(dirs, strings.TrimPrefix(s.where, "sqlite:"))
	}
	return dirs
}

// reload reads the file anew; one that is wrong changes nothing.
func (n *notifier) reload(events event.Func) {
	c, errs := notify.Load(n.path)
	if len(errs) > 0 {
		events.Say(event.Error, "Notifications go on as before: "+oneLine(errs[0]))
		return
	}
	n.config.Store(&c)
	n.Set(c.Notify)
	events.Say(event.Notice, "Notifications are those of "+n.path)
}

// Accounts is what notifications are made of.
func (w *watch) Accounts() notify.Accounts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.accounts
}

// blocksWatched are the highest blocks whose rewards are looked at. A reward matures with
// 101 confirmations.
const blocksWatched = 500

// lists are the payments and rewards that people elsewhere hear of, and what alarms say.
func (s *service) lists(ctx context.Context, a *notify.Accounts) error {
	payments, err := s.store.Payments().News(ctx, payout.Deep)
	if err != nil {
		return err
	}
	for _, p := range payments {
		a.Payments = append(a.Payments, notify.Payment{
			Payment: p.ID, Amount: p.Debit, Outputs: int(p.Outputs), Transaction: p.Txid, Height: p.Height, State: string(p.State), Reason: p.Reason, First: p.First,
		})
	}
	blocks, err := s.store.PoolBlocks(ctx, blocksWatched)
	if err != nil {
		return err
	}
	for _, b := range blocks {
		a.Rewards = append(a.Rewards, notify.Reward{Height: b.Height, Block: work.FormatHash(b.Hash), Value: b.Value, Confirmations: b.Confirmations, Mature: b.Posted == store.PostedMature})
	}
	alarms, err := s.store.Alarms(ctx)
	for _, v := range alarms {
		if v.Ended == 0 {
			a.Alarms = append(a.Alarms, v.Text)
		}
	}
	return err
}
