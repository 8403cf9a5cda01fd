package lint

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What a fuzz target that failed printed.
const (
	cutOff = `fuzz: elapsed: 0s, gathering baseline coverage: 0/5 completed
fuzz: elapsed: 0s, gathering baseline coverage: 5/5 completed, now fuzzing with 2 workers
fuzz: elapsed: 2s, execs: 40304 (13431/sec), new interesting: 104 (total: 108)
--- FAIL: FuzzA (2.03s)
    context deadline exceeded
FAIL
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
`
	seedFails = `--- FAIL: FuzzA (0.01s)
    failure while testing seed corpus entry: FuzzA/seed#1
    context deadline exceeded
FAIL
`
	hangs = `fuzz: elapsed: 3s, execs: 0 (0/sec), new interesting: 0 (total: 5)
--- FAIL: FuzzA (3.02s)
    fuzzing process hung or terminated unexpectedly: exit status 2
    context deadline exceeded
FAIL
`
	noBuild = `# ckpool/a
a/a.go:3:1: syntax error: non-declaration statement outside function body
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
		"nothing found": {"", false, "ok ./a FuzzA\n"},
		"end of time":   {cutOff, false, "ok ./a FuzzA, cut off by the end of its time\n"},
		"input found":   {foundInput, true, "582528ddfad69eb5"},
		"seed":          {seedFails, true, "seed#1"},
		"hangs":         {hangs, true, "hung or terminated"},
		"build":         {noBuild, true, "syntax error"},
	} {
		// One after the other: a program that is written cannot be run while another test, which
		// has it open by its own fork, begins one.
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			script, err := os.ReadFile("../../.ci/fuzz")
			if err != nil {
				t.Fatal(err)
			}
			// go makes programs that say it, or says it.
			fake := `#!/bin/sh
case "$*" in
env*) echo cache ;;
*./b) printf '#!/bin/sh\n' > "$6"; chmod +x "$6" ;;
*"-c -fuzz . -o "*)
	if grep -q syntax says; then cat says; exit 1; fi
	printf '#!/bin/sh\ncat ../says; [ ! -s ../says ]\n' > "$6"; chmod +x "$6" ;;
esac
`
			for path, text := range map[string]string{
				".ci/fuzz": string(script), "go": fake, "says": tt.says,
				"a/a_test.go": "package a\n\nfunc FuzzA(f *testing.F) {\n", "b/b_test.go": "package b\n\nfunc FuzzB(f *testing.F) {\n",
			} {
				path = filepath.Join(dir, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			c := exec.Command(filepath.Join(dir, ".ci/fuzz"))
			c.Env = append(os.Environ(), "GO="+filepath.Join(dir, "go"))
			out, err := c.CombinedOutput()
			if (err != nil) != tt.fails || !strings.Contains(string(out), tt.want) || !strings.Contains(string(out), "ok ./b FuzzB\n") {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
}
