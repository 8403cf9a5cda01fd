package operator

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"time"
	"unsafe"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
)

// statistics registers what asks about users, workers, miners and blocks. Asking
// changes nothing: it never makes a user or worker.
func (o *Operator) statistics(r Registrar) {
	r.Ask("poolstats", func(ctx context.Context, now time.Time) any { return o.poolStats(ctx, now) })
	r.about("userclients", found(o.findUser, o.userClients))
	r.about("workerclients", found(o.findWorker, o.workerClients))
	r.about("clients", o.clients)
	r.about("getclient", o.client)
	r.about("ucinfo", found(o.findUser, o.userConnections))
	r.about("wcinfo", found(o.findWorker, o.workerConnections))
	r.about("getuser", found(o.findUser, user))
	r.about("getworker", found(o.findWorker, worker))
	r.Ask("users", func(_ context.Context, now time.Time) any { return o.users(now) })
	r.Ask("workers", func(_ context.Context, now time.Time) any { return o.workers(now) })
	r.Ask("blocks", func(context.Context, time.Time) any { return o.blocks() })
	r.Ask("bestshares", func(context.Context, time.Time) any { return o.bestShares() })
	r.Ask("rejects", func(context.Context, time.Time) any { return o.rejects() })
	r.Ask("links", func(context.Context, time.Time) any { return o.links() })
	r.Ask("drops", func(context.Context, time.Time) any { return control.DropCounts{Drops: Drops(o.Server)} })
	r.Ask("uptime", func(_ context.Context, now time.Time) any {
		return control.Uptime{Seconds: int64(now.Sub(o.Users.Started()).Seconds())}
	})
	stratifier := func(ctx context.Context, _ time.Time) any { return o.stratifierStats(ctx) }
	connector := func(context.Context, time.Time) any { return Connector(o.Server) }
	r.Ask("stratifierstats", stratifier)
	r.Ask("connectorstats", connector)
	switch {
	case r.Socket == connectorSocket:
		r.Ask("stats", connector)
	case r.Socket == generatorSocket && o.Proxies != nil:
		r.Ask("stats", func(context.Context, time.Time) any { return o.generatorStats() })
	default:
		r.Ask("stats", stratifier)
	}
}

// PoolStats are the statistics of the pool, as far as they can be had without asking the
// loops: all but NoRolling.
func (o *Operator) PoolStats(now time.Time) control.PoolStats {
	st := o.Users.Status(now, users.Sessions{Disconnected: int64(o.Registry.Resumable())})
	total := o.Users.Totals()
	dsps := func(window int) float64 { return st.Hashrate[window] / difficulty.HashesPerDifficulty }
	reply := control.PoolStats{
		Start: control.At(now.Add(-time.Duration(st.Runtime) * time.Second)), Update: control.At(now),
		Workers: st.Workers, Users: st.Users, Disconnected: st.Disconnected, Shares: st.AcceptedCount,
		SPS1: st.SPS[0], SPS5: st.SPS[1], SPS15: st.SPS[2], SPS60: st.SPS[3],
		Accepted: st.Accepted, Rejected: st.Rejected,
		DSPS1: dsps(0), DSPS5: dsps(1), DSPS15: dsps(2), DSPS60: dsps(3), DSPS360: dsps(4), DSPS1440: dsps(5), DSPS10080: dsps(6),
		AcceptedCount: st.AcceptedCount, RejectedCount: st.RejectedCount,
		BestShare: st.BestShare, NetworkDifficulty: st.NetworkDifficulty,
		TotalAccepted: total.Accepted, TotalRejected: total.Rejected, TotalAcceptedCount: total.AcceptedCount, TotalRejectedCount: total.RejectedCount,
	}
	if w := o.Jobs.Newest(); w != nil {
		reply.Height, reply.Work = w.Job.Template.Height, control.At(w.Job.Created)
	}
	return reply
}

// poolStats are all statistics of the pool.
func (o *Operator) poolStats(ctx context.Context, now time.Time) control.PoolStats {
	reply := o.PoolStats(now)
	if n, err := o.Miners.Count(ctx, (*session.Handler).NoRolling); err == nil {
		reply.NoRolling = int64(n)
	}
	return reply
}

