package pool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/jobs"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/wire"
)

// Incoming is a pool that takes over from another process, before Run; it is a
// handover.Incoming. Owned by the goroutine that runs the handover.
type Incoming struct {
	pool       *Pool
	from       Instance
	sessions   session.Importer
	open       func() error
	jobs       jobs.Importer
	upstreams  incomingUpstreams
	left       [][]byte // shares of miners that do not move
	standstill standstill
	have       map[handover.Kind]bool
	loops      []incomingLoop
	links      map[linkHead]int // loops here of links there
	importing  sync.WaitGroup
}

// incomingLoop takes the connections of one loop.
type incomingLoop struct {
	batches chan batch // nil until the first
	given   int        // connections
	err     error      // owned by the goroutine of importing
}

// batch is connections with their sessions.
type batch struct {
	kind handover.Kind
	link linkHead // of a link and its channels
	data []byte
	fds  []int
}

// Incoming prepares the pool to take over from one that described itself as from.
// open is called once the listening sockets of the other process are here and is
// to call Listen.
func (p *Pool) Incoming(from json.RawMessage, open func() error) (handover.Incoming, error) {
	a := &Incoming{pool: p, open: open, have: map[handover.Kind]bool{}, links: map[linkHead]int{}, loops: make([]incomingLoop, len(p.miners.Handlers))}
	if err := json.Unmarshal(from, &a.from); err != nil {
		return nil, fmt.Errorf("the running instance describes itself: %w", err)
	}
	if a.from.Loops < 1 {
		return nil, fmt.Errorf("the running instance has %d loops", a.from.Loops)
	}
	a.sessions = session.Importer{Group: p.group}
	if p.upstreams != nil {
		a.jobs.Judge = p.upstreams.Judge
		p.workComes = p.upstreams.Expect(a.from.Upstreams, a.from.LastSource)
	}
	if err := instanceOf(p).agrees(a.from); err != nil {
		return nil, err
	}
	a.sessions.MakeRoom(p.miners.Handlers, a.from.Miners)
	return a, nil
}

// Section implements handover.Sink.
func (a *Incoming) Section(kind handover.Kind, data []byte, fds []int) error {
	a.have[kind] = true
	switch kind {
	case sectionListeners:
		var err error
		a.sessions.Listeners, err = a.pool.ports.Import(data, fds, a.open)
		return err
	case sectionLink, sectionChannels:
		return a.takeLink(kind, data, fds)
	case sectionSessions:
		return a.takeSessions(data, fds)
	case sectionUpstreamLine, sectionLoginLine:
		return a.upstreams.takeLine(bytes.Clone(data), fds, kind == sectionLoginLine)
	}
	handover.CloseAll(fds)
	now := time.Now()
	switch kind {
	case sectionUsers:
		return a.pool.users.ImportUsers(data)
	case sectionJob:
		return a.jobs.Job(data)
	case sectionSeen:
		return a.sessions.Seen(data)
	case sectionStandstill:
		return a.takeStandstill(data, now)
	case sectionJobs:
		return a.jobs.InUse(data)
	case sectionCounts:
		return a.pool.users.ImportCounts(data, a.standstill.at)
	case sectionRegistry:
		return a.sessions.Registry(data)
	case sectionLimits:
		return a.pool.server.ImportLimits(data)
	case sectionCandidates:
		return a.pool.blocks.ImportCandidates(data)
	case sectionBlocks:
		return a.pool.blocks.Import(data)
	case sectionRemotes:
		return a.pool.users.ImportRemotes(data)
	case sectionLogins:
		if a.pool.logins == nil { // max_user_proxies is 0 here
			return nil
		}
		return a.pool.logins.Adopt(data)
	case sectionLoginsAhead:
		if a.pool.logins == nil {
			return nil
		}
		return a.pool.logins.Expect(data)
	case sectionLeft:
		a.left = append(a.left, bytes.Clone(data))
		return nil
	case sectionUpstreams:
		a.upstreams.record = bytes.Clone(data)
		return nil
	}
	return handover.Unknown(kind)
}

// Ready implements handover.Sink.
func (a *Incoming) Ready(ctx context.Context) error { return a.pool.Prepare(ctx) }

