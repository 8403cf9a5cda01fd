package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/latency"
	"github.com/ckpool/ckpool/internal/operator"
)

// still is a pool that does always the same.
type still operator.Figures

func (s still) Figures(time.Time) operator.Figures { return operator.Figures(s) }

// busy is a pool of which every figure is another one.
func busy() still {
	now := time.Now()
	s := still{
		Version: "1.2.3", Started: time.UnixMilli(1795327613500), Usable: true,
		Pool: control.PoolStats{
			Workers: 31, Users: 12, Disconnected: 3, Accepted: 185, BestShare: 77.5, NetworkDifficulty: 126e12, Height: 900008,
			Work: control.At(now.Add(-time.Hour)), DSPS1: 1, DSPS5: 2, DSPS15: 3, DSPS60: 4, DSPS360: 5, DSPS1440: 6, DSPS10080: 7,
			TotalAccepted: 1850, TotalRejected: 15, TotalAcceptedCount: 5310, TotalRejectedCount: 12,
		},
		Rejects: control.Counts{{Name: "stale", Count: 8}, {Name: "above target", Count: 4}},
		Connector: control.ConnectorStats{
			Clients: control.Made{Objects: control.Objects{Count: 33}, Generated: 400}, Entering: control.Made{Objects: control.Objects{Count: 2}},
			Sends: control.Made{Objects: control.Objects{Count: 5, Memory: 6000}}, Delays: control.Made{Generated: 9},
			Drops: control.Counts{{Name: "closed by the client", Count: 360}, {Name: "no work", Count: 7}},
		},
		Nodes: []control.Node{
			{URL: "127.0.0.1:8332", State: "ok", Current: true, Height: 900007, LatencyMS: 1.5}, {URL: "b.example:8332", State: "down", Height: -1},
			{URL: "127.0.0.1:8332", State: "ok", Height: 900007}, // listed twice
		},
		Journal: control.Journal{Kept: true, UnsafeShares: 14, UnsafeBytes: 1400, UnsafeAgeMS: 45, LostShares: 1, Size: 123456, Error: "disk full",
			Readers: []control.JournalReader{{Name: "ckdb", Behind: 3}, {Name: "copy", Behind: 700}}},
		Blocks:    control.Counts{{Name: "pending", Count: 1}, {Name: "confirmed", Count: 20}},
		Links:     control.Counts{{Name: "passthrough", Count: 2}},
		Listeners: control.Counts{{Name: "[::]:3333", Count: 30}, {Name: "[::]:443", Count: 3}},
		Expires:   time.Unix(1800000000, 0),
	}
	s.LastNotified = 25 * time.Millisecond
	var c latency.Counter
	c.Count(75*time.Microsecond, 5)
	c.Count(time.Minute, 1)
	c.AddTo(&s.Answers)
	c.Count(time.Millisecond, 2)
	c.AddTo(&s.Notifies)
	return s
}

// scraped is what a pool's handler answers, but for what is of Go and the process.
func scraped(t *testing.T, h http.Handler) (series []string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, prefix) || strings.HasPrefix(line, accountPrefix) {
			series = append(series, strings.TrimSpace(line))
		}
	}
	return series
}

