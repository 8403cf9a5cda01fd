// Package httpserver opens an address for HTTP and serves what comes through it, within
// bounds, until a context ends. It knows no page.
package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/ckpool/ckpool/event"
)

// again is between two tries to open an address.
const again = 20 * time.Millisecond

// Listen opens an address, host:port. Where it cannot be had it is tried again for as long
// as patience lasts: another process may have it that is about to end. The error is the
// last one, or that of ctx.
func Listen(ctx context.Context, address string, patience time.Duration) (net.Listener, error) {
	for until := time.Now().Add(patience); ; {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err == nil || ctx.Err() == nil && !time.Now().Before(until) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(again):
		}
	}
}

// Of each connection.
const (
	headerTime = 5 * time.Second
	idleTime   = time.Minute
	maxHeader  = 16 << 10 // bytes
)

// Server is what is served. All fields are immutable.
type Server struct {
	Handler     http.Handler
	TLS         *tls.Config   // nil: without
	Connections int           // at a time; others wait
	AnswerTime  time.Duration // that a request may take, and its answer; handlers may take more for one
	Events      event.Func    // what is wrong with single connections, for who looks for it

	// OfAddress is how many of the connections one address may have, of IPv6 a /64; others
	// are closed at once. 0: there is no limit.
	OfAddress int
	Trusted   func(netip.Addr) bool // addresses without that limit, such as reverse proxies; nil: none
}

// Run serves what comes through a listener until ctx ends, of which requests have the
// context. Who is slow is cut off then. The error is why it ended before.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	l = netutil.LimitListener(l, s.Connections)
	if s.OfAddress > 0 {
		l = &shared{Listener: l, server: s, of: make(map[netip.Prefix]int)}
	}
	if s.TLS != nil {
		l = tls.NewListener(l, s.TLS)
	}
	h := &http.Server{
		Handler: s.Handler, ReadHeaderTimeout: headerTime, ReadTimeout: s.AnswerTime, WriteTimeout: s.AnswerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ErrorLog: log.New(strangers{s.Events}, "", 0),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(l) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if h.Shutdown(late) != nil {
		_ = h.Close()
	}
	if err == nil {
		err = <-ended
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("http: %w", err)
	}
	return nil
}

// strangers is what net/http says of single connections.
type strangers struct{ events event.Func }

func (s strangers) Write(b []byte) (int, error) {
	s.events.Say(event.Debug, "http: "+strings.TrimSpace(string(b)))
	return len(b), nil
}

// shared is a listener whose connections are divided among addresses.
type shared struct {
	net.Listener
	server *Server

	mu sync.Mutex
	of map[netip.Prefix]int // guarded by mu; connections by where they come from
}

// Accept closes the connections of who has too many.
func (l *shared) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from, ok := source(c.RemoteAddr())
		if !ok || l.server.Trusted != nil && l.server.Trusted(from.Addr()) {
			return c, nil
		}
		if from = from.Masked(); l.add(from) {
			return &counted{Conn: c, gone: sync.OnceFunc(func() { l.remove(from) })}, nil
		}
		_ = c.Close() // nobody hears of it
	}
}

func (l *shared) add(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[from] >= l.server.OfAddress {
		return false
	}
	l.of[from]++
	return true
}

func (l *shared) remove(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[from]--; l.of[from] == 0 {
		delete(l.of, from)
	}
}

// source is where a connection comes from, with how much of that is one reader.
func source(a net.Addr) (netip.Prefix, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}, false
	}
	ip, bits := tcp.AddrPort().Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(ip, bits), true
}

// counted is a connection that has a place.
type counted struct {
	net.Conn
	gone func()
}

// Close gives the place back.
func (c *counted) Close() error {
	err := c.Conn.Close()
	c.gone()
	return err
}
