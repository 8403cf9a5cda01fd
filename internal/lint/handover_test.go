package lint

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Records of handovers are what released programs write: a program reads those
// of every earlier one. So their files never change and are never made anew; a
// new form of a record gets files of its own, in a directory of its version.
func TestHandoverRecords(t *testing.T) {
	top := root(t)
	const list = "testdata/handover.sha256" // for sha256sum -c at the top
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for line := range strings.Lines(string(text)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		known[name] = sum
	}
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		slashed := filepath.ToSlash(path)
		if err == nil && d.IsDir() && path != top && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() || !strings.Contains(slashed, "/testdata/handover/v") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		switch sum, ok := known[name]; {
		case !ok:
			t.Errorf("%s is not in internal/lint/%s: add it there, for ever", name, list)
		case sum != fmt.Sprintf("%x", sha256.Sum256(b)):
			t.Errorf("%s has changed: programs that write what was in it are in use, put it back", name)
		}
		delete(known, name)
		if dir, _, _ := strings.Cut(path, "/testdata/"); !readByTest(t, dir, filepath.Base(path)) {
			t.Errorf("no test of its package reads %s", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range known {
		t.Errorf("%s is gone: put it back", name)
	}
}

// readByTest looks for the name of a file, or that before its endings, in the
// tests of a package.
func readByTest(t *testing.T, dir, file string) bool {
	t.Helper()
	base, _, _ := strings.Cut(file, ".")
	tests, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		b, err := os.ReadFile(test)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(b); strings.Contains(text, `"`+base+`"`) {
			return true
		}
	}
	return false
}
