//go:build linux

package netserver

import (
	"bytes"
	"io"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/epoll"
	"github.com/ckpool/ckpool/internal/tlspipe"
)

// recordSize is the plain text of a TLS record. The library would take 16 KiB;
// small devices have buffers of 4 KiB and read nothing of a record before all
// of it. So much of a slow client's output cannot be replaced by newer work: a
// sealed record has to be sent.
const recordSize = 4 << 10

// encrypted is the TLS of a client.
type encrypted struct {
	*tlspipe.Conn
	unsent []byte // of the last record
}

// decrypt gives the handler the lines of what was received.
func (l *Loop) decrypt(s Slot, c *conn) {
	t := l.output.tls[s]
	if l.plain == nil {
		l.plain = make([]byte, 16<<10)
	}
	for c.live() {
		n, err := t.Read(l.plain)
		if n > 0 {
			l.lines(s, c, l.plain[:n])
		}
		switch err {
		case nil:
		case tlspipe.ErrEmpty:
			if why, ok := l.output.push(s, c); !ok {
				l.Close(s, why)
			}
			return
		case io.EOF:
			l.Close(s, PeerClosed)
		default:
			l.Close(s, TLSFailed)
			l.server.reportDrop(TLSFailed, c.remote().Addr(), err.Error())
		}
	}
}

// encrypt makes c a connection with TLS.
func (o *output) encrypt(s Slot, c *conn, t *tlspipe.Conn) {
	c.set(secure)
	o.tls[s] = &encrypted{Conn: t}
}

// sealed adds what a handshake has to say.
func (o *output) sealed(s Slot, b []byte) {
	t := o.tls[s]
	t.unsent = append(t.unsent, b...)
}

// push sends what TLS itself has to say, or has it count as backlog: a peer can
// ask for new keys without end. When not ok the connection is to be closed.
func (o *output) push(s Slot, c *conn) (why Reason, ok bool) {
	t := o.tls[s]
	if c.is(backlogged) {
		if t.Pending() > 0 && o.queue(s, c, nil, 0) > o.limit {
			return BacklogFull, false
		}
		return 0, true
	}
	if len(t.unsent) == 0 && t.Pending() == 0 {
		return 0, true
	}
	switch _, errno := o.write(s, c, nil); {
	case errno == unix.EAGAIN:
		o.queue(s, c, nil, 0)
	case errno != 0:
		return lost(errno), false
	}
	return 0, true
}

// farewell ends the TLS of c, if it has any; tell says so to the peer.
func (o *output) farewell(s Slot, c *conn, tell bool) {
	if !c.is(secure) {
		return
	}
	if t := o.tls[s]; tell && len(t.unsent) == 0 {
		_, _ = epoll.Send(c.fd, t.Close(o.scratch[:0])) // the peer need not be there any more
	}
	delete(o.tls, s)
}

// write is how much of p the socket of c takes, or its TLS. EAGAIN means that
// the rest, also of what TLS took, has to wait.
func (o *output) write(s Slot, c *conn, p []byte) (n int, errno syscall.Errno) {
	if !c.is(secure) {
		return epoll.Send(c.fd, p)
	}
	t := o.tls[s]
	if errno := t.flush(c.fd); errno != 0 {
		return 0, errno
	}
	for n < len(p) || t.Pending() > 0 {
		size := min(len(p)-n, recordSize)
		record := t.Seal(o.scratch[:0], p[n:n+size])
		o.scratch = room(record)
		n += size
		k, errno := epoll.Send(c.fd, record)
		if k < len(record) {
			t.unsent = bytes.Clone(record[k:])
			if errno == 0 {
				errno = unix.EAGAIN
			}
			return n, errno
		}
	}
	return n, 0
}

// flush sends the rest of the last record.
func (t *encrypted) flush(fd int32) syscall.Errno {
	if len(t.unsent) == 0 {
		return 0
	}
	n, errno := epoll.Send(fd, t.unsent)
	if n < len(t.unsent) {
		t.unsent = t.unsent[n:]
		if errno == 0 {
			errno = unix.EAGAIN
		}
		return errno
	}
	t.unsent = nil
	return 0
}
