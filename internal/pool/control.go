package pool

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"ckpool/difficulty"
	"ckpool/internal/session"
	"ckpool/sharelog"
)

// Queries answers the control commands that ask about users, workers, the pool
// and its miners. Every answer is one JSON object on one line; what cannot be
// answered is {"errormsg": text}. Arguments are what stands behind the '=' of a
// command. Asking never makes a user or worker.
type Queries struct {
	State *State
}

// Users is users.
func (q Queries) Users(now time.Time) []byte {
	return object("users", newest(q.State.names.all()), func(b []byte, u *user) []byte { return q.user(b, u, now) })
}

// Workers is workers.
func (q Queries) Workers(now time.Time) []byte {
	var workers []*worker
	for _, u := range q.State.names.all() {
		workers = append(workers, u.listWorkers()...)
	}
	slices.SortFunc(workers, func(a, b *worker) int { return cmp.Compare(a.id, b.id) })
	workers = newest(workers)
	return object("workers", workers, func(b []byte, w *worker) []byte { return q.worker(b, w, now) })
}

// GetUser is getuser={"user":"U"}.
func (q Queries) GetUser(arg string, now time.Time) []byte {
	u, fault := q.findUser("getuser", arg)
	if fault != nil {
		return fault
	}
	return q.user(nil, u, now)
}

// GetWorker is getworker={"worker":"W"}.
func (q Queries) GetWorker(arg string, now time.Time) []byte {
	w, fault := q.findWorker("getworker", arg)
	if fault != nil {
		return fault
	}
	return q.worker(nil, w, now)
}

// PoolStats is poolstats; w is the present work, nil before the first.
func (q Queries) PoolStats(now time.Time, n Sessions, w *session.Work) []byte {
	s := q.State
	st := s.Status(now, n)
	o := sharelog.NewObject(nil)
	o.Int("start", now.Unix()-st.Runtime)
	o.Int("update", now.Unix())
	o.Int("workers", st.Workers)
	o.Int("users", st.Users)
	o.Int("disconnected", st.Disconnected)
	o.Int("shares", st.AcceptedCount)
	for i, key := range []string{"sps1", "sps5", "sps15", "sps60"} {
		o.Real(key, st.SPS[i], 17)
	}
	o.Real("accepted", st.Accepted, 17)
	o.Real("rejected", st.Rejected, 17)
	for i, key := range []string{"dsps1", "dsps5", "dsps15", "dsps60", "dsps360", "dsps1440", "dsps10080"} {
		o.Real(key, st.Hashrate[i]/difficulty.HashesPerDifficulty, 17)
	}
	o.Int("accepted_count", st.AcceptedCount)
	o.Int("rejected_count", st.RejectedCount)
	o.Real("bestshare", st.BestShare, 17)
	o.Real("netdiff", st.NetworkDifficulty, 17)
	var height, made int64
	if w != nil {
		height, made = w.Job.Template.Height, w.Job.Created.Unix()
	}
	o.Int("height", height)
	o.Int("worktime", made)
	return o.Close()
}

// Uptime is uptime.
func (q Queries) Uptime(now time.Time) []byte {
	o := sharelog.NewObject(nil)
	o.Int("uptime", int64(now.Sub(q.State.start).Seconds()))
	return o.Close()
}

// Blocks is blocks.
func (q Queries) Blocks(t *Blocks) []byte {
	return object("blocks", t.List(), func(b []byte, f Block) []byte {
		o := sharelog.NewObject(b)
		o.Int("height", f.Height)
		o.String("hash", f.Hash)
		o.String("worker", f.Worker)
		o.Real("difficulty", f.Difficulty, 17)
		o.Int("reward", f.Reward)
		o.Int("time", f.Time.Unix())
		o.String("state", f.StateText())
		if f.Chain != "" {
			o.String("chain", f.Chain)
		}
		return o.Close()
	})
}

