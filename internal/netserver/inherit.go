//go:build linux

package netserver

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Inherited is a listening socket of another process.
type Inherited struct {
	URL  string // it was configured by; "" unknown
	File *os.File
}

// inherited is one whose address is known.
type inherited struct {
	url  string
	addr netip.AddrPort
	fd   int

	wanted bool // by a Listen that failed
}

// inheritance are listening sockets no listener has taken. The server's mu
// guards it.
type inheritance []inherited

// Inherit gives the server listening sockets for the calls of Listen that
// follow; their files are closed. What is no listening TCP socket is an error
// and the rest is kept. A Listen that fails leaves them for the next.
func (s *Server) Inherit(sockets []Inherited) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, k := range sockets {
		in, err := inherit(k)
		k.File.Close()
		if err != nil {
			errs = append(errs, fmt.Errorf("inherited listening socket: %w", err))
			continue
		}
		s.inherited = append(s.inherited, in)
	}
	return errors.Join(errs...)
}

// inherit duplicates the descriptor, since a file cannot give up its own.
func inherit(k Inherited) (in inherited, err error) {
	raw, err := k.File.SyscallConn()
	if err != nil {
		return in, err
	}
	in = inherited{url: k.URL, fd: -1}
	controlErr := raw.Control(func(fd uintptr) {
		in.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(controlErr, err); err != nil {
		return in, err
	}
	listening, err := unix.GetsockoptInt(in.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err == nil && listening == 0 {
		err = errors.New("it does not listen")
	}
	var bound unix.Sockaddr
	if err == nil {
		bound, err = unix.Getsockname(in.fd)
	}
	if err == nil {
		if in.addr = addrPort(bound); !in.addr.IsValid() {
			err = errors.New("it is not one of TCP")
		}
	}
	if err == nil {
		err = errors.Join(setOptions(in.fd, listenOptions), unix.SetNonblock(in.fd, true))
	}
	if err != nil {
		unix.Close(in.fd)
	}
	return in, err
}

// DropInherited closes what no Listen has asked for and returns the addresses.
// What one asked for that failed is kept for the next.
func (s *Server) DropInherited() (left []netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var kept inheritance
	for _, in := range s.inherited {
		if in.wanted {
			kept = append(kept, in)
			continue
		}
		unix.Close(in.fd)
		left = append(left, in.addr)
	}
	s.inherited = kept
	return left
}

// adopt gives the listener a socket for addr; port 0 is any port the same URL
// had.
func (h *inheritance) adopt(l *Listener, addr netip.AddrPort) bool {
	i := slices.IndexFunc(*h, func(in inherited) bool {
		return in.addr == addr || addr.Port() == 0 && in.url == l.URL && in.addr.Addr() == addr.Addr()
	})
	if i < 0 || unix.Listen((*h)[i].fd, listenBacklog) != nil {
		return false
	}
	in := (*h)[i]
	*h = slices.Delete(*h, i, i+1)
	l.fds = append(l.fds, in.fd)
	l.Addrs = append(l.Addrs, in.addr)
	l.adopted = append(l.adopted, in)
	return true
}

// takeBack takes adopted sockets from a listener that comes to nothing.
func (h *inheritance) takeBack(l *Listener) {
	for _, in := range l.adopted {
		l.fds = slices.DeleteFunc(l.fds, func(fd int) bool { return fd == in.fd })
		in.wanted = true
		*h = append(*h, in)
	}
	l.adopted = nil
}

func (h *inheritance) close() {
	for _, in := range *h {
		unix.Close(in.fd)
	}
	*h = nil
}

// Sockets are duplicates of all listening sockets, to pass to another process.
// The caller closes them.
func (s *Server) Sockets() (sockets []Inherited, err error) {
	for _, l := range s.Listeners() {
		files, err := l.Files()
		if err != nil {
			for _, k := range sockets {
				k.File.Close()
			}
			return nil, err
		}
		for _, f := range files {
			sockets = append(sockets, Inherited{URL: l.URL, File: f})
		}
	}
	return sockets, nil
}
