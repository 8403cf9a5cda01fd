package pool

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/jobs"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/wire"
)

// Outgoing is a pool on its way to another process; it is a handover.Source.
// Owned by the goroutine that runs the handover.
type Outgoing struct {
	pool      *Pool
	sessions  session.Exporter
	jobs      jobs.Exporter
	frozen    *netserver.Frozen
	upstreams outgoingUpstreams
	changes   authority.Position // of accounts, that are in force here
}

// Outgoing prepares one attempt to move the pool to another process.
func (p *Pool) Outgoing() handover.Source {
	return &Outgoing{pool: p, sessions: session.Exporter{Group: p.group}, jobs: jobs.Exporter{Jobs: p.jobs}}
}

// Describe implements handover.Source.
func (o *Outgoing) Describe() (any, string) { return instanceOf(o.pool), o.pool.options.Version }

// Copy implements handover.Source.
func (o *Outgoing) Copy(_ context.Context, first bool, send handover.Send) error {
	if first {
		// Of a change that comes from now on the loops may not have heard when they stand still, or
		// not have come to all of their miners: the other process gets it once more.
		if o.pool.accounts != nil {
			o.changes = o.pool.accounts.Position()
		}
		if err := o.pool.ports.Export(func(record []byte, fds []int) error { return send(sectionListeners, record, fds) }); err != nil {
			return err
		}
		if o.pool.logins != nil {
			if ahead := o.pool.logins.Ahead(); ahead != nil {
				if err := send(sectionLoginsAhead, ahead, nil); err != nil {
					return err
				}
			}
		}
	}
	part := func(kind handover.Kind) func([]byte) error {
		return func(record []byte) error { return send(kind, record, nil) }
	}
	if err := o.pool.users.ExportUsers(first, part(sectionUsers)); err != nil {
		return err
	}
	if err := o.jobs.New(part(sectionJob)); err != nil {
		return err
	}
	return o.sessions.Seen(part(sectionSeen))
}

// Ready implements handover.Source.
func (o *Outgoing) Ready(ctx context.Context) error {
	if o.pool.journal == nil {
		return nil
	}
	return o.pool.journal.ready(ctx)
}

// Freeze implements handover.Source.
func (o *Outgoing) Freeze(ctx context.Context) (since time.Time, err error) {
	p := o.pool
	if err := p.users.HoldFiles(ctx); err != nil {
		return since, err
	}
	if err := p.history.Hold(ctx); err != nil {
		p.users.ReleaseFiles()
		return since, err
	}
	if err := p.blocks.Hold(ctx); err != nil {
		p.history.Release()
		p.users.ReleaseFiles()
		return since, err
	}
	since = time.Now()
	o.frozen, err = p.server.Freeze(ctx)
	if err != nil {
		p.blocks.Release()
		p.history.Release()
		p.users.ReleaseFiles()
		return since, err
	}
	p.users.HoldRemotes()
	p.blocks.Stand()
	if p.journal != nil {
		if err := p.journal.pass(); err != nil {
			o.thaw()
			return since, err
		}
	}
	o.suspendUpstreams(ctx)
	return since, nil
}

// Rest implements handover.Source.
func (o *Outgoing) Rest(send handover.Send) error {
	p, now := o.pool, time.Now()
	if err := o.Copy(context.Background(), false, send); err != nil {
		return err
	}
	inUse, err := o.jobs.InUse()
	if err != nil {
		return err
	}
	blocks, err := p.blocks.Export()
	if err != nil {
		return err
	}
	ending := o.ending()
	m := standstill{at: now, sessions: o.sessions.Clock(now), rejecting: p.admission.Rejecting(), changes: o.changes}
	if p.collector != nil {
		if err := send(sectionRemotes, p.users.ExportRemotes(), nil); err != nil {
			return err
		}
	}
	if p.logins != nil {
		if err := send(sectionLogins, p.logins.Record(), nil); err != nil {
			return err
		}
	}
	for _, s := range []struct {
		kind   handover.Kind
		record []byte
	}{
		{sectionStandstill, m.append(nil)},
		{sectionJobs, inUse},
		{sectionCounts, p.users.ExportCounts(nil, now)},
		{sectionRegistry, o.sessions.Registry(nil, now, ending)},
		{sectionLimits, p.server.ExportLimits(nil)},
		{sectionCandidates, p.blocks.Candidates()},
		{sectionBlocks, blocks},
	} {
		if err := send(s.kind, s.record, nil); err != nil {
			return err
		}
	}
	if err := o.sendUpstreams(send); err != nil {
		return err
	}
	return o.sendSessions(send)
}

