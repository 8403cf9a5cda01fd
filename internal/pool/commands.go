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
	"ckpool/internal/netserver"
	"ckpool/internal/session"
	"ckpool/sharelog"
)

// Process is what control commands do to the program around the pool.
type Process struct {
	Shutdown    func()
	SetLogLevel func(level int)
}

// Sockets are the control sockets of an instance, by historical component; all
// answer the same commands, "stats" excepted.
var Sockets = []string{"listener", "stratifier", "generator", "connector"}

type handler = func(ctx context.Context, args string) (string, error)

// Commands registers the pool's commands with a control server.
func (p *Pool) Commands(s *control.Server, process Process) {
	for _, socket := range Sockets {
		handle := func(prefix string, h handler) { s.Handle(socket, prefix, h) }
		handle("ping", word("pong"))
		handle("shutdown", func(context.Context, string) (string, error) {
			process.Shutdown()
			return "exiting", nil
		})
		handle("loglevel", func(_ context.Context, args string) (string, error) { return setLogLevel(process, args), nil })
		s.HandleFD(socket, "getxfd", p.listenerFD)
		handle("accept", p.effect("accepting", p.server.Resume))
		handle("reject", p.effect("rejecting", p.server.Pause))
		handle("reconnect:", p.reconnectTo)
		handle("reconnclient", p.reconnectClient)
		handle("reconnect", p.reconnectTo)
		handle("dropall", p.dropAll)
		handle("dropclient", p.dropClient)
		handle("resetshares", p.effect("resetting", p.ResetRound))
		handle("update", p.effect("updating", func() { p.nodes.Refresh("operator") }))
		handle("message:", p.messageClient)
		handle("message", p.messageAll)
		handle("uptime", p.answer(func(q Queries, _ string, now time.Time) []byte { return q.Uptime(now) }))
		handle("version", word("ckpool "+p.options.Version))
		p.queryCommands(handle)
		p.nodeCommands(handle)
		stats := p.stratifierStats
		if socket == "connector" {
			stats = p.connectorStats
		}
		handle("stratifierstats", p.stratifierStats)
		handle("connectorstats", p.connectorStats)
		handle("stats", stats)
		handle("help", word(help))
	}
}

// help lists the commands, one to a word, as one line.
const help = "ping shutdown loglevel=N getxfdN accept reject reconnect[:HOST,PORT] reconnclient=ID dropall dropclient=ID " +
	"resetshares update message=TEXT message:ID=TEXT uptime version users workers clients getuser={\"user\":U} " +
	"getworker={\"worker\":W} getclient={\"id\":N} userclients={\"user\":U} workerclients={\"worker\":W} ucinfo={\"user\":U} " +
	"wcinfo={\"worker\":W} poolstats blocks nodes getbest getlast stats stratifierstats connectorstats help"

func word(reply string) handler {
	return func(context.Context, string) (string, error) { return reply, nil }
}

