//go:build linux

package netserver

import (
	"bytes"
	"slices"
	"time"
)

// backlog is the output of a client that does not read as fast as it is
// written to.
type backlog struct {
	buf     []byte // buf[sent:] is unsent
	sent    int
	work    []unit        // replaceable, none begun, in order
	sealed  int           // bytes of TLS itself and of its records that go out before buf
	stalled time.Duration // since the last progress
}

// unit is replaceable output in a backlog's buf.
type unit struct {
	start, end int
	tag        uint8
}

func (b *backlog) unsent() int { return b.sealed + len(b.buf) - b.sent }

// add appends what is left of c's output p after its first n bytes.
func (b *backlog) add(o *output, c *conn, p []byte, n int) {
	if b.sent > len(b.buf)/2 {
		b.compact()
	}
	at := len(b.buf) - n // where p[0] would be
	b.buf = append(b.buf, p[n:]...)
	for i := c.first; i != 0; i = o.segments[i-1].next {
		seg := &o.segments[i-1]
		end := at + seg.end - seg.start
		if seg.work && at >= len(b.buf)-len(p)+n {
			b.work = append(b.work, unit{at, end, seg.tag})
		}
		at = end
	}
}

// insert puts whole lines behind the first that is unsent, or before the first unit.
func (b *backlog) insert(lines []byte) {
	at := len(b.buf)
	if i := bytes.IndexByte(b.buf[b.sent:], '\n'); i >= 0 {
		at = b.sent + i + 1
	}
	if len(b.work) > 0 {
		at = min(at, b.work[0].start)
	}
	b.buf = slices.Insert(b.buf, at, lines...)
	for i := range b.work {
		b.work[i].start += len(lines)
		b.work[i].end += len(lines)
	}
}

func (b *backlog) compact() {
	b.buf = b.buf[:copy(b.buf, b.buf[b.sent:])]
	for i := range b.work {
		b.work[i].start -= b.sent
		b.work[i].end -= b.sent
	}
	b.sent = 0
}

// taken notes that n bytes were sent or sealed.
func (b *backlog) taken(n int) {
	b.sent += n
	begun := 0
	for begun < len(b.work) && b.work[begun].start < b.sent {
		begun++
	}
	b.work = b.work[:copy(b.work, b.work[begun:])]
}

// dropWork removes the units not begun and returns their tags, number and bytes.
func (b *backlog) dropWork() (tags uint8, units, bytes int) {
	if len(b.work) == 0 {
		return 0, 0, 0
	}
	kept := b.work[0].start
	for i, u := range b.work {
		tags |= u.tag
		bytes += u.end - u.start
		next := len(b.buf)
		if i+1 < len(b.work) {
			next = b.work[i+1].start
		}
		kept += copy(b.buf[kept:], b.buf[u.end:next])
	}
	b.buf = b.buf[:kept]
	units = len(b.work)
	b.work = b.work[:0]
	return tags, units, bytes
}
