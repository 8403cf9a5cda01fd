package handover

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Kind says what a frame is. Those from FirstSection on are sections, the owners'.
//
// A section that a process does not know is of a later version, which it is to
// take over from. What it may do then the number says, so that the later version
// decides: a section with the bit LeftOut may be left out, as statistics may. Any
// other refuses the handover, and the later version goes on: what is in it would be
// lost, and it may be shares, found blocks or miners.
type Kind uint8

const (
	kindHello Kind = iota + 1
	kindMark
	kindMarked
	kindEnd
	kindHave
	kindYours
	kindRunning
	kindRefuse

	// FirstSection is the first kind of a section.
	FirstSection Kind = 16
	// LeftOut is the bit of sections that a process which does not know them may
	// leave out.
	LeftOut Kind = 64
	// SectionsOfProcess is the first kind of a section that is not the instance's but that
	// of the process around it.
	SectionsOfProcess Kind = 128
)

// Unknown is a sink's answer to a section that it does not know.
func Unknown(k Kind) error {
	if k&LeftOut != 0 {
		return nil
	}
	return fmt.Errorf("%v holds state that this version does not know and would lose: it is too old to take over", k)
}

func (k Kind) String() string {
	names := [...]string{"nothing", "hello", "mark", "marked", "end", "have", "yours", "running", "refusal"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("section %d", uint8(k))
}

const (
	// MaxFDs is how many descriptors a section may carry; the system's limit
	// is 253.
	MaxFDs = 250
	// maxFrame bounds what is taken from the other side.
	maxFrame = 256 << 20
	// headerSize: kind, number of descriptors, length, the last two big-endian.
	headerSize = 1 + 2 + 4
)

// frame is one message.
type frame struct {
	kind Kind
	data []byte
	fds  []int // the receiver's to close
}

// link is a connection in frames. One goroutine may send and one receive.
type link struct {
	conn *net.UnixConn
	ctx  context.Context // ends both directions

	// owned by the receiving goroutine
	in     []byte // received, not taken
	fds    []int  // received, not taken
	room   []byte // for control messages
	sender int    // process that has sent what was received last, 0 one that cannot be seen from here; -1 not known
}

func newLink(ctx context.Context, c *net.UnixConn) *link {
	return &link{conn: c, ctx: ctx, room: make([]byte, unix.CmsgSpace(4*MaxFDs)+unix.CmsgSpace(unix.SizeofUcred)), sender: -1}
}

// send sends one frame. The descriptors stay the caller's.
func (l *link) send(kind Kind, data []byte, fds []int) error {
	if len(fds) > MaxFDs || len(data) > maxFrame {
		return fmt.Errorf("%v of %d bytes with %d descriptors is too large", kind, len(data), len(fds))
	}
	header := make([]byte, 0, headerSize+min(len(data), 64<<10))
	header = append(header, uint8(kind))
	header = binary.BigEndian.AppendUint16(header, uint16(len(fds)))
	header = binary.BigEndian.AppendUint32(header, uint32(len(data)))
	first := min(len(data), 64<<10)
	header = append(header, data[:first]...)
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	n, _, err := l.conn.WriteMsgUnix(header, rights, nil)
	if err == nil && n < len(header) {
		_, err = l.conn.Write(header[n:])
	}
	if err == nil && first < len(data) {
		_, err = l.conn.Write(data[first:])
	}
	if err != nil {
		return fmt.Errorf("send %v: %w", kind, err)
	}
	return nil
}

// receive takes the next frame; its descriptors are close-on-exec. The error is
// io.EOF if the other side closed instead. data is valid until the next call.
func (l *link) receive() (frame, error) {
	if err := l.fill(headerSize); err != nil {
		return frame{}, err
	}
	f := frame{kind: Kind(l.in[0])}
	count := int(binary.BigEndian.Uint16(l.in[1:]))
	size := int(binary.BigEndian.Uint32(l.in[3:]))
	if count > MaxFDs || size > maxFrame {
		return frame{}, fmt.Errorf("%v of %d bytes with %d descriptors is too large", f.kind, size, count)
	}
	if err := l.fill(headerSize + size); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	// Descriptors come with the first byte of their frame.
	if len(l.fds) < count {
		return frame{}, fmt.Errorf("%v with %d descriptors came with %d: is the open file limit too low?", f.kind, count, len(l.fds))
	}
	f.data = l.in[headerSize : headerSize+size : headerSize+size]
	f.fds = append(f.fds, l.fds[:count]...)
	l.fds = l.fds[count:]
	l.in = l.in[headerSize+size:]
	return f, nil
}

// readChunk is what is read at once.
const readChunk = 256 << 10

// fill reads until n bytes are there.
func (l *link) fill(n int) error {
	if len(l.in) >= n {
		return nil
	}
	if cap(l.in) < n || cap(l.in)-len(l.in) < 4096 {
		grown := make([]byte, len(l.in), max(n, len(l.in)+readChunk))
		copy(grown, l.in)
		l.in = grown
	}
	for len(l.in) < n {
		got, rights, flags, _, err := l.conn.ReadMsgUnix(l.in[len(l.in):cap(l.in)], l.room)
		if errors.Is(err, io.EOF) {
			if len(l.in) > 0 {
				return io.ErrUnexpectedEOF
			}
			return io.EOF
		}
		if err != nil {
			return err
		}
		if rights > 0 {
			if err := l.takeControl(l.room[:rights]); err != nil {
				return err
			}
		}
		if flags&unix.MSG_CTRUNC != 0 {
			return errors.New("descriptors were lost: the open file limit is too low")
		}
		l.in = l.in[:len(l.in)+got]
	}
	return nil
}

// takeControl takes descriptors, and who has sent them where that was asked for.
func (l *link) takeControl(b []byte) error {
	messages, err := unix.ParseSocketControlMessage(b)
	if err != nil {
		return fmt.Errorf("descriptors: %w", err)
	}
	for i := range messages {
		m := &messages[i]
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_CREDENTIALS {
			sender, err := unix.ParseUnixCredentials(m)
			if err != nil {
				return fmt.Errorf("credentials: %w", err)
			}
			l.sender = int(sender.Pid)
			continue
		}
		fds, err := unix.ParseUnixRights(m)
		if err != nil {
			return fmt.Errorf("descriptors: %w", err)
		}
		l.fds = append(l.fds, fds...)
	}
	return nil
}

// close closes the connection and what came over it and was not taken.
func (l *link) close() {
	CloseAll(l.fds)
	l.fds = nil
	l.conn.Close()
}

// CloseAll closes descriptors.
func CloseAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// within gives both directions until then, unless the context has ended.
func (l *link) within(d time.Duration) {
	_ = l.conn.SetDeadline(time.Now().Add(d))
	if l.ctx.Err() != nil {
		l.stop()
	}
}

// stop ends what is under way in both directions.
func (l *link) stop() { _ = l.conn.SetDeadline(time.Unix(1, 0)) }

// peer is the process at the other end, for as long as it lives.
type peer struct {
	pid int
	fd  int // pidfd, -1 where there is none
}

// Credentials are of the process at the other end of a connection when it was
// made. Seen from the end that has connected, that is the process which began to listen:
// after an upgrade not the one that has the socket now.
func Credentials(c *net.UnixConn) (pid int, uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var cred *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(controlErr, err); err != nil {
		return 0, 0, err
	}
	return int(cred.Pid), cred.Uid, nil
}

// askSender has the system say with all that is received which process has sent it.
func (l *link) askSender() error {
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	})
	return errors.Join(controlErr, err)
}

func findPeer(pid int) peer {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		fd = -1
	}
	return peer{pid, fd}
}

// gone tells whether the process has ended, or ends within the time given.
func (p peer) gone(within time.Duration) bool {
	if p.fd < 0 {
		return p.pid > 0 && unix.Kill(p.pid, 0) == unix.ESRCH
	}
	for end := time.Now().Add(within); ; {
		left := max(time.Until(end), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err == unix.EINTR {
			continue
		}
		return err == nil && n > 0
	}
}

func (p peer) close() {
	if p.fd >= 0 {
		unix.Close(p.fd)
	}
}

// FD is f's descriptor, -1 when f is closed. It stays f's, in the mode it is in:
// File.Fd would make a socket blocking for everybody who has it.
func FD(f *os.File) (n int) {
	n = -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	return n
}
