package web

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/figures"
)

// EdgeSource is what is shown of an instance without a pool, such as
// [github.com/ckpool/ckpool/internal/edge.View]. Its methods may be called from any
// goroutine.
type EdgeSource interface {
	Mode() string // passthrough, redirector or node
	Started() time.Time
	Miners() int64                 // connected
	Upstreams() []control.Upstream // the pools that serve them
	Drops() control.Counts         // connections that ended, by reason
}

// EdgeOptions are options of an Edge.
type EdgeOptions struct {
	Source EdgeSource
	Config func() *config.Config // in force
	Events event.Func
}

// Edge serves the page of an instance whose miners other pools serve.
type Edge struct {
	*maker

	// immutable
	options EdgeOptions
	handler http.Handler
}

// NewEdge prepares a server by the configuration, which names an address to listen on. The
// error is that of a certificate.
func NewEdge(o EdgeOptions) (*Edge, error) {
	site, err := siteOf(o.Config, o.Events)
	if err != nil {
		return nil, err
	}
	site.pages.edge = true
	s := &Edge{maker: newMaker(site), options: o}
	m := http.NewServeMux()
	for pattern, page := range map[string]func(r *http.Request, now time.Time) (*answer, error){
		"/{$}": s.pageEdge, "/connect": s.pageConnect,
		"/qr/{n}": func(r *http.Request, _ time.Time) (*answer, error) {
			return qr(listenersOf(o.Config(), nil, s.hostOf(r)), r)
		},
	} {
		m.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, page) })
	}
	m.Handle("GET /assets/", s.pages.assets)
	m.HandleFunc("/", s.nothing)
	s.handler = s.guard(m, m, "no-referrer")
	return s, nil
}

// Run serves what comes through a listener until ctx ends.
func (s *Edge) Run(ctx context.Context, l net.Listener) error {
	return s.run(ctx, l, s.handler, func(ctx context.Context) { <-ctx.Done() })
}

// edgePage is what the first page has. Which pools there are stays the operator's.
type edgePage struct {
	Mode    string
	Miners  int64
	Serving int // place of the pool that serves new miners, from 1; 0: none
	Up      int
	Pools   []control.Upstream
	Uptime  string
	Ended   []ended
}

func (s *Edge) view(title string, pools []control.Upstream, now time.Time) (*view, int) {
	v := &view{Title: title, Name: s.options.Config().PoolTag, Now: now, Alarm: "No pool serves miners: new ones wait."}
	for i := range pools {
		if pools[i].Active {
			v.Alarm = ""
			return v, i + 1
		}
	}
	return v, 0
}

func (s *Edge) pageEdge(_ *http.Request, now time.Time) (*answer, error) {
	o := s.options.Source
	d := edgePage{Mode: o.Mode(), Miners: o.Miners(), Pools: o.Upstreams(), Uptime: figures.Duration(now.Sub(o.Started())), Ended: endings(o.Drops())}
	v, serving := s.view("", d.Pools, now)
	d.Serving = serving
	for i := range d.Pools {
		if d.Pools[i].Alive {
			d.Up++
		}
	}
	v.Data = &d
	return s.pages.render("edge", v)
}

func (s *Edge) pageConnect(r *http.Request, now time.Time) (*answer, error) {
	v, _ := s.view("Point your miner here", s.options.Source.Upstreams(), now)
	d := connectPage{Listeners: listenersOf(s.options.Config(), nil, s.hostOf(r)), User: "YourName.worker"}
	if len(d.Listeners) > 0 {
		d.Miners = helpFor(&d.Listeners[0], d.User)
	}
	v.Data = &d
	return s.pages.render("connect", v)
}