func (q Queries) user(b []byte, u *user, now time.Time) []byte {
	u.mu.Lock()
	st := q.State.stats(&u.tally, now)
	attached := u.attached
	u.mu.Unlock()
	o := sharelog.NewObject(b)
	o.String("user", u.name)
	o.Int("id", u.id)
	o.Int("workers", int64(attached))
	o.Real("bestdiff", st.BestShare, 17)
	putRates(&o, st.Hashrate[:])
	o.Int("lastshare", unix(st.LastShare))
	o.Real("bestever", st.BestEver, 17)
	return o.Close()
}

func (q Queries) worker(b []byte, w *worker, now time.Time) []byte {
	s := q.State
	w.mu.Lock()
	st := s.stats(&w.tally, now)
	idle := w.connected.count == 0 || w.idle(s.stamp(now))
	started := s.wall(w.connected.started(), now)
	rejects := w.shown(s.clock, now)
	w.mu.Unlock()
	o := sharelog.NewObject(b)
	o.String("user", w.user.name)
	o.String("worker", w.name)
	o.Int("id", w.user.id)
	putRates(&o, st.Hashrate[:4])
	o.Int("lastshare", unix(st.LastShare))
	o.Int("started", unix(started))
	o.Real("bestdiff", st.BestShare, 17)
	o.Int("mindiff", 0) // no worker has one of its own
	o.Bool("idle", idle)
	rejects.Put(&o)
	o.Real("bestever", st.BestEver, 17)
	return o.Close()
}

func putRates(o *sharelog.Object, hashrates []float64) {
	for i, key := range []string{"dsps1", "dsps5", "dsps60", "dsps1440", "dsps10080"}[:len(hashrates)] {
		o.Real(key, hashrates[i]/difficulty.HashesPerDifficulty, 17)
	}
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// newest is the end of a list that is too long for a reply.
func newest[T any](list []T) []T { return list[max(0, len(list)-maxListed):] }

// object is {key: [elements]}.
func object[T any](key string, list []T, element func([]byte, T) []byte) []byte {
	o := sharelog.NewObject(nil)
	o.Raw(key, array(list, element))
	return o.Close()
}

func array[T any](list []T, element func([]byte, T) []byte) []byte {
	b := []byte{'['}
	for i, e := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = element(b, e)
	}
	return append(b, ']')
}

// fault is the answer to a question that has none.
func fault(format string, args ...any) []byte {
	o := sharelog.NewObject(nil)
	o.String("errormsg", fmt.Sprintf(format, args...))
	return o.Close()
}

// argument is one value of a command's JSON object.
func argument[T any](command, arg, key string) (v T, answer []byte) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(arg), &object); err != nil {
		return v, fault("Failed to JSON decode in %s (1):%v", command, err)
	}
	if raw, ok := object[key]; !ok || json.Unmarshal(raw, &v) != nil {
		return v, fault("Failed to find %s key", key)
	}
	return v, nil
}

func name(command, arg, key string) (string, []byte) {
	v, answer := argument[string](command, arg, key)
	if answer == nil && v == "" {
		answer = fault("Zero length %s key", key)
	}
	return v, answer
}

func (q Queries) findUser(command, arg string) (*user, []byte) {
	v, answer := name(command, arg, "user")
	if answer != nil {
		return nil, answer
	}
	u := q.State.names.user(canonicalName(v))
	if u == nil {
		return nil, fault("Failed to find user %s", v)
	}
	return u, nil
}

func (q Queries) findWorker(command, arg string) (*worker, []byte) {
	v, answer := name(command, arg, "worker")
	if answer != nil {
		return nil, answer
	}
	w := q.State.names.worker(canonicalName(v))
	if w == nil {
		return nil, fault("Failed to find worker %s", v)
	}
	return w, nil
}

// workerOf is nil for a session that has not logged in.
func (q Queries) workerOf(i *session.Info) *worker { return q.State.names.table.get(i.Worker) }
