package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/ckpool/ckpool/stratum"
)

var (
	errNotRead   = errors.New("events are not being read")
	errSilent    = errors.New("pool is silent")
	errReconnect = errors.New("pool asked to reconnect")

	errUnanswered = errors.New("pool has not answered any share")
)

// read is the reading goroutine.
func (c *Client) read() {
	defer close(c.done)
	c.fail(c.receive())
	<-c.written
	c.forgetting.Wait()

	c.mu.Lock()
	err, pending := c.err, c.pending
	if c.moving {
		c.state = c.suspended()
	}
	c.pending, c.out, c.shares.since = nil, nil, nil
	c.mu.Unlock()
	for id, p := range pending {
		p.reply(id, nil)
	}
	c.events <- Closed{err} // emit keeps a place for it
	close(c.events)
}

// receive takes lines until the connection ends.
func (c *Client) receive() error {
	var m stratum.Message
	pinged, bad := false, 0
	for {
		if err := c.allow(); err != nil {
			return err
		}
		line, err := c.lines.next()
		switch {
		case err != nil && c.isMoving():
			return ErrMoving
		case errors.Is(err, os.ErrDeadlineExceeded):
			if pinged {
				return fmt.Errorf("%w for %v", errSilent, c.opts.SilenceTimeout)
			}
			pinged = true
			if _, err := c.request(stratum.AppendPing, noReply); err != nil {
				return err
			}
			continue
		case errors.Is(err, io.EOF):
			return errors.New("closed by the pool")
		case err != nil:
			return fmt.Errorf("read: %w", err)
		}
		pinged = false
		switch stratum.Scan(line, &m) {
		case stratum.Object:
			bad = 0
			if err := c.dispatch(&m); err != nil {
				return err
			}
		case stratum.Empty:
		default:
			if bad++; bad == maxBadLines {
				return fmt.Errorf("not stratum: %.60q", line)
			}
		}
	}
}

// allow allows the next read its time, unless the connection is to move.
func (c *Client) allow() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moving {
		return ErrMoving
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(c.opts.SilenceTimeout / 2)) // the read tells what is wrong
	return nil
}

// dispatch takes a message. An error ends the connection.
func (c *Client) dispatch(m *stratum.Message) error {
	if !m.MethodPresent && c.reply(m) {
		return nil
	}
	if !c.allowance.take(time.Now()) {
		return errFlood
	}
	// What cannot be understood is passed over, as miners do.
	switch string(m.Method) {
	case "mining.notify":
		var n stratum.Notify
		if n.Parse(m.Params) == nil {
			return c.notify(&n)
		}
	case "mining.set_difficulty":
		if d, err := stratum.ParseDifficulty(m.Params); err == nil {
			if err := checkDifficulty(d); err != nil {
				return err
			}
			c.difficulty = d
			return c.announce(Difficulty(d))
		}
	case "mining.set_version_mask":
		if mask, err := stratum.ParseVersionMask(m.Params); err == nil {
			return c.setVersionMask(mask)
		}
	case "mining.set_extranonce":
		// One before the reply to mining.subscribe is what the reply replaces.
		if e, err := stratum.ParseExtranonce(m.Params); err == nil && c.subscribed {
			e.SessionID = c.extranonce.SessionID
			c.setExtranonce(e)
		}
	case "client.reconnect":
		if r, err := stratum.ParseReconnect(m.Params); err == nil {
			return c.announce(Reconnect{r})
		}
	case "client.show_message":
		if text, err := stratum.ParseMessage(m.Params); err == nil {
			return c.announce(Message(short(text, maxReason)))
		}
	case "mining.ping", "client.ping":
		c.answer(func(b []byte) []byte { return stratum.AppendResult(b, m.ID, `"pong"`) })
	case "client.get_version":
		agent := string(stratum.AppendString(nil, c.opts.UserAgent))
		c.answer(func(b []byte) []byte { return stratum.AppendResult(b, m.ID, agent) })
	}
	return nil
}

// reply matches a message without a method with its request, if there is one. Some
// pools echo a number as a string.
func (c *Client) reply(m *stratum.Message) (ours bool) {
	id, err := strconv.ParseUint(string(bytes.Trim(m.ID, `"`)), 10, 64)
	if err != nil {
		return false
	}
	c.mu.Lock()
	p, ours := c.pending[id]
	delete(c.pending, id)
	if p.share {
		c.shares.answered = time.Now()
	}
	c.mu.Unlock()
	if ours {
		p.reply(id, m)
	}
	return ours
}

func (c *Client) notify(n *stratum.Notify) error {
	if err := checkNotify(n); err != nil {
		return err
	}
	return c.announce(Notify{Notify: *n, Extranonce: c.extranonce, Difficulty: c.difficulty,
		VersionMask: c.versionMask, client: c})
}

// announce tells an event, or keeps it while the extranonce is not known: what came
// before it is told behind it, in the order in which it came.
func (c *Client) announce(e Event) error {
	if c.subscribed {
		c.emit(e)
		return nil
	}
	if len(c.held) == maxHeld {
		return fmt.Errorf("%d announcements before the answer to mining.subscribe", maxHeld)
	}
	c.held = append(c.held, e)
	return nil
}

func (c *Client) setExtranonce(e stratum.Extranonce) {
	c.extranonce, c.subscribed = e, true
	c.emit(Extranonce{e})
	for _, held := range c.held {
		if n, ok := held.(Notify); ok {
			n.Extranonce = e
			held = n
		}
		c.emit(held)
	}
	c.held = nil
}

func (c *Client) setVersionMask(mask uint32) error {
	if c.opts.VersionMask == 0 {
		return nil // not asked for
	}
	c.versionMask = mask & c.opts.VersionMask
	return c.announce(VersionMask(c.versionMask))
}

// emit never waits, so that verdicts come in even if events are not read.
func (c *Client) emit(e Event) {
	if len(c.events) >= maxEvents {
		c.fail(errNotRead)
		return
	}
	c.events <- e
}

// lineReader cuts what it reads into lines. Nothing is lost by a read that
// timed out.
type lineReader struct {
	r        io.Reader
	max      int
	buf      []byte // buf[from:] is not yet returned, buf[scanned:] not yet looked at
	from     int
	scanned  int
	problems error
}

// next returns the next line without its LF, valid until the next call.
func (l *lineReader) next() ([]byte, error) {
	for {
		if i := bytes.IndexByte(l.buf[l.scanned:], '\n'); i >= 0 {
			line := l.buf[l.from : l.scanned+i]
			l.scanned += i + 1
			l.from = l.scanned
			return line, nil
		}
		l.scanned = len(l.buf)
		if l.problems != nil {
			return nil, l.problems
		}
		if len(l.buf)-l.from > l.max {
			return nil, fmt.Errorf("line is longer than %d bytes", l.max)
		}
		if err := l.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads once. An error that comes with bytes is kept for later.
func (l *lineReader) fill() error {
	if l.from > 0 {
		l.buf = l.buf[:copy(l.buf, l.buf[l.from:])]
		l.scanned -= l.from
		l.from = 0
	}
	if cap(l.buf)-len(l.buf) < 512 {
		l.buf = append(make([]byte, 0, max(4096, 2*cap(l.buf))), l.buf...)
	}
	n, err := l.r.Read(l.buf[len(l.buf):cap(l.buf)])
	l.buf = l.buf[:len(l.buf)+n]
	if n > 0 && err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		l.problems = err
		return nil
	}
	if n > 0 {
		return nil
	}
	return err
}
