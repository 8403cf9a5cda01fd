package pool

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"ckpool/internal/session"
	"ckpool/sharelog"
	"ckpool/work"

	"github.com/google/go-cmp/cmp"
)

// The status line says what matters most in any width, and nothing of
// millionths of hashes before the first miner.
func TestStatusLine(t *testing.T) {
	busy := glance{known: true, height: 900008, PoolStatus: sharelog.PoolStatus{
		Hashrate: [7]float64{1.23456e15}, SPS: [4]float64{8.912}, Users: 12, Workers: 31,
		Accepted: 1850e9, AcceptedCount: 5310, BestShare: 12.3e9, NetworkDifficulty: 126e12,
	}}
	left := busy
	left.Workers, left.Users, left.trouble = 0, 0, "no usable node"
	won := left // a block has ended the round
	won.PoolStatus, won.trouble = sharelog.PoolStatus{NetworkDifficulty: 126e12}, ""
	first := glance{rejected: true, PoolStatus: sharelog.PoolStatus{Workers: 1, Users: 1}}
	for _, tt := range []struct {
		g     glance
		width int
		want  string
	}{
		{glance{}, 80, "/  no miners yet"},
		{glance{height: 900008, PoolStatus: sharelog.PoolStatus{Hashrate: [7]float64{3e-6}, NetworkDifficulty: 126e12}}, 80, "/  no miners yet  mining block 900,008"},
		{busy, 200, "/  1.23 PH/s  31 miners  mining block 900,008  best 12.3G  effort 1.5%  8.91 shares/s  12 users"},
		{busy, 86, "/  1.23 PH/s  31 miners  mining block 900,008  best 12.3G  effort 1.5%  8.91 shares/s"},
		{busy, 85, "/  1.23 PH/s  31 miners  mining block 900,008  best 12.3G  effort 1.5%"},
		{busy, 24, "/  1.23 PH/s  31 miners"},
		{busy, 23, "/  1.23 PH/s"},
		{busy, 1, "/"},
		{left, 80, "/  no usable node  no miners  mining block 900,008  best 12.3G  effort 1.5%"},
		{won, 80, "/  no miners  mining block 900,008"},
		{first, 80, "/  0 H/s  1 miner  new ones rejected  0 shares/s  1 user"},
	} {
		if got := tt.g.line(5, tt.width); got != tt.want {
			t.Errorf("%d columns: %q, want %q", tt.width, got, tt.want)
		}
	}
}

// keys are the keys of the innermost objects, in order.
func keys(answer []byte) string {
	var list []string
	for _, m := range regexp.MustCompile(`"(\w+)": `).FindAllStringSubmatch(string(answer), -1) {
		list = append(list, m[1])
	}
	return strings.Join(list, " ")
}

const clientKeys = "id enonce1 enonce1var enonce1_64 diff dsps1 dsps5 dsps60 dsps1440 dsps10080 lastshare starttime address " +
	"subscribed authorised idle useragent workername userid server bestdiff proxyid subproxyid"

