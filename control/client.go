package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// What a caller of [Client.Do] may want to tell apart.
var (
	ErrConnect = errors.New("cannot connect") // nothing takes connections at the path
	ErrSend    = errors.New("cannot send")    // the connection ended before the request was out
	// ErrNoReply: closed without a reply, or none in time. For commands that
	// have no reply that is their normal end.
	ErrNoReply = errors.New("no reply")
)

// maxPath is what fits into a socket address with its terminator.
const maxPath = 107

// Client sends commands to one control socket, each over a connection of its
// own. Its methods may be called from several goroutines.
type Client struct {
	Path         string        // of the socket
	ReplyTimeout time.Duration // until the first bytes of the reply
	BodyTimeout  time.Duration // from then to the end of the reply
}

// connectTimeout also covers sending the request.
const connectTimeout = 10 * time.Second

// Dial returns a client of <sockdir>/<name>/<socket>, such as
// /tmp/ckpool/listener, that waits 30 s for a reply and 5 s for the rest of
// it. Nothing is connected yet.
func Dial(sockdir, name, socket string) *Client {
	return &Client{
		Path:         filepath.Join(sockdir, name, socket),
		ReplyTimeout: 30 * time.Second,
		BodyTimeout:  5 * time.Second,
	}
}

// Do sends cmd and returns the reply. Errors wrap ErrConnect, ErrSend or
// ErrNoReply, or say how the reply is broken.
func (c *Client) Do(ctx context.Context, cmd string) (string, error) {
	var reply string
	err := c.exchange(ctx, cmd, func(conn *net.UnixConn) error {
		n, err := readLength(conn, maxReply)
		if err != nil {
			return replyError(err)
		}
		if err := c.deadline(ctx, conn, c.BodyTimeout); err != nil {
			return err
		}
		b, err := readBody(conn, n)
		if err != nil {
			return fmt.Errorf("reply is cut off: %w", err)
		}
		reply = string(b)
		return nil
	})
	return reply, err
}

// GetFD asks for listening socket number n (getxfd<n>). For the first one the
// command of 2014, getfd, is tried too. The error wraps ErrNoFD or ErrNoReply
// if there is no such socket.
func (c *Client) GetFD(ctx context.Context, n int) (*os.File, error) {
	f, err := c.getFD(ctx, "getxfd"+strconv.Itoa(n))
	if n == 0 && (errors.Is(err, ErrNoFD) || errors.Is(err, ErrNoReply)) {
		if old, oldErr := c.getFD(ctx, "getfd"); oldErr == nil {
			return old, nil
		}
	}
	return f, err
}

func (c *Client) getFD(ctx context.Context, cmd string) (f *os.File, err error) {
	err = c.exchange(ctx, cmd, func(conn *net.UnixConn) error {
		f, err = receiveFD(conn)
		return replyError(err)
	})
	return f, err
}

func replyError(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: connection closed", ErrNoReply)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w in time", ErrNoReply)
	}
	return err
}

func (c *Client) exchange(ctx context.Context, cmd string, receive func(*net.UnixConn) error) error {
	if len(c.Path) > maxPath {
		return fmt.Errorf("%w to %s: path is longer than %d bytes", ErrConnect, c.Path, maxPath)
	}
	dialer := net.Dialer{Timeout: connectTimeout}
	dialed, err := dialer.DialContext(ctx, "unix", c.Path)
	if err != nil {
		return fmt.Errorf("%w to %s: %w", ErrConnect, c.Path, err)
	}
	conn := dialed.(*net.UnixConn)
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	err = c.deadline(ctx, conn, connectTimeout)
	if err == nil {
		err = WriteFrame(conn, []byte(cmd))
	}
	if err != nil {
		return fmt.Errorf("%w %.100q to %s: %w", ErrSend, cmd, c.Path, cause(ctx, err))
	}
	_ = conn.CloseWrite()
	if err := c.deadline(ctx, conn, c.ReplyTimeout); err != nil {
		return err
	}
	if err := receive(conn); err != nil {
		return fmt.Errorf("%.100q to %s: %w", cmd, c.Path, cause(ctx, err))
	}
	return nil
}

// deadline never undoes the one set when ctx ended.
func (c *Client) deadline(ctx context.Context, conn net.Conn, d time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	return ctx.Err()
}

func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
