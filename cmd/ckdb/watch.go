package main

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/buildinfo"
	"github.com/ckpool/ckpool/internal/latency"
	"github.com/ckpool/ckpool/internal/metrics"
	"github.com/ckpool/ckpool/internal/notify"
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

	mu       sync.Mutex
	seen     metrics.AccountFigures // guarded by mu
	accounts notify.Accounts        // guarded by mu
	batches  latency.Counter        // guarded by mu
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
	var told notify.Accounts
	d := s.daemon()
	c := s.own()
	var st status
	if s.store == nil {
		st.Journals = c.sentJournals(&d)
	} else if err := s.lookAtStore(ctx, c, &d, &st, &f, &told); err != nil {
		if ctx.Err() != nil {
			return
		}
		told.Away, st = oneLine(err), status{}
		for _, j := range d.Journals { // what is known without it
			st.Journals = append(st.Journals, journalStatus{Pool: j.Name, Trouble: j.Trouble})
		}
	}
	f.Journals, told.Journals = watched(&st, told.Away == "")
	if d.Chain != nil {
		f.Chain = &metrics.Chain{Up: d.Chain.At > 0 && d.Chain.Trouble == "", Node: d.Chain.Tip}
		told.Chain = d.Chain.Trouble
		if st.Chain != nil {
			f.Chain.Height = st.Chain.Height
		}
	}
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	if f.Wallet = s.watch.seen.Wallet; f.Wallet != nil {
		told.Compared, told.Missing = true, f.Wallet.Missing
	}
	s.watch.seen, s.watch.accounts = f, told
	if s.notifier != nil {
		s.notifier.BlocksChanged()
	}
}

// own asks of the running instance itself: the journals are those that it has, with what
// troubles them and with those that came since its start, also where some were named.
func (s *service) own() *call {
	o := *s.options
	o.named = false
	return &call{options: &o}
}

// sentJournals are the journals here with how far they are stored at another site. One that
// cannot be looked at troubles no other.
func (c *call) sentJournals(d *daemon) (list []journalStatus) {
	for i := range d.Journals {
		running := &d.Journals[i]
		j, err := c.forwarded(running.Dir, running)
		if err != nil {
			j = journalStatus{Pool: cmp.Or(running.Name, running.Dir), Trouble: cmp.Or(running.Trouble, oneLine(err))}
		}
		list = append(list, j)
	}
	return list
}

// lookAtStore looks at the database, and at journals against it.
func (s *service) lookAtStore(ctx context.Context, c *call, d *daemon, st *status, f *metrics.AccountFigures, told *notify.Accounts) error {
	answer, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	begun := time.Now()
	f.Database = &metrics.Database{}
	totals, err := s.store.Totals(answer)
	if err == nil && s.notifier != nil {
		err = s.lists(answer, told)
	}
	if err != nil {
		return err
	}
	f.Database.Up, f.Database.Took = true, time.Since(begun)
	fillDatabase(f.Database, &totals)
	tip, _, err := s.store.Tip(answer)
	if err != nil {
		return err
	}
	st.Chain = &chainStatus{Height: tip.Height}
	return c.fillJournals(ctx, st, s.store, d)
}

// watched are journals as metrics and notifications have them: those of pools of one name
// together. Unless they are known there is only what troubles them.
func watched(st *status, known bool) (figures []metrics.Journal, told []notify.Journal) {
	for i := range st.Journals {
		j := &st.Journals[i]
		if j.Pool == "" { // there is none yet
			continue
		}
		at := slices.IndexFunc(told, func(o notify.Journal) bool { return o.Pool == j.Pool })
		if at < 0 {
			at = len(told)
			figures, told = append(figures, metrics.Journal{Pool: j.Pool, Unknown: !known}), append(told, notify.Journal{Pool: j.Pool})
			for _, g := range st.Gaps {
				if g.Pool == j.Pool {
					told[at].Gaps++
				}
			}
		}
		f, n := &figures[at], &told[at]
		n.Lag, n.Trouble = max(n.Lag, time.Duration(j.Seconds*float64(time.Second))), cmp.Or(n.Trouble, j.Trouble)
		f.Shares, f.Repeated, f.Expired, f.Behind = f.Shares+j.Shares, f.Repeated+j.Repeated, f.Expired+j.Expired, f.Behind+j.Behind
		f.Lag, f.Failing, f.Gaps = n.Lag, n.Trouble != "", int64(n.Gaps)
	}
	return figures, told
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
