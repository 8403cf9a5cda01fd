package tlspipe

import (
	"net"
	"sync"
)

// maxUnread bounds what a handshake keeps of a peer that sends more than
// handshakes need.
const maxUnread = 64 << 10

// Limit bounds how many handshakes compute at the same time, by its capacity;
// those that wait for their peer do not count. Without it a storm of them would
// keep event loops from the processor.
type Limit chan struct{}

func (l Limit) acquire() {
	if l != nil {
		l <- struct{}{}
	}
}

func (l Limit) release() {
	if l != nil {
		<-l
	}
}

// handshake joins the goroutine of a handshake to what feeds it.
type handshake struct {
	limit Limit
	send  func(b []byte)
	need  func() // may be nil

	mu      sync.Mutex
	fed     sync.Cond // guarded by mu, as is what follows
	in      []byte
	waiting bool
	aborted bool
}

func newHandshake() *handshake {
	h := new(handshake)
	h.fed.L = &h.mu
	return h
}

// Handshake runs the handshake until it has succeeded or failed. It is called
// once, from a goroutine that may wait. send is given what is to be sent, in
// order; the slice is valid during the call only. What it is given last says to
// the peer why a handshake failed.
func (c *Conn) Handshake(limit Limit, send func(b []byte)) error {
	h := c.wire.handshake
	h.limit, h.send = limit, send
	limit.acquire()
	defer limit.release()
	return c.tls.Handshake()
}

// OnNeed has need called, from the goroutine of the handshake, each time that
// it can go on only when fed. It is called before Handshake.
func (c *Conn) OnNeed(need func()) { c.wire.handshake.need = need }

// Feed gives the handshake received bytes, which are copied. It is false when
// the handshake has so many that it cannot need them.
func (c *Conn) Feed(b []byte) bool {
	h := c.wire.handshake
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.in)+len(b) > maxUnread {
		return false
	}
	h.in = append(h.in, b...)
	h.fed.Signal()
	return true
}

// Waiting tells that the handshake can do nothing until it is fed.
func (c *Conn) Waiting() bool {
	h := c.wire.handshake
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiting && len(h.in) == 0
}

// Abort makes the handshake fail if it is to read again.
func (c *Conn) Abort() {
	h := c.wire.handshake
	h.mu.Lock()
	defer h.mu.Unlock()
	h.aborted = true
	h.fed.Signal()
}

// Established ends what began with the handshake, after Handshake has returned
// nil. What was fed and not needed is there for Read.
func (c *Conn) Established() {
	h := c.wire.handshake
	c.wire.handshake = nil
	c.wire.in = h.in
}

// read waits to be fed, and does not count in the limit meanwhile.
func (h *handshake) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.in) == 0 && !h.aborted {
		h.limit.release()
		h.waiting = true
		if h.need != nil {
			h.mu.Unlock()
			h.need()
			h.mu.Lock()
		}
		for len(h.in) == 0 && !h.aborted {
			h.fed.Wait()
		}
		h.waiting = false
		h.mu.Unlock()
		h.limit.acquire()
		h.mu.Lock()
	}
	if h.aborted {
		return 0, net.ErrClosed
	}
	n := copy(p, h.in)
	h.in = h.in[n:]
	return n, nil
}
