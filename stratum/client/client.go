// Package client is the miner's and the proxy's side of stratum v1: it connects
// to a pool, subscribes and authorizes, tells what the pool sends as events and
// submits shares with their verdicts. A Group keeps connections to several
// pools and takes work from the first that has some.
//
// It takes pools as they are: replies without an error member, with
// reject-reason, or in another order; announcements before the replies they
// should follow; pools that know no mining.configure or want mining.subscribe
// without parameters. It knows nothing of how shares are found.
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"ckpool/stratum"
)

// ErrClosed is why a connection ended that was closed on this side, and what
// errors of requests on any ended connection wrap.
var ErrClosed = errors.New("connection closed")

// RefusedError is a pool's refusal to subscribe or authorize.
type RefusedError struct {
	Method string
	Reject stratum.Reject
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s refused: %s", e.Method, &e.Reject)
}

// Client is one authorized connection to a pool. Its methods may be used by
// several goroutines.
type Client struct {
	// Immutable.
	endpoint Endpoint
	opts     Options
	conn     net.Conn
	events   chan Event
	done     chan struct{} // closed when the reading goroutine has ended

	// Owned by the reading goroutine.
	extranonce  stratum.Extranonce
	subscribed  bool
	difficulty  float64
	versionMask uint32
	held        *stratum.Notify // came before the extranonce

	writing sync.Mutex
	line    []byte // guarded by writing

	mu      sync.Mutex // guards the following; never held while writing
	lastID  uint64
	pending map[uint64]replyFunc
	err     error // why the connection ended, set once
}

// replyFunc takes the reply to a request, on the reading goroutine; nil tells
// that there will be none.
type replyFunc func(*stratum.Message)

// Dial connects to a pool, subscribes and authorizes, all within
// Options.HandshakeTimeout. The connection lasts until Close, whatever happens
// to ctx after Dial returned.
func Dial(ctx context.Context, e Endpoint, opts Options) (*Client, error) {
	return dial(ctx, e, opts.withDefaults(), new(quirks))
}

// Events are what the pool sends, beginning with the Extranonce of the
// subscription and what came during the handshake. The last event is Closed,
// then the channel is closed. The events must be read: the connection is given
// up when too many are waiting.
func (c *Client) Events() <-chan Event { return c.events }

// Endpoint is where the client is connected to.
func (c *Client) Endpoint() Endpoint { return c.endpoint }

// Share is a solution of a job.
type Share struct {
	Worker         string // empty: the endpoint's user
	Extranonce2    []byte // as long as the job's Extranonce says
	NTime, Nonce   uint32
	VersionBits    uint32 // only bits of the job's VersionMask
	HasVersionBits bool   // version bits were negotiated and are sent
}

// Submit sends a share and waits for the pool's verdict: a nil Reject means
// accepted. The error tells that there was no verdict.
func (c *Client) Submit(ctx context.Context, jobID string, s Share) (*stratum.Reject, error) {
	worker := s.Worker
	if worker == "" {
		worker = c.endpoint.User
	}
	verdict := make(chan *stratum.Reject, 1)
	id, err := c.request(func(b, id []byte) []byte {
		return stratum.AppendSubmit(b, id, worker, jobID, s.Extranonce2, s.NTime, s.Nonce, s.VersionBits, s.HasVersionBits)
	}, func(m *stratum.Message) {
		if m != nil {
			verdict <- m.Verdict()
		}
		close(verdict)
	})
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	select {
	case r, answered := <-verdict:
		if !answered {
			return nil, fmt.Errorf("submit: %w", c.ended())
		}
		return r, nil
	case <-ctx.Done():
		c.forget(id)
		return nil, fmt.Errorf("submit: no answer: %w", ctx.Err())
	}
}

// Close ends the connection and waits for its goroutine. The events that are
// waiting can still be read.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	<-c.done
	return nil
}

// fail ends the connection; the first reason given is kept.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.conn.Close()
}

// ended is why the connection ended, as an error that is an ErrClosed.
func (c *Client) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil || errors.Is(c.err, ErrClosed) {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrClosed, c.err)
}

// request writes a line under a fresh id and has reply called with what comes
// back.
func (c *Client) request(line func(b, id []byte) []byte, reply replyFunc) (id uint64, err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return 0, c.ended()
	}
	c.lastID++
	id = c.lastID
	c.pending[id] = reply
	c.mu.Unlock()

	var digits [20]byte
	if err := c.write(func(b []byte) []byte {
		return line(b, strconv.AppendUint(digits[:0], id, 10))
	}); err != nil {
		c.forget(id)
		return 0, err
	}
	return id, nil
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	delete(c.pending, id)
	c.mu.Unlock()
}

// write sends one line; a connection that does not take it is given up.
func (c *Client) write(line func(b []byte) []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.line = line(c.line[:0])
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // the write tells what is wrong
	if _, err := c.conn.Write(c.line); err != nil {
		c.fail(fmt.Errorf("write: %w", err))
		return c.ended()
	}
	return nil
}
