package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/html"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/history"
	"github.com/ckpool/ckpool/poolproto"
)

// What strangers chose as a name is text wherever it is shown: no element of a page is
// made of it, and no control character of a terminal is left in JSON.
func TestHostileNames(t *testing.T) {
	f := aPool()
	s := aServer(t, f, func(c *config.Config) { c.PoolTag = "a<b>&\"c" })
	for _, path := range allPaths(hostile) {
		w := get(s, path)
		text := w.Body.String()
		switch kind := w.Header().Get("Content-Type"); {
		case w.Code != http.StatusOK:
			t.Errorf("%s: %d %s", path, w.Code, text)
		case strings.HasPrefix(path, "/users/"), strings.HasPrefix(path, "/pool/"):
			// As the files are, for scripts: no browser takes it for anything else.
			if strings.Contains(text, "\x1b") && strings.HasPrefix(path, "/pool/") || kind != jsonType || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %s %s", path, kind, text)
			}
		case kind == jsonType:
			if strings.ContainsAny(text, "<>\x1b") || !json.Valid([]byte(text)) {
				t.Errorf("%s: %s", path, text)
			}
		case kind == pageType:
			checkPage(t, path, text)
		}
	}
}

// checkPage finds what only a name could have brought in.
func checkPage(t *testing.T, path, text string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "script" && (n.FirstChild != nil || len(n.Attr) != 2) {
			t.Errorf("%s: a script of its own", path)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || n.Data == "b" || a.Key == "src" && !strings.HasPrefix(a.Val, "/") {
				t.Errorf("%s: <%s %s=%q>", path, n.Data, a.Key, a.Val)
			}
		}
	}
}

// Nothing that is public tells where the pool, its nodes or its miners are, or what it
// runs on.
func TestNothingInner(t *testing.T) {
	f := aPool()
	f.proxies = []control.Proxy{{ID: 1, Global: true, Auth: "secret-account", Pass: "secret-pass", Alive: true, ProxyPlace: control.ProxyPlace{URL: "upstream.secret.example:3333", Reason: "secret reason"}}}
	s := aServer(t, f, func(c *config.Config) { c.Servers[0].URL = "10.0.0.5:3333" })
	for _, path := range allPaths("alice") {
		w := get(s, path)
		text := w.Body.String()
		for name, values := range w.Header() {
			text += name + strings.Join(values, " ")
		}
		for _, inner := range []string{"10.1.2.3", "10.0.0.5", "10.9.9.9", "secret", "203.0.113", "Satoshi", "upstream.", "127.0.0.1"} {
			if strings.Contains(text, inner) {
				t.Errorf("%s tells %q:\n%s", path, inner, text)
			}
		}
	}
}

// A hidden user is nowhere, and who asks for one hears what he hears of nobody.
func TestPrivateUsers(t *testing.T) {
	t.Run("by the configuration", func(t *testing.T) { testPrivate(t, func(c *config.Config) { c.PrivateUsers = []string{"alice"} }, nil) })
	t.Run("by ckdb", func(t *testing.T) { testPrivate(t, nil, map[string]bool{"alice": true}) })
	// The pool finds an address however it is written, so that all forms are hidden.
	f := aPool()
	const address = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
	if s := aServer(t, f, func(c *config.Config) { c.PrivateUsers = []string{address} }); !s.hidden(address) || !s.hidden(strings.ToUpper(address)) || s.hidden("bob") {
		t.Error("an address in capitals is shown")
	}
	all := aServer(t, f, func(c *config.Config) { c.PrivateUsers = []string{"*"} })
	for _, path := range []string{"/", "/api/v1/users", "/api/v1/best", "/api/v1/blocks", "/blocks", "/api/pool", "/api/info"} {
		if text := get(all, path).Body.String(); strings.Contains(text, "alice") {
			t.Errorf("%s shows a user", path)
		}
	}
}

