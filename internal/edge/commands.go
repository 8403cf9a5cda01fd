package edge

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/operator"
	"github.com/ckpool/ckpool/internal/relay"
)

// mostListed is how many miners a list has at most.
const mostListed = 100_000

// Commands registers the instance's commands with a control server.
func (e *Edge) Commands(s *control.Server, p operator.Process) {
	for _, socket := range operator.Sockets {
		r := operator.Registrar{Server: s, Events: e.events, Socket: socket}
		p.Commands(r, e.options.Version, e.commands())
		if e.node != nil {
			(&operator.Operator{Users: e.node.users, Source: e.node.group}).OfNode(r)
		}
		r.Ask("uptime", func(_ context.Context, now time.Time) any {
			return control.Uptime{Seconds: int64(now.Sub(e.began).Seconds())}
		})
		connector := func(context.Context, time.Time) any { return operator.Connector(e.server) }
		r.Ask("connectorstats", connector)
		r.Ask("stats", connector)
		r.Ask("drops", func(context.Context, time.Time) any { return control.DropCounts{Drops: operator.Drops(e.server)} })
		r.Ask("list", func(context.Context, time.Time) any { return e.list() })
		r.Answer("clients", e.clients)
		e.without(r)
		e.admission.Commands(r)
		r.Act("reconnclient", e.toClient(func(h *relay.EdgeHandler, slot netserver.Slot) { h.Reconnect(slot, "", "") }))
		r.Act("reconnect:", e.reconnect)
		r.Act("reconnect", e.reconnect)
		r.Act("dropall", func(ctx context.Context, _ string) (string, error) {
			return "dropping all", e.all(ctx, (*relay.EdgeHandler).Drop)
		})
		r.Act("dropclient", e.toClient((*relay.EdgeHandler).Drop))
	}
}

// commands are those that it has.
func (e *Edge) commands() []control.Command {
	if e.node != nil {
		return control.NodeCommands()
	}
	return control.EdgeCommands()
}

// without refuses in words what only a pool can answer.
func (e *Edge) without(r operator.Registrar) {
	has := e.commands()
	for _, c := range control.Commands() {
		if !slices.ContainsFunc(has, func(k control.Command) bool { return k.Name == c.Name }) {
			r.Answer(c.Name, func(context.Context, string) (string, error) {
				return "", errors.New(c.Name + ": this is a " + e.mode() + ", which brings miners to the pools that list shows: ask these")
			})
		}
	}
}

// list is list: the pools.
func (e *Edge) list() (reply control.UpstreamList) {
	for _, u := range e.relay.Upstreams() {
		k := control.Upstream{URL: u.URL, Alive: u.Up, Active: u.Active, Changed: control.At(u.Since), Dialect: u.Dialect, Clients: u.Miners}
		switch {
		case u.Up:
		case u.Err != nil:
			k.Reason = u.Err.Error()
		default:
			k.Reason = "not tried yet"
		}
		reply.Upstreams = append(reply.Upstreams, k)
	}
	return reply
}

// clients is clients: all miners, by id. Loops serve them between the parts of the list.
func (e *Edge) clients(ctx context.Context, _ string) (string, error) {
	var all []relay.Info
	if err := e.parts(ctx, func(h *relay.EdgeHandler, next netserver.Slot) (netserver.Slot, bool) {
		if len(all) >= mostListed {
			return next, false
		}
		var more bool
		all, next, more = h.Miners(all, next)
		return next, more
	}); err != nil {
		return "", err
	}
	slices.SortFunc(all, func(a, b relay.Info) int { return cmp.Compare(a.ID, b.ID) })
	list := control.PassedList{Clients: []control.Passed{}}
	for _, m := range all[:min(len(all), mostListed)] {
		list.Clients = append(list.Clients, control.Passed{
			ID: uint64(m.ID), Address: m.Address.Addr().String(), Worker: m.User, UserAgent: m.Agent, Subscribed: m.Subscribed, Authorised: m.Authorised,
			Redirected: m.Redirected, Upstream: m.Pool, Server: m.Server,
		})
	}
	return control.Encode(list), nil
}

// parts has each loop do parts of something, one after another. do is called for one at a
// time, with where its part begins, and returns where the next one does.
func (e *Edge) parts(ctx context.Context, do func(h *relay.EdgeHandler, next netserver.Slot) (then netserver.Slot, more bool)) error {
	type part struct {
		then netserver.Slot
		more bool
	}
	for i, l := range e.server.Loops() {
		for at := (part{more: true}); at.more; {
			done := make(chan part, 1)
			l.Post(func() {
				var p part
				p.then, p.more = do(e.relay.Handlers()[i], at.then)
				done <- p
			})
			select {
			case at = <-done:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// all does something to all miners.
func (e *Edge) all(ctx context.Context, do func(h *relay.EdgeHandler, slot netserver.Slot)) error {
	return e.parts(ctx, func(h *relay.EdgeHandler, next netserver.Slot) (netserver.Slot, bool) {
		return h.Each(next, func(slot netserver.Slot) { do(h, slot) })
	})
}

// onLoops has every loop do something and gives what each returns, in no order.
func onLoops[T any](ctx context.Context, e *Edge, do func(h *relay.EdgeHandler) T) (all []T, err error) {
	done := make(chan T, len(e.server.Loops()))
	for i, l := range e.server.Loops() {
		l.Post(func() { done <- do(e.relay.Handlers()[i]) })
	}
	for range e.server.Loops() {
		select {
		case v := <-done:
			all = append(all, v)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return all, nil
}

// reconnect is reconnect, perhaps to HOST,PORT.
func (e *Edge) reconnect(ctx context.Context, args string) (string, error) {
	host, port, err := operator.Target(args)
	if err != nil {
		return "", err
	}
	return "reconnecting", e.all(ctx, func(h *relay.EdgeHandler, slot netserver.Slot) { h.Reconnect(slot, host, port) })
}

// toClient does something to one miner, by its id.
func (e *Edge) toClient(do func(h *relay.EdgeHandler, slot netserver.Slot)) func(ctx context.Context, args string) (string, error) {
	return func(ctx context.Context, args string) (string, error) {
		return operator.ToClient(args, func(id uint64) (n int, err error) {
			if id > 1<<32-1 {
				return 0, nil
			}
			here, err := onLoops(ctx, e, func(h *relay.EdgeHandler) bool {
				return h.Do(uint32(id), func(slot netserver.Slot) { do(h, slot) })
			})
			for _, is := range here {
				if is {
					n++
				}
			}
			return n, err
		})
	}
}
