//go:build linux

package netserver

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// BindError is an address that cannot be listened on.
type BindError struct {
	URL  string // it was configured by
	Addr netip.AddrPort
	Err  error // the system's errno

	op    string         // that failed
	owner string         // listen address of this server that has it already
	given netip.AddrPort // socket of the process to take over from that has it
}

func (e *BindError) Error() string {
	return fmt.Sprintf("listen address %q: %s %s: %v%s", e.URL, e.op, e.Addr, e.Err, e.advice())
}

func (e *BindError) Unwrap() error { return e.Err }

// ByOther is the error where another program than the process to take over from
// has the address.
func (e *BindError) ByOther() error {
	other := *e
	other.given = netip.AddrPort{}
	return &other
}

// advice says what to do about it.
func (e *BindError) advice() string {
	switch port := e.Addr.Port(); {
	case e.owner != "":
		return fmt.Sprintf("; this server has it already by its listen address %q: remove one of them", e.owner)
	case e.given.IsValid():
		return fmt.Sprintf("; the instance to take over from listens on %s: stop it to change that", e.given)
	case errors.Is(e.Err, unix.EADDRINUSE):
		return fmt.Sprintf("; port %d is used by another program (ss -ltnp sport = :%d shows which): stop it, or choose another port", port, port)
	case errors.Is(e.Err, unix.EACCES), errors.Is(e.Err, unix.EPERM):
		return fmt.Sprintf("; port %d is privileged: choose one from 1024, or give the program cap_net_bind_service", port)
	case errors.Is(e.Err, unix.EADDRNOTAVAIL):
		return "; this machine does not have that address: use one of its own, or 0.0.0.0 or [::] for all"
	}
	return ""
}

// bindErrors are all that stop a call of Listen.
type bindErrors []error

func (e bindErrors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e bindErrors) Unwrap() []error { return e }

// excludes is an error where addr and an address that failed cannot both be bound:
// the one that failed may be free when Listen is called again.
func (e bindErrors) excludes(url string, addr netip.AddrPort) error {
	for _, err := range e {
		var b *BindError
		if errors.As(err, &b) && overlap(b.Addr, addr) {
			return &BindError{URL: url, Addr: addr, Err: unix.EADDRINUSE, op: "bind", owner: b.URL}
		}
	}
	return nil
}

// overlap tells whether sockets of one server cannot listen on both, b being
// bound after a: beside all of IPv4, all of IPv6 does not include it.
func overlap(a, b netip.AddrPort) bool {
	if a.Port() != b.Port() || a.Port() == 0 || a.Addr() == netip.IPv4Unspecified() && b.Addr() == netip.IPv6Unspecified() {
		return false
	}
	return covers(a.Addr(), b.Addr()) || covers(b.Addr(), a.Addr())
}

func covers(all, one netip.Addr) bool {
	return all == one || all == netip.IPv6Unspecified() || all == netip.IPv4Unspecified() && one.Is4()
}

// InUse gives the addresses that an error of Listen is about if other processes
// have them all, and nothing else stops the call; nil otherwise.
func InUse(err error) (addrs []*BindError) {
	var all bindErrors
	if !errors.As(err, &all) {
		return nil
	}
	for _, err := range all {
		var b *BindError
		if !errors.As(err, &b) || !errors.Is(b.Err, unix.EADDRINUSE) || b.owner != "" {
			return nil
		}
		addrs = append(addrs, b)
	}
	return addrs
}

// missing tells that this machine does not have the address or its family.
func missing(err error) bool {
	return errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT)
}

// explainInUse adds who has an address in use, as far as this server knows; own
// are its listeners.
func (s *Server) explainInUse(err error, own []*Listener) error {
	var b *BindError
	if !errors.As(err, &b) || !errors.Is(err, unix.EADDRINUSE) || b.owner != "" {
		return err
	}
	for _, l := range own {
		for _, a := range l.Addrs {
			if overlap(a, b.Addr) {
				b.owner = l.URL
				return b
			}
		}
	}
	for _, in := range s.inherited {
		if in.addr.Port() == b.Addr.Port() {
			b.given = in.addr
		}
	}
	return b
}
