package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ckpool/ckpool/internal/segment"
)

// Reader reads the records of a journal in their order, and follows it as it is
// written. It is for one goroutine.
//
// What cannot be read is told by a record of [KindMissing] in its place, and never
// guessed.
type Reader struct {
	// immutable
	dir string

	cursor Cursor // of the last record returned
	g      *segment.Segment
	header Header   // of g
	miners []*Miner // of g, in the order of their definitions; nil for one that is damaged
	next   uint64   // number of the next record
	newer  bool     // there is a newer segment than g
	failed error    // what the reader cannot go beyond

	// Of the frame that is being read.
	frame   segment.Frame
	parts   segment.Parts
	rest    []byte
	number  uint64
	time    int64
	skipped int64 // damaged bytes before it

	record  Record
	pending []Record // to return before anything else
	unread  Missing  // of the frame, records in a row that are none; Count 0: there are none
	reason  string   // why records of the last frames could not be read
}

// pollEvery is how often a reader looks for more.
const pollEvery = 20 * time.Millisecond

// ErrInstance is what errors are about a journal that is not the one of a cursor.
var ErrInstance = errors.New("it is not the journal that was read before")

// ErrHistory is what errors are about a journal whose records are not those that were
// read up to a cursor, although it is the same journal: an older copy of it was put back.
var ErrHistory = errors.New("an older copy of it was put back")

// ErrLater is what errors are about a journal with something that this release does not
// know, since a later one wrote it.
var ErrLater = segment.ErrLater

// Open opens the journal of a directory to read what is after a cursor; the zero Cursor is
// at the beginning. A directory without any record is no error: there may be one later.
func Open(dir string, after Cursor) (*Reader, error) {
	r := &Reader{dir: dir, cursor: after}
	if st, err := segment.ReadState(dir); err != nil {
		return nil, err
	} else if st != nil {
		if err := r.check(filepath.Join(dir, segment.StateFile), st.Instance, st.Network); err != nil {
			return nil, err
		}
		if st.Epoch < after.Epoch {
			return nil, fmt.Errorf("journal %s has come to epoch %d, and was read up to %v: %w", dir, st.Epoch, after.Position, ErrHistory)
		}
	}
	list, err := segment.List(dir)
	if err != nil {
		return nil, err
	}
	start := segment.File{}
	for _, s := range list {
		if s.Epoch == after.Epoch && s.First <= after.Number+1 {
			start = s
		}
	}
	if start.Name == "" {
		return r, nil // the first segment behind the cursor, when there is one
	}
	if err := r.enter(start); err != nil && !errors.Is(err, fs.ErrNotExist) { // deleted since
		return nil, err
	}
	return r, nil
}

// Close closes files; nothing is read any more. Records and miners that were read stay valid.
func (r *Reader) Close() {
	r.leave()
	r.failed = fmt.Errorf("journal %s: %w", r.dir, fs.ErrClosed)
}

// leave closes the segment that is being read.
func (r *Reader) leave() {
	if r.g != nil {
		r.g.Close()
		r.g = nil
	}
}

// Cursor is that of the last record returned: store it with the record.
func (r *Reader) Cursor() Cursor { return r.cursor }

// Header is that of the segment that the last record was in: it is zero before there is
// one.
func (r *Reader) Header() *Header { return &r.header }

// check refuses another journal.
func (r *Reader) check(path, instance, network string) error {
	if r.cursor.Network == "" {
		r.cursor.Network = network
	}
	if r.cursor.Instance == "" {
		r.cursor.Instance = instance
	}
	if r.cursor.Network != network {
		return fmt.Errorf("%s has shares of the network %s, want those of %s", path, network, r.cursor.Network)
	}
	if r.cursor.Instance != instance {
		return fmt.Errorf("%s: %w: its instance is %s, and was %s", path, ErrInstance, instance, r.cursor.Instance)
	}
	return nil
}

