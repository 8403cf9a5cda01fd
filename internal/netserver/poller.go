//go:build linux

package netserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller is an epoll descriptor that itself sits in the runtime's poller: a
// loop without events parks its goroutine, not a thread.
type poller struct {
	fd     int
	file   *os.File // owns fd
	raw    syscall.RawConn
	try    func(uintptr) bool // bound once, or every wait would allocate it
	n      int
	err    error
	end    time.Time // of a parked wait
	events [128]unix.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("netserver: epoll_create1: %w", err)
	}
	// os.NewFile registers only non-blocking descriptors with the runtime.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("netserver: epoll descriptor: %w", err)
	}
	p := &poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	p.try = func(uintptr) bool { return p.poll() }
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.close()
		return nil, fmt.Errorf("netserver: epoll descriptor: %w", err)
	}
	return p, nil
}

func (p *poller) close() { p.file.Close() }

// poll waits with timeout zero and reports whether there is a result. It never
// blocks, so the scheduler is not told.
func (p *poller) poll() bool {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), 0, 0, 0)
	p.n, p.err = int(n), nil
	switch errno {
	case 0:
		return p.n > 0
	case unix.EINTR:
		p.n = 0
		return false
	}
	p.n, p.err = 0, fmt.Errorf("netserver: epoll_wait: %w", errno)
	return true
}

// wait fetches events; with park it waits for one, at most to the time until
// has set. It returns their number, which may be 0.
func (p *poller) wait(park bool) (int, error) {
	if !park {
		p.poll()
		return p.n, p.err
	}
	// It polls first, then parks.
	if err := p.raw.Read(p.try); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, nil
		}
		return 0, fmt.Errorf("netserver: waiting for events: %w", err)
	}
	return p.n, p.err
}

// until sets the time at which a parked wait ends.
func (p *poller) until(t time.Time) error {
	p.end = t
	if err := p.file.SetReadDeadline(t); err != nil {
		return fmt.Errorf("netserver: epoll descriptor: %w", err)
	}
	return nil
}

// ctl adds, modifies or deletes fd with the 64 bits of data that its events
// carry: an index, and the generation that tells its present use from an
// earlier one.
func (p *poller) ctl(op int, fd int, events uint32, index int32, generation uint32) error {
	e := unix.EpollEvent{Events: events, Fd: index, Pad: int32(generation)}
	return unix.EpollCtl(p.fd, op, fd, &e)
}

const (
	readEvents = unix.EPOLLIN | unix.EPOLLRDHUP
	hangups    = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

// watch has epoll report what c waits for.
func (p *poller) watch(s Slot, c *conn) {
	events := uint32(readEvents)
	if c.is(computing) {
		events = 0
	}
	if c.is(muted) {
		events &^= unix.EPOLLIN
	}
	if c.is(backlogged) {
		events |= unix.EPOLLOUT
	}
	// Modifying needs no memory and so cannot fail on a descriptor that is in.
	_ = p.ctl(unix.EPOLL_CTL_MOD, int(c.fd), events, int32(s), c.generation)
}

// recv reads from a non-blocking socket without telling the scheduler.
func recv(fd int32, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// accept takes a connection of a non-blocking listener without telling the
// scheduler and puts its address into from.
func accept(fd int, from *unix.RawSockaddrAny) (int32, syscall.Errno) {
	length := uint32(unix.SizeofSockaddrAny)
	n, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(from)),
		uintptr(unsafe.Pointer(&length)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int32(n), errno
}

// peerAddress is an address of accept; the port in it is in network byte order.
func peerAddress(from *unix.RawSockaddrAny) netip.AddrPort {
	switch from.Addr.Family {
	case unix.AF_INET:
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(from))
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), networkPort(&a.Port))
	case unix.AF_INET6:
		a := (*unix.RawSockaddrInet6)(unsafe.Pointer(from))
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), networkPort(&a.Port))
	}
	return netip.AddrPort{}
}

func networkPort(port *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(port))[:])
}

// send writes to a non-blocking socket without telling the scheduler. A broken
// connection is an error only, never a SIGPIPE.
func send(fd int32, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

// lost is the reason for an error of recv or send that ends the connection.
func lost(errno syscall.Errno) Reason {
	switch errno {
	case unix.ETIMEDOUT, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN:
		return TimedOut
	}
	return PeerReset
}
