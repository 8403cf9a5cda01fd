//go:build linux

package netserver

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/epoll"
)

// Loop is one event loop. Its methods are for its own goroutine unless they say
// otherwise.
type Loop struct {
	// immutable
	server  *Server
	index   int
	handler Handler

	// for any goroutine
	mailbox  mailbox
	counters counters

	// owned by the loop
	now       time.Time
	lastTick  time.Time
	poller    *epoll.Poller
	gate      gate
	entrance  entrance
	slab      slab
	input     []byte // one read
	plain     []byte // one decrypted record; nil before the first
	partials  partials
	output    output
	closing   []Slot             // Close was called
	lingering map[Slot]time.Time // closed, until when the peer may take to read
	more      bool               // Step wants to go on
	round     round
	moved     []Slot // exported since the loop was frozen
	left      bool   // another process serves: what comes from those who are still here is not heard
	took      took
}

// wakeIndex is the epoll data of the mailbox, generation 0 like listeners.
const wakeIndex = -1

func newLoop(s *Server, index int) (*Loop, error) {
	p, err := epoll.New()
	if err != nil {
		return nil, err
	}
	l := &Loop{
		server:    s,
		index:     index,
		now:       time.Now(),
		poller:    p,
		gate:      gate{server: s, poller: p},
		input:     make([]byte, readSize),
		partials:  partials{lines: make(map[Slot][]byte)},
		lingering: make(map[Slot]time.Time),
	}
	l.gate.counters = &l.counters
	l.entrance = entrance{loop: l, guests: make(map[Slot]*guest)}
	l.output = output{poller: p, counters: &l.counters, limit: s.config.Backlog, linkMost: s.config.LinkBacklog,
		backlogs: make(map[Slot]*backlog), tls: make(map[Slot]*encrypted)}
	if err := l.mailbox.init(); err != nil {
		p.Close()
		return nil, err
	}
	if err := p.Control(unix.EPOLL_CTL_ADD, l.mailbox.fd, unix.EPOLLIN, wakeIndex, 0); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *Loop) close() {
	l.mailbox.close()
	l.poller.Close()
}

// run serves until the server stops.
func (l *Loop) run() error {
	l.now = time.Now()
	l.lastTick = l.now
	l.gate.update()
	err := l.poller.Until(l.now.Add(l.server.tickEvery))
	for err == nil && !l.server.stopping.Load() {
		err = l.iterate(true)
	}
	if err != nil {
		_ = l.shutdown(0) // err came first
		return err
	}
	return l.shutdown(l.server.flushTime)
}

// iterate handles the events of one wait; with park it may wait for them.
func (l *Loop) iterate(park bool) error {
	if err := l.poller.Wait(park && !l.more && !l.round.underway); err != nil {
		return err
	}
	l.now = time.Now()
	// New work goes out before anything else is done.
	if l.more || l.mailbox.step.Load() {
		l.mailbox.step.Store(false)
		l.more = l.handler.Step()
		l.flush()
	}
	events := l.poller.Events
	for i := range events {
		l.event(&events[i])
		if len(l.output.arena) > flushAt {
			l.flush()
		}
	}
	var err error
	switch {
	case !l.now.Before(l.poller.End()):
		l.tick()
		err = l.poller.Until(l.now.Add(l.server.tickEvery))
	case l.round.underway:
		l.stepRound()
	}
	l.flush()
	return err
}

func (l *Loop) event(e *unix.EpollEvent) {
	if e.Pad == 0 {
		if e.Fd == wakeIndex {
			l.readMailbox()
		} else {
			l.entrance.accept(l.gate.sockets[e.Fd])
		}
		return
	}
	s := Slot(e.Fd)
	c := l.slab.at(s)
	if c.generation != uint32(e.Pad) {
		return // of a connection that ended in this iteration
	}
	if l.left {
		return // what came with the events of the iteration that stood still
	}
	if c.is(lingering) && ended(c.fd, l.input) {
		l.release(s, closeSocket)
		return
	}
	if c.waits() {
		l.entrance.event(s, c, e.Events)
		return
	}
	if e.Events&unix.EPOLLOUT != 0 && c.live() {
		if why, ok := l.output.drain(s, c); !ok {
			l.Close(s, why)
		}
	}
	// A peer that closed its side is read to the end, then dropped.
	if e.Events&(unix.EPOLLIN|hangups) != 0 && c.live() {
		l.readable(s, c)
	}
}

func (l *Loop) readMailbox() {
	l.mailbox.seen()
	if l.mailbox.step.Swap(false) {
		l.more = true
	}
	if l.mailbox.gate.Swap(false) {
		l.gate.again()
	}
	for _, a := range l.mailbox.arrivals() {
		l.entrance.admit(a)
	}
	if l.mailbox.run() {
		l.more = true // what ran may have left work to Step
	}
}

// flush writes the output of the iteration and ends the closed connections,
// until neither the handler nor errors leave more to do.
func (l *Loop) flush() {
	for {
		l.handler.Flush()
		for _, s := range l.output.dirty {
			if c := l.slab.at(s); c.is(open) {
				if why, ok := l.output.send(s, c); !ok {
					l.Close(s, why)
				}
			}
		}
		l.output.reset()
		n := len(l.closing)
		for _, s := range l.closing[:n] { // Closed may write and close elsewhere
			l.finish(s)
		}
		l.closing = l.closing[:copy(l.closing, l.closing[n:])]
		if len(l.output.dirty) == 0 && n == 0 {
			break // else what Closed has left is flushed too
		}
	}
	l.took.count(l.now, &l.counters)
}

