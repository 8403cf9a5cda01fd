// Package port finds TCP ports for programs that tests start.
package port

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports below those that the kernel gives to connections and to listeners that
// take any (ip(7), ip_local_port_range): between two processes of a program, or
// before the first, nobody else gets one.
const (
	first = 10000
	last  = 32767
)

// Free is a port of 127.0.0.1 that nobody listens on.
func Free() (string, error) {
	var err error
	for range 100 {
		port := strconv.Itoa(first + rand.IntN(last-first+1))
		var l net.Listener
		if l, err = net.Listen("tcp", ":"+port); err == nil { // on every address, as some tests use others
			return port, l.Close()
		}
	}
	return "", fmt.Errorf("no free port: %w", err)
}
