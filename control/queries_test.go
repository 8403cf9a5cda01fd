package control_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/control"
)

func TestMessage(t *testing.T) {
	tests := []struct{ args, want string }{
		{"ping", "ping"},
		{"PING", "ping"},
		{"loglevel 5", "loglevel=5"},
		{"loglevel=5", "loglevel=5"},
		{"getuser alice", `getuser={"user": "alice"}`},
		{`getuser "alice"`, `getuser={"user": "\"alice\""}`},
		{"getclient 13", `getclient={"id": 13}`},
		{"message hello there", "message=hello there"},
		{"messageclient 13 hello there", `messageclient={"id": 13, "text": "hello there"}`},
		{"messageuser alice hello there", `messageuser={"user": "alice", "text": "hello there"}`},
		{"reconnect", "reconnect"},
		{"reconnect pool.example 3334", "reconnect:pool.example,3334"},
		{"dropclient 13", "dropclient=13"},
		{"droplink 2", "droplink=2"},
		{"checkaddr bc1q", `checkaddr={"address": "bc1q"}`},
		{"submitblock 00ff 1234", "submitblock:00ff,1234"},
		{"getproxy 1", `getproxy={"id": 1}`},
		{"getproxy 1 2", `getproxy={"id": 1, "subid": 2}`},
		{"setproxy 1 2", `setproxy={"id": 1, "priority": 2}`},
		{`getproxy {"id": 1}`, `getproxy={"id": 1}`},
		{"upgrade", "upgrade"},
		{"upgrade /usr/bin/ckpool", "upgrade=/usr/bin/ckpool"},
		{"sublist={}", "sublist={}"},
		{"sublist 3", `sublist={"id": 3}`},
		{"addproxy pool.example:3333 acct.farm", `addproxy={"url": "pool.example:3333", "auth": "acct.farm"}`},
		{"addproxy pool.example:3333 acct.farm x", `addproxy={"url": "pool.example:3333", "auth": "acct.farm", "pass": "x"}`},
		{`addproxy {"url": "h:1", "auth": "a", "pass": "x", "weight": 70}`, `addproxy={"url": "h:1", "auth": "a", "pass": "x", "weight": 70}`},
		{"delproxy 3", `delproxy={"id": 3}`},
		{"proxystats", "proxystats"},
		{"proxystats 3", `proxystats={"id": 3}`},
		{"proxystats 3 1", `proxystats={"id": 3, "subid": 1}`},
		{"proxyinfo", "proxyinfo"},
		{"proxyinfo 5", `proxyinfo={"userid": 5}`},
		{"recruit 3 10", "recruit=3:10"},
		{"dropproxy 3 1", "dropproxy=3:1"},
		{"something else", "something else"},
	}
	for _, tt := range tests {
		if got, err := control.Message(strings.Fields(tt.args)...); err != nil || got != tt.want {
			t.Errorf("%s: %s %v, want %s", tt.args, got, err, tt.want)
		}
	}
	for args, want := range map[string]string{
		"":                    "no command",
		"ping pong":           "usage: ping: it has no arguments",
		"loglevel":            "usage: loglevel LEVEL: want a number from 0 to 7",
		"loglevel 8":          "usage: loglevel LEVEL: want a number from 0 to 7",
		"getclient x":         `usage: getclient ID: "x" is not a number`,
		"getclient 1 2":       `usage: getclient ID: "2" is too much`,
		"messageclient 1":     "usage: messageclient ID TEXT: argument is missing",
		"reconnect host":      "usage: reconnect [HOST PORT]: want all arguments or none",
		"checkaddr":           "usage: checkaddr ADDRESS: argument is missing",
		"submitblock 00":      "usage: submitblock HASH BLOCK: want a hash and a block",
		"setproxy 1":          "usage: setproxy ID PRIORITY: argument is missing",
		"addproxy h:1":        "usage: addproxy URL USER [PASSWORD]: argument is missing",
		"proxystats 1 2 3":    `usage: proxystats [ID [SUBID]]: "3" is too much`,
		"proxystats x":        `usage: proxystats [ID [SUBID]]: "x" is not a number`,
		"recruit 1":           "usage: recruit ID COUNT: want two numbers",
		"recruit 1 x":         `usage: recruit ID COUNT: "x" is not a number`,
		"getproxy 1 2 3":      `usage: getproxy ID [SUBID]: "3" is too much`,
		"messageclient x why": `usage: messageclient ID TEXT: "x" is not a number`,
	} {
		if got, err := control.Message(strings.Fields(args)...); err == nil || err.Error() != want {
			t.Errorf("%s: %q %v, want %s", args, got, err, want)
		}
	}
}