func TestQueries(t *testing.T) {
	s := newHarness(t, nil).State
	q := Queries{s}
	w := grant(t, s, "bob.rig1").Worker
	s.Attach(w, 13, "cgminer/4.12.1", start)
	s.Share(accepted(w, start.Add(10*time.Second), 42, 50))
	s.tick(start.Add(11 * time.Second))
	now := start.Add(20 * time.Second)
	s.SetNetworkDifficulty(1000)
	current := &session.Work{Job: &work.Job{Template: &work.Template{Height: 850000}, Created: start}}
	clients := []session.Info{
		{ID: 12, Extranonce1: "7e86026c"},
		{ID: 13, Extranonce1: "7e86026b", Difficulty: 42, DSPS1: 0.5, LastShare: start, Start: start, Address: "198.51.100.7",
			Subscribed: true, Authorised: true, UserAgent: "cgminer/4.12.1", WorkerName: "bob.rig1", Worker: w, Listener: 1, Best: 50},
	}
	const user = `{"user": "bob", "id": 1, "workers": 1, "bestdiff": 50.0, "dsps1": D, "dsps5": D, "dsps60": D, "dsps1440": D, "dsps10080": D, "lastshare": 1795327623, "bestever": 50.0}`
	const worker = `{"user": "bob", "worker": "bob.rig1", "id": 1, "dsps1": D, "dsps5": D, "dsps60": D, "dsps1440": D, "lastshare": 1795327623, "started": 1795327613, "bestdiff": 50.0, "mindiff": 0, "idle": false, "accepted_shares": 1, "rejects": {}, "lastreject": "", "lastrejected": 0, "bestever": 50.0}`
	const client = `{"id": 13, "enonce1": "7e86026b", "enonce1var": "7e86026b", "enonce1_64": 1795327614, "diff": 42.0, "dsps1": D, "dsps5": D, "dsps60": D, "dsps1440": D, "dsps10080": D, "lastshare": 1795327613, "starttime": 1795327613, "address": "198.51.100.7", "subscribed": true, "authorised": true, "idle": false, "useragent": "cgminer/4.12.1", "workername": "bob.rig1", "userid": 1, "server": 1, "bestdiff": 50.0, "proxyid": 0, "subproxyid": 0}`
	rate := regexp.MustCompile(`("d?sps\d+": )\d[^,}]*`)
	for name, c := range map[string]struct {
		answer []byte
		want   string
	}{
		"users":         {q.Users(now), `{"users": [` + user + `]}`},
		"getuser":       {q.GetUser(`{"user":"bob"}`, now), user},
		"workers":       {q.Workers(now), `{"workers": [` + worker + `]}`},
		"getworker":     {q.GetWorker(`{"worker":"bob.rig1"}`, now), worker},
		"clients":       {q.Clients(clients[1:]), `{"clients": [` + client + `]}`},
		"no clients":    {q.Clients(nil), `{"clients": []}`},
		"getclient":     {q.GetClient(`{"id":13}`, clients), client},
		"userclients":   {q.UserClients(`{"user":"bob"}`, clients), `{"user": "bob", "clients": [13]}`},
		"workerclients": {q.WorkerClients(`{"worker":"bob.rig1"}`, clients), `{"worker": "bob.rig1", "clients": [13]}`},
		"ucinfo":        {q.UserClientInfo(`{"user":"bob"}`, clients), `{"user": "bob", "clients": [` + client + `]}`},
		"wcinfo":        {q.WorkerClientInfo(`{"worker":"bob.rig1"}`, clients), `{"user": "bob", "clients": [` + client + `]}`},
		"uptime":        {q.Uptime(now), `{"uptime": 20}`},
		"poolstats": {q.PoolStats(now, Sessions{Disconnected: 3}, current), `{"start": 1795327613, "update": 1795327633, "workers": 1, "users": 1, "disconnected": 3, "shares": 1, ` +
			`"sps1": D, "sps5": D, "sps15": D, "sps60": D, "accepted": 42.0, "rejected": 0.0, "dsps1": D, "dsps5": D, "dsps15": D, "dsps60": D, "dsps360": D, "dsps1440": D, "dsps10080": D, ` +
			`"accepted_count": 1, "rejected_count": 0, "bestshare": 50.0, "netdiff": 1000.0, "height": 850000, "worktime": 1795327613}`},
	} {
		if got := rate.ReplaceAllString(string(c.answer), "${1}D"); got != c.want || !json.Valid(c.answer) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
	if got := keys(q.Clients(clients[:1])); got != "clients "+clientKeys {
		t.Errorf("keys of a client: %s", got)
	}
	s.Detach(w, 13, "cgminer/4.12.1")
	gone := strings.NewReplacer(`"started": 1795327613`, `"started": 0`, `"idle": false`, `"idle": true`).Replace(worker)
	if got := rate.ReplaceAllString(string(q.GetWorker(`{"worker":"bob.rig1"}`, now)), "${1}D"); got != gone {
		t.Errorf("a worker that has left:\n got %s\nwant %s", got, gone)
	}
}

func TestQueriesThatFail(t *testing.T) {
	s := newHarness(t, nil).State
	q := Queries{s}
	for _, c := range []struct {
		answer []byte
		want   string
	}{
		{q.GetUser(`{"user":"bob"}`, start), "Failed to find user bob"},
		{q.GetUser(`{"usr":"bob"}`, start), "Failed to find user key"},
		{q.GetUser(`{"user":5}`, start), "Failed to find user key"},
		{q.GetUser(`{"user":""}`, start), "Zero length user key"},
		{q.GetUser(``, start), "Failed to JSON decode in getuser (1):unexpected end of JSON input"},
		{q.GetWorker(`{"worker":"bob.rig1"}`, start), "Failed to find worker bob.rig1"},
		{q.GetWorker(`{}`, start), "Failed to find worker key"},
		{q.GetWorker(`{"worker":""}`, start), "Zero length worker key"},
		{q.UserClients(`{"user":"bob"}`, nil), "Failed to find user bob"},
		{q.WorkerClients(`{"worker":"bob"}`, nil), "Failed to find worker bob"},
		{q.UserClientInfo(`[]`, nil), "Failed to JSON decode in ucinfo (1):json: cannot unmarshal array into Go value of type map[string]json.RawMessage"},
		{q.WorkerClientInfo(`{}`, nil), "Failed to find worker key"},
		{q.GetClient(`{"id":5}`, nil), "Failed to find client 5"},
		{q.GetClient(`{"id":-5}`, nil), "Failed to find id key"},
		{q.GetClient(`{}`, nil), "Failed to find id key"},
	} {
		var got map[string]string
		if err := json.Unmarshal(c.answer, &got); err != nil {
			t.Errorf("%s: %v", c.answer, err)
		}
		if diff := cmp.Diff(map[string]string{"errormsg": c.want}, got); diff != "" {
			t.Error(diff)
		}
	}
	if n := s.names.lastID.Load(); n != 0 {
		t.Errorf("asking made %d users", n)
	}
}

func TestStratifierStats(t *testing.T) {
	solo := newHarness(t, func(c *Config) { c.Solo = true }).State
	grant(t, solo, mainAddress+".rig1")
	got := string(Queries{solo}.Stats(StratifierStats{Workbases: Objects{3, 7800, 3}}))
	want := `^\{"workbases": \{"count": 3, "memory": 7800, "generated": 3\}, "remote_workbases": \{"count": 0, "memory": 0\}, ` +
		`"userwbs": \{"count": 0, "memory": 0\}, "users": \{"count": 1, "memory": [1-9]\d+\}, "clients": \{"count": 0, "memory": 0, "generated": 0\}, ` +
		`"disconnected": \{.*\}, "shares": \{.*\}, "transactions": \{.*\}, "ssends": \{.*\}, "srecvs": \{.*\}, "stxnq": \{.*\}\}$`
	if !regexp.MustCompile(want).MatchString(got) || !json.Valid([]byte(got)) {
		t.Errorf("got %s", got)
	}
	if strings.Contains(string(Queries{newHarness(t, nil).State}.Stats(StratifierStats{})), "userwbs") {
		t.Error("userwbs in pool mode")
	}
}
