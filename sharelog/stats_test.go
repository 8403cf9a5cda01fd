package sharelog

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func exampleStats() Stats {
	return Stats{
		Hashrate:  [5]float64{1.0187e12, 9.98499e11, 1.01e12, 8.74e11, 0.31},
		LastShare: time.Unix(1795327725, 0), Shares: 1841203.75, BestShare: 48211.25, BestEver: 2915233.75,
		LastUpdate: time.Unix(1795327726, 0),
	}
}

func exampleUser() UserStats {
	return UserStats{
		Stats: exampleStats(), Workers: 2, Authorised: time.Unix(1795300000, 0),
		Worker: []WorkerStats{
			{Name: "bob.rig1", Stats: exampleStats(), Started: time.Unix(1795320000, 0), UserAgent: "cgminer/4.12.1", Rejects: Rejects{
				Accepted: 43812, Counts: []RejectCount{{"duplicate", 1}, {"stale", 17}}, Last: "stale", LastTime: time.Unix(1795327000, 0),
			}},
			{Name: "bob.rig2", Stats: Stats{LastUpdate: time.Unix(1795327726, 0)}},
		},
	}
}

func examplePool() PoolStatus {
	return PoolStatus{
		Runtime: 600, LastUpdate: time.Unix(1795328213, 0), Users: 12, Workers: 31, Idle: 2, Disconnected: 1,
		UserAgents: []AgentStatus{{"cgminer", 20, 1.2e15, 1523321.5}, {"Other", 1, 12, 0}},
		Hashrate:   [7]float64{1.3512e15, 1.34e15, 1.3e15, 9.996e14, 2.15e14, 999.4, 0.2},
		Effort:     0.01, NetworkDifficulty: 86388558925171.02,
		Accepted: 185000000.4, Rejected: 0.25, BestShare: 1.52332e18,
		SPS: [4]float64{8.9112345678, 8.87, 8.5, 6.43}, AcceptedCount: 5310, RejectedCount: 12,
	}
}

func TestGolden(t *testing.T) {
	user, pool := exampleUser(), examplePool()
	dir := t.TempDir()
	for file, write := range map[string]func(string) error{"user.golden": user.Write, "pool.golden": pool.Write} {
		path := filepath.Join(dir, file)
		if err := write(path); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s:\n%s", file, diff)
		}
	}
	want := `{"hashrate1m": "1.02T", "hashrate5m": "998G", "hashrate1hr": "1.01T", "hashrate1d": "874G", "hashrate7d": "0", ` +
		`"lastshare": 1795327725, "workers": 2, "shares": 1841204, "bestshare": 48211.25, "bestever": 2915234, "authorised": 1795300000}`
	if got := user.Line(); got != want {
		t.Errorf("line of a user:\n got %s\nwant %s", got, want)
	}
}

