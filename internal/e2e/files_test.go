package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/firmware"
	"github.com/ckpool/ckpool/sharelog"
)

// Keys of the files dashboards read, in their order. More may follow.
var (
	statusKeys = [3][]string{
		{"runtime", "lastupdate", "Users", "Workers", "Idle", "Disconnected", "UserAgents"},
		{"hashrate1m", "hashrate5m", "hashrate15m", "hashrate1hr", "hashrate6hr", "hashrate1d", "hashrate7d"},
		{"diff", "netdiff", "accepted", "rejected", "bestshare", "SPS1m", "SPS5m", "SPS15m", "SPS1h", "accepted_count", "rejected_count"},
	}
	agentKeys = []string{"ua", "devices", "hashrate5m", "bestshare"}
	userKeys  = []string{
		"hashrate1m", "hashrate5m", "hashrate1hr", "hashrate1d", "hashrate7d",
		"lastshare", "workers", "shares", "bestshare", "bestever", "authorised", "worker",
	}
	workerKeys = []string{
		"workername", "hashrate1m", "hashrate5m", "hashrate1hr", "hashrate1d", "hashrate7d",
		"lastshare", "started", "shares", "bestshare", "bestever", "useragent",
	}
)

// Dashboards turn these into 64-bit integers and fail on anything else.
var (
	wholeKeys = []string{
		"runtime", "lastupdate", "Users", "Workers", "Idle", "Disconnected", "devices", "accepted", "rejected",
		"accepted_count", "rejected_count", "lastshare", "workers", "shares", "bestever", "authorised", "started",
	}
	whole    = regexp.MustCompile(`^[0-9]+$`)
	hashrate = regexp.MustCompile(`^"([0-9]{1,3}|[0-9]{1,3}(\.[0-9]+)?[KMGTPEZ])"$`)
)

// member is a key of an object and its value as it is written.
type member struct {
	key   string
	value json.RawMessage
}

// members are those of an object, in order.
func members(t *testing.T, text []byte) (list []member) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		t.Fatalf("%v, %v: %s", open, err, text)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		m := member{key: key.(string)}
		if err := d.Decode(&m.value); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		list = append(list, m)
	}
	return list
}

// checkObject compares an object's keys and the form of its numbers.
func checkObject(t *testing.T, text []byte, keys []string) map[string]json.RawMessage {
	t.Helper()
	object := map[string]json.RawMessage{}
	var got []string
	for _, m := range members(t, text) {
		got = append(got, m.key)
		object[m.key] = m.value
		form := regexp.MustCompile(``)
		switch {
		case strings.HasSuffix(m.key, "_exact"):
		case strings.HasPrefix(m.key, "hashrate"):
			form = hashrate
		case slices.Contains(wholeKeys, m.key):
			form = whole
		}
		if !form.Match(m.value) {
			t.Errorf("%q: %s does not match %v", m.key, m.value, form)
		}
	}
	if diff := cmp.Diff(keys, got[:min(len(keys), len(got))]); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	return object
}

// elements are those of an array, as they are written.
func elements(t *testing.T, text []byte) (list []json.RawMessage) {
	t.Helper()
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return list
}

func (r *running) file(name ...string) []byte {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{r.config.LogDir}, name...)...))
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

func (r *running) checkStatus(t *testing.T) {
	t.Helper()
	text := r.file("pool", "pool.status")
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if len(lines) != 3 {
		t.Fatalf("%d lines in pool.status:\n%s", len(lines), text)
	}
	var agents json.RawMessage
	for i, line := range lines {
		if compact := regexp.MustCompile(`[,:]\S`).Find(regexp.MustCompile(`"[^"]*"`).ReplaceAll(line, []byte(`""`))); compact != nil {
			t.Errorf("no space behind %q: %s", compact, line)
		}
		keys := statusKeys[i]
		if i == 0 && !bytes.Contains(line, []byte("UserAgents")) { // nobody is connected
			keys = keys[:6]
		}
		if object := checkObject(t, line, keys); i == 0 {
			agents = object["UserAgents"]
		}
	}
	if agents != nil {
		for _, a := range elements(t, agents) {
			checkObject(t, a, agentKeys)
		}
	}
}

