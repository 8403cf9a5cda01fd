package client

import (
	"bytes"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/ckpool/ckpool/stratum"
)

// ErrMoving is why a connection ended for this process that goes on in another.
var ErrMoving = errors.New("connection moves to another process")

// ErrSecure is why a connection cannot move that is spoken over TLS.
var ErrSecure = errors.New("a TLS connection cannot move")

// State is a connection beside its socket, as another process goes on with it.
type State struct {
	URL         string             // of the place it is connected to
	Extranonce  stratum.Extranonce // in force
	Difficulty  float64            // in force, 0 none told
	VersionMask uint32             // likewise
	LastID      uint64             // of a request
	Unread      []byte             // come, and not handled
	Unwritten   []byte             // to be written
}

// Moves tells whether the connection can move, which one over TLS cannot.
func (c *Client) Moves() bool {
	_, secure := c.conn.(*tls.Conn)
	return !secure
}

// Suspend stops the connection without closing it. Its events end with a Closed that has
// ErrMoving; after that Suspended tells what it was. Shares without an answer have a
// verdict with ErrMoving.
func (c *Client) Suspend() error {
	if !c.Moves() {
		return ErrSecure
	}
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return c.ended()
	}
	defer c.mu.Unlock()
	if err := c.conn.SetDeadline(time.Unix(1, 0)); err != nil { // both goroutines stop
		return err
	}
	c.err, c.moving = ErrMoving, true
	close(c.ending)
	c.shares.stop()
	return nil
}

func (c *Client) isMoving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moving
}

// suspended is the state when both goroutines have stopped. c.mu is held.
func (c *Client) suspended() *State {
	l := &c.lines
	return &State{
		URL: c.endpoint.URL, Extranonce: c.extranonce, Difficulty: c.difficulty, VersionMask: c.versionMask, LastID: c.lastID,
		Unread:    bytes.Clone(l.buf[l.from:]),
		Unwritten: slices.Concat(c.unwritten, c.out),
	}
}

// Suspended is the socket and the state of a connection that Suspend has stopped, nil for
// any other. It waits until the connection has stopped.
func (c *Client) Suspended() (net.Conn, *State) {
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == nil {
		return nil, nil
	}
	return c.conn, c.state
}

// Resume goes on with a connection that was suspended, in this process or another, once
// Start is called, which a Keeper does. The shares that wait for their answers have verdict
// called, by their ids. Nothing of what was told before is told again.
func Resume(conn net.Conn, s *State, e Endpoint, opts Options, waiting map[uint64]func(Verdict)) *Client {
	e.URL = s.URL
	c := newClient(conn, e, opts.withDefaults())
	c.extranonce, c.subscribed, c.difficulty, c.versionMask, c.lastID = s.Extranonce, true, s.Difficulty, s.VersionMask, s.LastID
	c.lines.buf = bytes.Clone(s.Unread)
	c.out = bytes.Clone(s.Unwritten)
	now := time.Now()
	c.mu.Lock()
	for _, id := range slices.Sorted(maps.Keys(waiting)) {
		c.pending[id] = pending{c.verdict(now, waiting[id]), true}
		c.shares.add(c, id)
	}
	c.wakeWriter()
	c.mu.Unlock()
	return c
}

// Start makes a client that Resume has made read and write, once. Until then only End lets
// go of it: the other side notices nothing while another process has the socket.
func (c *Client) Start() {
	go c.write()
	go c.read()
}