// enter begins to read a segment.
func (r *Reader) enter(s segment.File) error {
	g, err := segment.Open(r.dir, s)
	if errors.Is(err, segment.ErrNoHeader) {
		return r.pass(s)
	}
	if err != nil {
		return err
	}
	if err := r.check(g.Path, g.Header.Instance, g.Header.Network); err != nil {
		g.Close()
		return err
	}
	if err := r.follows(&g.Header); err != nil {
		g.Close()
		return fmt.Errorf("%s: %w", g.Path, err)
	}
	r.leave()
	from := r.cursor.Position
	r.g, r.header, r.miners, r.newer, r.rest = g, headerOf(&g.Header), nil, false, nil
	r.next = s.First
	if from.Epoch == s.Epoch {
		r.next = max(r.next, from.Number+1)
	}
	if from == (Position{}) {
		return nil
	}
	if from.Epoch == s.Epoch {
		r.miss(from, Position{s.Epoch, s.First - 1}, true)
		return nil
	}
	if after := r.header.After; after.Epoch >= from.Epoch {
		r.miss(from, after, after.Epoch == from.Epoch)
	}
	r.miss(Position{s.Epoch, 0}, Position{s.Epoch, s.First - 1}, true)
	return nil
}

// follows refuses a segment that does not go on from what was read.
func (r *Reader) follows(h *segment.Header) error {
	c := &r.cursor
	life := c.Life
	switch {
	case c.Life == "" || h.Epoch < c.Epoch:
		return nil // not known; and nobody asks for what was read
	case h.Epoch == c.Epoch:
		life = h.Life
	case h.After.Epoch == c.Epoch:
		if life = h.Before; life == "" {
			return nil
		}
	case h.After.Epoch < c.Epoch:
		life = "" // it knows nothing of that epoch
	}
	if life != c.Life {
		return fmt.Errorf("it does not go on from record %v, which was read before: %w", c.Position, ErrHistory)
	}
	return nil
}

// pass passes over a segment without a header.
func (r *Reader) pass(s segment.File) error {
	list, err := segment.List(r.dir)
	if err != nil {
		return err
	}
	last, known := Position{s.Epoch, s.First}, false
	for _, next := range list {
		if next.Epoch == s.Epoch && next.First > s.First {
			last, known = Position{s.Epoch, next.First - 1}, true
			break
		}
	}
	if !known && len(list) > 0 && list[len(list)-1].Name == s.Name {
		// The header is whole before a segment has its name.
		return fmt.Errorf("%s: %w", filepath.Join(r.dir, s.Name), segment.ErrNoHeader)
	}
	from := Position{s.Epoch, s.First - 1}
	if r.cursor.Epoch == s.Epoch {
		from.Number = max(from.Number, r.cursor.Number)
	}
	r.reason = segment.ErrNoHeader.Error()
	r.miss(from, last, known)
	if n := len(r.pending); n > 0 {
		r.pending[n-1].Missing.File = s.Name
		if info, err := os.Stat(filepath.Join(r.dir, s.Name)); err == nil {
			r.pending[n-1].Missing.Bytes = info.Size()
		}
	}
	r.leave()
	r.next = last.Number + 1
	if len(r.pending) == 0 && r.cursor.Before(last) {
		r.came(last)
	}
	return nil
}

// miss tells that what is between a position and the end of another is missing.
func (r *Reader) miss(after, last Position, counted bool) {
	if !after.Before(last) {
		return
	}
	m := Missing{First: Position{after.Epoch, after.Number + 1}, Why: "they are not there"}
	if counted {
		m.Count = last.Number - after.Number
	}
	if r.reason != "" {
		m.Why = r.reason
	}
	if r.skipped > 0 && r.g != nil {
		m.File, m.Offset, m.Bytes = r.g.Name, r.frame.At-r.skipped, r.skipped
	}
	r.pending = append(r.pending, Record{Position: last, Kind: KindMissing, Time: r.cursor.Time, Missing: m})
	r.reason, r.skipped = "", 0
}

// Read is the next record, which is valid until the next call. The error is io.EOF
// while there is none. Any other error comes again: the reader cannot go beyond that
// place.
func (r *Reader) Read() (*Record, error) {
	for r.failed == nil {
		k, err := r.readSegment()
		if k != nil {
			return k, nil
		}
		if err == nil {
			var more bool
			if more, err = r.follow(); err == nil && !more {
				return nil, io.EOF
			}
		}
		r.failed = err
	}
	return nil, r.failed
}

