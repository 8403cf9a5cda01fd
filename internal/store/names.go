package store

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/store/table"
)

// names that got numbers in a transaction.
type names struct {
	workers map[Worker]int64
	agents  map[string]int64
}

// namesKept in memory at most.
const namesKept = 250_000

// remember keeps names of a transaction that was committed.
func (s *Store) remember(n names) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.workers) > namesKept {
		clear(s.workers)
	}
	if len(s.agents) > namesKept {
		clear(s.agents)
	}
	for w, id := range n.workers {
		if id != n.workers[Worker{w.Kind, w.Account, Rest}] || w.Name == Rest { // random names do not come again
			s.workers[w] = id
		}
	}
	maps.Copy(s.agents, n.agents)
}

// clean is a text without what PostgreSQL does not take, and not longer than what
// people read.
func clean(s string) string {
	const longest = 256
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "")
	}
	return s
}

// fold is an account's name as names are compared: users are told apart as the pool
// does, each by the name as it is; case does not matter in bech32 addresses, which are
// written in one case.
func fold(kind Kind, name string) string {
	if kind == User {
		return name
	}
	return address.Fold(strings.TrimSpace(name))
}

// resolve finds the numbers of the batch's workers and user agents, and gives new ones
// to those that sent anything: a name that was only logged in with gets none, and its
// number is 0, since a stranger has as many of these as he likes.
func (a *application) resolve(ctx context.Context) error {
	a.names = names{map[Worker]int64{}, map[string]int64{}}
	sent := make([]bool, len(a.Workers))
	for i := range sent {
		sent[i] = a.Known
	}
	for i := range a.Shares {
		sent[a.Shares[i].Worker] = true
	}
	for i := range a.Rejects {
		sent[a.Rejects[i].Worker] = true
	}
	for i := range a.Blocks {
		if k := a.Blocks[i].Worker; k >= 0 {
			sent[k] = true
		}
	}
	var silent []int // workers that are looked for
	keys := make([]Worker, len(a.Workers))
	shown := map[Worker]string{} // an account's name as it came
	a.worker, a.agent = make([]int64, len(a.Workers)), make([]int64, len(a.Agents))
	agents := make([]string, len(a.Agents))
	a.store.mu.Lock()
	for i, w := range a.Workers {
		keys[i] = Worker{w.Kind, fold(w.Kind, clean(w.Account)), clean(w.Name)}
		if a.worker[i] = a.store.workers[keys[i]]; a.worker[i] == 0 && !sent[i] {
			silent = append(silent, i)
		} else if a.worker[i] == 0 {
			a.names.workers[keys[i]] = 0
			shown[Worker{keys[i].Kind, keys[i].Account, ""}] = clean(w.Account)
		}
	}
	for i, name := range a.Agents {
		agents[i] = clean(name)
		if a.agent[i] = a.store.agents[agents[i]]; a.agent[i] == 0 {
			a.names.agents[agents[i]] = 0
		}
	}
	a.store.mu.Unlock()
	if err := a.resolveWorkers(ctx, shown); err != nil {
		return err
	}
	if err := a.resolveAgents(ctx); err != nil {
		return err
	}
	for i := range a.worker {
		if a.worker[i] == 0 {
			a.worker[i] = a.names.workers[keys[i]]
		}
	}
	for i := range a.agent {
		if a.agent[i] == 0 {
			a.agent[i] = a.names.agents[agents[i]]
		}
	}
	return a.find(ctx, keys, silent)
}

// find finds the numbers of some of the batch's workers, where they have any.
func (a *application) find(ctx context.Context, keys []Worker, list []int) error {
	n := len(list)
	if n == 0 {
		return nil
	}
	kinds, folded, name := make([]string, n), make([]string, n), make([]string, n)
	for k, i := range list {
		kinds[k], folded[k], name[k] = string(keys[i].Kind), keys[i].Account, keys[i].Name
	}
	of, err := a.tx.Find(ctx, accounts, n, table.Rows{kinds, folded})
	if err != nil {
		return err
	}
	ids, err := a.tx.Find(ctx, workers, n, table.Rows{of, name})
	for k := range ids {
		a.worker[list[k]] = ids[k]
	}
	return err
}

