package operator

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
)

// Process is what control commands do to the program around the pool.
type Process struct {
	Shutdown    func()
	Ending      func() bool // Shutdown was called
	SetLogLevel func(level event.Level)
	Reload      func(ctx context.Context) (config.Merged, error)
}

// Commands registers what is about the process, which every instance has. help lists all that
// it has.
func (p Process) Commands(r Registrar, version string, help []control.Command) {
	r.Answer("ping", func(context.Context, string) (string, error) {
		if p.Ending() { // the next one may be starting already
			return exiting, nil
		}
		return "pong", nil
	})
	r.Answer("version", word("ckpool "+version))
	r.Answer("help", word(helpOf(help)))
	r.Act("loglevel", func(_ context.Context, args string) (string, error) { return setLogLevel(p, args), nil })
	r.Act("reload", reload(p))
	r.Act("shutdown", func(context.Context, string) (string, error) {
		p.Shutdown()
		return exiting, nil
	})
}

const exiting = "exiting"

func helpOf(commands []control.Command) string {
	var b strings.Builder
	for _, k := range commands {
		fmt.Fprintf(&b, "%-28s %s\n", strings.TrimSpace(k.Name+" "+k.Args), k.Text)
	}
	return b.String()
}

func word(reply string) handler {
	return func(context.Context, string) (string, error) { return reply, nil }
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

type handler = func(ctx context.Context, args string) (string, error)

// Registrar registers commands on one socket. Commands are found by prefix, so that longer
// ones come before shorter ones. All fields are immutable.
type Registrar struct {
	Server *control.Server
	Events event.Func
	Socket string
}

// Answer registers a command that changes nothing.
func (r Registrar) Answer(prefix string, h handler) { r.Server.Handle(r.Socket, prefix, h) }

// Ask registers a question without arguments.
func (r Registrar) Ask(prefix string, reply func(ctx context.Context, now time.Time) any) {
	r.Answer(prefix, func(ctx context.Context, _ string) (string, error) {
		return control.Encode(reply(ctx, time.Now())), nil
	})
}

// about registers a question about something.
func (r Registrar) about(prefix string, reply func(ctx context.Context, q question) (any, error)) {
	r.Answer(prefix, encoded(prefix, reply))
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

// Act registers a command that does something: it is logged.
func (r Registrar) Act(prefix string, h handler) {
	r.actShowing(prefix, func(args string) string { return args }, h)
}

// actShowing is Act for arguments that are not logged as they are but as show says.
func (r Registrar) actShowing(prefix string, show func(args string) string, h handler) {
	const longest = 200 // bytes of the arguments
	r.Answer(prefix, func(ctx context.Context, args string) (string, error) {
		reply, err := h(ctx, args)
		shown := show(args)
		line := fmt.Sprintf("Control: %s %.*q", prefix, longest, shown)
		if args == "" {
			line = "Control: " + prefix
		}
		switch {
		case err != nil:
			text := err.Error()
			if args != "" {
				text = strings.ReplaceAll(text, args, shown)
			}
			line += " failed: " + text
		case control.Failed(reply):
			line += " failed: " + reply
		}
		r.Events.Say(event.Notice, line)
		return reply, err
	})
}
