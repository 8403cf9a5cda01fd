package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"ckpool/control"
	"ckpool/internal/config"
	"ckpool/internal/logfile"
	"ckpool/internal/session"
	"ckpool/sharelog"
)

// Process is what control commands do to the program around the pool.
type Process struct {
	Shutdown    func()
	SetLogLevel func(level int)
	Reload      func(ctx context.Context) (config.Merged, error)
}

// Control sockets of an instance, by historical component.
const (
	listener   = "listener"
	stratifier = "stratifier"
	generator  = "generator"
	connector  = "connector"
)

// Sockets are all control sockets. All answer the same commands, but for the
// few where the component decides what is meant.
var Sockets = []string{listener, stratifier, generator, connector}

// commands are the answers to control commands.
type commands struct{ *Pool }

type handler = func(ctx context.Context, args string) (string, error)

// registrar registers commands on one socket.
type registrar struct {
	server *control.Server
	pool   *Pool
	socket string
}

// answer registers a command that changes nothing.
func (r registrar) answer(prefix string, h handler) { r.server.Handle(r.socket, prefix, h) }

// act registers a command that does: it is logged.
func (r registrar) act(prefix string, h handler) {
	const longest = 200 // bytes of the arguments
	r.answer(prefix, func(ctx context.Context, args string) (string, error) {
		reply, err := h(ctx, args)
		line := fmt.Sprintf("Control: %s %.*q", prefix, longest, args)
		if args == "" {
			line = "Control: " + prefix
		}
		switch {
		case err != nil:
			line += " failed: " + err.Error()
		case control.Failed(reply):
			line += " failed: " + reply
		}
		r.pool.logAt(logfile.LevelNotice, line)
		return reply, err
	})
}

// Commands registers the pool's commands with a control server. Commands are
// found by prefix, so that longer ones come before shorter ones.
func (p *Pool) Commands(s *control.Server, process Process) {
	c := commands{p}
	for _, socket := range Sockets {
		r := registrar{s, p, socket}
		c.processCommands(r, process)
		c.statisticsCommands(r)
		c.minerCommands(r)
		c.nodeCommands(r)
		proxyCommands(r)
		r.answer("{", c.sendObject(socket))
	}
}

func (c commands) processCommands(r registrar, process Process) {
	r.answer("ping", word("pong"))
	r.answer("version", word("ckpool "+c.options.Version))
	r.answer("uptime", c.ask(func(q Queries, _ string, now time.Time) []byte { return q.Uptime(now) }))
	r.answer("help", word(help()))
	r.act("loglevel", func(_ context.Context, args string) (string, error) { return setLogLevel(process, args), nil })
	r.act("reload", reload(process))
	r.act("shutdown", func(context.Context, string) (string, error) {
		process.Shutdown()
		return "exiting", nil
	})
	r.answer("ckdbflush", word("flushing")) // there is nothing to flush
	r.server.HandleFD(r.socket, "getxfd", c.listenerFD)
	r.server.HandleFD(r.socket, "getfd", c.listenerFD)
}

// help lists the commands.
func help() string {
	var b strings.Builder
	for _, k := range control.PoolCommands() {
		fmt.Fprintf(&b, "%-28s %s\n", strings.TrimSpace(k.Name+" "+k.Args), k.Text)
	}
	return b.String()
}

func word(reply string) handler {
	return func(context.Context, string) (string, error) { return reply, nil }
}

func refuse(text string) handler {
	return func(context.Context, string) (string, error) { return "", errors.New(text) }
}

func effect(reply string, do func()) handler {
	return func(context.Context, string) (string, error) {
		do()
		return reply, nil
	}
}

// ask is a command that asks the statistics.
func (c commands) ask(question func(q Queries, args string, now time.Time) []byte) handler {
	return func(_ context.Context, args string) (string, error) {
		return string(question(Queries{c.State}, args, time.Now())), nil
	}
}

// about is a command that needs the sessions of the workers that which chooses.
func (c commands) about(
	question func(q Queries, args string, all []session.Info) []byte, which func(q Queries, args string) func(session.WorkerID) bool,
) handler {
	return func(ctx context.Context, args string) (string, error) {
		all, err := c.Sessions(ctx, which(Queries{c.State}, args))
		if err != nil {
			return "", err
		}
		return string(question(Queries{c.State}, args, all)), nil
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
		c.logAt(logfile.LevelWarning, fmt.Sprintf("Connector asked to send invalid fd %d", n))
		return nil, fmt.Errorf("no listening socket %d", n)
	}
	files, err := listeners[n].Files()
	if err != nil {
		return nil, err
	}
	for _, f := range files[1:] {
		f.Close()
	}
	c.refuse(&c.shared, true)
	return files[0], nil
}

// proxyCommands answers what only an instance with upstream pools can do.
func proxyCommands(r registrar) {
	r.answer("proxyinfo", word(`{"proxies": []}`))
	r.answer("getproxy", noProxy("getproxy", "id"))
	r.answer("setproxy", noProxy("setproxy", "id", "priority"))
	for _, prefix := range []string{
		"list", "sublist", "addproxy", "delproxy", "enableproxy", "disableproxy", "proxystats", "subproxystats",
		"recruit", "dropproxy",
	} {
		r.answer(prefix, refuse(prefix+": this instance mines from nodes, it has no upstream pools"))
	}
}

// noProxy looks for a proxy and finds none.
func noProxy(command string, keys ...string) handler {
	return func(_ context.Context, args string) (string, error) {
		var id int64
		for _, key := range keys {
			v, answer := argument[int64](command, args, key)
			if answer != nil {
				return string(answer), nil
			}
			if key == "id" {
				id = v
			}
		}
		if sub, answer := argument[int64](command, args, "subid"); answer == nil {
			return "", fmt.Errorf("Failed to find proxy %d:%d", id, sub)
		}
		return "", fmt.Errorf("Failed to find proxy %d", id)
	}
}
