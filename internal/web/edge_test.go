package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
)

// between is an instance whose miners two pools serve.
type between struct{ pools []control.Upstream }

func (b *between) Mode() string                  { return "passthrough" }
func (b *between) Started() time.Time            { return time.Now().Add(-3 * time.Hour) }
func (b *between) Miners() int64                 { return 1204 }
func (b *between) Upstreams() []control.Upstream { return b.pools }
func (b *between) Drops() control.Counts {
	return control.Counts{{Name: "closed by peer", Count: 55}, {Name: "idle", Count: 0}}
}

func anEdge(t *testing.T, b *between, base string) *Edge {
	t.Helper()
	c := config.Default(config.Passthrough)
	c.HTTP.Listen, c.HTTPBase, c.Servers[0].URL, c.PoolTag = "127.0.0.1:8080", base, "0.0.0.0:3333", "a<b>"
	s, err := NewEdge(EdgeOptions{Source: b, Config: func() *config.Config { return &c }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func twoPools() *between {
	return &between{[]control.Upstream{
		{URL: "a.secret.example:3333", Alive: true, Active: true, Changed: control.At(began), Clients: 1200},
		{URL: "b.secret.example:3333", Reason: "connection to 10.1.2.3 refused " + hostile},
	}}
}

// The page tells how many miners there are, which pool serves them, and why connections
// ended; not where pools are.
func TestEdgePages(t *testing.T) {
	for _, base := range []string{"", "/a/b"} {
		s := anEdge(t, twoPools(), base)
		ask := func(method, path string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, path, nil)
			r.Host = "edge.example"
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r)
			return w
		}
		for path, want := range map[string][]string{
			"/":        {"<p>1,204</p>", "pool 1", "1 of 2", ">closed by peer<", ">55<", "2026-03-29 00:30 UTC", "data-still"},
			"/connect": {"&#43;tcp://edge.example:3333", "YourName.worker"}, "/qr/1": {"<svg"},
		} {
			w := ask("GET", base+path)
			text := w.Body.String()
			for _, part := range want {
				if !strings.Contains(text, part) {
					t.Errorf("%s has no %q:\n%s", base+path, part, text)
				}
			}
			if w.Code != http.StatusOK || strings.Contains(text, "secret") || strings.Contains(text, "10.1.2.3") || strings.Contains(text, "/blocks") {
				t.Errorf("%s: %d %s", base+path, w.Code, text)
			}
			if w.Header().Get("Content-Type") == pageType {
				checkPage(t, path, text)
				checkLinks(t, base, path, text)
			}
			if w := ask("POST", base+path); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("POST %s: %d", path, w.Code)
			}
		}
		for _, path := range []string{"/blocks", "/api/v1/pool", "/user/alice", "/qr/2"} {
			if w := ask("GET", base+path); w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "/blocks") {
				t.Errorf("%s: %d", path, w.Code)
			}
		}
	}
	lost := twoPools()
	lost.pools[0].Alive, lost.pools[0].Active = false, false
	w := httptest.NewRecorder()
	anEdge(t, lost, "").handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if text := w.Body.String(); !strings.Contains(text, "No pool serves miners") || !strings.Contains(text, "0 of 2") {
		t.Error(text)
	}
}

// It follows what happens without a stream, complains of nothing, and fits a phone.
func TestBrowserEdge(t *testing.T) {
	s := anEdge(t, twoPools(), "")
	server := httptest.NewServer(s.handler)
	defer server.Close()
	b := newTab(browser(t), t)
	for _, path := range []string{"/", "/connect"} {
		for _, width := range []int64{1200, 360} {
			b.do(chromedp.EmulateViewport(width, 800), chromedp.Navigate(server.URL+path))
			if wide := eval[float64](b, "document.documentElement.scrollWidth"); wide > float64(width) {
				t.Errorf("%s is %v wide on a screen of %d", path, wide, width)
			}
		}
		b.do(script(axe))
		for _, v := range eval[[]struct{ ID, Impact, Help string }](b, "axe.run().then(r => r.violations)") {
			if v.Impact == "serious" || v.Impact == "critical" {
				t.Errorf("%s: %s: %s", path, v.ID, v.Help)
			}
		}
		b.quiet(path)
	}
}
