package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
)

// CursorError tells that a batch does not begin where the database is: it was
// applied before, or another process reads the same journal. Nothing was changed.
type CursorError struct {
	From, Present Position
}

// Error says both.
func (e *CursorError) Error() string {
	return fmt.Sprintf("batch goes on after record %s, the database is at %s", e.From, e.Present)
}

// ErrInstance tells that an instance was not registered.
var ErrInstance = errors.New("instance is not registered")

// Result is what a batch brought.
type Result struct {
	New      int // shares that were stored and credited
	Repeated int // that were in the database before
	Expired  int // whose day was dropped
}

// Apply stores a batch, in one transaction. The error is a CursorError where the
// batch does not begin at the stored position, and says so where the batch itself
// cannot be. After any other error the batch is either stored whole or not at all,
// and may be applied again: where it was stored, that is a CursorError whose Present
// is the batch's To.
//
// Where the batch begins an epoch that was stored before, as a journal was put back of which an
// older copy had been, nothing of it is stored: the instance goes on behind what is stored of
// that epoch, which is the CursorError's Present.
//
// Where the answer to the commit was lost, Apply looks on a new connection whether
// the batch is stored.
func (s *Store) Apply(ctx context.Context, b *Batch) (Result, error) {
	if err := b.Check(); err != nil {
		return Result{}, err
	}
	const attempts = 10
	var committed *Result // of an attempt whose answer was lost
	for i := 1; ; i++ {
		result, names, err := s.apply(ctx, b)
		var moved *CursorError
		switch {
		case err == nil:
			s.remember(names)
			return result, nil
		case errors.As(err, &moved) && committed != nil && moved.Present == b.To:
			// Whoever stored the batch, it is stored, and no other could be.
			return *committed, nil
		case s.db.Unknown(err):
			committed = &result
		case !s.db.Again(err) && committed == nil, errors.As(err, &moved):
			return Result{}, err
		}
		if i == attempts {
			return Result{}, err
		}
		select {
		case <-ctx.Done():
			return Result{}, err
		case <-time.After(time.Duration(i*i) * 5 * time.Millisecond):
		}
	}
}

// application is a batch while it is stored.
type application struct {
	*Batch
	tx       table.Tx
	store    *Store
	instance int64
	history  int64 // of the instance
	names    names
	worker   []int64 // by index
	agent    []int64
	without  map[int64]bool // jobs that shares have which came without one
	result   Result
	moved    *CursorError // nothing is stored, and the instance is at its Present
}

func (s *Store) apply(ctx context.Context, b *Batch) (Result, names, error) {
	if err := s.makeDays(ctx, b); err != nil {
		return Result{}, names{}, err
	}
	a := &application{Batch: b, store: s}
	err := s.db.Write(ctx, func(tx table.Tx) error {
		a.tx = tx
		a.moved = nil
		return a.run(ctx)
	})
	if err == nil && a.moved != nil {
		err = a.moved
	}
	return a.result, a.names, err
}

func (a *application) run(ctx context.Context) error {
	var at Position
	var waiting, foldAt int64
	// Whoever else has a batch of this instance waits here.
	err := rows(ctx, a.tx, "select id, epoch, number, life, history, pending, fold_at from instances where uid = $1"+a.store.db.Lock(), []any{a.Instance[:]},
		func(scan func(...any) error) error {
			return scan(&a.instance, &at.Epoch, &at.Number, &at.Life, &a.history, &waiting, &foldAt)
		})
	switch {
	case err != nil:
		return err
	case a.instance == 0:
		return fmt.Errorf("%w: %x", ErrInstance, a.Instance)
	case at != a.From:
		return &CursorError{a.From, at}
	}
	if a.To.Life != at.Life && a.To.Life != "" {
		stored, err := known(ctx, a.tx, a.instance, a.To.Life)
		if err != nil {
			return err
		}
		if stored != (Position{}) {
			a.moved = &CursorError{a.From, stored}
			return a.store.move(ctx, a.tx, a.instance, at, stored)
		}
	}
	if err := a.giveJobs(ctx); err != nil {
		return err
	}
	if err := a.resolve(ctx); err != nil {
		return err
	}
	if err := a.putJobs(ctx); err != nil {
		return err
	}
	fates, err := a.putShares(ctx)
	if err != nil {
		return err
	}
	if err := a.placeShares(ctx, fates); err != nil {
		return err
	}
	if err := a.putLate(ctx, fates); err != nil {
		return err
	}
	n, err := a.putSums(ctx, fates)
	if err != nil {
		return err
	}
	if err := a.putOthers(ctx); err != nil {
		return err
	}
	if waiting += n; waiting > foldAt {
		if foldAt, err = a.fold(ctx); err != nil {
			return err
		}
		waiting = 0
	}
	if at.Life != a.To.Life {
		if err := leave(ctx, a.tx, a.instance, at); err != nil {
			return err
		}
	}
	_, err = a.tx.Exec(ctx, `update instances set epoch = $1, number = $2, life = $3, at = $4, pending = $5, fold_at = $6,
		shares = shares + $7, repeated = repeated + $8, expired = expired + $9 where id = $10`,
		a.To.Epoch, a.To.Number, a.To.Life, a.At, waiting, foldAt, a.result.New, a.result.Repeated, a.result.Expired, a.instance)
	return err
}

