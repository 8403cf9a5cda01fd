package pool

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"ckpool/internal/handover"
	"ckpool/internal/netserver"
	"ckpool/internal/session"
	"ckpool/work"
)

// Leaving is a pool on its way to another process; it is a handover.Source.
// Owned by the goroutine that runs the handover.
type Leaving struct {
	pool     *Pool
	state    moving
	sessions session.Exporter
	jobs     work.JobWriter
	lastJob  uint64          // id of the last one sent
	recent   []session.Found // the jobs in use when lastJob was sent
	frozen   *netserver.Frozen
}

// Leave prepares one attempt to move the pool to another process.
func Leave(p *Pool) *Leaving {
	return &Leaving{pool: p, state: moving{p.State}, sessions: session.Exporter{Group: p.group, Workers: moving{p.State}}}
}

// departure is closed when another process has taken over.
type departure chan struct{}

func (d departure) done() bool {
	select {
	case <-d:
		return true
	default:
		return false
	}
}

// Describe implements handover.Source.
func (l *Leaving) Describe() (any, string) { return instanceOf(l.pool), l.pool.options.Version }

// Copy implements handover.Source.
func (l *Leaving) Copy(_ context.Context, first bool, send handover.Send) error {
	if first {
		if err := l.sendListeners(send); err != nil {
			return err
		}
	}
	part := func(kind handover.Kind) func([]byte) error {
		return func(record []byte) error { return send(kind, record, nil) }
	}
	if err := l.state.exportUsers(first, part(sectionUsers)); err != nil {
		return err
	}
	if err := l.sendJobs(send); err != nil {
		return err
	}
	return l.sessions.Seen(part(sectionSeen))
}

func (l *Leaving) sendListeners(send handover.Send) error {
	sockets, err := l.pool.server.Sockets()
	if err != nil {
		return err
	}
	var fds []int
	for _, s := range sockets {
		defer s.File.Close()
		fds = append(fds, handover.FD(s.File))
	}
	list := listenersRecord{Version: listenersVersion}
	for _, k := range l.pool.server.Listeners() {
		list.Listeners = append(list.Listeners, listenerRecord{k.URL, k.Addrs})
	}
	record, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return send(sectionListeners, record, fds)
}

// sendJobs sends the jobs that are new since the last call.
func (l *Leaving) sendJobs(send handover.Send) error {
	if recent := l.pool.jobs.recent.Load(); recent != nil {
		l.recent = *recent
	}
	for _, f := range l.recent {
		if f.Job.ID <= l.lastJob {
			continue
		}
		record, err := appendJob(nil, &l.jobs, f.Tip, f.Job)
		if err != nil {
			return err
		}
		if err := send(sectionJob, record, nil); err != nil {
			return err
		}
		l.lastJob = f.Job.ID
	}
	return nil
}

// Freeze implements handover.Source.
func (l *Leaving) Freeze(ctx context.Context) (since time.Time, err error) {
	p := l.pool
	if err := lockWithin(ctx, &p.saving); err != nil {
		return since, err
	}
	if err := lockWithin(ctx, &p.blocks.saving); err != nil {
		p.saving.Unlock()
		return since, err
	}
	since = time.Now()
	l.frozen, err = p.server.Freeze(ctx)
	if err != nil {
		p.blocks.saving.Unlock()
		p.saving.Unlock()
		return since, err
	}
	p.submissions.Wait() // a block found in the last moment goes along
	p.moving.Lock()
	return since, nil
}

// Unsaved names the blocks that no node and no file has yet, and why; "" none.
func (p *Pool) Unsaved() string {
	var texts []string
	list := p.nodes.Unsaved()
	for _, b := range list[:min(len(list), 3)] {
		why := ""
		if b.Trouble != "" {
			why = " (" + b.Trouble + ")"
		}
		texts = append(texts, fmt.Sprintf("block %d %s is not saved%s: this process alone has it until a node takes it", b.Height, display(b.Hash), why))
	}
	if more := len(list) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("%d more blocks likewise", more))
	}
	return strings.Join(texts, "; ")
}

