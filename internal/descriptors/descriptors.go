//go:build linux

// Package descriptors is the process's limit of open files and the kernel's table
// of them. Both are the whole process's, so that only commands use it.
package descriptors

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// Raise raises the soft limit to the hard one, as far as the system lets it, and
// returns what holds then.
func Raise() (limit int, err error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, fmt.Errorf("reading the open file limit: %w", err)
	}
	if lim.Cur < lim.Max {
		raised := unix.Rlimit{Cur: lim.Max, Max: lim.Max}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil { // else the soft limit holds
			lim = raised
		}
	}
	return int(min(lim.Cur, math.MaxInt32)), nil
}

// Grow makes room in the table for so many connections and what a program has
// beside them, at once. The kernel's table grows by doubling, and each growth
// under several threads stalls all of them for up to 85 ms.
func Grow(connections int) {
	const most = 1 << 20 // 8 MiB of kernel memory; larger pools bear a stall
	var lim unix.Rlimit
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return // whoever needs a descriptor next will say so
	}
	defer unix.Close(fd)
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) != nil {
		return
	}
	n := min(uint64(connections+connections/8+64), lim.Cur, most)
	if high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, int(n)-1); err == nil {
		unix.Close(high)
	}
}
