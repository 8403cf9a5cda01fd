package fakenode

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Publisher is the publishing end of ZeroMQ's PUB/SUB pattern over ZMTP 3.1
// with the NULL mechanism, as the notification interface of Bitcoin Core uses
// it: each message has three frames, topic, body and a little-endian 32-bit
// count of the messages of that topic.
type Publisher struct {
	listener net.Listener
	done     sync.WaitGroup

	// guarded by mu
	mu          sync.Mutex
	closed      bool
	sequence    map[string]uint32
	subscribers map[*subscriber]bool
}

// subscriber is one connection past its handshake.
type subscriber struct {
	conn   net.Conn
	out    chan []byte // messages, and commands of the reading side
	topics []string    // prefixes; guarded by Publisher.mu
}

// highWaterMark is how many messages wait for a slow subscriber before more are
// dropped, ZeroMQ's default.
const highWaterMark = 1000

// NewPublisher listens on host:port.
func NewPublisher(listen string) (*Publisher, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("zmq publisher: %w", err)
	}
	p := &Publisher{listener: l, sequence: map[string]uint32{}, subscribers: map[*subscriber]bool{}}
	p.done.Go(p.accept)
	return p, nil
}

// Addr is the host:port listened on.
func (p *Publisher) Addr() string { return p.listener.Addr().String() }

// Close cuts all connections and waits for their goroutines.
func (p *Publisher) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.listener.Close()
	p.Disconnect()
	p.done.Wait()
}

// Disconnect cuts all connections; subscribers may come back.
func (p *Publisher) Disconnect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.subscribers {
		s.conn.Close()
	}
}

// Publish sends a message to those who subscribed to a prefix of topic.
func (p *Publisher) Publish(topic string, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	message := frame(nil, frameMore, []byte(topic))
	message = frame(message, frameMore, body)
	message = frame(message, 0, binary.LittleEndian.AppendUint32(nil, p.sequence[topic]))
	p.sequence[topic]++
	for s := range p.subscribers {
		for _, prefix := range s.topics {
			if strings.HasPrefix(topic, prefix) {
				s.send(message)
				break
			}
		}
	}
}

// Skip counts n messages of topic that nobody gets, as if they had been lost.
func (p *Publisher) Skip(topic string, n uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sequence[topic] += n
}

// Subscribers counts the connections that a message of topic would reach.
func (p *Publisher) Subscribers(topic string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	count := 0
	for s := range p.subscribers {
		for _, prefix := range s.topics {
			if strings.HasPrefix(topic, prefix) {
				count++
				break
			}
		}
	}
	return count
}

func (p *Publisher) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		s := &subscriber{conn: conn, out: make(chan []byte, highWaterMark)}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			conn.Close()
			return
		}
		p.subscribers[s] = true
		p.mu.Unlock()
		p.done.Go(func() { p.serve(s) })
	}
}

// serve runs one connection: this goroutine reads, another one writes.
func (p *Publisher) serve(s *subscriber) {
	gone := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		defer s.conn.Close()
		for {
			select {
			case b := <-s.out:
				_ = s.conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
				if _, err := s.conn.Write(b); err != nil {
					return
				}
			case <-gone:
				return
			}
		}
	})
	_ = p.read(s) // whatever ended it, the subscriber will come again
	p.mu.Lock()
	delete(p.subscribers, s)
	p.mu.Unlock()
	close(gone)
	writer.Wait()
}

const (
	frameMore    = 1
	frameLong    = 2
	frameCommand = 4

	greetingSize = 64
	maxFrame     = 1 << 16
)

// greeting: signature, version 3.1, mechanism in 20 bytes, as-server, filler.
func greeting() []byte {
	b := make([]byte, greetingSize)
	copy(b, "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01NULL")
	return b
}

func (p *Publisher) read(s *subscriber) error {
	s.send(greeting())
	r := bufio.NewReader(s.conn)
	hello := make([]byte, greetingSize)
	if _, err := io.ReadFull(r, hello); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if hello[0] != 0xff || hello[9] != 0x7f || hello[10] < 3 || !bytes.HasPrefix(hello[12:32], []byte("NULL\x00")) {
		return errors.New("greeting: not ZMTP 3 with NULL")
	}
	s.send(frame(nil, frameCommand, []byte("\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB")))
	for {
		flags, body, err := readFrame(r)
		if err != nil {
			return err
		}
		if err := p.handle(s, flags, body); err != nil {
			return err
		}
	}
}

func readFrame(r *bufio.Reader) (flags byte, body []byte, err error) {
	if flags, err = r.ReadByte(); err != nil {
		return 0, nil, err
	}
	size := make([]byte, 1)
	if flags&frameLong != 0 {
		size = make([]byte, 8)
	}
	if _, err := io.ReadFull(r, size); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint64(append(make([]byte, 8-len(size)), size...))
	if length > maxFrame {
		return 0, nil, fmt.Errorf("frame of %d bytes", length)
	}
	body = make([]byte, length)
	_, err = io.ReadFull(r, body)
	return flags, body, err
}

// handle takes subscriptions in both forms, commands of 3.1 and messages of 3.0.
func (p *Publisher) handle(s *subscriber, flags byte, body []byte) error {
	if flags&frameCommand == 0 {
		if len(body) > 0 && body[0] <= 1 {
			p.subscribe(s, string(body[1:]), body[0] == 1)
		}
		return nil
	}
	if len(body) == 0 || len(body) < 1+int(body[0]) {
		return errors.New("malformed command")
	}
	name, data := string(body[1:1+body[0]]), body[1+body[0]:]
	switch name {
	case "READY":
		if !bytes.Contains(data, []byte("Socket-Type\x00\x00\x00\x03SUB")) &&
			!bytes.Contains(data, []byte("Socket-Type\x00\x00\x00\x04XSUB")) {
			return errors.New("peer is no subscriber")
		}
	case "SUBSCRIBE", "CANCEL":
		p.subscribe(s, string(data), name == "SUBSCRIBE")
	case "PING":
		if len(data) >= 2 { // time to live, then a context to echo
			s.send(frame(nil, frameCommand, append([]byte("\x04PONG"), data[2:]...)))
		}
	case "ERROR":
		return errors.New("peer says: error")
	}
	return nil
}

// send queues b, or drops it when the subscriber is too slow.
func (s *subscriber) send(b []byte) {
	select {
	case s.out <- b:
	default:
	}
}

func (p *Publisher) subscribe(s *subscriber, topic string, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		s.topics = append(s.topics, topic)
		return
	}
	for i, t := range s.topics {
		if t == topic {
			s.topics = append(s.topics[:i:i], s.topics[i+1:]...)
			return
		}
	}
}

// frame appends one frame to b.
func frame(b []byte, flags byte, body []byte) []byte {
	if len(body) > 255 {
		b = append(b, flags|frameLong)
		b = binary.BigEndian.AppendUint64(b, uint64(len(body)))
	} else {
		b = append(b, flags, byte(len(body)))
	}
	return append(b, body...)
}
