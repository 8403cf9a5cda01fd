// Package bare is the bare loop, the floor that ratios are measured against: a
// server on the pool's own event loops that finds lines and answers each with
// fixed bytes as long as the pool's answer to it. New blocks are broadcasts of
// the pool's own bytes. It checks nothing, counts nothing and keeps nothing.
package bare

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
)

// BlockLine is the line that makes the server broadcast, from any connection.
const BlockLine = "block\n"

// broadcastStep is how many clients are written to before the loop looks at its
// sockets again, as in the pool.
const broadcastStep = 64

// Server is a bare loop.
type Server struct {
	server *netserver.Server
	blocks atomic.Uint64
}

// New listens on host:port; the caller ends the server with Run or Close.
func New(ctx context.Context, listen string, a *Answers) (*Server, error) {
	s := &Server{}
	var err error
	s.server, err = netserver.New(netserver.Config{}, func(l *netserver.Loop) netserver.Handler {
		return &handler{loop: l, server: s, answers: a}
	})
	if err != nil {
		return nil, err
	}
	if _, err := s.server.Listen(ctx, listen); err != nil {
		s.server.Close()
		return nil, err
	}
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.server.Listeners()[0].Addrs[0].String() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error { return s.server.Run(ctx) }

// Close ends a server that is not run.
func (s *Server) Close() { s.server.Close() }

// handler is the protocol of one loop, owned by it.
type handler struct {
	loop    *netserver.Loop
	server  *Server
	answers *Answers
	out     []byte
	top     netserver.Slot // one above the highest used
	cursor  netserver.Slot // of the broadcast
	block   uint64         // the broadcast
}

// Open implements netserver.Handler.
func (h *handler) Open(s netserver.Slot, _ netip.AddrPort, _ int) { h.top = max(h.top, s+1) }

// The lines of ckbench: {"id":123,"method":"mining.submit",…
const (
	idAt     = len(`{"id":`)
	methodAt = len(`,"method":"mining.`)
)

// Line implements netserver.Handler.
func (h *handler) Line(s netserver.Slot, line []byte) {
	end := idAt
	for end < len(line) && line[end] != ',' {
		end++
	}
	if end+methodAt+4 > len(line) || line[0] != '{' {
		h.other(s, line)
		return
	}
	a := &h.answers.Submit
	switch string(line[end+methodAt:][:4]) {
	case "subs":
		a = &h.answers.Subscribe
	case "auth":
		a = &h.answers.Authorize
		h.loop.Authorized(s)
	}
	h.out = a.append(h.out[:0], line[idAt:end])
	h.loop.Write(s, h.out)
}

// other is a line that is no request: a new block, or garbage, which ends the
// connection as it does in the pool.
func (h *handler) other(s netserver.Slot, line []byte) {
	if string(line)+"\n" == BlockLine {
		h.server.blocks.Add(1)
		for _, l := range h.server.server.Loops() {
			l.Wake()
		}
		return
	}
	h.loop.Close(s, netserver.BadInput)
}

// Step implements netserver.Handler: a part of a broadcast.
func (h *handler) Step() (more bool) {
	if n := h.server.blocks.Load(); n != h.block {
		h.block, h.cursor = n, 0
	}
	for n := 0; n < broadcastStep && h.cursor < h.top; h.cursor++ {
		if h.loop.Open(h.cursor) {
			h.loop.DropWork(h.cursor)
			h.loop.WriteWork(h.cursor, h.answers.Notify, 0)
			n++
		}
	}
	return h.cursor < h.top
}

// The rest of netserver.Handler.
func (h *handler) TooLong(netserver.Slot)                  {}
func (h *handler) Closed(netserver.Slot, netserver.Reason) {}
func (h *handler) Flush()                                  {}
func (h *handler) Tick(time.Time)                          {}
