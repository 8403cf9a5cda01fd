package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/work"
)

// amounts are sums as answers have them. Difficulties are decimal numbers in text, and
// exact.
type amounts struct {
	Hashrate     float64 `json:"hashrate"`   // hashes per second, over one to two hours
	Hashrate1d   float64 `json:"hashrate1d"` // over a day
	Shares       int64   `json:"shares"`     // accepted
	Work         string  `json:"work"`       // difficulty of them
	Rejected     int64   `json:"rejected"`
	RejectedWork string  `json:"rejected_work"`
	Best         string  `json:"bestdiff"`
	LastShare    int64   `json:"lastshare"` // unix seconds, 0 for never
	*above               // nil: none of all in the answer went up
}

// above is what other pools said of the shares that went up to them, and the difficulty
// that they owe for these.
type above struct {
	Sent           int64  `json:"sent"`
	SentWork       string `json:"sent_work"`
	Accepted       int64  `json:"accepted_above"`
	AcceptedWork   string `json:"accepted_above_work"`
	Refused        int64  `json:"refused_above"`
	RefusedWork    string `json:"refused_above_work"`
	Unanswered     int64  `json:"unanswered"`
	UnansweredWork string `json:"unanswered_work"`
}

func aboveOf(s *store.Sum) *above {
	sent := s.Sent()
	return &above{
		sent.Count, sent.Work.String(), s.AcceptedAbove.Count, s.AcceptedAbove.Work.String(),
		s.RefusedAbove.Count, s.RefusedAbove.Work.String(), s.Unanswered.Count, s.Unanswered.Work.String(),
	}
}

// anySent tells that something of some sums went up.
func anySent[T any](list []T, sum func(*T) *store.Sum) bool {
	return slices.ContainsFunc(list, func(v T) bool { return sum(&v).Sent().Count > 0 })
}

func sumOf(r *store.Row) *store.Sum { return &r.Sum }

// recently is what was accepted of late, and over how long.
type recently struct {
	hour, day     difficulty.Exact
	inHour, inDay time.Duration
}

func (r *recently) add(o recently) {
	r.hour, r.day = r.hour.Add(o.hour), r.day.Add(o.day)
	r.inHour, r.inDay = max(r.inHour, o.inHour), max(r.inDay, o.inDay)
}

// amountsOf has what other pools said where sent tells that something went up.
func amountsOf(s *store.Sum, r recently, sent bool) amounts {
	rejected := s.Rejected()
	a := amounts{
		Shares: s.Accepted.Count, Work: s.Accepted.Work.String(), Rejected: rejected.Count, RejectedWork: rejected.Work.String(),
		Best: s.Best.String(), LastShare: s.LastShare / 1_000_000,
	}
	if sent {
		a.above = aboveOf(s)
	}
	if r.inHour > 0 {
		a.Hashrate, a.Hashrate1d = store.HashRate(r.hour, r.inHour), store.HashRate(r.day, r.inDay)
	}
	return a
}

func (a *amounts) text() string {
	return fmt.Sprintf("%s accepted, work %s", figures.Count(a.Shares), figures.Number(number(a.Work)))
}

// number is a decimal number for people.
func number(text string) float64 {
	x, err := difficulty.ParseExact(text)
	if err != nil {
		return 0
	}
	return x.Float64()
}

// nameOf tells the rows of a query apart.
func nameOf(r *store.Row) [4]string {
	return [4]string{string(r.Kind), r.Account, r.Name, r.Pool}
}

// recentSums are what the rows of a query had of late. Sums are by the hour, and so
// the time is what has passed since an hour began.
func recentSums(ctx context.Context, s *store.Store, q store.Query) (map[[4]string]recently, error) {
	now := time.Now()
	hour := now.Unix() / 3600
	all := map[[4]string]recently{}
	for _, from := range []int64{hour - 1, hour - 23} {
		q.From, q.To = from, hour+1
		rows, err := s.Sums(ctx, q)
		if err != nil {
			return nil, err
		}
		in := now.Sub(time.Unix(from*3600, 0))
		for i := range rows {
			r := all[nameOf(&rows[i])]
			first := time.UnixMicro(rows[i].FirstShare)
			span := max(min(in, now.Sub(first)), time.Minute)
			if from == hour-1 {
				r.hour, r.inHour = rows[i].Accepted.Work, span
			} else {
				r.day, r.inDay = rows[i].Accepted.Work, span
			}
			all[nameOf(&rows[i])] = r
		}
	}
	return all, nil
}

