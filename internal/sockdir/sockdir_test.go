package sockdir

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// -s of the tools is -s of the pool, or as always the directory above that.
func TestFindInDirectory(t *testing.T) {
	dir, err := os.MkdirTemp("", "ck")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	want := func(want string) {
		t.Helper()
		if got := Find(dir, "x", "listener"); got != filepath.Join(dir, want) {
			t.Errorf("%s, want %s in %s", got, want, dir)
		}
	}
	want("x/listener") // neither is there
	if err := os.Mkdir(filepath.Join(dir, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"listener", "x/listener"} {
		l, err := net.Listen("unix", filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		want(path)
	}
}

func TestFirst(t *testing.T) {
	root, err := os.MkdirTemp("", "ck")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	dirs := make([]string, 3)
	for i, name := range []string{"a", "b", "c"} {
		dirs[i] = filepath.Join(root, name)
		if err := os.Mkdir(dirs[i], 0o700); err != nil {
			t.Fatal(err)
		}
	}
	want := func(dir string) {
		t.Helper()
		if got := first(dirs, "listener"); got != filepath.Join(dir, "listener") {
			t.Errorf("%s, want the one in %s", got, dir)
		}
	}
	want(dirs[2])
	if err := os.WriteFile(filepath.Join(dirs[0], "listener"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want(dirs[2])
	if os.Getuid() != 0 { // who may look everywhere
		if err := os.Chmod(dirs[1], 0); err != nil {
			t.Fatal(err)
		}
		want(dirs[1])
		if err := os.Chmod(dirs[1], 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range []int{2, 1} {
		l, err := net.Listen("unix", filepath.Join(dirs[i], "listener"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		want(dirs[i])
	}
}