// lockWithin locks mu, waiting while files are being written.
func lockWithin(ctx context.Context, mu *sync.Mutex) error {
	for !mu.TryLock() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("files are being written all the time: %w", context.Cause(ctx))
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// Rest implements handover.Source.
func (l *Leaving) Rest(send handover.Send) error {
	p, now := l.pool, time.Now()
	if err := l.Copy(context.Background(), false, send); err != nil {
		return err
	}
	jobs, err := json.Marshal(describeJobs(l.recent))
	if err != nil {
		return err
	}
	blocks, err := json.Marshal(describeBlocks(p.blocks, p.nodes.Unsaved()))
	if err != nil {
		return err
	}
	ending := l.ending()
	m := moment{at: now, sessions: l.sessions.Clock(now), rejecting: p.rejecting.Load()}
	for _, s := range []struct {
		kind   handover.Kind
		record []byte
	}{
		{sectionMoment, m.append(nil)},
		{sectionJobs, jobs},
		{sectionCounts, l.state.exportCounts(nil, now)},
		{sectionRegistry, l.sessions.Registry(nil, now, ending)},
		{sectionLimits, p.server.ExportLimits(nil)},
		{sectionCandidates, p.candidates.append(nil)},
		{sectionBlocks, blocks},
	} {
		if err := send(s.kind, s.record, nil); err != nil {
			return err
		}
	}
	return l.sendSessions(send)
}

// ending are the sessions of miners that have to connect again, by id.
func (l *Leaving) ending() map[uint64]bool {
	var mu sync.Mutex
	ids := map[uint64]bool{}
	l.frozen.Each(func(loop *netserver.Loop) {
		for slot := range netserver.Immovable(loop) {
			id := l.sessions.Ending(l.pool.handlers[loop.Index()], slot)
			mu.Lock()
			ids[id] = true
			mu.Unlock()
		}
	})
	return ids
}

// sendSessions sends every connection with its session, from all loops at the
// same time.
func (l *Leaving) sendSessions(send handover.Send) error {
	errs := make([]error, len(l.pool.handlers))
	l.frozen.Each(func(loop *netserver.Loop) {
		errs[loop.Index()] = l.sendLoop(loop, send)
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *Leaving) sendLoop(loop *netserver.Loop, send handover.Send) error {
	h := l.pool.handlers[loop.Index()]
	var head [3]byte
	head[0] = sessionsVersion
	binary.BigEndian.PutUint16(head[1:], uint16(loop.Index()))
	b, fds := head[:], make([]int, 0, handover.MaxFDs)
	for slot := range netserver.Movable(loop) {
		var fd int
		var known bool
		if b, fd, known = netserver.Export(loop, slot, b); known {
			b = l.sessions.Session(h, slot, b)
		}
		if fds = append(fds, fd); len(fds) == handover.MaxFDs {
			if err := send(sectionSessions, b, fds); err != nil {
				return err
			}
			b, fds = append(b[:0], head[:]...), fds[:0]
		}
	}
	if len(fds) == 0 {
		return nil
	}
	return send(sectionSessions, b, fds)
}

// Thaw implements handover.Source.
func (l *Leaving) Thaw() {
	l.frozen.Thaw()
	l.pool.moving.Unlock()
	l.pool.blocks.saving.Unlock()
	l.pool.saving.Unlock()
}

// Leave implements handover.Source. Run returns afterwards.
func (l *Leaving) Leave() {
	p := l.pool
	p.nodes.Leave()
	close(p.left)
	p.State.left, p.blocks.left = true, true
	l.frozen.Each(func(loop *netserver.Loop) {
		for slot := range netserver.Immovable(loop) {
			l.sessions.SendAway(p.handlers[loop.Index()], slot)
		}
	})
	l.frozen.Release()
	p.moving.Unlock()
	p.blocks.saving.Unlock()
	p.saving.Unlock()
}

// Forget implements handover.Source.
func (l *Leaving) Forget() { l.sessions.StopSeen() }
