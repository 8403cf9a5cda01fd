//go:build linux

// Package epoll is for loops that serve many sockets on one goroutine: waiting for
// their events, and reading and writing without telling Go's scheduler, as calls
// that never block need not.
package epoll

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poller is an epoll descriptor that itself sits in the runtime's poller: a
// loop without events parks its goroutine, not a thread. Owned by that goroutine,
// but for Control.
type Poller struct {
	Events []unix.EpollEvent // of the last Wait; overwritten by the next

	fd   int
	file *os.File // owns fd
	raw  syscall.RawConn
	try  func(uintptr) bool // bound once, or every wait would allocate it
	err  error
	end  time.Time // of a wait
	room [128]unix.EpollEvent
}

// New makes a poller without descriptors.
func New() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	// os.NewFile registers only non-blocking descriptors with the runtime.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("epoll descriptor: %w", err)
	}
	p := &Poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	p.try = func(uintptr) bool { return p.poll() }
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.Close()
		return nil, fmt.Errorf("epoll descriptor: %w", err)
	}
	return p, nil
}

// Close closes the epoll descriptor, not those in it.
func (p *Poller) Close() { p.file.Close() }

// poll fetches events without waiting and reports whether there is a result. It
// never blocks, so the scheduler is not told.
func (p *Poller) poll() bool {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.room[0])), uintptr(len(p.room)), 0, 0, 0)
	p.Events, p.err = p.room[:0], nil
	switch errno {
	case 0:
		p.Events = p.room[:n]
		return n > 0
	case unix.EINTR:
		return false
	}
	p.err = fmt.Errorf("epoll_wait: %w", errno)
	return true
}

// Wait fetches Events, which may be none; with park it waits for one, at most to
// the time that Until has set.
func (p *Poller) Wait(park bool) error {
	if !park {
		p.poll()
		return p.err
	}
	// It polls first, then parks.
	if err := p.raw.Read(p.try); err != nil {
		p.Events = p.room[:0]
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		return fmt.Errorf("waiting for events: %w", err)
	}
	return p.err
}

// Until sets the time at which a parked wait ends.
func (p *Poller) Until(t time.Time) error {
	p.end = t
	if err := p.file.SetReadDeadline(t); err != nil {
		return fmt.Errorf("epoll descriptor: %w", err)
	}
	return nil
}

// End is the time that Until has set.
func (p *Poller) End() time.Time { return p.end }

// Control adds, modifies or deletes (op, EPOLL_CTL_ADD and so on) fd with the 64
// bits of data that its events carry: an index, and the generation that tells its
// present use from an earlier one. Any goroutine may call it.
func (p *Poller) Control(op, fd int, events uint32, index int32, generation uint32) error {
	e := unix.EpollEvent{Events: events, Fd: index, Pad: int32(generation)}
	return unix.EpollCtl(p.fd, op, fd, &e)
}

// Receive reads from a non-blocking socket; n is 0 at its end.
func Receive(fd int32, b []byte) (n int, errno syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// Send writes to a non-blocking socket. A broken connection is an error only,
// never a SIGPIPE.
func Send(fd int32, b []byte) (int, syscall.Errno) {
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
