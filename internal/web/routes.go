package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
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
	m.HandleFunc("/", s.nothing)
	return s.guard(m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.allowOrigin(w.Header(), r)
		m.ServeHTTP(w, r)
	}), "no-referrer")
}

// nothing answers where there is no page.
func (s *site) nothing(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.fail(w, r, &failure{http.StatusMethodNotAllowed, "nothing can be changed here"})
		return
	}
	s.fail(w, r, errNoPage)
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

// maker makes answers of a site and keeps them for a moment. All fields are immutable.
type maker struct {
	*site
	answers *cache[*answer]
	turns   *turns
}

func newMaker(s *site) *maker {
	return &maker{s, newCache(fresh, maxAnswerBytes, func(key string, a *answer) int { return len(key) + len(a.body) }), newTurns()}
}

// serve answers with what is kept or made.
func (s *maker) serve(w http.ResponseWriter, r *http.Request, make func(r *http.Request, now time.Time) (*answer, error)) {
	a, err := s.answers.get(r.Context(), s.key(r), func() (*answer, error) {
		done, err := s.turns.take(r.Context())
		if err != nil {
			return nil, err
		}
		defer done()
		ctx, cancel := context.WithTimeout(r.Context(), makingTime)
		defer cancel()
		return make(r.WithContext(ctx), time.Now())
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	a.write(w, r, "no-cache")
}

// write sends it to who has none like it yet.
func (a *answer) write(w http.ResponseWriter, r *http.Request, keep string) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", keep)
	h.Set("ETag", a.tag)
	if a.status == http.StatusOK && knows(r, a.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.body) // who does not read it has gone
	}
}

// knows tells that a reader has an answer of that tag (RFC 9110, 13.1.2). A reverse proxy that
// compresses answers has made it a weak one.
func knows(r *http.Request, tag string) bool {
	for _, text := range strings.Split(strings.Join(r.Header.Values("If-None-Match"), ","), ",") {
		if text = strings.TrimSpace(text); text == "*" || strings.TrimPrefix(text, "W/") == tag {
			return true
		}
	}
	return false
}

// parameters are all that answers depend on of what is behind the question mark.
var parameters = []string{"search", "sort", "range", "limit", "cursor"}

// key is what an answer depends on.
func (s *maker) key(r *http.Request) string {
	key := r.URL.EscapedPath()
	if q := r.URL.Query(); len(q) > 0 {
		for _, p := range parameters {
			if v := q.Get(p); v != "" {
				key += "?" + p + "=" + url.QueryEscape(v)
			}
		}
	}
	switch path := r.URL.Path; { // where miners are pointed depends on the name that the reader has for this machine
	case path == "/connect", path == "/api/v1/connect", strings.HasPrefix(path, "/qr/"):
		key += " " + s.hostOf(r)
	}
	return key
}