// tick runs about once a second.
func (l *Loop) tick() {
	// If more time passed the process was stopped, or the machine suspended:
	// that is no fault of the clients.
	elapsed := min(l.now.Sub(l.lastTick), 2*l.server.tickEvery)
	l.lastTick = l.now
	if l.gate.waiting {
		l.server.spare.mu.Lock()
		l.server.spare.keep()
		l.server.spare.mu.Unlock()
		l.gate.again()
	}
	l.round.later += elapsed
	if !l.round.underway {
		l.round = round{underway: true, elapsed: l.round.later}
	}
	l.stepRound()
	l.handler.Tick(l.now)
	l.more = true // it may have left work to Step
}

// round is a walk over all connections for their time limits, which a tick
// begins and the iterations after it go on with.
type round struct {
	underway bool
	next     Slot
	elapsed  time.Duration // from the round before to this one
	later    time.Duration // since this one began
}

// A step of a round looks at roundPart connections at most, and ends roundEnds.
const (
	roundPart = 1024
	roundEnds = 64
)

func (l *Loop) stepRound() {
	r, ended := &l.round, 0
	for end := min(r.next+roundPart, l.slab.used); r.next < end && ended < roundEnds; r.next++ {
		if c := l.slab.at(r.next); c.is(backlogged|entering|lingering) && l.overdue(r.next, c, r.elapsed) {
			ended++
		}
	}
	r.underway = r.next < l.slab.used
}

// overdue ends a connection that has waited too long for its peer.
func (l *Loop) overdue(s Slot, c *conn, elapsed time.Duration) bool {
	if c.is(lingering) {
		if l.now.Before(l.lingering[s]) {
			return false
		}
		l.release(s, closeSocket)
		return true
	}
	if c.waits() && l.entrance.overdue(s, c, elapsed) {
		return true
	}
	if !c.is(backlogged) || c.is(closing) {
		return false
	}
	b := l.output.backlogs[s]
	if b.stalled += elapsed; b.stalled < l.server.config.WriteTimeout {
		return false
	}
	l.end(s, c, WriteStalled)
	return true
}

// Post runs fn on the loop's goroutine (any goroutine may call). Functions run
// in the order they were posted; those posted after the loop ended, or after another
// process has taken over, do not run.
func (l *Loop) Post(fn func()) { l.mailbox.post(fn) }

// Wake makes the loop call Step soon (any goroutine may call; cheap, coalesced).
func (l *Loop) Wake() {
	l.mailbox.step.Store(true)
	l.mailbox.signal()
}

// Index is the loop's place in Server.Loops. Any goroutine may call.
func (l *Loop) Index() int { return l.index }

// Now is the time of the present iteration.
func (l *Loop) Now() time.Time { return l.now }

// Secure tells whether an open slot's client came over TLS.
func (l *Loop) Secure(s Slot) bool {
	c := l.slab.live(s)
	return c != nil && c.is(secure)
}

// Open tells whether s is a client that was not closed.
func (l *Loop) Open(s Slot) bool { return l.slab.live(s) != nil }

// Remote is the address of an open slot's peer, as given to Handler.Open. Still
// known in Handler.Closed.
func (l *Loop) Remote(s Slot) netip.AddrPort {
	if c := l.slab.find(s); c != nil && c.is(open) {
		return c.remote()
	}
	return netip.AddrPort{}
}

// Handle names the connection in s for other goroutines, which hand it back in
// a posted function; unlike s it never names a later connection. 0 when s is
// not open; still known in Handler.Closed.
func (l *Loop) Handle(s Slot) uint64 {
	if c := l.slab.find(s); c != nil && c.is(open) {
		return c.handle(s)
	}
	return 0
}

// Slot is the slot of a handle, false when that connection was closed.
func (l *Loop) Slot(handle uint64) (Slot, bool) {
	s := Slot(handle)
	return s, l.Open(s) && l.Handle(s) == handle
}

// Write queues b (copied) for the slot; all writes of one iteration to one slot
// go out together at its end. Nothing happens on a slot that was closed.
func (l *Loop) Write(s Slot, b []byte) {
	if c := l.slab.live(s); c != nil && len(b) > 0 && !c.is(channel) {
		l.output.add(s, c, b, false, 0)
	}
}

// WriteFirst is Write of whole lines that overtake what waits in the slot's backlog, but
// for the rest of a line that has begun.
func (l *Loop) WriteFirst(s Slot, b []byte) {
	c := l.slab.live(s)
	if c == nil || !c.is(backlogged) {
		l.Write(s, b)
		return
	}
	l.output.backlogs[s].insert(b)
	l.counters.backlogBytes.Add(int64(len(b)))
}

// WriteWork is Write for replaceable output. b is one unit, such as a
// set_difficulty and the notify it belongs to: DropWork removes all of it or,
// once its first byte was sent, nothing.
func (l *Loop) WriteWork(s Slot, b []byte, tag uint8) {
	if c := l.slab.live(s); c != nil && len(b) > 0 && !c.is(channel) {
		l.output.add(s, c, b, true, tag)
	}
}

// DropWork removes the replaceable output that still waits, not begun, in the
// slot's backlog and returns the OR of its tags, 0 when there was none. To be
// called before newer work is written. What was written in the present
// iteration stays.
func (l *Loop) DropWork(s Slot) (tag uint8) {
	if c := l.slab.live(s); c != nil {
		return l.output.dropWork(s, c)
	}
	return 0
}

// Authorized tells that the slot no longer counts as unauthorised.
func (l *Loop) Authorized(s Slot) {
	if c := l.slab.live(s); c != nil && c.is(unauthorized) {
		c.clear(unauthorized)
		l.server.limits.forget(c.remote().Addr(), unauthorized)
	}
}