// Next is Read, but waits for a record until ctx ends, whose error it returns then, also where
// there is one.
func (r *Reader) Next(ctx context.Context) (*Record, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		k, err := r.Read()
		if err != io.EOF {
			return k, err
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// readSegment is the next record of the present segment, nil if there is none now.
func (r *Reader) readSegment() (*Record, error) {
	for {
		if len(r.pending) > 0 {
			r.record = r.pending[0]
			r.pending = r.pending[1:]
			return r.returned(), nil
		}
		if r.g == nil {
			return nil, nil
		}
		if len(r.rest) > 0 || r.number < r.frame.First+uint64(r.frame.Count) {
			k, err := r.readRecord()
			if r.unread.Count > 0 && (k != nil || err != nil || r.rest == nil) {
				r.tellUnread(k)
				continue // an error comes again
			}
			if k != nil || err != nil {
				return k, err
			}
			continue
		}
		skipped, whole, err := r.g.Next(&r.frame)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.g.Path, err)
		}
		if !whole {
			r.frame = segment.Frame{}
			r.number = 0
			return nil, nil
		}
		r.skipped = skipped
		if skipped > 0 {
			r.reason = "bytes are damaged"
		}
		r.enterFrame()
	}
}

func (r *Reader) enterFrame() {
	f := &r.frame
	if f.First > r.next {
		r.miss(Position{r.g.Epoch, r.next - 1}, Position{r.g.Epoch, f.First - 1}, true)
		r.next = f.First
	}
	r.skipped, r.reason = 0, ""
	r.number, r.rest = f.First+uint64(f.Count), nil
	if f.Kind == segment.HeaderFrame || f.Kind == segment.EndFrame {
		return
	}
	parts, ok := f.Parts()
	if !ok || !r.g.Define(f, &parts, r.define) {
		r.undone("a frame is not one")
		return
	}
	r.parts, r.rest, r.number, r.time = parts, parts.Records, f.First, parts.Time
}

// define takes the definition of a miner.
func (r *Reader) define(n int, definition []byte) bool {
	m, err := readMiner(definition)
	if err != nil {
		return false
	}
	r.miners = append(r.miners, make([]*Miner, n-len(r.miners))...)
	r.miners = append(r.miners, m)
	return true
}

// undone passes over the rest of the frame.
func (r *Reader) undone(why string) {
	if r.unread.Count > 0 {
		r.tellUnread(nil)
	}
	last := r.frame.First + uint64(r.frame.Count) - 1
	r.reason = why
	if r.frame.Count > 0 {
		r.miss(Position{r.g.Epoch, r.next - 1}, Position{r.g.Epoch, last}, true)
	}
	r.number, r.rest, r.reason = last+1, nil, ""
	r.next = max(r.next, last+1)
}

// readRecord is the next record of the frame, nil if it is none to return.
func (r *Reader) readRecord() (*Record, error) {
	if r.number == r.frame.First+uint64(r.frame.Count) {
		r.rest = nil
		return nil, nil
	}
	k, rest, ok := segment.NextRecord(r.rest, r.time)
	if !ok {
		r.undone("a frame is not one")
		return nil, nil
	}
	number := r.number
	if number >= r.next && (k.Kind == 0 || Kind(k.Kind) >= kinds) {
		return nil, segment.Later(r.g.Path, r.g.Header.Program, fmt.Sprintf("records of the kind %q", r.kindName(k.Kind)))
	}
	r.rest, r.time = rest, k.Time
	r.number++
	if number < r.next {
		return nil, nil // read before
	}
	r.next = number + 1
	if why := r.fill(&k); why != "" {
		if r.unread.Count == 0 {
			r.unread = Missing{First: Position{r.g.Epoch, number}, Why: why}
		}
		r.unread.Count++
		if r.number == r.frame.First+uint64(r.frame.Count) {
			r.rest = nil
		}
		return nil, nil
	}
	r.record.Position = Position{r.g.Epoch, number}
	return r.returned(), nil
}

// kindName is a kind as the segment's writer called it.
func (r *Reader) kindName(k uint8) string {
	if name := r.g.Header.Kinds[k]; name != "" {
		return name
	}
	return Kind(k).String()
}

// tellUnread tells of records in a row that are none, and then of k, if there is one.
func (r *Reader) tellUnread(k *Record) {
	u := r.unread
	r.unread = Missing{}
	last := Position{u.First.Epoch, u.First.Number + u.Count - 1}
	r.pending = append(r.pending, Record{Position: last, Kind: KindMissing, Time: r.cursor.Time, Missing: u})
	if k != nil {
		r.pending = append(r.pending, *k)
	}
}