// account is one, with the number of its workers.
type account struct {
	User    string `json:"user"`
	Kind    string `json:"kind"` // address or user
	Workers int    `json:"workers"`
	amounts
}

func (c *call) users(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		list, err := accounts(ctx, s, "")
		if err != nil {
			return err
		}
		all, _, err := s.Accounts(ctx, "", 0, math.MaxInt32)
		if err != nil {
			return err
		}
		mined := map[store.Owner]bool{}
		for i := range list {
			mined[store.Owner{Kind: store.Kind(list[i].Kind), Name: list[i].User}] = true
		}
		for i := range all { // such as users that are registered and have not mined yet
			if a := &all[i]; !mined[store.Owner{Kind: a.Kind, Name: a.Name}] {
				list = append(list, account{a.Name, string(a.Kind), int(a.Workers), amountsOf(&store.Sum{}, recently{}, false)})
			}
		}
		return c.print(struct {
			Users []account `json:"users"`
		}{list})
	})
}

func accounts(ctx context.Context, s *store.Store, name string) ([]account, error) {
	rows, err := s.Sums(ctx, store.Query{By: store.ByAccount, Days: true, Account: name})
	if err != nil {
		return nil, err
	}
	recent, err := recentSums(ctx, s, store.Query{By: store.ByAccount, Account: name})
	if err != nil {
		return nil, err
	}
	workers, err := s.Sums(ctx, store.Query{By: store.ByWorker, Days: true, Account: name})
	if err != nil {
		return nil, err
	}
	count := map[[2]string]int{}
	for i := range workers {
		count[[2]string{string(workers[i].Kind), workers[i].Account}]++
	}
	list, sent := []account{}, anySent(rows, sumOf)
	for i := range rows {
		r := &rows[i]
		list = append(list, account{r.Account, string(r.Kind), count[[2]string{string(r.Kind), r.Account}], amountsOf(&r.Sum, recent[nameOf(r)], sent)})
	}
	return list, nil
}

// worker is one of an account.
type worker struct {
	Worker string `json:"worker"` // the account's name included
	User   string `json:"user"`
	amounts
	Seen int64 `json:"seen"` // unix seconds
}

func workerName(w *store.Worker) string {
	if w.Name == "" {
		return w.Account
	}
	return w.Account + "." + w.Name
}

func (c *call) workers(ctx context.Context) error {
	name := ""
	if len(c.args) > 0 {
		name = c.args[0]
	}
	return c.with(ctx, func(s *store.Store) error {
		list, err := workers(ctx, s, name)
		if err == nil && name != "" && len(list) == 0 {
			err = fmt.Errorf("no worker of %q has sent a share", name)
		}
		if err != nil {
			return err
		}
		return c.print(struct {
			Workers []worker `json:"workers"`
		}{list})
	})
}

func workers(ctx context.Context, s *store.Store, name string) ([]worker, error) {
	return workersOf(ctx, s, store.Query{By: store.ByWorker, Days: true, Account: name})
}

// workersOf are those of a query by days.
func workersOf(ctx context.Context, s *store.Store, q store.Query) ([]worker, error) {
	rows, err := s.Sums(ctx, q)
	if err != nil {
		return nil, err
	}
	q.Days = false
	recent, err := recentSums(ctx, s, q)
	list, sent := []worker{}, anySent(rows, sumOf)
	for i := range rows {
		r := &rows[i]
		list = append(list, worker{workerName(&r.Worker), r.Account, amountsOf(&r.Sum, recent[nameOf(r)], sent), r.Seen / 1_000_000})
	}
	return list, err
}

// day is one of an account.
type day struct {
	Day      string `json:"day"` // in UTC
	Shares   int64  `json:"shares"`
	Work     string `json:"work"`
	Rejected int64  `json:"rejected"`
	Best     string `json:"bestdiff"`
	*above          // as in amounts
}

