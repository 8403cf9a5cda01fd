package bench

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller is an epoll descriptor that itself sits in the runtime's poller, so
// that a loop without events parks its goroutine and not a thread. With a
// blocking epoll_wait the client would take the CPU from the pool it measures.
type poller struct {
	fd     int
	file   *os.File // owns fd
	raw    syscall.RawConn
	try    func(uintptr) bool // bound once, or every wait would allocate it
	n      int
	err    error
	events [256]unix.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or the runtime would not take it
		unix.Close(fd)
		return nil, fmt.Errorf("epoll descriptor: %w", err)
	}
	p := &poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	p.try = func(uintptr) bool { return p.poll() }
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, fmt.Errorf("epoll descriptor: %w", err)
	}
	return p, nil
}

// poll fetches events without waiting and reports whether there is a result.
func (p *poller) poll() bool {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), 0, 0, 0)
	switch errno {
	case 0:
		p.n, p.err = int(n), nil
		return p.n > 0
	case unix.EINTR:
		p.n, p.err = 0, nil
		return false
	}
	p.n, p.err = 0, fmt.Errorf("epoll_wait: %w", errno)
	return true
}

// wait fetches events and waits for one for at most the given time. It returns
// their number, which may be 0.
func (p *poller) wait(most time.Duration) (int, error) {
	if p.poll() || most <= 0 {
		return p.n, p.err
	}
	if err := p.file.SetReadDeadline(time.Now().Add(most)); err != nil {
		return 0, fmt.Errorf("epoll descriptor: %w", err)
	}
	if err := p.raw.Read(p.try); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, nil
		}
		return 0, fmt.Errorf("waiting for events: %w", err)
	}
	return p.n, p.err
}

func (p *poller) control(op int, fd int32, events uint32, index int32) error {
	e := unix.EpollEvent{Events: events, Fd: index}
	if err := unix.EpollCtl(p.fd, op, int(fd), &e); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// receive reads from a non-blocking socket without telling the scheduler.
func receive(fd int32, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// transmit writes to a non-blocking socket; a broken connection is an error and
// no signal.
func transmit(fd int32, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
