package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/poolproto"
)

const (
	// unsentMost is how many bytes may wait for an upstream; beyond that it is taken for dead.
	unsentMost = 64 << 20
	// writeTime is how long one write may take.
	writeTime = 60 * time.Second
	// maxLine is how long a line from upstream may be, in bytes.
	maxLine  = 32 << 20
	readSize = 256 << 10
	// batchMost is how many bytes of lines a loop is given in one go, about.
	batchMost = 64 << 10
	// lastWords is how long what is unsent at the end may take.
	lastWords = 300 * time.Millisecond
)

// wire is one connection to a pool, from its link on.
type wire struct {
	// immutable once it serves
	url     string
	edge    *Edge
	number  uint32 // that no other has, from 1; 0 is none
	conn    net.Conn
	dialect int
	sums    bool           // the pool takes lines of Sums
	miners  []atomic.Int64 // by loop: those served over it
	node    *NodePool      // for its edge's NodeEnd

	// owned by serve, or by who holds it
	in      lines
	shared  [poolproto.KeptLines][]byte // by number, with their LF; nil: never said
	batches []batch                     // by loop

	wake    chan struct{} // capacity 1: there is something to write
	ended   chan struct{} // closed when serve has returned
	pausing atomic.Pointer[pause]
	given   atomic.Bool  // another process has it: it ends without a word
	unsent  atomic.Int64 // bytes in out

	mu   sync.Mutex
	out  []byte // guarded by mu
	dead error  // guarded by mu
}

func newWire(url string, c net.Conn) *wire {
	return &wire{url: url, conn: c, in: lines{conn: c}, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

// prepare makes it one of an edge, before serve.
func (w *wire) prepare(e *Edge, number uint32) {
	w.edge, w.number, w.node = e, number, &NodePool{w}
	w.batches, w.miners = make([]batch, len(e.handlers)), make([]atomic.Int64, len(e.handlers))
}

// count is how many miners are served over it.
func (w *wire) count() (n int64) {
	for i := range w.miners {
		n += w.miners[i].Load()
	}
	return n
}

// lines cuts what comes over a connection into lines.
type lines struct {
	conn       net.Conn
	buf        []byte
	start, end int // of what has come and was not taken
	searched   int // no line ends before it
}

// next is the next line that has come, without its LF and a CR before it; valid until fill.
func (l *lines) next() (line []byte, ok bool) {
	i := bytes.IndexByte(l.buf[l.searched:l.end], '\n')
	if i < 0 {
		l.searched = l.end
		return nil, false
	}
	line = l.buf[l.start : l.searched+i]
	l.start = l.searched + i + 1
	l.searched = l.start
	return bytes.TrimSuffix(line, []byte("\r")), true
}

// errProtocol is wrapped by errors about what a pool says that it cannot mean.
var errProtocol = errors.New("it breaks the protocol")

// fill waits for more.
func (l *lines) fill() error {
	if l.start > 0 {
		n := copy(l.buf, l.buf[l.start:l.end])
		l.start, l.searched, l.end = 0, l.searched-l.start, n
	}
	switch {
	case l.end > maxLine: // which leaves room
		return fmt.Errorf("%w: a line of more than %d bytes", errProtocol, maxLine)
	case l.end == 0 && len(l.buf) != readSize: // the room that a long line took
		l.buf = make([]byte, readSize)
	case l.end == len(l.buf):
		l.buf = append(make([]byte, 0, min(2*len(l.buf), maxLine+readSize)), l.buf...)
		l.buf = l.buf[:cap(l.buf)]
	}
	n, err := l.conn.Read(l.buf[l.end:])
	if l.end += n; n > 0 {
		return nil
	}
	return err
}

// pending is what has come and was not taken.
func (l *lines) pending() []byte { return l.buf[l.start:l.end] }

// restore puts pending bytes of another process there.
func (l *lines) restore(pending []byte) {
	l.buf = make([]byte, max(readSize, len(pending)))
	l.start, l.searched, l.end = 0, 0, copy(l.buf, pending)
}

// send leaves lines to be written. Any goroutine may call.
func (w *wire) send(lines []byte) {
	if len(lines) == 0 {
		return
	}
	w.mu.Lock()
	if w.dead == nil {
		w.out = append(w.out, lines...)
		w.unsent.Store(int64(len(w.out)))
		if len(w.out) > unsentMost {
			w.dead = fmt.Errorf("%d bytes wait to be sent", len(w.out))
			w.conn.Close()
		}
	}
	w.mu.Unlock()
	w.signal()
}

func (w *wire) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// serve reads and writes until the connection fails or ctx ends; then what is still to be
// written is, for a moment.
func (w *wire) serve(ctx context.Context) error {
	defer close(w.ended)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var writing sync.WaitGroup
	writing.Go(func() { cancel(w.writeAll(ctx)) })
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetReadDeadline(time.Now()) })
	err := w.readAll(ctx)
	stop()
	cancel(err)
	writing.Wait()
	w.conn.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = nil
	w.unsent.Store(0)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if w.dead != nil {
		err = w.dead
	}
	w.dead = errEnded
	return err
}

