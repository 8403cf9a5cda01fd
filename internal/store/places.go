package store

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/rewards"
	"github.com/ckpool/ckpool/internal/store/table"
)

// places of jobs in the order of shares. That of a job is its height. Shares whose job's
// record was lost are acknowledged like others, and stand at the height of the last job
// before them that their pool told of; so do shares that came without a job. A job whose
// coinbase another pool has made has no place: what is found on it earns there.
//
// What comes after a block was rewarded, as from a node that stepped back or a pool that
// was taken for gone, counts in later rewards alone: a place tells after which
// transaction of the ledger it came. Shares that come later than their job's place, with
// a reward in between, tell it themselves.
var (
	places = &table.Table{Name: "places", Columns: join(columns(table.Integer, table.Key, "instance", "job"), columns(table.Integer, table.Keep, "height", "after"))}
	// strayPlaces are those of jobs without a record, with the times of their shares' headers.
	strayPlaces = &table.Table{Name: places.Name, Columns: join(places.Columns, columns(table.Integer, table.First, "least"), columns(table.Integer, table.Greatest, "most"))}
	lateShares  = &table.Table{Name: "late_shares", Columns: join(columns(table.Integer, table.Keep, "ntime", "instance", "job", "worker", "after"), columns(table.Bytes, table.Keep, "hash"),
		columns(table.Exact, table.Keep, "credit"))}
)

// placeJobs gives places to new jobs. One that had shares before it was told of keeps its own.
func (a *application) placeJobs(ctx context.Context, fresh map[int64]int64) error {
	if len(fresh) == 0 {
		return nil
	}
	var ids, heights []int64
	for id, height := range fresh {
		ids, heights = append(ids, id), append(heights, height)
	}
	return a.place(ctx, places, ids, heights)
}

func (a *application) place(ctx context.Context, t *table.Table, jobs, heights []int64, times ...any) error {
	var after int64
	if err := one(ctx, a.tx, "select last from ledger_head", nil, &after); err != nil {
		return err
	}
	n := len(jobs)
	_, err := a.tx.Merge(ctx, t, t.Name, n, append(table.Rows{slices.Repeat([]int64{a.instance}, n), jobs, heights, slices.Repeat([]int64{after}, n)}, times...))
	return err
}

// giveJobs gives shares that came without a job, as those of a trusted remote that is ckpool in
// C, the last one before them that the pool told of, if there is any.
func (a *application) giveJobs(ctx context.Context) error {
	first := slices.IndexFunc(a.Shares, func(v Share) bool { return v.Job == 0 })
	if first < 0 {
		return nil
	}
	var before int64
	if err := one(ctx, a.tx, "select id from jobs where instance = $1 and (epoch < $2 or epoch = $2 and number < $3) order by history desc, epoch desc, number desc limit 1",
		[]any{a.instance, a.To.Epoch, a.Shares[first].Number}, &before); err != nil {
		return err
	}
	b := *a.Batch // which is its owner's
	b.Shares, a.Batch, a.without = slices.Clone(b.Shares), &b, map[int64]bool{}
	for i := range b.Shares {
		v := &b.Shares[i]
		if v.Job != 0 {
			continue
		}
		id := before
		for k := range b.Jobs { // some may be told of again; newer ones have greater ids
			if j := &b.Jobs[k]; j.Number < v.Number {
				id = max(id, int64(j.ID))
			}
		}
		if v.Job = uint64(id); id != 0 {
			a.without[id] = true
		}
	}
	return nil
}

