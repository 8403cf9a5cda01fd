package relay

import (
	"bytes"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/poolproto"
)

// Remotes is who hears what trusted remotes say. Its methods are called on loops, and
// return at once.
type Remotes interface {
	// Joined tells of a remote that has linked, Left of its end.
	Joined(r *RemoteLink)
	Left(r *RemoteLink)
	// Said tells of a line of it, without its LF, which is the callee's.
	Said(r *RemoteLink, line []byte)
}

// Remotes has what trusted remotes say told to r. It is for before serving.
func (l *Links) Remotes(r Remotes) { l.remotes = r }

// RemoteLink is a link of a trusted remote. Its methods may be called from any goroutine.
type RemoteLink struct{ link *link }

// Short tells that it speaks our own dialect.
func (r *RemoteLink) Short() bool { return r.link.dialect > 0 }

func (r *RemoteLink) String() string { return r.link.String() }

// Send writes whole lines.
func (r *RemoteLink) Send(lines []byte) {
	r.post(func(l *link) { l.handler.loop.Write(l.slot, lines) })
}

// Close ends the link.
func (r *RemoteLink) Close() {
	r.post(func(l *link) { l.handler.loop.Close(l.slot, netserver.LinkLost) })
}

// Request wants transactions, or the present work, for a remote that is ckpool in C, in a
// message of that.
func (r *RemoteLink) Request(message []byte) { r.post(func(l *link) { l.request(message) }) }

// OnLoop has something done on the loop of the link, also when that has ended.
func (r *RemoteLink) OnLoop(do func(loop int)) {
	loop := r.link.handler.loop
	loop.Post(func() { do(loop.Index()) })
}

func (r *RemoteLink) post(do func(l *link)) {
	l := r.link
	l.handler.loop.Post(func() {
		if !l.ended {
			do(l)
		}
	})
}

// reported handles a line of a trusted remote.
func (l *link) reported(line []byte) {
	if l.dialect > 0 && len(line) == 1 {
		switch poolproto.Kind(line[0]) {
		case poolproto.Ping:
			l.frame(&poolproto.Frame{Kind: poolproto.Pong})
			return
		case poolproto.Pong:
			return
		}
	}
	if len(bytes.TrimSpace(line)) > 0 {
		l.handler.shared.remotes.Said(l.remoteLink, bytes.Clone(line))
	}
}
