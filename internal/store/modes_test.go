package store

import (
	"os"
	"testing"
)

// Nobody but the user and its group may read what people log in with, whoever may look into
// the directory.
func TestModes(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	registeredUser(t, s, "bob", "secret")
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 3 { // the database, its write-ahead log, and its lock
		t.Fatal(files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s: %v", f.Name(), info.Mode())
		}
	}
}
