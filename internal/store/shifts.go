package store

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
)

const (
	jobsPerShift    = 100
	blocksPerReward = 210_000 // until it is halved
)

// shiftJob is a job as shifts see it.
type shiftJob struct {
	id, history, epoch, height, bits, created int64
	found                                     int64 // when a block of it was, 0: none
	shift                                     int64 // 0: none yet
}

// shiftRow is a shift.
type shiftRow struct {
	number         int64
	first, last    int64 // ids of jobs
	jobs           int64
	started, ended int64  // 0: still open
	reason         string // why it ended
}

// shiftsOf cuts jobs, which are in order and begin with the first of shift number,
// into shifts, and says in each job which is its.
func shiftsOf(list []shiftJob, number int64) (all []shiftRow) {
	for i := range list {
		j := &list[i]
		if i > 0 {
			row := &all[len(all)-1]
			if row.reason = ends(&list[i-1], j, row.jobs); row.reason == "" {
				row.last, row.jobs, j.shift = j.id, row.jobs+1, row.number
				continue
			}
			if row.ended = list[i-1].found; row.ended == 0 {
				row.ended = j.created
			}
			number++
		}
		j.shift = number
		all = append(all, shiftRow{number: number, first: j.id, last: j.id, jobs: 1, started: j.created})
	}
	if n := len(list); n > 0 && list[n-1].found != 0 {
		all[len(all)-1].ended = list[n-1].found
		all[len(all)-1].reason = "block " + strconv.FormatInt(list[n-1].height, 10)
	}
	return all
}

// ends says why a shift of so many jobs ends between two, "" where it does not.
func ends(last, next *shiftJob, jobs int64) string {
	switch {
	case last.found != 0:
		return "block " + strconv.FormatInt(last.height, 10)
	case jobs >= jobsPerShift:
		return strconv.Itoa(jobsPerShift) + " jobs"
	case last.history != next.history || last.epoch != next.epoch:
		return "restart"
	case last.bits != next.bits:
		return "bits"
	case last.height != next.height && next.height%blocksPerReward == 0:
		return "halving"
	}
	return ""
}

// shiftName is code and word: the code is of the time of the first job in steps of
// 16 seconds since 2014, the word's initial is the next letter with each shift.
func shiftName(number, started int64) string {
	const epoch, alphabet = 1388620800, "23456789abcdefghjkmnopqrstuvwxyz"
	words := [...]string{"alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima", "mike",
		"november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor", "whiskey", "xray", "yankee", "zulu"}
	code := ""
	for n := max(started/1_000_000-epoch, 0) >> 4; n > 0 || code == ""; n /= 32 {
		code = alphabet[n%32:n%32+1] + code
	}
	return code + " " + words[(number-1)%int64(len(words))]
}

// putJobs stores new jobs and blocks of jobs, and cuts shifts anew as far as those
// change them.
func (a *application) putJobs(ctx context.Context) error {
	fresh, err := a.insertJobs(ctx)
	if err != nil {
		return err
	}
	from := int64(0) // the first shift that changes
	if err := rows(ctx, a.tx, "select coalesce(max(shift), 0) from jobs where instance = $1", []any{a.instance}, func(scan func(...any) error) error {
		return scan(&from)
	}); err != nil {
		return err
	}
	changed := len(fresh) > 0
	for i := range a.Blocks {
		v := &a.Blocks[i]
		shift := int64(-1)
		if err := rows(ctx, a.tx, "select shift from jobs where instance = $1 and id = $2 and block = 0", []any{a.instance, int64(v.Job)}, func(scan func(...any) error) error {
			return scan(&shift)
		}); err != nil {
			return err
		}
		if shift < 0 { // an unknown job, or one of another block
			continue
		}
		if _, err := a.tx.Exec(ctx, "update jobs set block = $1 where instance = $2 and id = $3", v.Found, a.instance, int64(v.Job)); err != nil {
			return err
		}
		if changed = true; shift > 0 {
			from = min(from, shift)
		}
	}
	if !changed {
		return nil
	}
	return a.cutShifts(ctx, max(from, 1), fresh)
}