// UserRates are hash rates of users, see [users.Users.UserRates].
func (o *Operator) UserRates(now time.Time) iter.Seq2[string, float64] { return o.Users.UserRates(now) }

// WorkerRates are hash rates of workers, see [users.Users.WorkerRates].
func (o *Operator) WorkerRates(now time.Time) iter.Seq2[string, float64] {
	return o.Users.WorkerRates(now)
}

// Sessions are counts of the sessions.
func (o *Operator) Sessions(ctx context.Context) users.Sessions {
	n := users.Sessions{Disconnected: int64(o.Registry.Resumable())}
	if idle, err := o.Miners.Count(ctx, (*session.Handler).Idle); err == nil {
		n.Idle = int64(idle)
	}
	return n
}

func (o *Operator) users(now time.Time) control.UserList {
	list := o.Users.List(now, session.MaxListed)
	reply := control.UserList{Users: make([]control.User, len(list))}
	for i := range list {
		reply.Users[i] = showUser(&list[i])
	}
	return reply
}

func (o *Operator) workers(now time.Time) control.WorkerList {
	list := o.Users.Workers(now, session.MaxListed)
	reply := control.WorkerList{Workers: make([]control.Worker, len(list))}
	for i := range list {
		reply.Workers[i] = showWorker(&list[i])
	}
	return reply
}

// found answers a question about a user or worker, which find looks for.
func found[T any](find func(question) (T, error), reply func(context.Context, *T) (any, error)) func(context.Context, question) (any, error) {
	return func(ctx context.Context, q question) (any, error) {
		v, err := find(q)
		if err != nil {
			return nil, err
		}
		return reply(ctx, &v)
	}
}

// user is getuser={"user":"U"}.
func user(_ context.Context, u *users.User) (any, error) { return showUser(u), nil }

// worker is getworker={"worker":"W"}.
func worker(_ context.Context, w *users.Worker) (any, error) { return showWorker(w), nil }

func (o *Operator) findUser(q question) (users.User, error) {
	name, err := q.name("user")
	if err != nil {
		return users.User{}, err
	}
	u, ok := o.Users.User(name, q.now)
	if !ok {
		err = fmt.Errorf("Failed to find user %s", name)
	}
	return u, err
}

func (o *Operator) findWorker(q question) (users.Worker, error) {
	name, err := q.name("worker")
	if err != nil {
		return users.Worker{}, err
	}
	w, ok := o.Users.Worker(name, q.now)
	if !ok {
		err = fmt.Errorf("Failed to find worker %s", name)
	}
	return w, err
}

func showUser(u *users.User) control.User {
	return control.User{
		User: u.Name, ID: u.ID, Workers: u.Connected, BestDifficulty: u.BestShare,
		Rates: rates(u.Hashrate[:]), DSPS10080: u.Hashrate[4] / difficulty.HashesPerDifficulty,
		LastShare: control.At(u.LastShare), BestEver: u.BestEver,
	}
}

func showWorker(w *users.Worker) control.Worker {
	reply := control.Worker{
		User: w.User, Worker: w.Name, ID: w.UserID, Rates: rates(w.Hashrate[:]),
		LastShare: control.At(w.LastShare), Started: control.At(w.Started),
		BestDifficulty: w.BestShare, Idle: w.Idle, AcceptedShares: w.Rejects.Accepted,
		LastReject: w.Rejects.Last, LastRejected: control.At(w.Rejects.LastTime), BestEver: w.BestEver,
	}
	for _, c := range w.Rejects.Counts {
		reply.Rejects = append(reply.Rejects, control.Count{Name: c.Reason, Count: c.Count})
	}
	return reply
}

func rates(hashrate []float64) control.Rates {
	const one = difficulty.HashesPerDifficulty
	return control.Rates{DSPS1: hashrate[0] / one, DSPS5: hashrate[1] / one, DSPS60: hashrate[2] / one, DSPS1440: hashrate[3] / one}
}

