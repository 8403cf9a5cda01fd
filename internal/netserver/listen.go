//go:build linux

package netserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/hostport"
)

const (
	defaultPort   = 3333
	listenBacklog = 8192 // bounded by net.core.somaxconn
)

// Accepted sockets inherit these from their listener. A peer that vanished is
// found after the same time whether data was on its way to it (user timeout) or
// not (keepalive): idle + probes × interval seconds.
const (
	keepaliveIdle     = 45
	keepaliveInterval = 30
	keepaliveProbes   = 3
	vanishedAfter     = keepaliveIdle + keepaliveProbes*keepaliveInterval
)

// option is one of a socket.
type option struct{ level, name, value int }

var listenOptions = []option{
	{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepaliveIdle},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepaliveInterval},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepaliveProbes},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, vanishedAfter * 1000},
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
}

func setOptions(fd int, options []option) error {
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return err
		}
	}
	return nil
}

// Listener is one configured listen address, resolved: every address of it is
// bound.
type Listener struct {
	URL   string           // as configured, for createinet
	Addrs []netip.AddrPort // bound

	adopted []inherited // sockets among fds; owned by the caller of Listen

	// immutable once it listens
	index   int
	tls     *tls.Config // nil for plain text
	proxied bool        // PROXY headers are spoken

	proxies atomic.Pointer[[]netip.Prefix] // that may send one

	mu  sync.Mutex
	fds []int // guarded by mu; one for each of Addrs, none after close
}

// Files are duplicates of the listening sockets, in the order of Addrs, to pass
// to another process. The caller closes them.
func (l *Listener) Files() ([]*os.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.fds) == 0 {
		return nil, fmt.Errorf("listener %q: %w", l.URL, os.ErrClosed)
	}
	var files []*os.File
	for i, fd := range l.fds {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, fmt.Errorf("duplicate listener %s: %w", l.Addrs[i], err)
		}
		files = append(files, os.NewFile(uintptr(dup), "tcp "+l.Addrs[i].String()))
	}
	return files, nil
}

// SetProxies changes Endpoint.Proxies of a listener that was made with some. Any
// goroutine may call.
func (l *Listener) SetProxies(networks []netip.Prefix) { l.proxies.Store(&networks) }

// trusts tells whether a peer may send a PROXY header.
func (l *Listener) trusts(peer netip.Addr) bool {
	return slices.ContainsFunc(*l.proxies.Load(), func(p netip.Prefix) bool { return p.Contains(peer) })
}

func (l *Listener) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fd := range l.fds {
		unix.Close(fd)
	}
	l.fds = nil
}

// listenURL takes a listen address apart, see [hostport.Split]. An empty host means
// all addresses.
func listenURL(url string) (host string, port uint16, err error) {
	host, portText, _, err := hostport.Split(strings.TrimSpace(url))
	if err != nil {
		return "", 0, fmt.Errorf("listen address %q: %w", url, err)
	}
	if host == "*" {
		host = ""
	}
	if portText == "" {
		if _, err := strconv.ParseUint(host, 10, 16); err == nil {
			return "", 0, fmt.Errorf("listen address %q: want host:port, such as \"0.0.0.0:%s\"", url, host)
		}
		return host, defaultPort, nil
	}
	n, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("listen address %q: port %q is not a number from 1 to 65535", url, portText)
	}
	return host, uint16(n), nil
}

// Endpoint is where to listen, and what is spoken there before the first line.
type Endpoint struct {
	URL string

	// Certificate is what TLS clients are shown, as in tls.Config; nil for plain
	// text. It is called in the goroutine of each handshake.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	// Proxies are the peers that put a PROXY protocol header, version 1 or 2,
	// before everything else; all others are refused. nil means that there is no
	// such header.
	Proxies []netip.Prefix
}

// listener is what is known without sockets. TLS 1.2 is what the firmware of
// older miners has.
func (e *Endpoint) listener() *Listener {
	l := &Listener{URL: e.URL, proxied: e.Proxies != nil}
	l.proxies.Store(&e.Proxies)
	if e.Certificate != nil {
		l.tls = &tls.Config{
			GetCertificate: e.Certificate, MinVersion: tls.VersionTLS12,
			DynamicRecordSizingDisabled: true, // records are small as it is
		}
	}
	return l
}

// Listen binds every resolved address of url; it returns the listener's index.
// url is host:port, [v6]:port, or either without a port, which then is 3333; a
// scheme and a path are dropped. No host means all addresses, IPv6 and IPv4.
// An address that cannot be bound is an error at once; it wraps the system's
// errno. Any goroutine may call, also while the server runs.
func (s *Server) Listen(ctx context.Context, url string) (int, error) {
	return s.ListenAll(ctx, []Endpoint{{URL: url}})
}

