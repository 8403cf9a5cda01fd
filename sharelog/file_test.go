package sharelog

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestFileName(t *testing.T) {
	for name, want := range map[string]string{
		"bob":                    "bob",
		"bc1qexample":            "bc1qexample",
		"bob.rig1":               "bob.rig1",
		"../../etc/passwd":       "%2E.%2F..%2Fetc%2Fpasswd",
		".hidden":                "%2Ehidden",
		"50%":                    "50%25",
		"a b\n\x7f":              "a%20b%0A%7F",
		"mürsel":                 "mürsel",
		"nul\x00byte":            "nul%00byte",
		strings.Repeat("a", 255): strings.Repeat("a", 255),
	} {
		got, err := FileName(name)
		if err != nil || got != want {
			t.Errorf("FileName(%q) = %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"", strings.Repeat("a", 256), strings.Repeat("/", 86)} {
		if got, err := FileName(name); err == nil {
			t.Errorf("FileName(%q) = %q", name, got)
		}
	}
}

func TestFileNameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[ -~.%/0-9a-f\x00-\x1f]{1,80}`).Draw(t, "name")
		file, err := FileName(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(file, "/\x00\n ") || file[0] == '.' || IsTemporary(file) {
			t.Fatalf("%q has the file name %q", name, file)
		}
		if got := NameOfFile(file); got != name {
			t.Fatalf("%q -> %q -> %q", name, file, got)
		}
	})
}

// Files of the C pool have raw names.
func TestNameOfForeignFile(t *testing.T) {
	for _, name := range []string{"50%off", "100%", "%zz", "a%41", "%", "a%2Eb"} {
		if got := NameOfFile(name); got != name {
			t.Errorf("NameOfFile(%q) = %q", name, got)
		}
	}
}

func FuzzFileName(f *testing.F) {
	f.Add("../x")
	f.Add("%2F%")
	f.Fuzz(func(t *testing.T, name string) {
		if file, err := FileName(name); err == nil && NameOfFile(file) != name {
			t.Fatalf("%q -> %q -> %q", name, file, NameOfFile(file))
		}
	})
}

// Readers see a whole file at any time, and a failed write leaves the old one.
func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	content := func(c string) []byte { return []byte(strings.Repeat(c, 100_000)) }
	if err := ReplaceFile(path, content("a"), true); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for _, c := range []string{"a", "b"} {
		writers.Go(func() {
			for range 20 {
				if err := ReplaceFile(path, content(c), false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 50 {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if s := string(data); s != string(content("a")) && s != string(content("b")) {
			t.Fatalf("torn file of %d bytes", len(s))
		}
	}
	writers.Wait()
	if err := ReplaceFile(filepath.Join(dir, "none", "f"), nil, false); err == nil {
		t.Error("write into a missing directory succeeded")
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := ReplaceFile(filepath.Join(dir, "d"), nil, false); err == nil {
		t.Error("a directory was replaced")
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}
