package bitcoind

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// ZMTP 3.0 and 3.1 with the NULL mechanism, the subscriber's side
// (https://rfc.zeromq.org/spec/23/ and /37/).

const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4

	maxFrameBody = 4 << 10  // longer ones are skipped: none that is asked for is
	maxFrameSize = 64 << 20 // a longer one is no frame
	maxFrames    = 16       // of one message
)

// frame is one ZMTP frame.
type frame struct {
	flags byte
	size  uint64
	body  []byte // nil where size is above maxFrameBody
}

func readFrame(r *bufio.Reader) (frame, error) {
	var f frame
	var err error
	if f.flags, err = r.ReadByte(); err != nil {
		return f, err
	}
	if f.flags&^(flagMore|flagLong|flagCommand) != 0 || f.flags&flagCommand != 0 && f.flags&flagMore != 0 {
		return f, fmt.Errorf("a frame with flags %#02x: not ZMTP", f.flags)
	}
	if f.flags&flagLong != 0 {
		var size [8]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return f, midFrame(err)
		}
		f.size = binary.BigEndian.Uint64(size[:])
	} else {
		size, err := r.ReadByte()
		if err != nil {
			return f, midFrame(err)
		}
		f.size = uint64(size)
	}
	if f.size > maxFrameSize {
		return f, fmt.Errorf("a frame of %d bytes: not ZMTP", f.size)
	}
	if f.size > maxFrameBody {
		_, err := io.CopyN(io.Discard, r, int64(f.size))
		return f, midFrame(err)
	}
	f.body = make([]byte, f.size)
	_, err = io.ReadFull(r, f.body)
	return f, midFrame(err)
}

