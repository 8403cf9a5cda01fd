package operator

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/blocks"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/jobs"
	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// start is the time of every test.
var start = time.Unix(1795327613, 0)

// idle is a source and a network that do nothing.
type idle struct{}

func (idle) Run(context.Context) error                                       { return nil }
func (idle) Templates() <-chan source.Update                                 { return nil }
func (idle) Refresh(string)                                                  {}
func (idle) Prepare()                                                        {}
func (idle) Chain() string                                                   { return "main" }
func (idle) Usable() bool                                                    { return true }
func (idle) Unsaved() []source.SolvedBlock                                   { return nil }
func (idle) Leave()                                                          {}
func (idle) Submit(_ int64, _ [32]byte, _ []byte, _ func(source.BlockState)) {}
func (idle) Follow(_ int64, _ [32]byte, _ string, _ source.BlockState, _ func(source.BlockState)) {
}
func (idle) Resume(func([32]byte) (source.BlockState, string), func(int64, [32]byte, source.BlockState)) error {
	return nil
}
func (idle) Status() []source.Status {
	return []source.Status{{URL: "127.0.0.1:8332", State: "ok", Version: "/Satoshi:29.0.0/", Current: true, Height: 849999, Latency: 300 * time.Microsecond}}
}

// harness is an operator whose commands are answered on real sockets.
type harness struct {
	*Operator
	dir string
}

func newHarness(t *testing.T, solo bool) *harness {
	t.Helper()
	return newHarnessWith(t, solo, func(*Operator) {})
}

