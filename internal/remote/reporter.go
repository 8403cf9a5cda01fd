package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/hostport"
	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/poolproto"
)

const (
	dialTime   = 10 * time.Second
	answerTime = 10 * time.Second // for a Hello
	// retryAfter is between attempts to link; the first after a link was lost begins at
	// once.
	retryAfter = 5 * time.Second
	writeTime  = 60 * time.Second
	// Without a line for pingAfter the main pool is asked for a sign of life, and without
	// one for deadAfter the link is given up.
	pingAfter = 5 * time.Second
	deadAfter = 15 * time.Second
	// windowMost is how many bytes of the journal are under way, about.
	windowMost = 4 << 20
	// unsentMost is how many bytes of other lines may wait to be sent.
	unsentMost = 64 << 20
	maxLine    = 32 << 20
	readSize   = 64 << 10
	// tailEvery is how often the journal is looked at for more.
	tailEvery = 20 * time.Millisecond
	// savedEvery is how often it is said in the journal what the main pool has.
	savedEvery = time.Second
	// workersEvery is how often the miners are counted.
	workersEvery = time.Minute
	// BlockTime is for how long after it was found a block is brought to each new link.
	BlockTime = 10 * time.Minute
	// blocksMost is how many bytes of blocks are, where there are many in that time.
	blocksMost = unsentMost / 2

	// readBy is the name of the cursor in the journal.
	readBy = "upstream"
)

// ReporterOptions are what a Reporter needs.
type ReporterOptions struct {
	Uplink  relay.Uplink // to the main pool
	Program string       // name and version to give
	Name    string       // of this instance
	Network func() string
	// Journal is the directory of the journal, Status how that does; false: it is not
	// open.
	Journal string
	Status  func() (journalwriter.Status, bool)
	Workers func() map[string]int // connected miners by user
	// Difficulty is that of the network at present, 0 while it is not known and on chains
	// where a block may be of any.
	Difficulty func() float64
	// Submit has a block submitted by all nodes here. It returns at once.
	Submit func(b *Block)
	Events event.Func
}

// Reporter is the remote's end of its link to the main pool. Run it beside the pool; its
// other methods may be called from any goroutine.
type Reporter struct {
	options ReporterOptions // immutable

	mu sync.Mutex
	// guarded by mu
	wire    *wire // nil: there is no link
	tunnels uint64
	blocks  []foundBlock   // of the last BlockTime
	kept    journal.Cursor // as it is said in the journal
}

// foundBlock is the line of a block that was found here.
type foundBlock struct {
	line []byte
	at   time.Time
}

// NewReporter makes a Reporter. The journal is not deleted before it is sent.
func NewReporter(o ReporterOptions) *Reporter { return &Reporter{options: o} }

// Found brings a block that was found here to the main pool.
func (r *Reporter) Found(b *poolproto.WholeBlock) {
	line := poolproto.AppendFrame(nil, &poolproto.Frame{Kind: poolproto.Whole, Text: b.Append(nil)})
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocks = append(r.blocks, foundBlock{line, now})
	size := 0
	for i, b := range slices.Backward(r.blocks) {
		if size += len(b.line); now.Sub(b.at) > BlockTime || size > blocksMost && i < len(r.blocks)-1 {
			r.blocks = r.blocks[i+1:]
			break
		}
	}
	if r.wire != nil && r.wire.brings {
		r.wire.first(line)
	}
}

// Accounts makes a connection on which the main pool says who may mine, as authority.Place
// wants it.
func (r *Reporter) Accounts(context.Context) (*net.UnixConn, error) {
	r.mu.Lock()
	w := r.wire
	r.tunnels++
	number := r.tunnels
	r.mu.Unlock()
	if w == nil {
		return nil, errors.New("there is no link to it")
	}
	mine, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	if !w.carry(newTunnel(number), theirs) {
		mine.Close()
		return nil, errEnded
	}
	return mine, nil
}

