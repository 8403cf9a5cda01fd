package users

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/sharelog"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// put copies a file of testdata into the log directory.
func (h *harness) put(t *testing.T, from string, to ...string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", from))
	if err != nil {
		t.Fatal(err)
	}
	h.write(t, string(data), to...)
}

func (h *harness) write(t *testing.T, text string, to ...string) {
	t.Helper()
	path := filepath.Join(append([]string{h.dir}, to...)...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) userFiles(t *testing.T) (files []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(h.dir, "users"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files = append(files, e.Name())
	}
	return files
}

// Once a minute everything is written, the users spread over the minute.
func TestTickWritesOnceAMinute(t *testing.T) {
	h := newHarness(t, nil)
	const users = 500
	for i := range users {
		w := grant(t, h.Users, fmt.Sprint("user", i)).Worker
		h.Attach(w, uint64(i), "cgminer/1", start)
		h.Share(accepted(w, start.Add(time.Second), 60, 1))
	}
	h.found("")
	now, asked := start.Add(time.Second), 0
	for range passes {
		if h.MinuteBegins() {
			asked++
		}
		if err := h.Tick(now, Sessions{Idle: 5}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(TickInterval)
		h.mu.Lock()
		if n := len(h.events); n > users/2 {
			t.Errorf("%d lines at once", n)
		}
		h.mu.Unlock()
		events := h.found("5 Pool:")
		if first := now == start.Add(time.Second+TickInterval); first != (len(events) == 3) || !first && len(events) > 0 {
			t.Errorf("at %v the pool is logged with %d lines", now.Sub(start), len(events))
		}
	}
	if got := len(h.userFiles(t)); got != users || asked != 1 {
		t.Errorf("%d files, sessions counted %d times", got, asked)
	}
	h.tick(now)
	st, err := sharelog.ReadPoolStatus(h.poolFile())
	if err != nil || !st.LastUpdate.Equal(now) || len(st.UserAgents) != 1 || st.UserAgents[0].Devices != users || st.UserAgents[0].Hashrate5m == 0 {
		t.Errorf("a minute later: %+v, %v", st, err)
	}
}

// What a run has counted is what the next begins with.
func TestRestart(t *testing.T) {
	h := newHarness(t, nil)
	now := start
	rig1, rig2 := grant(t, h.Users, "bob.rig1").Worker, grant(t, h.Users, "bob.rig2").Worker
	grant(t, h.Users, "idler")
	h.Attach(rig1, 1, "cgminer/4.12.1", now)
	h.Attach(rig2, 2, "bitaxe/BM1370/v2.4", now)
	h.SetNetworkDifficulty(86388558925171)
	for i := range 200 {
		now = now.Add(time.Second)
		h.Share(accepted(rig1, now, 1234.567, 2000.5+float64(i)))
		h.Share(accepted(rig2, now, 0.1, 0.123))
		h.Share(rejected(rig2, now, 0.3, session.Duplicate))
		h.tick(now)
	}
	h.tick(now.Add(time.Second))
	h.found("")
	if err := h.Save(now.Add(time.Second), Sessions{Idle: 1, Disconnected: 2}); err != nil {
		t.Fatal(err)
	}
	if got := h.userFiles(t); !slices.Equal(got, []string{"bob"}) {
		t.Errorf("files of users: %v", got)
	}
	events := h.found("5 ")
	if len(events) != 4 || !strings.HasPrefix(events[0], `5 User bob:{"hashrate1m": "`) || strings.Contains(events[0], "worker\"") ||
		!strings.HasPrefix(events[1], `5 Pool:{"runtime": 201, "lastupdate": 1795327814, "Users": 1, "Workers": 2, "Idle": 1, "Disconnected": 2, "UserAgents": [`) ||
		!strings.HasPrefix(events[2], `5 Pool:{"hashrate1m": `) || !strings.HasPrefix(events[3], `5 Pool:{"diff": `) {
		t.Errorf("logged: %s", strings.Join(events, "\n"))
	}

	again := h.open(t, now.Add(time.Second), nil)
	if got := h.found("4 "); !slices.Equal(got, []string{"4 Loaded 1 users and 2 workers"}) {
		t.Errorf("events: %v", got)
	}
	for _, name := range []string{"bob.rig1", "bob.rig2"} {
		a, b := h.directory.worker(name), again.directory.worker(name)
		compareTallies(t, name, a.tally, b.tally, h.Users, again, now)
		if a.connected.agentName() != b.connected.agentName() {
			t.Errorf("user agent of %s is %q", name, b.connected.agentName())
		}
	}
	a, b := h.directory.user("bob"), again.directory.user("bob")
	compareTallies(t, "bob", a.tally, b.tally, h.Users, again, now)
	if a.authorised != b.authorised || b.loggedIn || b.attached != 0 {
		t.Errorf("user read back: %+v", b)
	}
	at := now.Add(time.Second)
	before, after := h.Status(at, Sessions{}), again.Status(at, Sessions{})
	if diff := cmp.Diff(before, after, cmpopts.IgnoreFields(sharelog.PoolStatus{}, "Runtime", "Users", "Workers", "NetworkDifficulty", "Effort")); diff != "" {
		t.Errorf("pool read back: %s", diff)
	}
}

func compareTallies(t *testing.T, name string, a, b tally, from, to *Users, now time.Time) {
	t.Helper()
	if d := from.wall(a.lastShare, now).Unix() - to.wall(b.lastShare, now).Unix(); d != 0 {
		t.Errorf("%s: last share %d s apart", name, d)
	}
	for i := range a.rates {
		if a.rates[i] != b.rates[i] {
			t.Errorf("%s: average %d is %v, was %v", name, i, b.rates[i], a.rates[i])
		}
	}
	if a.shares != b.shares || a.best != b.best || a.bestEver != b.bestEver {
		t.Errorf("%s read back as %+v, was %+v", name, b, a)
	}
}

// Averages fall over the time the pool was not there.
func TestDowntime(t *testing.T) {
	h := newHarness(t, nil)
	w := grant(t, h.Users, "bob.rig1").Worker
	now := start
	for range 600 {
		now = now.Add(time.Second)
		h.Share(accepted(w, now, 100, 100))
		h.tick(now)
	}
	if err := h.Save(now, Sessions{}); err != nil {
		t.Fatal(err)
	}
	const gap = time.Hour
	again := h.open(t, now.Add(gap), nil)
	ratio := func(what string, before, after difficulty.Average, window float64) {
		t.Helper()
		want := math.Exp(-gap.Seconds() / window)
		if got := float64(after / before); math.Abs(got-want) > 0.002*want+1e-15 {
			t.Errorf("%s over %v s kept %v, want %v", what, window, got, want)
		}
	}
	for i, window := range windows {
		ratio("user", h.directory.user("bob").rates[i], again.directory.user("bob").rates[i], window)
		ratio("worker", h.directory.worker("bob.rig1").rates[i], again.directory.worker("bob.rig1").rates[i], window)
	}
	for i, window := range poolWindows {
		ratio("pool", h.totals.rates[i], again.totals.rates[i], window)
	}
	if got := again.directory.user("bob").shares; got != 60000 {
		t.Errorf("shares %v", got)
	}
	// a clock that went back changes nothing
	back := h.open(t, start, nil)
	if back.totals.rates[0] != h.totals.rates[0] {
		t.Error("averages changed with the clock set back")
	}
}

func TestLoadOlderVersions(t *testing.T) {
	for version, written := range map[string]int64{"v17": 1495328213, "v23": 1695328213, "v26": 1795328213} {
		t.Run(version, func(t *testing.T) {
			later := time.Unix(written+1, 0)
			h := &harness{dir: t.TempDir()}
			h.put(t, "user."+version, "users", "bob")
			h.put(t, "pool."+version, "pool", "pool.status")
			if version == "v17" {
				h.put(t, "worker.v17", "workers", "bob.rig1")
				h.put(t, "worker.v17", "workers", "stranger.rig1")
			}
			s := h.open(t, later, nil)
			if got := h.found("4 "); !slices.Equal(got, []string{"4 Loaded 1 users and 1 workers"}) {
				t.Errorf("events: %v", got)
			}
			u, w := s.directory.user("bob"), s.directory.worker("bob.rig1")
			if u == nil || w == nil || u.shares != 1841203 || w.shares != 1841203 || u.rates[3] == 0 || w.rates[3] == 0 || u.lastShare == never {
				t.Fatalf("read %+v %+v", u, w)
			}
			st := s.Status(later, Sessions{})
			want := map[string]float64{"v17": 0, "v23": 185000000, "v26": 185000000}[version]
			if st.Accepted != want || version == "v26" && (st.SPS[0] < 8 || st.Hashrate[0] < 1.3e15 || st.AcceptedCount != 5310) {
				t.Errorf("pool: %+v", st)
			}
			// nobody has logged in: the files stay as they are
			if err := s.Save(later, Sessions{}); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile("testdata/user." + version)
			after, _ := os.ReadFile(filepath.Join(h.dir, "users", "bob"))
			if string(before) != string(after) {
				t.Error("file of a user who has not logged in was written")
			}
			// then the new form holds what the old one did
			s.Share(accepted(grant(t, s, "bob.rig1").Worker, later, 1, 1))
			if err := s.Save(later, Sessions{}); err != nil {
				t.Fatal(err)
			}
			got, err := sharelog.ReadUser(filepath.Join(h.dir, "users", "bob"))
			if err != nil || got.Shares != 1841204 || len(got.Worker) != 1 || got.Worker[0].Shares != 1841204 {
				t.Errorf("written %+v, %v", got, err)
			}
		})
	}
}

func TestLoadLeavesOutWhatIsNoUser(t *testing.T) {
	h := &harness{dir: t.TempDir()}
	h.put(t, "user.v26", "users", strings.ToUpper(mainAddress)) // older versions kept the case
	h.write(t, `{"shares": 5}`, "users", mainAddress)           // and this one wins
	h.write(t, `{"shares": 7}`, "users", "50%off")              // raw name of an older version
	h.write(t, `{"shares": 8}`, "users", "a%20b")
	h.write(t, `{"shares": 9}`, "users", "bob.bak")
	h.write(t, `{"shares": 9}`, "users", ".tmp-1-0")
	h.write(t, `{"shares": 9}`, "users", ".tmp-2-0")
	for file, age := range map[string]time.Duration{".tmp-1-0": time.Hour, ".tmp-2-0": 0} {
		if err := os.Chtimes(filepath.Join(h.dir, "users", file), time.Time{}, start.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	h.write(t, ``, "users", "torn")
	h.write(t, "{}\n", "pool", "pool.status")
	if err := os.Mkdir(filepath.Join(h.dir, "users", "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := h.open(t, start, nil)
	events := h.found("4 ")
	if len(events) != 3 || !strings.Contains(events[0], "pool.status") || !strings.Contains(events[1], "torn") || events[2] != "4 Loaded 3 users and 0 workers" {
		t.Errorf("events: %v", events)
	}
	for name, shares := range map[string]float64{mainAddress: 5, "50%off": 7, "a b": 8} {
		if u := s.directory.user(name); u == nil || u.shares != shares {
			t.Errorf("%s: %+v", name, u)
		}
	}
	if files := h.userFiles(t); slices.Contains(files, ".tmp-1-0") || !slices.Contains(files, ".tmp-2-0") {
		t.Errorf("unfinished files: old ones must go, young ones stay: %v", files)
	}
}

// Files are written for who logged in in this run and ever had a share.
func TestSaveWritesWhoTakesPart(t *testing.T) {
	h := newHarness(t, nil)
	path := filepath.Join(h.dir, "users", "bob")
	wrote := func(s *Users) bool {
		t.Helper()
		os.Remove(path)
		if err := s.Save(start, Sessions{}); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(path)
		return err == nil
	}
	w := grant(t, h.Users, "bob.rig1").Worker
	h.Attach(w, 1, "", start)
	if wrote(h.Users) {
		t.Error("a user without a share has a file")
	}
	h.Share(rejected(w, start, 1, session.Duplicate))
	if wrote(h.Users) {
		t.Error("a user without an accepted share has a file")
	}
	h.Share(accepted(w, start, 0.001, 0.001))
	if !wrote(h.Users) {
		t.Error("not written after a share")
	}
	h.Detach(w, 1, "")
	if !wrote(h.Users) {
		t.Error("not written after the miner left")
	}
	again := h.open(t, start, nil)
	if wrote(again) {
		t.Error("written before a login in the new run")
	}
	grant(t, again, "bob.rig1")
	if !wrote(again) {
		t.Error("not written after a login")
	}
}

func TestResetReachesFilesOfAbsentUsers(t *testing.T) {
	h := &harness{dir: t.TempDir()}
	h.put(t, "user.v26", "users", "bob")
	s := h.open(t, start, nil)
	s.ResetRound()
	if err := s.Save(start, Sessions{}); err != nil {
		t.Fatal(err)
	}
	got, err := sharelog.ReadUser(filepath.Join(h.dir, "users", "bob"))
	if err != nil || got.BestShare != 0 || got.BestEver != 2915233.75 || got.Worker[0].BestShare != 0 {
		t.Errorf("%+v %v", got, err)
	}
}

func TestSaveReportsTrouble(t *testing.T) {
	h := newHarness(t, nil)
	for i := range 3 {
		h.Share(accepted(grant(t, h.Users, fmt.Sprint("user", i)).Worker, start, 1, 1))
	}
	if err := os.RemoveAll(filepath.Join(h.dir, "users")); err != nil {
		t.Fatal(err)
	}
	err := h.Save(start, Sessions{})
	if err == nil || !strings.Contains(err.Error(), "users") || !strings.Contains(err.Error(), "and 2 more files") {
		t.Errorf("error %v", err)
	}
	if err := os.MkdirAll(filepath.Join(h.dir, "users"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := h.Save(start, Sessions{}); err != nil || len(h.userFiles(t)) != 3 {
		t.Errorf("not made up for: %v, %v", h.userFiles(t), err)
	}
}

// A name can neither leave the directory nor break a log line.
func TestHostileNames(t *testing.T) {
	h := newHarness(t, nil)
	for _, name := range []string{"..x", "a\nb", "a b", "%41", "C:\\x"} {
		l := login(name)
		g, r := h.Authorize(l)
		if r != nil {
			continue // refused is safe too
		}
		h.Share(accepted(g.Worker, start, 1, 1))
	}
	if err := h.Save(start, Sessions{}); err != nil {
		t.Fatal(err)
	}
	if got, want := h.userFiles(t), []string{"%2541", "C:\\x", "a%0Ab", "a%20b"}; !slices.Equal(got, want) {
		t.Errorf("files: %q, want %q", got, want)
	}
	for _, e := range h.found("5 User") {
		if strings.ContainsAny(e, "\n") {
			t.Errorf("log line %q", e)
		}
	}
	again := h.open(t, start, nil)
	for _, name := range []string{"a\nb", "a b", "%41", "C:\\x"} {
		if u := again.directory.user(name); u == nil || u.shares != 1 {
			t.Errorf("%q not read back", name)
		}
	}
}
