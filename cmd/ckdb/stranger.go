package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// ownSocket refuses the socket of an instance that nobody has named where a stranger may have
// made it: in /tmp anybody may make such a directory, and what listens in it says which
// database is asked, and so who is paid.
func ownSocket(path string) error {
	dir := filepath.Dir(path)
	if filepath.Dir(dir) != "/tmp" {
		return nil
	}
	trusted := []int{0, os.Geteuid()}
	if id, err := strconv.Atoi(os.Getenv("SUDO_UID")); err == nil && os.Geteuid() == 0 {
		trusted = append(trusted, id)
	}
	if uid, there := madeBy(dir); there && !slices.Contains(trusted, uid) {
		return fmt.Errorf("%s is of user id %d, and anybody may make such a directory: name it with -s if you know it, or the database with --db", dir, uid)
	}
	return nil
}

// madeBy is who has made a directory, or the link in its place.
func madeBy(dir string) (uid int, there bool) {
	info, err := os.Lstat(dir)
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
