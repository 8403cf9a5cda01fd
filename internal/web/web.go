// Package web serves what is known of a pool over HTTP: pages for people, an API for
// programs, and routes that dashboards of other pools ask for. Everybody may read it and
// nothing can be changed through it. It shows what a [Source] tells and computes no
// statistics of its own; it knows neither miners' connections nor where figures come from.
//
// Pages are whole without scripts. Scripts bring figures up to date, from one stream of
// events for all tabs of a browser, and draw curves.
package web

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
)

// Source is what is shown of a pool, such as [github.com/ckpool/ckpool/internal/operator.View]. Its methods
// may be called from any goroutine.
type Source interface {
	Started() time.Time
	Solo() bool    // blocks pay who finds them
	Chain() string // as Bitcoin Core names it, "" unknown
	Usable() bool  // work can be had
	Pool(now time.Time) control.PoolStats
	BestSinceStart() float64 // difficulty of the best share
	Rejects() control.Counts
	Drops() control.Counts     // connections that ended, by reason
	Listeners() control.Counts // miners by the address that they came by, in the order of the configuration
	Blocks() []control.Block   // the oldest first
	Nodes() []control.Node
	Links() []control.Link
	Proxies() []control.Proxy // nil: work comes from nodes
	BestShares() []control.BestShares
	Users(now time.Time) []control.User
	User(name string, now time.Time) (control.User, bool)
	Workers(user string, now time.Time) []control.Worker
	WorkerCount(user string) int // known; of a user that is not, none
	Connections(ctx context.Context, user string) ([]control.Connection, error)
	Work(ctx context.Context, user string) (control.MinersWork, bool, error)
	// PoolFile and UserFile are the status files as they are written for scripts.
	PoolFile() ([]byte, error)
	UserFile(name string, now time.Time) ([]byte, bool)
}

// Options of a Server.
type Options struct {
	Source Source
	Curves Curves
	Config func() *config.Config // in force
	// Private tells that a user is shown to nobody.
	Private func(user string) bool
	Events  event.Func
}

// Server serves the pages of one pool.
type Server struct {
	*maker

	// immutable
	options Options
	handler http.Handler
	hub     *hub
	// What answers are made of.
	pools *cache[poolAnswer]           // one, of the key ""
	users *cache[[]control.User]       // all that are not hidden, the fastest first, of the key ""
	bests *cache[[]control.BestShares] // of all users, the best ever first, of the key ""
	shown *cache[userAnswer]           // users by their names
	crews *cache[[]workerAnswer]       // workers of a user by its name, as a page shows them
}

// New prepares a server by the configuration, which names an address to listen on. The
// error is that of a certificate.
func New(o Options) (*Server, error) {
	site, err := siteOf(o.Config, o.Events)
	if err != nil {
		return nil, err
	}
	s := &Server{
		maker: newMaker(site), options: o,
		pools: newCache(freshFigures, maxFigures, func(string, poolAnswer) int { return 1 }),
		users: newCache(freshFigures, maxFigures, func(_ string, list []control.User) int { return 1 + len(list) }),
		bests: newCache(fresh, maxFigures, func(_ string, list []control.BestShares) int { return 1 + len(list) }),
		shown: newCache(freshFigures, maxFigures, func(string, userAnswer) int { return 1 }),
		crews: newCache(freshFigures, maxFigures, func(_ string, list []workerAnswer) int { return 1 + len(list) }),
	}
	s.hub = newHub(s)
	s.handler = s.routes()
	return s, nil
}

// siteOf is what serves by a configuration.
func siteOf(c func() *config.Config, events event.Func) (*site, error) {
	site, err := newSite(c().HTTP.TLSCert, c().HTTP.TLSKey, events, func() Place {
		c := c()
		return Place{Listen: c.HTTP.Listen, Base: c.HTTPBase, Trusted: c.HTTPTrustedNetworks}
	})
	if err == nil {
		site.pages, err = newPages(site.base, "pages")
	}
	return site, err
}

// Run serves what comes through a listener until ctx ends.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	return s.run(ctx, l, s.handler, s.hub.run)
}

// hidden tells that a user is shown to nobody.
func (s *Server) hidden(user string) bool { return s.options.Private(user) }