// Run keeps the link until ctx ends.
func (r *Reporter) Run(ctx context.Context) {
	if !r.hold(ctx) {
		return
	}
	for told := ""; ctx.Err() == nil; {
		w, err := r.connect(ctx)
		begun := time.Now()
		what := fmt.Sprintf("cannot be linked to: %%s; tried again every %v", retryAfter)
		if err == nil {
			if err = w.serve(ctx); w.agreed {
				what, told = "is lost: %s; miners go on, and what they find is kept for it", ""
			}
		}
		r.down()
		if text := hostport.Reason(err); ctx.Err() == nil && text != told {
			told = text
			r.say(event.Warning, fmt.Sprintf(what, text))
		}
		if w != nil && w.agreed && time.Since(begun) > retryAfter {
			continue // at once
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

// hold has the journal keep what the main pool has not, as soon as there is one.
func (r *Reporter) hold(ctx context.Context) bool {
	ticker := time.NewTicker(tailEvery)
	defer ticker.Stop()
	for told := ""; ; {
		if s, open := r.options.Status(); open {
			c, err := journal.ReadCursor(r.options.Journal, readBy)
			if err == nil && c.Instance != s.Instance {
				err = journal.WriteCursor(r.options.Journal, readBy, journal.Cursor{Instance: s.Instance, Network: r.options.Network()})
			}
			if err == nil {
				return true
			}
			if text := err.Error(); text != told {
				told = text
				r.options.Events.Say(event.Error, "Journal: "+text)
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}

func (r *Reporter) say(level event.Level, text string) {
	r.options.Events.Say(level, "Main pool "+r.options.Uplink.URL+" "+text)
}

func (r *Reporter) down() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wire = nil
}

// connect links to the main pool.
func (r *Reporter) connect(ctx context.Context) (*wire, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime+answerTime)
	defer cancel()
	conn, err := r.options.Uplink.Endpoint.Connect(ctx, r.options.Uplink.Options)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	w := &wire{reporter: r, conn: conn, read: bufio.NewReaderSize(conn, readSize), wake: make(chan struct{}, 1), place: make(chan poolproto.RemotePlace, 1)}
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

// wire is one link.
type wire struct {
	// immutable
	reporter *Reporter
	conn     net.Conn
	dialect  int
	wake     chan struct{}              // capacity 1: there is something to write
	place    chan poolproto.RemotePlace // capacity 1: where the main pool has the journal

	// owned by who reads
	read *bufio.Reader
	long []byte    // a line that is longer than read
	told time.Time // when it was last said that something is left alone

	agreed bool // the main pool takes the journal; owned by who writes, then by Run
	brings bool // blocks may be said; guarded by Reporter.mu

	mu sync.Mutex
	// guarded by mu
	out     []byte
	flying  []flight // sent and not kept yet
	window  int      // bytes of them
	kept    journal.Cursor
	tunnel  *tunnel             // nil: none
	logins  map[int64]chan bool // that ckpool in C is asked about, by client
	client  int64               // of the last
	running *sync.WaitGroup
	ctx     context.Context // of serve; nil: it has ended
	dead    error
}

// flight is bytes of the journal that are under way.
type flight struct {
	segment string
	at      int64
	bytes   int
	cursor  journal.Cursor // of the last record in them
}

var errEnded = errors.New("the link has ended")

// greet asks for the link. What comes before the answer is for nobody.
func (w *wire) greet() error {
	o := &w.reporter.options
	if err := w.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	hello := poolproto.Hello{Role: poolproto.Remote, Program: o.Program, Dialect: o.Uplink.Dialect, Secret: o.Uplink.Secret()}
	if _, err := w.conn.Write(poolproto.AppendHello(nil, &hello)); err != nil {
		return err
	}
	for {
		line, err := w.line()
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("it closes the connection: it takes no trusted remotes on this port")
		case err != nil:
			return fmt.Errorf("it does not answer mining.remote: %w", err)
		}
		a, err := poolproto.ParseAnswer(line)
		switch {
		case errors.Is(err, poolproto.ErrNoAnswer):
			continue
		case !a.Accepted:
			return errors.New("it gives no link: " + a.Reason)
		}
		w.dialect = min(a.Dialect, o.Uplink.Dialect)
		return w.conn.SetDeadline(time.Time{})
	}
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

// send leaves a line to be written. Any goroutine may call.
func (w *wire) send(f *poolproto.Frame) { w.queue(poolproto.AppendFrame(nil, f), false) }

// first leaves a line to be written before all others that wait.
func (w *wire) first(line []byte) { w.queue(line, true) }

func (w *wire) queue(line []byte, first bool) {
	w.mu.Lock()
	switch {
	case w.dead != nil:
	case first:
		w.out = append(bytes.Clone(line), w.out...)
	default:
		w.out = append(w.out, line...)
	}
	if len(w.out) > unsentMost && w.dead == nil {
		w.dead = fmt.Errorf("%d bytes wait to be sent", len(w.out))
		w.conn.Close()
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// carry has a tunnel carry what is said on conn, which it closes; false: the link has
// ended.
func (w *wire) carry(t *tunnel, conn *net.UnixConn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx == nil || w.ctx.Err() != nil {
		conn.Close()
		return false
	}
	ctx := w.ctx
	if w.dialect == 0 {
		w.running.Go(func() { w.answerC(ctx, conn) })
		return true
	}
	if w.tunnel != nil {
		w.tunnel.close()
	}
	w.tunnel = t
	w.running.Go(func() { t.run(ctx, conn, w.send) })
	return true
}

// serve reads and writes until the link fails or ctx ends.
func (w *wire) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	w.mu.Lock()
	w.ctx, w.running = ctx, &running
	w.mu.Unlock()
	r := w.reporter
	r.mu.Lock()
	r.wire = w
	r.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { w.conn.Close() })
	writeAll := w.writeAll
	if w.dialect == 0 {
		writeAll = w.writeC
	}
	running.Go(func() {
		defer w.conn.Close()
		cancel(writeAll(ctx))
	})
	err := w.readAll(ctx)
	cancel(err)
	stop()
	w.conn.Close()
	w.mu.Lock()
	w.ctx = nil
	if w.dead == nil {
		w.dead = errEnded
	}
	w.mu.Unlock()
	running.Wait()
	w.save()
	return context.Cause(ctx)
}

// readAll handles what comes, until the link fails.
func (w *wire) readAll(ctx context.Context) error {
	for {
		_ = w.conn.SetReadDeadline(time.Now().Add(deadAfter))
		line, err := w.line()
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("it has closed the link")
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
			return fmt.Errorf("nothing came for %v", deadAfter)
		case err != nil:
			return err
		}
		if w.dialect == 0 {
			w.lineC(line)
			continue
		}
		f, err := poolproto.ParseFrame(line)
		if err != nil {
			return err
		}
		if err := w.frame(&f); err != nil {
			return err
		}
	}
}

func (w *wire) frame(f *poolproto.Frame) error {
	switch f.Kind {
	case poolproto.Journal:
		var p poolproto.RemotePlace
		if err := p.Parse(f.Text); err != nil {
			return err
		}
		select {
		case w.place <- p:
		default:
			return errors.New("it says twice where it has the journal")
		}
	case poolproto.Kept:
		w.keep(string(f.Text), f.Number)
	case poolproto.Accounts:
		w.mu.Lock()
		t := w.tunnel
		w.mu.Unlock()
		switch {
		case t == nil || t.number != f.Number:
		case len(f.Text) == 0:
			t.close()
		default:
			t.put(bytes.Clone(f.Text))
		}
	case poolproto.Whole:
		b, err := parseBlock(f.Text)
		if err == nil {
			err = b.check(w.reporter.options.Difficulty())
		}
		if err != nil {
			if now := time.Now(); now.Sub(w.told) >= time.Minute {
				w.told = now
				w.reporter.say(event.Warning, fmt.Sprintf("says something that is left alone: %v", err))
			}
			return nil
		}
		w.reporter.options.Submit(b)
	case poolproto.Ping:
		w.send(&poolproto.Frame{Kind: poolproto.Pong})
	case poolproto.Pong:
	default:
		return fmt.Errorf("a line of kind %q, which is not for trusted remotes", byte(f.Kind))
	}
	return nil
}

// keep notes up to where the main pool has the journal.
func (w *wire) keep(segment string, size uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.flying) > 0 {
		p := &w.flying[0]
		if p.segment > segment || p.segment == segment && uint64(p.at)+uint64(p.bytes) > size {
			break
		}
		w.kept = p.cursor
		w.window -= p.bytes
		w.flying = w.flying[1:]
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// save says in the journal what the main pool has.
func (w *wire) save() {
	w.mu.Lock()
	c := w.kept
	w.mu.Unlock()
	r := w.reporter
	r.mu.Lock()
	same := c == r.kept || c.Instance == ""
	r.mu.Unlock()
	if same {
		return
	}
	if err := journal.WriteCursor(r.options.Journal, readBy, c); err != nil {
		r.options.Events.Say(event.Error, "Journal: "+err.Error())
		return
	}
	r.mu.Lock()
	r.kept = c
	r.mu.Unlock()
}

// writeAll sends the journal, and all else that is to be sent.
func (w *wire) writeAll(ctx context.Context) error {
	tail, err := w.begin(ctx)
	if err != nil {
		return err
	}
	defer tail.Close()
	w.agreed = true
	w.reporter.say(event.Warning, "is linked: it counts the shares from here on")
	return w.report(ctx, said{
		shares:  func() (more bool, err error) { return w.bytes(tail) },
		workers: w.workers,
		ping:    func() { w.send(&poolproto.Frame{Kind: poolproto.Ping}) },
	})
}

// said is how a dialect says what there is to say.
type said struct {
	shares  func() (more bool, err error)                    // some of the journal; more: there may be others
	workers func(before map[string]int) (now map[string]int) // those that are others than before
	ping    func()
}

// report says all that there is to say until ctx is done or the link fails.
func (w *wire) report(ctx context.Context, say said) error {
	look, ping, save, workers := time.NewTicker(tailEvery), time.NewTicker(pingAfter), time.NewTicker(savedEvery), time.NewTicker(workersEvery)
	defer look.Stop()
	defer ping.Stop()
	defer save.Stop()
	defer workers.Stop()
	known := say.workers(nil)
	at := make(chan struct{}) // at once
	close(at)
	for {
		if err := w.write(); err != nil {
			return err
		}
		more, err := say.shares()
		if err != nil {
			return err
		}
		var next <-chan struct{} // of the shares, which all else does not wait for
		if more {
			next = at
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-next:
		case <-w.wake:
		case <-look.C:
		case <-ping.C:
			say.ping()
		case <-save.C:
			w.save()
		case <-workers.C:
			known = say.workers(known)
		}
	}
}

// begin agrees with the main pool where in the journal to begin.
func (w *wire) begin(ctx context.Context) (*journalwriter.Tail, error) {
	o := &w.reporter.options
	ticker := time.NewTicker(tailEvery)
	defer ticker.Stop()
	ping := time.NewTicker(pingAfter)
	defer ping.Stop()
	for asked := false; ; {
		if s, open := o.Status(); open && !asked {
			asked = true
			w.send(&poolproto.Frame{Kind: poolproto.Journal, Text: (&poolproto.RemoteJournal{Instance: s.Instance, Name: o.Name, Network: o.Network(), Time: time.Now().Unix()}).Append(nil)})
			if err := w.write(); err != nil {
				return nil, err
			}
			w.bring()
		}
		if err := w.write(); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-ticker.C:
		case <-w.wake:
		case <-ping.C:
			w.send(&poolproto.Frame{Kind: poolproto.Ping})
		case p := <-w.place:
			if p.Refused != "" {
				return nil, errors.New("it takes no shares of this pool: " + p.Refused)
			}
			return journalwriter.NewTail(o.Journal, journalwriter.Place{Segment: p.Segment, Mark: p.Mark, Size: p.Size}, o.Events)
		}
	}
}

// bring has the blocks that were found lately brought, and those that are found from here on.
// Before the line of the journal they would end the link: nobody knows whose they are.
func (w *wire) bring() {
	r := w.reporter
	r.mu.Lock()
	defer r.mu.Unlock()
	w.brings = true
	for _, b := range r.blocks {
		if time.Since(b.at) < BlockTime {
			w.queue(b.line, false)
		}
	}
}

// write writes what waits.
func (w *wire) write() error {
	w.mu.Lock()
	lines := w.out
	w.out = nil
	w.mu.Unlock()
	if len(lines) == 0 {
		return nil
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := w.conn.Write(lines)
	return err
}

// bytes sends the next piece of the journal, if there is one and it may be sent.
func (w *wire) bytes(tail *journalwriter.Tail) (more bool, err error) {
	w.mu.Lock()
	full := w.window > windowMost || len(w.out) > 0
	w.mu.Unlock()
	s, open := w.reporter.options.Status()
	if full || !open {
		return false, nil
	}
	p, err := tail.Next(s.Position)
	if err == io.EOF {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	line := poolproto.AppendFrame(nil, &poolproto.Frame{
		Kind: poolproto.Bytes, Number: uint64(p.At), Text: poolproto.AppendBytes(nil, p.Segment, p.Data),
	})
	n := len(p.Data)
	w.mu.Lock()
	w.flying = append(w.flying, flight{p.Segment, p.At, n, p.Cursor})
	w.window += n
	w.mu.Unlock()
	_ = w.conn.SetWriteDeadline(time.Now().Add(writeTime))
	_, err = w.conn.Write(line)
	return true, err
}

// workers says how many miners each user has, and zero for those that had some when it was
// said last.
func (w *wire) workers(said map[string]int) map[string]int {
	now := w.reporter.options.Workers()
	var b []byte
	say := func(user string, n int) {
		if strings.Contains(user, "\n") { // it would be lines of its own, which miners are not to say
			return
		}
		b = poolproto.AppendFrame(b, &poolproto.Frame{Kind: poolproto.Workers, Number: uint64(n), Text: []byte(user)})
	}
	for user, n := range now {
		say(user, n)
	}
	for user := range said {
		if now[user] == 0 {
			say(user, 0)
		}
	}
	w.queue(b, false)
	return now
}
