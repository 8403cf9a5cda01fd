package web

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"ckpool/event"
)

// routes are all there are, below the base.
func (s *Server) routes() http.Handler {
	m := http.NewServeMux()
	kept := func(pattern string, make func(r *http.Request, now time.Time) (*answer, error)) {
		m.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, make) })
	}
	for _, routes := range []map[string]api{s.apiRoutes(), s.legacyRoutes()} {
		for pattern, do := range routes {
			kept(pattern, func(r *http.Request, now time.Time) (*answer, error) {
				v, err := do(r.Context(), r, now)
				if err != nil {
					return nil, err
				}
				b, err := encode(v)
				if err != nil {
					return nil, err
				}
				return seal(http.StatusOK, jsonType, b), nil
			})
		}
	}
	kept("/api/v1/openapi.json", func(*http.Request, time.Time) (*answer, error) { return seal(http.StatusOK, jsonType, openAPI), nil })
	kept("/pool/pool.status", func(*http.Request, time.Time) (*answer, error) { return s.poolFile() })
	kept("/users/{user}", func(r *http.Request, now time.Time) (*answer, error) { return s.userFile(r.PathValue("user"), now) })
	for pattern, page := range s.pageRoutes() {
		kept(pattern, page)
	}
	m.HandleFunc("GET /api/v1/stream", s.serveStream)
	m.Handle("GET /assets/", s.pages.assets)
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			s.fail(w, r, &failure{http.StatusMethodNotAllowed, "nothing can be changed here"})
			return
		}
		s.fail(w, r, errNoPage)
	})
	return s.guard(m)
}

const jsonType = "application/json; charset=utf-8"

// policy lets a page have nothing but what is served here.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; worker-src 'self'; " +
	"manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// guard is what holds for every answer.
func (s *Server) guard(next *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		// A reverse proxy may take the base off the path, or leave it.
		if rest, ok := strings.CutPrefix(r.URL.Path, s.base); ok && s.base != "" && (rest == "" || rest[0] == '/') {
			if rest == "" {
				http.Redirect(w, r, s.base+"/", http.StatusMovedPermanently)
				return
			}
			r = under(r, rest, strings.TrimPrefix(r.URL.RawPath, s.base), next)
		}
		s.allowOrigin(h, r)
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

// allowOrigin lets scripts of other sites read what is public, where the operator wants
// it.
func (s *Server) allowOrigin(h http.Header, r *http.Request) {
	list := s.options.Config().HTTPOrigins
	if len(list) == 0 {
		return
	}
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	switch {
	case slices.Contains(list, "*"):
		h.Set("Access-Control-Allow-Origin", "*")
	case origin != "" && slices.Contains(list, origin):
		h.Set("Access-Control-Allow-Origin", origin)
	}
}

// serve answers with what is kept or made.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, make func(r *http.Request, now time.Time) (*answer, error)) {
	a, err := s.answers.get(r.Context(), s.key(r), func() (*answer, error) { return make(r, time.Now()) })
	if err != nil {
		s.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", a.tag)
	if slices.Contains(strings.Split(r.Header.Get("If-None-Match"), ", "), a.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.body) // who does not read it has gone
	}
}

// key is what an answer depends on.
func (s *Server) key(r *http.Request) string {
	return r.URL.EscapedPath() + "?" + r.URL.RawQuery + " " + s.hostOf(r)
}

// fail tells why there is no answer: people on a page, programs in JSON.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	text := "the pool did not answer in time"
	if f := (*failure)(nil); errors.As(err, &f) {
		text = f.text
	} else if status == http.StatusInternalServerError {
		text = "this page cannot be made"
		s.options.Events.Say(event.Error, fmt.Sprintf("http: %.100s: %v", r.URL.Path, err))
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
func (s *Server) trusted(r *http.Request) bool {
	ip := peer(r)
	return slices.ContainsFunc(s.options.Config().HTTPTrustedNetworks, func(n netip.Prefix) bool { return n.Contains(ip) })
}

func peer(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}

// reader is the address that a request comes from, of IPv6 its /64.
func (s *Server) reader(r *http.Request) netip.Prefix {
	ip := peer(r)
	if s.trusted(r) {
		list := strings.Split(r.Header.Get("X-Forwarded-For"), ",")
		if a, err := netip.ParseAddr(strings.TrimSpace(list[len(list)-1])); err == nil {
			ip = a.Unmap().WithZone("")
		}
	}
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// hostOf is the name that a reader has for this machine, "" if it is none.
func (s *Server) hostOf(r *http.Request) string {
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
