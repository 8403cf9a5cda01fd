package main

import (
	"context"
	"net"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/edge"
	"github.com/ckpool/ckpool/internal/pool"
	"github.com/ckpool/ckpool/internal/web"
)

// page is what is served over HTTP, and its listening socket. The methods of nil do
// nothing. It is owned by the service's goroutine.
type page struct {
	server site
	events event.Func
	socket net.Listener // nil: it is not open yet
}

// site is the page of a pool, or of an instance without one.
type site interface {
	Listen(ctx context.Context, patience time.Duration) (net.Listener, error)
	Run(ctx context.Context, l net.Listener) error
	URL() string
}

// newEdgePage is nil where the configuration has no page.
func newEdgePage(v edge.View, events event.Func) (*page, error) {
	if v.Config().HTTP.Listen == "" {
		return nil, nil
	}
	server, err := web.NewEdge(web.EdgeOptions{Source: v, Config: v.Config, Events: events})
	if err != nil {
		return nil, err
	}
	return &page{server: server, events: events}, nil
}

// newPage is nil where the configuration has no page.
func newPage(p *pool.Pool, events event.Func) (*page, error) {
	if p.Config().HTTP.Listen == "" {
		return nil, nil
	}
	server, err := web.New(web.Options{Source: p.View(), Curves: p.History(), Config: p.Config, Private: p.Private, Events: events})
	if err != nil {
		return nil, err
	}
	return &page{server: server, events: events}, nil
}

func (p *page) listen(ctx context.Context) (err error) {
	if p == nil {
		return nil
	}
	p.socket, err = p.server.Listen(ctx, 0)
	return err
}

func (p *page) close() {
	if p != nil && p.socket != nil {
		p.socket.Close()
	}
}

// freedTime is how long the process that was taken over from may have the page's address.
const freedTime = 15 * time.Second

// run serves the page until ctx ends. What goes wrong with it is told, and miners mine on.
func (p *page) run(ctx context.Context) {
	if p == nil {
		return
	}
	var err error
	if p.socket == nil {
		p.socket, err = p.server.Listen(ctx, freedTime)
	}
	if err == nil {
		p.events.Say(event.Warning, "Page at "+p.server.URL())
		err = p.server.Run(ctx, p.socket)
	}
	if err != nil && ctx.Err() == nil {
		p.events.Say(event.Error, "There is no page: "+err.Error())
	}
}