func testPrivate(t *testing.T, configured func(*config.Config), private map[string]bool) {
	f := aPool()
	f.private = private
	s := aServer(t, f, configured)
	without := func(path string) string { return strings.ReplaceAll(path, "alice", "nobody") }
	for _, path := range allPaths("alice") {
		w := get(s, path)
		if text := w.Body.String(); strings.Contains(text, "alice") && !strings.Contains(path, "search") {
			t.Errorf("%s shows her:\n%s", path, text)
		}
		if path == without(path) || strings.HasPrefix(path, "/search") {
			continue
		}
		if other := get(s, without(path)); other.Code != w.Code || other.Code != http.StatusNotFound || w.Body.String() != other.Body.String() {
			t.Errorf("%s: %d and %d of nobody", path, w.Code, other.Code)
		}
	}
	if text := get(s, "/search?search=alice").Body.String(); !strings.Contains(text, "Nobody of the name") {
		t.Errorf("search finds her:\n%s", text)
	}
	if e, err := s.event(t.Context(), "alice", true, began); err == nil {
		t.Errorf("a stream tells %s", e)
	}
}

// While there is no work and before there are figures the answer is 503 with a time to
// try again, and 404 is for what is not there.
func TestNotYet(t *testing.T) {
	f := aPool()
	f.file, f.work, f.pool.Height = nil, nil, 0
	s := aServer(t, f, nil)
	for _, path := range []string{"/pool/pool.status", "/api/v1/users/alice/work", "/api/network", "/api/pool", "/api/v1/pool"} {
		if w := get(s, path); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d, Retry-After %q", path, w.Code, w.Header().Get("Retry-After"))
		}
	}
	for _, path := range []string{"/users/nobody", "/api/v1/users/nobody", "/user/nobody", "/api/client/nobody", "/nothing", "/api/v1/nothing", "/qr/2", "/assets/x/../../web.go"} {
		if w := get(s, path); w.Code != http.StatusNotFound && w.Code != http.StatusMovedPermanently && w.Code != http.StatusTemporaryRedirect {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := get(s, "/"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "no work yet") {
		t.Errorf("the page does not say that there is no work: %d", w.Code)
	}
	f.pool.NetworkDifficulty = 0
	if text := get(aServer(t, f, nil), "/").Body.String(); !strings.Contains(text, `<span data-text="network">–</span>`) {
		t.Error("a difficulty of the network is told that is not known")
	}
}

// What is wrong stands on every page, in words.
func TestAlarm(t *testing.T) {
	for _, tt := range []struct {
		age    time.Duration
		usable bool
		every  time.Duration // work is updated
		want   string
	}{
		{time.Second, true, 30 * time.Second, ""}, {119 * time.Second, true, 30 * time.Second, ""}, {119 * time.Second, true, time.Second, ""},
		{5 * time.Minute, true, 30 * time.Second, "Miners have work that is 5m"}, {time.Minute, false, 30 * time.Second, "No Bitcoin node answers"},
		{5 * time.Minute, true, 5 * time.Minute, ""}, {21 * time.Minute, true, 5 * time.Minute, "Miners have work that is 21m"},
	} {
		f := aPool()
		f.usable = tt.usable
		w := f.work[""]
		w.Made = control.At(time.Now().Add(-tt.age))
		f.work[""] = w
		for _, path := range []string{"/", "/user/alice", "/blocks", "/connect"} {
			text := get(aServer(t, f, func(c *config.Config) { c.UpdateInterval = tt.every }), path).Body.String()
			if has := strings.Contains(text, `role="alert"`); has != (tt.want != "") || !strings.Contains(text, tt.want) {
				t.Errorf("%s with work of %v, usable %v: alarm %v, want %q", path, tt.age, tt.usable, has, tt.want)
			}
		}
	}
}

// Nothing can be written, whoever asks.
func TestReadOnly(t *testing.T) {
	s := aServer(t, aPool(), nil)
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
		for _, path := range allPaths("alice") {
			if w := from(s, "127.0.0.1:1", method, path); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
		}
	}
}

// What every answer says to browsers.
func TestHeaders(t *testing.T) {
	s := aServer(t, aPool(), nil)
	for _, path := range append(allPaths("alice"), "/nothing", "/assets/x/page.js", "/api/v1/nothing") {
		h := get(s, path).Header()
		csp := h.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s: policy %q", path, csp)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Access-Control-Allow-Origin": "", "Set-Cookie": ""} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
	}
}