// clients is clients: all connections.
func (o *Operator) clients(ctx context.Context, _ question) (any, error) {
	list, err := o.connections(ctx, func(session.WorkerID) bool { return true })
	return control.ConnectionList{Clients: list}, err
}

// client is getclient={"id":N}.
func (o *Operator) client(ctx context.Context, q question) (any, error) {
	id, err := argument[uint64](q, "id")
	if err != nil {
		return nil, err
	}
	i, ok, err := o.Miners.Session(ctx, id)
	if err == nil && !ok {
		err = fmt.Errorf("Failed to find client %d", id)
	}
	return o.showConnection(&i), err
}

// userClients is userclients={"user":"U"}: the ids of a user's connections.
func (o *Operator) userClients(ctx context.Context, u *users.User) (any, error) {
	ids, err := o.ids(ctx, o.Users.OfUser(u.Name))
	return control.ConnectionIDs{User: u.Name, Clients: ids}, err
}

// workerClients is workerclients={"worker":"W"}.
func (o *Operator) workerClients(ctx context.Context, w *users.Worker) (any, error) {
	ids, err := o.ids(ctx, o.Users.OfWorker(w.Name))
	return control.ConnectionIDs{Worker: w.Name, Clients: ids}, err
}

// userConnections is ucinfo={"user":"U"}.
func (o *Operator) userConnections(ctx context.Context, u *users.User) (any, error) {
	list, err := o.connections(ctx, o.Users.OfUser(u.Name))
	return control.ConnectionList{User: u.Name, Clients: list}, err
}

// workerConnections is wcinfo={"worker":"W"}.
func (o *Operator) workerConnections(ctx context.Context, w *users.Worker) (any, error) {
	list, err := o.connections(ctx, o.Users.OfWorker(w.Name))
	return control.ConnectionList{User: w.User, Clients: list}, err
}

