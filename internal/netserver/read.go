//go:build linux

package netserver

import (
	"bytes"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/epoll"
)

// readSize is what one event reads at most; epoll reports the rest again, after
// the other clients had their turn.
const readSize = 8 << 10

func (l *Loop) readable(s Slot, c *conn) {
	n, errno := epoll.Receive(c.fd, l.input)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
	case errno != 0:
		l.Close(s, lost(errno))
	case n == 0:
		l.Close(s, PeerClosed)
	case c.is(secure):
		l.output.tls[s].Receive(l.input[:n])
		l.decrypt(s, c)
	default:
		l.lines(s, c, l.input[:n])
	}
}

// lines gives the handler each line that data completes, and keeps the rest.
func (l *Loop) lines(s Slot, c *conn, data []byte) {
	if c.is(fresh) && len(data) > 0 && !l.greeted(s, c, data) {
		return
	}
	limit := l.server.config.MaxLine
	if c.is(linked) {
		limit = max(limit, l.server.config.LinkLine)
	}
	for len(data) > 0 && c.live() {
		begun := 0
		if c.is(partial) {
			begun = len(l.partials.lines[s])
		}
		end := bytes.IndexByte(data, '\n')
		switch {
		case begun+end+1 > limit, end < 0 && begun+len(data) >= limit: // its LF would not fit
			l.handler.TooLong(s)
			l.Close(s, LineTooLong)
		case end < 0:
			l.partials.add(s, c, data)
			return
		case begun > 0:
			line := append(l.partials.take(s, c), data[:end]...)
			l.handler.Line(s, trimCR(line))
			l.partials.reuse(line)
		default:
			l.handler.Line(s, trimCR(data[:end]))
		}
		data = data[end+1:]
	}
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}