// Scripts of other sites read what the operator lets them.
func TestOrigins(t *testing.T) {
	s := aServer(t, aPool(), func(c *config.Config) { c.HTTPOrigins = []string{"https://stats.example"} })
	if h := get(s, "/api/v1/pool", "Origin", "https://stats.example").Header(); h.Get("Access-Control-Allow-Origin") != "https://stats.example" || h.Get("Vary") != "Origin" {
		t.Errorf("allowed: %v", h)
	}
	if h := get(s, "/api/v1/pool", "Origin", "https://evil.example").Header(); h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("not allowed: %v", h)
	}
}

// Below a base, which a reverse proxy has taken off or not, no link leaves it.
func TestBase(t *testing.T) {
	for _, base := range []string{"", "/a/b", "/pool", "/users", "/api"} {
		s := aServer(t, aPool(), func(c *config.Config) { c.HTTPBase = base })
		for _, path := range allPaths("alice") {
			for _, at := range []string{path, base + path} {
				w := get(s, at)
				if w.Code != http.StatusOK {
					t.Errorf("base %q: %s is %d", base, at, w.Code)
				}
				if w.Header().Get("Content-Type") == pageType {
					checkLinks(t, base, at, w.Body.String())
				}
			}
		}
		if base == "" {
			continue
		}
		if w := get(s, base); (w.Code != http.StatusMovedPermanently || w.Header().Get("Location") != base+"/") && base != "/api" && base != "/users" && base != "/pool" {
			t.Errorf("base %q itself: %d %q", base, w.Code, w.Header().Get("Location"))
		}
	}
}

func checkLinks(t *testing.T, base, path, text string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		for _, a := range n.Attr {
			switch a.Key {
			case "href", "src", "action", "data-chart":
				if !strings.HasPrefix(a.Val, base+"/") && a.Val[0] != '#' && a.Val[0] != '?' {
					t.Errorf("base %q: %s has %s=%q", base, path, a.Key, a.Val)
				}
			}
		}
	}
}

// The address that miners are told is one that they can reach.
func TestConnect(t *testing.T) {
	for _, tt := range []struct {
		name, url, public, host, want string
		headers                       []string
		tls                           bool
	}{
		{name: "all addresses", url: "0.0.0.0:3333", want: "stratum+tcp://pool.example:3333"},
		{name: "IPv6", url: "[::]:3333", want: "stratum+tcp://pool.example:3333"},
		{name: "no host", url: ":4000", want: "stratum+tcp://pool.example:4000"},
		{name: "no port", url: "*", want: "stratum+tcp://pool.example:3333"},
		{name: "inner address", url: "172.17.0.2:3333", want: "stratum+tcp://pool.example:3333"},
		{name: "name", url: "mine.example:3333", want: "stratum+tcp://mine.example:3333"},
		{name: "public", url: "172.17.0.2:3333", public: "stratum+tcp://pool.lan:23333", want: "stratum+tcp://pool.lan:23333"},
		{name: "public without scheme", url: "172.17.0.2:3333", public: "pool.lan:23333", want: "stratum+tcp://pool.lan:23333"},
		{name: "TLS in front", url: "172.17.0.2:3333", public: "stratum+ssl://pool.lan:443", want: "stratum+ssl://pool.lan:443"},
		{name: "TLS", url: "0.0.0.0:4333", tls: true, want: "stratum+ssl://pool.example:4333"},
		{name: "reverse proxy", url: "0.0.0.0:3333", headers: []string{"X-Forwarded-Host", "front.example"}, want: "stratum+tcp://front.example:3333"},
		{name: "hostile host", url: "0.0.0.0:3333", headers: []string{"X-Forwarded-Host", `"><script>`}, want: "stratum+tcp://:3333"},
	} {
		s := aServer(t, aPool(), func(c *config.Config) {
			c.Servers[0].URL, c.Servers[0].PublicURL = tt.url, tt.public
			if tt.tls {
				c.Servers[0].TLSCert, c.Servers[0].TLSKey = "cert", "key"
			}
			link := c.Servers[0]
			link.Links, link.URL = poolproto.Node, "0.0.0.0:9999"
			c.Servers = append(c.Servers, link)
		})
		var reply struct {
			Listeners []struct{ URL, Host, Port string }
		}
		w := from(s, "10.0.0.1:5", "GET", "/api/v1/connect", tt.headers...)
		if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil || len(reply.Listeners) != 1 || reply.Listeners[0].URL != tt.want {
			t.Errorf("%s: %s (%v), want %s", tt.name, w.Body, err, tt.want)
			continue
		}
		page := from(s, "10.0.0.1:5", "GET", "/connect", tt.headers...).Body.String()
		if !strings.Contains(html.UnescapeString(page), tt.want) {
			t.Errorf("%s: not on the page", tt.name)
		}
	}
}

