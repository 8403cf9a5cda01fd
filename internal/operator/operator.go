// Package operator is what people and programs ask and tell a running pool: the
// control commands, and the words of console and log about the whole. It shows
// the other parts through their own views and knows none of their insides.
package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"ckpool/control"
	"ckpool/event"
	"ckpool/internal/blocks"
	"ckpool/internal/config"
	"ckpool/internal/jobs"
	"ckpool/internal/journal"
	"ckpool/internal/netserver"
	"ckpool/internal/relay"
	"ckpool/internal/session"
	"ckpool/internal/users"
)

// Operator answers for a pool. All fields are immutable.
type Operator struct {
	Version   string
	Solo      bool
	Users     *users.Users
	Jobs      *jobs.Jobs
	Blocks    *blocks.Blocks
	Source    jobs.Source
	Node      func() Node                   // that work comes from at present; nil: from none
	Proxies   Proxies                       // that work comes from; nil: it comes from nodes
	Journal   func() (journal.Status, bool) // false: there is none
	Miners    *session.Miners
	Registry  *session.Registry
	Server    *netserver.Server
	Links     *relay.Links
	Admission *Admission
	Events    event.Func
}

// Process is what control commands do to the program around the pool.
type Process struct {
	Shutdown    func()
	SetLogLevel func(level event.Level)
	Reload      func(ctx context.Context) (config.Merged, error)
}

// Control sockets of an instance, by historical component.
const (
	listenerSocket   = "listener"
	stratifierSocket = "stratifier"
	generatorSocket  = "generator"
	connectorSocket  = "connector"
)

// Sockets are all control sockets. All answer the same commands, but for the
// few where the component decides what is meant.
var Sockets = []string{listenerSocket, stratifierSocket, generatorSocket, connectorSocket}

type handler = func(ctx context.Context, args string) (string, error)

// registrar registers commands on one socket.
type registrar struct {
	server *control.Server
	events event.Func
	socket string
}

// answer registers a command that changes nothing.
func (r registrar) answer(prefix string, h handler) { r.server.Handle(r.socket, prefix, h) }

// ask registers a question without arguments.
func (r registrar) ask(prefix string, reply func(ctx context.Context, now time.Time) any) {
	r.answer(prefix, func(ctx context.Context, _ string) (string, error) {
		return control.Encode(reply(ctx, time.Now())), nil
	})
}

// about registers a question about something.
func (r registrar) about(prefix string, reply func(ctx context.Context, q question) (any, error)) {
	r.answer(prefix, encoded(prefix, reply))
}

// encoded answers with an object.
func encoded(prefix string, reply func(ctx context.Context, q question) (any, error)) handler {
	return func(ctx context.Context, args string) (string, error) {
		v, err := reply(ctx, question{prefix, args, time.Now()})
		if err != nil {
			return "", err
		}
		return control.Encode(v), nil
	}
}

// act registers a command that does something: it is logged.
func (r registrar) act(prefix string, h handler) {
	r.actShowing(prefix, func(args string) string { return args }, h)
}

// actShowing is act for arguments that are not logged as they are but as show says.
func (r registrar) actShowing(prefix string, show func(args string) string, h handler) {
	const longest = 200 // bytes of the arguments
	r.answer(prefix, func(ctx context.Context, args string) (string, error) {
		reply, err := h(ctx, args)
		shown := show(args)
		line := fmt.Sprintf("Control: %s %.*q", prefix, longest, shown)
		if args == "" {
			line = "Control: " + prefix
		}
		switch {
		case err != nil:
			line += " failed: " + strings.ReplaceAll(err.Error(), args, shown)
		case control.Failed(reply):
			line += " failed: " + reply
		}
		r.events.Say(event.Notice, line)
		return reply, err
	})
}

// Commands registers the pool's commands with a control server. Commands are
// found by prefix, so that longer ones come before shorter ones.
func (o *Operator) Commands(s *control.Server, p Process) {
	for _, socket := range Sockets {
		r := registrar{s, o.Events, socket}
		o.process(r, p)
		o.statistics(r)
		o.toMiners(r)
		o.nodes(r)
		o.proxies(r)
		r.answer("{", o.sendObject(socket))
	}
}

func (o *Operator) process(r registrar, p Process) {
	r.answer("ping", word("pong"))
	r.answer("version", word("ckpool "+o.Version))
	r.answer("help", word(o.help()))
	r.act("loglevel", func(_ context.Context, args string) (string, error) { return setLogLevel(p, args), nil })
	r.act("reload", reload(p))
	r.act("shutdown", func(context.Context, string) (string, error) {
		p.Shutdown()
		return "exiting", nil
	})
	r.answer("ckdbflush", word("flushing")) // there is nothing to flush
	r.server.HandleFD(r.socket, "getxfd", o.listener)
	r.server.HandleFD(r.socket, "getfd", o.listener)
}

func (o *Operator) help() string {
	commands := control.PoolCommands()
	if o.Proxies != nil {
		commands = control.Commands()
	}
	var b strings.Builder
	for _, k := range commands {
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

func setLogLevel(p Process, args string) string {
	n, err := strconv.Atoi(strings.TrimSpace(args))
	switch {
	case err != nil:
		return "Failed"
	case n < 0 || n > 7:
		return "Invalid"
	}
	p.SetLogLevel(event.Level(n))
	return "success"
}

// reload reads the configuration again and tells which keys changed.
func reload(p Process) handler {
	return func(ctx context.Context, _ string) (string, error) {
		m, err := p.Reload(ctx)
		if err != nil {
			return "", err
		}
		return control.Encode(control.Reloaded{Changed: m.Changed, Restart: m.Restart}), nil
	}
}

// listener is listening socket number n, in the order of the configuration.
func (o *Operator) listener(_ context.Context, n int) (*os.File, error) {
	listeners := o.Server.Listeners()
	if n < 0 || n >= len(listeners) {
		o.Events.Say(event.Warning, fmt.Sprintf("Connector asked to send invalid fd %d", n))
		return nil, fmt.Errorf("no listening socket %d", n)
	}
	files, err := listeners[n].Files()
	if err != nil {
		return nil, err
	}
	for _, f := range files[1:] {
		f.Close()
	}
	o.Admission.GaveSocket()
	return files[0], nil
}