// ending are the sessions of miners that have to connect again, by id.
func (o *Outgoing) ending() map[uint64]bool {
	var mu sync.Mutex
	ids := map[uint64]bool{}
	o.frozen.Each(func(loop *netserver.Loop) {
		add := func(slots iter.Seq[netserver.Slot]) {
			for slot := range slots {
				id := o.sessions.Ending(o.pool.miners.Handlers[loop.Index()], slot)
				mu.Lock()
				ids[id] = true
				mu.Unlock()
			}
		}
		add(netserver.Immovable(loop))
		add(o.pool.links.Handlers()[loop.Index()].Lost())
	})
	return ids
}

// sendSessions sends every connection with its session, from all loops at the
// same time.
func (o *Outgoing) sendSessions(send handover.Send) error {
	errs := make([]error, len(o.pool.miners.Handlers))
	o.frozen.Each(func(loop *netserver.Loop) {
		errs[loop.Index()] = errors.Join(o.sendLoop(loop, send), o.sendLinks(loop, send))
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *Outgoing) sendLoop(loop *netserver.Loop, send handover.Send) error {
	h, sessions := o.pool.miners.Handlers[loop.Index()], o.sessions
	sessions.Verdicts(h)
	c, fds := wire.Append(nil), make([]int, 0, handover.MaxFDs)
	head := batchRecord{uint16(loop.Index())}
	c.Versioned(sessionsVersion, head.fields)
	empty := len(c.Written())
	proxy, moves := o.pool.upstreams != nil, map[netserver.Slot]bool{}
	links := o.pool.links.Handlers()[loop.Index()]
	for slot := range netserver.Movable(loop) {
		if links.Linked(slot) {
			continue
		}
		fd, known := netserver.Export(loop, slot, c)
		if known {
			sessions.Session(h, slot, c)
			if proxy {
				moves[slot] = true
			}
		}
		if fds = append(fds, fd); len(fds) == handover.MaxFDs {
			if err := send(sectionSessions, c.Written(), fds); err != nil {
				return err
			}
			c.Reset(empty)
			fds = fds[:0]
		}
	}
	if len(fds) > 0 {
		if err := send(sectionSessions, c.Written(), fds); err != nil {
			return err
		}
	}
	if !proxy {
		return nil
	}
	if left := sessions.Left(h, moves); left != nil {
		return send(sectionLeft, left, nil)
	}
	return nil
}

// Thaw implements handover.Source.
func (o *Outgoing) Thaw() {
	if o.pool.journal != nil {
		o.pool.journal.again()
	}
	o.resumeUpstreams()
	o.thaw()
}

func (o *Outgoing) thaw() {
	o.frozen.Thaw()
	o.pool.users.ReleaseRemotes(false)
	o.pool.blocks.Go()
	o.pool.blocks.Release()
	o.pool.history.Release()
	o.pool.users.ReleaseFiles()
}

// Leave implements handover.Source. Run returns afterwards.
func (o *Outgoing) Leave() {
	p := o.pool
	close(p.moved) // before the files are let go
	p.blocks.Leave()
	p.users.ReleaseRemotes(true)
	p.users.LeaveFiles()
	o.leaveUpstreams()
	o.frozen.Each(func(loop *netserver.Loop) {
		links := p.links.Handlers()[loop.Index()]
		for slot := range netserver.Immovable(loop) {
			if !links.Linked(slot) { // whose other end makes another one as soon as it has ended
				o.sessions.SendAway(p.miners.Handlers[loop.Index()], slot)
			}
		}
	})
	o.frozen.Release()
}

// Forget implements handover.Source.
func (o *Outgoing) Forget() { o.sessions.StopSeen() }