// placeShares gives places to jobs that no record tells of and new shares name. Of shares that
// came without a job it notes the times, which need not be those of the job that they were given.
func (a *application) placeShares(ctx context.Context, fates []fate) error {
	type lost struct{ number, least, most int64 }
	missing := map[int64]*lost{}
	for i := range a.Shares {
		if fates[i] != fresh {
			continue
		}
		v := &a.Shares[i]
		at := int64(v.NTime)
		if l := missing[int64(v.Job)]; l != nil {
			l.number, l.least, l.most = min(l.number, v.Number), min(l.least, at), max(l.most, at)
		} else {
			missing[int64(v.Job)] = &lost{v.Number, at, at}
		}
	}
	ids := slices.Sorted(maps.Keys(missing))
	if len(ids) == 0 {
		return nil
	}
	if err := rows(ctx, a.tx, "select job from places where instance = $1 and most = 0 and job "+a.store.db.In(2), []any{a.instance, a.store.db.List(ids)}, func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		if !a.without[id] {
			delete(missing, id)
		}
		return err
	}); err != nil || len(missing) == 0 {
		return err
	}
	// A job that is there without a place has none for good.
	if err := rows(ctx, a.tx, "select id from jobs where instance = $1 and id "+a.store.db.In(2)+" and not exists (select 1 from places p where p.instance = jobs.instance and p.job = jobs.id)",
		[]any{a.instance, a.store.db.List(ids)}, func(scan func(...any) error) error {
			var id int64
			err := scan(&id)
			delete(missing, id)
			return err
		}); err != nil || len(missing) == 0 {
		return err
	}
	ids = slices.Sorted(maps.Keys(missing))
	n := len(ids)
	heights, least, most := make([]int64, n), make([]int64, n), make([]int64, n)
	for i, id := range ids {
		l := missing[id]
		least[i], most[i] = l.least, l.most
		// Of the last job before; where the pool told of none yet, of its first, or of any.
		if err := one(ctx, a.tx, `select coalesce(
			(select height from jobs where instance = $1 and (epoch < $2 or epoch = $2 and number < $3) order by history desc, epoch desc, number desc limit 1),
			(select height from jobs where instance = $1 order by history, epoch, number limit 1), (select max(height) from places), 0)`,
			[]any{a.instance, a.To.Epoch, l.number}, &heights[i]); err != nil {
			return err
		}
	}
	return a.place(ctx, strayPlaces, ids, heights, least, most)
}

// putLate stores which of the shares came after a reward that was made with their job, and
// counts batches that a reward may be wrong for which is being computed.
func (a *application) putLate(ctx context.Context, fates []fate) error {
	of := map[int64]bool{}
	for i := range a.Shares {
		if v := &a.Shares[i]; fates[i] == fresh && v.Scheme == 0 {
			of[int64(v.Job)] = true
		}
	}
	if len(of) == 0 {
		return nil
	}
	heights, afters := map[int64]bool{}, map[int64]int64{}
	if err := rows(ctx, a.tx, "select job, height, after from places where instance = $1 and height <= (select coalesce(max(height), -1) from chain_blocks) and job "+a.store.db.In(2),
		[]any{a.instance, a.store.db.List(slices.Sorted(maps.Keys(of)))}, func(scan func(...any) error) error {
			var job, height, after int64
			err := scan(&job, &height, &after)
			heights[height], afters[job] = true, after
			return err
		}); err != nil || len(heights) == 0 {
		return err
	}
	for height := range heights {
		list, err := a.store.awaited(ctx, a.tx, height)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(list, func(v Instance) bool { return v.ID == a.Instance }) {
			if _, err := a.tx.Exec(ctx, "update instances set late = late + 1 where id = $1", a.instance); err != nil {
				return err
			}
			break
		}
	}
	var last, rewarded int64
	if err := one(ctx, a.tx, "select last from ledger_head", nil, &last); err != nil {
		return err
	}
	if err := one(ctx, a.tx, "select number from ledger where kind = $1 order by number desc limit 1", []any{string(Reward)}, &rewarded); err != nil {
		return err
	}
	var ntimes, jobs, workers []int64
	var hashes [][]byte
	var credits []difficulty.Exact
	for i := range a.Shares {
		v := &a.Shares[i]
		after, ok := afters[int64(v.Job)]
		if fates[i] != fresh || v.Scheme != 0 || !ok || after >= rewarded {
			continue
		}
		ntimes, jobs, workers = append(ntimes, int64(v.NTime)), append(jobs, int64(v.Job)), append(workers, a.worker[v.Worker])
		hashes, credits = append(hashes, v.Hash[:]), append(credits, v.Credit)
	}
	n := len(ntimes)
	if n == 0 {
		return nil
	}
	_, err := a.tx.Merge(ctx, lateShares, lateShares.Name, n, table.Rows{ntimes, slices.Repeat([]int64{a.instance}, n), jobs, workers, slices.Repeat([]int64{last}, n), hashes, credits})
	return err
}

// Stray is the work that an account did on jobs of a pool whose records were lost.
type Stray struct {
	Pool   string
	Owner  Owner
	Height int64 // at which it stands in the order of shares
	Class
}

