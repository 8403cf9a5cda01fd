package operation

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/sharelog"
)

// The lines of migration.md make files that ckpool of 2017 can read: JSON objects
// of at most 511 bytes, with the keys it knows.
func TestGoingBackTo2017(t *testing.T) {
	doc, err := os.ReadFile("../../docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, lines, ok := strings.Cut(string(doc), "```python\n")
	lines, _, end := strings.Cut(lines, "```\n")
	if !ok || !end {
		t.Fatal("migration.md has no such lines")
	}
	dir := t.TempDir()
	now := time.Unix(1795327725, 0)
	stats := sharelog.Stats{
		Hashrate: [5]float64{1.02e12, 998e9, 1.01e12, 874e9, 0.31}, LastShare: now, Shares: 1841203.75, BestShare: 48211.25, BestEver: 2915233.75, LastUpdate: now,
	}
	name := strings.Repeat("b", 127)
	user := sharelog.UserStats{Stats: stats, Workers: 40, Authorised: now}
	for i := range 40 {
		user.Worker = append(user.Worker, sharelog.WorkerStats{Name: fmt.Sprintf("%s.rig%d", name, i), Stats: stats, Started: now, UserAgent: "cgminer/4.12.1"})
	}
	user.Worker[7].Name = name + ".a/../../b"
	if err := os.Mkdir(filepath.Join(dir, "users"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "users", name)
	if err := os.WriteFile(file, user.Append(nil), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // once too often does no harm
		c := exec.Command("python3", "-c", lines)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	workers, err := filepath.Glob(filepath.Join(dir, "workers", "*"))
	if err != nil || len(workers) != 39 {
		t.Errorf("%d files of workers, %v", len(workers), err)
	}
	for _, file := range append(workers, file) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Hashrate1m, Hashrate7d string
			LastUpdate, Shares     int64
			BestShare              json.Number
		}
		if err := json.Unmarshal(text, &got); err != nil || len(text) > 511 {
			t.Errorf("%s has %d bytes: %v", file, len(text), err)
		}
		if got.Hashrate1m != "1.02T" || got.Hashrate7d != "0" || got.LastUpdate != now.Unix() || got.Shares != 1841204 || got.BestShare != "48211.25" {
			t.Errorf("%s: %s", file, text)
		}
	}
	// This pool reads them, too.
	if u, err := sharelog.ReadUser(file); err != nil || u.Shares != 1841204 || u.BestShare != 48211.25 || u.Hashrate[1] != 998e9 {
		t.Errorf("%+v, %v", u, err)
	}
	if w, err := sharelog.ReadWorker(workers[0]); err != nil || w.Shares != 1841204 || !w.LastUpdate.Equal(now) {
		t.Errorf("%+v, %v", w, err)
	}
}