// fate of a share that is stored.
type fate uint8

const (
	expired fate = iota
	repeated
	fresh
)

// putShares stores the shares and tells what became of each.
func (a *application) putShares(ctx context.Context) ([]fate, error) {
	fates := make([]fate, len(a.Shares))
	if len(a.Shares) == 0 {
		return fates, nil
	}
	order := make([]int32, len(a.Shares))
	for i := range order {
		order[i] = int32(i)
	}
	// In the order of the index; two writers of the same shares also meet in it.
	slices.SortFunc(order, func(i, j int32) int {
		x, y := &a.Shares[i], &a.Shares[j]
		if x.NTime != y.NTime {
			return cmp.Compare(x.NTime, y.NTime)
		}
		if c := bytes.Compare(x.Hash[:], y.Hash[:]); c != 0 {
			return c
		}
		return cmp.Compare(x.Number, y.Number)
	})
	kept, err := a.keptDays(ctx)
	if err != nil {
		return nil, err
	}
	for len(order) > 0 {
		day := dayOf(a.Shares[order[0]].NTime)
		n, _ := slices.BinarySearchFunc(order, day+1, func(i int32, day int64) int { return cmp.Compare(dayOf(a.Shares[i].NTime), day) })
		part := order[:n]
		order = order[n:]
		if !kept[day] {
			a.result.Expired += len(part)
			continue
		}
		added, err := a.tx.Insert(ctx, shares, dayTable(day), len(part), a.shareRows(part))
		if err != nil {
			return nil, err
		}
		for k, i := range part {
			if fates[i] = repeated; added[k] {
				fates[i] = fresh
				a.result.New++
			} else {
				a.result.Repeated++
			}
		}
	}
	return fates, nil
}

func (a *application) shareRows(part []int32) table.Rows {
	n := len(part)
	integers := make([][]int64, 9)
	for i := range integers {
		integers[i] = make([]int64, n)
	}
	hash, credit, achieved := make([][]byte, n), make([]difficulty.Exact, n), make([]difficulty.Exact, n)
	for k, i := range part {
		v := &a.Shares[i]
		for c, value := range [...]int64{int64(v.NTime), a.instance, a.To.Epoch, v.Number, v.Received,
			a.worker[v.Worker], a.agent[v.Agent], int64(v.Job), int64(v.Scheme)} {
			integers[c][k] = value
		}
		hash[k], credit[k], achieved[k] = v.Hash[:], v.Credit, v.Achieved
	}
	all := table.Rows{integers[0], hash}
	for _, c := range integers[1:] {
		all = append(all, c)
	}
	return append(all, credit, achieved)
}

// putSums appends the sums of the batch to those that are pending.
func (a *application) putSums(ctx context.Context, fates []fate) (int64, error) {
	type key struct{ job, hour, worker, agent, scheme int64 }
	list := map[key]*Sum{}
	of := func(job uint64, received int64, worker, agent int32, scheme uint8) *Sum {
		k := key{int64(job), hourOf(received), a.worker[worker], a.agent[agent], int64(scheme)}
		s := list[k]
		if s == nil {
			s = &Sum{}
			list[k] = s
		}
		return s
	}
	for i := range a.Shares {
		v := &a.Shares[i]
		switch fates[i] {
		case fresh:
			of(v.Job, v.Received, v.Worker, v.Agent, v.Scheme).accept(v)
		case repeated:
			of(v.Job, v.Received, v.Worker, v.Agent, v.Scheme).Repeated.add(Class{1, v.Credit})
		}
	}
	for i := range a.Rejects {
		v := &a.Rejects[i]
		of(v.Job, v.Received, v.Worker, v.Agent, 0).reject(v) // it earns nothing in any
	}
	if len(list) == 0 {
		return 0, nil
	}
	keys := make([][]int64, 6)
	for i := range keys {
		keys[i] = make([]int64, 0, len(list))
	}
	values := make([]*Sum, 0, len(list))
	for k, s := range list {
		for i, v := range [...]int64{a.instance, k.job, k.hour, k.worker, k.agent, k.scheme} {
			keys[i] = append(keys[i], v)
		}
		values = append(values, s)
	}
	all := table.Rows{}
	for _, c := range keys {
		all = append(all, c)
	}
	return a.tx.Merge(ctx, pending, pending.Name, len(values), append(all, sumRows(values)...))
}

