package store

import (
	"context"
	"slices"

	"github.com/ckpool/ckpool/internal/store/table"
)

// joinable are jobs whose sums may become those of the first of them: nothing that is
// read of them tells one from another.
type joinable struct {
	height int64 // of the job, and of its place among rewards
	after  int64 // of that place, nowhere: it has none
}

// joinDay joins the sums of jobs of a day whose single shares are gone: of all jobs of a
// pool that have one shift, one height and one place among rewards, the first keeps the
// sums by hour, worker, agent and scheme. A pool makes about twenty jobs at a height, so
// that this is what grows with workers and time by a tenth and less.
//
// Jobs whose record was lost, or came after their shares, stay as they are.
func (s *Store) joinDay(ctx context.Context, day int64) error {
	// A job's time is the node's, a shift's the pool's.
	const hour = 3_600_000_000
	end := (day + 1) * secondsPerDay
	type shift struct{ instance, number int64 }
	var list []shift
	if err := s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, "select instance, number from shifts where started < $1 and (ended = 0 or ended >= $2) order by instance, number",
			[]any{end*1_000_000 + 3*hour, day*secondsPerDay*1_000_000 - 3*hour}, func(scan func(...any) error) error {
				var v shift
				err := scan(&v.instance, &v.number)
				list = append(list, v)
				return err
			})
	}); err != nil {
		return err
	}
	for _, v := range list {
		for i, more := 0, true; more; i++ {
			// Others write between one and the next.
			if err := s.db.Write(ctx, func(tx table.Tx) (err error) {
				more, err = s.joinJobs(ctx, tx, v.instance, v.number, end, i)
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// joinJobs joins the sums of some jobs of a shift from before a time, of those that can
// be joined the i-th, and tells whether there are more behind them.
func (s *Store) joinJobs(ctx context.Context, tx table.Tx, instance, shift, before int64, i int) (more bool, err error) {
	// Who stores its journal, or joins its sums, waits.
	if err := rows(ctx, tx, "select id from instances where id = $1"+s.db.Lock(), []any{instance}, func(func(...any) error) error { return nil }); err != nil {
		return false, err
	}
	var order []joinable
	of := map[joinable][]int64{}
	if err := rows(ctx, tx, `select j.id, j.height, coalesce(l.after, $4) from jobs j left join places l on l.instance = j.instance and l.job = j.id
		where j.instance = $1 and j.shift = $2 and j.ntime < $3 and coalesce(l.most, 0) = 0 order by j.history, j.epoch, j.number`,
		[]any{instance, shift, before, int64(nowhere)}, func(scan func(...any) error) error {
			var id int64
			var v joinable
			err := scan(&id, &v.height, &v.after)
			if of[v] == nil {
				order = append(order, v)
			}
			of[v] = append(of[v], id)
			return err
		}); err != nil || i >= len(order) {
		return false, err
	}
	more = i+1 < len(order)
	ids := of[order[i]]
	if len(ids) == 1 {
		return more, nil
	}
	var separate int64
	if err := one(ctx, tx, "select count(distinct job) from job_sums where instance = $1 and job <> $3 and job "+s.db.In(2), []any{instance, s.db.List(ids), ids[0]}, &separate); err != nil || separate == 0 {
		return more, err
	}
	sums := ""
	for _, c := range jobSums.Sums() {
		sums += ", " + s.db.Sum(c)
	}
	keys := make([][]int64, 4)
	var values []*Sum
	if err := rows(ctx, tx, "select hour, worker, agent, scheme"+sums+" from job_sums where instance = $1 and job "+s.db.In(2)+" group by hour, worker, agent, scheme order by 1, 2, 3, 4",
		[]any{instance, s.db.List(ids)}, func(scan func(...any) error) error {
			var k [4]int64
			v := &Sum{}
			err := scan(append([]any{&k[0], &k[1], &k[2], &k[3]}, v.places()...)...)
			for c := range k {
				keys[c] = append(keys[c], k[c])
			}
			values = append(values, v)
			return err
		}); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, "delete from job_sums where instance = $1 and job "+s.db.In(2), instance, s.db.List(ids)); err != nil {
		return false, err
	}
	n := len(values)
	_, err = tx.Merge(ctx, jobSums, jobSums.Name, n, append(table.Rows{slices.Repeat([]int64{instance}, n), slices.Repeat([]int64{ids[0]}, n), keys[0], keys[1], keys[2], keys[3]}, sumRows(values)...))
	return more, err
}
