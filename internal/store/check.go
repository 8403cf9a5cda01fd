package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/ckpool/ckpool/internal/store/table"
)

// Check computes sums anew, of shares where they are kept and of sums per job, cuts
// shifts anew, and says what differs from what is stored, a line each. It reads one
// snapshot, then one for each block that was rewarded, and changes nothing. progress,
// unless it is nil, is told what comes next: the shares and so on are a step each, then
// each block is one.
func (s *Store) Check(ctx context.Context, progress func(what string, step, steps int)) (differences []string, err error) {
	if progress == nil {
		progress = func(string, int, int) {}
	}
	tell := func(format string, args ...any) { differences = append(differences, fmt.Sprintf(format, args...)) }
	err = s.db.Read(ctx, func(tx table.Tx) error {
		step := 0
		next := func(what string) {
			progress(what, step, len(derived)+4)
			step++
		}
		next("shares")
		if err := s.checkShares(ctx, tx, tell); err != nil {
			return err
		}
		for _, d := range derived {
			next(strings.ReplaceAll(d.table.Name, "_", " "))
			made := fmt.Sprintf("select %s, %s from %s group by %s", strings.Join(d.by, ", "), s.equal(d.table.Sums(), true),
				source(jobSums.Name, d.shifts), strings.Join(d.by, ", "))
			stored := fmt.Sprintf("select %s, %s from %s", strings.Join(d.table.Keys(), ", "), s.equal(d.table.Sums(), false), d.table.Name)
			if err := differ(ctx, tx, d.table.Name, d.table.Keys(), made, stored, nil, tell); err != nil {
				return err
			}
		}
		next("shifts")
		if err := s.checkShifts(ctx, tx, tell); err != nil {
			return err
		}
		next("ledger")
		if err := s.checkLedger(ctx, tx, tell); err != nil {
			return err
		}
		next("payouts")
		return s.Payments().checkPayments(ctx, tx, tell)
	})
	if err == nil {
		err = s.checkBlocks(ctx, tell, progress)
	}
	return differences, err
}

func (s *Store) equal(columns []table.Column, summed bool) string {
	var list []string
	for _, c := range columns {
		list = append(list, s.db.Equal(c, summed)...)
	}
	return strings.Join(list, ", ")
}

// checkShares compares shares with what is accepted in sums per job, for the jobs
// all of whose shares are kept.
func (s *Store) checkShares(ctx context.Context, tx table.Tx, tell func(string, ...any)) error {
	kept, dropped, err := s.days(ctx, tx)
	if err != nil || len(kept) == 0 {
		return err
	}
	credit := table.Column{Name: "credit", Kind: table.Exact, Merge: table.Add}
	achieved := table.Column{Name: "achieved", Kind: table.Peak, Merge: table.Greatest}
	var parts []string
	for _, day := range kept {
		parts = append(parts, fmt.Sprintf("select instance, job, received, worker, agent, scheme, %s from %s",
			s.equal([]table.Column{credit, achieved}, false), dayTable(day)))
	}
	// A job's shares have its time or a later one.
	const whole = " join jobs j on j.instance = p.instance and j.id = p.job and j.ntime >= $1 "
	const keys = "p.instance, p.job, p.hour, p.worker, p.agent, p.scheme"
	made := "select p.instance, p.job, p.received / 3600000000, p.worker, p.agent, p.scheme, count(*), max(p.received), " + s.equal([]table.Column{credit, achieved}, true) +
		" from (" + strings.Join(parts, " union all ") + ") p" + whole + "group by p.instance, p.job, p.received / 3600000000, p.worker, p.agent, p.scheme"
	sum := []table.Column{
		{Name: "accepted", Kind: table.Integer, Merge: table.Add}, {Name: "last_accepted", Kind: table.Integer, Merge: table.Greatest},
		{Name: "accepted_work", Kind: table.Exact, Merge: table.Add}, {Name: "best", Kind: table.Peak, Merge: table.Greatest},
	}
	list := "instance, job, hour, worker, agent, scheme, " + s.equal(sum, false)
	stored := "select * from (select " + keys + ", " + s.equal(sum, true) + " from (select " + list + " from job_sums union all select " + list + " from pending) p" + whole +
		"group by " + keys + " having sum(p.accepted) > 0) q"
	return differ(ctx, tx, "shares and job_sums", []string{"instance", "job", "hour", "worker", "agent", "scheme"}, made, stored, []any{(dropped + 1) * secondsPerDay}, tell)
}

// differ tells what one query has and the other has not.
func differ(ctx context.Context, tx table.Tx, what string, keys []string, made, stored string, args []any, tell func(string, ...any)) error {
	for _, side := range []struct{ from, without, text string }{{made, stored, "computed"}, {stored, made, "stored"}} {
		r, err := tx.Query(ctx, "select * from ("+side.from+") x except select * from ("+side.without+") y", args...)
		if err != nil {
			return err
		}
		names, err := r.Columns()
		if err != nil {
			return err
		}
		values, places := make([]any, len(names)), make([]any, len(names))
		for i := range places {
			places[i] = &values[i]
		}
		for err == nil && r.Next() {
			if err = r.Scan(places...); err != nil {
				break
			}
			var key, rest []string
			for i, v := range values {
				if b, ok := v.([]byte); ok {
					v = fmt.Sprintf("%x", b)
				}
				if i < len(keys) {
					key = append(key, fmt.Sprintf("%s %v", keys[i], v))
				} else {
					rest = append(rest, fmt.Sprint(v))
				}
			}
			tell("%s: %s: %s as %s", what, strings.Join(key, ", "), side.text, strings.Join(rest, " "))
		}
		r.Close()
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) checkShifts(ctx context.Context, tx table.Tx, tell func(string, ...any)) error {
	var instances []int64
	if err := rows(ctx, tx, "select id from instances order by uid", nil, func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		instances = append(instances, id)
		return err
	}); err != nil {
		return err
	}
	for _, instance := range instances {
		list, err := shiftJobs(ctx, tx, instance, 1)
		if err != nil {
			return err
		}
		stored := make([]int64, len(list))
		for i := range list {
			stored[i] = list[i].shift
		}
		all := map[int64]shiftRow{}
		for _, r := range shiftsOf(list, 1) {
			all[r.number] = r
		}
		for i := range list {
			if list[i].shift != stored[i] {
				tell("jobs: instance %d, job %016x: computed as of shift %d, stored as of %d", instance, uint64(list[i].id), list[i].shift, stored[i])
			}
		}
		if err := rows(ctx, tx, "select number, first_job, last_job, jobs, started, ended, reason from shifts where instance = $1", []any{instance}, func(scan func(...any) error) error {
			var r shiftRow
			if err := scan(&r.number, &r.first, &r.last, &r.jobs, &r.started, &r.ended, &r.reason); err != nil {
				return err
			}
			if r != all[r.number] {
				tell("shifts: instance %d, shift %d: computed as %+v, stored as %+v", instance, r.number, all[r.number], r)
			}
			delete(all, r.number)
			return nil
		}); err != nil {
			return err
		}
		for n := range all {
			tell("shifts: instance %d, shift %d: computed, not stored", instance, n)
		}
	}
	return nil
}
