package users

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ckpool/event"
	"ckpool/internal/session"
	"ckpool/sharelog"
)

const (
	// maxQueued bounds what waits per loop for a disk that does not keep up.
	maxQueued = 16384
	// writeEvery is how long the writer gathers shares.
	writeEvery = 200 * time.Millisecond
)

// shareLog carries shares from the loops to the goroutine that writes them:
// loops copy, the writer prints.
type shareLog struct {
	// immutable
	dir      string
	settings *atomic.Pointer[Settings]
	events   event.Func
	loops    []shareQueue
	wake     chan struct{}

	lost   atomic.Uint64 // shares that were not logged
	reopen atomic.Bool   // the files were renamed
}

// shareQueue is one loop's.
type shareQueue struct {
	events []shareEvent // owned by the loop

	mu    sync.Mutex
	ready []shareEvent // guarded by mu
	_     [64]byte     // keeps loops off each other's cache lines
}

// shareEvent is a copy of a share.
type shareEvent struct {
	time           time.Time
	client         uint64
	worker         *worker
	height         int64
	workID         uint64
	difficulty     float64
	achieved       float64
	hash           [32]byte
	hashed         bool
	reason         session.Reason
	remote         netip.Addr
	listener       int
	userAgent      string
	extranonce1    [32]byte
	extranonce1Len int
	extranonce2    [8]byte
	extranonce2Len int
	ntime, nonce   uint32
}

func newShareLog(cfg Config, settings *atomic.Pointer[Settings]) *shareLog {
	return &shareLog{
		dir:      cfg.LogDir,
		settings: settings,
		events:   cfg.Events,
		loops:    make([]shareQueue, cfg.Loops),
		wake:     make(chan struct{}, 1),
	}
}

// ReopenShareLogs opens the share logs by name again, after they were renamed.
func (s *Users) ReopenShareLogs() {
	if s.log != nil {
		s.log.reopen.Store(true)
		s.log.signal()
	}
}

func (l *shareLog) queue(loop int) *shareQueue { return &l.loops[uint(loop)%uint(len(l.loops))] }

// add copies a share. A share of an unknown job is logged with the present one.
func (l *shareLog) add(sh *session.Share, w *worker) {
	job := sh.Job
	if job == nil {
		job = sh.Current
	}
	if job == nil || sh.Submit == nil {
		return
	}
	q := l.queue(sh.Loop)
	q.events = append(q.events, shareEvent{
		time:           sh.Time,
		client:         sh.Client,
		worker:         w,
		workID:         job.ID,
		difficulty:     sh.Difficulty,
		achieved:       -1,
		reason:         sh.Reason,
		remote:         sh.Remote.Addr(),
		listener:       sh.Listener,
		userAgent:      sh.UserAgent,
		extranonce2:    sh.Submit.Extranonce2,
		extranonce2Len: sh.Submit.Extranonce2Len,
		ntime:          sh.Submit.NTime,
		nonce:          sh.Submit.Nonce,
	})
	e := &q.events[len(q.events)-1]
	if job.Template != nil {
		e.height = job.Template.Height
	}
	e.extranonce1Len = copy(e.extranonce1[:], sh.Extranonce1)
	if c := sh.Computed; c != nil {
		e.hash, e.achieved, e.hashed = c.Hash, c.Difficulty, true
	}
}

// flush hands the loop's shares over. What is too much for the queue is lost
// and counted: a loop never waits for a disk.
func (l *shareLog) flush(loop int) {
	q := l.queue(loop)
	if len(q.events) == 0 {
		return
	}
	q.mu.Lock()
	if len(q.ready) == 0 {
		q.ready, q.events = q.events, q.ready
	} else {
		room := min(len(q.events), maxQueued-len(q.ready))
		q.ready = append(q.ready, q.events[:room]...)
		l.lost.Add(uint64(len(q.events) - room))
	}
	q.mu.Unlock()
	q.events = q.events[:0]
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
	if s.log != nil {
		s.log.run(ctx)
	}
}

func (l *shareLog) run(ctx context.Context) {
	w := sharelog.OpenWriter(l.dir)
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
		l.events.Say(event.Error, fmt.Sprintf("Failed to write share log: %v", err))
	}
}

// printer turns shares into lines; owned by the writer goroutine.
type printer struct {
	w      *sharelog.Writer
	log    *shareLog
	spare  []shareEvent
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

func (p *printer) print(e *shareEvent) {
	listener, remote := "", ""
	if urls := p.log.settings.Load().ListenerURLs; e.listener >= 0 && e.listener < len(urls) {
		listener = urls[e.listener]
	}
	if e.remote.IsValid() {
		remote = e.remote.Unmap().String()
	}
	errn, _ := e.reason.Logged()
	p.record = sharelog.Record{
		WorkID:      e.workID,
		ClientID:    int64(e.client),
		Extranonce1: hex.EncodeToString(e.extranonce1[:e.extranonce1Len]),
		Extranonce2: hex.EncodeToString(e.extranonce2[:min(e.extranonce2Len, len(e.extranonce2))]),
		Nonce:       fmt.Sprintf("%08x", e.nonce),
		NTime:       fmt.Sprintf("%08x", e.ntime),
		Difficulty:  e.difficulty,
		Achieved:    e.achieved,
		Hash:        displayHash(e),
		Result:      e.reason == session.Accepted,
		Errn:        errn,
		Created:     e.time,
		CreateBy:    "code",
		CreateCode:  "parse_submit",
		CreateInet:  listener,
		WorkerName:  e.worker.name,
		UserName:    e.worker.user.name,
		Address:     remote,
		Agent:       e.userAgent,
	}
	if told := e.reason.Reject(); told != nil {
		p.record.ErrorCode, p.record.ErrorText = int(told.Code), told.Text
	}
	// A line that cannot be written yet is kept; the next Flush reports it.
	if errors.Is(p.w.Append(e.height, &p.record), sharelog.ErrFull) {
		p.log.lost.Add(1)
	}
}

// displayHash is the hash most significant byte first, empty without one.
func displayHash(e *shareEvent) string {
	if !e.hashed {
		return ""
	}
	var h [32]byte
	for i, b := range e.hash {
		h[len(h)-1-i] = b
	}
	return hex.EncodeToString(h[:])
}

// report tells of trouble at most once a minute.
func (p *printer) report(err error) {
	lost := p.log.lost.Load()
	if err == nil && lost == p.lost || time.Since(p.reported) < time.Minute {
		return
	}
	p.reported = time.Now()
	if err != nil {
		p.log.events.Say(event.Error, fmt.Sprintf("Failed to write share log: %v", err))
	}
	if lost != p.lost {
		p.log.events.Say(event.Error, fmt.Sprintf("Share log: %d shares were not logged, the disk did not keep up", lost-p.lost))
		p.lost = lost
	}
}
