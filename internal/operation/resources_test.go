package operation

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// limit INSTANCE tight|normal: leaves the process no free descriptor, or what it
// had before.
func limitDescriptors(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "limit INSTANCE tight|normal")
	w, pid := worldOf(ts), pidOf(ts, args[0])
	if args[1] == "normal" {
		ts.Check(unix.Prlimit(pid, unix.RLIMIT_NOFILE, &w.limit, nil))
		return
	}
	ts.Check(unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &w.limit))
	free := 0
	for ; ; free++ {
		if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", pid, free)); err != nil {
			break
		}
	}
	tight := unix.Rlimit{Cur: uint64(free), Max: w.limit.Max}
	ts.Check(unix.Prlimit(pid, unix.RLIMIT_NOFILE, &tight, nil))
}

// hold PORT COUNT: connections that say nothing, until the end. One that the pool
// closes at once may be gone before it is known here to be there.
func hold(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "hold PORT COUNT")
	w := worldOf(ts)
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	for range count {
		c, err := net.Dial("tcp", "127.0.0.1:"+args[0])
		if errors.Is(err, syscall.ECONNRESET) {
			continue
		}
		ts.Check(err)
		w.held = append(w.held, c)
	}
}

// disk DIR SIZE: a small file system, where [mount] is true.
func smallDisk(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "disk DIR SIZE")
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o750))
	ts.Check(mountDisk(dir, args[1]))
	w := worldOf(ts)
	w.mounts = append(w.mounts, dir)
}

func mountDisk(dir, size string) error { return unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size) }

func unmount(dir string) { _ = unix.Unmount(dir, unix.MNT_DETACH) }

// canMount tells whether file systems can be mounted here.
var canMount = sync.OnceValue(func() bool {
	dir, err := os.MkdirTemp("", "ckmount")
	if err != nil {
		return false
	}
	defer os.Remove(dir)
	if mountDisk(dir, "64k") != nil {
		return false
	}
	unmount(dir)
	return true
})

// fill DIR: writes until nothing fits, not a byte and not a file.
func fill(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "fill DIR")
	f, err := os.Create(filepath.Join(ts.MkAbs(args[0]), "filler"))
	ts.Check(err)
	defer f.Close()
	for {
		if _, err := io.WriteString(f, "x"); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			ts.Fatalf("%v", err)
		}
	}
}
