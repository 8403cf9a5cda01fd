package control

import (
	"context"
	"errors"
	"net"
	"time"
)

// Hold has commands wait, while Serve runs, until Release or Leave: connections that come are
// left in their sockets, for this process or for another one that has them too. It returns when
// what was asked before is answered, but waits for that no longer than half a second, and
// not for commands that took their connection over. Any goroutine may call, one at a time.
func (s *Server) Hold(ctx context.Context) {
	for _, k := range s.sockets {
		_ = k.serving.SetDeadline(time.Unix(1, 0)) // it gives up accepting
		k.accepting.Lock()
		k.held = true
		k.accepting.Unlock()
	}
	settled := make(chan struct{})
	s.mu.Lock()
	if s.settled = settled; len(s.asking) == 0 {
		s.settle()
	}
	s.mu.Unlock()
	late := time.NewTimer(s.holdTime)
	defer late.Stop()
	select {
	case <-settled:
	case <-late.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled, s.held = nil, make(chan struct{})
}

// Release ends Hold.
func (s *Server) Release() {
	for _, k := range s.sockets {
		k.accepting.Lock()
		k.held = false
		_ = k.serving.SetDeadline(time.Time{})
		k.accepting.Unlock()
	}
	s.begin()
}

// begin lets commands begin that were held.
func (s *Server) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		close(s.held)
		s.held = nil
	}
}

// settle tells Hold that nobody is asking. The caller holds mu.
func (s *Server) settle() {
	if s.settled != nil {
		close(s.settled)
		s.settled = nil
	}
}

// answered notes that the command of a connection is answered, or has taken it over.
func (s *Server) answered(c *net.UnixConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.asking, c); len(s.asking) == 0 {
		s.settle()
	}
}

// errMoved is for a command that could not begin before another process had the sockets.
var errMoved = errors.New("another process has just taken over: ask again")

// mayBegin waits while commands are held; false: another process has the sockets.
func (s *Server) mayBegin(ctx context.Context) bool {
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
		}
	}
	return !s.moved.Load()
}

// errHeld is for connections that are left in their socket.
var errHeld = errors.New("commands are held")

// next accepts a connection.
func (s *Server) next(k *socket) (*net.UnixConn, error) {
	k.accepting.Lock()
	defer k.accepting.Unlock()
	if k.held {
		return nil, errHeld
	}
	c, err := k.serving.AcceptUnix()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c], s.asking[c] = struct{}{}, struct{}{}
	return c, nil
}
