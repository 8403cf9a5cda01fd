package web

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/httpserver"
	"github.com/ckpool/ckpool/internal/keypair"
)

// Place is where pages are served.
type Place struct {
	Listen  string         // host:port
	Base    string         // path before all others, such as "/pool"; "" none
	Trusted []netip.Prefix // reverse proxies, whose word on readers' addresses is taken
	Names   []string       // that browsers have for this machine, beside those of a certificate
}

// site is what holds whatever is served: the address, TLS, reverse proxies, and how all
// answers are.
type site struct {
	// immutable
	place  func() Place // in force; its Base does not change
	base   string
	pages  *pages
	pair   *keypair.Pair // nil: without TLS
	events event.Func

	told atomic.Int64 // when the operator was told of an error last, in seconds since 1970
}

// newSite prepares one, with TLS where files of a certificate are named. The error is
// that of the certificate.
func newSite(cert, key string, events event.Func, place func() Place) (*site, error) {
	s := &site{place: place, base: place().Base, events: events}
	if cert != "" {
		var err error
		if s.pair, err = keypair.Open(cert, key, events); err != nil {
			return nil, fmt.Errorf("http: %w", err)
		}
	}
	return s, nil
}

// URL is what a browser on this machine finds the page at.
func (s *site) URL() string {
	scheme := "http"
	if s.pair != nil {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(s.place().Listen)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + s.base + "/"
}

// Limits, so that no number of readers costs the pool more than this.
const (
	maxConnections = 1500
	maxOfReader    = 200
	answerTime     = 20 * time.Second // not of streams
	maxBody        = 64 << 10         // bytes
)

// Listen opens the address. Where another process has it that is about to end, which the
// caller knows, it is tried again for as long as patience lasts.
func (s *site) Listen(ctx context.Context, patience time.Duration) (net.Listener, error) {
	address := s.place().Listen
	l, err := httpserver.Listen(ctx, address, patience)
	if err != nil {
		return nil, fmt.Errorf(`"http": %q cannot be listened on: %w`, address, cmp.Or(errors.Unwrap(err), err))
	}
	return l, nil
}

// run serves what comes through a listener until ctx ends, and until beside has then ended.
func (s *site) run(ctx context.Context, l net.Listener, handler http.Handler, beside func(context.Context)) error {
	h := httpserver.Server{Handler: handler, Connections: maxConnections, AnswerTime: answerTime, Events: s.events, OfAddress: maxOfReader, Trusted: s.isProxy}
	if s.pair != nil {
		h.TLS = &tls.Config{GetCertificate: s.pair.Certificate, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	}
	ctx, cancel := context.WithCancel(ctx)
	var besides sync.WaitGroup
	besides.Go(func() { beside(ctx) })
	err := h.Run(ctx, l)
	cancel()
	besides.Wait()
	return err
}

const jsonType = "application/json; charset=utf-8"

// policy lets a page have nothing but what is served here.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; worker-src 'self'; " +
	"manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// guard is what holds for every answer of the routes m, which next comes to; referrer is
// the policy of what links tell.
func (s *site) guard(m *http.ServeMux, next http.Handler, referrer string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", referrer)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		// A reverse proxy may take the base off the path, or leave it.
		if rest, ok := strings.CutPrefix(r.URL.Path, s.base); ok && s.base != "" && (rest == "" || rest[0] == '/') {
			if rest == "" {
				http.Redirect(w, r, s.base+"/", http.StatusMovedPermanently)
				return
			}
			r = under(r, rest, strings.TrimPrefix(r.URL.RawPath, s.base), m)
		}
		next.ServeHTTP(w, r)
	})
}

// under is a request without the base before its path, unless that is the path of a page
// with it: of /pool/pool.status below the base /pool a reverse proxy may have taken it.
func under(r *http.Request, path, raw string, m *http.ServeMux) *http.Request {
	below := new(http.Request)
	*below = *r
	below.URL = new(url.URL)
	*below.URL = *r.URL
	below.URL.Path, below.URL.RawPath = path, raw
	if _, pattern := m.Handler(below); pattern == "/" {
		if _, pattern := m.Handler(r); pattern != "/" {
			return r
		}
	}
	return below
}

// fail tells why there is no answer: people on a page, programs in JSON.
func (s *site) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	text := "there was no answer in time"
	if f := (*failure)(nil); errors.As(err, &f) {
		text = f.text
	} else if status == http.StatusInternalServerError {
		text = "this page cannot be made"
		// Strangers ask as often as they like while the database is away.
		if now := time.Now().Unix(); s.told.Swap(now) != now {
			s.events.Say(event.Error, fmt.Sprintf("http: %.100s: %v", r.URL.Path, err))
		}
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "2")
	}
	if wantsPage(r) {
		s.pages.fail(w, status, text)
		return
	}
	h.Set("Content-Type", jsonType)
	w.WriteHeader(status)
	b, _ := encode(struct { // of strings and numbers
		Status int    `json:"status"`
		Error  string `json:"error"`
	}{status, text})
	_, _ = w.Write(b)
}

// wantsPage tells that a person reads the answer.
func wantsPage(r *http.Request) bool {
	p := r.URL.Path
	return !strings.HasPrefix(p, "/api/") && !strings.HasPrefix(p, "/pool/") && !strings.HasPrefix(p, "/users/")
}

// trusted tells that a request comes through a reverse proxy whose word is taken.
func (s *site) trusted(r *http.Request) bool { return s.isProxy(peer(r)) }

func (s *site) isProxy(ip netip.Addr) bool {
	return slices.ContainsFunc(s.place().Trusted, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// overTLS tells that a reader's browser asks over TLS, here or at a reverse proxy.
func (s *site) overTLS(r *http.Request) bool {
	return s.pair != nil || r.Header.Get("X-Forwarded-Proto") == "https" && s.trusted(r)
}

func peer(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}

// client is the address that a request comes from: as the reverse proxy says which it came
// to first, of those that are trusted. Each adds to the end of a header, or a header of its own.
func (s *site) client(r *http.Request) netip.Addr {
	from := peer(r)
	for _, text := range slices.Backward(strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")) {
		a, err := forwarded(strings.TrimSpace(text))
		if err != nil || !s.isProxy(from) {
			break
		}
		from = a.Unmap().WithZone("")
	}
	return from
}

// forwarded is an address as reverse proxies write it: some with the port.
func forwarded(text string) (netip.Addr, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr(), nil
	}
	return netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
}

// reader is whom a request is counted for: its address, of IPv6 the /64.
func (s *site) reader(r *http.Request) netip.Prefix { return credentials.Source(s.client(r)) }

// hostOf is the name that a reader has for this machine, "" if it is none.
func (s *site) hostOf(r *http.Request) string {
	host := r.Host
	if f := r.Header.Get("X-Forwarded-Host"); f != "" && s.trusted(r) {
		host = f
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if len(host) > 253 || strings.ContainsFunc(host, func(c rune) bool {
		return c != '.' && c != '-' && c != ':' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}) {
		return ""
	}
	return host
}
