// Package disk makes file systems that are full or stall, for tests, where they may
// be mounted; elsewhere it skips the test.
package disk

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Mount mounts a file system until the end of the test, with mount's arguments but
// the directory.
func Mount(t testing.TB, args ...string) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a file system")
	}
	dir = t.TempDir()
	if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
		t.Skipf("no file system can be mounted here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		err := unix.Unmount(dir, 0)
		// What this process had open there a child has until it becomes another program.
		for end := time.Now().Add(time.Minute); err == unix.EBUSY && time.Now().Before(end); err = unix.Unmount(dir, 0) {
			time.Sleep(10 * time.Millisecond)
		}
		if err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// Stalling mounts an ext4 of so many bytes. stall lets all that writes to it wait
// until the function that it returns is called, or the test ends.
func Stalling(t testing.TB, size int64) (dir string, stall func() (goOn func())) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(image)
	if err == nil {
		err = f.Truncate(size)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Skipf("no file system can be made here: %v: %s", err, out)
	}
	dir = Mount(t, "-o", "loop", image)
	return dir, func() func() {
		t.Helper()
		d, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.IoctlSetInt(int(d.Fd()), freeze, 0); err != nil {
			d.Close()
			t.Skipf("the file system cannot be frozen: %v", err)
		}
		goOn := sync.OnceFunc(func() {
			if err := unix.IoctlSetInt(int(d.Fd()), thaw, 0); err != nil {
				t.Errorf("thaw: %v", err)
			}
			d.Close()
		})
		t.Cleanup(goOn)
		return goOn
	}
}

// FIFREEZE and FITHAW of linux/fs.h.
const freeze, thaw = 0xc0045877, 0xc0045878