// fill makes the record of what stands in the segment, or tells why it is none.
func (r *Reader) fill(k *segment.Record) (why string) {
	g, o := r.g, &r.record
	o.Kind, o.Time, o.Miner, o.Reason, o.Scheme, o.Here = Kind(k.Kind), k.Time, nil, "", "", ""
	if k.Miner > 0 {
		if k.Miner > uint64(len(r.miners)) || r.miners[k.Miner-1] == nil {
			return "who it is of was in damaged bytes"
		}
		o.Miner = r.miners[k.Miner-1]
	}
	job := k.ID
	if k.Job >= segment.JobDefined {
		n := k.Job - segment.JobDefined
		if n >= uint64(g.Jobs()) || g.JobID(int(n)) == 0 {
			return "its job was in damaged bytes"
		}
		job = g.JobID(int(n))
	}
	if err := o.ReadBody(k.Body, job); err != nil {
		return err.Error()
	}
	switch o.Kind {
	case KindShare:
		if o.Miner == nil {
			return "it is nobody's share"
		}
		o.Reason, o.Scheme = name(g.Header.Reasons, o.Share.Reason), name(g.Header.Schemes, o.Share.Scheme)
		if o.Share.Above != NotSent {
			o.Here = name(g.Header.Reasons, o.Share.Here)
		}
	case KindJob:
		if k.Job < segment.JobDefined {
			return "its job is not there"
		}
		var err error
		if o.Job.Record, err = g.JobRecord(int(k.Job - segment.JobDefined)); err != nil {
			return err.Error()
		}
	}
	return ""
}

func name(names []string, n uint8) string {
	if int(n) < len(names) {
		return names[n]
	}
	return fmt.Sprint(n)
}

// JobRecord is the record of a job that shares of the present segment name, for
// work.JobReader; nil if it is not there.
func (r *Reader) JobRecord(id uint64) ([]byte, error) {
	if r.g == nil {
		return nil, nil
	}
	n, ok := r.g.JobNumber(id)
	if !ok {
		return nil, nil
	}
	return r.g.JobRecord(n)
}

func (r *Reader) returned() *Record {
	r.came(r.record.Position)
	r.cursor.Time = r.record.Time
	return &r.record
}

// came moves the cursor.
func (r *Reader) came(to Position) {
	switch {
	case r.g != nil && to.Epoch == r.g.Epoch:
		r.cursor.Life = r.g.Header.Life
	case to.Epoch == r.cursor.Epoch:
	case r.g != nil && to.Epoch == r.g.Header.After.Epoch:
		r.cursor.Life = r.g.Header.Before
	default: // of a segment without a header
		r.cursor.Life = ""
	}
	r.cursor.Position = to
}

// follow goes on with the next segment, when the present one has no more.
func (r *Reader) follow() (more bool, err error) {
	if !r.newer {
		next, err := r.newest()
		if err != nil || next.Name == "" {
			return false, err
		}
		// More may have been written before the next one was begun.
		r.newer = true
		if r.g != nil {
			return true, nil
		}
	}
	next, err := r.newest()
	if err != nil {
		return false, err
	}
	if next.Name == "" { // it was deleted at this very moment
		r.newer = false
		return false, nil
	}
	if r.g != nil {
		if info, err := r.g.Stat(); err == nil && info.Size() > r.g.At {
			r.frame.At, r.skipped, r.reason = info.Size(), info.Size()-r.g.At, "the end of a file is not whole"
		}
	}
	r.came(r.position())
	r.newer = false
	err = r.enter(next)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	r.skipped, r.reason = 0, ""
	return err == nil, err
}

// position is that of all that was read of the present segment.
func (r *Reader) position() Position {
	if r.g == nil {
		return r.cursor.Position
	}
	return Position{r.g.Epoch, r.next - 1}
}

// newest is the segment after the present one, or the present one under another file
// that has taken its place; none without a name.
func (r *Reader) newest() (s segment.File, err error) {
	list, err := segment.List(r.dir)
	if err != nil {
		return s, err
	}
	epoch, first := r.cursor.Epoch, r.cursor.Number
	if r.g != nil {
		epoch, first = r.g.Epoch, r.g.First
	}
	for _, s := range list {
		if r.g != nil && s.Name == r.g.Name {
			if now, err := os.Stat(r.g.Path); err == nil {
				if was, err := r.g.Stat(); err == nil && !os.SameFile(was, now) {
					return s, nil
				}
			}
		}
		if (Position{epoch, first}).Before(Position{s.Epoch, s.First}) {
			return s, nil
		}
	}
	return segment.File{}, nil
}
