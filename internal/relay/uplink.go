package relay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"ckpool/event"
	"ckpool/poolproto"
	"ckpool/stratum/client"
)

const (
	answerTime = 10 * time.Second // for a Hello
	dialTime   = 10 * time.Second
	// retryAfter is how long after a failed attempt the next one begins; the first after a
	// connection was lost begins at once.
	retryAfter = 5 * time.Second
	// unsentMost is how many bytes may wait for an upstream; beyond that it is taken for dead.
	unsentMost = 64 << 20
	// writeTime is how long one write may take.
	writeTime = 60 * time.Second
	maxLine   = 32 << 20 // bytes of a line from upstream
	readSize  = 256 << 10
	// batchMost is how many bytes of lines a loop is given in one go, about.
	batchMost = 64 << 10
)

// Uplink is one pool that miners may be served by.
type Uplink struct {
	client.Endpoint
	Options client.Options // how to connect: Dial, SOCKS5, Pin
	Secret  string         // that it wants
	// Dialect is the highest to be spoken; 0 that of ckpool in C.
	Dialect int
}

// uplink keeps a connection to a pool.
type uplink struct {
	Uplink
	edge  *Edge
	index int // in the order of preference

	// guarded by Edge.mu
	wire  *wire // nil: there is none
	since time.Time
	err   error // why there is none
	tried bool
}

// run keeps the connection until ctx ends.
func (u *uplink) run(ctx context.Context) {
	for ctx.Err() == nil {
		w, err := u.connect(ctx)
		if err == nil {
			u.edge.up(u, w)
			err = w.serve(ctx)
			u.edge.down(u, err)
			continue // at once
		}
		if ctx.Err() != nil {
			return
		}
		u.edge.failed(u, err)
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

// connect makes a connection and asks for a link over it.
func (u *uplink) connect(ctx context.Context) (*wire, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime+answerTime)
	defer cancel()
	conn, err := u.Connect(ctx, u.Options)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	w := &wire{uplink: u, conn: conn, read: bufio.NewReaderSize(conn, readSize), wake: make(chan struct{}, 1)}
	err = w.greet()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return w, nil
}

// RefusedError is that a pool gives no link.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "it gives no link: " + e.Reason }

// greet asks for the link. What comes before the answer is left alone: it is for miners
// whom nobody knows here.
func (w *wire) greet() error {
	hello := poolproto.Hello{Role: poolproto.Passthrough, Program: w.uplink.edge.options.Program, Dialect: w.uplink.Dialect, Secret: w.uplink.Secret}
	if err := w.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	if _, err := w.conn.Write(poolproto.AppendHello(nil, &hello)); err != nil {
		return err
	}
	for {
		line, err := w.line()
		switch {
		case errors.Is(err, io.EOF):
			return &RefusedError{"it closes the connection"}
		case err != nil:
			return fmt.Errorf("no answer to mining.passthrough: %w", err)
		}
		a, err := poolproto.ParseAnswer(line)
		switch {
		case errors.Is(err, poolproto.ErrNoAnswer):
			continue
		case !a.Accepted:
			return &RefusedError{a.Reason}
		}
		w.dialect = min(a.Dialect, w.uplink.Dialect)
		return w.conn.SetDeadline(time.Time{})
	}
}

// wire is one connection to a pool, from its link on.
type wire struct {
	// immutable
	uplink  *uplink
	number  uint32 // that no other has, from 1; 0 is none
	conn    net.Conn
	dialect int

	// owned by serve
	read    *bufio.Reader
	long    []byte                      // a line that is longer than read
	shared  [poolproto.KeptLines][]byte // by number
	batches []batch                     // by loop
	heard   time.Time

	wake chan struct{} // capacity 1: there is something to write

	mu   sync.Mutex
	out  []byte // guarded by mu
	dead error  // guarded by mu
}

// line is the next line, without its LF; valid until the next call.
func (w *wire) line() ([]byte, error) {
	line, err := w.read.ReadSlice('\n')
	if err == nil {
		return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
	}
	w.long = w.long[:0]
	for errors.Is(err, bufio.ErrBufferFull) {
		if w.long = append(w.long, line...); len(w.long) > maxLine {
			return nil, fmt.Errorf("a line of more than %d bytes", maxLine)
		}
		line, err = w.read.ReadSlice('\n')
	}
	if err != nil {
		return nil, err
	}
	w.long = append(w.long, line[:len(line)-1]...)
	return bytes.TrimSuffix(w.long, []byte("\r")), nil
}

// send leaves lines to be written. Any goroutine may call.
func (w *wire) send(lines []byte) {
	if len(lines) == 0 {
		return
	}
	w.mu.Lock()
	if w.dead == nil {
		if w.out = append(w.out, lines...); len(w.out) > unsentMost {
			w.dead = fmt.Errorf("%d bytes wait to be sent", len(w.out))
			w.conn.Close()
		}
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// serve reads and writes until the connection fails or ctx ends; then what is still to be
// written is, for a moment.
func (w *wire) serve(ctx context.Context) error {
	w.batches = make([]batch, len(w.uplink.edge.handlers))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var writing sync.WaitGroup
	writing.Go(func() { cancel(w.writeAll(ctx)) })
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetReadDeadline(time.Now()) })
	err := w.readAll()
	stop()
	cancel(err)
	writing.Wait()
	w.conn.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = nil
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if w.dead != nil {
		err = w.dead
	}
	w.dead = errors.Join(errEnded)
	return err
}

var errEnded = errors.New("the link has ended")

// lastWords is how long what is unsent at the end may take.
const lastWords = 300 * time.Millisecond

func (w *wire) writeAll(ctx context.Context) error {
	var lines []byte
	take := func() {
		w.mu.Lock()
		lines, w.out = w.out, lines[:0]
		w.mu.Unlock()
	}
	ticks := time.NewTicker(pingAfter)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			take()
			_ = w.conn.SetWriteDeadline(time.Now().Add(lastWords))
			_, _ = w.conn.Write(lines)
			return nil
		case <-ticks.C:
			if w.dialect > 0 { // the other side would take silence for death
				w.send(poolproto.AppendFrame(nil, &poolproto.Frame{Kind: poolproto.Ping}))
			}
			continue
		case <-w.wake:
		}
		take()
		_ = w.conn.SetWriteDeadline(time.Now().Add(writeTime))
		if _, err := w.conn.Write(lines); err != nil {
			_ = w.conn.SetReadDeadline(time.Now())
			return err
		}
	}
}

