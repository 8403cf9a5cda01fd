// Package tlspipe is TLS for programs that read and write sockets themselves,
// such as event loops: bytes of the wire go in and come out as slices. It knows
// no socket, no deadline and no certificate file.
//
// A handshake computes for up to milliseconds and goes back and forth, so it
// runs in a goroutine of its own, which the loop feeds. From then on there is
// no goroutine: the loop decrypts what it has received and encrypts what it is
// about to send, microseconds each.
package tlspipe

import (
	"crypto/tls"
	"net"
	"time"
)

// ErrEmpty is the result of Read when all received bytes have been read: more
// have to be received.
var ErrEmpty error = empty{}

// empty is a timeout to crypto/tls, which can be read on after one.
type empty struct{}

func (empty) Error() string   { return "nothing received" }
func (empty) Timeout() bool   { return true }
func (empty) Temporary() bool { return true }

// Conn is one side of a TLS connection. It belongs to one goroutine; only
// Handshake runs in another. Until Established, Feed, Waiting and Abort may be
// called, from then on the other methods.
type Conn struct {
	tls  *tls.Conn
	wire wire
}

// Server is the side that was connected to.
func Server(config *tls.Config) *Conn {
	c := &Conn{wire: wire{handshake: newHandshake()}}
	c.tls = tls.Server(&c.wire, config)
	return c
}

// Client is the side that connects.
func Client(config *tls.Config) *Conn {
	c := &Conn{wire: wire{handshake: newHandshake()}}
	c.tls = tls.Client(&c.wire, config)
	return c
}

// Receive takes bytes of the wire for Read. They must not change until Read has
// returned ErrEmpty, and Receive not be called before.
func (c *Conn) Receive(b []byte) {
	if len(c.wire.in) > 0 { // the handshake's last
		b = append(c.wire.in, b...)
	}
	c.wire.in = b
}

// Read decrypts received bytes into p. The error is ErrEmpty when there are no
// more, io.EOF when the peer has closed its side, and any other when the
// connection is broken.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.tls.Read(p)
	if err == ErrEmpty {
		c.wire.in = nil
	}
	return n, err
}

// Seal appends the encrypted p to what is to be sent, in front of it what TLS
// has to say itself: an answer to a change of keys, an alert. p may be empty.
func (c *Conn) Seal(to, p []byte) []byte {
	return c.wire.collect(to, func() {
		if len(p) > 0 {
			// It fails only on a connection that Read has found to be broken.
			_, _ = c.tls.Write(p)
		}
	})
}

// Pending is how many bytes Seal would append without a p.
func (c *Conn) Pending() int { return len(c.wire.out) }

// Close appends the message that this side is closed, to be sent last.
func (c *Conn) Close(to []byte) []byte {
	return c.wire.collect(to, func() { _ = c.tls.CloseWrite() })
}

// wire is the connection below a tls.Conn.
type wire struct {
	in, out   []byte
	handshake *handshake // until it has ended
}

// collect appends to a slice what TLS writes and has written.
func (w *wire) collect(to []byte, write func()) []byte {
	own := w.out
	w.out = append(to, own...)
	write()
	to, w.out = w.out, nil
	return to
}

func (w *wire) Read(p []byte) (int, error) {
	if w.handshake != nil {
		return w.handshake.read(p)
	}
	if len(w.in) == 0 {
		return 0, ErrEmpty
	}
	n := copy(p, w.in)
	w.in = w.in[n:]
	return n, nil
}

func (w *wire) Write(p []byte) (int, error) {
	if w.handshake != nil {
		w.handshake.send(p)
	} else {
		w.out = append(w.out, p...)
	}
	return len(p), nil
}

func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return addr{} }
func (w *wire) RemoteAddr() net.Addr             { return addr{} }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

type addr struct{}

func (addr) Network() string { return "tlspipe" }
func (addr) String() string  { return "tlspipe" }