var errEnded = errors.New("the link has ended")

func (w *wire) writeAll(ctx context.Context) error {
	var lines []byte
	take := func() {
		w.mu.Lock()
		lines, w.out = w.out, lines[:0]
		w.unsent.Store(0)
		w.mu.Unlock()
	}
	ticks := time.NewTicker(pingAfter)
	defer ticks.Stop()
	for {
		if ctx.Err() != nil { // whatever else there is to do
			if take(); !w.given.Load() {
				_ = w.conn.SetWriteDeadline(time.Now().Add(lastWords))
				_, _ = w.conn.Write(lines)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			continue
		case <-ticks.C:
			if w.dialect > 0 { // the other side would take silence for death
				w.send(poolproto.AppendFrame(nil, &poolproto.Frame{Kind: poolproto.Ping}))
			}
			continue
		case <-w.wake:
		}
		_ = w.conn.SetWriteDeadline(time.Now().Add(writeTime))
		if w.stand(ctx) {
			w.signal()
			continue
		}
		take()
		n, err := w.conn.Write(lines)
		if err == nil {
			continue
		}
		if w.pausing.Load() != nil && plain(w.conn) && errors.Is(err, os.ErrDeadlineExceeded) {
			w.mu.Lock()
			w.out = append(bytes.Clone(lines[n:]), w.out...)
			w.unsent.Store(int64(len(w.out)))
			w.mu.Unlock()
			w.signal()
			continue
		}
		_ = w.conn.SetReadDeadline(time.Now())
		return err
	}
}

// readAll gives what comes to the loops, until the connection fails.
func (w *wire) readAll(ctx context.Context) error {
	for {
		line, ok := w.in.next()
		switch {
		case !ok:
			w.deliver(ctx)
			if err := w.fill(ctx); err != nil {
				return err
			}
		case w.dialect == 0:
			w.tagged(ctx, line)
		default:
			if err := w.frame(ctx, line); err != nil {
				w.deliver(ctx)
				return err
			}
		}
	}
}

// fill waits for more to read.
func (w *wire) fill(ctx context.Context) error {
	until := time.Time{}
	if w.dialect > 0 {
		until = time.Now().Add(deadAfter) // it answers our pings
	}
	_ = w.conn.SetReadDeadline(until)
	if stood := w.stand(ctx); stood || ctx.Err() != nil { // which has set another deadline
		return context.Cause(ctx)
	}
	err := w.in.fill()
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		return errors.New("the pool has closed it")
	case errors.Is(err, os.ErrDeadlineExceeded) && w.pausing.Load() != nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
		return fmt.Errorf("it has said nothing for %v", deadAfter)
	}
	return err
}

// pause is a time in which nothing is read nor written.
type pause struct {
	standing chan struct{} // capacity 2: the reader stands, and the writer
	over     chan struct{} // closed at its end
}

// stand stands still if there is a pause, until its end or that of ctx, and tells whether
// there was one.
func (w *wire) stand(ctx context.Context) bool {
	p := w.pausing.Load()
	if p == nil {
		return false
	}
	select {
	case p.standing <- struct{}{}:
	default: // it has said so
	}
	select {
	case <-p.over:
	case <-ctx.Done():
	}
	return true
}

// hold stops reading and writing until resume; ctx bounds how long that may take.
func (w *wire) hold(ctx context.Context) error {
	p := &pause{standing: make(chan struct{}, 2), over: make(chan struct{})}
	w.pausing.Store(p)
	_ = w.conn.SetReadDeadline(time.Now())
	if plain(w.conn) { // else a write that is interrupted breaks it
		_ = w.conn.SetWriteDeadline(time.Now())
	}
	w.signal()
	for range cap(p.standing) {
		select {
		case <-p.standing:
		case <-w.ended:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("upstream %s: the connection does not stop: %w", w.url, context.Cause(ctx))
		}
	}
	return nil
}

