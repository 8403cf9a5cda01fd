// Package ckdb is one for tests of who asks it: accounts in memory, behind the
// real server on a real socket, that can be stopped, started again and made slow.
package ckdb

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/credentials"
)

// Store is accounts in memory; it implements authority.Accounts.
type Store struct {
	mu sync.Mutex
	// guarded by mu
	name     string
	users    map[string]authority.Account // without the worker's part
	minimums map[string]float64
	changes  []authority.Change
	changed  chan struct{} // closed and replaced with every change
	tries    map[string]int
	delay    time.Duration
	broken   error
	asked    int
}

// New makes a store of that name.
func New(name string) *Store {
	return &Store{name: name, users: map[string]authority.Account{}, minimums: map[string]float64{}, tries: map[string]int{}, changed: make(chan struct{})}
}

// Register makes an account. The password is a hash, "" for any.
func (s *Store) Register(user, hash string) {
	s.change(authority.Change{Kind: authority.Password, User: user}, func() {
		a := s.users[user]
		a.Registered, a.Password = true, hash
		s.users[user] = a
	})
}

// Lock locks an account, registered or not.
func (s *Store) Lock(user, text string) {
	s.change(authority.Change{Kind: authority.Lock, User: user, Text: text}, func() {
		a := s.users[user]
		a.Registered, a.Locked, a.Text = true, true, text
		s.users[user] = a
	})
}

// Unlock undoes Lock.
func (s *Store) Unlock(user string) {
	s.change(authority.Change{Kind: authority.Unlock, User: user}, func() {
		a := s.users[user]
		a.Locked = false
		s.users[user] = a
	})
}

// SetMinimum gives a worker of a user a least difficulty.
func (s *Store) SetMinimum(user, worker string, d float64) {
	s.change(authority.Change{Kind: authority.Minimum, User: user, Worker: worker, Minimum: d}, func() { s.minimums[worker] = d })
}

// SetPrivate has a user named to nobody, or ends that.
func (s *Store) SetPrivate(user string, private bool) {
	s.change(authority.Change{Kind: authority.Privacy, User: user, Private: private}, func() {})
}

// Message is one to the miners of a user.
func (s *Store) Message(user, text string) {
	s.change(authority.Change{Kind: authority.Message, User: user, Text: text}, func() {})
}

func (s *Store) change(c authority.Change, do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	c.Number = 1
	if n := len(s.changes); n > 0 {
		c.Number = s.changes[n-1].Number + 2 // there may be gaps
	}
	s.changes = append(s.changes, c)
	close(s.changed)
	s.changed = make(chan struct{})
}

// SetDelay makes every question take so long, and fail then if err is not nil.
func (s *Store) SetDelay(d time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay, s.broken = d, err
}

// Asked is how many questions there were.
func (s *Store) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// Find implements authority.Accounts.
func (s *Store) Find(ctx context.Context, q authority.Question) (authority.Account, error) {
	s.mu.Lock()
	a := s.users[q.User]
	a.Minimum = s.minimums[q.Worker]
	delay, err := s.delay, s.broken
	s.asked++
	s.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return a, ctx.Err()
		}
	}
	return a, err
}

// Position implements authority.Accounts.
func (s *Store) Position(context.Context) (authority.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := authority.Position{Store: s.name}
	if n := len(s.changes); n > 0 {
		p.Number = s.changes[n-1].Number
	}
	return p, nil
}

// Changes implements authority.Accounts.
func (s *Store) Changes(ctx context.Context, after uint64, most int) (list []authority.Change, err error) {
	for {
		s.mu.Lock()
		for _, c := range s.changes {
			if c.Number > after && len(list) < most {
				list = append(list, c)
			}
		}
		changed := s.changed
		s.mu.Unlock()
		if len(list) > 0 {
			return list, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// AddTry implements authority.Accounts; what is counted is so until the test ends.
func (s *Store) AddTry(_ context.Context, limits []credentials.Limit) (wait time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range limits {
		if s.tries[l.Key] >= l.Most {
			return l.Within, nil
		}
	}
	for _, l := range limits {
		s.tries[l.Key]++
	}
	return 0, nil
}

// TakeBackTry implements authority.Accounts.
func (s *Store) TakeBackTry(_ context.Context, limits []credentials.Limit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range limits {
		s.tries[l.Key]--
	}
	return nil
}

// Daemon serves a store while it runs.
type Daemon struct {
	Store *Store
	Dir   string // of its socket

	Events event.Func // is told what an operator would be; nil: nobody

	cancel context.CancelFunc
	served sync.WaitGroup
}

// Start serves the store on the socket in Dir.
func (c *Daemon) Start() error {
	if c.cancel != nil {
		return errors.New("it runs")
	}
	server := control.NewServer(c.Dir, -1)
	authority.NewServer(c.Store, "ckdb test", c.Events).Commands(server)
	if err := server.Listen(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.served.Go(func() { server.Serve(ctx) })
	return nil
}

// Stop ends it as a process would: connections end, the socket is gone.
func (c *Daemon) Stop() {
	if c.cancel == nil {
		return
	}
	c.cancel()
	c.served.Wait()
	c.cancel = nil
}

// Place is where it is asked.
func (c *Daemon) Place() *authority.Place {
	return &authority.Place{Dir: c.Dir, Name: filepath.Base(c.Dir)}
}
