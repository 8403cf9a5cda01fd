package store

import (
	"context"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
)

// Class is how many shares of a sort there were, and how much difficulty.
type Class struct {
	Count int64
	Work  difficulty.Exact
}

func (c *Class) add(d Class) { c.Count, c.Work = c.Count+d.Count, c.Work.Add(d.Work) }

// Sum is the shares of some worker, time or job. Times are microseconds since 1970,
// 0 where there was none.
type Sum struct {
	Accepted                             Class
	Stale, Duplicate, AboveTarget, Other Class // rejected
	Repeated                             Class // accepted by the pool, and in the database before
	// Of the accepted and rejected ones, those that went up to another pool, by what that
	// said, with the difficulty that it owes for them.
	AcceptedAbove, RefusedAbove, Unanswered Class
	FirstShare, LastShare                   int64 // accepted or rejected
	LastAccepted                            int64
	Best                                    difficulty.Exact // achieved by an accepted share
}

// Sent is all that went up to another pool.
func (s *Sum) Sent() (c Class) {
	for _, v := range []Class{s.AcceptedAbove, s.RefusedAbove, s.Unanswered} {
		c.add(v)
	}
	return c
}

// Rejected is all that was rejected.
func (s *Sum) Rejected() (c Class) {
	for _, r := range []Class{s.Stale, s.Duplicate, s.AboveTarget, s.Other} {
		c.add(r)
	}
	return c
}

// Add adds up two sums.
func (s *Sum) Add(t *Sum) {
	for i, c := range t.classes() {
		s.classes()[i].add(*c)
	}
	if s.FirstShare == 0 || t.FirstShare != 0 && t.FirstShare < s.FirstShare {
		s.FirstShare = t.FirstShare
	}
	s.LastShare = max(s.LastShare, t.LastShare)
	s.LastAccepted = max(s.LastAccepted, t.LastAccepted)
	if t.Best.Cmp(s.Best) > 0 {
		s.Best = t.Best
	}
}

func (s *Sum) accept(v *Share) {
	s.Accepted.add(Class{1, v.Credit})
	s.above(v.Above)
	s.LastAccepted = max(s.LastAccepted, v.Received)
	if v.Achieved.Cmp(s.Best) > 0 {
		s.Best = v.Achieved
	}
	s.at(v.Received)
}

func (s *Sum) reject(v *Reject) {
	[...]*Class{Stale: &s.Stale, Duplicate: &s.Duplicate, AboveTarget: &s.AboveTarget, Other: &s.Other}[v.Reason].add(Class{1, v.Difficulty})
	s.above(v.Above)
	s.at(v.Received)
}

func (s *Sum) above(a Above) {
	if a.Verdict != NotSent {
		[...]*Class{AcceptedAbove: &s.AcceptedAbove, RefusedAbove: &s.RefusedAbove, Unanswered: &s.Unanswered}[a.Verdict].add(Class{1, a.Difficulty})
	}
}

func (s *Sum) at(t int64) {
	if s.FirstShare == 0 || t < s.FirstShare {
		s.FirstShare = t
	}
	s.LastShare = max(s.LastShare, t)
}

// classes in the order of their columns.
func (s *Sum) classes() [9]*Class {
	return [...]*Class{&s.Accepted, &s.Stale, &s.Duplicate, &s.AboveTarget, &s.Other, &s.Repeated, &s.AcceptedAbove, &s.RefusedAbove, &s.Unanswered}
}

// places are where a row of sums is read to.
func (s *Sum) places() (list []any) {
	for _, c := range s.classes() {
		list = append(list, &c.Count, table.Amount{To: &c.Work})
	}
	return append(list, &s.FirstShare, &s.LastShare, &s.LastAccepted, table.Amount{To: &s.Best})
}

// sumRows are the columns of sums.
func sumRows(list []*Sum) (rows table.Rows) {
	for i := range (&Sum{}).classes() {
		count, work := make([]int64, len(list)), make([]difficulty.Exact, len(list))
		for k, s := range list {
			c := s.classes()[i]
			count[k], work[k] = c.Count, c.Work
		}
		rows = append(rows, count, work)
	}
	first, last, accepted := make([]int64, len(list)), make([]int64, len(list)), make([]int64, len(list))
	best := make([]difficulty.Exact, len(list))
	for k, s := range list {
		first[k], last[k], accepted[k], best[k] = s.FirstShare, s.LastShare, s.LastAccepted, s.Best
	}
	return append(rows, first, last, accepted, best)
}

func columns(k table.Kind, m table.Merge, names ...string) (list []table.Column) {
	for _, n := range names {
		list = append(list, table.Column{Name: n, Kind: k, Merge: m})
	}
	return list
}

func join(lists ...[]table.Column) (all []table.Column) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

var sumColumns = join(
	class("accepted"), class("stale"), class("duplicate"), class("above"), class("other"), class("repeated"),
	class("accepted_above"), class("refused_above"), class("unanswered"),
	columns(table.Integer, table.First, "first_share"), columns(table.Integer, table.Greatest, "last_share", "last_accepted"),
	columns(table.Peak, table.Greatest, "best"))

func class(name string) []table.Column {
	return []table.Column{{Name: name, Kind: table.Integer, Merge: table.Add}, {Name: name + "_work", Kind: table.Exact, Merge: table.Add}}
}

