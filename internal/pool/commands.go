package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"ckpool/control"
	"ckpool/internal/config"
	"ckpool/internal/netserver"
	"ckpool/internal/session"
	"ckpool/sharelog"
)

// Process is what control commands do to the program around the pool.
type Process struct {
	Shutdown    func()
	SetLogLevel func(level int)
	Reload      func(ctx context.Context) (config.Merged, error)
}

// Sockets are the control sockets of an instance, by historical component; all
// answer the same commands, "stats" excepted.
var Sockets = []string{"listener", "stratifier", "generator", "connector"}

// commands are the answers to control commands.
type commands struct{ *Pool }

type handler = func(ctx context.Context, args string) (string, error)

// Commands registers the pool's commands with a control server.
func (p *Pool) Commands(s *control.Server, process Process) {
	c := commands{p}
	for _, socket := range Sockets {
		handle := func(prefix string, h handler) { s.Handle(socket, prefix, h) }
		handle("ping", word("pong"))
		handle("shutdown", func(context.Context, string) (string, error) {
			process.Shutdown()
			return "exiting", nil
		})
		handle("loglevel", func(_ context.Context, args string) (string, error) { return setLogLevel(process, args), nil })
		handle("reload", reload(process))
		s.HandleFD(socket, "getxfd", c.listenerFD)
		handle("accept", c.effect("accepting", func() { c.refuse(&c.rejecting, false) }))
		handle("reject", c.effect("rejecting", func() { c.refuse(&c.rejecting, true) }))
		handle("reconnect:", c.reconnectTo)
		handle("reconnclient", c.reconnectClient)
		handle("reconnect", c.reconnectTo)
		handle("dropall", c.dropAll)
		handle("dropclient", c.dropClient)
		handle("resetshares", c.effect("resetting", c.ResetRound))
		handle("update", c.effect("updating", func() { c.nodes.Refresh("operator") }))
		handle("message:", c.messageClient)
		handle("message", c.messageAll)
		handle("uptime", c.answer(func(q Queries, _ string, now time.Time) []byte { return q.Uptime(now) }))
		handle("version", word("ckpool "+c.options.Version))
		c.queryCommands(handle)
		handle("block", c.effect("updating", func() { c.nodes.Refresh("operator") })) // after "blocks"
		c.nodeCommands(handle)
		stats := c.stratifierStats
		if socket == "connector" {
			stats = c.connectorStats
		}
		handle("stratifierstats", c.stratifierStats)
		handle("connectorstats", c.connectorStats)
		handle("stats", stats)
		handle("help", word(help))
	}
}

// help lists the commands, one to a word, as one line.
const help = "ping shutdown reload loglevel=N getxfdN accept reject reconnect[:HOST,PORT] reconnclient=ID dropall dropclient=ID " +
	"resetshares update message=TEXT message:ID=TEXT uptime version users workers clients getuser={\"user\":U} " +
	"getworker={\"worker\":W} getclient={\"id\":N} userclients={\"user\":U} workerclients={\"worker\":W} ucinfo={\"user\":U} " +
	"wcinfo={\"worker\":W} poolstats blocks nodes getbest getlast stats stratifierstats connectorstats help"

func word(reply string) handler {
	return func(context.Context, string) (string, error) { return reply, nil }
}

func (c commands) effect(reply string, do func()) handler {
	return func(context.Context, string) (string, error) {
		do()
		return reply, nil
	}
}

func setLogLevel(process Process, args string) string {
	n, err := strconv.Atoi(strings.TrimSpace(args))
	switch {
	case err != nil:
		return "Failed"
	case n < 0 || n > 7:
		return "Invalid"
	}
	process.SetLogLevel(n)
	return "success"
}

// reload reads the configuration again and tells which keys changed.
func reload(process Process) handler {
	return func(ctx context.Context, _ string) (string, error) {
		m, err := process.Reload(ctx)
		if err != nil {
			return "", err
		}
		key := func(b []byte, k string) []byte { return sharelog.AppendString(b, k) }
		o := sharelog.NewObject(nil)
		o.Raw("changed", array(m.Changed, key))
		o.Raw("restart", array(m.Restart, key))
		return string(o.Close()), nil
	}
}

// listenerFD is listening socket number n, in the order of the configuration.
func (c commands) listenerFD(_ context.Context, n int) (*os.File, error) {
	listeners := c.server.Listeners()
	if n < 0 || n >= len(listeners) {
		return nil, fmt.Errorf("no listening socket %d", n)
	}
	files, err := listeners[n].Files()
	if err != nil {
		return nil, err
	}
	for _, f := range files[1:] {
		f.Close()
	}
	return files[0], nil
}

func (c commands) reconnectTo(ctx context.Context, args string) (string, error) {
	host, port, ok := strings.Cut(args, ",")
	if !ok && args != "" {
		return "", errors.New("want reconnect:HOST,PORT")
	}
	_, err := c.Reconnect(ctx, 0, host, port)
	return "reconnecting", err
}