// newHarnessWith is newHarness with what set changes of the operator.
func newHarnessWith(t *testing.T, solo bool, set func(*Operator)) *harness {
	t.Helper()
	dir := t.TempDir()
	server, err := netserver.New(netserver.Config{}, func(*netserver.Loop) netserver.Handler { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	o := &Operator{
		Journal: func() (journalwriter.Status, bool) {
			return journalwriter.Status{
				Position: journal.Position{Epoch: 3, Number: 1042}, UnsafeShares: 7, UnsafeBytes: 900, UnsafeAge: 12500 * time.Microsecond,
				LostRecords: 2, LostShares: 1, Size: 4096, Err: errors.New("disk full"),
				Readers: []journalwriter.ReaderStatus{{Name: "ckdb", Cursor: journal.Cursor{Position: journal.Position{Epoch: 3, Number: 1000}}, Behind: 42}},
			}, true
		},
		Version: "1.0", Solo: solo, Jobs: jobs.New(start), Source: idle{}, Node: func() Node { return nil }, Miners: &session.Miners{},
		Users:    users.New(users.Config{Settings: users.Settings{Name: "ckpool"}, LogDir: dir, Solo: solo, Loops: 1}, start),
		Registry: session.NewRegistry(4, 1), Server: server, Links: relay.NewLinks(nil, 0, nil), Admission: &Admission{Server: server},
	}
	o.Blocks = blocks.New(blocks.Options{LogDir: dir, Network: idle{}, Jobs: o.Jobs, Users: o.Users, Limit: func(string) bool { return true }, Show: func(string) {}})
	set(o)
	h := &harness{o, filepath.Join(dir, "sockets")}
	h.dir = dir
	s := control.NewServer(dir, -1)
	var ending atomic.Bool
	o.Commands(s, Process{
		Shutdown: func() { ending.Store(true) }, Ending: ending.Load, SetLogLevel: func(event.Level) {},
		Reload: func(context.Context) (config.Merged, error) {
			return config.Merged{Changed: []string{"mindiff"}, Restart: []string{"logdir"}}, nil
		},
	})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Serve(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return h
}

// client speaks to one of the sockets.
func (h *harness) client(socket string) *control.Client { return control.Dial(h.dir, "", socket) }

// login logs a miner in, and accepts a share of it.
func (h *harness) login(t *testing.T, worker string) session.WorkerID {
	t.Helper()
	remote := netip.MustParseAddrPort("198.51.100.7:1234")
	g, refused := h.Users.Authorize(&session.Login{Time: start, Worker: worker, Remote: remote, Client: 13})
	if refused != nil {
		t.Fatal(refused)
	}
	h.Users.Attach(g.Worker, 13, "cgminer/4.12.1", start)
	job := &work.Job{ID: 0x6b02867d00000001, Template: &work.Template{Height: 850000}}
	h.Users.Share(&session.Share{
		Time: start.Add(10 * time.Second), Worker: g.Worker, Job: job, Current: job,
		Hashed: true, Computed: work.Share{Difficulty: 50}, Difficulty: 42, Credit: 42, Remote: remote,
	})
	return g.Worker
}

const (
	aUser   = `{"user": "bob", "id": 1, "workers": 1, "bestdiff": 50.0, "dsps1": D, "dsps5": D, "dsps60": D, "dsps1440": D, "dsps10080": D, "lastshare": T, "bestever": 50.0}`
	aWorker = `{"user": "bob", "worker": "bob.rig1", "id": 1, "dsps1": D, "dsps5": D, "dsps60": D, "dsps1440": D, "lastshare": T, "started": T, "bestdiff": 50.0, "mindiff": 0, "idle": true, "accepted_shares": 1, "rejects": {}, "lastreject": "", "lastrejected": 0, "bestever": 50.0}`
	objects = `{"count": 0, "memory": 0, "generated": 0}`
)

// Every reply has the form that scripts around ckpool read, to the byte but for
// rates and times.
func TestReplies(t *testing.T) {
	h := newHarness(t, false)
	w := h.login(t, "bob.rig1")
	h.Users.SetNetworkDifficulty(1000)
	rate := regexp.MustCompile(`("d?sps\d+": )\d[^,}]*`)
	times := regexp.MustCompile(`("(?:lastshare|started|start|update|uptime)": )\d{2,}`)
	drops := regexp.MustCompile(`"drops": \{("[^"]+": 0(, )?)+\}`)
	for request, want := range map[string]string{
		"ping":                                "pong",
		"version":                             "ckpool 1.0",
		"users":                               `{"users": [` + aUser + `]}`,
		`getuser={"user":"bob"}`:              aUser,
		"workers":                             `{"workers": [` + aWorker + `]}`,
		`getworker={"worker":"bob.rig1"}`:     aWorker,
		"clients":                             `{"clients": []}`,
		`userclients={"user":"bob"}`:          `{"user": "bob", "clients": []}`,
		`workerclients={"worker":"bob.rig1"}`: `{"worker": "bob.rig1", "clients": []}`,
		`ucinfo={"user":"bob"}`:               `{"user": "bob", "clients": []}`,
		`wcinfo={"worker":"bob.rig1"}`:        `{"user": "bob", "clients": []}`,
		"uptime":                              `{"uptime": T}`,
		"blocks":                              `{"blocks": []}`,
		"bestshares":                          `{"bestshare": 50.0, "users": [{"user": "bob", "bestshare": 50.0, "bestever": 50.0}]}`,
		"rejects":                             `{"rejects": {"malformed": 0, "job not found": 0, "stale": 0, "ntime out of range": 0, "duplicate": 0, "above target": 0, "invalid version mask": 0, "worker mismatch": 0, "unauthorized worker": 0, "not subscribed": 0}}`,
		"drops":                               `{DROPS}`,
		"links":                               `{"links": []}`,
		"nodes":                               `{"nodes": [{"url": "127.0.0.1:8332", "state": "ok", "reason": "", "version": "/Satoshi:29.0.0/", "current": true, "height": 849999, "latency_ms": 0.3}]}`,
		"journal":                             `{"kept": true, "epoch": 3, "number": 1042, "unsafe_shares": 7, "unsafe_bytes": 900, "unsafe_age_ms": 12.5, "lost_records": 2, "lost_shares": 1, "size": 4096, "error": "disk full", "readers": [{"name": "ckdb", "epoch": 3, "number": 1000, "behind": 42}]}`,
		"reload":                              `{"changed": ["mindiff"], "restart": ["logdir"]}`,
		"checkaddr:nonsense":                  "false",
		"checkaddr:1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2": "true",
		"getbest":       "failed",
		"loglevel=9":    "Invalid",
		"proxyinfo":     `{"proxies": []}`,
		"nosuchcommand": "unknown",
		"poolstats": `{"start": T, "update": T, "workers": 1, "users": 1, "disconnected": 0, "shares": 1, ` +
			`"sps1": D, "sps5": D, "sps15": D, "sps60": D, "accepted": 42.0, "rejected": 0.0, "dsps1": D, "dsps5": D, "dsps15": D, "dsps60": D, "dsps360": D, "dsps1440": D, "dsps10080": D, ` +
			`"accepted_count": 1, "rejected_count": 0, "bestshare": 50.0, "netdiff": 1000.0, "height": 0, "worktime": 0, "no_rolling": 0, ` +
			`"total_accepted": 42.0, "total_rejected": 0.0, "total_accepted_count": 1, "total_rejected_count": 0}`,
		"connectorstats": `{"clients": ` + objects + `, "dead": ` + objects + `, "sends": ` + objects + `, "delays": ` + objects + `, "entering": ` + objects + `, DROPS}`,

		`getuser={"user":"eve"}`:          `{"errormsg": "Failed to find user eve"}`,
		`getuser={"usr":"bob"}`:           `{"errormsg": "Failed to find user key"}`,
		`getuser={"user":5}`:              `{"errormsg": "Failed to find user key"}`,
		`getuser={"user":""}`:             `{"errormsg": "Zero length user key"}`,
		`getuser`:                         `{"errormsg": "Failed to JSON decode in getuser (1):unexpected end of JSON input"}`,
		`getworker={"worker":"eve.rig1"}`: `{"errormsg": "Failed to find worker eve.rig1"}`,
		`getworker={}`:                    `{"errormsg": "Failed to find worker key"}`,
		`getworker={"worker":""}`:         `{"errormsg": "Zero length worker key"}`,
		`userclients={"user":"eve"}`:      `{"errormsg": "Failed to find user eve"}`,
		`workerclients={"worker":"eve"}`:  `{"errormsg": "Failed to find worker eve"}`,
		`ucinfo=[]`:                       `{"errormsg": "Failed to JSON decode in ucinfo (1):json: cannot unmarshal array into Go value of type map[string]json.RawMessage"}`,
		`wcinfo={}`:                       `{"errormsg": "Failed to find worker key"}`,
		`getclient={"id":5}`:              `{"errormsg": "Failed to find client 5"}`,
		`getclient={"id":-5}`:             `{"errormsg": "Failed to find id key"}`,
		`getclient={}`:                    `{"errormsg": "Failed to find id key"}`,
		`messageuser={"user":"bob"}`:      `{"errormsg": "Failed to find text key"}`,
		`getproxy={"id":1}`:               `{"errormsg": "Failed to find proxy 1"}`,
		`getproxy={"id":1,"subid":2}`:     `{"errormsg": "Failed to find proxy 1:2"}`,
		`setproxy={"id":1}`:               `{"errormsg": "Failed to find priority key"}`,
	} {
		got, err := h.client(listenerSocket).Do(t.Context(), request)
		if err != nil {
			t.Errorf("%s: %v", request, err)
			continue
		}
		if strings.HasPrefix(got, "{") && !json.Valid([]byte(got)) {
			t.Errorf("%s is no JSON: %s", request, got)
		}
		got = rate.ReplaceAllString(times.ReplaceAllString(drops.ReplaceAllString(got, "DROPS"), "${1}T"), "${1}D")
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", request, got, want)
		}
	}
	h.Users.Detach(w, 13, "cgminer/4.12.1")
	got, _ := h.client(listenerSocket).Do(t.Context(), `getworker={"worker":"bob.rig1"}`)
	if gone := strings.Replace(aWorker, `"started": T`, `"started": 0`, 1); rate.ReplaceAllString(times.ReplaceAllString(got, "${1}T"), "${1}D") != gone {
		t.Errorf("a worker that has left:\n got %s\nwant %s", got, gone)
	}
	if users, _ := h.Users.Known(); users != 1 {
		t.Errorf("asking made users: %d", users)
	}
	if got, _ := h.client(connectorSocket).Do(t.Context(), "stats"); !strings.HasPrefix(got, `{"clients": `) {
		t.Errorf("stats of the connector: %s", got)
	}
}

// What has a method in the client is decoded by it, without loss: encoded again
// it is the reply.
func TestClientReadsReplies(t *testing.T) {
	h := newHarness(t, false)
	h.login(t, "bob.rig1")
	c, ctx := h.client(stratifierSocket), t.Context()
	for request, read := range map[string]func() (any, error){
		"poolstats":                       func() (any, error) { return c.PoolStats(ctx) },
		"users":                           func() (any, error) { l, err := c.Users(ctx); return control.UserList{Users: l}, err },
		"workers":                         func() (any, error) { l, err := c.Workers(ctx); return control.WorkerList{Workers: l}, err },
		"clients":                         func() (any, error) { l, err := c.Clients(ctx); return control.ConnectionList{Clients: l}, err },
		`getuser={"user":"bob"}`:          func() (any, error) { return c.User(ctx, "bob") },
		`getworker={"worker":"bob.rig1"}`: func() (any, error) { return c.Worker(ctx, "bob.rig1") },
		`ucinfo={"user":"bob"}`: func() (any, error) {
			l, err := c.UserConnections(ctx, "bob")
			return control.ConnectionList{User: "bob", Clients: l}, err
		},
		`wcinfo={"worker":"bob.rig1"}`: func() (any, error) {
			l, err := c.WorkerConnections(ctx, "bob.rig1")
			return control.ConnectionList{User: "bob", Clients: l}, err
		},
		`checkaddr={"address":"x"}`: func() (any, error) { return c.CheckAddress(ctx, "x") },
		"blocks":                    func() (any, error) { l, err := c.Blocks(ctx); return control.BlockList{Blocks: l}, err },
		"nodes":                     func() (any, error) { l, err := c.Nodes(ctx); return control.NodeList{Nodes: l}, err },
		"journal":                   func() (any, error) { return c.Journal(ctx) },
		"bestshares": func() (any, error) {
			l, err := c.BestShares(ctx)
			return control.BestShareList{BestShare: 50, Users: l}, err
		},
		"rejects": func() (any, error) { l, err := c.Rejects(ctx); return control.RejectCounts{Rejects: l}, err },
		"drops":   func() (any, error) { l, err := c.Drops(ctx); return control.DropCounts{Drops: l}, err },
		"reload":  func() (any, error) { return c.Reload(ctx) },
	} {
		v, err := read()
		if err != nil {
			t.Errorf("%s: %v", request, err)
			continue
		}
		reply, err := c.Do(ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		varying := regexp.MustCompile(`("(?:d?sps\d+|update|start)": )\d[^,}]*`)
		want, got := varying.ReplaceAllString(reply, "$1"), varying.ReplaceAllString(control.Encode(v), "$1")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -reply +read and encoded again\n%s", request, diff)
		}
	}
	for name, do := range map[string]func() error{
		"ping": func() error { return c.Ping(ctx) }, "loglevel": func() error { return c.SetLogLevel(ctx, 5) },
		"update": func() error { return c.Update(ctx) }, "message": func() error { return c.ShowMessage(ctx, "hello") },
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Who is told that it ends may start the next one, which must not hear it answer.
	if err := c.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	for _, socket := range Sockets {
		if reply, err := h.client(socket).Do(ctx, "ping"); err != nil || reply != "exiting" {
			t.Errorf("%s of an instance that ends: %q, %v", socket, reply, err)
		}
	}
	if up, err := c.Uptime(ctx); err != nil || up == 0 {
		t.Errorf("uptime %v, %v", up, err)
	}
	if v, err := c.Version(ctx); err != nil || v != "ckpool 1.0" {
		t.Errorf("version %q, %v", v, err)
	}
	if best, err := c.BestShares(ctx); err != nil || !reflect.DeepEqual(best, []control.BestShares{{User: "bob", BestShare: 50, BestEver: 50}}) {
		t.Errorf("best shares %+v, %v", best, err)
	}
	if _, err := c.Connection(ctx, 5); err == nil || !strings.HasSuffix(err.Error(), "Failed to find client 5") {
		t.Errorf("connection: %v", err)
	}
	if err := c.Drop(ctx, 5); err == nil || !strings.HasSuffix(err.Error(), "Failed to find client 5") {
		t.Errorf("drop: %v", err)
	}
}

// All commands of the list are answered; none is taken for a shorter one.
func TestAllCommandsAreKnown(t *testing.T) {
	h := newHarness(t, false)
	for _, k := range control.Commands() {
		if k.Name == "restart" || k.Name == "upgrade" {
			continue // the program's
		}
		request := k.Name
		if request == "submitblock" {
			request += ":" // its only form
		}
		for _, socket := range Sockets {
			if got, err := h.client(socket).Do(t.Context(), request); err != nil || got == "unknown" {
				t.Errorf("%s on %s: %q, %v", k.Name, socket, got, err)
			}
		}
	}
}

func TestConnectionReply(t *testing.T) {
	h := newHarness(t, false)
	w := h.login(t, "bob.rig1")
	got := control.Encode(h.showConnection(&session.Info{
		ID: 13, Extranonce1: "7e86026b", Difficulty: 42, DSPS1: 0.5, LastShare: start, Start: start, Address: "198.51.100.7",
		Subscribed: true, Authorised: true, UserAgent: "cgminer/4.12.1", WorkerName: "bob.rig1", Worker: w, Listener: 1, Best: 50,
	}))
	const want = `{"id": 13, "enonce1": "7e86026b", "enonce1var": "7e86026b", "enonce1_64": 1795327614, "diff": 42.0, "dsps1": 0.5, "dsps5": 0.0, "dsps60": 0.0, "dsps1440": 0.0, "dsps10080": 0.0, "lastshare": 1795327613, "starttime": 1795327613, "address": "198.51.100.7", "subscribed": true, "authorised": true, "idle": false, "useragent": "cgminer/4.12.1", "workername": "bob.rig1", "userid": 1, "server": 1, "bestdiff": 50.0, "proxyid": 0, "subproxyid": 0, "no_rolling": false}`
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestStratifierStats(t *testing.T) {
	h := newHarness(t, true)
	h.login(t, "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2.rig1")
	got, err := h.client(stratifierSocket).Do(t.Context(), "stats")
	want := `^\{"workbases": \{"count": 0, "memory": 0, "generated": 0\}, "remote_workbases": \{"count": 0, "memory": 0\}, ` +
		`"userwbs": \{"count": 0, "memory": 0\}, "users": \{"count": 1, "memory": [1-9]\d+\}, "clients": \{"count": 0, "memory": 0, "generated": 0\}, ` +
		`"disconnected": \{.*\}, "shares": \{.*\}, "transactions": \{.*\}, "ssends": \{.*\}, "srecvs": \{.*\}, "stxnq": \{.*\}\}$`
	if err != nil || !regexp.MustCompile(want).MatchString(got) || !json.Valid([]byte(got)) {
		t.Errorf("got %s, %v", got, err)
	}
	pool, _ := newHarness(t, false).client(stratifierSocket).Do(t.Context(), "stratifierstats")
	if strings.Contains(pool, "userwbs") || pool == "" {
		t.Errorf("in pool mode: %s", pool)
	}
}