// ids are those of the miners of the workers that match chooses.
func (o *Operator) ids(ctx context.Context, match func(session.WorkerID) bool) ([]uint64, error) {
	list, err := o.Miners.Sessions(ctx, match)
	ids := make([]uint64, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	return ids, err
}

func (o *Operator) connections(ctx context.Context, match func(session.WorkerID) bool) ([]control.Connection, error) {
	list, err := o.Miners.Sessions(ctx, match)
	shown := make([]control.Connection, len(list))
	for i := range list {
		shown[i] = o.showConnection(&list[i])
	}
	return shown, err
}

func (o *Operator) showConnection(i *session.Info) control.Connection {
	return control.Connection{
		ID: i.ID, Extranonce1: i.Extranonce1, Extranonce1Own: i.Extranonce1, Extranonce1Number: extranonceNumber(i.Extranonce1),
		Difficulty: i.Difficulty,
		Rates:      control.Rates{DSPS1: i.DSPS1, DSPS5: i.DSPS5, DSPS60: i.DSPS60, DSPS1440: i.DSPS1440}, DSPS10080: i.DSPS10080,
		LastShare: control.At(i.LastShare), Start: control.At(i.Start), Address: i.Address,
		Subscribed: i.Subscribed, Authorised: i.Authorised, Idle: i.Idle,
		UserAgent: i.UserAgent, Worker: i.WorkerName, UserID: o.Users.UserID(i.Worker),
		Server: i.Listener, BestDifficulty: i.Best, NoRolling: i.NoRolling,
	}
}

// extranonceNumber is extranonce1 as the little-endian number it is counted up
// as, 0 for one that is no hex or longer than eight bytes.
func extranonceNumber(extranonce1 string) int64 {
	var b [8]byte
	if len(extranonce1) > 2*len(b) {
		return 0
	}
	if _, err := hex.Decode(b[:], []byte(extranonce1)); err != nil {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(b[:]))
}

func (o *Operator) blocks() control.BlockList {
	list := o.Blocks.List()
	reply := control.BlockList{Blocks: make([]control.Block, len(list))}
	for i := range list {
		b := &list[i]
		reply.Blocks[i] = control.Block{
			Height: b.Height, Hash: b.Hash, Worker: b.Worker, Difficulty: b.Difficulty, Reward: b.Reward,
			Time: control.At(b.Time), State: b.StateText(), Chain: b.Chain, Work: b.Work,
		}
	}
	return reply
}

// maxBestShares is how many users bestshares lists.
const maxBestShares = 100

func (o *Operator) bestShares() control.BestShareList {
	round, list := o.Users.BestShares(maxBestShares)
	reply := control.BestShareList{BestShare: round, Users: make([]control.BestShares, len(list))}
	for i, b := range list {
		reply.Users[i] = control.BestShares{User: b.User, BestShare: b.Round, BestEver: b.Ever}
	}
	return reply
}

func (o *Operator) rejects() (reply control.RejectCounts) {
	for r, n := range o.Users.Rejects() {
		if r := session.Reason(r); r != session.Accepted && (n > 0 || !r.OfUpstream()) {
			reply.Rejects = append(reply.Rejects, control.Count{Name: r.String(), Count: n})
		}
	}
	return reply
}

// Drops are connections of a server that ended, by reason.
func Drops(s *netserver.Server) (counts control.Counts) {
	st := s.Stats()
	for r := range netserver.Reasons {
		counts = append(counts, control.Count{Name: r.String(), Count: int64(st.Drops[r])})
	}
	return counts
}

func (o *Operator) stratifierStats(ctx context.Context) control.StratifierStats {
	known, _ := o.Users.Known()
	clients := int64(o.Server.Clients())
	shares, _ := o.Miners.Count(ctx, (*session.Handler).Remembered)
	reply := control.StratifierStats{
		Workbases:    made(int64(len(o.Jobs.Recent())), 0, o.Jobs.Made()),
		Users:        control.Objects{Count: known, Memory: o.Users.Memory()},
		Clients:      made(clients, clients*session.Size, int64(o.Server.Stats().Accepted)),
		Disconnected: made(int64(o.Registry.Resumable()), 0, 0),
		Shares:       made(int64(shares), int64(shares)*int64(unsafe.Sizeof(uint64(0))), 0),
	}
	if o.Solo {
		reply.UserWorkbases = new(control.Objects)
	}
	return reply
}

func made(count, memory, generated int64) control.Made {
	return control.Made{Objects: control.Objects{Count: count, Memory: memory}, Generated: generated}
}

func (o *Operator) links() control.LinkList {
	list := o.Links.Status()
	reply := control.LinkList{Links: make([]control.Link, len(list))}
	for i, l := range list {
		reply.Links[i] = control.Link{
			ID: int64(l.Number), Role: l.Role.String(), Address: l.Remote.String(), Program: l.Program, Dialect: int64(l.Dialect),
			Miners: int64(l.Miners), Since: control.At(l.Since),
		}
	}
	return reply
}

// Connector is what a server does.
func Connector(s *netserver.Server) control.ConnectorStats {
	st := s.Stats()
	backlog := func(generated uint64) control.Made {
		return made(int64(st.BacklogClients), int64(st.BacklogBytes), int64(generated))
	}
	return control.ConnectorStats{
		Clients: made(int64(st.Clients), 0, int64(st.Accepted)), Sends: backlog(0), Delays: backlog(st.ReplacedNotifies),
		Entering: made(int64(st.Entering), 0, 0), Drops: Drops(s),
	}
}

// question is a command with its arguments, at a time.
type question struct {
	command, args string
	now           time.Time
}

// argument is one value of a command's JSON object.
func argument[T any](q question, key string) (v T, err error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(q.args), &object); err != nil {
		return v, fmt.Errorf("Failed to JSON decode in %s (1):%w", q.command, err)
	}
	if raw, ok := object[key]; !ok || json.Unmarshal(raw, &v) != nil {
		return v, fmt.Errorf("Failed to find %s key", key)
	}
	return v, nil
}

func (q question) name(key string) (string, error) {
	v, err := argument[string](q, key)
	if err == nil && v == "" {
		err = fmt.Errorf("Zero length %s key", key)
	}
	return v, err
}
