package logfile

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
)

const (
	// maxPending bounds what waits for a slow or full disk.
	maxPending = 1 << 20
	// reportEvery is how often trouble with the log itself is told.
	reportEvery = time.Minute
	retryAfter  = time.Second
)

// destination is where a sink writes to.
type destination interface {
	Write([]byte) (int, error)
	// refresh is called before each write; now asks for the file to be reopened.
	refresh(now bool) error
	close()
}

// sink is one destination with a bounded queue and a goroutine that writes it.
// A nil sink takes lines and forgets them.
type sink struct {
	out    destination // owned by the goroutine
	lines  layout
	report func(string) // tells somebody else about trouble
	wake   chan struct{}
	closed chan struct{} // closed by close
	done   chan struct{} // closed by the goroutine at its end

	once sync.Once
	err  error // why the last lines could not be written, valid after done

	mu      sync.Mutex // guards the rest
	pending []byte     // whole lines
	lost    uint64     // lines dropped since it was last told
	dropped uint64     // lines dropped in all
	reopen  bool
	waiting []chan struct{} // of flush, closed once all is written
}

func newSink(out destination, lines layout, report func(string)) *sink {
	return &sink{
		out:    out,
		lines:  lines,
		report: report,
		wake:   make(chan struct{}, 1),
		closed: make(chan struct{}),
		done:   make(chan struct{}),
	}
}

// add queues one line, or drops it when the queue is full.
func (s *sink) add(e event.Event, when time.Time) {
	if s == nil {
		return
	}
	line := s.lines(e, when)
	s.mu.Lock()
	if len(s.pending)+len(line) > maxPending {
		s.lost++
		s.dropped++
	} else {
		s.pending = append(s.pending, line...)
	}
	s.mu.Unlock()
	s.signal()
}

func (s *sink) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *sink) reopenNow() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.reopen = true
	s.mu.Unlock()
	s.signal()
}

// flush waits until what is queued now is written, or ctx has ended.
func (s *sink) flush(ctx context.Context) {
	if s == nil {
		return
	}
	written := make(chan struct{})
	s.mu.Lock()
	s.waiting = append(s.waiting, written)
	s.mu.Unlock()
	s.signal()
	select {
	case <-written:
	case <-s.done:
	case <-ctx.Done():
	}
}

func (s *sink) droppedLines() uint64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

func (s *sink) close(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.once.Do(func() { close(s.closed) })
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("log not written to its end: %w", ctx.Err())
	}
}

func (s *sink) run() {
	defer close(s.done)
	defer s.out.close()
	w := writer{sink: s}
	for {
		select {
		case <-s.wake:
		case <-w.retry():
		case <-s.closed:
			w.toldLost = time.Time{}
			w.write()
			s.err = w.err
			return
		}
		w.write()
		w.tellWritten()
	}
}

// writer is the state of a sink's goroutine.
type writer struct {
	*sink
	batch    []byte // not yet written
	err      error  // of the last write
	told     time.Time
	toldLost time.Time
}

// retry fires when it is time to try again after an error, or to tell of
// dropped lines.
func (w *writer) retry() <-chan time.Time {
	w.mu.Lock()
	lost := w.lost
	w.mu.Unlock()
	switch {
	case w.err != nil:
		return time.After(retryAfter)
	case lost > 0:
		return time.After(time.Until(w.toldLost.Add(reportEvery)))
	}
	return nil
}

// write writes what is pending. What a failing disk does not take is kept for
// the next time, to the byte, so that no line is torn.
func (w *writer) write() {
	for {
		if err := w.out.refresh(w.take()); err != nil {
			w.trouble(err)
		}
		if len(w.batch) == 0 {
			return
		}
		n, err := w.out.Write(w.batch)
		w.batch = w.batch[:copy(w.batch, w.batch[n:])]
		if err != nil {
			w.err = err
			w.trouble(err)
			return
		}
		if w.err != nil {
			w.err, w.told = nil, time.Time{}
			w.report("the log is written again")
		}
	}
}

// tellWritten answers flush, unless there is something left.
func (w *writer) tellWritten() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.batch)+len(w.pending) > 0 {
		return
	}
	for _, c := range w.waiting {
		close(c)
	}
	w.waiting = nil
}

// take moves queued lines to an empty batch.
func (w *writer) take() (reopen bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	reopen, w.reopen = w.reopen, false
	if len(w.batch) > 0 {
		return reopen
	}
	w.batch, w.pending = w.pending, w.batch
	if now := time.Now(); w.lost > 0 && now.Sub(w.toldLost) >= reportEvery {
		text := fmt.Sprintf("%d log lines dropped: they came faster than they could be written", w.lost)
		w.batch = append(w.batch, w.lines(event.Event{Level: event.Warning, Text: text}, now)...)
		w.lost, w.toldLost = 0, now
	}
	return reopen
}

func (w *writer) trouble(err error) {
	if now := time.Now(); now.Sub(w.told) >= reportEvery {
		w.told = now
		w.report(fmt.Sprintf("cannot write the log, will try again: %v", err))
	}
}