// The keys known to tools come first and in the order of the C pool's newest
// version.
func TestKeysInOrder(t *testing.T) {
	user, pool := exampleUser(), examplePool()
	lines := pool.Lines()
	ours := string(user.Append(nil)) + strings.Join(lines[:], "\n")
	var theirs string
	for _, file := range []string{"testdata/user.v26", "testdata/pool.v26"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		theirs += string(data)
	}
	key := regexp.MustCompile(`"(\w+)": ?`)
	names := func(text string) (keys []string) {
		for _, m := range key.FindAllStringSubmatch(text, -1) {
			// one worker and one user agent are enough
			if !slices.Contains(keys, m[1]) && !strings.HasSuffix(m[1], exactSuffix) {
				keys = append(keys, m[1])
			}
		}
		return keys
	}
	got := names(ours)
	got = slices.DeleteFunc(got, func(k string) bool {
		return slices.Contains([]string{"lastupdate", "accepted_shares", "rejects", "duplicate", "stale", "lastreject", "lastrejected"}, k)
	})
	want := slices.DeleteFunc(names(theirs), func(k string) bool { return k == "lastupdate" })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Dashboards read these as 64-bit integers and hash rates as a number with a
// unit, and give up on the whole file otherwise.
func TestNumbersDashboardsRead(t *testing.T) {
	rate := regexp.MustCompile(`^(\d{1,3}|\d{1,3}(\.\d{1,2})?[KMGTPEZ])$`)
	check := func(t *rapid.T, object map[string]any, integers ...string) {
		for _, key := range integers {
			if _, err := strconv.ParseInt(object[key].(json.Number).String(), 10, 64); err != nil {
				t.Fatalf("%s: %v", key, err)
			}
		}
		for key, v := range object {
			if text, ok := v.(string); ok && strings.HasPrefix(key, "hashrate") && !rate.MatchString(text) {
				t.Fatalf("%s is %q", key, text)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.Float64Range(0, 1e21), rapid.Float64Range(0, 2), rapid.Float64Range(998, 1001),
			rapid.Float64Range(999400, 1000600))
		user, pool := exampleUser(), examplePool()
		for _, s := range []*Stats{&user.Stats, &user.Worker[0].Stats} {
			s.Shares, s.BestEver = value.Draw(t, "shares"), value.Draw(t, "bestever")
			for i := range s.Hashrate {
				s.Hashrate[i] = value.Draw(t, "rate")
			}
		}
		for i := range pool.Hashrate {
			pool.Hashrate[i] = value.Draw(t, "rate")
		}
		pool.Accepted, pool.Rejected, pool.BestShare = value.Draw(t, "a"), value.Draw(t, "r"), value.Draw(t, "b")

		object := decode(t, user.Append(nil))
		check(t, object, "shares", "bestever", "lastshare", "workers", "authorised")
		check(t, object["worker"].([]any)[0].(map[string]any), "shares", "bestever", "lastshare", "started")
		lines := pool.Lines()
		check(t, decode(t, []byte(lines[0])), "runtime", "lastupdate", "Users", "Workers", "Idle", "Disconnected")
		check(t, decode(t, []byte(lines[1])))
		check(t, decode(t, []byte(lines[2])), "accepted", "rejected", "bestshare", "accepted_count", "rejected_count")
	})
}

func decode(t *rapid.T, data []byte) map[string]any {
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return object
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	user, pool := exampleUser(), examplePool()
	if err := user.Write(filepath.Join(dir, "bob")); err != nil {
		t.Fatal(err)
	}
	if err := pool.Write(filepath.Join(dir, "pool.status")); err != nil {
		t.Fatal(err)
	}
	gotUser, err := ReadUser(filepath.Join(dir, "bob"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(user, gotUser); diff != "" {
		t.Error(diff)
	}
	gotPool, err := ReadPoolStatus(filepath.Join(dir, "pool.status"))
	if err != nil {
		t.Fatal(err)
	}
	pool.NetworkDifficulty = 8.63886e13 // six digits are kept
	if diff := cmp.Diff(pool, gotPool); diff != "" {
		t.Error(diff)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("temporary files left: %v %v", entries, err)
	}
}

func TestRoundTripProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Float64Range(0, 1e300)
		at := rapid.Int64Range(1, 1<<40)
		var u UserStats
		for i := range u.Hashrate {
			u.Hashrate[i] = value.Draw(t, "rate")
		}
		u.Shares, u.BestShare = value.Draw(t, "shares"), value.Draw(t, "best")
		u.BestEver = u.BestShare + value.Draw(t, "ever")
		u.LastShare, u.LastUpdate = time.Unix(at.Draw(t, "last"), 0), time.Unix(at.Draw(t, "update"), 0)
		u.Worker = []WorkerStats{{Name: rapid.String().Draw(t, "name"), UserAgent: rapid.String().Draw(t, "agent"), Stats: u.Stats}}
		got, err := ParseUser(u.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(u, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestReadUserOfOlderVersions(t *testing.T) {
	stats := Stats{
		Hashrate: [5]float64{1.02e12, 9.98e11, 1.01e12, 8.74e11, 3.1e11},
		Shares:   1841203, BestShare: 48211.253906, BestEver: 48211.253906,
	}
	t.Run("v17", func(t *testing.T) {
		want := stats
		want.LastUpdate = time.Unix(1495327785, 0)
		got, err := ReadUser("testdata/user.v17")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(UserStats{Stats: want, Workers: 2}, got); diff != "" {
			t.Error(diff)
		}
		worker, err := ReadWorker("testdata/worker.v17")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(WorkerStats{Stats: want}, worker); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("v23", func(t *testing.T) {
		info, err := os.Stat("testdata/user.v23")
		if err != nil {
			t.Fatal(err)
		}
		want := stats
		want.Hashrate[0] = 1e6
		want.BestEver, want.LastShare, want.LastUpdate = 2915233, time.Unix(1695327725, 0), info.ModTime()
		worker := want
		worker.Hashrate[0] = 512
		got, err := ReadUser("testdata/user.v23")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(UserStats{
			Stats: want, Workers: 2, Authorised: time.Unix(1695300000, 0),
			Worker: []WorkerStats{{Name: "bob.rig1", Stats: worker, Started: time.Unix(1695320000, 0)}},
		}, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("v26", func(t *testing.T) {
		info, err := os.Stat("testdata/user.v26")
		if err != nil {
			t.Fatal(err)
		}
		want := stats
		want.Hashrate[4] = 0.31
		want.BestShare, want.BestEver, want.LastShare, want.LastUpdate = 48211.25, 2915233.75, time.Unix(1795327725, 0), info.ModTime()
		got, err := ReadUser("testdata/user.v26")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(UserStats{
			Stats: want, Workers: 2, Authorised: time.Unix(1795300000, 0),
			Worker: []WorkerStats{{Name: "bob.rig1", Stats: want, Started: time.Unix(1795320000, 0), UserAgent: "cgminer/4.12.1"}},
		}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestReadPoolStatusOfOlderVersions(t *testing.T) {
	base := PoolStatus{
		Runtime: 600, Users: 12, Workers: 31, Idle: 2, Disconnected: 1,
		Hashrate: [7]float64{1.35e15, 1.34e15, 1.3e15, 9.84e14, 2.15e14, 5.51e13, 7.9e12},
		SPS:      [4]float64{8.91, 8.87, 8.5, 6.43},
	}
	v17, v23, v26 := base, base, base
	v17.LastUpdate = time.Unix(1495328213, 0)
	v23.LastUpdate = time.Unix(1695328213, 0)
	v23.Hashrate[3], v23.Hashrate[6] = 1e6, 812
	v23.Accepted, v23.Rejected, v23.BestShare = 185000000, 41250, 1523321
	v26.LastUpdate = time.Unix(1795328213, 0)
	v26.UserAgents = []AgentStatus{{"cgminer", 20, 1.2e15, 1523321.5}}
	v26.NetworkDifficulty, v26.Accepted, v26.Rejected, v26.BestShare = 8.63886e13, 1.85e8, 41250, 1.52332e6
	v26.AcceptedCount, v26.RejectedCount = 5310, 12
	for file, want := range map[string]PoolStatus{"pool.v17": v17, "pool.v23": v23, "pool.v26": v26} {
		got, err := ReadPoolStatus("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

// The C pool lost its statistics when many user agents made the first line long.
func TestPoolStatusWithManyAgents(t *testing.T) {
	s := examplePool()
	for range 1000 {
		s.UserAgents = append(s.UserAgents, AgentStatus{Agent: strings.Repeat("miner", 20), Devices: 1})
	}
	path := filepath.Join(t.TempDir(), "pool.status")
	if err := s.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadPoolStatus(path)
	if err != nil || got.Accepted != s.Accepted || len(got.UserAgents) != len(s.UserAgents) {
		t.Errorf("accepted %v, %d agents, %v", got.Accepted, len(got.UserAgents), err)
	}
}

func TestBadStatsFilesNameThePlace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pool.status")
	for text, want := range map[string]string{"": "lines instead of 3", "{}\n{}\n": "2 lines instead of 3", "{}\n{\n{}\n": "line 2"} {
		os.WriteFile(path, []byte(text), 0o644)
		if _, err := ReadPoolStatus(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", text, err)
		}
	}
	os.WriteFile(path, nil, 0o644)
	if _, err := ReadUser(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("empty user file: %v", err)
	}
}

func FuzzParsePoolStatus(f *testing.F) {
	addFiles(f, "pool.v17", "pool.v23", "pool.v26", "pool.golden")
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParsePoolStatus(data)
		if err != nil {
			return
		}
		l := s.Lines()
		again, err := ParsePoolStatus([]byte(strings.Join(l[:], "\n")))
		if err != nil {
			t.Fatal(err)
		}
		if again.Hashrate != s.Hashrate || again.Accepted != s.Accepted || again.SPS != s.SPS {
			t.Fatalf("read %+v, written and read %+v", s, again)
		}
	})
}

func FuzzParseUser(f *testing.F) {
	addFiles(f, "user.v17", "user.v23", "user.v26", "user.golden", "worker.v17")
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := ParseUser(data)
		if err != nil {
			return
		}
		again, err := ParseUser(u.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if again.Hashrate != u.Hashrate || again.Shares != u.Shares || again.BestEver != u.BestEver || len(again.Worker) != len(u.Worker) {
			t.Fatalf("read %+v, written and read %+v", u, again)
		}
	})
}

// A file written a piece at a time is the same as one written whole.
func TestWriteUserInPieces(t *testing.T) {
	u := UserStats{Stats: Stats{Shares: 42}, Workers: 3}
	for i := range 1000 {
		u.Worker = append(u.Worker, WorkerStats{Name: fmt.Sprint("bob.", i), Stats: Stats{Shares: float64(i)}})
	}
	path := filepath.Join(t.TempDir(), "bob")
	alone := u
	alone.Worker = nil
	var w WorkerStats // one at a time
	err := alone.WriteWith(path, func(yield func(*WorkerStats) bool) {
		for i := range u.Worker {
			if w = u.Worker[i]; !yield(&w) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != string(u.Append(nil)) {
		t.Errorf("%d bytes in pieces, %d at once, %v", len(got), len(u.Append(nil)), err)
	}
}

// addFiles adds files of testdata to the corpus.
func addFiles(f *testing.F, names ...string) {
	f.Helper()
	for _, name := range names {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}
