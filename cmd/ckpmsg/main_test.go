package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/page"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ckpmsg": main})
}

// The scripts run beside a pool called ckpool and a proxy called ckproxy.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "Asia/Kolkata")
			for _, name := range []string{"ckpool", "ckproxy"} {
				stop, err := fakePool(filepath.Join(env.WorkDir, name))
				if err != nil {
					return err
				}
				env.Defer(stop)
			}
			for file, text := range map[string]string{
				"crlf":  "ping\r\nwhoami",
				"pings": strings.Repeat("ping\n", 250),
			} {
				if err := os.WriteFile(filepath.Join(env.WorkDir, file), []byte(text), 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// replies of a pool, shortened.
var replies = map[string]string{
	"users": `{"users": [{"user": "alice", "id": 1, "workers": 2, "bestdiff": 1234.5, "dsps1": 1.0, "dsps5": 2.0e3, "lastshare": 1795327613}, ` +
		`{"user": "bob\u001b[2J", "id": 2, "workers": 0, "bestdiff": 0.0, "dsps1": 0.0, "dsps5": 0.0, "lastshare": 0}]}`,
	"workers": `{"workers": [{"user": "alice", "worker": "alice.rig1", "id": 1, "dsps1": 1.0, "lastshare": 1795327613, "started": 1795327000, "rejects": {"stale": 3}}, ` +
		`{"user": "alice", "worker": "alice.rig2", "id": 1, "dsps1": 0.0, "lastshare": 0, "started": 0, "rejects": {}}, ` +
		`{"user": "bob\u001b[2J", "worker": "bob\u001b[2J.x", "id": 2, "dsps1": 0.5, "lastshare": 0, "started": 1795327000, "rejects": {}}]}`,
	"clients": `{"clients": [{"id": 13, "enonce1": "7e86026b", "enonce1var": "7e86026b", "diff": 42.0, "idle": false, "useragent": "cgminer/4.12.1"}]}`,
	"blocks":  `{"blocks": []}`,
	"found":   `{"blocks": [{"height": 850000, "worker": "alice.rig1", "reward": 312500000, "time": 1795327613, "state": "confirmed 6"}]}`,
	"poolstats": `{"start": 1795327000, "update": 1795328000, "workers": 31, "users": 2, "sps1": 0.25, "accepted": 1.26e12, "dsps1": 290000.0, "dsps5": 280000.0, "dsps15": 1000.0, ` +
		`"accepted_count": 123456, "rejected_count": 518, "bestshare": 12345678901.5, "netdiff": 126e12, "height": 900008, "worktime": 1795327988}`,
	"rejects":         `{"rejects": {"stale": 3, "duplicate": 1, "above target": 0}}`,
	"version":         "ckpool 1.0",
	"stratifierstats": `{"workbases": {"count": 3, "memory": 7800, "generated": 3}, "users": {"count": 2, "memory": 480}}`,
	"connectorstats":  `{"clients": {"count": 2, "memory": 0, "generated": 2}, "drops": {"stale": 3, "idle": 0}}`,
	"nodes":           `{"nodes": [{"url": "a:1", "state": "ok", "reason": "", "latency_ms": 1.5}, {"url": "b:2", "state": "down", "reason": "why not", "latency_ms": 0.0}]}`,
	"journal":         `{"kept": true, "epoch": 3, "number": 1042, "unsafe_shares": 12, "readers": [{"name": "ckdb", "epoch": 3, "number": 1000, "behind": 42}]}`,
	"userclients":     `{"user": "alice", "clients": [13, 14]}`,
	"bestshares":      `{"bestshare": 5.0, "users": [{"user": "alice", "bestshare": 5.0, "bestever": 10.0}]}`,
	"wrong":           `{"user": "ali`,
}

// proxyReplies are those of an instance that mines for other pools, shortened.
var proxyReplies = map[string]string{
	"list": `{"proxies": [{"id": 0, "global": true, "userid": 0, "auth": "acct.farm", "pass": "s3cret", "diff": 1024.0, "disabled": false, "alive": true, "subproxies": 2, ` +
		`"url": "stratum+ssl://pool-a.example:443", "user": "", "priority": 0, "weight": 70.0, "wanted": 0.7, "part": 0.75, "active": true, "clients": 4, "reason": ""}, ` +
		`{"id": 3, "global": true, "userid": 0, "auth": "acct", "pass": "x", "diff": 0.0, "disabled": false, "alive": false, "subproxies": 0, ` +
		`"url": "pool-b.example:3333", "user": "", "priority": 1, "weight": 30.0, "wanted": 0.3, "part": 0.0, "active": false, "clients": 0, "reason": "connection refused"}]}`,
	"proxystats": `{"proxy": [{"id": 0, "url": "stratum+ssl://pool-a.example:443", "auth": "acct.farm", "pass": "s3cret", "total_accepted": 7168.0, "tdsps1": 10.0, ` +
		`"lastshare": 1795327613, "accepted_count": 1700, "rejected_count": 3, "rejects": {"Above target": 1, "Stale": 2}, "unanswered_count": 2, "latency_ms": 20.5}, ` +
		`{"id": 3, "url": "pool-b.example:3333", "auth": "acct", "pass": "x", "total_accepted": 0.0, "tdsps1": 0.0, "lastshare": 0, "accepted_count": 0, "rejected_count": 0, ` +
		`"rejects": {}, "unanswered_count": 0, "latency_ms": 0.0}]}`,
	"subproxystats": `{"proxy": [{"id": 0, "subproxy": [{"id": 0, "url": "pool-a.example:443", "dsps1": 1.5, "subid": 0, "clients": 3}, ` +
		`{"id": 0, "url": "pool-a.example:443", "dsps1": 8.5, "subid": 2, "clients": 1}]}, {"id": 3, "subproxy": []}]}`,
	"proxyusers": `{"users": [{"user": "alice", "userid": 1, "proxies": [7], "dsps1": 0.0, "accepted": 0.0, "rejected": 512.0, "rejects": {"Stale": 1}, "again": 0}, ` +
		`{"user": "bob", "userid": 2, "proxies": [], "dsps1": 1.0, "accepted": 2048.0, "rejected": 0.0, "rejects": {}, "refused": "Unauthorized worker", "again": 1795327673}]}`,
	"getproxy": `{"id": 0, "subid": 0, "auth": "acct.farm", "pass": "s3cret", "headroom": 131061, "dead": false}`,
}

func fakePool(dir string) (stop func(), err error) {
	if err := os.Mkdir(dir, 0o750); err != nil {
		return nil, err
	}
	reply := func(text string) func(context.Context, string) (string, error) {
		return func(context.Context, string) (string, error) { return text, nil }
	}
	s := control.NewServer(dir, -1)
	s.Handle("listener", "ping", reply("pong"))
	s.Handle("listener", "whoami", reply(filepath.Base(dir)))
	s.Handle("listener", "long", reply(`{"long": "`+strings.Repeat("x", 2000)+`"}`))
	s.Handle("listener", "help", reply("ping\nwhoami\n"))
	s.Handle("listener", "getuser", func(_ context.Context, user string) (string, error) {
		return "", errors.New("no user " + user)
	})
	s.Handle("listener", "recruit", func(context.Context, string) (string, error) {
		return "", errors.New("recruit: this instance mines from nodes")
	})
	for prefix, text := range replies {
		s.Handle("listener", prefix, reply(text))
	}
	if filepath.Base(dir) == "ckproxy" {
		for prefix, text := range proxyReplies {
			s.Handle("listener", prefix, reply(text))
		}
	}
	s.HandleFD("listener", "silent", func(context.Context, int) (*os.File, error) { return nil, errors.New("no") })
	s.Handle("stratifier", "uptime", reply(`{"uptime": 60}`))
	if err := s.Listen(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Serve(ctx); close(done) }()
	return func() { cancel(); <-done }, nil
}

func TestStamp(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		zone *time.Location
		want string
	}{
		{time.UTC, "2026-01-31 12:00:00+00"},
		{time.FixedZone("", -5*3600), "2026-01-31 07:00:00-05"},
		{time.FixedZone("", 19800), "2026-01-31 17:30:00+05:30"},
	} {
		if got := stamp(at.In(tt.zone)); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

func TestOneLine(t *testing.T) {
	if got := page.OneLine("a\nb\r\n\x1b[2J\u009b2J\u202ec\u2028d é\x7f\n"); got != "a b   [2J 2J c d é " {
		t.Errorf("%q", got)
	}
}

// A terminal of 80 columns is not overrun, whatever the pool replies; what is
// left out is named, and --wide shows it.
func TestFitsTerminal(t *testing.T) {
	const address = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
	const hash = "5e7f377434e73b4ab8180b51d545e530cc15ae53f9b5c76e6f89f9c0b02035b4"
	var blocks []string
	for height := range 25 {
		blocks = append(blocks, fmt.Sprintf(`{"height": %d, "hash": "%s", "worker": "%s.rig1", "difficulty": 126411437451912.2, "reward": 318273645, "time": 1795327613, "state": "confirmed 12"}`,
			900000+height, hash, address))
	}
	worker := fmt.Sprintf(`{"user": "%[1]s", "worker": "%[1]s.rig1", "id": 1, "dsps1": 290.0, "dsps5": 280.0, "dsps60": 270.0, "dsps1440": 260.0, `+
		`"lastshare": 1795327613, "started": 0, "bestdiff": 1234567.5, "mindiff": 0, "idle": false, "somethingnew": 5, "accepted_shares": 77, "rejects": {"stale": 3}}`, address)
	for name, tt := range map[string]struct {
		reply      string
		want, none []string
	}{
		"workers": {`{"workers": [` + worker + `]}`,
			[]string{"bc1qw5…f3t4.rig1", "WORKER            H/s 1m  H/s 1d  LASTSHARE   BESTDIFF  ACCEPTED_SHARES  REJECTS\n", "1.25T   1.12T", "1.23M     77               3 stale", "--wide shows also: ", "SOMETHINGNEW", "what … stands for"}, []string{address, "not connected"}},
		"blocks": {`{"blocks": [` + strings.Join(blocks, ", ") + `]}`,
			[]string{"900024", "900005", "bc1qw5…f3t4.rig1", "3.18273645 BTC", "confirmed 12", "--wide shows also: 5 older, "}, []string{"900004", hash, address}},
		"nodes": {`{"nodes": [{"url": "127.0.0.1:8332", "state": "unreachable", "reason": "nothing listens there (connection refused): is the node running with server=1, and is this its rpcport?", ` +
			`"version": "", "current": false, "height": -1, "latency_ms": 0.0}]}`,
			[]string{"127.0.0.1:8332  unreachable", "unknown", "127.0.0.1:8332: nothing listens there"}, nil},
		"pools that are mined for": {proxyReplies["list"],
			[]string{"0   acct.farm  1.02K  true   stratum+ssl://pool-a.example:443  true    4", "\n3: connection refused", "--wide shows also: DISABLED, "}, nil},
		"shares of pools": {proxyReplies["proxystats"],
			[]string{"stratum+ssl://pool-a.example:443  acct.farm", "1700", "--wide shows also: "}, nil},
		"shares of an address": {strings.ReplaceAll(strings.ReplaceAll(proxyReplies["proxystats"], "stratum+ssl://", ""), "acct.farm", address+".farm"),
			[]string{"bc1qw5…f3t4.farm  1700", "ACCEPTED_COUNT", "what … stands for"}, []string{address}},
	} {
		var narrow, wide strings.Builder
		if err := (page.Page{Writer: &narrow, Columns: 80}).PrintReply(tt.reply); err != nil {
			t.Fatal(err)
		}
		if err := (page.Page{Writer: &wide}).PrintReply(tt.reply); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(narrow.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
		for _, text := range tt.want {
			if !strings.Contains(narrow.String(), text) {
				t.Errorf("%s: no %q in\n%s", name, text, narrow.String())
			}
		}
		for _, text := range tt.none {
			if strings.Contains(narrow.String(), text) || !strings.Contains(wide.String(), text) {
				t.Errorf("%s: %q, of 80 columns:\n%s\nwide:\n%s", name, text, narrow.String(), wide.String())
			}
		}
	}
}

// Whatever a pool replies is printed, and nothing in it steers the terminal.
func FuzzReply(f *testing.F) {
	for _, reply := range replies {
		f.Add(reply, 80)
		f.Add(reply, 0)
	}
	for _, reply := range proxyReplies {
		f.Add(reply, 80)
	}
	f.Add(`{"proxy": [{"a": [{"b": 1}, {"c": [{}]}]}, {"a": []}, {"x": [], "a": [{}]}]}`, 0)
	f.Add(`{"nodes": [{"reason": "`+strings.Repeat("long ", 30)+`"}]}`, 80)
	f.Add(`{"users": [{}, {}]}`, 1)
	f.Add(`{"blocks": [{"worker": "a\u001b[2J", "hash": "`+strings.Repeat("0", 64)+`"}, 5]}`, 10)
	f.Fuzz(func(t *testing.T, reply string, columns int) {
		var b strings.Builder
		if err := (page.Page{Writer: &b, Columns: columns}).PrintReply(reply); err != nil {
			t.Fatal(err)
		}
		if _, err := page.ParseObject([]byte(reply)); err == nil && strings.Contains(b.String(), "\x1b") && !strings.Contains(reply, "\x1b") {
			t.Errorf("%q is printed as %q", reply, b.String())
		}
	})
}

func TestStatus(t *testing.T) {
	at := control.Time{Time: time.Unix(1795327613, 0)}
	after := func(d time.Duration) control.Time { return control.Time{Time: at.Add(d)} }
	s := status{
		version: "ckpool 1.0",
		stats: control.PoolStats{
			Start: at, Update: after(76 * time.Hour), Workers: 31, Users: 12, AcceptedCount: 1234567, RejectedCount: 5180, SPS1: 8.912,
			Accepted: 1.26e12, BestShare: 12.3e9, NetworkDifficulty: 126e12, Height: 900008, Work: after(76*time.Hour - 12*time.Second),
			DSPS1: 290000, DSPS5: 280000, DSPS60: 270000, DSPS1440: 260000,
		},
		rejects: control.Counts{{Name: "stale", Count: 700}, {Name: "above target", Count: 300}, {Name: "duplicate"}, {Name: "job not found", Count: 1}},
		blocks: []control.Block{{Height: 890000, State: "orphaned"}, {Height: 890001, Worker: "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4.rig1", Reward: 318273645,
			Time: after(time.Hour), State: "confirmed 12"}},
		nodes: []control.Node{
			{URL: "127.0.0.1:8332", State: "ok", Version: "/Satoshi:28.1.0/", Current: true, Height: 900007},
			{URL: "10.0.0.2:8332", State: "unreachable", Reason: "nothing listens there (connection refused): is the node running with server=1, and is this its rpcport?"},
		},
	}
	var b strings.Builder
	if err := printStatus(page.Page{Writer: &b, Columns: 80}, &s); err != nil {
		t.Fatal(err)
	}
	// 270,000 difficulty a second is 126T in 466,667,000 s, which is 14.8 years:
	// 1 in 5,401 a day.
	const want = `pool        ckpool 1.0, up 3d 4h
hash rate   1.25 PH/s (1m), 1.2 PH/s (5m), 1.16 PH/s (1h), 1.12 PH/s (1d)
miners      31 miners of 12 users
shares      1,234,567 accepted, 5,180 rejected (0.42%) this round, 8.91 a second
rejects     700 stale, 300 above target, 1 job not found since the start
best share  12.3G, a block takes 126T; effort of the round 1%
odds        1 in 5,402 a day, a block every 14.8 years on average (1h)
last block  890,001, 3d 3h ago, 3.18273645 BTC, confirmed 12, by
            bc1qw5…f3t4.rig1; 1 of 2 confirmed
work        block 900,008, made 12s ago
node        127.0.0.1:8332 ok, in use, Satoshi:28.1.0
node        10.0.0.2:8332 unreachable: nothing listens there (connection
            refused): is the node running with server=1, and is this its
            rpcport?
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	// A private chain: the odds of a day say nothing.
	s.stats.NetworkDifficulty = 540000
	if got := s.odds(); got != "a block every 2s on average (1h)" {
		t.Error(got)
	}
	s.stats.NetworkDifficulty = 126e17
	if got := s.odds(); got != "1 in 540,123,457 a day, a block every million years or more on average (1h)" {
		t.Error(got)
	}
	b.Reset()
	first := status{version: "ckpool 1.0", stats: control.PoolStats{Start: at, Update: after(5 * time.Second)}}
	if err := printStatus(page.Page{Writer: &b, Columns: 80}, &first); err != nil {
		t.Fatal(err)
	}
	const empty = `pool        ckpool 1.0, up 5s
hash rate   0 H/s (1m), 0 H/s (5m), 0 H/s (1h), 0 H/s (1d)
miners      none
shares      none yet this round
best share  none yet this round
last block  none yet
work        none: no node has been usable yet
`
	if b.String() != empty {
		t.Errorf("got\n%s\nwant\n%s", b.String(), empty)
	}
	// Where work comes from other pools, nothing is said of nodes, nor of blocks, which
	// are theirs.
	b.Reset()
	first.upstreams = []upstream{}
	if err := printStatus(page.Page{Writer: &b, Columns: 80}, &first); err != nil {
		t.Fatal(err)
	}
	const proxy = `pool        ckpool 1.0, up 5s
hash rate   0 H/s (1m), 0 H/s (5m), 0 H/s (1h), 0 H/s (1d)
miners      none
shares      none yet this round
best share  none yet this round
work        none: no upstream has given any yet
`
	if b.String() != proxy {
		t.Errorf("got\n%s\nwant\n%s", b.String(), proxy)
	}
}

// A miner is fine or is not at a glance.
func TestWorker(t *testing.T) {
	zone := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = zone })
	now := time.Date(2026, 11, 22, 12, 5, 0, 0, time.UTC)
	ago := func(d time.Duration) control.Time { return control.Time{Time: now.Add(-d)} }
	const name = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4.rig1"
	mined := control.Worker{
		Worker: name, Rates: control.Rates{DSPS1: 290, DSPS5: 280, DSPS60: 270, DSPS1440: 260}, BestDifficulty: 1234567, BestEver: 12.3e9,
		AcceptedShares: 12345, Rejects: control.Counts{{Name: "stale", Count: 3}, {Name: "above target", Count: 12}}, LastReject: "above target", LastRejected: ago(time.Hour), LastShare: ago(3 * time.Second),
	}
	here := control.Connection{Start: ago(8 * time.Hour), Address: "192.168.1.7", UserAgent: "bitaxe/BM1370", Difficulty: 1024}
	left := mined
	left.LastShare, left.BestDifficulty, left.Rejects = ago(12*time.Minute), 0, nil
	for _, tt := range []struct {
		worker worker
		want   string
	}{
		{worker{mined, []control.Connection{here}}, `miner       connected since 04:05:00, last share 3s ago
worker      ` + name + `
hash rate   1.25 TH/s (1m), 1.2 TH/s (5m), 1.16 TH/s (1h), 1.12 TH/s (1d)
shares      12,345 accepted, 15 rejected (0.12%)
rejects     12 above target, 3 stale; the last 1h 0m ago, above target
best share  12.3G ever, 1.23M this round
connection  bitaxe/BM1370 at 192.168.1.7, difficulty 1.02K
`},
		{worker{left, nil}, `miner       not connected, last share 12m 0s ago
worker      ` + name + `
hash rate   1.25 TH/s (1m), 1.2 TH/s (5m), 1.16 TH/s (1h), 1.12 TH/s (1d)
shares      12,345 accepted, 0 rejected (0%)
best share  12.3G ever, none this round
`},
		{worker{control.Worker{Worker: "bob.a"}, []control.Connection{{Start: ago(time.Minute), Address: "::1", Difficulty: 0.5}, here}}, `miner       2 connections since 04:05:00, no share yet
worker      bob.a
hash rate   0 H/s (1m), 0 H/s (5m), 0 H/s (1h), 0 H/s (1d)
shares      none yet
best share  none yet
connection  a miner without a name at ::1, difficulty 0.5
connection  bitaxe/BM1370 at 192.168.1.7, difficulty 1.02K
`},
	} {
		var b strings.Builder
		if err := printWorker(page.Page{Writer: &b, Columns: 80}, &tt.worker, now); err != nil {
			t.Fatal(err)
		}
		if b.String() != tt.want {
			t.Errorf("got\n%s\nwant\n%s", b.String(), tt.want)
		}
	}
}

// A name that is not known has others near it.
func TestNearNames(t *testing.T) {
	workers := []control.Worker{{User: "bc1qalice", Worker: "bc1qalice.bitaxe"}, {User: "Bob", Worker: "Bob"}, {User: "Bob", Worker: "Bob_rig1"}, {User: "carol", Worker: "carol.rig1"}}
	for name, want := range map[string]string{
		"bitaxe": "bc1qalice.bitaxe", "RIG1": "Bob_rig1 carol.rig1", "carol": "carol.rig1", "carol.rgi1": "carol.rig1", "bob_rig2": "Bob_rig1", "nobody.at.all": "",
	} {
		if got := strings.Join(nearWorkers(name, workers), " "); got != want {
			t.Errorf("%s is near %q, want %q", name, got, want)
		}
	}
	users := []control.User{{User: "bc1qalice"}, {User: "Bob"}}
	for name, want := range map[string]string{"bc1qalice.bitaxe": "bc1qalice", "bc1qalcie": "bc1qalice", "bob": "Bob", "nobody": ""} {
		if got := strings.Join(nearUsers(name, users), " "); got != want {
			t.Errorf("%s is near %q, want %q", name, got, want)
		}
	}
}

// So easy a chain that blocks come faster than seconds pass.
func TestOddsOfEasyChain(t *testing.T) {
	s := status{stats: control.PoolStats{NetworkDifficulty: 4.66e-10, DSPS1: 1e-6}}
	if got, want := s.odds(), "blocks every second (1m)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Reasons for drops are not columns of the table of connections.
func TestDropsBesideTable(t *testing.T) {
	var b strings.Builder
	if err := (page.Page{Writer: &b}).PrintReply(`{"clients":{"count":3,"memory":0},"drops":{"closed by peer":4,"TLS failed":1},"dead":{"count":0,"memory":0}}`); err != nil {
		t.Fatal(err)
	}
	const want = "         COUNT  MEMORY\nclients  3      0\ndead     0      0\n\nDROPS\nclosed by peer  4\nTLS failed      1\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// What was wrong with a worker's shares is one column of the table, in words.
func TestRejectsOfWorkers(t *testing.T) {
	var b strings.Builder
	if err := (page.Page{Writer: &b}).PrintReply(`{"workers":[{"worker":"bob.a","rejects":{"stale":2,"above target":1},"lastreject":"stale"},{"worker":"bob.b","rejects":{},"lastreject":""}]}`); err != nil {
		t.Fatal(err)
	}
	const want = "WORKER  REJECTS                  LASTREJECT\nbob.a   2 stale, 1 above target  stale\nbob.b                            \n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if err := (page.Page{Writer: &b}).PrintReply(`{"worker":"bob.a","rejects":{"stale":2},"lastreject":"stale"}`); err != nil {
		t.Fatal(err)
	}
	if want := "worker      bob.a\nrejects     2 stale\nlastreject  stale\n"; b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