// Strays are all from a height to another, of those that came before a transaction of
// the ledger; 0: of all.
func (s *Store) Strays(ctx context.Context, from, to, before int64) (list []Stray, err error) {
	value := s.db.Sum(table.Column{Name: "p.accepted_work", Kind: table.Exact, Merge: table.Add})
	count := s.db.Sum(table.Column{Name: "p.accepted", Merge: table.Add})
	if before == 0 {
		before = nowhere
	}
	at := map[Stray]int{}
	err = s.db.Read(ctx, func(tx table.Tx) error {
		for _, of := range []string{jobSums.Name, pending.Name} {
			if err := rows(ctx, tx, "select i.name, a.kind, a.folded, l.height, "+count+", "+value+" from places l join instances i on i.id = l.instance join "+of+
				` p on p.instance = l.instance and p.job = l.job join workers w on w.id = p.worker join accounts a on a.id = w.account
				where l.most > 0 and l.height >= $1 and l.height <= $2 and l.after < $3 and p.accepted > 0 and not exists (select 1 from jobs j where j.instance = l.instance and j.id = l.job)
				group by i.name, a.kind, a.folded, l.height`, []any{from, to, before}, func(scan func(...any) error) error {
				var v Stray
				var c Class
				err := scan(&v.Pool, &v.Owner.Kind, &v.Owner.Name, &v.Height, &c.Count, table.Amount{To: &c.Work})
				k, ok := at[v]
				if !ok {
					k = len(list)
					at[v], list = k, append(list, v)
				}
				list[k].add(c)
				return err
			}); err != nil {
				return err
			}
		}
		late := s.db.Sum(table.Column{Name: "p.credit", Kind: table.Exact, Merge: table.Add})
		return rows(ctx, tx, "select i.name, a.kind, a.folded, l.height, count(*), "+late+` from places l join instances i on i.id = l.instance
			join late_shares p on p.instance = l.instance and p.job = l.job join workers w on w.id = p.worker join accounts a on a.id = w.account
			where l.most > 0 and l.height >= $1 and l.height <= $2 and l.after < $3 and p.after >= $3 and not exists (select 1 from jobs j where j.instance = l.instance and j.id = l.job)
			group by i.name, a.kind, a.folded, l.height`, []any{from, to, before}, func(scan func(...any) error) error {
			var v Stray
			var c Class
			err := scan(&v.Pool, &v.Owner.Kind, &v.Owner.Name, &v.Height, &c.Count, table.Amount{To: &c.Work})
			if k, ok := at[v]; ok {
				list[k].Count, list[k].Work = list[k].Count-c.Count, list[k].Work.Sub(c.Work)
			}
			return err
		})
	})
	list = slices.DeleteFunc(list, func(v Stray) bool { return v.Count == 0 })
	slices.SortFunc(list, func(a, b Stray) int {
		return cmp.Or(cmp.Compare(a.Height, b.Height), cmp.Compare(a.Pool, b.Pool), a.Owner.compare(b.Owner))
	})
	return list, err
}

// halt keeps all journals where they are until the end of tx.
func (s *Store) halt(ctx context.Context, tx table.Tx) error {
	// In the order in which a journal is registered and stored.
	for _, query := range []string{"select network from ckdb", "select id from instances order by id"} {
		if err := rows(ctx, tx, query+s.db.Lock(), nil, func(func(...any) error) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// still keeps all journals where they are until the end of tx, and tells whether the
// places that a reward was computed from are the same, and no shares came to them.
func (s *Store) still(ctx context.Context, tx table.Tx, c *computation) (bool, error) {
	if err := s.halt(ctx, tx); err != nil {
		return false, err
	}
	n, err := countPlaces(ctx, tx, c.Reward)
	return n == c.places, err
}

// countPlaces are those that a reward may have been computed from, and the batches that had
// shares of any where none was to come. There are only ever more of them.
func countPlaces(ctx context.Context, tx table.Tx, r *rewards.Reward) (n int64, err error) {
	lowest := int64(0)
	if r.Window.Full {
		lowest = r.Window.Lowest
	}
	err = one(ctx, tx, "select count(*) + (select cast(coalesce(sum(late), 0) as bigint) from instances) from places where height >= $1 and height <= $2", []any{lowest, r.Block.Height}, &n)
	return n, err
}
