package pool

import (
	"fmt"
	"net"
	"os"

	"ckpool/internal/logfile"
	"ckpool/internal/netserver"
)

// Inheritance is what a pool is given by others before it listens: listening
// sockets of a service manager.
type Inheritance struct{ *Pool }

// Take gives the pool listening sockets for Listen; the files are closed.
func (i Inheritance) Take(files []*os.File) error {
	var sockets []netserver.Inherited
	for n, f := range files {
		if l, err := net.FileListener(f); err == nil {
			i.logAt(logfile.LevelNotice, fmt.Sprintf("Inherited server socket %d url %v", n, l.Addr()))
			l.Close()
		}
		sockets = append(sockets, netserver.Inherited{File: f})
	}
	return i.server.Inherit(sockets)
}

// Drop closes the sockets that no listen address wanted.
func (i Inheritance) Drop() {
	for _, addr := range i.server.DropInherited() {
		i.logAt(logfile.LevelWarning, fmt.Sprintf("Handed over socket url %s does not match config, not listening there", addr))
	}
}
