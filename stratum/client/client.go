// Package client is the miner's and the proxy's side of stratum v1: it connects
// to a pool, subscribes and authorizes, tells what the pool sends as events and
// submits shares with their verdicts.
//
// [Dial] makes one connection. A [Keeper] makes another when it has ended. A [Group]
// keeps connections to several pools and takes work from the first that has some.
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
	"sync"

	"github.com/ckpool/ckpool/stratum"
)

// ErrClosed is why a connection ended that was closed on this side, and what
// errors of requests on any ended connection wrap.
var ErrClosed = errors.New("connection closed")

// RefusedError is a pool's refusal to subscribe or authorize.
type RefusedError struct {
	Method string         // that was refused
	Reject stratum.Reject // code and text
}

// Error is the method and what the pool said to it.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s refused: %s", e.Method, &e.Reject)
}

// UnusableError is an answer to mining.subscribe that no work can be made of.
type UnusableError struct{ Err error }

// Error tells that the pool's answer is unusable, and why.
func (e *UnusableError) Error() string { return fmt.Sprintf("mining.%v", e.Err) }

// Unwrap is what is wrong with the answer.
func (e *UnusableError) Unwrap() error { return e.Err }

// Client is one authorized connection to a pool. Its methods may be used by
// several goroutines.
type Client struct {
	// Immutable.
	endpoint Endpoint
	opts     Options
	conn     net.Conn
	events   chan Event
	done     chan struct{} // closed when both goroutines have ended
	wake     chan struct{} // capacity 1: there is something in out
	ending   chan struct{} // closed when the connection has ended
	written  chan struct{} // closed when the writing goroutine has ended

	// Owned by the reading goroutine.
	extranonce  stratum.Extranonce
	subscribed  bool
	difficulty  float64
	versionMask uint32
	held        []Event // came before the extranonce
	allowance   allowance
	lines       lineReader

	unwritten []byte // owned by the writing goroutine, and the rest of what it could not write

	mu      sync.Mutex // guards the following; never held while writing
	lastID  uint64
	pending map[uint64]pending
	out     []byte // lines that the writing goroutine has not taken
	shares  overdue
	err     error // why the connection ended, set once
	moving  bool  // err is ErrMoving, and conn is not closed
	state   *State

	forgetting sync.WaitGroup // of shares that have waited too long; nothing is added after err
}

// Dial connects to a pool, subscribes and authorizes, all within
// Options.HandshakeTimeout. The connection lasts until Close, whatever happens
// to ctx after Dial returned.
func Dial(ctx context.Context, e Endpoint, opts Options) (*Client, error) {
	c, err := dial(ctx, e, opts.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.URL, err)
	}
	return c, nil
}

// Events are what the pool sends, beginning with the Extranonce of the
// subscription and what came during the handshake. The last event is Closed,
// then the channel is closed. The events must be read: the connection is given
// up when too many are waiting.
func (c *Client) Events() <-chan Event { return c.events }

// Endpoint is where the client is connected to.
func (c *Client) Endpoint() Endpoint { return c.endpoint }

// Close ends the connection and waits for its goroutines. The events that are
// waiting can still be read.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	<-c.done
	return nil
}

// End ends the connection for a reason, which is what its Closed has, and does not
// wait.
func (c *Client) End(reason error) { c.fail(reason) }

// fail ends the connection; the first reason given is kept.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
		close(c.ending)
		c.shares.stop()
	}
	moving := c.moving
	c.mu.Unlock()
	if !moving {
		c.conn.Close()
	}
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
