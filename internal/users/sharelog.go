package users

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/sharelog"
	"github.com/ckpool/ckpool/work"
)

const (
	// maxQueued bounds what waits per loop for a disk that does not keep up.
	maxQueued = 16384
	// writeEvery is how long the writer gathers shares.
	writeEvery = 200 * time.Millisecond
)

// shareLog carries shares from the loops to the goroutine that writes them:
// loops copy, the writer prints. It is a session.Sink.
type shareLog struct {
	// immutable
	users *Users
	loops []shareQueue
	wake  chan struct{}

	lost   atomic.Uint64 // shares that were not logged
	reopen atomic.Bool   // the files were renamed
}

// shareQueue is one loop's.
type shareQueue struct {
	shares []loggedShare // owned by the loop

	mu    sync.Mutex
	ready []loggedShare // guarded by mu
	_     [64]byte      // keeps loops off each other's cache lines
}

// loggedShare is a copy of a share without its jobs, which are large.
type loggedShare struct {
	session.Share
	worker *worker
	height int64
	job    uint64 // id
}

func newShareLog(s *Users) *shareLog {
	return &shareLog{users: s, loops: make([]shareQueue, s.cfg.Loops), wake: make(chan struct{}, 1)}
}

// ReopenShareLogs opens the share logs by name again, after they were renamed.
func (s *Users) ReopenShareLogs() {
	if s.shareLog != nil {
		s.shareLog.reopen.Store(true)
		s.shareLog.signal()
	}
}

func (l *shareLog) queue(loop int) *shareQueue { return &l.loops[uint(loop)%uint(len(l.loops))] }

// Share implements session.Sink. A share of an unknown job is logged with the
// present one.
func (l *shareLog) Share(sh *session.Share) {
	w := l.users.directory.table.get(sh.Worker)
	job := sh.Job
	if job == nil {
		job = sh.Current
	}
	if _, isShare := sh.Reason.Logged(); !isShare || w == nil || job == nil {
		return
	}
	q := l.queue(sh.Loop)
	k := loggedShare{Share: *sh, worker: w, job: job.ID}
	k.Job, k.Current = nil, nil
	if job.Template != nil {
		k.height = job.Template.Height
	}
	n := min(1+int(sh.Also), max(maxQueued-len(q.shares), 1))
	for range n {
		q.shares = append(q.shares, k)
	}
	l.lost.Add(uint64(1 + int(sh.Also) - n))
}

// Flush implements session.Sink: it hands the loop's shares to the writer. A loop
// never waits for a disk: shares that the queue has no room for are lost, and
// counted.
func (l *shareLog) Flush(loop int) {
	q := l.queue(loop)
	if len(q.shares) == 0 {
		return
	}
	q.mu.Lock()
	if len(q.ready) == 0 {
		q.ready, q.shares = q.shares, q.ready
	} else {
		room := min(len(q.shares), maxQueued-len(q.ready))
		q.ready = append(q.ready, q.shares[:room]...)
		l.lost.Add(uint64(len(q.shares) - room))
	}
	q.mu.Unlock()
	q.shares = q.shares[:0]
	l.signal()
}

func (l *shareLog) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// WriteShares writes the share logs until ctx ends, and then what is left:
// end it after the loops. It returns at once without share logs.
func (s *Users) WriteShares(ctx context.Context) {
	if s.shareLog != nil {
		s.shareLog.run(ctx)
	}
}

func (l *shareLog) run(ctx context.Context) {
	w := sharelog.OpenWriter(l.users.cfg.LogDir)
	p := printer{w: w, log: l}
	for ended := false; !ended; {
		select {
		case <-l.wake:
		case <-ctx.Done():
		}
		select {
		case <-time.After(writeEvery):
		case <-ctx.Done():
		}
		ended = ctx.Err() != nil
		reopen := l.reopen.Swap(false)
		p.drain()
		if reopen {
			p.report(w.Reopen())
		} else {
			p.report(w.Flush())
		}
	}
	if err := w.Close(); err != nil {
		l.users.cfg.Events.Say(event.Error, fmt.Sprintf("Failed to write share log: %v", err))
	}
}

// printer turns shares into lines; owned by the writer goroutine.
type printer struct {
	w      *sharelog.Writer
	log    *shareLog
	spare  []loggedShare
	record sharelog.Record

	reported time.Time
	lost     uint64 // already reported
}

func (p *printer) drain() {
	for i := range p.log.loops {
		q := &p.log.loops[i]
		q.mu.Lock()
		p.spare, q.ready = q.ready, p.spare[:0]
		q.mu.Unlock()
		for j := range p.spare {
			p.print(&p.spare[j])
		}
		clear(p.spare) // let go of what it refers to
	}
}

func (p *printer) print(k *loggedShare) {
	listener, remote := "", ""
	if urls := p.log.users.settings.Load().ListenerURLs; k.Listener >= 0 && k.Listener < len(urls) {
		listener = urls[k.Listener]
	}
	if k.Remote.IsValid() {
		remote = k.Remote.Addr().Unmap().String()
	}
	errn, _ := k.Reason.Logged()
	p.record = sharelog.Record{
		WorkID:      k.job,
		ClientID:    int64(k.Client),
		Extranonce1: hex.EncodeToString(k.Extranonce1.Bytes()),
		Extranonce2: hex.EncodeToString(k.Extranonce2.Bytes()),
		Nonce:       fmt.Sprintf("%08x", k.Nonce),
		NTime:       fmt.Sprintf("%08x", k.NTime),
		Difficulty:  k.Difficulty,
		Achieved:    -1,
		Result:      k.Reason == session.Accepted,
		Errn:        errn,
		Created:     k.Time,
		CreateBy:    "code",
		CreateCode:  "parse_submit",
		CreateInet:  listener,
		WorkerName:  k.worker.name,
		UserName:    k.worker.user.Name,
		Address:     remote,
		Agent:       k.UserAgent,
	}
	if k.Hashed {
		p.record.Achieved, p.record.Hash = k.Computed.Difficulty, work.FormatHash(k.Computed.Hash)
	}
	if told := k.Reason.Reject(); told != nil {
		p.record.ErrorCode, p.record.ErrorText = int(told.Code), told.Text
	}
	// A line that cannot be written yet is kept; the next Flush reports it.
	if errors.Is(p.w.Append(k.height, &p.record), sharelog.ErrFull) {
		p.log.lost.Add(1)
	}
}

// report tells of trouble at most once a minute.
func (p *printer) report(err error) {
	lost := p.log.lost.Load()
	if err == nil && lost == p.lost || time.Since(p.reported) < time.Minute {
		return
	}
	p.reported = time.Now()
	if err != nil {
		p.log.users.cfg.Events.Say(event.Error, fmt.Sprintf("Failed to write share log: %v", err))
	}
	if lost != p.lost {
		p.log.users.cfg.Events.Say(event.Error, fmt.Sprintf("Share log: %d shares were not logged, the disk did not keep up", lost-p.lost))
		p.lost = lost
	}
}