// insertJobs tells which of the jobs are new.
func (a *application) insertJobs(ctx context.Context) (fresh []int64, err error) {
	n := len(a.Jobs)
	if n == 0 {
		return nil, nil
	}
	integers := make([][]int64, 11)
	for i := range integers {
		integers[i] = make([]int64, n)
	}
	prev, record, network := make([][]byte, n), make([][]byte, n), make([]difficulty.Exact, n)
	for i := range a.Jobs {
		v := &a.Jobs[i]
		for c, value := range [...]int64{a.instance, int64(v.ID), a.history, a.To.Epoch, v.Number, v.Height, int64(v.Bits), int64(v.Version), int64(v.NTime), v.Reward, v.Created} {
			integers[c][i] = value
		}
		prev[i], record[i], network[i] = v.PrevHash[:], append([]byte{}, v.Record...), v.Difficulty
	}
	added, err := a.tx.Insert(ctx, jobs, jobs.Name, n, table.Rows{integers[0], integers[1], integers[2], integers[3], integers[4], integers[5], prev, integers[6], network,
		integers[7], integers[8], integers[9], integers[10], record})
	if err != nil {
		return nil, err
	}
	heights := map[int64]int64{}
	for i, ok := range added {
		if !ok {
			continue
		}
		fresh = append(fresh, integers[1][i])
		if _, above, _ := payoutScript(record[i]); !above { // what cannot be read is told by who follows the chain
			heights[integers[1][i]] = integers[5][i]
		}
	}
	return fresh, a.placeJobs(ctx, heights)
}

func (a *application) cutShifts(ctx context.Context, from int64, fresh []int64) error {
	list, err := shiftJobs(ctx, a.tx, a.instance, from)
	if err != nil {
		return err
	}
	before := make([]int64, len(list))
	for i := range list {
		before[i] = list[i].shift
	}
	all := shiftsOf(list, from)
	if _, err := a.tx.Exec(ctx, "delete from shifts where instance = $1 and number >= $2", a.instance, from); err != nil {
		return err
	}
	integers := make([][]int64, 7)
	var name, reason []string
	for _, r := range all {
		for c, value := range [...]int64{a.instance, r.number, r.first, r.last, r.jobs, r.started, r.ended} {
			integers[c] = append(integers[c], value)
		}
		name, reason = append(name, shiftName(r.number, r.started)), append(reason, r.reason)
	}
	if _, err := a.tx.Merge(ctx, shifts, shifts.Name, len(all), table.Rows{integers[0], integers[1], name,
		integers[2], integers[3], integers[4], integers[5], integers[6], reason}); err != nil {
		return err
	}
	// Sums of jobs that are in another shift now go with them; a job that is new may
	// have shares already, where a gap in the journal took what came before.
	touched := map[int64]bool{}
	early, err := a.summed(ctx, fresh)
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].shift == before[i] {
			continue
		}
		if _, err := a.tx.Exec(ctx, "update jobs set shift = $1 where instance = $2 and id = $3", list[i].shift, a.instance, list[i].id); err != nil {
			return err
		}
		if before[i] != 0 || early[list[i].id] {
			touched[before[i]], touched[list[i].shift] = true, true
		}
	}
	delete(touched, 0)
	if len(touched) == 0 {
		return nil
	}
	db := a.store.db
	numbers := db.List(slices.Sorted(maps.Keys(touched)))
	if _, err := a.tx.Exec(ctx, "delete from shift_workers where instance = $1 and shift "+db.In(2), a.instance, numbers); err != nil {
		return err
	}
	d := derived[0]
	_, err = a.tx.Fold(ctx, d.table, d.by, source(jobSums.Name, d.shifts)+" and p.instance = $1 and j.shift "+db.In(2), a.instance, numbers)
	return err
}

// summed are those of some jobs that have sums already.
func (a *application) summed(ctx context.Context, ids []int64) (map[int64]bool, error) {
	early := map[int64]bool{}
	err := rows(ctx, a.tx, "select distinct job from job_sums where instance = $1 and job "+a.store.db.In(2), []any{a.instance, a.store.db.List(ids)},
		func(scan func(...any) error) error {
			var id int64
			err := scan(&id)
			early[id] = true
			return err
		})
	return early, err
}

// shiftJobs are the jobs from a shift on, in the order in which journals had them.
func shiftJobs(ctx context.Context, tx table.Tx, instance, from int64) (list []shiftJob, err error) {
	err = rows(ctx, tx, "select id, history, epoch, height, bits, created, block, shift from jobs where instance = $1 and (shift >= $2 or shift = 0) order by history, epoch, number",
		[]any{instance, from}, func(scan func(...any) error) error {
			var j shiftJob
			err := scan(&j.id, &j.history, &j.epoch, &j.height, &j.bits, &j.created, &j.found, &j.shift)
			list = append(list, j)
			return err
		})
	return list, err
}