func (r *running) checkUser(t *testing.T, name string, workers ...string) {
	t.Helper()
	text := r.file("users", name)
	if !bytes.HasPrefix(text, []byte("{\n \"hashrate1m\": ")) || !bytes.HasSuffix(text, []byte("\n}\n")) {
		t.Errorf("layout of %s:\n%s", name, text)
	}
	object := checkObject(t, text, userKeys)
	var got []string
	for _, w := range elements(t, object["worker"]) {
		var name string
		if err := json.Unmarshal(checkObject(t, w, workerKeys)["workername"], &name); err != nil {
			t.Error(err)
		}
		got = append(got, name)
	}
	if diff := cmp.Diff(workers, got); diff != "" {
		t.Errorf("workers of %s (-want +got):\n%s", name, diff)
	}
}

// account is an answer of users and workers, as far as files keep it.
type account struct {
	User      string  `json:"user"`
	Worker    string  `json:"worker"`
	BestDiff  float64 `json:"bestdiff"`
	DSPS1440  float64 `json:"dsps1440"`
	LastShare int64   `json:"lastshare"`
}

type accounts struct{ Users, Workers []account }

func (r *running) accounts() (a accounts) {
	a.Users = ask[accounts](r, "users").Users
	a.Workers = ask[accounts](r, "workers").Workers
	return a
}

// asSaved are the accounts as a pool that has ended left them. An average takes in
// what came within 50 ms of an earlier share with the next one, or once a minute has
// passed: the files may have more of it than the pool said, never less.
func (r *running) asSaved(a accounts) accounts {
	r.t.Helper()
	files := map[string]sharelog.UserStats{}
	update := func(a account, rates [5]float64) account {
		const perDay, hashes = 3, 1 << 32
		rate := rates[perDay] / hashes
		if rate < a.DSPS1440*0.9 {
			r.t.Errorf("%s%s: the file has %g a second over a day, the pool said %g", a.User, a.Worker, rate, a.DSPS1440)
		}
		a.DSPS1440 = rate
		return a
	}
	for i, u := range a.Users {
		file, err := sharelog.ParseUser(r.file("users", u.User))
		if err != nil {
			r.t.Fatal(err)
		}
		files[u.User] = file
		a.Users[i] = update(u, file.Hashrate)
	}
	for i, w := range a.Workers {
		list := files[w.User].Worker
		at := slices.IndexFunc(list, func(s sharelog.WorkerStats) bool { return s.Name == w.Worker })
		if at < 0 {
			r.t.Fatalf("%s is in no file", w.Worker)
		}
		a.Workers[i] = update(w, list[at].Hashrate)
	}
	return a
}

type totals struct {
	Accepted      float64 `json:"accepted"`
	Rejected      float64 `json:"rejected"`
	AcceptedCount int     `json:"accepted_count"`
	RejectedCount int     `json:"rejected_count"`
	DSPS10080     float64 `json:"dsps10080"`
}