func (a *application) resolveWorkers(ctx context.Context, shown map[Worker]string) error {
	if len(shown) == 0 {
		return nil
	}
	// Sorted: two transactions with the same names wait for each other in one order.
	owners := slices.SortedFunc(maps.Keys(shown), compareWorkers)
	kinds, folded, display := make([]string, len(owners)), make([]string, len(owners)), make([]string, len(owners))
	for i, w := range owners {
		kinds[i], folded[i], display[i] = string(w.Kind), w.Account, shown[w]
	}
	now := slices.Repeat([]int64{a.At}, len(owners))
	ids, err := a.number(ctx, accounts, table.Rows{kinds, folded}, table.Rows{kinds, folded, display, now})
	if err != nil {
		return err
	}
	account := map[Worker]int64{}
	for i, w := range owners {
		account[w] = ids[i]
	}
	accountOf := func(w Worker) int64 { return account[Worker{w.Kind, w.Account, ""}] }

	wanted := slices.SortedFunc(maps.Keys(a.names.workers), compareWorkers)
	key := func(list []Worker) table.Rows {
		of, name := make([]int64, len(list)), make([]string, len(list))
		for i, w := range list {
			of[i], name[i] = accountOf(w), w.Name
		}
		return table.Rows{of, name}
	}
	if ids, err = a.tx.Find(ctx, workers, len(wanted), key(wanted)); err != nil {
		return err
	}
	fresh := map[int64]int64{} // per account
	for i, w := range wanted {
		if a.names.workers[w] = ids[i]; ids[i] == 0 {
			fresh[accountOf(w)]++
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	room, err := a.room(ctx, slices.Sorted(maps.Keys(fresh)))
	if err != nil {
		return err
	}
	// What goes beyond the account's limit is the work of one more worker.
	var made []Worker
	rest := map[Worker][]Worker{}
	for i, w := range wanted {
		if ids[i] != 0 {
			continue
		}
		if of := accountOf(w); room[of] > 0 || w.Name == Rest {
			room[of]--
			made = append(made, w)
		} else {
			r := Worker{w.Kind, w.Account, Rest}
			rest[r] = append(rest[r], w)
		}
	}
	for r := range rest {
		if !slices.Contains(made, r) {
			made = append(made, r)
		}
	}
	slices.SortFunc(made, compareWorkers)
	keys := key(made)
	if ids, err = a.number(ctx, workers, keys, append(keys, slices.Repeat([]int64{a.At}, len(made)))); err != nil {
		return err
	}
	for i, w := range made {
		a.names.workers[w] = ids[i]
		for _, r := range rest[w] {
			a.names.workers[r] = ids[i]
		}
	}
	return nil
}

// room is how many new workers accounts may have. It stays so until the end of the
// transaction.
func (a *application) room(ctx context.Context, ids []int64) (map[int64]int64, error) {
	db := a.store.db
	room := map[int64]int64{}
	err := rows(ctx, a.tx, "select id from accounts where id "+db.In(1)+" order by id"+db.Lock(), []any{db.List(ids)}, func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		room[id] = a.store.workersPerAccount
		return err
	})
	if err != nil {
		return nil, err
	}
	err = rows(ctx, a.tx, "select account, count(*) from workers where account "+db.In(1)+" group by account", []any{db.List(ids)}, func(scan func(...any) error) error {
		var id, count int64
		err := scan(&id, &count)
		room[id] -= count
		return err
	})
	return room, err
}

func (a *application) resolveAgents(ctx context.Context) error {
	if len(a.names.agents) == 0 {
		return nil
	}
	wanted := slices.Sorted(maps.Keys(a.names.agents))
	ids, err := a.tx.Find(ctx, agents, len(wanted), table.Rows{wanted})
	if err != nil {
		return err
	}
	var room int64 = UserAgents
	if err := rows(ctx, a.tx, "select count(*) from agents", nil, func(scan func(...any) error) error {
		var count int64
		err := scan(&count)
		room -= count
		return err
	}); err != nil {
		return err
	}
	var made, rest []string
	for i, name := range wanted {
		switch a.names.agents[name] = ids[i]; {
		case ids[i] != 0:
		case room > 0:
			room--
			made = append(made, name)
		default:
			rest = append(rest, name)
		}
	}
	if len(rest) > 0 && !slices.Contains(made, Rest) {
		made = append(made, Rest)
		slices.Sort(made)
	}
	if len(made) == 0 {
		return nil
	}
	if ids, err = a.number(ctx, agents, table.Rows{made}, table.Rows{made}); err != nil {
		return err
	}
	for i, name := range made {
		a.names.agents[name] = ids[i]
	}
	for _, name := range rest {
		a.names.agents[name] = a.names.agents[Rest]
	}
	return nil
}

// number is the number of each key, of new rows where there is none.
func (a *application) number(ctx context.Context, t *table.Table, keys, all table.Rows) ([]int64, error) {
	n := 0
	switch v := keys[0].(type) {
	case []int64:
		n = len(v)
	case []string:
		n = len(v)
	}
	ids, err := a.tx.Find(ctx, t, n, keys)
	if err != nil || !slices.Contains(ids, 0) {
		return ids, err
	}
	if _, err := a.tx.Merge(ctx, t, t.Name, n, all); err != nil {
		return nil, err
	}
	return a.tx.Find(ctx, t, n, keys)
}

func compareWorkers(v, w Worker) int {
	return cmp.Or(cmp.Compare(v.Kind, w.Kind), cmp.Compare(v.Account, w.Account), cmp.Compare(v.Name, w.Name))
}
