package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum/client"
)

const (
	answerTime = 10 * time.Second // for a Hello
	dialTime   = 10 * time.Second
	// retryAfter is how long after a failed attempt the next one begins. When a link was lost
	// the first one begins at once, and for as long others follow by againAfter, as after a
	// start: miners do not notice what is over soon.
	retryAfter = 5 * time.Second
	againAfter = 500 * time.Millisecond
)

// Uplink is one pool that miners may be served by.
type Uplink struct {
	client.Endpoint
	Options client.Options // how to connect: SOCKS5, Pin
	Secret  func() string  // that it wants, "" none
	// Dialect is the highest to be spoken; 0 that of ckpool in C.
	Dialect int
}

// uplink keeps a connection to a pool.
type uplink struct {
	Uplink
	edge  *Edge
	index int // in the order of preference

	// guarded by Edge.mu
	begun bool  // run was called
	wire  *wire // nil: there is none
	since time.Time
	err   error // why there is none
	tried bool
}

// run keeps the connection until ctx ends. w is one that is there already; nil: there is none.
func (u *uplink) run(ctx context.Context, w *wire) {
	lost := time.Now()
	for ctx.Err() == nil {
		began := time.Now()
		var err error
		if w == nil {
			w, err = u.Connect(ctx, u.edge.role(), u.edge.options.Program)
			if err == nil {
				u.edge.up(u, w)
			}
		}
		wait := retryAfter
		if err == nil {
			err = w.serve(ctx)
			u.edge.down(u, err)
			if w = nil; !errors.Is(err, errProtocol) {
				lost = time.Now()
				wait = max(againAfter-time.Since(began), 0)
			}
		} else if ctx.Err() == nil {
			u.edge.failed(u, err)
			if time.Since(lost) < retryAfter {
				wait = againAfter
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// Connect makes a connection and asks for a link over it, in the name of a program.
func (u *Uplink) Connect(ctx context.Context, role poolproto.Role, program string) (*wire, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime+answerTime)
	defer cancel()
	o := u.Options
	o.Dial = dialer.DialContext
	conn, err := u.Endpoint.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	w := newWire(u.URL, conn)
	err = w.greet(&poolproto.Hello{Role: role, Program: program, Dialect: u.Dialect, Secret: u.Secret()})
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return w, nil
}

// vanishedAfter is when a pool that acknowledges nothing is taken for gone, whether or not
// something is under way to it. In the dialect of ckpool in C nothing else tells: without it
// the kernel goes on sending for a quarter of an hour.
const vanishedAfter = 75 * time.Second

// dialer connects to pools.
var dialer = net.Dialer{
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 45 * time.Second, Interval: 30 * time.Second, Count: 1},
	Control: func(_, _ string, socket syscall.RawConn) error {
		var failed error
		err := socket.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(vanishedAfter.Milliseconds()))
		})
		return errors.Join(err, failed)
	},
}

// Try asks for a link, and gives it up again. It says in words which dialect is spoken.
func (u *Uplink) Try(ctx context.Context, role poolproto.Role, program string) (dialect string, err error) {
	w, err := u.Connect(ctx, role, program)
	if err != nil {
		return "", err
	}
	w.conn.Close()
	return dialects[w.dialect], nil
}

// RefusedError is that a pool gives no link.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "it gives no link: " + e.Reason }

// maxReason is how much of a pool's reason is told, in bytes.
const maxReason = 200

// refused has the reason of a pool in one line of text.
func refused(reason string) *RefusedError {
	if reason == "" {
		reason = "it does not say why"
	}
	return &RefusedError{strings.ToValidUTF8(strings.Map(printable, reason[:min(len(reason), maxReason)]), "?")}
}

func printable(c rune) rune {
	if c < ' ' || c == 0x7f {
		return ' '
	}
	return c
}

// greetMost is how many bytes may come before the answer to a Hello.
const greetMost = 1 << 20

// greet asks for the link. What comes before the answer is left alone: it is for miners
// whom nobody knows here.
func (w *wire) greet(hello *poolproto.Hello) error {
	if err := w.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	if _, err := w.conn.Write(poolproto.AppendHello(nil, hello)); err != nil {
		return err
	}
	for read := 0; read < greetMost; {
		line, ok := w.in.next()
		if !ok {
			switch err := w.in.fill(); {
			case errors.Is(err, io.EOF):
				return refused("it closes the connection, as a pool does that takes none, or a port for TLS (stratum+ssl://)")
			case err != nil:
				return fmt.Errorf("no answer to %s: %w", hello.Role.Method(), err)
			}
			continue
		}
		read += len(line)
		a, err := poolproto.ParseAnswer(line)
		switch {
		case errors.Is(err, poolproto.ErrNoAnswer):
			continue
		case !a.Accepted:
			return refused(a.Reason)
		}
		if w.dialect = a.Dialect; w.dialect < 0 || w.dialect > hello.Dialect {
			return fmt.Errorf("it answers %s with a dialect that was not offered, %d", hello.Role.Method(), a.Dialect)
		}
		w.sums = a.Sums && w.dialect > 0
		return w.conn.SetDeadline(time.Time{})
	}
	return fmt.Errorf("no answer to %s in %d bytes", hello.Role.Method(), greetMost)
}

// plain is a connection whose reading and writing can be stopped in the middle.
func plain(c net.Conn) bool {
	_, ok := c.(*net.TCPConn)
	return ok
}

// say tells of a change of an uplink.
func (u *uplink) say(level event.Level, text string) {
	u.edge.options.Events.Say(level, "Upstream "+u.URL+" "+text)
}
