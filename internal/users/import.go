package users

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"ckpool/internal/recent"
	"ckpool/internal/session"
	"ckpool/internal/wire"
)

// ImportUsers reads a record of users. What it holds replaces what is known of
// the same users and workers.
func (s *Users) ImportUsers(record []byte) error {
	c := wire.Read(record)
	c.Version(usersVersion)
	for c.More() {
		var kind uint8
		switch wire.Uint(c, &kind); kind {
		case userEntry:
			s.importUser(c)
		case workerEntry:
			s.importWorker(c)
		default:
			c.Fail(fmt.Errorf("entry of kind %d", kind))
		}
	}
	if err := c.Err(); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	return nil
}

func (s *Users) importUser(c *wire.Codec) {
	var k userRecord
	c.Record(k.fields)
	if userName, _ := splitName(k.name); k.name == "" || userName != k.name || k.id <= 0 {
		c.Fail(fmt.Errorf("user %.100q with number %d", k.name, k.id))
	}
	if c.Err() != nil {
		return
	}
	u, made := s.directory.makeUser(k.name, 0)
	if made {
		u.id = k.id // nobody has seen the user yet
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tally, u.authorised, u.loggedIn = k.tally, k.authorised, k.loggedIn
	if u.Payout == nil && len(k.payout) > 0 {
		u.Payout = append([]byte(nil), k.payout...)
	}
}

func (s *Users) importWorker(c *wire.Codec) {
	var k workerRecord
	c.Record(k.fields)
	if userName, _ := splitName(k.name); userName == "" {
		c.Fail(fmt.Errorf("worker %.100q", k.name))
	}
	if c.Err() != nil {
		return
	}
	if k.rejects != nil && k.rejects.last >= session.Reasons {
		k.rejects = nil // of a later release, left out as from files
	}
	w := s.directory.makeWorker(k.name, 0)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally, w.accepted, w.rejects = k.tally, k.accepted, k.rejects
	w.connected.remember(k.agent)
}

// newCounts is empty, to be read into.
func newCounts() *counts {
	refusals, newNames := recent.New[refusal, windowCount](maxKeys), recent.New[netip.Prefix, windowCount](maxKeys)
	return &counts{totals: new(totals), sums: make(map[string]agentSum), refusals: &refusals, newNames: &newNames}
}

func readCounts(record []byte) (*counts, error) {
	k, c := newCounts(), wire.Read(record)
	c.Versioned(countsVersion, k.fields)
	if k.now < 0 || k.now > stamp(100*365*24*time.Hour) {
		c.Fail(fmt.Errorf("uptime %v", time.Duration(k.now)))
	}
	if err := c.Done(); err != nil {
		return nil, fmt.Errorf("counts of the pool: %w", err)
	}
	return k, nil
}

// ImportCounts reads the record of ExportCounts, which was true at a time. The
// clock goes on from there.
func (s *Users) ImportCounts(record []byte, at time.Time) error {
	k, err := readCounts(record)
	if err != nil {
		return err
	}
	s.clock.start = at.Add(-time.Duration(k.now))
	s.round.Store(k.round)
	s.directory.lastID.Store(k.lastID)
	s.SetNetworkDifficulty(k.netDiff)
	t := &s.totals
	t.mu.Lock()
	t.round, t.credit, t.shares = k.totals.round, k.totals.credit, k.totals.shares
	t.rates, t.sps, t.decayed, t.passes = k.totals.rates, k.totals.sps, k.totals.decayed, k.totals.passes
	t.mu.Unlock()
	for reason, n := range k.rejects {
		t.loops[0].rejects[reason].Store(n)
	}
	_ = s.HoldFiles(context.Background())
	s.sums = k.sums
	s.ReleaseFiles()
	s.refusals.restore(*k.refusals)
	s.newNames.restore(*k.newNames)
	return nil
}

func (w *window[K]) restore(counts recent.Map[K, windowCount]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts = counts
}

// ResumeWorker implements session.Workers.
func (s *Users) ResumeWorker(name string) session.Grant {
	w, _ := s.directory.holdNew(name, s.stamp(time.Now()))
	w.user.mu.Lock()
	defer w.user.mu.Unlock()
	return session.Grant{Worker: w.id, Name: w.name, User: &w.user.User}
}
