package pool

import (
	"cmp"
	"context"
	"slices"
	"time"
	"unsafe"

	"ckpool/internal/netserver"
	"ckpool/internal/session"
	"ckpool/sharelog"
)

// statisticsCommands registers what asks about users, workers, miners and
// blocks.
func (c commands) statisticsCommands(r registrar) {
	r.answer("poolstats", func(ctx context.Context, _ string) (string, error) {
		return string(Queries{c.State}.PoolStats(time.Now(), c.counts(ctx, time.Now()), c.Work())), nil
	})
	r.answer("userclients", c.about(Queries.UserClients, Queries.workersOfUser))
	r.answer("workerclients", c.about(Queries.WorkerClients, Queries.thatWorker))
	r.answer("clients", c.about(func(q Queries, _ string, all []session.Info) []byte { return q.Clients(all) },
		func(Queries, string) func(session.WorkerID) bool { return func(session.WorkerID) bool { return true } }))
	r.answer("getclient", c.getClient)
	r.answer("ucinfo", c.about(Queries.UserClientInfo, Queries.workersOfUser))
	r.answer("wcinfo", c.about(Queries.WorkerClientInfo, Queries.thatWorker))
	r.answer("getuser", c.ask(Queries.GetUser))
	r.answer("getworker", c.ask(Queries.GetWorker))
	r.answer("users", c.ask(func(q Queries, _ string, now time.Time) []byte { return q.Users(now) }))
	r.answer("workers", c.ask(func(q Queries, _ string, now time.Time) []byte { return q.Workers(now) }))
	r.answer("blocks", c.ask(func(q Queries, _ string, _ time.Time) []byte { return q.Blocks(c.blocks) }))
	r.answer("bestshares", c.ask(Queries.BestShares))
	stats := c.stratifierStats
	if r.socket == connector {
		stats = c.connectorStats
	}
	r.answer("stratifierstats", c.stratifierStats)
	r.answer("connectorstats", c.connectorStats)
	r.answer("stats", stats)
}

// getClient asks the loops for one session alone.
func (c commands) getClient(ctx context.Context, args string) (string, error) {
	var found []session.Info
	if id, answer := argument[uint64]("getclient", args, "id"); answer == nil {
		parts, err := onLoops(ctx, c.Pool, func(h *session.Handler, done func([]session.Info)) {
			var list []session.Info
			if i, ok := h.Session(id); ok {
				list = append(list, i)
			}
			done(list)
		})
		if err != nil {
			return "", err
		}
		found = slices.Concat(parts...)
	}
	return string(Queries{c.State}.GetClient(args, found)), nil
}

// maxBestShares is how many users bestshares lists.
const maxBestShares = 100

// BestShares is bestshares: the pool's best share of the round, and the users
// with the best ones ever.
func (q Queries) BestShares(string, time.Time) []byte {
	type best struct {
		user        string
		round, ever float64
	}
	current := q.State.round.Load()
	var list []best
	for _, u := range q.State.names.all() {
		u.mu.Lock()
		b := best{user: u.Name, ever: u.bestEver}
		if u.round == current {
			b.round = u.best
		}
		u.mu.Unlock()
		if b.ever > 0 {
			list = append(list, b)
		}
	}
	slices.SortStableFunc(list, func(a, b best) int { return cmp.Compare(b.ever, a.ever) })
	round, _, _ := q.State.totals.snapshot()
	o := sharelog.NewObject(nil)
	o.Real("bestshare", round.best, 17)
	o.Raw("users", array(list[:min(len(list), maxBestShares)], func(to []byte, b best) []byte {
		e := sharelog.NewObject(to)
		e.String("user", b.user)
		e.Real("bestshare", b.round, 17)
		e.Real("bestever", b.ever, 17)
		return e.Close()
	}))
	return o.Close()
}

// Rejects is rejects: shares since the start, by what was wrong.
func (q Queries) Rejects(string, time.Time) []byte {
	counts := sharelog.NewObject(nil)
	for r, n := range q.State.totals.rejects() {
		if r := session.Reason(r); r != session.Accepted {
			counts.Int(r.String(), n)
		}
	}
	o := sharelog.NewObject(nil)
	o.Raw("rejects", counts.Close())
	return o.Close()
}

// dropsReply is drops: connections that ended, by reason.
func (c commands) dropsReply() []byte {
	st := c.server.Stats()
	o := sharelog.NewObject(nil)
	o.Raw("drops", drops(&st))
	return o.Close()
}

func drops(st *netserver.Stats) []byte {
	o := sharelog.NewObject(nil)
	for r := range netserver.Reasons {
		o.Int(r.String(), int64(st.Drops[r]))
	}
	return o.Close()
}

func (c commands) stratifierStats(ctx context.Context, _ string) (string, error) {
	return string(Queries{c.State}.Stats(StratifierStats{
		Workbases:    c.jobs.objects(),
		Clients:      Objects{Count: int64(c.server.Clients()), Memory: int64(c.server.Clients()) * session.Size, Generated: int64(c.server.Stats().Accepted)},
		Disconnected: Objects{Count: c.resumable.Load()},
		Shares:       c.sharesRemembered(ctx),
	})), nil
}

func (c commands) sharesRemembered(ctx context.Context) Objects {
	n, _ := c.countOnLoops(ctx, (*session.Handler).Remembered)
	return Objects{Count: int64(n), Memory: int64(n) * int64(unsafe.Sizeof(uint64(0)))}
}

// connectorStats is the connections, what slow ones cost, how many have not
// come through PROXY header and TLS handshake, and why others ended.
func (c commands) connectorStats(context.Context, string) (string, error) {
	st := c.server.Stats()
	o := sharelog.NewObject(nil)
	put := func(key string, count, memory, generated uint64) {
		e := sharelog.NewObject(nil)
		e.Int("count", int64(count))
		e.Int("memory", int64(memory))
		e.Int("generated", int64(generated))
		o.Raw(key, e.Close())
	}
	put("clients", st.Clients, 0, st.Accepted)
	put("dead", 0, 0, 0)
	put("sends", st.BacklogClients, st.BacklogBytes, 0)
	put("delays", st.BacklogClients, st.BacklogBytes, st.ReplacedNotifies)
	put("entering", st.Entering, 0, 0)
	o.Raw("drops", drops(&st))
	return string(o.Close()), nil
}

// objects counts the jobs.
func (j *jobs) objects() Objects {
	var o Objects
	if recent := j.recent.Load(); recent != nil {
		o.Count = int64(len(*recent))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	o.Generated = j.made
	return o
}
