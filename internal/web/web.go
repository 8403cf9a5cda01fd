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
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"ckpool/control"
	"ckpool/event"
	"ckpool/internal/config"
	"ckpool/internal/keypair"
)

// Source is what is shown of a pool, such as [ckpool/internal/operator.View]. Its methods
// may be called from any goroutine.
type Source interface {
	Started() time.Time
	Solo() bool    // blocks pay who finds them
	Chain() string // as Bitcoin Core names it, "" unknown
	Usable() bool  // work can be had
	Pool(ctx context.Context, now time.Time) control.PoolStats
	Rejects() control.Counts
	Drops() control.Counts
	Blocks() []control.Block // the oldest first
	Nodes() []control.Node
	Links() []control.Link
	Proxies() []control.Proxy // nil: work comes from nodes
	BestShares() []control.BestShares
	Users(now time.Time) []control.User
	User(name string, now time.Time) (control.User, bool)
	Workers(user string, now time.Time) []control.Worker
	Connections(ctx context.Context, user string) ([]control.Connection, error)
	Work(ctx context.Context, user string) (control.MinersWork, bool, error)
	// PoolFile and UserFile are the status files as they are written for scripts.
	PoolFile() ([]byte, error)
	UserFile(name string, now time.Time) ([]byte, bool)
}

// Options of a Server.
type Options struct {
	Source  Source
	Curves  Curves
	Config  func() *config.Config // in force
	Version string
	Events  event.Func
}

// Server serves the pages of one pool.
type Server struct {
	// immutable
	options Options
	base    string
	handler http.Handler
	pages   *pages
	answers *cache
	hub     *hub
	pair    *keypair.Pair // nil: without TLS
}

// New prepares a server by the configuration, which names an address to listen on. The
// error is that of a certificate.
func New(o Options) (*Server, error) {
	c := o.Config()
	s := &Server{options: o, base: c.HTTPBase, answers: newCache()}
	if c.HTTP.TLSCert != "" {
		var err error
		if s.pair, err = keypair.Open(c.HTTP.TLSCert, c.HTTP.TLSKey, o.Events); err != nil {
			return nil, fmt.Errorf("http: %w", err)
		}
	}
	var err error
	if s.pages, err = newPages(s.base); err != nil {
		return nil, err
	}
	s.hub = newHub(s)
	s.handler = s.routes()
	return s, nil
}

// URL is what a browser on this machine finds the page at.
func (s *Server) URL() string {
	c := s.options.Config()
	scheme := "http"
	if s.pair != nil {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(c.HTTP.Listen)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + s.base + "/"
}

// Limits of connections, so that no number of readers costs the pool more than this.
const (
	maxConnections = 1500
	headerTime     = 5 * time.Second
	answerTime     = 20 * time.Second // not of streams
	idleTime       = time.Minute
	maxHeader      = 16 << 10
	maxBody        = 64 << 10
)

// Listen opens the address. Where another process has it that is about to end, which the
// caller knows, it is tried again for as long as patience lasts.
func (s *Server) Listen(ctx context.Context, patience time.Duration) (net.Listener, error) {
	address := s.options.Config().HTTP.Listen
	until := time.Now().Add(patience)
	for {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(until) {
			return nil, fmt.Errorf(`"http": %q cannot be listened on: %w`, address, errors.Unwrap(err))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Run serves what comes through a listener until ctx ends.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	l = netutil.LimitListener(l, maxConnections)
	h := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: headerTime, ReadTimeout: answerTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ErrorLog: log.New(strangers{s.options.Events}, "", 0),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	if s.pair != nil {
		l = tls.NewListener(l, &tls.Config{GetCertificate: s.pair.Certificate, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12})
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(l) }()
	done := make(chan struct{})
	go func() {
		s.hub.run(ctx)
		close(done)
	}()
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	<-done
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if h.Shutdown(late) != nil {
		_ = h.Close() // who is slow is cut off
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("http: %w", err)
	}
	return nil
}

// strangers is what net/http says of single connections: for who looks for it.
type strangers struct{ events event.Func }

func (s strangers) Write(b []byte) (int, error) {
	s.events.Say(event.Debug, "http: "+strings.TrimSpace(string(b)))
	return len(b), nil
}

// hidden tells that a user is shown to nobody.
func (s *Server) hidden(user string) bool { return s.options.Config().Private(user) }