func (c *call) user(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		list, err := accounts(ctx, s, c.args[0])
		if err != nil {
			return err
		}
		network, err := s.Network(ctx)
		if err != nil {
			return err
		}
		said, err := s.Account(ctx, accounting.ParseWorker(network, c.args[0]))
		if err == nil && len(list) == 0 && !said.Exists {
			err = fmt.Errorf("%q has sent no share and is not registered; \"ckdb users\" lists who has", c.args[0])
		}
		if err != nil {
			return err
		}
		if len(list) == 0 {
			list = []account{{User: said.Account, Kind: string(said.Kind), amounts: amountsOf(&store.Sum{}, recently{}, false)}}
		}
		answer := struct {
			account
			standing
			Role     string   `json:"role"`
			Codes    bool     `json:"one_time_codes"` // are wanted where it logs in
			Machines []worker `json:"workers_list"`
			Days     []day    `json:"days"`
		}{account: list[0], standing: standingOf(&said), Days: []day{}}
		if said.Kind == store.User {
			known, err := s.Known(ctx, said.Account)
			if err != nil {
				return err
			}
			answer.Role, answer.Codes = string(known.Role), known.Secret != ""
		}
		if answer.Machines, err = workers(ctx, s, c.args[0]); err != nil {
			return err
		}
		const shown = 14
		hours := (time.Now().Unix()/86400 - shown + 1) * 24
		rows, err := s.Sums(ctx, store.Query{By: store.ByAccount, Account: c.args[0], Days: true, Each: true, From: hours})
		if err != nil {
			return err
		}
		sent := anySent(rows, sumOf)
		for i := range rows {
			r := &rows[i]
			rejected := r.Rejected()
			d := day{time.UnixMicro(r.Start).UTC().Format("2006-01-02"), r.Accepted.Count, r.Accepted.Work.String(), rejected.Count, r.Best.String(), nil}
			if sent {
				d.above = aboveOf(&r.Sum)
			}
			answer.Days = append(answer.Days, d)
		}
		return c.print(answer)
	})
}

// shift is one of a pool.
type shift struct {
	Pool     string `json:"pool"`
	Shift    int64  `json:"shift"`
	Name     string `json:"name"`
	Started  int64  `json:"started"`
	Ended    int64  `json:"ended"` // 0: it is open
	Jobs     int64  `json:"jobs"`
	Shares   int64  `json:"shares"`
	Work     string `json:"work"`
	Rejected int64  `json:"rejected"`
	Cause    string `json:"cause"` // of its end
	*above          // as in amounts
}

func (c *call) shifts(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		rows, err := s.Shifts(ctx, store.ShiftQuery{})
		if err != nil {
			return err
		}
		slices.SortStableFunc(rows, func(a, b store.Shift) int { return int(min(max(a.Started-b.Started, -1), 1)) })
		list, sent := []shift{}, anySent(rows, func(r *store.Shift) *store.Sum { return &r.Sum })
		for i := range rows {
			r := &rows[i]
			rejected := r.Rejected()
			v := shift{r.Pool, r.Number, r.Name, r.Started / 1_000_000, r.Ended / 1_000_000, r.Jobs, r.Accepted.Count, r.Accepted.Work.String(), rejected.Count, r.Reason, nil}
			if sent {
				v.above = aboveOf(&r.Sum)
			}
			list = append(list, v)
		}
		return c.print(struct {
			Shifts []shift `json:"shifts"`
		}{list})
	})
}

// block is one that was found.
type block struct {
	Height        int64  `json:"height"`
	Worker        string `json:"worker"`
	Reward        int64  `json:"reward"` // satoshis
	Time          int64  `json:"time"`
	State         string `json:"state"`
	Confirmations int64  `json:"confirmations"`
	Pool          string `json:"pool"`
	Difficulty    string `json:"netdiff"`
	Hash          string `json:"hash"`
	Note          string `json:"note"`
}

func blockOf(b *store.StoredBlock) block {
	return block{b.Height, workerName(&b.Finder), b.Reward, b.Found / 1_000_000, b.State, b.Confirmations, b.Pool, b.Difficulty.String(), work.FormatHash(b.Hash), b.Note}
}

func (c *call) blocks(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		rows, err := s.Blocks(ctx, 0)
		if err != nil {
			return err
		}
		list := []block{}
		for i := range slices.Backward(rows) {
			list = append(list, blockOf(&rows[i]))
		}
		return c.print(struct {
			Blocks []block `json:"blocks"`
		}{list})
	})
}