// Who says that it has an answer is believed, also through a reverse proxy that compresses
// answers and so weakens their tags, and through one that folds headers.
func TestKnown(t *testing.T) {
	s := aServer(t, aPool(), nil)
	tag := get(s, "/api/v1/openapi.json").Header().Get("ETag")
	for header, want := range map[string]int{
		tag: 304, "W/" + tag: 304, `"x",` + tag: 304, `"x" , W/` + tag + ` ,"y"`: 304, "*": 304,
		`"x"`: 200, "W/": 200, strings.Trim(tag, `"`): 200, "": 200,
	} {
		if w := get(s, "/api/v1/openapi.json", "If-None-Match", header); w.Code != want {
			t.Errorf("%s: %d, want %d", header, w.Code, want)
		}
	}
}

// A list that is empty is a list: work without transactions has an empty branch.
func TestEmptyBranch(t *testing.T) {
	f := aPool()
	w := f.work["alice"]
	w.Branch, w.Transactions = nil, 0
	f.work["alice"] = w
	if text := get(aServer(t, f, nil), "/api/v1/users/alice/work").Body.String(); !strings.Contains(text, `"merkle_branch":[],`) {
		t.Error(text)
	}
}

// Readers cost no more than one: what is asked again within a second is not made again,
// and who has it already is told so.
func TestCached(t *testing.T) {
	f := aPool()
	s := aServer(t, f, nil)
	began := time.Now()
	tag := get(s, "/api/v1/pool").Header().Get("ETag")
	for range 1000 {
		if w := get(s, "/api/v1/pool", "If-None-Match", tag); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
			if time.Since(began) < fresh {
				t.Fatalf("%d with %d bytes", w.Code, w.Body.Len())
			}
			return // a slow machine: a second has passed
		}
	}
	if most := 3 + int(time.Since(began)/fresh); f.asked > most {
		t.Errorf("figures were made %d times, want %d at most", f.asked, most)
	}
}

// However many different things are asked for, what is kept is bounded, and the pool is
// not looked at for each.
func TestCacheBounded(t *testing.T) {
	f := aPool()
	s := aServer(t, f, nil)
	began := time.Now()
	for i := range 3 * maxAnswers {
		path := "/api/v1/nodes"
		if i%50 == 0 {
			path = "/blocks"
		}
		get(s, path+"?search="+strings.Repeat("y", i%7)+time.Duration(i).String())
	}
	s.answers.mu.Lock()
	defer s.answers.mu.Unlock()
	if n := s.answers.values.Len(); n > maxAnswers || s.answers.sizes > maxAnswerBytes {
		t.Errorf("%d answers of %d bytes are kept", n, s.answers.sizes)
	}
	if most := 2 + int(time.Since(began)/freshFigures); f.asked > most {
		t.Errorf("the pool was looked at %d times, want %d at most", f.asked, most)
	}
	// Much in few answers is forgotten as well.
	c := newCache(time.Hour, 100, func(string, int) int { return 60 })
	for key := range 5 {
		if _, err := c.get(t.Context(), fmt.Sprint(key), func() (int, error) { return key, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if c.values.Len() != 1 || c.sizes != 60 {
		t.Errorf("%d values of %d", c.values.Len(), c.sizes)
	}
}

// What makes no difference to an answer makes none for what is kept: who adds parameters
// or changes the name of the host has the same answer.
func TestOneAnswer(t *testing.T) {
	f := aPool()
	s := aServer(t, f, nil)
	for _, path := range []string{"/", "/api/v1/pool", "/api/v1/nodes", "/user/alice"} {
		want := s.key(httptest.NewRequest("GET", path, nil))
		for _, query := range []string{"?", "?x=1", "?utm_source=" + strings.Repeat("z", 5000), "?search=", "?page=1&user=alice", "?%zz"} {
			r := httptest.NewRequest("GET", "/", nil)
			r.URL.Path, r.URL.RawQuery = path, strings.TrimPrefix(query, "?")
			r.Host = "other.example"
			if got := s.key(r); got != want {
				t.Errorf("%s%s is kept as %.100q, want %q", path, query, got, want)
			}
		}
	}
	keys := map[string]string{}
	for _, path := range []string{
		"/search?search=a%3Fsort%3Db", "/search?search=a&sort=b", "/search%3Fsearch=a", "/user/a%2Fwork", "/user/a/work", "/api/v1/users?limit=1&cursor=2", "/api/v1/users?limit=12",
		"/api/v1/users?cursor=12", "/user/a?sort=name", "/user/a?range=name",
	} {
		key := s.key(httptest.NewRequest("GET", path, nil))
		if before := keys[key]; before != "" {
			t.Errorf("%s and %s are kept as one: %q", before, path, key)
		}
		keys[key] = path
	}
}

// Making answers takes a quarter of one core's time at most, after a first while, whoever
// asks for how many.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTurns()
		const each, askers = 50 * time.Millisecond, 8
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		var made atomic.Int64
		for range askers {
			all.Go(func() {
				for {
					done, err := s.take(ctx)
					if err != nil {
						return
					}
					<-time.After(each)
					made.Add(1)
					done()
				}
			})
		}
		<-time.After(time.Minute)
		cancel()
		all.Wait()
		// The first two seconds are free, and then each second 0.25: 2 + 58/4 of them. The
		// first of them pass while they are used.
		if took := time.Duration(made.Load()) * each; took < 16*time.Second || took > 17500*time.Millisecond {
			t.Errorf("%v of a minute were taken", took)
		}
		// Who then is alone after a quiet while waits for nothing.
		<-time.After(time.Minute)
		began := time.Now()
		done, err := s.take(t.Context())
		if err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		done()
	})
}

