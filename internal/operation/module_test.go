package operation

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A fork is called otherwise by one command: what it builds knows of the old path no more.
func TestModule(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("no make here")
	}
	const fork = "example.org/someone/pool"
	old, err := exec.Command("go", "list", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copyTree(t, dir, "../..")
	run := func(name string, args ...string) string {
		t.Helper()
		c := exec.Command(name, args...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	if out := run("make", "-s", "module", "PATH="+fork); !strings.Contains(out, fork) {
		t.Errorf("make module says %q", out)
	}
	if got := run("go", "list", "-m"); got != fork+"\n" {
		t.Errorf("the module is %q", got)
	}
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, bytes.TrimSpace(old)) {
			t.Errorf("%s names the old path", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	run("go", "build", "./cmd/ckpmsg")
	if out, err := exec.Command("gofmt", "-l", dir).Output(); err != nil || len(out) != 0 {
		t.Errorf("not formatted: %s %v", out, err)
	}
	// Without a path, or with none that others could import, nothing changes.
	for _, arg := range []string{"PATH=pool", "P=1"} {
		c := exec.Command("make", "-s", "module", arg)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "make module PATH=example.org/me/ckpool (now "+fork+")") {
			t.Errorf("%s: %v\n%s", arg, err, out)
		}
	}
}

// copyTree copies a checkout without what was made in it.
func copyTree(t *testing.T, to, from string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", "bin", "run"}, name) {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