func (p *Pool) effect(reply string, do func()) handler {
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

// listenerFD is listening socket number n, in the order of the configuration.
func (p *Pool) listenerFD(_ context.Context, n int) (*os.File, error) {
	listeners := p.server.Listeners()
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

func (p *Pool) reconnectTo(ctx context.Context, args string) (string, error) {
	host, port, ok := strings.Cut(args, ",")
	if !ok && args != "" {
		return "", errors.New("want reconnect:HOST,PORT")
	}
	_, err := p.Reconnect(ctx, 0, host, port)
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

func (p *Pool) reconnectClient(ctx context.Context, args string) (string, error) {
	return client(args, func(id uint64) (int, error) { return p.Reconnect(ctx, id, "", "") })
}

func (p *Pool) dropClient(ctx context.Context, args string) (string, error) {
	return client(args, func(id uint64) (int, error) { return p.Drop(ctx, id, netserver.Dropped) })
}

func (p *Pool) dropAll(ctx context.Context, _ string) (string, error) {
	_, err := p.Drop(ctx, 0, netserver.Dropped)
	return "dropping all", err
}

func (p *Pool) messageAll(ctx context.Context, args string) (string, error) {
	if args == "" {
		return "", errors.New("want message=TEXT")
	}
	n, err := p.Message(ctx, 0, args)
	return fmt.Sprintf("sent to %d", n), err
}

func (p *Pool) messageClient(ctx context.Context, args string) (string, error) {
	id, text, ok := strings.Cut(args, "=")
	if !ok || text == "" {
		return "", errors.New("want message:ID=TEXT")
	}
	return client(id, func(id uint64) (int, error) { return p.Message(ctx, id, text) })
}

// answer is a command that asks the statistics.
func (p *Pool) answer(ask func(q Queries, args string, now time.Time) []byte) handler {
	return func(_ context.Context, args string) (string, error) {
		return string(ask(Queries{p.State}, args, time.Now())), nil
	}
}

// about is a command that needs the sessions.
func (p *Pool) about(ask func(q Queries, args string, all []session.Info) []byte) handler {
	return func(ctx context.Context, args string) (string, error) {
		all, err := p.Sessions(ctx)
		if err != nil {
			return "", err
		}
		return string(ask(Queries{p.State}, args, all)), nil
	}
}

// queryCommands registers what asks about users, workers and miners; longer
// prefixes come first.
func (p *Pool) queryCommands(handle func(string, handler)) {
	handle("userclients", p.about(Queries.UserClients))
	handle("workerclients", p.about(Queries.WorkerClients))
	handle("clients", p.about(func(q Queries, _ string, all []session.Info) []byte { return q.Clients(all) }))
	handle("getclient", p.about(Queries.GetClient))
	handle("ucinfo", p.about(Queries.UserClientInfo))
	handle("wcinfo", p.about(Queries.WorkerClientInfo))
	handle("getuser", p.answer(Queries.GetUser))
	handle("getworker", p.answer(Queries.GetWorker))
	handle("users", p.answer(func(q Queries, _ string, now time.Time) []byte { return q.Users(now) }))
	handle("workers", p.answer(func(q Queries, _ string, now time.Time) []byte { return q.Workers(now) }))
	handle("blocks", p.answer(func(q Queries, _ string, _ time.Time) []byte { return q.Blocks(p.blocks) }))
	handle("poolstats", func(ctx context.Context, _ string) (string, error) {
		return string(Queries{p.State}.PoolStats(time.Now(), p.counts(ctx))), nil
	})
}

func (p *Pool) stratifierStats(ctx context.Context, _ string) (string, error) {
	return string(Queries{p.State}.Stats(StratifierStats{
		Workbases:    p.jobs.objects(),
		Clients:      Objects{Count: int64(p.server.Clients()), Memory: int64(p.server.Clients()) * session.Size, Generated: int64(p.server.Stats().Accepted)},
		Disconnected: Objects{Count: p.resumable.Load()},
		Shares:       p.sharesRemembered(ctx),
	})), nil
}

func (p *Pool) sharesRemembered(ctx context.Context) Objects {
	n, _ := p.countOnLoops(ctx, (*session.Handler).Remembered)
	return Objects{Count: int64(n), Memory: int64(n) * int64(unsafe.Sizeof(uint64(0)))}
}

// connectorStats is the connections: those of old, then drops by reason and
// what slow clients cost.
func (p *Pool) connectorStats(context.Context, string) (string, error) {
	st := p.server.Stats()
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
func (p *Pool) nodeCommands(handle func(string, handler)) {
	handle("nodes", func(context.Context, string) (string, error) { return p.nodesReply(), nil })
	best := func(context.Context, string) (string, error) {
		if w := p.Work(); w != nil {
			return display(w.Job.Template.PrevHash), nil
		}
		return "failed", nil
	}
	handle("getbest", best)
	handle("getlast", best)
}

func (p *Pool) nodesReply() string {
	var list []byte
	for i, n := range p.nodes.Status() {
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