func (a *Incoming) takeStandstill(data []byte, now time.Time) (err error) {
	if a.standstill, err = readStandstill(data, now); err != nil {
		return err
	}
	a.pool.admission.Reject(a.standstill.rejecting)
	if a.pool.accounts != nil {
		a.pool.accounts.SetPosition(a.standstill.changes)
	}
	return a.sessions.SetClock(a.standstill.sessions, a.standstill.at)
}

// takeSessions passes connections to the loop they are for.
func (a *Incoming) takeSessions(data []byte, fds []int) error {
	var k batchRecord
	r := wire.Read(data)
	r.Versioned(sessionsVersion, k.fields)
	if err := r.Err(); err != nil {
		handover.CloseAll(fds)
		return fmt.Errorf("sessions: %w", err)
	}
	a.give(a.loopFor(int(k.loop)), batch{kind: sectionSessions, data: r.Rest(), fds: fds})
	return nil
}

// loopFor is the loop that what was on a loop of the other process goes to: the one with
// the same number, where there are as many, or the one with the fewest connections.
func (a *Incoming) loopFor(there int) int {
	if a.from.Loops == len(a.loops) && there < len(a.loops) {
		return there
	}
	i := 0
	for k := range a.loops {
		if a.loops[k].given < a.loops[i].given {
			i = k
		}
	}
	return i
}

// give passes a batch to a loop.
func (a *Incoming) give(i int, b batch) {
	l := &a.loops[i]
	if l.batches == nil {
		l.batches = make(chan batch, 8)
		batches := l.batches
		a.importing.Go(func() { a.importLoop(i, batches) })
	}
	l.given += len(b.fds)
	l.batches <- b
}

// importLoop makes connections and sessions of what comes for a loop.
func (a *Incoming) importLoop(i int, batches <-chan batch) {
	l, loop, h, sessions := &a.loops[i], a.pool.server.Loops()[i], a.pool.miners.Handlers[i], a.sessions
	links := map[linkHead]netserver.Slot{}
	for b := range batches {
		r := wire.Read(b.data)
		switch b.kind {
		case sectionLink:
			l.err = errors.Join(l.err, a.importLink(i, &b, r, links))
			b.fds = nil
		case sectionChannels:
			l.err = errors.Join(l.err, a.importChannels(i, &b, r, links))
		}
		for k, fd := range b.fds {
			slot, known, err := netserver.Import(loop, fd, r, sessions.Listener)
			if err == nil && known {
				err = sessions.Session(h, slot, r)
			}
			if err != nil {
				l.err = errors.Join(l.err, err)
				handover.CloseAll(b.fds[k+1:])
				break
			}
		}
		if err := r.Done(); err != nil && l.err == nil {
			l.err = err
		}
	}
}

// finish waits until all connections are imported.
func (a *Incoming) finish() error {
	for i := range a.loops {
		if a.loops[i].batches != nil {
			close(a.loops[i].batches)
			a.loops[i].batches = nil
		}
	}
	a.importing.Wait()
	for i := range a.loops {
		if err := a.loops[i].err; err != nil {
			return err
		}
	}
	return nil
}

// Complete implements handover.Sink.
func (a *Incoming) Complete() error {
	for kind := sectionStandstill; kind <= sectionBlocks; kind++ {
		if !a.have[kind] && kind != sectionSessions {
			return fmt.Errorf("%v is missing", kind)
		}
	}
	err := a.finish()
	for i := 0; err == nil && i < len(a.left); i++ {
		err = a.sessions.Left(a.pool.miners.Handlers[i%len(a.loops)], a.left[i])
	}
	if err == nil {
		err = a.adoptUpstreams()
	}
	if err == nil {
		err = a.jobs.Restore(a.pool.generator)
	}
	if err == nil && a.pool.upstreams != nil {
		a.pool.upstreams.Renew(a.pool.jobs.Work)
	}
	if err == nil && a.pool.journal != nil {
		err = a.pool.journal.excuse(a.pool.journal.begin())
	}
	if err != nil {
		return err
	}
	for _, h := range a.pool.miners.Handlers {
		h.Resume()
	}
	return nil
}

// Miners implements handover.Incoming.
func (a *Incoming) Miners() int { return a.pool.Miners() }

// Abandon implements handover.Incoming.
func (a *Incoming) Abandon() {
	_ = a.finish() // there is a first error already
	if a.pool.journal != nil {
		_ = a.pool.journal.pass() // the other process goes on
	}
	a.abandonUpstreams()
	netserver.Disown(a.pool.server)
}
