package client

import (
	"fmt"
	"strconv"
	"time"

	"github.com/ckpool/ckpool/stratum"
)

// maxUnwritten is how many bytes may wait to be written.
const maxUnwritten = 256 << 10

// replyFunc takes the reply to the request with an id, on the reading goroutine; nil
// tells that there will be none.
type replyFunc func(id uint64, m *stratum.Message)

// pending is a request without an answer.
type pending struct {
	reply replyFunc
	share bool
}

// request queues a line under a fresh id and has reply called with what comes
// back.
func (c *Client) request(line func(b, id []byte) []byte, reply replyFunc) (id uint64, err error) {
	return c.enqueue(line, reply, false)
}

// enqueue is request, for a share or another line.
func (c *Client) enqueue(line func(b, id []byte) []byte, reply replyFunc, share bool) (id uint64, err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return 0, c.ended()
	}
	defer c.mu.Unlock()
	if len(c.out) > maxUnwritten || len(c.pending) >= maxUnanswered {
		return 0, ErrBusy
	}
	c.lastID++
	id = c.lastID
	c.pending[id] = pending{reply, share}
	var digits [20]byte
	c.out = line(c.out, strconv.AppendUint(digits[:0], id, 10))
	if share {
		c.shares.add(c, id)
	}
	c.wakeWriter()
	return id, nil
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	delete(c.pending, id)
	c.mu.Unlock()
}

// answer queues an answer to the pool, which goes without where it does not read.
func (c *Client) answer(line func(b []byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || len(c.out) > maxUnwritten {
		return
	}
	c.out = line(c.out)
	c.wakeWriter()
}

// wakeWriter tells the writing goroutine of lines. c.mu is held.
func (c *Client) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write is the writing goroutine. A connection that does not take what it writes is
// given up.
func (c *Client) write() {
	defer close(c.written)
	var lines []byte
	for {
		select {
		case <-c.wake:
		case <-c.ending:
			return
		}
		c.mu.Lock()
		if c.err != nil {
			c.mu.Unlock()
			return
		}
		lines, c.out = c.out, lines[:0]
		if len(lines) == 0 { // what woke it was written before
			c.mu.Unlock()
			continue
		}
		_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // the write tells what is wrong
		c.mu.Unlock()
		if n, err := c.conn.Write(lines); err != nil {
			c.fail(fmt.Errorf("write: %w", err))
			c.unwritten = lines[n:] // for a State
			return
		}
	}
}
