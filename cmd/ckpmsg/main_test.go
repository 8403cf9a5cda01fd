package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ckpool/control"
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
	"clients":         `{"clients": [{"id": 13, "enonce1": "7e86026b", "enonce1var": "7e86026b", "diff": 42.0, "idle": false, "useragent": "cgminer/4.12.1"}]}`,
	"blocks":          `{"blocks": []}`,
	"found":           `{"blocks": [{"height": 850000, "worker": "alice.rig1", "reward": 312500000, "time": 1795327613, "state": "confirmed 6"}]}`,
	"poolstats":       `{"start": 1795327000, "users": 2, "sps1": 0.25, "accepted": 1.5e21, "dsps15": 1000.0}`,
	"rejects":         `{"rejects": {"stale": 3, "duplicate": 0}}`,
	"stratifierstats": `{"workbases": {"count": 3, "memory": 7800, "generated": 3}, "users": {"count": 2, "memory": 480}}`,
	"connectorstats":  `{"clients": {"count": 2, "memory": 0, "generated": 2}, "drops": {"stale": 3, "idle": 0}}`,
	"nodes":           `{"nodes": [{"url": "a:1", "state": "ok", "reason": "", "latency_ms": 1.5}, {"url": "b:2", "state": "down", "reason": "why not", "latency_ms": 0.0}]}`,
	"userclients":     `{"user": "alice", "clients": [13, 14]}`,
	"bestshares":      `{"bestshare": 5.0, "users": [{"user": "alice", "bestshare": 5.0, "bestever": 10.0}]}`,
	"wrong":           `{"user": "ali`,
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
	for prefix, text := range replies {
		s.Handle("listener", prefix, reply(text))
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
	if got := oneLine("a\nb\r\n\x1b[2Jc é\x7f\n"); got != "a b   [2Jc é " {
		t.Errorf("%q", got)
	}
}

// Reasons for drops are not columns of the table of connections.
func TestDropsBesideTable(t *testing.T) {
	var b strings.Builder
	if err := printReply(&b, `{"clients":{"count":3,"memory":0},"drops":{"closed by peer":4,"TLS failed":1},"dead":{"count":0,"memory":0}}`); err != nil {
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
	if err := printReply(&b, `{"workers":[{"worker":"bob.a","rejects":{"stale":2,"above target":1},"lastreject":"stale"},{"worker":"bob.b","rejects":{},"lastreject":""}]}`); err != nil {
		t.Fatal(err)
	}
	const want = "WORKER  REJECTS                  LASTREJECT\nbob.a   2 stale, 1 above target  stale\nbob.b                            \n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if err := printReply(&b, `{"worker":"bob.a","rejects":{"stale":2},"lastreject":"stale"}`); err != nil {
		t.Fatal(err)
	}
	if want := "worker      bob.a\nrejects     2 stale\nlastreject  stale\n"; b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
