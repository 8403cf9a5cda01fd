package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// ErrNoFD says that a message arrived without a descriptor.
var ErrNoFD = errors.New("no descriptor received")

// sendFD passes f's descriptor (SCM_RIGHTS, with two zero bytes of data). f
// stays open and its blocking mode as it is.
func sendFD(c *net.UnixConn, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	// f.Fd() would set the open file, shared with the receiver, to blocking.
	err = raw.Control(func(fd uintptr) {
		_, _, sendErr = c.WriteMsgUnix([]byte{0, 0}, syscall.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, sendErr)
}

// receiveFD takes one descriptor and makes it close-on-exec and non-blocking.
// The error wraps ErrNoFD if data or the end of the stream came instead.
func receiveFD(c *net.UnixConn) (*os.File, error) {
	data := make([]byte, 4096)
	rights := make([]byte, syscall.CmsgSpace(4))
	n, rightsLen, _, _, err := c.ReadMsgUnix(data, rights)
	if err != nil {
		return nil, err
	}
	fds, err := parseRights(rights[:rightsLen])
	if err != nil {
		return nil, fmt.Errorf("receive descriptor: %w", err)
	}
	if len(fds) == 0 {
		return nil, fmt.Errorf("%w: %d bytes of data instead", ErrNoFD, n)
	}
	for _, fd := range fds[1:] {
		syscall.Close(fd)
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		syscall.Close(fds[0])
		return nil, fmt.Errorf("receive descriptor: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "received"), nil
}

func parseRights(b []byte) ([]int, error) {
	messages, err := syscall.ParseSocketControlMessage(b)
	if err != nil {
		return nil, err
	}
	var fds []int
	for _, m := range messages {
		if m.Header.Level != syscall.SOL_SOCKET || m.Header.Type != syscall.SCM_RIGHTS {
			continue
		}
		got, err := syscall.ParseUnixRights(&m)
		if err != nil {
			return nil, err
		}
		fds = append(fds, got...)
	}
	return fds, nil
}
