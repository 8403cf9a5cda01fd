package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
)

// HashRate is hashes per second of work done in a time.
func HashRate(work difficulty.Exact, in time.Duration) float64 {
	return work.Float64() * difficulty.HashesPerDifficulty / in.Seconds()
}

// InstanceStatus is how far the journal of an instance was read, and what came of it.
type InstanceStatus struct {
	Instance
	At                        Position
	Time                      int64 // of that record
	Shares, Repeated, Expired int64
	Gaps                      []Gap
	Before                    []Position // the last that is stored of other epochs
}

// Place is where [Store.Begin] would say that a journal with these epochs goes on.
func (v *InstanceStatus) Place(epochs []Epoch) Position {
	p := progress{at: v.At, before: v.Before}
	return p.place(epochs)
}

// Status is that of all instances, by name, and what is wrong with the database, a
// line each.
func (s *Store) Status(ctx context.Context) (list []InstanceStatus, warnings []string, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		numbers := map[int64]int{}
		if err := rows(ctx, tx, "select id, uid, name, network, shares, repeated, expired from instances order by name, uid", nil, func(scan func(...any) error) error {
			var v InstanceStatus
			var id int64
			var uid []byte
			err := scan(&id, &uid, &v.Name, &v.Network, &v.Shares, &v.Repeated, &v.Expired)
			copy(v.ID[:], uid)
			numbers[id] = len(list)
			list = append(list, v)
			return err
		}); err != nil {
			return err
		}
		for id, i := range numbers {
			v := &list[i]
			p, err := progressOf(ctx, tx, id)
			if err != nil {
				return err
			}
			v.At, v.Time, v.Before = p.at, p.time, p.before
		}
		return rows(ctx, tx, "select instance, epoch, first, last, seen, cause from gaps order by instance, epoch, first", nil, func(scan func(...any) error) error {
			var g Gap
			var id int64
			err := scan(&id, &g.Epoch, &g.First, &g.Last, &g.Seen, &g.Cause)
			list[numbers[id]].Gaps = append(list[numbers[id]].Gaps, g)
			return err
		})
	})
	if err == nil {
		warnings, err = s.db.Warnings(ctx)
	}
	return list, warnings, err
}

// By is what sums are of.
type By string

// What sums can be of.
const (
	ByAccount By = "a.kind, a.name"
	ByWorker  By = "a.kind, a.name, w.name"
	ByAgent   By = "g.name"
	ByPool    By = "i.name"
)

// Row is a sum of what its fields say; others are empty.
type Row struct {
	Worker     // account and name
	Agent      string
	Pool       string
	Start, End int64 // microseconds, where rows are by hour or day
	Seen       int64 // when the worker was there last, of ByWorker without Each
	Sum
}

// Query says which sums are wanted.
type Query struct {
	By       By
	From, To int64  // hours since 1970, To not included; 0: from the beginning, to the end
	Days     bool   // sums by day: From and To are at its bounds, and old times are cheap
	Each     bool   // a row for each hour or day and not one for all
	Account  string // of this one alone

	accounts, workers []int64 // of these numbers alone, if there are any
}

// Sums are what a query wants, ordered by name, then time.
func (s *Store) Sums(ctx context.Context, q Query) (list []Row, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		list, err = s.sums(ctx, tx, q)
		return err
	})
	return list, err
}

