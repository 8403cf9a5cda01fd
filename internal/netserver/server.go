//go:build linux

package netserver

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/internal/tlspipe"
)

// Server owns listeners and loops.
type Server struct {
	// immutable
	config    Config
	loops     []*Loop
	limits    *limiter
	tickEvery time.Duration
	flushTime time.Duration // what pending output may take when the server stops
	computing tlspipe.Limit // TLS handshakes

	// for any goroutine
	handshakes sync.WaitGroup // goroutines of TLS handshakes; waited for by Run
	maxClients atomic.Int64
	held       atomic.Int64 // descriptors of connections, and places taken for them
	waiting    atomic.Int32 // loops that wait for what the system has no more of
	refusing   atomic.Int32 // a Reason and one, 0: nobody is refused
	leaving    atomic.Bool  // what comes is another process's
	spare      spare
	frozen     atomic.Bool // between Freeze and Thaw
	stopping   atomic.Bool

	mu sync.Mutex
	// guarded by mu
	listeners []*Listener
	inherited inheritance
	shared    bool // the loops have the listeners
	closed    bool
	reported  [eventKinds]reported
}

// New prepares the loops of a server; handler makes the protocol of each.
// The caller ends the server with Run or Close.
func New(c Config, handler func(l *Loop) Handler) (*Server, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	most, err := c.boundMaxClients()
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, limits: newLimiter(&c, time.Now()), tickEvery: time.Second, flushTime: flushAtEnd,
		computing: make(tlspipe.Limit, max(1, runtime.GOMAXPROCS(0)/2))}
	s.maxClients.Store(most)
	s.spare.keep() // nobody else has s
	for i := range c.Loops {
		l, err := newLoop(s, i)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.loops = append(s.loops, l)
	}
	for _, l := range s.loops {
		l.handler = handler(l)
	}
	return s, nil
}

// Run serves until ctx ends, then flushes what is pending for at most 300 ms,
// closes everything and returns nil once the loops have ended. An error means
// that a loop failed and ended the others. Run is called once.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	s.shareListeners()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(s.loops))
	var wg sync.WaitGroup
	wg.Go(func() {
		<-ctx.Done()
		s.stopping.Store(true)
		s.recheckGates()
	})
	for i, l := range s.loops {
		wg.Go(func() {
			if errs[i] = l.run(); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	s.handshakes.Wait()
	return errors.Join(errs...)
}

// shareListeners gives every loop every listening socket.
func (s *Server) shareListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shared = true
	sockets := socketsOf(s.listeners, 0)
	for _, l := range s.loops {
		l.gate.sockets = slices.Clone(sockets)
	}
}

// Close gives back the descriptors of a server that is not run.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	for _, k := range s.listeners {
		k.close()
	}
	s.inherited.close()
	s.spare.mu.Lock()
	for s.spare.lend() {
	}
	s.spare.mu.Unlock()
	for _, l := range s.loops {
		for _, a := range l.mailbox.arrivals() { // given when it had ended
			abort(a.fd)
			s.freed(l)
		}
		l.close()
	}
}

// Loops are the event loops, by Index. Any goroutine may call.
func (s *Server) Loops() []*Loop { return s.loops }

// Listeners are the listen addresses bound, by the index given by Listen. Any
// goroutine may call.
func (s *Server) Listeners() []*Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.listeners)
}

// Refuse closes every new connection as soon as it comes, and counts it under
// why. It ends LeaveToOthers. Any goroutine may call, also before Run.
func (s *Server) Refuse(why Reason) {
	s.refusing.Store(int32(why) + 1)
	if s.leaving.Swap(false) {
		s.recheckGates()
	}
}

// LeaveToOthers leaves new connections to another process that listens on the
// same sockets, or is about to. Any goroutine may call, also before Run.
func (s *Server) LeaveToOthers() {
	s.leaving.Store(true)
	s.recheckGates()
}

// Admit ends Refuse and LeaveToOthers.
func (s *Server) Admit() {
	s.refusing.Store(0)
	s.leaving.Store(false)
	s.recheckGates()
}

func (s *Server) refusal() (why Reason, refuse bool) {
	n := s.refusing.Load()
	return Reason(max(n, 1) - 1), n != 0
}

// Clients is the number of clients, from any goroutine.
func (s *Server) Clients() int {
	n := int64(0)
	for _, l := range s.loops {
		n += l.counters.clients.Load()
	}
	return int(max(n, 0))
}

// MaxClients is the limit in force. Any goroutine may call.
func (s *Server) MaxClients() int { return int(s.maxClients.Load()) }

// Stats: counters by reason etc., from any goroutine.
func (s *Server) Stats() Stats {
	var sum Stats
	for _, l := range s.loops {
		l.counters.addTo(&sum)
	}
	return sum
}

// recheckGates makes each loop look again whether to accept.
func (s *Server) recheckGates() {
	for _, l := range s.loops {
		l.mailbox.gate.Store(true)
		l.mailbox.signal()
	}
}

// lightest is the loop with the fewest sockets, l where that is the same.
func (s *Server) lightest(l *Loop) *Loop {
	best, fewest := l, l.counters.assigned.Load()
	for _, o := range s.loops {
		if n := o.counters.assigned.Load(); n < fewest {
			best, fewest = o, n
		}
	}
	return best
}

// hold takes a place for one connection, false when the server is full.
func (s *Server) hold() bool {
	for {
		n := s.held.Load()
		if n >= s.maxClients.Load() {
			return false
		}
		if s.held.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// unhold gives a place back for which there was no connection.
func (s *Server) unhold() { s.held.Add(-1) }

// freed gives back the place of a connection whose descriptor was closed, and
// tells the loops that wait for either. l had it.
func (s *Server) freed(l *Loop) {
	l.counters.assigned.Add(-1)
	s.held.Add(-1)
	if s.waiting.Load() > 0 {
		s.recheckGates()
	}
}