func TestValues(t *testing.T) {
	got := scraped(t, Handler(busy()))
	for _, want := range []string{
		`ckpool_build_info{version="1.2.3"} 1`,
		`ckpool_start_time_seconds 1.7953276135e+09`,
		`ckpool_shares_total{reason="",verdict="accepted"} 5310`,
		`ckpool_shares_total{reason="stale",verdict="rejected"} 8`,
		`ckpool_shares_total{reason="above target",verdict="rejected"} 4`,
		`ckpool_shares_difficulty_total{verdict="accepted"} 1850`,
		`ckpool_shares_difficulty_total{verdict="rejected"} 15`,
		`ckpool_hashes_per_second{window="1m"} 4.294967296e+09`,
		`ckpool_hashes_per_second{window="7d"} 3.0064771072e+10`,
		`ckpool_miners 31`, `ckpool_users 12`, `ckpool_resumable_sessions 3`,
		`ckpool_round_difficulty 185`, `ckpool_round_best_share_difficulty 77.5`,
		`ckpool_connections 33`, `ckpool_connections_entering 2`, `ckpool_connections_accepted_total 400`,
		`ckpool_connections_closed_total{reason="closed by the client"} 360`, `ckpool_connections_closed_total{reason="no work"} 7`,
		`ckpool_slow_connections 5`, `ckpool_unsent_bytes 6000`, `ckpool_replaced_notifies_total 9`,
		`ckpool_links{role="passthrough"} 2`,
		`ckpool_listener_miners{listener="[::]:3333"} 30`, `ckpool_listener_miners{listener="[::]:443"} 3`, `ckpool_certificate_expiry_timestamp_seconds 1.8e+09`,
		`ckpool_share_latency_seconds_bucket{le="5e-05"} 0`, `ckpool_share_latency_seconds_bucket{le="0.0001"} 5`,
		`ckpool_share_latency_seconds_bucket{le="10"} 5`, `ckpool_share_latency_seconds_bucket{le="+Inf"} 6`,
		`ckpool_share_latency_seconds_count 6`, `ckpool_share_latency_seconds_sum 60.000375`,
		`ckpool_notify_latency_seconds_count 8`, `ckpool_last_notify_seconds 0.025`,
		`ckpool_work_usable 1`, `ckpool_work_height 900008`, `ckpool_network_difficulty 1.26e+14`,
		`ckpool_blocks{state="pending"} 1`, `ckpool_blocks{state="confirmed"} 20`,
		`ckpool_node_up{node="127.0.0.1:8332"} 1`, `ckpool_node_up{node="b.example:8332"} 0`,
		`ckpool_node_current{node="127.0.0.1:8332"} 1`, `ckpool_node_height{node="b.example:8332"} NaN`,
		`ckpool_node_latency_seconds{node="127.0.0.1:8332"} 0.0015`,
		`ckpool_journal_kept 1`, `ckpool_journal_failing 1`, `ckpool_journal_unsafe_shares 14`, `ckpool_journal_unsafe_bytes 1400`,
		`ckpool_journal_unsafe_age_seconds 0.045`, `ckpool_journal_lost_shares_total 1`, `ckpool_journal_bytes 123456`,
		`ckpool_journal_readers 2`, `ckpool_journal_behind_records 700`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
	var age float64
	for _, line := range got {
		if v, ok := strings.CutPrefix(line, "ckpool_work_age_seconds "); ok {
			fmt.Sscan(v, &age)
		}
	}
	if age < 3600 || age > 3660 {
		t.Errorf("the work is %v s old, want an hour", age)
	}
	if t.Failed() {
		t.Log(strings.Join(got, "\n"))
	}
}

// A pool that has only begun has figures that are not known, not zero, and is scraped.
func TestNoWork(t *testing.T) {
	got := scraped(t, Handler(still{}))
	for _, want := range []string{"ckpool_work_age_seconds NaN", "ckpool_certificate_expiry_timestamp_seconds NaN", "ckpool_work_usable 0", "ckpool_miners 0", "ckpool_share_latency_seconds_count 0"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
}

// What promtool has against names and help of metrics.
func TestConventions(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(newCollector(busy()), newAccountCollector(kept()))
	problems, err := testutil.GatherAndLint(r)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// Labels have few values, all of the program or its configuration: never whom a miner
// says to be, nor where he is.
func TestLabels(t *testing.T) {
	allowed := []string{"version", "verdict", "reason", "window", "role", "state", "node", "listener", "pool", "book", "result"}
	for _, m := range described() {
		for _, l := range m.labels {
			if !slices.Contains(allowed, l) {
				t.Errorf("%s has the label %s", m.name, l)
			}
		}
	}
}

// described is what is said of all metrics, by their whole names.
func described() (list []metric[struct{}]) {
	for _, m := range table() {
		list = append(list, metric[struct{}]{name: prefix + m.name, help: m.help, kind: m.kind, labels: m.labels})
	}
	for _, m := range upstreams() {
		list = append(list, metric[struct{}]{name: prefix + m.name, help: m.help, kind: m.kind, labels: m.labels})
	}
	for _, m := range accountTable() {
		list = append(list, metric[struct{}]{name: accountPrefix + m.name, help: m.help, kind: m.kind, labels: m.labels})
	}
	return list
}

var names = regexp.MustCompile(`\bck(pool|db)_[a-z_]+`)

// docs/metrics.md has each metric, and no other, with its kind and labels.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[prometheus.ValueType]string{counter: "counter", gauge: "gauge", histogram: "histogram"}
	known := map[string]bool{}
	for _, m := range described() {
		known[m.name] = true
		row := fmt.Sprintf("| `%s` | %s | %s | %s |", m.name, kinds[m.kind], strings.Join(m.labels, ", "), m.help)
		if !strings.Contains(string(text), row+"\n") {
			t.Errorf("docs/metrics.md lacks\n%s", row)
		}
	}
	for _, name := range names.FindAllString(string(text), -1) {
		if !known[name] {
			t.Errorf("docs/metrics.md has %s, which there is not", name)
		}
	}
}

// series are the names that queries may use.
func series() map[string]bool {
	known := map[string]bool{}
	for _, m := range described() {
		if m.kind != histogram {
			known[m.name] = true
			continue
		}
		for _, end := range []string{"_bucket", "_sum", "_count"} {
			known[m.name+end] = true
		}
	}
	return known
}

func TestRules(t *testing.T) {
	const file = "../../contrib/prometheus/ckpool.rules.yml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	used := names.FindAllString(string(text), -1)
	if len(used) < 10 {
		t.Fatalf("only %q", used)
	}
	for _, name := range used {
		if !series()[name] {
			t.Errorf("%s is not exported", name)
		}
	}
	checkLabels(t, string(text))
	promtool(t, nil, "check", "rules", file)
}

// Each alert is given when it is to be, by figures for minutes and hours, and none where
// all is well, nor to who has no work because nothing is known yet
// (benjamin-wilson/public-pool#98: the node was gone, and nobody heard).
func TestRulesOnData(t *testing.T) {
	const rules, data = "../../contrib/prometheus/ckpool.rules.yml", "../../contrib/prometheus/ckpool.rules.test.yml"
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`alert: (\w+)`).FindAllSubmatch(text, -1) {
		if !regexp.MustCompile(`alertname: ` + string(name[1]) + `\n +eval_time: .*\n +exp_alerts:\n`).Match(tests) {
			t.Errorf("no figures bring about %s", name[1])
		}
	}
	for _, name := range names.FindAllString(string(tests), -1) {
		if !series()[name] {
			t.Errorf("%s is not exported", name)
		}
	}
	promtool(t, nil, "test", "rules", data)
}

func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../contrib/grafana/ckpool.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		UID    string
		Title  string
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil || board.Title == "" || board.UID == "" || len(board.Panels) < 10 {
		t.Fatalf("%v: %q with %d panels", err, board.Title, len(board.Panels))
	}
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			used := names.FindAllString(target.Expr, -1)
			if len(used) == 0 {
				t.Errorf("%s: %q shows nothing of the pool", p.Title, target.Expr)
			}
			for _, name := range used {
				if !series()[name] {
					t.Errorf("%s: %s is not exported", p.Title, name)
				}
			}
			checkLabels(t, target.Expr)
			expr := strings.NewReplacer("$instance", ".*", "$__rate_interval", "5m").Replace(target.Expr)
			fmt.Fprintf(&rules, "  - record: a:b\n    labels: {n: \"%d\"}\n    expr: %q\n", rules.Len(), expr)
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, nil, "check", "rules", file) // which reads each expression
}