func (s *Store) sums(ctx context.Context, tx table.Tx, q Query) ([]Row, error) {
	t, unit := workerHours, "hour"
	if q.By == ByAgent {
		t = agentHours
	}
	if q.Days {
		unit = "day"
		if t = workerDays; q.By == ByAgent {
			t = agentDays
		}
	}
	type key struct {
		names [3]string
		time  int64
	}
	found := map[key]*Sum{}
	// What is pending comes under the same names.
	for _, from := range []struct{ table, time string }{{t.Name, "p." + unit}, {pending.Name, map[string]string{"hour": "p.hour", "day": "p.hour / 24"}[unit]}} {
		var args []any
		where := " where true"
		limit := func(condition string, v any) {
			args = append(args, v)
			where += fmt.Sprintf(" and "+condition, len(args))
		}
		scale := int64(1)
		if q.Days {
			scale = 24
		}
		if q.From > 0 {
			limit(from.time+" >= $%d", q.From/scale)
		}
		if q.To > 0 {
			limit(from.time+" < $%d", (q.To+scale-1)/scale)
		}
		tables := from.table + " p"
		switch q.By {
		case ByAgent:
			tables += " join agents g on g.id = p.agent"
		case ByPool:
			tables += " join instances i on i.id = p.instance"
		default:
			tables += " join workers w on w.id = p.worker join accounts a on a.id = w.account"
			if q.Account != "" {
				// An address is one in any case; a user's name is as it is.
				limit("(a.kind = 'user' and a.folded = $%d", fold(User, q.Account))
				args = append(args, fold(Address, q.Account))
				where += fmt.Sprintf(" or a.kind = 'address' and a.folded = $%d)", len(args))
			}
			for column, list := range map[string][]int64{"a.id ": q.accounts, "w.id ": q.workers} {
				if len(list) > 0 {
					args = append(args, s.db.List(list))
					where += " and " + column + s.db.In(len(args))
				}
			}
		}
		group := string(q.By)
		if q.Each {
			group += ", " + from.time
		}
		var values []string
		for _, c := range sumColumns {
			c.Name = "p." + c.Name
			values = append(values, s.db.Sum(c))
		}
		names := strings.Count(string(q.By), ",") + 1
		if err := rows(ctx, tx, "select "+group+", "+strings.Join(values, ", ")+" from "+tables+where+" group by "+group, args, func(scan func(...any) error) error {
			var k key
			var sum Sum
			var places []any
			for i := range names {
				places = append(places, &k.names[i])
			}
			if q.Each {
				places = append(places, &k.time)
			}
			if err := scan(append(places, sum.places()...)...); err != nil {
				return err
			}
			if old := found[k]; old != nil {
				old.Add(&sum)
			} else {
				found[k] = &sum
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	last, err := s.lastSeen(ctx, tx, q)
	if err != nil {
		return nil, err
	}
	var list []Row
	length := int64(3600 * 1_000_000)
	if q.Days {
		length *= 24
	}
	for k, sum := range found {
		r := Row{Sum: *sum}
		switch q.By {
		case ByAgent:
			r.Agent = k.names[0]
		case ByPool:
			r.Pool = k.names[0]
		default:
			r.Worker = Worker{Kind(k.names[0]), k.names[1], k.names[2]}
			r.Seen = max(last[r.Worker], r.LastShare)
		}
		if q.Each {
			r.Start, r.End, r.Seen = k.time*length, (k.time+1)*length, 0
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b Row) int {
		if c := compareWorkers(a.Worker, b.Worker); c != 0 {
			return c
		}
		if c := strings.Compare(a.Agent+a.Pool, b.Agent+b.Pool); c != 0 {
			return c
		}
		return int(min(max(a.Start-b.Start, -1), 1))
	})
	return list, nil
}

// lastSeen is when workers were seen, other than by a share.
func (s *Store) lastSeen(ctx context.Context, tx table.Tx, q Query) (map[Worker]int64, error) {
	last := map[Worker]int64{}
	if q.By != ByWorker || q.Each {
		return last, nil
	}
	where, args := "", []any(nil)
	switch {
	case len(q.workers) > 0:
		where, args = " where w.id "+s.db.In(1), []any{s.db.List(q.workers)}
	case q.Account != "":
		where, args = " where a.kind = 'user' and a.folded = $1 or a.kind = 'address' and a.folded = $2", []any{fold(User, q.Account), fold(Address, q.Account)}
	}
	return last, rows(ctx, tx, "select a.kind, a.name, w.name, max(s.at) from seen s join workers w on w.id = s.worker join accounts a on a.id = w.account"+where+
		" group by a.kind, a.name, w.name", args, func(scan func(...any) error) error {
		var w Worker
		var at int64
		err := scan(&w.Kind, &w.Account, &w.Name, &at)
		last[w] = at
		return err
	})
}

// Shift is a shift of a pool.
type Shift struct {
	Pool              string
	Number            int64
	Name              string
	FirstJob, LastJob uint64
	Jobs              int64
	Started, Ended    int64  // 0: still open
	Reason            string // why it ended
	Sum
}

// ShiftQuery says which shifts are wanted.
type ShiftQuery struct {
	Last    int    // so many of each pool; 0: all
	Account string // with the shares of this account alone
}

// Shifts are the shifts of all pools with their shares, by pool, the newest first.
func (s *Store) Shifts(ctx context.Context, q ShiftQuery) (list []Shift, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		type key struct{ instance, number int64 }
		place := map[key]int{}
		query := "select s.instance, i.name, s.number, s.name, s.first_job, s.last_job, s.jobs, s.started, s.ended, s.reason from shifts s join instances i on i.id = s.instance"
		var args []any
		if q.Last > 0 {
			query += " where s.number > (select max(t.number) from shifts t where t.instance = s.instance) - $1"
			args = append(args, q.Last)
		}
		first := map[int64]int64{} // of each instance
		if err := rows(ctx, tx, query+" order by i.name, i.uid, s.number desc", args, func(scan func(...any) error) error {
			var v Shift
			var k key
			var from, to int64
			err := scan(&k.instance, &v.Pool, &k.number, &v.Name, &from, &to, &v.Jobs, &v.Started, &v.Ended, &v.Reason)
			v.Number, v.FirstJob, v.LastJob = k.number, uint64(from), uint64(to)
			place[k] = len(list)
			first[k.instance] = k.number
			list = append(list, v)
			return err
		}); err != nil {
			return err
		}
		var values []string
		for _, c := range sumColumns {
			c.Name = "p." + c.Name
			values = append(values, s.db.Sum(c))
		}
		for instance, number := range first {
			for _, from := range []struct{ tables, shift string }{
				{shiftWorkers.Name + " p", "p.shift"},
				{"pending p join jobs j on j.instance = p.instance and j.id = p.job", "j.shift"},
			} {
				args := []any{instance, number}
				tables, where := from.tables, " where p.instance = $1 and "+from.shift+" >= $2"
				if q.Account != "" {
					tables += " join workers w on w.id = p.worker join accounts a on a.id = w.account"
					where += " and (a.kind = 'user' and a.folded = $3 or a.kind = 'address' and a.folded = $4)"
					args = append(args, fold(User, q.Account), fold(Address, q.Account))
				}
				if err := rows(ctx, tx, "select "+from.shift+", "+strings.Join(values, ", ")+" from "+tables+where+" group by "+from.shift, args, func(scan func(...any) error) error {
					k := key{instance: instance}
					var sum Sum
					if err := scan(append([]any{&k.number}, sum.places()...)...); err != nil {
						return err
					}
					if i, ok := place[k]; ok { // not a shift number 0, of no shift
						list[i].Add(&sum)
					}
					return nil
				}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return list, err
}

// StoredBlock is a block that was found and what became of it.
type StoredBlock struct {
	Block         // without the index of its worker
	Pool          string
	Finder        Worker // empty where it is not known
	State         string
	Confirmations int64
	Changed       int64
	Note          string
}

// Blocks are the blocks that were found, the newest first, at most so many; 0: all.
func (s *Store) Blocks(ctx context.Context, last int) (list []StoredBlock, err error) {
	query := "select b.hash, i.name, b.height, b.job, coalesce(a.kind, ''), coalesce(a.name, ''), coalesce(w.name, ''), " +
		s.db.Same(table.Column{Name: "b.difficulty", Kind: table.Exact}) + `, b.reward, b.found, b.state, b.confirmations, b.changed, b.note
		from blocks b join instances i on i.id = b.instance left join workers w on w.id = b.worker left join accounts a on a.id = w.account
		order by b.height desc, b.found desc, b.hash`
	if last > 0 {
		query += fmt.Sprintf(" limit %d", last)
	}
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, query, nil, func(scan func(...any) error) error {
			v := StoredBlock{Block: Block{Worker: -1}}
			var hash []byte
			var job int64
			err := scan(&hash, &v.Pool, &v.Height, &job, &v.Finder.Kind, &v.Finder.Account, &v.Finder.Name, table.Amount{To: &v.Difficulty},
				&v.Reward, &v.Found, &v.State, &v.Confirmations, &v.Changed, &v.Note)
			copy(v.Hash[:], hash)
			v.Job = uint64(job)
			list = append(list, v)
			return err
		})
	})
	return list, err
}

// ErrJob tells that a job is not in the database.
var ErrJob = errors.New("job is not in the database")

// StoredJob is a job of an instance.
func (s *Store) StoredJob(ctx context.Context, instance [16]byte, id uint64) (v Job, err error) {
	found := false
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, "select j.number, j.height, j.prevhash, j.bits, "+s.db.Same(table.Column{Name: "j.difficulty", Kind: table.Exact})+
			", j.version, j.ntime, j.reward, j.created, j.record from jobs j join instances i on i.id = j.instance where i.uid = $1 and j.id = $2",
			[]any{instance[:], int64(id)}, func(scan func(...any) error) error {
				var prev []byte
				err := scan(&v.Number, &v.Height, &prev, &v.Bits, table.Amount{To: &v.Difficulty}, &v.Version, &v.NTime, &v.Reward, &v.Created, &v.Record)
				copy(v.PrevHash[:], prev)
				v.ID, found = id, true
				return err
			})
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: %016x of %s", ErrJob, id, hex.EncodeToString(instance[:]))
	}
	return v, err
}

// Minutes are a pool's statistics from a time on, in microseconds.
func (s *Store) Minutes(ctx context.Context, instance [16]byte, from int64) (list []Minute, err error) {
	query := "select m.at, m.users, m.workers"
	for _, name := range []string{"rate_1m", "rate_5m", "rate_1h", "rate_24h"} {
		query += ", " + s.db.Same(table.Column{Name: "m." + name, Kind: table.Exact})
	}
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, query+" from pool_minutes m join instances i on i.id = m.instance where i.uid = $1 and m.at >= $2 order by m.at",
			[]any{instance[:], from}, func(scan func(...any) error) error {
				var m Minute
				err := scan(&m.At, &m.Users, &m.Workers, table.Amount{To: &m.Rate1m}, table.Amount{To: &m.Rate5m}, table.Amount{To: &m.Rate1h}, table.Amount{To: &m.Rate24h})
				list = append(list, m)
				return err
			})
	})
	return list, err
}
