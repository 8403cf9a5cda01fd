package main

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/buildinfo"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/edge"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/metrics"
	"github.com/ckpool/ckpool/internal/operator"
	"github.com/ckpool/ckpool/internal/pool"
)

// served is what an instance serves miners with. It is made, listens, runs, and may move to
// another process.
type served interface {
	// Inherit gives it listening sockets for Listen; DropInherited closes those that no
	// listen address wants.
	Inherit(files []*os.File) error
	Listen(ctx context.Context) error
	// ListenBeside is Listen, as far as it can be done beside a process whose place is to
	// be taken.
	ListenBeside(ctx context.Context, pid int) (opened bool, err error)
	DropInherited()
	// Prepare makes ready to serve, before Run, and Load reads what an earlier run has left
	// if it was made to take over.
	Prepare(ctx context.Context) error
	Load(now time.Time) error
	// Run serves until ctx ends, or a part fails, or another process has taken over.
	Run(ctx context.Context) error
	// Close gives back what is open when Run is not called.
	Close()

	Commands(s *control.Server, p operator.Process)
	Apply(ctx context.Context, next config.Config) (config.Merged, error)
	ReopenLogs()
	Summary(now time.Time) string
	StatusLine(now time.Time, cycle, width int) string
	Alive(ctx context.Context) error
	MaxClients() int
	Miners() int
	// Unsaved says what would be lost with the process; "" nothing.
	Unsaved() string

	Outgoing() handover.Source
	Incoming(from json.RawMessage, open func() error) (handover.Incoming, error)
}

var (
	_ served = (*pool.Pool)(nil)
	_ served = (*edge.Edge)(nil)
)

// makeEdge makes a passthrough, a redirector or a node.
func (s *service) makeEdge(c config.Config, takeOver bool) (served, error) {
	e, err := edge.New(c, edge.Options{
		Redirector: s.options.Mode == config.Redirector, Node: s.options.Mode == config.Node, Version: buildinfo.Version(), Events: s.events, Descriptors: mayOpen, TakeOver: takeOver,
	})
	if err != nil {
		return nil, err // of no type
	}
	if s.page, err = newEdgePage(e.View(), s.events); err != nil {
		e.Close()
		return nil, err
	}
	if address := c.Metrics; address != "" {
		s.metrics = &metrics.Server{Address: address, Handler: metrics.EdgeHandler(e.View()), Events: s.events}
	}
	return e, nil
}

// makeServed makes what the mode says.
func (s *service) makeServed(c config.Config, takeOver bool) (served, error) {
	switch s.options.Mode {
	case config.Passthrough, config.Redirector, config.Node:
		return s.makeEdge(c, takeOver)
	}
	return s.makePool(c, takeOver)
}