var (
	selector = regexp.MustCompile(`(ck(?:pool|db)_[a-z_]+)\{([^}]*)\}`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*\\?"`)
)

// checkLabels tests that selectors use labels that the metric has.
func checkLabels(t *testing.T, text string) {
	t.Helper()
	labels := map[string][]string{}
	for _, m := range described() {
		labels[m.name] = m.labels
	}
	for _, use := range selector.FindAllStringSubmatch(text, -1) {
		for _, l := range matcher.FindAllStringSubmatch(use[2], -1) {
			if !slices.Contains(labels[use[1]], l[1]) && l[1] != "job" && l[1] != "instance" && l[1] != "le" {
				t.Errorf("%s has no label %s", use[1], l[1])
			}
		}
	}
}

// promtool runs the tool of Prometheus where it is installed.
func promtool(t *testing.T, input io.Reader, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	c := exec.Command(path, args...)
	c.Stdin = input
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

func TestPromtoolCheckMetrics(t *testing.T) {
	for _, h := range []http.Handler{Handler(busy()), AccountHandler(kept())} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		promtool(t, w.Body, "check", "metrics")
	}
}

// get is the status and the body of a page.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// The port serves one page, also if another process still has it, and ends with its
// context.
func TestServer(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	before, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := before.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		(&Server{Address: address, Handler: Handler(busy())}).Run(ctx)
		close(ended)
	}()
	before.Close()
	deadline := time.Now().Add(time.Minute)
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if code, body := get(t, "http://"+address+"/metrics"); code != http.StatusOK || !strings.Contains(body, "ckpool_miners 31") || !strings.Contains(body, "go_goroutines") {
		t.Errorf("%d: %.200s", code, body)
	}
	for _, path := range []string{"/", "/metrics/", "/metrics/x", "/debug/pprof/", "/metrics/../"} {
		if code, _ := get(t, "http://"+address+path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
	r, err := http.Post("http://"+address+"/metrics", "text/plain", strings.NewReader("x"))
	if err != nil || r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", r, err)
	}
	r.Body.Close()
	cancel()
	<-ended
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("the port is still open")
	}
}

// An address that cannot be had is told.
func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var once sync.Once
	told := make(chan string, 1)
	s := &Server{Address: l.Addr().String(), Handler: Handler(busy()), Events: func(e event.Event) {
		once.Do(func() { told <- e.Text })
	}}
	ended := make(chan struct{})
	go func() {
		s.Run(ctx)
		close(ended)
	}()
	if text := <-told; !strings.Contains(text, l.Addr().String()) {
		t.Errorf("%q", text)
	}
	cancel()
	<-ended
}
