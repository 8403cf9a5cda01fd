package bitcoind

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/event"
)

const zmqTopic = "hashblock"

// subscriber follows a node's announcements of blocks over ZMQ, connecting
// again whenever the connection is lost.
type subscriber struct {
	name string // as configured
	dial func(context.Context) (net.Conn, error)
	// Called from run's goroutine.
	block  func(hash [32]byte)
	missed func() // blocks may have been missed: a new or lost connection, a gap
	events event.Func
}

// newSubscriber reads an endpoint as Bitcoin Core's zmqpubhashblock has it.
func newSubscriber(endpoint string) (*subscriber, error) {
	network, address := "tcp", ""
	scheme, rest, ok := strings.Cut(endpoint, ":")
	rest = strings.TrimPrefix(rest, "//")
	switch {
	case ok && scheme == "tcp":
		host, port, err := net.SplitHostPort(rest)
		if err != nil || port == "" {
			return nil, fmt.Errorf("ZMQ endpoint %q: want tcp://host:port", endpoint)
		}
		switch host {
		case "*", "0.0.0.0", "::", "":
			// What a publisher binds, copied from its configuration.
			host = "localhost"
		}
		address = net.JoinHostPort(host, port)
	case ok && (scheme == "ipc" || scheme == "unix") && rest != "":
		network, address = "unix", rest
	default:
		return nil, fmt.Errorf("ZMQ endpoint %q: want tcp://host:port or ipc:///path", endpoint)
	}
	dialer := net.Dialer{
		Timeout:         5 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	return &subscriber{
		name: endpoint,
		dial: func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, network, address) },
	}, nil
}

// run returns when ctx ended.
func (s *subscriber) run(ctx context.Context) {
	var p pause
	var told string
	for ctx.Err() == nil {
		connected, err := s.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if connected {
			s.missed()
			p.reset()
			told = ""
		}
		// The reason alone: the text may hold a port that changes.
		if why := explainConnection(err); why.kind != told {
			told = why.kind
			for inner := err; inner != nil; inner = errors.Unwrap(inner) {
				err = inner // the outer texts repeat the address
			}
			s.events.Say(event.Warning, fmt.Sprintf("ZMQ %s: %v; blocks are heard of by long poll (zmqpubhashblock of the node is faster)", s.name, err))
		}
		p.sleep(ctx, nil)
	}
}

// once is one connection's life.
func (s *subscriber) once(ctx context.Context) (connected bool, err error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	subscription, err := newSubscription(conn, zmqTopic)
	if err != nil {
		return false, err
	}
	s.events.Say(event.Notice, "ZMQ connected to "+s.name)
	s.missed()
	var expected uint32
	for first := true; ; {
		message, err := subscription.next()
		if err != nil {
			return true, err
		}
		if string(message[0].body) != zmqTopic {
			continue
		}
		hash, sequence, err := readAnnouncement(message)
		if err != nil {
			s.events.Say(event.Warning, fmt.Sprintf("ZMQ %s: %v", s.name, err))
			s.missed()
			continue
		}
		s.events.Say(event.Notice, "ZMQ block hash "+displayHash(hash).String())
		s.block(hash)
		if sequence != nil {
			if !first && *sequence != expected {
				s.missed()
			}
			first, expected = false, *sequence+1
		}
	}
}

// readAnnouncement reads the frames topic, hash (reversed, as it is printed)
// and sequence number (little-endian; nil where the publisher sends none).
func readAnnouncement(message []frame) (hash [32]byte, sequence *uint32, err error) {
	if len(message) < 2 {
		return hash, nil, fmt.Errorf("ZMQ message size error, size = %d!", 0)
	}
	if message[1].size != 32 {
		return hash, nil, fmt.Errorf("ZMQ message size error, size = %d!", message[1].size)
	}
	copy(hash[:], message[1].body)
	slices.Reverse(hash[:])
	if len(message) > 2 && message[2].size == 4 {
		n := binary.LittleEndian.Uint32(message[2].body)
		sequence = &n
	}
	return hash, sequence, nil
}
