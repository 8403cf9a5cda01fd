// Package port finds TCP ports for programs that tests start.
package port

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// Ports below those that the kernel gives to connections and to listeners that
// take any (ip(7), ip_local_port_range): between two processes of a program, or
// before the first, nobody else gets one.
const (
	first = 10000
	last  = 32767
)

// Free is a port of 127.0.0.1 that nobody listens on. It is this process's as
// long as it lives: no other test gets it, not even while the program that it is
// for does not run.
func Free() (string, error) {
	var err error
	for range 100 {
		port := strconv.Itoa(first + rand.IntN(last-first+1))
		if err = reserve(port); err != nil {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", ":"+port); err == nil { // on every address, as some tests use others
			return port, l.Close()
		}
	}
	return "", fmt.Errorf("no free port: %w", err)
}

// reserve takes a name that the kernel gives to one process at a time, and takes
// back when that ends (unix(7), abstract sockets). Its descriptor is open until then.
func reserve(port string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@test-port-" + port}); err != nil {
		unix.Close(fd)
		return err
	}
	return nil
}