// A run writes its files in the form that dashboards know, and the next one
// begins where it has ended.
func TestFilesOfRun(t *testing.T) {
	t.Parallel()
	p := atDifficulty1(t, nil)
	users := []string{poolAddress, donationAddress}
	for _, worker := range []string{users[0] + ".rig1", users[0] + ".rig2", users[1]} {
		h := p.connect(t, worker)
		j := h.job()
		for range 5 {
			if reject := h.submit(h.solve(j, targetOf(j))); reject != nil {
				t.Fatal(reject)
			}
		}
		stale := h.solve(j, targetOf(j))
		stale.job.JobID = "00"
		if reject := h.submit(stale); reject == nil {
			t.Error("a share of no job was accepted")
		}
	}
	// The averages are brought up to date by themselves.
	eventually(t, patience, "averages", func() bool { return ask[totals](p, "poolstats").DSPS10080 > 0 })
	// They may have been written before the last miner came, and again in a minute.
	eventually(t, patience+time.Minute, "files with all miners", func() bool {
		text, _ := os.ReadFile(filepath.Join(p.config.LogDir, "pool", "pool.status"))
		return bytes.Contains(text, []byte(`"Workers": 3, `))
	})
	p.checkStatus(t)
	if text := p.file("pool", "pool.status"); !bytes.Contains(text, []byte(`"Users": 2, `)) ||
		!bytes.Contains(text, []byte(`"UserAgents": [{"ua": "e2e", "devices": 3, "hashrate5m": "`)) {
		t.Errorf("pool.status:\n%s", text)
	}
	before, sums := p.accounts(), ask[totals](p, "poolstats")
	if sums.AcceptedCount != 15 || sums.RejectedCount != 3 || !near(sums.Accepted, 15e-8) || !near(sums.Rejected, 3e-8) {
		t.Errorf("%+v", sums)
	}
	p.stop()
	before = p.asSaved(before)
	p.checkStatus(t)
	p.checkUser(t, users[0], users[0]+".rig1", users[0]+".rig2")
	p.checkUser(t, users[1], users[1])
	for i, want := range []float64{10e-8, 5e-8} {
		if got := p.credited(users[i]); !near(got, want) {
			t.Errorf("%s is credited %g, want %g", users[i], got, want)
		}
	}

	again := setup{nodes: []keys{{"url": "127.0.0.1:9", "auth": "a", "pass": "b"}}, keys: keys{"logdir": p.config.LogDir}}.start(t)
	slightly := cmp.Comparer(func(a, b float64) bool { return a == b || math.Abs(a-b) < 0.1*max(a, b) })
	if diff := cmp.Diff(before, again.accounts(), slightly); diff != "" {
		t.Errorf("after a restart (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(sums, ask[totals](again, "poolstats"), slightly); diff != "" {
		t.Errorf("after a restart (-before +after):\n%s", diff)
	}
	again.stop()
	again.checkStatus(t)
	again.checkUser(t, users[0], users[0]+".rig1", users[0]+".rig2")
}

// A miner that comes back after a restart has the extranonce it had.
func TestSessionOverRestart(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x1d00ffff})
	s := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"logdir": t.TempDir()}}
	p := s.start(t)
	d := p.device(t, "cgminer", "bob.rig1", firmware.Options{Suggest: 1e-8, ShareRate: 40})
	d.shares(3)
	d.Close()
	p.stop()
	p = s.start(t)
	again := p.device(t, "cgminer", "bob.rig1", firmware.Options{Suggest: 1e-8, ShareRate: 40, Session: d.Session().ID})
	again.shares(3)
	if diff := cmp.Diff(d.Session(), again.Session()); diff != "" {
		t.Errorf("session (-before +after):\n%s", diff)
	}
}

