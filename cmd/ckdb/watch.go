package main

import (
	"context"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/buildinfo"
	"github.com/ckpool/ckpool/internal/latency"
	"github.com/ckpool/ckpool/internal/metrics"
	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/store"
)

const (
	// watchTime is between two looks at journals and database.
	watchTime = 10 * time.Second
	// answerTime is what the database may take for one of them.
	answerTime = 8 * time.Second
	// compareTime is between two comparisons of the wallet with the ledger.
	compareTime = 10 * time.Minute
)

// watch is what an instance sees of itself now and then, for metrics and notifications:
// journals with much that is not stored take long to look at, and whoever asks must not
// make the database work.
type watch struct {
	started time.Time // immutable

	mu      sync.Mutex
	seen    metrics.AccountFigures // guarded by mu
	batches latency.Counter        // guarded by mu
}

// measured is the database with how long batches take.
type measured struct {
	accounting.Store
	watch *watch
}

func (m measured) Apply(ctx context.Context, b *store.Batch) (store.Result, error) {
	begun := time.Now()
	r, err := m.Store.Apply(ctx, b)
	if took := time.Since(begun); err == nil {
		m.watch.mu.Lock()
		defer m.watch.mu.Unlock()
		m.watch.batches.Count(took, 1)
	}
	return r, err
}

// journaled is what batches of journals are stored in.
func (s *service) journaled() accounting.Store { return measured{s.store, &s.watch} }

// AccountFigures implements metrics.AccountSource.
func (s *service) AccountFigures() metrics.AccountFigures {
	s.watch.mu.Lock()
	f := s.watch.seen
	s.watch.batches.AddTo(&f.Batches)
	s.watch.mu.Unlock()
	f.Version, f.Started = buildinfo.Version(), s.watch.started
	if s.page != nil {
		f.Logins, f.Sessions = s.page.Logins(), s.page.Sessions()
	}
	return f
}

// keepWatch looks until ctx ends.
func (s *service) keepWatch(ctx context.Context) {
	var compared time.Time
	for {
		s.look(ctx)
		if s.chain != nil && time.Since(compared) >= compareTime {
			if s.compare(ctx) {
				compared = time.Now()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(watchTime):
		}
	}
}

// look sees how far journals are stored, and what the database has.
func (s *service) look(ctx context.Context) {
	f := metrics.AccountFigures{Looked: time.Now()}
	d := s.daemon()
	c := &call{options: s.options}
	var list []journalStatus
	var gaps []gap
	if s.store == nil {
		list, _ = c.siteJournals(&d) // what cannot be read is told by who forwards it
	} else {
		answer, cancel := context.WithTimeout(ctx, answerTime)
		totals, took, err := s.totals(answer)
		cancel()
		if ctx.Err() != nil {
			return
		}
		f.Database = &metrics.Database{Up: err == nil, Took: took}
		if err == nil {
			fillDatabase(f.Database, &totals)
		}
		var st status
		if err == nil {
			err = c.fillJournals(ctx, &st, s.store, &d)
		}
		list, gaps = st.Journals, st.Gaps
		if err != nil { // what is known without it
			for _, j := range d.Journals {
				list = append(list, journalStatus{Pool: j.Name, Trouble: err.Error()})
			}
		}
	}
	for i := range list {
		j := &list[i]
		of := metrics.Journal{
			Pool: j.Pool, Shares: j.Shares, Repeated: j.Repeated, Expired: j.Expired, Behind: j.Behind, Failing: j.Trouble != "",
			Lag: time.Duration(j.Seconds * float64(time.Second)),
		}
		for _, g := range gaps {
			if g.Pool == j.Pool {
				of.Gaps++
			}
		}
		f.Journals = append(f.Journals, of)
	}
	if d.Chain != nil {
		f.Chain = &metrics.Chain{Up: d.Chain.At > 0 && d.Chain.Trouble == "", Node: d.Chain.Tip}
		if tip, _, err := s.store.Tip(ctx); err == nil {
			f.Chain.Height = tip.Height
		}
	}
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	f.Wallet = s.watch.seen.Wallet
	s.watch.seen = f
}

// totals are those of the database, and how long it took for them.
func (s *service) totals(ctx context.Context) (store.Totals, time.Duration, error) {
	begun := time.Now()
	v, err := s.store.Totals(ctx)
	return v, time.Since(begun), err
}

func fillDatabase(d *metrics.Database, v *store.Totals) {
	d.Books, d.Blocks, d.Payments = byName(v.Books), byName(v.Blocks), byName(v.Payments)
	d.Owed, d.Debts, d.Stopped, d.Unrewarded, d.Alarms = v.Owed, v.Debts, v.Stopped, v.Waiting, v.Alarms
	d.Paid = v.Debited - v.Books[store.Paying]
}

func byName[K ~string](of map[K]int64) map[string]int64 {
	list := make(map[string]int64, len(of))
	for name, n := range of {
		list[string(name)] = n
	}
	return list
}

// compare sees whether the wallet has what it must have, and tells whether there was
// anything to look at. A node without a wallet has nothing to compare.
func (s *service) compare(ctx context.Context) bool {
	settings, _, err := s.store.PayoutSettings(ctx)
	if err != nil { // nothing was stored yet
		return false
	}
	client := s.options.walletNode()
	defer client.Close()
	has, err := accounting.SolvencyOf(ctx, s.store, payout.NewWallet(client, settings.Network))
	if err != nil { // who pays and who follows the node tell of it
		return true
	}
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	s.watch.seen.Wallet = &metrics.Wallet{At: time.Now(), Coins: has.Coins, Missing: has.Missing()}
	return true
}