// answering serves fixed replies by request.
func answering(t testing.TB, replies map[string]string) *control.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "ck")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := control.NewServer(dir, -1)
	s.Handle("listener", "", func(_ context.Context, request string) (string, error) {
		if reply, ok := replies[request]; ok {
			return reply, nil
		}
		return "", fmt.Errorf("no reply to %s", request)
	})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { s.Serve(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return control.Dial(filepath.Dir(dir), filepath.Base(dir), "listener")
}

// A reply may have any numbers, and nothing at all.
func TestEncode(t *testing.T) {
	got := control.Encode(struct {
		Int     int32    `json:"int"`
		Uint    uint8    `json:"uint"`
		Float   float32  `json:"float"`
		Nothing *int64   `json:"nothing"`
		List    []uint16 `json:"list"`
	}{Int: -1, Uint: 2, Float: 0.5, List: []uint16{3, 4}})
	if want := `{"int": -1, "uint": 2, "float": 0.5, "nothing": null, "list": [3, 4]}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestQueries(t *testing.T) {
	c := answering(t, map[string]string{
		"ping": "pong", "version": "ckpool 1.0", "uptime": `{"uptime": 90}`, "loglevel=5": "success", "loglevel=9": "Invalid",
		"reload": `{"changed": ["mindiff"], "restart": []}`,
		"users": `{"users": [{"user": "alice", "id": 1, "workers": 2, "bestdiff": 1234.5, "dsps1": 1.0, "dsps5": 2.0, "dsps60": 3.0,` +
			` "dsps1440": 4.0, "dsps10080": 5.0, "lastshare": 1795327613}]}`,
		`getuser={"user": "bob"}`: `{"user": "bob", "id": 2, "lastshare": 0}`,
		// Somebody mines under a name that is a request itself.
		`getuser={"user": "{\"user\": \"bob\"}"}`: `{"user": "{\"user\": \"bob\"}", "id": 3}`,
		"poolstats":                     `{"start": 1795327613, "users": 2, "accepted": 1.5, "dsps360": 7.0, "dsps1": 1.0, "bestshare": 5.0, "netdiff": 9.0, "height": 8, "worktime": 1795327613}`,
		`checkaddr={"address": "bc1q"}`: `{"address": "bc1q", "valid": false, "reason": "too short"}`,
		"blocks":                        `{"blocks": [{"height": 850000, "hash": "00ff", "reward": 312500000, "time": 1795327613, "state": "confirmed 6"}]}`,
		"rejects":                       `{"rejects": {"stale": 3}}`,
		"drops":                         `{"wrong": {}}`,
		"nodes":                         `{"nodes": 5}`,
		"workers":                       `not JSON`,
		"message=hi":                    "sent to 3",
		`messageuser={"user": "bob", "text": "good day"}`: "sent to 1",
		`getclient={"id": 7}`:                             `{"id": 7, "workername": "bob.rig1"}`,
		`ucinfo={"user": "bob"}`:                          `{"user": "bob", "clients": [{"id": 7}, {"id": 9}]}`,
	})
	at := control.Time{Time: time.Unix(1795327613, 0)}
	ctx := t.Context()
	check := func(name string, want, got any, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	version, err := c.Version(ctx)
	check("version", "ckpool 1.0", version, err)
	uptime, err := c.Uptime(ctx)
	check("uptime", 90*time.Second, uptime, err)
	reloaded, err := c.Reload(ctx)
	check("reload", control.Reloaded{Changed: []string{"mindiff"}, Restart: []string{}}, reloaded, err)
	users, err := c.Users(ctx)
	check("users", []control.User{{User: "alice", ID: 1, Workers: 2, BestDifficulty: 1234.5,
		Rates: control.Rates{DSPS1: 1, DSPS5: 2, DSPS60: 3, DSPS1440: 4}, DSPS10080: 5, LastShare: at}}, users, err)
	user, err := c.User(ctx, "bob")
	check("user", control.User{User: "bob", ID: 2}, user, err)
	user, err = c.User(ctx, `{"user": "bob"}`)
	check("user of an odd name", control.User{User: `{"user": "bob"}`, ID: 3}, user, err)
	stats, err := c.PoolStats(ctx)
	check("poolstats", control.PoolStats{Start: at, Users: 2, Accepted: 1.5, DSPS360: 7, DSPS1: 1,
		BestShare: 5, NetworkDifficulty: 9, Height: 8, Work: at}, stats, err)
	payout, err := c.CheckAddress(ctx, "bc1q")
	check("checkaddr", control.Payout{Address: "bc1q", Reason: "too short"}, payout, err)
	blocks, err := c.Blocks(ctx)
	check("blocks", []control.Block{{Height: 850000, Hash: "00ff", Reward: 312500000, Time: at, State: "confirmed 6"}}, blocks, err)
	rejects, err := c.Rejects(ctx)
	check("rejects", control.Counts{{Name: "stale", Count: 3}}, rejects, err)
	sent, err := c.Run(ctx, "messageuser", "bob", "good", "day")
	check("messageuser", "sent to 1", sent, err)
	connection, err := c.Connection(ctx, 7)
	check("getclient", control.Connection{ID: 7, Worker: "bob.rig1"}, connection, err)
	connections, err := c.UserConnections(ctx, "bob")
	check("ucinfo", []control.Connection{{ID: 7}, {ID: 9}}, connections, err)
	if _, err := c.Run(ctx, "getuser"); err == nil || err.Error() != "usage: getuser USER: argument is missing" {
		t.Errorf("getuser without a user: %v", err)
	}
	for name, err := range map[string]error{"ping": c.Ping(ctx), "loglevel": c.SetLogLevel(ctx, 5), "message": c.ShowMessage(ctx, "hi")} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	var refused *control.RefusedError
	if err := c.SetLogLevel(ctx, 9); !errors.As(err, &refused) || refused.Text != "Invalid" {
		t.Errorf("level 9: %v", err)
	}
	if _, err := c.User(ctx, "eve"); !errors.As(err, &refused) || refused.Text != `no reply to getuser={"user": "eve"}` {
		t.Errorf("no user: %v", err)
	}
	if text := (&control.RefusedError{Command: "list", Text: "list: no pools"}).Error(); text != "list: no pools" {
		t.Errorf("named twice: %s", text)
	}
	for name, ask := range map[string]func() error{
		"no member":     func() error { _, err := c.Drops(ctx); return err },
		"another type":  func() error { _, err := c.Nodes(ctx); return err },
		"not an object": func() error { _, err := c.Workers(ctx); return err },
	} {
		if err := ask(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
