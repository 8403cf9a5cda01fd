package lint

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What go test printed for a fuzz target that failed.
const (
	cutOff = `fuzz: elapsed: 0s, gathering baseline coverage: 0/5 completed
fuzz: elapsed: 0s, gathering baseline coverage: 5/5 completed, now fuzzing with 2 workers
fuzz: elapsed: 2s, execs: 40304 (13431/sec), new interesting: 104 (total: 108)
--- FAIL: FuzzA (2.03s)
    context deadline exceeded
FAIL
exit status 1
FAIL	ckpool/a	2.049s
`
	foundInput = `fuzz: elapsed: 0s, gathering baseline coverage: 5/5 completed, now fuzzing with 2 workers
fuzz: elapsed: 1s, execs: 24 (24/sec), new interesting: 0 (total: 5)
--- FAIL: FuzzA (1.02s)
    --- FAIL: FuzzA (0.00s)
        a_test.go:12: context deadline exceeded
    
    Failing input written to testdata/fuzz/FuzzA/582528ddfad69eb5
    To re-run:
    go test -run=FuzzA/582528ddfad69eb5
FAIL
exit status 1
FAIL	ckpool/a	1.030s
`
	seedFails = `--- FAIL: FuzzA (0.01s)
    failure while testing seed corpus entry: FuzzA/seed#1
    context deadline exceeded
FAIL
exit status 1
FAIL	ckpool/a	0.017s
`
	hangs = `fuzz: elapsed: 3s, execs: 0 (0/sec), new interesting: 0 (total: 5)
--- FAIL: FuzzA (3.02s)
    fuzzing process hung or terminated unexpectedly: exit status 2
    context deadline exceeded
FAIL
exit status 1
FAIL	ckpool/a	3.030s
`
	noBuild = `# ckpool/a
a/a.go:3:1: syntax error: non-declaration statement outside function body
FAIL	ckpool/a [build failed]
FAIL
`
)

// The script that runs the fuzz targets fails when one of them does, and not when
// Go takes the end of its time for a failure. The targets after it are run.
func TestFuzzScript(t *testing.T) {
	for name, tt := range map[string]struct {
		says  string
		fails bool
		want  string
	}{
		"nothing found": {"", false, "ok ckpool/a FuzzA\n"},
		"end of time":   {cutOff, false, "ok ckpool/a FuzzA, cut off by the end of its time\n"},
		"input found":   {foundInput, true, "582528ddfad69eb5"},
		"seed":          {seedFails, true, "seed#1"},
		"hangs":         {hangs, true, "hung or terminated"},
		"build":         {noBuild, true, "syntax error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			script := fmt.Sprintf(`#!/bin/sh
case "$*" in
*-list*) printf 'FuzzA\nok  \tckpool/a\t0.01s\nFuzzB\nok  \tckpool/b\t0.01s\n' ;;
*FuzzA*) cat %[1]s/says; [ ! -s %[1]s/says ] ;;
esac
`, dir)
			fake := filepath.Join(dir, "go")
			if err := os.WriteFile(filepath.Join(dir, "says"), []byte(tt.says), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(fake, []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			c := exec.Command("../../.ci/fuzz")
			c.Env = append(os.Environ(), "GO="+fake)
			out, err := c.CombinedOutput()
			if (err != nil) != tt.fails || !strings.Contains(string(out), tt.want) || !strings.Contains(string(out), "ok ckpool/b FuzzB\n") {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
}
