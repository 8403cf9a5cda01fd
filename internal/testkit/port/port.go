// Package port finds TCP ports for programs that tests start.
package port

import (
	"fmt"
	"math/rand/v2"
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
		port := first + rand.IntN(last-first+1)
		if err = reserve(port); err != nil {
			continue
		}
		if err = probe(port); err == nil {
			return strconv.Itoa(port), nil
		}
	}
	return "", fmt.Errorf("no free port: %w", err)
}

// probe fails where somebody listens on a port, of whatever address. It binds and
// does not listen: a child of this process has what is open here until it becomes
// another program, and a listening socket would be in the way as long.
func probe(port int) error {
	all := unix.Sockaddr(&unix.SockaddrInet6{Port: port})
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == unix.EAFNOSUPPORT {
		all = &unix.SockaddrInet4{Port: port}
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	} else if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return unix.Bind(fd, all)
}

// reserve takes a name that the kernel gives to one process at a time, and takes
// back when that ends (unix(7), abstract sockets). Its descriptor is open until then.
func reserve(port int) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@test-port-" + strconv.Itoa(port)}); err != nil {
		unix.Close(fd)
		return err
	}
	return nil
}