// resume ends hold.
func (w *wire) resume() {
	if p := w.pausing.Swap(nil); p != nil {
		close(p.over)
	}
}

// tagged handles a line of the dialect of ckpool in C.
func (w *wire) tagged(ctx context.Context, line []byte) {
	if id, ok := poolproto.ParseDropClient(line); ok {
		w.add(ctx, delivery{kind: poolproto.Close, channel: id}, nil)
		return
	}
	t, err := poolproto.ParseTagged(line)
	if kind := kinds[t.Tag]; err == nil && !t.Named && kind != 0 && w.edge.options.Node != nil {
		w.edge.options.Node.Message(w.node, kind, line)
		return
	}
	if err != nil || !t.Named {
		return // a pool of another kind says more
	}
	w.add(ctx, delivery{kind: poolproto.Line, channel: t.Channel}, line)
}

// frame handles a line of our own dialect.
func (w *wire) frame(ctx context.Context, line []byte) error {
	f, err := poolproto.ParseFrame(line)
	if err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	switch f.Kind {
	case poolproto.Line, poolproto.Close:
		w.add(ctx, delivery{kind: f.Kind, channel: f.Channel}, f.Text)
	case poolproto.Sums:
		w.add(ctx, delivery{kind: f.Kind, channel: f.Channel, number: f.Number}, nil)
	case poolproto.Define:
		w.shared[f.Number%poolproto.KeptLines] = append(bytes.Clone(f.Text), '\n')
	case poolproto.Send:
		line := w.shared[f.Number%poolproto.KeptLines]
		if line == nil {
			return fmt.Errorf("%w: line %d was never said", errProtocol, f.Number)
		}
		n := uint64(0)
		for first, last := range poolproto.Channels(f.Text) {
			n += uint64(last-first) + 1
		}
		if n > maxChannels {
			return fmt.Errorf("%w: a line for %d miners, a link has %d at most", errProtocol, n, maxChannels)
		}
		text := bytes.Clone(f.Text)
		for i := range w.batches {
			w.batches[i].add(delivery{kind: f.Kind, channels: text, line: line}, nil)
		}
	case poolproto.Ping:
		w.send(poolproto.AppendFrame(nil, &poolproto.Frame{Kind: poolproto.Pong}))
	case poolproto.Pong:
	case poolproto.Work, poolproto.Transactions, poolproto.Solved, poolproto.Whole:
		if w.edge.options.Node == nil {
			return fmt.Errorf("%w: a line of kind %q, which is for nodes", errProtocol, byte(f.Kind))
		}
		w.edge.options.Node.Message(w.node, f.Kind, f.Text)
	default:
		return fmt.Errorf("%w: a line of kind %q, which is for pools", errProtocol, byte(f.Kind))
	}
	return nil
}

// add has a delivery go to the loop of its channel.
func (w *wire) add(ctx context.Context, d delivery, text []byte) {
	b := &w.batches[int(d.channel)%len(w.batches)]
	if b.add(d, text); b.size > batchMost {
		w.deliver(ctx)
	}
}

// deliver gives the loops what has come for them.
func (w *wire) deliver(ctx context.Context) {
	for i := range w.batches {
		if len(w.batches[i].list) > 0 {
			w.batches[i] = w.edge.handlers[i].take(ctx, w, w.batches[i])
		}
	}
}

// batch is what comes for one loop from one pool, in order. The loop's once taken.
type batch struct {
	list []delivery
	next int // of list
	text []byte
	size int // in bytes, about
}

// emptied is a batch with the room of one that has been delivered.
func (b *batch) emptied() batch {
	clear(b.list)
	return batch{list: b.list[:0], text: b.text[:0]}
}

// delivery is one line for one miner, or for many.
type delivery struct {
	kind       poolproto.Kind // Line, Close, Send or Sums
	channel    uint32
	number     uint64 // of Sums
	start, end int    // of the text of a Line or Close

	line     []byte // of a Send, with its LF
	channels []byte // that it is for
}

const deliverySize = 88

func (b *batch) add(d delivery, text []byte) {
	d.start = len(b.text)
	b.text = append(b.text, text...)
	d.end = len(b.text)
	b.list = append(b.list, d)
	b.size += len(text) + len(d.channels) + deliverySize
}
