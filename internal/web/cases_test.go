package web

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	goqr "github.com/piglig/go-qr"
	"golang.org/x/net/html"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
)

var update = flag.Bool("update", false, "write golden texts anew")

// What dashboards of other pools read keeps its names and kinds: a release that moved
// routes left them blank (xmrig/xmrig-proxy#201). testdata/legacy.txt may only grow.
func TestLegacyForms(t *testing.T) {
	s := aServer(t, aPool(), nil)
	seen := map[string]bool{}
	for _, path := range []string{"/pool/pool.status", "/api/client/alice", "/api/pool", "/api/network", "/api/info"} {
		w := get(s, path)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != jsonType {
			t.Fatalf("%s: %d", path, w.Code)
		}
		decoder := json.NewDecoder(w.Body)
		for decoder.More() { // pool.status has several objects
			var v any
			if err := decoder.Decode(&v); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			members(seen, path, v)
		}
	}
	var have []string
	for m := range seen {
		have = append(have, m)
	}
	slices.Sort(have)
	const file = "testdata/legacy.txt"
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(have, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(have, "\n") + "\n"; text != string(golden) {
		t.Errorf("have\n%s\nwant\n%s", text, golden)
	}
}

// members notes all members of a value with their kinds.
func members(seen map[string]bool, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			members(seen, path+" "+name, member)
		}
	case []any:
		for _, e := range v {
			members(seen, path+"[]", e)
		}
	default:
		seen[fmt.Sprintf("%s %T", path, v)] = true
	}
}

// A miner without a share is on the page all the same, with what to expect of it, and
// without scripts (BitMaker-hub/NerdMiner_v2#756, mrv777/ckstats#4). One that is connected
// and silent is listed with that (NMminer1024/NMMiner#91).
func TestFirstShareOnPages(t *testing.T) {
	f := aPool()
	at := func(ago time.Duration) control.Time { return control.At(time.Now().Add(-ago)) }
	f.users = []control.User{{User: "nerd", Workers: 2}}
	f.workers["nerd"] = []control.Worker{
		{User: "nerd", Worker: "nerd.first", Started: at(5 * time.Minute)},
		{User: "nerd", Worker: "nerd.silent", Started: at(time.Hour), LastShare: at(30 * time.Minute), Rates: control.Rates{DSPS5: 0.1}},
	}
	f.miners["nerd"] = []control.Connection{{Worker: "nerd.first", Difficulty: 0.001, UserAgent: "NerdMinerV2"}, {Worker: "nerd.silent", Difficulty: 1}}
	s := aServer(t, f, nil)
	for path, want := range map[string][]string{
		"/user/nerd":                    {"Connected, no share yet", "nerd.first", "nerd.silent", "NerdMinerV2"},
		"/user/nerd/worker/nerd.first":  {"Connected 5m 0s ago, no share yet. At difficulty 0.001", "one of 100 kH/s every 42s", "never"},
		"/user/nerd/worker/nerd.silent": {"No share for 30m 0s, expected every 10s."},
	} {
		text := html.UnescapeString(get(s, path).Body.String())
		for _, part := range want {
			if !strings.Contains(text, part) {
				t.Errorf("%s has no %q", path, part)
			}
		}
	}
	var w workerAnswer
	if err := json.Unmarshal(get(s, "/api/v1/users/nerd/workers/nerd.first").Body.Bytes(), &w); err != nil || w.LastShare != nil || w.Expected != nil || !w.Connected {
		t.Errorf("%v: %+v", err, w)
	}
}

// Scripts make nothing of strings but text, and ask nobody else for anything.
func TestScripts(t *testing.T) {
	made := regexp.MustCompile(`innerHTML\s*[+]?=[^=]|outerHTML\s*[+]?=[^=]|insertAdjacentHTML|document\.write|\beval\(|new Function|setTimeout\(\s*["'` + "`" + `]|javascript:`)
	other := regexp.MustCompile(`https?://[a-z]`)
	names, err := fs.Glob(assets, "assets/*")
	if err != nil || len(names) < 6 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		text, err := assets.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		own := strings.HasSuffix(name, "page.js") || strings.HasSuffix(name, "stream.js")
		if found := made.Find(text); found != nil && own {
			t.Errorf("%s: %s", name, found)
		}
		if found := other.FindAll(text, -1); len(found) > 0 && (own || strings.HasSuffix(name, ".css")) {
			t.Errorf("%s: %q", name, found)
		}
	}
	for _, path := range allPaths("alice") {
		if found := other.FindString(get(aServer(t, aPool(), nil), path).Body.String()); found != "" && !strings.HasSuffix(path, ".json") && path != "/qr/1" {
			t.Errorf("%s: %s", path, found)
		}
	}
}

// A list is bounded, however many there are, and a page of many is a small one
// (fireice-uk/xmr-stak#124: thousands of lines hung it).
func TestListsBounded(t *testing.T) {
	f := aPool()
	f.users, f.blocks = nil, nil
	for i := range 5000 {
		name := fmt.Sprint("user", i)
		f.users = append(f.users, control.User{User: name, BestEver: 1})
		f.workers["alice"] = append(f.workers["alice"], control.Worker{User: "alice", Worker: fmt.Sprint("alice.", i)})
	}
	f.users = append(f.users, control.User{User: "alice"})
	for i := range 1000 {
		f.blocks = append(f.blocks, control.Block{Height: int64(i), Hash: strings.Repeat("0", 64), State: "confirmed 100"})
	}
	s := aServer(t, f, nil)
	for _, path := range []string{"/", "/user/alice", "/blocks", "/search?search=user", "/api/v1/users", "/api/v1/users/alice/workers", "/api/v1/blocks", "/api/client/alice"} {
		if w := get(s, path); w.Code != http.StatusOK || w.Body.Len() > 100<<10 {
			t.Errorf("%s: %d with %d bytes", path, w.Code, w.Body.Len())
		}
	}
}