// Files of the generations before are read, and written in today's form when
// their user has mined again.
func TestFilesOfOlderVersions(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	status := fmt.Sprintf(`{"runtime": 600, "lastupdate": %d, "Users": 12, "Workers": 31, "Idle": 2, "Disconnected": 1}
{"hashrate1m": "1.35P", "hashrate5m": "1.34P", "hashrate15m": "1.3P", "hashrate1hr": "984T", "hashrate6hr": "215T", "hashrate1d": "55.1T", "hashrate7d": "7.9T"}
`, now)
	worker := func(name, more string) string {
		return fmt.Sprintf(`{"workername": "%s", "hashrate1m": "1.02T", "hashrate5m": "998G", "hashrate1hr": "1.01T", "hashrate1d": "874G", "hashrate7d": "310G", "lastshare": %d, %s}`, name, now-20, more)
	}
	for _, c := range []struct {
		version string
		files   map[string]string
		totals  totals
	}{
		{
			version: "2014 to 2017",
			files: map[string]string{
				"pool/pool.status": status + `{"SPS1m": 8.91, "SPS5m": 8.87, "SPS15m": 8.5, "SPS1h": 6.43}` + "\n",
				"users/bob":        fmt.Sprintf(`{"hashrate1m": "1.02T", "hashrate5m": "998G", "hashrate1hr": "1.01T", "hashrate1d": "874G", "hashrate7d": "310G", "lastupdate": %d, "workers": 2, "shares": 1841203, "bestshare": 48211.25}`+"\n", now-20),
				"workers/bob.rig1": fmt.Sprintf(`{"hashrate1m": "1.02T", "hashrate5m": "998G", "hashrate1hr": "1.01T", "hashrate1d": "874G", "hashrate7d": "310G", "lastupdate": %d, "shares": 1841203, "bestshare": 48211.25}`+"\n", now-20),
			},
		},
		{
			version: "2018 to 2025",
			files: map[string]string{
				"pool/pool.status": status + `{"diff": 12.3, "accepted": 185000123, "rejected": 41250, "bestshare": 1523320, "SPS1m": 8.91, "SPS5m": 8.87, "SPS15m": 8.5, "SPS1h": 6.43}` + "\n",
				"users/bob": fmt.Sprintf(`{"hashrate1m": "1.02T", "hashrate5m": "998G", "hashrate1hr": "1.01T", "hashrate1d": "874G", "hashrate7d": "310G", "lastshare": %d, "workers": 2, "shares": 1841203, "bestshare": 48211.25, "bestever": 2915233, "authorised": 1795300000, "worker": [%s]}`,
					now-20, worker("bob.rig1", `"shares": 1841203, "bestshare": 48211.25, "bestever": 2915233`)),
			},
			totals: totals{Accepted: 185000123, Rejected: 41250},
		},
		{
			version: "2026",
			files: map[string]string{
				"pool/pool.status": status + `{"diff": 0.0, "netdiff": 8.63886e13, "accepted": 1.85e8, "rejected": 41250.0, "bestshare": 1.52332e6, "SPS1m": 8.91, "SPS5m": 8.87, "SPS15m": 8.5, "SPS1h": 6.43, "accepted_count": 5310, "rejected_count": 12}` + "\n",
				"users/bob": fmt.Sprintf(`{"hashrate1m": "1.02T", "hashrate5m": "998G", "hashrate1hr": "1.01T", "hashrate1d": "874G", "hashrate7d": "310G", "lastshare": %d, "workers": 2, "shares": 1841203.0, "bestshare": 48211.25, "bestever": 2915233.75, "authorised": 1795300000, "worker": [%s]}`,
					now-20, worker("bob.rig1", `"started": 1795320000, "shares": 1841203.0, "bestshare": 48211.25, "bestever": 2915233.75, "useragent": "cgminer/4.12.1"`)),
			},
			totals: totals{Accepted: 1.85e8, Rejected: 41250, AcceptedCount: 5310, RejectedCount: 12},
		},
	} {
		t.Run(c.version, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range c.files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			p := atDifficulty1(t, keys{"logdir": dir})
			p.log.wait(t, 0, "Loaded 1 users and 1 workers")
			a := p.accounts()
			const perDay, hashes = 874e9, 1 << 32
			for _, got := range append(a.Users, a.Workers...) {
				if got.User != "bob" || got.Worker != "" && got.Worker != "bob.rig1" || got.BestDiff != 48211.25 ||
					got.LastShare < now-21 || got.LastShare > now-19 || got.DSPS1440 > perDay/hashes || got.DSPS1440 < 0.99*perDay/hashes {
					t.Errorf("%+v", got)
				}
			}
			got := ask[totals](p, "poolstats")
			if week := 7.9e12 / hashes; got.DSPS10080 > week || got.DSPS10080 < 0.99*week {
				t.Errorf("7 days: %g, want %g", got.DSPS10080, week)
			}
			got.DSPS10080 = 0
			if diff := cmp.Diff(c.totals, got); diff != "" {
				t.Errorf("totals (-want +got):\n%s", diff)
			}

			h := p.connect(t, "bob.rig1")
			j := h.job()
			if reject := h.submit(h.solve(j, targetOf(j))); reject != nil {
				t.Fatal(reject)
			}
			p.stop()
			p.checkStatus(t)
			p.checkUser(t, "bob", "bob.rig1")
			if got := p.credited("bob"); !near(got, 1841203+1e-8) {
				t.Errorf("credited %.12g", got)
			}
			shares := checkObject(t, p.file("users", "bob"), userKeys)["shares"]
			if string(shares) != "1841203" {
				t.Errorf("shares %s", shares)
			}
		})
	}
}

// Whatever an earlier run, a power cut or somebody has left in the files that
// are read at the start, the pool mines, and does not write over what it could
// not read.
func TestDamagedFilesDoNotStopTheStart(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"empty": "", "NULs": strings.Repeat("\x00", 4096), "cut": `[{"height": 8, "ha`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files := []string{"pool/blocks.json", "pool/pool.status", "pool/sessions.json", "users/alice", "pool/blocks/8-" + strings.Repeat("0", 64) + ".block"}
			for _, file := range files {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			n := testkit.StartFakeNode(t, fakenode.Config{})
			p := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"logdir": dir}}.start(t)
			p.block(p.connect(t, "alice").findBlock().hash, "confirmed 1")
			p.stop()
			for _, file := range files {
				aside := file + ".damaged"
				if strings.HasSuffix(file, ".block") {
					aside = file
				}
				if kept, err := os.ReadFile(filepath.Join(dir, aside)); err != nil || string(kept) != text {
					t.Errorf("%s: %q, %v", aside, kept, err)
				}
				if !strings.Contains(p.log.text(), filepath.Join(dir, file)+": ") {
					t.Errorf("the log does not say what is wrong with %s", file)
				}
			}
		})
	}
}