// ListenAll is Listen for several endpoints, all or none. It returns the index
// of the first; the others follow it.
func (s *Server) ListenAll(ctx context.Context, endpoints []Endpoint) (first int, err error) {
	targets := make([]target, len(endpoints))
	for i, e := range endpoints {
		if targets[i], err = parseTarget(ctx, e); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first = len(s.listeners)
	all := slices.Clone(s.listeners)
	var failed bindErrors
	for _, t := range targets {
		l, errs := s.bind(t, all, failed)
		failed = append(failed, errs...)
		l.index = len(all)
		all = append(all, l)
	}
	if s.closed && failed == nil {
		failed = bindErrors{net.ErrClosed}
	}
	if failed != nil {
		for _, l := range all[first:] {
			s.inherited.takeBack(l)
			l.close()
		}
		return 0, failed
	}
	s.listeners = all
	if s.shared {
		sockets := socketsOf(all, first)
		for _, l := range s.loops {
			l.Post(func() { l.gate.add(sockets) })
		}
	}
	return first, nil
}

// socketsOf are the sockets of the listeners from index first on.
func socketsOf(listeners []*Listener, first int) (sockets []socket) {
	for _, l := range listeners[first:] {
		for _, fd := range l.fds {
			sockets = append(sockets, socket{fd: fd, at: l})
		}
	}
	return sockets
}

// target is an endpoint, resolved.
type target struct {
	Endpoint
	host  string
	port  uint16
	addrs []netip.Addr
}

func parseTarget(ctx context.Context, e Endpoint) (t target, err error) {
	t.Endpoint = e
	if t.host, t.port, err = listenURL(e.URL); err != nil {
		return t, err
	}
	if t.addrs, err = resolve(ctx, t.host); err != nil {
		return t, fmt.Errorf("listen address %q: %w", e.URL, err)
	}
	return t, nil
}

// bind makes a listener beside those there are, and those that failed. The
// caller holds mu.
func (s *Server) bind(t target, others []*Listener, before bindErrors) (l *Listener, failed bindErrors) {
	l = t.listener()
	all4 := netip.AddrPortFrom(netip.IPv4Unspecified(), t.port)
	var skipped error
	for _, a := range t.addrs {
		addr := netip.AddrPortFrom(a, t.port)
		has4 := a == netip.IPv6Unspecified() && s.inherited.adopt(l, all4) // as another pool may have it
		if s.inherited.adopt(l, addr) {
			continue
		}
		err := before.excludes(t.URL, addr)
		if err == nil {
			err = l.bind(addr, append(others[:len(others):len(others)], l))
		}
		if err != nil && missing(err) && has4 { // a machine without IPv6
			continue
		}
		if err != nil && a == netip.IPv6Unspecified() && missing(err) { // likewise
			err = l.bind(all4, others)
		}
		if err != nil && len(t.addrs) > 1 && missing(err) {
			// Such as localhost, which is ::1 too, where IPv6 is off.
			skipped = err
			s.config.Events.Say(event.Warning, "Not listening on one address of several: "+err.Error())
			continue
		}
		if err != nil {
			failed = append(failed, s.explainInUse(err, others))
		}
	}
	if len(l.fds) == 0 && failed == nil {
		failed = bindErrors{skipped}
	}
	return l, failed
}

// resolve gives the addresses of host, without repetitions.
func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if host == "" {
		return []netip.Addr{netip.IPv6Unspecified()}, nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("cannot resolve %q: %w", host, err)
	}
	var addrs []netip.Addr
	for _, a := range found {
		if a = a.Unmap(); !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%q has no address", host)
	}
	return addrs, nil
}

// bind adds a listening socket for addr. others are this server's listeners:
// beside all of IPv4 on the same port, all of IPv6 does not include it.
func (l *Listener) bind(addr netip.AddrPort, others []*Listener) error {
	fail := func(op string, err error) error { return &BindError{URL: l.URL, Addr: addr, Err: err, op: op} }
	family, sa, err := sockaddr(addr)
	if err != nil {
		return fail("address", err)
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return fail("socket", err)
	}
	options := listenOptions
	if family == unix.AF_INET6 {
		v6only := 0
		if !addr.Addr().IsUnspecified() || hasAllIPv4(others, addr.Port()) {
			v6only = 1
		}
		options = append(options[:len(options):len(options)], option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only})
	}
	op := "set option of"
	err = setOptions(fd, options)
	if err == nil {
		op, err = "bind", unix.Bind(fd, sa)
	}
	if err == nil {
		op, err = "listen on", unix.Listen(fd, listenBacklog)
	}
	var bound unix.Sockaddr
	if err == nil {
		op = "read address of"
		bound, err = unix.Getsockname(fd)
	}
	if err != nil {
		unix.Close(fd)
		return fail(op, err)
	}
	l.fds = append(l.fds, fd)
	l.Addrs = append(l.Addrs, addrPort(bound))
	return nil
}

func hasAllIPv4(listeners []*Listener, port uint16) bool {
	for _, l := range listeners {
		if slices.Contains(l.Addrs, netip.AddrPortFrom(netip.IPv4Unspecified(), port)) {
			return true
		}
	}
	return false
}

func sockaddr(a netip.AddrPort) (family int, sa unix.Sockaddr, err error) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
	}
	in6 := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		i, err := net.InterfaceByName(zone)
		if err != nil {
			return 0, nil, err
		}
		in6.ZoneId = uint32(i.Index)
	}
	return unix.AF_INET6, in6, nil
}

// addrPort converts what the system gives; zones are dropped.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