// Whatever a path or header is, nothing outside is served, no header of an answer has what
// a stranger wrote, and the program goes on.
func TestHostileRequests(t *testing.T) {
	s := aServer(t, aPool(), func(c *config.Config) { c.HTTPBase = "/a" })
	for _, path := range []string{
		"/assets/../../../../etc/passwd", "/assets/x/..%2f..%2fweb.go", "/assets/x/%2e%2e/%2e%2e/etc/passwd", "/assets//etc/passwd", "/assets/x/", "/assets/",
		"/users/..%2f..%2fetc%2fpasswd", "/users/%2e%2e", "/user/%00", "/user/..%5c..%5cx", "/pool/../ckpool.conf", "/pool/..%2fckpool.conf", "/a/a/a/", "/a//etc/passwd",
		"/user/x%0d%0aSet-Cookie:%20a=b", "/api/v1/users/x%0d%0aX-Evil:%201", "/search?search=%0d%0aSet-Cookie:%20a=b", "//evil.example/", "/a//evil.example/..", "/%5cevil.example/",
		"/qr/-1", "/qr/99999999999999999999", "/api/v1/users?cursor=99999999999999999999", "/user/" + strings.Repeat("x", 12_000), "/search?search=" + strings.Repeat("%ff", 4000),
	} {
		r := httptest.NewRequest("GET", "http://pool.example/", nil)
		u, err := r.URL.Parse("http://pool.example" + path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		r.URL, r.RemoteAddr = u, "198.51.100.9:1"
		r.Host = "x\r\nSet-Cookie: a=b"
		r.Header.Set("X-Forwarded-Host", "evil.example\r\nX-Evil: 1")
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		for name, values := range w.Header() {
			text := name + ": " + strings.Join(values, ", ")
			if strings.ContainsAny(text, "\r\n") || name == "Set-Cookie" || name == "X-Evil" || name == "Location" && !strings.HasPrefix(values[0], "/") || strings.HasPrefix(w.Header().Get("Location"), "//") {
				t.Errorf("%s: %s", path, text)
			}
		}
		if text := w.Body.String(); strings.Contains(text, "root:") || strings.Contains(text, "package web") || strings.Contains(text, "btcd") || w.Code >= 500 {
			t.Errorf("%s: %d %.200s", path, w.Code, text)
		}
	}
}

// What is in the configuration and nobody's business is on no page.
func TestNoSecrets(t *testing.T) {
	const secret = "hunter2"
	s := aServer(t, aPool(), func(c *config.Config) {
		c.Password, c.LinkSecret = secret, secret
		c.Nodes = []bitcoind.Config{{URL: secret + ":" + secret + "@127.0.0.1:8332", User: secret, Pass: secret, Cookie: "/" + secret}}
		c.Proxies = []config.Upstream{{URL: "pool.example:3333", User: secret, Pass: secret, SOCKS5: secret + ":" + secret + "@127.0.0.1:9050"}}
	})
	for _, path := range append(allPaths("alice"), "/nothing", "/api/v1/nothing") {
		if text := get(s, path).Body.String(); strings.Contains(text, secret) {
			t.Errorf("%s tells a password", path)
		}
	}
}

// The picture on the page is of the address beside it (getumbrel/umbrel-apps#5698).
func TestQRIsOfTheAddress(t *testing.T) {
	s := aServer(t, aPool(), func(c *config.Config) { c.Servers[0].PublicURL = "stratum+tcp://pool.lan:23333" })
	code, err := goqr.EncodeText("stratum+tcp://pool.lan:23333", goqr.Medium)
	if err != nil {
		t.Fatal(err)
	}
	want, err := code.ToSVGBytes(goqr.NewQrCodeImgConfig(1, 4, goqr.WithOptimalSVG()))
	if err != nil {
		t.Fatal(err)
	}
	if got := get(s, "/qr/1").Body.String(); got != string(want) {
		t.Errorf("%.200s", got)
	}
	if text := html.UnescapeString(get(s, "/connect").Body.String()); !strings.Contains(text, "stratum+tcp://pool.lan:23333") {
		t.Error("the address is not on the page")
	}
}

// Each counter on the page says what it counts (duckaxe/bassin#19).
func TestCountersExplained(t *testing.T) {
	text := get(aServer(t, aPool(), nil), "/").Body.String()
	for _, counter := range []string{"Accepted", "Rejected", "Answered in", "New block told in"} {
		if !regexp.MustCompile(`<dt title="[^"]{20,}">` + counter + `</dt>`).MatchString(text) {
			t.Errorf("%s is not explained", counter)
		}
	}
	for reason, say := range meaning {
		if len(say[0]) < 20 || len(say[1]) < 20 {
			t.Errorf("%s: %q", reason, say)
		}
	}
}

// Scripts of other sites read nothing for which people log in (xmrig/xmrig-proxy#566 is
// about what is public).
func TestNoOtherOrigins(t *testing.T) {
	s, _ := accountServer(t, everyone(t), Place{})
	for _, path := range append(accountPaths(s), "/login", "/api/v1/account", "/api/v1/openapi.json") {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Origin", "https://evil.example")
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		for name := range w.Header() {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s", path, name)
			}
		}
	}
}
