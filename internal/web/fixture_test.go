package web

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/history"
	"github.com/ckpool/ckpool/internal/operator"
	"github.com/ckpool/ckpool/sharelog"
)

// fixture is a pool whose figures a test chooses.
type fixture struct {
	mu      sync.Mutex
	pool    control.PoolStats // guarded by mu
	started time.Time
	solo    bool
	usable  bool
	rejects control.Counts // guarded by mu
	drops   control.Counts
	came    control.Counts // miners by listener
	blocks  []control.Block
	nodes   []control.Node
	links   []control.Link
	proxies []control.Proxy
	users   []control.User              // guarded by mu
	workers map[string][]control.Worker // guarded by mu
	private map[string]bool             // that ckdb says
	miners  map[string][]control.Connection
	work    map[string]control.MinersWork
	file    []byte                                  // pool.status
	day     bool                                    // curves are of a day
	failing error                                   // why work cannot be shown
	lost    error                                   // why there is no history
	listed  int                                     // guarded by mu; how often workers of a user were
	asked   int                                     // guarded by mu; how often statistics of the pool were asked for
	drawn   func(figure string, minute int) float64 // the pool's curves; nil: something
}

func (f *fixture) Started() time.Time       { return f.started }
func (f *fixture) Solo() bool               { return f.solo }
func (f *fixture) Chain() string            { return "main" }
func (f *fixture) Usable() bool             { return f.usable }
func (f *fixture) Blocks() []control.Block  { return f.blocks }
func (f *fixture) Nodes() []control.Node    { return f.nodes }
func (f *fixture) Links() []control.Link    { return f.links }
func (f *fixture) Proxies() []control.Proxy { return f.proxies }

func (f *fixture) Rejects() control.Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rejects
}

func (f *fixture) Drops() control.Counts     { return f.drops }
func (f *fixture) Listeners() control.Counts { return f.came }

func (f *fixture) setRejects(c control.Counts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rejects = c
}

func (f *fixture) BestSinceStart() float64 { return max(7e9, f.pool.BestShare) }

func (f *fixture) Pool(time.Time) control.PoolStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return f.pool
}

func (f *fixture) Users(time.Time) []control.User {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.users)
}

func (f *fixture) BestShares() (list []control.BestShares) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.users {
		list = append(list, control.BestShares{User: u.User, BestShare: u.BestDifficulty, BestEver: u.BestEver})
	}
	return list
}

func (f *fixture) User(name string, _ time.Time) (control.User, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.users, func(u control.User) bool { return u.User == name })
	if i < 0 {
		return control.User{}, false
	}
	return f.users[i], true
}

func (f *fixture) Workers(user string, _ time.Time) []control.Worker {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listed++
	return f.workers[user]
}

func (f *fixture) WorkerCount(user string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.workers[user])
}

func (f *fixture) Connections(_ context.Context, user string) ([]control.Connection, error) {
	return f.miners[user], nil
}

func (f *fixture) Work(_ context.Context, user string) (control.MinersWork, bool, error) {
	w, ok := f.work[user]
	return w, ok, f.failing
}

func (f *fixture) PoolFile() ([]byte, error) {
	if f.file == nil {
		return nil, errors.New("not written yet")
	}
	return f.file, nil
}

func (f *fixture) UserFile(name string, now time.Time) ([]byte, bool) {
	_, ok := f.User(name, now)
	return []byte(`{"user": "` + name + `"}`), ok
}

// A curve is that of an hour, with a gap in it, or of a day until now.
func (f *fixture) curve(figures int) (history.Curve, error) {
	c := history.Curve{Start: f.started, Period: time.Minute}
	if f.day {
		c = history.Curve{Start: time.Now().Add(-day).Truncate(time.Minute), Period: 4 * time.Minute}
		for range figures {
			c.Values = append(c.Values, make([]float64, 360))
		}
		return c, nil
	}
	for i := range figures {
		values := make([]float64, 60)
		for k := range values {
			values[k] = float64(1+i) * 1e12 * (1 + math.Sin(float64(k)/10)/3)
		}
		for k := 20; k < 30; k++ {
			values[k] = math.NaN()
		}
		c.Values = append(c.Values, values)
	}
	return c, f.lost
}