// sums is a table of them.
func sums(name string, m table.Merge, keys ...string) *table.Table {
	return &table.Table{Name: name, Columns: join(columns(table.Integer, m, keys...), sumColumns)}
}

var (
	pending      = sums("pending", table.Keep, "instance", "job", "hour", "worker", "agent", "scheme")
	jobSums      = sums("job_sums", table.Keep, "instance", "job", "hour", "worker", "agent", "scheme")
	shiftWorkers = sums("shift_workers", table.Key, "instance", "shift", "worker")
	workerHours  = sums("worker_hours", table.Key, "instance", "hour", "worker")
	workerDays   = sums("worker_days", table.Key, "instance", "day", "worker")
	agentHours   = sums("agent_hours", table.Key, "instance", "hour", "agent")
	agentDays    = sums("agent_days", table.Key, "instance", "day", "agent")
)

// derived are the tables that are made of job_sums, or of pending: by what, and
// whether only jobs of shifts count.
var derived = []struct {
	table  *table.Table
	by     []string
	shifts bool
}{
	{shiftWorkers, []string{"p.instance", "j.shift", "p.worker"}, true},
	{workerHours, []string{"p.instance", "p.hour", "p.worker"}, false},
	{workerDays, []string{"p.instance", "p.hour / 24", "p.worker"}, false},
	{agentHours, []string{"p.instance", "p.hour", "p.agent"}, false},
	{agentDays, []string{"p.instance", "p.hour / 24", "p.agent"}, false},
}

// source is what follows "from" for sums of a table with the columns of job_sums.
func source(of string, shifts bool) string {
	if shifts {
		return of + " p join jobs j on j.instance = p.instance and j.id = p.job and j.shift > 0 where true"
	}
	return of + " p where true"
}

var (
	accounts = &table.Table{Name: "accounts", Columns: join(columns(table.Text, table.Key, "kind", "folded"),
		columns(table.Text, table.Keep, "name"), columns(table.Integer, table.Keep, "created"))}
	workers = &table.Table{Name: "workers", Columns: join(columns(table.Integer, table.Key, "account"), columns(table.Text, table.Key, "name"),
		columns(table.Integer, table.Keep, "created"))}
	agents = &table.Table{Name: "agents", Columns: columns(table.Text, table.Key, "name")}
	seen   = &table.Table{Name: "seen", Columns: join(columns(table.Integer, table.Key, "instance", "worker"), columns(table.Integer, table.Greatest, "at"))}
	jobs   = &table.Table{Name: "jobs", Columns: join(columns(table.Integer, table.Key, "instance", "id"), columns(table.Integer, table.Keep, "history", "epoch", "number", "height"),
		columns(table.Bytes, table.Keep, "prevhash"), columns(table.Integer, table.Keep, "bits"), columns(table.Exact, table.Keep, "difficulty"),
		columns(table.Integer, table.Keep, "version", "ntime", "reward", "created"), columns(table.Bytes, table.Keep, "record"))}
	shares = &table.Table{Name: "shares", Columns: join(columns(table.Integer, table.Key, "ntime"), columns(table.Bytes, table.Key, "hash"),
		columns(table.Integer, table.Mark, "instance", "epoch", "number"), columns(table.Integer, table.Keep, "received", "worker", "agent", "job", "scheme"),
		columns(table.Exact, table.Keep, "credit"), columns(table.Peak, table.Keep, "achieved"))}
	shifts = &table.Table{Name: "shifts", Columns: join(columns(table.Integer, table.Key, "instance", "number"), columns(table.Text, table.Keep, "name"),
		columns(table.Integer, table.Keep, "first_job", "last_job", "jobs", "started", "ended"), columns(table.Text, table.Keep, "reason"))}
	blocks = &table.Table{Name: "blocks", Columns: join(columns(table.Bytes, table.Key, "hash"),
		columns(table.Integer, table.Keep, "instance", "height", "job", "worker"), columns(table.Exact, table.Keep, "difficulty"),
		columns(table.Integer, table.Keep, "reward", "found", "changed"))}
	blockChanges = &table.Table{Name: "block_changes", Columns: join(columns(table.Bytes, table.Key, "hash"), columns(table.Integer, table.Key, "at"),
		columns(table.Text, table.Key, "state"), columns(table.Integer, table.Key, "confirmations"), columns(table.Text, table.Keep, "note"))}
	minutes = &table.Table{Name: "pool_minutes", Columns: join(columns(table.Integer, table.Key, "instance", "at"), columns(table.Integer, table.Keep, "users", "workers"),
		columns(table.Exact, table.Keep, "rate_1m", "rate_5m", "rate_1h", "rate_24h"))}
	gaps = &table.Table{Name: "gaps", Columns: join(columns(table.Integer, table.Key, "instance", "epoch", "first"),
		columns(table.Integer, table.Greatest, "last"), columns(table.Integer, table.Keep, "seen"), columns(table.Text, table.Keep, "cause"))}
)

// rows runs a query and scans each row of it.
func rows(ctx context.Context, tx table.Tx, query string, args []any, scan func(scan func(...any) error) error) error {
	r, err := tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer r.Close()
	for r.Next() {
		if err := scan(r.Scan); err != nil {
			return err
		}
	}
	return r.Err()
}
