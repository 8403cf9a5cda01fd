// Package operator is what people and programs ask and tell a running pool: the
// control commands, and the words of console and log about the whole. It shows
// the other parts through their own views and knows none of their insides.
package operator

import (
	"context"
	"errors"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/blocks"
	"github.com/ckpool/ckpool/internal/jobs"
	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
)

// Operator answers for a pool. All fields are immutable.
type Operator struct {
	Version   string
	Solo      bool
	Users     *users.Users
	Jobs      *jobs.Jobs
	Blocks    *blocks.Blocks
	Source    jobs.Source
	Node      func() Node                         // that work comes from at present; nil: from none
	Proxies   Proxies                             // that work comes from; nil: it comes from nodes
	Journal   func() (journalwriter.Status, bool) // false: there is none
	Miners    *session.Miners
	Registry  *session.Registry
	Server    *netserver.Server
	Links     *relay.Links
	Admission *Admission
	Expires   func() time.Time // the first of the certificates; zero: there is none
	Events    event.Func
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

// Commands registers the pool's commands with a control server. Commands are
// found by prefix, so that longer ones come before shorter ones.
func (o *Operator) Commands(s *control.Server, p Process) {
	for _, socket := range Sockets {
		r := Registrar{s, o.Events, socket}
		o.process(r, p)
		o.statistics(r)
		o.toMiners(r)
		o.nodes(r)
		o.proxies(r)
		r.Answer("{", o.sendObject(socket))
	}
}

func (o *Operator) process(r Registrar, p Process) {
	commands := control.PoolCommands()
	if o.Proxies != nil {
		commands = control.Commands()
	}
	p.Commands(r, o.Version, commands)
	r.Answer("ckdbflush", word("flushing")) // there is nothing to flush
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
