package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/buildinfo"
	"github.com/ckpool/ckpool/internal/forward"
	"github.com/ckpool/ckpool/internal/store"
)

// socket is the name of the control socket.
const socket = "listener"

// daemon is how a running instance does, as its socket tells.
type daemon struct {
	Version  string     `json:"version"`
	PID      int        `json:"pid"`
	Database string     `json:"database"` // without its password; "": it is at another site
	Whole    bool       `json:"whole"`    // it has none
	Forward  bool       `json:"forward"`  // the journals go to another site
	NATS     string     `json:"nats"`     // servers, without what is secret
	Journals []journey  `json:"journals"`
	Visits   []visit    `json:"sites"`           // that send
	Chain    *following `json:"chain,omitempty"` // nil: no node was named
}

// following is how the running instance follows the chain of a node.
type following struct {
	Node    string `json:"node"`
	Tip     int64  `json:"tip"`  // of the node; 0 before it has answered
	At      int64  `json:"time"` // when all was taken over last; 0: never
	Trouble string `json:"trouble"`
}

// journey is how far a journal is stored, here or where it is forwarded to.
type journey struct {
	Dir      string `json:"dir"`
	Instance string `json:"instance"` // "" until there is a journal
	Name     string `json:"name"`
	Epoch    uint64 `json:"epoch"`
	Number   uint64 `json:"number"`
	Shares   uint64 `json:"shares"` // stored or sent by this process
	Sent     uint64 `json:"sent"`   // to another site, and not known to be stored
	Trouble  string `json:"trouble"`
	Refused  bool   `json:"refused"`
}

func (s *service) daemon() daemon {
	d := daemon{
		Version: buildinfo.Version(), PID: os.Getpid(), Forward: s.options.forward, NATS: forward.Redacted(s.options.nats), Visits: s.visits(),
	}
	if !d.Forward {
		d.Database = store.Redacted(s.where)
		d.Whole = d.Database == s.where
		if !strings.Contains(s.where, "://") {
			d.Database = absolute(strings.TrimPrefix(s.where, "sqlite:"))
		}
	}
	if s.chain != nil {
		p := s.chain.Progress()
		d.Chain = &following{p.Node, p.Tip, p.At, p.Trouble}
	}
	s.mu.Lock()
	followers, forwarders := slices.Clone(s.followers), slices.Clone(s.forwarders)
	s.mu.Unlock()
	for _, f := range followers {
		p := f.Progress()
		if s.usual() && p.Instance == "" && p.Err == "" {
			continue // there is none, and need not be
		}
		d.Journals = append(d.Journals, journey{p.Dir, p.Instance, p.Name, p.Position.Epoch, p.Position.Number, p.Shares, 0, p.Err, p.Refused})
	}
	for _, f := range forwarders {
		p := f.Progress()
		d.Journals = append(d.Journals, journey{
			p.Dir, p.Instance, p.Name, uint64(p.Committed.Epoch), uint64(p.Committed.Number), p.Shares, p.Sent, cmp.Or(p.Err, p.Trouble), p.Refused,
		})
	}
	return d
}

// commands registers those that the control socket takes, until ctx is done and the process
// ends.
func (s *service) commands(ctx context.Context, server *control.Server) {
	const exiting = "exiting"
	word := func(reply string) func(context.Context, string) (string, error) {
		return func(context.Context, string) (string, error) { return reply, nil }
	}
	server.Handle(socket, "ping", func(context.Context, string) (string, error) {
		if ctx.Err() != nil { // the next one may be starting already
			return exiting, nil
		}
		return "pong", nil
	})
	server.Handle(socket, "version", word("ckdb "+buildinfo.Version()))
	server.Handle(socket, "status", func(context.Context, string) (string, error) { return control.Encode(s.daemon()), nil })
	server.Handle(socket, "loglevel", func(_ context.Context, args string) (string, error) {
		n, err := strconv.Atoi(args)
		switch {
		case err != nil:
			return "Failed", nil
		case n < 0 || n > 7:
			return "Invalid", nil
		}
		s.log.SetLevel(event.Level(n))
		s.events.Say(event.Notice, fmt.Sprintf("Control: loglevel %d", n))
		return "success", nil
	})
	if s.store != nil { // else there are no accounts here, and a pool that starts finds nobody to ask
		authority.NewServer(accounting.Authority{Store: s.store}, "ckdb "+buildinfo.Version(), s.events).Commands(server)
	}
	server.Handle(socket, "shutdown", func(context.Context, string) (string, error) {
		s.events.Say(event.Notice, "Control: shutdown")
		s.shutdown()
		return exiting, nil
	})
}