// Lists come in parts that together are the whole, each once.
func TestPages(t *testing.T) {
	f := aPool()
	f.workers["alice"] = nil
	for i := range 2500 {
		f.workers["alice"] = append(f.workers["alice"], control.Worker{User: "alice", Worker: "alice." + time.Duration(i).String(), Rates: control.Rates{DSPS60: float64(i % 7)}})
	}
	s := aServer(t, f, nil)
	seen := map[string]bool{}
	path := "/api/v1/users/alice/workers?limit=1000"
	for path != "" {
		var p struct {
			Items []struct{ Worker string }
			Total int
			Next  *string
		}
		if err := json.Unmarshal(get(s, path).Body.Bytes(), &p); err != nil || p.Total != 2500 {
			t.Fatalf("%s: %v, total %d", path, err, p.Total)
		}
		for _, w := range p.Items {
			if seen[w.Worker] {
				t.Errorf("%s is there twice", w.Worker)
			}
			seen[w.Worker] = true
		}
		path = ""
		if p.Next != nil {
			path = "/api/v1/users/alice/workers?limit=1000&cursor=" + *p.Next
		}
	}
	if len(seen) != 2500 {
		t.Errorf("%d workers", len(seen))
	}
	for _, query := range []string{"limit=1001", "limit=-1", "limit=x", "cursor=-1", "sort=shape"} {
		if w := get(s, "/api/v1/users/alice/workers?"+query); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
	if w := get(s, "/api/v1/users/alice/workers?limit=0"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"items":[],`) || !strings.Contains(w.Body.String(), `"next":null`) {
		t.Errorf("a part of no length leads to another one: %d %s", w.Code, w.Body)
	}
	if n := strings.Count(get(s, "/user/alice").Body.String(), `class="gone"`); n != workersOnPage {
		t.Errorf("%d workers on the page", n)
	}
}

// Where a reader comes from: a reverse proxy's word is taken where the operator trusts it.
func TestReader(t *testing.T) {
	s := aServer(t, aPool(), func(c *config.Config) {
		c.HTTPTrustedNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	for _, tt := range []struct{ peer, forwarded, want string }{
		{"198.51.100.9:1", "", "198.51.100.9/32"}, {"198.51.100.9:1", "1.2.3.4", "198.51.100.9/32"},
		{"10.0.0.1:1", "1.2.3.4", "1.2.3.4/32"}, {"10.0.0.1:1", "6.6.6.6, 1.2.3.4", "1.2.3.4/32"}, {"10.0.0.1:1", "junk", "10.0.0.1/32"},
		// A header of the reader's, one of a reverse proxy's.
		{"10.0.0.1:1", "6.6.6.6\n1.2.3.4", "1.2.3.4/32"}, {"10.0.0.1:1", "6.6.6.6, 5.5.5.5\n1.2.3.4", "1.2.3.4/32"}, {"10.0.0.1:1", "6.6.6.6\njunk", "10.0.0.1/32"},
		// Two reverse proxies that are trusted, and one that is not.
		{"10.0.0.1:1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4/32"}, {"10.0.0.1:1", "6.6.6.6, 11.0.0.2", "11.0.0.2/32"}, {"10.0.0.1:1", "10.0.0.3, 10.0.0.2", "10.0.0.3/32"},
		{"[2001:db8::1]:1", "", "2001:db8::/64"}, {"10.0.0.1:1", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"},
		// Some reverse proxies add the port.
		{"10.0.0.1:1", "6.6.6.6:7, 1.2.3.4:5678", "1.2.3.4/32"}, {"10.0.0.1:1", "[2001:db8:1:2:3::4]:5678", "2001:db8:1:2::/64"}, {"10.0.0.1:1", "[2001:db8:1:2:3::4]", "2001:db8:1:2::/64"},
	} {
		r, _ := http.NewRequest("GET", "/", nil)
		r.RemoteAddr = tt.peer
		if tt.forwarded != "" {
			r.Header["X-Forwarded-For"] = strings.Split(tt.forwarded, "\n")
		}
		if got := s.reader(r).String(); got != tt.want {
			t.Errorf("%s for %q: %s, want %s", tt.peer, tt.forwarded, got, tt.want)
		}
	}
}

// A miner without a share is told what to expect, one that went silent too.
func TestSilence(t *testing.T) {
	now := began.Add(time.Hour)
	at := func(d time.Duration) *time.Time { t := now.Add(-d); return &t }
	f := func(v float64) *float64 { return &v }
	for _, tt := range []struct {
		worker workerAnswer
		want   string
	}{
		{workerAnswer{}, ""},
		{workerAnswer{Connected: true, Since: at(5 * time.Minute), Difficulty: f(1)}, "Connected 5m 0s ago, no share yet. At difficulty 1 a miner of 1 TH/s finds one every 0s, one of 100 kH/s every 11h 55m."},
		{workerAnswer{Connected: true, LastShare: at(time.Minute), Expected: f(10)}, ""},
		{workerAnswer{Connected: true, LastShare: at(10 * time.Minute), Expected: f(10)}, "No share for 10m 0s, expected every 10s."},
		{workerAnswer{Connected: true, LastShare: at(10 * time.Minute), Expected: f(300)}, ""},
	} {
		if got := silence(&tt.worker, now); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.worker, got, tt.want)
		}
	}
}

// A curve is what history has, with gaps as null; without history the answer is 503.
func TestCurves(t *testing.T) {
	f := aPool()
	s := aServer(t, f, nil)
	var c struct {
		Start   time.Time
		Period  float64 `json:"period_seconds"`
		Figures map[string][]*float64
	}
	w := get(s, "/api/v1/pool/history?range=week")
	if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil || !c.Start.Equal(began) || c.Period != 60 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	for name, values := range c.Figures {
		for i, v := range values {
			if (v == nil) != (i >= 20 && i < 30) {
				t.Errorf("%s: value %d is %v", name, i, v)
			}
		}
		if len(values) != 60 {
			t.Errorf("%s: %d values", name, len(values))
		}
	}
	// As the figures are listed: accepted is 4, rejected 5 of something.
	if part := c.Figures["rejected_part"][0]; *part < 0.555 || *part > 0.556 {
		t.Errorf("rejected are %v", *part)
	}
	for path, want := range map[string]int{
		"/api/v1/pool/history?range=hour": http.StatusBadRequest, "/api/v1/users/nobody/history": http.StatusNotFound,
		"/api/v1/users/alice/workers/alice.none/history": http.StatusNotFound, "/api/v1/users/alice/history?range=month": http.StatusOK,
	} {
		if w := get(s, path); w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
	f.lost = history.ErrClosed
	if w := get(s, "/api/v1/pool/history"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("without history: %d", w.Code)
	}
}

// Who waits for an answer that could not be made, whatever became of it, makes it himself.
func TestCacheAfterPanic(t *testing.T) {
	c := newCache(time.Hour, 100, func(string, string) int { return 1 })
	func() {
		defer func() { _ = recover() }()
		_, _ = c.get(t.Context(), "x", func() (string, error) { panic("of a test") })
	}()
	if v, err := c.get(t.Context(), "x", func() (string, error) { return "1", nil }); err != nil || v != "1" {
		t.Errorf("%q, %v", v, err)
	}
}

// How lucky the pool was with a block is what the network wants for one to what the pool
// had done. A lost one has no luck, and one whose work is not known, as in a table of an
// earlier version, none either.
func TestLuck(t *testing.T) {
	f := aPool()
	block := func(height int64, work float64, state string) control.Block {
		return control.Block{Height: height, Hash: "00", Difficulty: 100, Work: work, State: state}
	}
	f.blocks = []control.Block{block(1, 0, "confirmed 100"), block(2, 50, "confirmed 90"), block(3, 70, "orphaned"), block(4, 80, "rejected: x"), block(5, 150, "pending")}
	s := aServer(t, f, nil)
	var list struct {
		Items []struct {
			Height     int64
			Work, Luck *float64
		}
	}
	if err := json.Unmarshal(get(s, "/api/v1/blocks").Body.Bytes(), &list); err != nil || len(list.Items) != 5 {
		t.Fatalf("%v, %d blocks", err, len(list.Items))
	}
	want := map[int64]float64{2: 2, 5: 100. / 150}
	for _, b := range list.Items {
		if luck, known := want[b.Height]; known != (b.Luck != nil) || known && *b.Luck != luck || (b.Work == nil) != (b.Height == 1) {
			t.Errorf("block %d: work %v, luck %v", b.Height, b.Work, b.Luck)
		}
	}
	var p struct {
		Luck *struct {
			Blocks int
			Luck   float64
		}
	}
	// Half of what a block takes and one and a half: as expected.
	if err := json.Unmarshal(get(s, "/api/v1/pool").Body.Bytes(), &p); err != nil || p.Luck == nil || p.Luck.Blocks != 2 || p.Luck.Luck != 1 {
		t.Errorf("%v, %+v", err, p.Luck)
	}
	if text := get(s, "/blocks").Body.String(); !strings.Contains(text, "the last 2 whose work is known: 100%") || !strings.Contains(text, ">200%<") || !strings.Contains(text, ">67%<") {
		t.Error(text)
	}
	f.blocks = f.blocks[:1]
	if text := get(aServer(t, f, nil), "/api/v1/pool").Body.String(); !strings.Contains(text, `"luck":null`) {
		t.Error(text)
	}
}

// What public-pool's page asks for has its names and kinds.
func TestPublicPoolInfo(t *testing.T) {
	s := aServer(t, aPool(), nil)
	var info struct {
		UserAgents []struct {
			UserAgent                     string
			Count                         int64
			BestDifficulty, TotalHashRate float64
		}
		BlockData []struct{ Height int64 }
	}
	if err := json.Unmarshal(get(s, "/api/info").Body.Bytes(), &info); err != nil {
		t.Fatal(err)
	}
	if a := info.UserAgents; len(a) != 2 || a[0].UserAgent != "bitaxe" || a[0].Count != 2 || a[0].BestDifficulty != 4e9 || a[0].TotalHashRate != 1.5e12 || len(info.BlockData) != 2 {
		t.Errorf("%+v", info)
	}
	f := aPool()
	f.file = nil // the pool has just started
	if text := get(aServer(t, f, nil), "/api/info").Body.String(); !strings.Contains(text, `"userAgents":[]`) {
		t.Error(text)
	}
}

// How miners come and why they go.
func TestConnections(t *testing.T) {
	s := aServer(t, aPool(), nil)
	text := get(s, "/").Body.String()
	for _, want := range []string{`<tr><td>3333</td><td class="n">3</td></tr>`, `<tr><td>closed by peer</td><td class="n">31</td></tr>`, `<tr><td>idle</td><td class="n">4</td></tr>`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(text, "bad input") {
		t.Error("a reason that there was not")
	}
}
