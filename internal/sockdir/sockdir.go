// Package sockdir finds the control sockets of an instance for the tools that
// talk to it. It knows where sockets are, not what is said over them.
package sockdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

const service = "/run/ckpool" // RuntimeDirectory of the systemd units

// Find returns the path of a control socket of the instance called name. A given
// directory is the one that was given to the instance as -s, which holds the
// socket, or the parent of a directory called name, which comes first and is what
// is returned if neither has it. Without a directory it is the first
// that exists of /run/ckpool/<name>, /run/ckpool itself for the instance ckpool,
// and /tmp/<name>; if none does, the first in a directory that may not be looked
// into, or the last.
func Find(dir, name, socket string) string {
	if dir != "" {
		below := filepath.Join(dir, name)
		return first([]string{below, dir, below}, socket)
	}
	dirs := []string{filepath.Join(service, name)}
	if name == filepath.Base(service) {
		dirs = append(dirs, service)
	}
	return first(append(dirs, filepath.Join("/tmp", name)), socket)
}

// first returns the socket in the first of dirs that has it, else in the first
// that may not be looked into, else in the last.
func first(dirs []string, socket string) (path string) {
	var locked string
	for _, dir := range dirs {
		path = filepath.Join(dir, socket)
		info, err := os.Stat(path)
		if err == nil && info.Mode().Type() == os.ModeSocket {
			return path
		}
		if locked == "" && errors.Is(err, fs.ErrPermission) {
			locked = path
		}
	}
	if locked != "" {
		return locked
	}
	return path
}