// readAll gives what comes to the loops, until the connection fails.
func (w *wire) readAll() error {
	for {
		if w.dialect > 0 && w.read.Buffered() == 0 {
			_ = w.conn.SetReadDeadline(time.Now().Add(deadAfter)) // it answers our pings
		}
		line, err := w.line()
		if err != nil {
			w.deliver()
			if errors.Is(err, io.EOF) {
				return errors.New("the pool has closed it")
			}
			return err
		}
		if w.dialect == 0 {
			w.tagged(line)
		} else if err := w.frame(line); err != nil {
			return err
		}
		if w.read.Buffered() == 0 {
			w.deliver()
		}
	}
}

// tagged handles a line of the dialect of ckpool in C.
func (w *wire) tagged(line []byte) {
	if id, ok := poolproto.ParseDropClient(line); ok {
		w.add(delivery{kind: poolproto.Close, channel: id}, nil)
		return
	}
	t, err := poolproto.ParseTagged(line)
	if err != nil || !t.Named {
		return // a pool of another kind says more: work for nodes, for one
	}
	w.add(delivery{kind: poolproto.Line, channel: t.Channel}, line)
}

// frame handles a line of our own dialect.
func (w *wire) frame(line []byte) error {
	f, err := poolproto.ParseFrame(line)
	if err != nil {
		return err
	}
	switch f.Kind {
	case poolproto.Line, poolproto.Close:
		w.add(delivery{kind: f.Kind, channel: f.Channel}, f.Text)
	case poolproto.Define:
		w.shared[f.Number%poolproto.KeptLines] = append(bytes.Clone(f.Text), '\n')
	case poolproto.Send:
		line := w.shared[f.Number%poolproto.KeptLines]
		if line == nil {
			return fmt.Errorf("line %d was never said", f.Number)
		}
		text := bytes.Clone(f.Text)
		for i := range w.batches {
			w.batches[i].add(delivery{kind: f.Kind, channels: text, line: line}, nil)
		}
	case poolproto.Ping:
		w.send(poolproto.AppendFrame(nil, &poolproto.Frame{Kind: poolproto.Pong}))
	case poolproto.Pong:
	default:
		return fmt.Errorf("a line of kind %q, which is for pools", byte(f.Kind))
	}
	return nil
}

// add has a delivery go to the loop of its channel.
func (w *wire) add(d delivery, text []byte) {
	b := &w.batches[int(d.channel)%len(w.batches)]
	if b.add(d, text); len(b.text) > batchMost {
		w.deliver()
	}
}

// deliver gives the loops what has come for them.
func (w *wire) deliver() {
	for i := range w.batches {
		if len(w.batches[i].list) > 0 {
			w.uplink.edge.handlers[i].take(w, w.batches[i])
			w.batches[i] = batch{}
		}
	}
}

// batch is what comes for one loop from one pool, in order. Immutable once taken.
type batch struct {
	list []delivery
	text []byte
}

// delivery is one line for one miner, or for many.
type delivery struct {
	kind       poolproto.Kind // Line, Close or Send
	channel    uint32
	start, end int // of the text of a Line or Close

	line     []byte // of a Send, with its LF
	channels []byte // that it is for
}

func (b *batch) add(d delivery, text []byte) {
	d.start = len(b.text)
	b.text = append(b.text, text...)
	d.end = len(b.text)
	b.list = append(b.list, d)
}

// say tells of a change of an uplink.
func (u *uplink) say(level event.Level, text string) {
	u.edge.options.Events.Say(level, "Upstream "+u.URL+" "+text)
}