// client parses an id and turns "nobody" into an error.
func client(args string, do func(id uint64) (int, error)) (string, error) {
	id, err := strconv.ParseUint(strings.TrimSpace(args), 10, 64)
	if err != nil || id == 0 {
		return "", fmt.Errorf("want a client id, got %q", args)
	}
	n, err := do(id)
	if err == nil && n == 0 {
		err = fmt.Errorf("Failed to find client %d", id)
	}
	return "", err
}

func (c commands) reconnectClient(ctx context.Context, args string) (string, error) {
	return client(args, func(id uint64) (int, error) { return c.Reconnect(ctx, id, "", "") })
}

func (c commands) dropClient(ctx context.Context, args string) (string, error) {
	return client(args, func(id uint64) (int, error) { return c.Drop(ctx, id, netserver.Dropped) })
}

func (c commands) dropAll(ctx context.Context, _ string) (string, error) {
	_, err := c.Drop(ctx, 0, netserver.Dropped)
	return "dropping all", err
}

func (c commands) messageAll(ctx context.Context, args string) (string, error) {
	if args == "" {
		return "", errors.New("want message=TEXT")
	}
	n, err := c.Message(ctx, 0, args)
	return fmt.Sprintf("sent to %d", n), err
}

func (c commands) messageClient(ctx context.Context, args string) (string, error) {
	id, text, ok := strings.Cut(args, "=")
	if !ok || text == "" {
		return "", errors.New("want message:ID=TEXT")
	}
	return client(id, func(id uint64) (int, error) { return c.Message(ctx, id, text) })
}

// answer is a command that asks the statistics.
func (c commands) answer(ask func(q Queries, args string, now time.Time) []byte) handler {
	return func(_ context.Context, args string) (string, error) {
		return string(ask(Queries{c.State}, args, time.Now())), nil
	}
}

// about is a command that needs the sessions.
func (c commands) about(ask func(q Queries, args string, all []session.Info) []byte) handler {
	return func(ctx context.Context, args string) (string, error) {
		all, err := c.Sessions(ctx)
		if err != nil {
			return "", err
		}
		return string(ask(Queries{c.State}, args, all)), nil
	}
}

// queryCommands registers what asks about users, workers and miners; longer
// prefixes come first.
func (c commands) queryCommands(handle func(string, handler)) {
	handle("userclients", c.about(Queries.UserClients))
	handle("workerclients", c.about(Queries.WorkerClients))
	handle("clients", c.about(func(q Queries, _ string, all []session.Info) []byte { return q.Clients(all) }))
	handle("getclient", c.about(Queries.GetClient))
	handle("ucinfo", c.about(Queries.UserClientInfo))
	handle("wcinfo", c.about(Queries.WorkerClientInfo))
	handle("getuser", c.answer(Queries.GetUser))
	handle("getworker", c.answer(Queries.GetWorker))
	handle("users", c.answer(func(q Queries, _ string, now time.Time) []byte { return q.Users(now) }))
	handle("workers", c.answer(func(q Queries, _ string, now time.Time) []byte { return q.Workers(now) }))
	handle("blocks", c.answer(func(q Queries, _ string, _ time.Time) []byte { return q.Blocks(c.blocks) }))
	handle("poolstats", func(ctx context.Context, _ string) (string, error) {
		return string(Queries{c.State}.PoolStats(time.Now(), c.counts(ctx, time.Now()))), nil
	})
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

// connectorStats is the connections: those of old, then drops by reason and
// what slow clients cost.
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
	drops := sharelog.NewObject(nil)
	for r := range netserver.Reasons {
		drops.Int(r.String(), int64(st.Drops[r]))
	}
	o.Raw("drops", drops.Close())
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
	o.Generated = int64(j.next & 0xffffffff)
	return o
}

// nodeCommands registers what asks about the nodes.
func (c commands) nodeCommands(handle func(string, handler)) {
	handle("nodes", func(context.Context, string) (string, error) { return c.nodesReply(), nil })
	best := func(context.Context, string) (string, error) {
		if w := c.Work(); w != nil {
			return display(w.Job.Template.PrevHash), nil
		}
		return "failed", nil
	}
	handle("getbest", best)
	handle("getlast", best)
}

func (c commands) nodesReply() string {
	var list []byte
	for i, n := range c.nodes.Status() {
		if i > 0 {
			list = append(list, ", "...)
		}
		e := sharelog.NewObject(list)
		e.String("url", n.URL)
		e.String("state", n.State)
		e.String("reason", n.Reason)
		e.String("version", n.Version)
		e.Bool("current", n.Current)
		e.Int("height", n.Height)
		e.Real("latency_ms", float64(n.Latency.Microseconds())/1000, 6)
		list = e.Close()
	}
	o := sharelog.NewObject(nil)
	o.Raw("nodes", append(append([]byte{'['}, list...), ']'))
	return string(o.Close())
}