func (f *fixture) Curve() Curves { return curvesOf{f} }

type curvesOf struct{ f *fixture }

func (c curvesOf) Pool(_, _ time.Time, _ int, figures ...string) (history.Curve, error) {
	return c.f.named(figures...)
}

// named is a curve of the figures that drawn has.
func (f *fixture) named(figures ...string) (history.Curve, error) {
	curve, err := f.curve(len(figures))
	for i, name := range figures {
		for k := range curve.Values[i] {
			if f.drawn != nil {
				curve.Values[i][k] = f.drawn(name, k)
			}
		}
	}
	return curve, err
}
func (c curvesOf) User(string, time.Time, time.Time, int) (history.Curve, error) {
	return c.f.named("user")
}
func (c curvesOf) Latencies(time.Duration) (l operator.Latencies) {
	l.Answers.Classes[3], l.LastNotified = 100, 80*time.Millisecond
	return l
}
func (c curvesOf) Worker(string, time.Time, time.Time, int) (history.Curve, error) {
	return c.f.curve(1)
}

// hostile is what strangers may choose as a name, an agent, or any text.
const hostile = `</script><script>alert(1)</script><img src=x onerror=alert(2)>"'&` + "\x1b[31m"

var began = time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)

// aPool is a fixture with something of everything.
func aPool() *fixture {
	at := func(d time.Duration) control.Time { return control.At(began.Add(d)) }
	rates := control.Rates{DSPS1: 900, DSPS5: 1000, DSPS60: 1100, DSPS1440: 1200}
	f := &fixture{
		started: began, usable: true, file: poolFile(),
		pool: control.PoolStats{
			Start: at(0), Workers: 3, Users: 2, Disconnected: 1, SPS1: 4.5, Accepted: 5e9, Rejected: 1e6, DSPS1: 900, DSPS5: 1000, DSPS60: 1100,
			AcceptedCount: 123456, RejectedCount: 12, BestShare: 4e9, NetworkDifficulty: 126e12, Height: 900007,
		},
		rejects: control.Counts{{Name: "stale", Count: 10}, {Name: "duplicate", Count: 2}, {Name: "malformed", Count: 0}},
		drops:   control.Counts{{Name: "closed by peer", Count: 31}, {Name: "bad input", Count: 0}, {Name: "idle", Count: 4}},
		came:    control.Counts{{Name: "0.0.0.0:3333", Count: 3}},
		blocks: []control.Block{
			{Height: 899000, Hash: strings.Repeat("0a", 32), Worker: "alice.rig1", Difficulty: 1e14, Work: 5e13, Reward: 312500000, Time: at(time.Hour), State: "confirmed 7"},
			{Height: 900000, Hash: strings.Repeat("0b", 32), Worker: hostile + ".x", Difficulty: 126e12, Work: 1e14, Reward: 315000000, Time: at(2 * time.Hour), State: "rejected: " + hostile},
		},
		nodes: []control.Node{
			{URL: "10.1.2.3:8332", State: "ok", Version: "/Satoshi:31.0.0/", Current: true, Height: 900006, LatencyMS: 2.5},
			{URL: "node.secret.example:8332", State: "dead", Reason: "connection to node.secret.example refused", Height: -1},
		},
		links: []control.Link{{Role: "passthrough", Address: "10.9.9.9:4", Program: hostile, Miners: 7, Since: at(0)}},
		users: []control.User{
			{User: "alice", ID: 1, Workers: 2, BestDifficulty: 4e9, BestEver: 5e10, Rates: rates, LastShare: at(time.Hour), DSPS10080: 3},
			{User: hostile, ID: 2, Workers: 1, BestEver: 3, Rates: rates},
		},
		workers: map[string][]control.Worker{
			"alice": {
				{User: "alice", Worker: "alice.rig1", Rates: rates, LastShare: at(time.Hour), Started: at(0), BestDifficulty: 4e9, BestEver: 5e10, AcceptedShares: 90,
					Rejects: control.Counts{{Name: "stale", Count: 10}}, LastReject: "stale", LastRejected: at(time.Minute)},
				{User: "alice", Worker: "alice.a/b c", LastShare: at(0)}, {User: "alice", Worker: "alice.w", Rates: rates},
			},
			hostile: {{User: hostile, Worker: hostile + ".w", Started: at(0)}},
		},
		miners: map[string][]control.Connection{
			"alice": {{ID: 1, Worker: "alice.rig1", Difficulty: 512, UserAgent: "bitaxe/2", Address: "203.0.113.77"}},
			hostile: {{ID: 2, Worker: hostile + ".w", Difficulty: 1e6, UserAgent: hostile, Address: "203.0.113.78"}},
		},
	}
	made := control.MinersWork{
		Worker: "alice.rig1", Job: "0000000000000001", Made: at(time.Hour), Height: 900007, PrevHash: strings.Repeat("00", 32), Version: "20000000", Bits: "17034219",
		NTime: "69c8a5f0", NetworkDifficulty: 126e12, Reward: 315000000, Fees: 2500000, Transactions: 2, Coinbase: "01", TxID: strings.Repeat("11", 32), Extranonce1: "aabbccdd",
		Extranonce2Len: 8, ScriptSig: "03", Text: "ckpool", Outputs: []control.Output{{Value: 315000000, Address: "alice", Script: "0014"}, {Script: "6a24aa21a9ed"}},
		Branch: []string{strings.Repeat("22", 32)}, MerkleRoot: strings.Repeat("33", 32), Check: "ok",
	}
	other := made
	other.Worker, other.Text = hostile+".w", hostile
	f.work = map[string]control.MinersWork{"": made, "alice": made, hostile: other}
	return f
}

