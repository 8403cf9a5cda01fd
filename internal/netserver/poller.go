//go:build linux

package netserver

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/epoll"
)

const (
	readEvents = unix.EPOLLIN | unix.EPOLLRDHUP
	hangups    = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

// watch has epoll report what c waits for.
func watch(p *epoll.Poller, s Slot, c *conn) {
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
	_ = p.Control(unix.EPOLL_CTL_MOD, int(c.fd), events, int32(s), c.generation)
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

// lost is the reason for an error of reading or writing that ends the connection.
func lost(errno syscall.Errno) Reason {
	switch errno {
	case unix.ETIMEDOUT, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN:
		return TimedOut
	}
	return PeerReset
}
