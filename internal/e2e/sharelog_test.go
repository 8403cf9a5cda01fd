package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/sharelog"
)

var (
	recordKeys = []string{
		"workinfoid", "clientid", "enonce1", "nonce2", "nonce", "ntime", "diff", "sdiff", "hash", "result", "errn",
		"createdate", "createby", "createcode", "createinet", "workername", "username", "address", "agent",
	}
	rejectedKeys = slices.Insert(slices.Clone(recordKeys), slices.Index(recordKeys, "errn"), "error")
)

// Every judged share is a line of the share logs, accepted or not, at the
// height and job it was for.
func TestShareLogs(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x1d00ffff, Height: 850_000})
	p := setup{logShares: true, nodes: []keys{fakeEntry(n)}}.start(t)
	h := p.connect(t, "bob.rig1")
	began := time.Now()
	j := h.job()
	var want []string // height, job, result, errn, hash
	submit := func(s solution, height int, result bool, errn int) {
		t.Helper()
		if reject := h.submit(s); (reject == nil) != result {
			t.Fatalf("errn %d: %v", errn, reject)
		}
		want = append(want, fmt.Sprint(height, " ", s.job.JobID[:16], " ", result, " ", errn, " ", s.hash))
	}
	first := h.solve(j, targetOf(j))
	submit(first, 850_001, true, 0)
	for range 3 {
		submit(h.solve(j, targetOf(j)), 850_001, true, 0)
	}
	submit(first, 850_001, false, 4)
	late := h.solve(j, targetOf(j))
	weak := h.solve(j, difficulty.TargetFromDifficulty(1e-10))
	for weak.achieved >= j.Difficulty {
		weak = h.solve(j, difficulty.TargetFromDifficulty(1e-10))
	}
	submit(weak, 850_001, false, 5)
	future := h.solve(j, targetOf(j))
	future.NTime += 10_000 // another hash, whatever it is
	if reject := h.submit(future); reject == nil || reject.Text != "Ntime out of range" {
		t.Errorf("%v", reject)
	}

	next, _ := h.jobOn(patience, n.NewBlock())
	submit(late, 850_001, false, 2)
	submit(h.solve(next, targetOf(next)), 850_002, true, 0)
	unknown := h.solve(next, targetOf(next))
	unknown.job.JobID = "0123456789abcdef"
	if reject := h.submit(unknown); reject == nil || reject.Text != "Invalid JobID" {
		t.Errorf("%v", reject)
	}
	p.stop()

	var got []string
	err := sharelog.Walk(p.config.LogDir, func(height int64, r sharelog.Record) error {
		if len(r.Unknown) > 0 || r.UserName != "bob" || r.WorkerName != "bob.rig1" || r.Agent != "e2e/1" || r.Address != "127.0.0.1" ||
			r.CreateInet != "127.0.0.1:0" || r.CreateBy != "code" || r.CreateCode != "parse_submit" ||
			r.Extranonce1 != fmt.Sprintf("%x", j.Extranonce.Extranonce1) || r.Difficulty != j.Difficulty || r.Created.Before(began.Add(-time.Second)) {
			t.Errorf("%+v", r)
		}
		switch r.Errn {
		case 1:
			if r.Achieved != -1 || r.Hash != "" || r.WorkID != jobID(t, next.JobID) || r.ErrorCode != 21 || r.ErrorText != "Invalid JobID" {
				t.Errorf("%+v", r)
			}
		case 3:
			if r.ErrorCode != 20 || r.ErrorText != "Ntime out of range" || r.NTime != fmt.Sprintf("%08x", future.NTime) {
				t.Errorf("%+v", r)
			}
		default:
			if (r.Achieved >= r.Difficulty) != (r.Errn != 5) {
				t.Errorf("%+v", r)
			}
			got = append(got, fmt.Sprintf("%d %016x %v %d %s", height, r.WorkID, r.Result, r.Errn, r.Hash))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}

	files, err := filepath.Glob(filepath.Join(p.config.LogDir, "*", "*.sharelog"))
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			lines++
			var keys []string
			for _, m := range members(t, line) {
				keys = append(keys, m.key)
			}
			expected := recordKeys
			var result struct{ Result bool }
			if err := json.Unmarshal(line, &result); err != nil {
				t.Error(err)
			}
			if !result.Result {
				expected = rejectedKeys
			}
			if diff := cmp.Diff(expected, keys); diff != "" {
				t.Errorf("%s: keys (-want +got):\n%s", line, diff)
			}
		}
	}
	if want := len(want) + 2; lines != want {
		t.Errorf("%d lines in %s, want %d", lines, strings.Join(files, ", "), want)
	}
}

func jobID(t *testing.T, wire string) (id uint64) {
	t.Helper()
	if _, err := fmt.Sscanf(wire[:16], "%x", &id); err != nil {
		t.Fatal(err)
	}
	return id
}