// fold adds what is pending of the instance to the sums that are kept, and tells
// how much may be pending next time: rows of the same workers are written once for
// several of theirs, and few enough are left for who reads sums.
func (a *application) fold(ctx context.Context) (int64, error) {
	mine := " and p.instance = $1"
	if _, err := a.tx.Fold(ctx, jobSums, []string{"p.instance", "p.job", "p.hour", "p.worker", "p.agent", "p.scheme"}, source(pending.Name, false)+mine, a.instance); err != nil {
		return 0, err
	}
	var hours int64
	for _, d := range derived {
		n, err := a.tx.Fold(ctx, d.table, d.by, source(pending.Name, d.shifts)+mine, a.instance)
		if err != nil {
			return 0, err
		}
		if d.table == workerHours {
			hours = n
		}
	}
	_, err := a.tx.Exec(ctx, "delete from pending where instance = $1", a.instance)
	return min(max(a.store.foldLeast, 8*hours), a.store.foldMost), err
}

// putOthers stores what is not of shares.
func (a *application) putOthers(ctx context.Context) error {
	put := func(t *table.Table, n int, rows table.Rows) error {
		if n == 0 {
			return nil
		}
		_, err := a.tx.Merge(ctx, t, t.Name, n, rows)
		return err
	}
	instance := func(n int) []int64 { return slices.Repeat([]int64{a.instance}, n) }

	last := map[int64]int64{}
	for _, v := range a.Seen {
		if a.worker[v.Worker] == 0 { // it never sent anything
			continue
		}
		last[a.worker[v.Worker]] = max(last[a.worker[v.Worker]], v.At)
	}
	var worker, at []int64
	for w, t := range last {
		worker, at = append(worker, w), append(at, t)
	}
	if err := put(seen, len(at), table.Rows{instance(len(at)), worker, at}); err != nil {
		return err
	}

	var hashes [][]byte
	var height, job, finder, reward, found []int64
	var network []difficulty.Exact
	for i := range a.Blocks {
		v := &a.Blocks[i]
		var who int64
		if v.Worker >= 0 {
			who = a.worker[v.Worker]
		}
		hashes, height, job, finder = append(hashes, v.Hash[:]), append(height, v.Height), append(job, int64(v.Job)), append(finder, who)
		network, reward, found = append(network, v.Difficulty), append(reward, v.Reward), append(found, v.Found)
	}
	if err := put(blocks, len(hashes), table.Rows{hashes, instance(len(hashes)), height, job, finder, network, reward, found, found}); err != nil {
		return err
	}
	for i := range a.Changes {
		v := &a.Changes[i]
		note := clean(v.Note)
		if err := put(blockChanges, 1, table.Rows{[][]byte{v.Hash[:]}, []int64{v.At}, []string{v.State}, []int64{v.Confirmations}, []string{note}}); err != nil {
			return err
		}
		if _, err := a.tx.Exec(ctx, "update blocks set state = $1, confirmations = $2, note = $3, changed = $4 where hash = $5 and changed <= $4",
			v.State, v.Confirmations, note, v.At, v.Hash[:]); err != nil {
			return err
		}
	}

	var times, users, miners []int64
	var rates [4][]difficulty.Exact
	for _, v := range a.Minutes {
		times, users, miners = append(times, v.At), append(users, v.Users), append(miners, v.Workers)
		for i, r := range [...]difficulty.Exact{v.Rate1m, v.Rate5m, v.Rate1h, v.Rate24h} {
			rates[i] = append(rates[i], r)
		}
	}
	if err := put(minutes, len(times), table.Rows{instance(len(times)), times, users, miners, rates[0], rates[1], rates[2], rates[3]}); err != nil {
		return err
	}

	var epoch, first, end, noticed []int64
	var cause []string
	for _, g := range a.Gaps {
		epoch, first, end = append(epoch, g.Epoch), append(first, g.First), append(end, g.Last)
		noticed, cause = append(noticed, g.Seen), append(cause, g.Cause)
	}
	return put(gaps, len(epoch), table.Rows{instance(len(epoch)), epoch, first, end, noticed, cause})
}

// hourOf a time in microseconds.
func hourOf(t int64) int64 { return t / (3600 * 1_000_000) }
