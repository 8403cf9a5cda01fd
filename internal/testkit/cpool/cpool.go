// Package cpool plays ckpool in C at its control sockets, byte for byte and
// from both sides of a handover. It uses none of the code it is to test: raw
// sockets, and the exchange as it is described.
package cpool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long either side waits for the other, which may be on a busy machine.
const patience = time.Minute

// frame is the text with its length before it.
func frame(text string) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...)
}

// readFrame reads a frame with the bytes it consists of.
func readFrame(c net.Conn) (text string, err error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return "", err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n == 0 || n > 1<<20 {
		return "", fmt.Errorf("a frame of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c, body); err != nil {
		return "", fmt.Errorf("frame is cut off: %w", err)
	}
	return string(body), nil
}

// dial connects to a control socket.
func dial(path string) (*net.UnixConn, error) {
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
}

// Ask sends a request as C programs do, one to a connection, and returns the
// reply as it comes, with its length: empty where the connection is closed
// without one. Nothing may follow it.
func Ask(path, request string) (reply []byte, err error) {
	c, err := dial(path)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.Write(frame(request)); err != nil {
		return nil, err
	}
	if err := c.CloseWrite(); err != nil {
		return nil, err
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	return io.ReadAll(c)
}

// Tell sends a request and is gone, as the notifier in C.
func Tell(path, request string) error {
	c, err := dial(path)
	if err != nil {
		return err
	}
	_, err = c.Write(frame(request))
	return errors.Join(err, c.Close())
}

// AskFD sends a request for a descriptor and takes it with one recvmsg that has
// room for exactly one. The error says what else came.
func AskFD(path, request string) (fd int, err error) {
	c, err := dial(path)
	if err != nil {
		return -1, err
	}
	defer c.Close()
	if _, err := c.Write(frame(request)); err != nil {
		return -1, err
	}
	if err := c.CloseWrite(); err != nil {
		return -1, err
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	data, control := make([]byte, 16), make([]byte, unix.CmsgSpace(4))
	n, controlLen, flags, _, err := c.ReadMsgUnix(data, control)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlLen])
	if err != nil {
		return -1, err
	}
	if len(messages) != 1 || flags&unix.MSG_CTRUNC != 0 {
		return -1, fmt.Errorf("%d control messages, flags %#x", len(messages), flags)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("%d descriptors: %w", len(fds), err)
	}
	if string(data[:n]) != "\x00\x00" {
		unix.Close(fds[0])
		return -1, fmt.Errorf("data %q beside the descriptor", data[:n])
	}
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		unix.Close(fds[0])
		return -1, fmt.Errorf("%q after the descriptor, %v", rest, err)
	}
	return fds[0], nil
}