func midFrame(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func appendFrame(b []byte, flags byte, body []byte) []byte {
	if len(body) > 255 {
		b = append(b, flags|flagLong)
		b = binary.BigEndian.AppendUint64(b, uint64(len(body)))
	} else {
		b = append(b, flags, byte(len(body)))
	}
	return append(b, body...)
}

// appendCommand appends a command frame: a name with its length, then data.
func appendCommand(b []byte, name string, data []byte) []byte {
	body := append([]byte{byte(len(name))}, name...)
	return appendFrame(b, flagCommand, append(body, data...))
}

// splitCommand splits the body of a command frame.
func splitCommand(body []byte) (name string, data []byte, ok bool) {
	if len(body) == 0 || len(body) < 1+int(body[0]) {
		return "", nil, false
	}
	n := 1 + int(body[0])
	return string(body[1:n]), body[n:], true
}

const greetingSize = 64

func greeting() []byte {
	g := make([]byte, greetingSize)
	g[0], g[9] = 0xff, 0x7f // signature
	g[8] = 1
	g[10], g[11] = 3, 1 // version
	copy(g[12:32], "NULL")
	return g
}

// checkGreeting returns the minor version of the publisher's protocol.
func checkGreeting(g []byte) (minor byte, err error) {
	switch {
	case g[0] != 0xff || g[9] != 0x7f:
		return 0, errors.New("not a ZMQ endpoint")
	case g[10] < 3:
		return 0, fmt.Errorf("speaks ZMTP %d, want 3: its ZMQ library is too old", g[10])
	case string(bytes.TrimRight(g[12:32], "\x00")) != "NULL":
		return 0, fmt.Errorf("demands the security mechanism %q, only NULL is supported", bytes.TrimRight(g[12:32], "\x00"))
	}
	return g[11], nil
}

// subscription is a connection to a publisher. Owned by one goroutine.
type subscription struct {
	conn  net.Conn
	r     *bufio.Reader
	minor byte // of the publisher's protocol version
}

// Time for a handshake or a frame, and between heartbeats.
const (
	zmtpTimeout   = 10 * time.Second
	zmtpHeartbeat = 10 * time.Second
	zmtpSilence   = 3 // heartbeats without an answer
)

// newSubscription makes the handshake and subscribes to topic.
func newSubscription(conn net.Conn, topic string) (*subscription, error) {
	s := &subscription{conn: conn, r: bufio.NewReader(conn)}
	if err := conn.SetDeadline(time.Now().Add(zmtpTimeout)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(greeting()); err != nil {
		return nil, err
	}
	var theirs [greetingSize]byte
	if _, err := io.ReadFull(s.r, theirs[:1]); err != nil {
		return nil, fmt.Errorf("no greeting: %w", err)
	}
	if theirs[0] != 0xff {
		return nil, errors.New("not a ZMQ endpoint")
	}
	if _, err := io.ReadFull(s.r, theirs[1:]); err != nil {
		return nil, fmt.Errorf("no greeting: %w", err)
	}
	minor, err := checkGreeting(theirs[:])
	if err != nil {
		return nil, err
	}
	s.minor = minor
	ready := appendCommand(nil, "READY", append([]byte("\x0bSocket-Type\x00\x00\x00\x03"), "SUB"...))
	if _, err := conn.Write(ready); err != nil {
		return nil, err
	}
	if err := s.readReady(); err != nil {
		return nil, err
	}
	var request []byte
	if s.minor >= 1 {
		request = appendCommand(nil, "SUBSCRIBE", []byte(topic))
	} else {
		request = appendFrame(nil, 0, append([]byte{1}, topic...))
	}
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	return s, conn.SetDeadline(time.Time{})
}

func (s *subscription) readReady() error {
	f, err := readFrame(s.r)
	if err != nil {
		return fmt.Errorf("no READY: %w", err)
	}
	name, data, ok := splitCommand(f.body)
	switch {
	case f.flags&flagCommand == 0 || !ok:
		return errors.New("no READY command after the greeting")
	case name == "ERROR":
		return refusal(data)
	case name != "READY":
		return fmt.Errorf("command %q where READY was expected", name)
	}
	switch kind := property(data, "Socket-Type"); kind {
	case "PUB", "XPUB":
		return nil
	default:
		return fmt.Errorf("a ZMQ socket of type %q, want PUB", kind)
	}
}

func refusal(data []byte) error {
	if len(data) > 0 {
		data = data[1:]
	}
	return fmt.Errorf("refused by the publisher: %q", data)
}

// property finds a property in the data of a READY command; names are not
// case-sensitive.
func property(data []byte, want string) string {
	for len(data) > 0 {
		n := int(data[0])
		if len(data) < 1+n+4 {
			return ""
		}
		name := data[1 : 1+n]
		size := uint64(binary.BigEndian.Uint32(data[1+n:]))
		data = data[1+n+4:]
		if uint64(len(data)) < size {
			return ""
		}
		if bytes.EqualFold(name, []byte(want)) {
			return string(data[:size])
		}
		data = data[size:]
	}
	return ""
}

// next returns the next message. It keeps the connection alive meanwhile and
// notices a dead one.
func (s *subscription) next() ([]frame, error) {
	var message []frame
	for {
		if err := s.wait(); err != nil {
			return nil, err
		}
		f, err := readFrame(s.r)
		if err != nil {
			return nil, err
		}
		if f.flags&flagCommand != 0 {
			if err := s.command(f.body); err != nil {
				return nil, err
			}
			continue
		}
		if len(message) == maxFrames {
			return nil, fmt.Errorf("a message of more than %d frames", maxFrames)
		}
		message = append(message, f)
		if f.flags&flagMore == 0 {
			return message, nil
		}
	}
}

// wait returns when a frame begins.
func (s *subscription) wait() error {
	for silent := 0; ; silent++ {
		if err := s.conn.SetReadDeadline(time.Now().Add(zmtpHeartbeat)); err != nil {
			return err
		}
		_, err := s.r.Peek(1)
		if err == nil {
			return s.conn.SetReadDeadline(time.Now().Add(zmtpTimeout))
		}
		if !isTimeout(err) {
			return err
		}
		if s.minor == 0 {
			continue // knows no heartbeats; TCP keep-alive has to do
		}
		if silent == zmtpSilence {
			return errors.New("no answer to heartbeats")
		}
		if err := s.write(appendCommand(nil, "PING", []byte{0, 0})); err != nil {
			return err
		}
	}
}

func (s *subscription) command(body []byte) error {
	name, data, ok := splitCommand(body)
	if !ok {
		return errors.New("a malformed command")
	}
	switch name {
	case "PING":
		const ttl, maxContext = 2, 16
		if len(data) < ttl {
			return errors.New("a malformed PING")
		}
		return s.write(appendCommand(nil, "PONG", data[ttl:min(len(data), ttl+maxContext)]))
	case "ERROR":
		return refusal(data)
	}
	return nil
}

func (s *subscription) write(b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(zmtpTimeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}