// poolFile is pool.status as the pool writes it.
func poolFile() []byte {
	s := sharelog.PoolStatus{Runtime: 1, UserAgents: []sharelog.AgentStatus{{Agent: "bitaxe", Devices: 2, Hashrate5m: 1.5e12, BestShare: 4e9}, {Agent: hostile, Devices: 1}}}
	lines := s.Lines()
	return []byte(strings.Join(lines[:], "\n") + "\n")
}

// aServer serves a fixture with a configuration that change may change.
func aServer(t *testing.T, f *fixture, change func(*config.Config)) *Server {
	t.Helper()
	c := config.Default(config.Pool)
	c.HTTP.Listen = "127.0.0.1:8080"
	c.Servers[0].URL = "0.0.0.0:3333"
	if change != nil {
		change(&c)
	}
	s, err := New(Options{Source: f, Curves: f.Curve(), Config: func() *config.Config { return &c }, Private: func(user string) bool { return c.Private(user) || f.private[user] }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// get asks a server, as from an address of the internet.
func get(s *Server, path string, headers ...string) *httptest.ResponseRecorder {
	return from(s, "198.51.100.9:1234", "GET", path, headers...)
}

func from(s *Server, address, method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr, r.Host = address, "pool.example"
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// allPaths are one of each route that answers at once.
func allPaths(user string) []string {
	u := escaped(user)
	return []string{
		"/", "/user/" + u, "/user/" + u + "/work", "/user/" + u + "/worker/" + u + ".w", "/blocks", "/connect", "/search?search=" + u, "/qr/1",
		"/api/v1/pool", "/api/v1/pool/history", "/api/v1/users/" + u + "/history", "/api/v1/users/" + u + "/workers/" + u + ".w/history", "/api/v1/users", "/api/v1/users/" + u, "/api/v1/users/" + u + "/workers", "/api/v1/users/" + u + "/workers/" + u + ".w",
		"/api/v1/users/" + u + "/work", "/api/v1/best", "/api/v1/blocks", "/api/v1/nodes", "/api/v1/connect", "/api/v1/openapi.json",
		"/pool/pool.status", "/users/" + u, "/api/client/" + u, "/api/pool", "/api/network", "/api/info",
	}
}

func escaped(text string) string { return (&pages{}).link(text)[1:] }

func body(r io.Reader) string {
	b, _ := io.ReadAll(r)
	return string(b)
}
