package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/segment"
	"github.com/ckpool/ckpool/work"
)

// Header is what a segment tells of itself: whose it is, and how its numbers are read.
type Header struct {
	Instance string   // of the journal: 32 hex digits, made once, so that no two journals have the same
	Name     string   // of the pool's instance
	Network  string   // that it mines on: main, test, testnet4, signet or regtest
	Program  string   // that wrote the segment, with its version
	Epoch    uint64   // of its records
	Life     string   // what tells the epoch from others of its number: 16 hex digits, random
	First    uint64   // number of the first record
	After    Position // of the last record of the epoch before
	Before   string   // the Life of that epoch, "" if it is not known
	Created  int64    // microseconds since 1970
	Reasons  []string // why shares are refused, by their number; the first is that they are not
	Schemes  []string // of reward, by their number
}

func headerOf(h *segment.Header) Header {
	return Header{
		Instance: h.Instance, Name: h.Name, Network: h.Network, Program: h.Program, Epoch: h.Epoch, Life: h.Life,
		First: h.First, After: Position(h.After), Before: h.Before, Created: h.Created, Reasons: h.Reasons, Schemes: h.Schemes,
	}
}

// Segment is what a segment has in it. A segment is one file of a journal.
type Segment struct {
	Name    string   // of the file
	Size    int64    // bytes
	Header  Header   // zero if it is damaged
	Last    Position // of the last record
	Records uint64   // how many
	Shares  uint64   // of Records
	Whole   bool     // it was ended; nothing more comes
	Damaged []Damage // in their order
}

// Damage is bytes of a file that are no part of any frame. At the end of the newest
// segment it may be what is being written.
type Damage struct {
	Offset int64 // of the first of them
	Bytes  int64 // how many
}

// Segments lists the segments of a journal, the oldest first, and looks at every byte
// of them.
func Segments(dir string) ([]Segment, error) {
	files, err := segment.List(dir)
	if err != nil {
		return nil, err
	}
	var list []Segment
	for _, f := range files {
		s, err := listSegment(dir, f)
		if errors.Is(err, fs.ErrNotExist) { // deleted since
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func listSegment(dir string, f segment.File) (s Segment, err error) {
	s = Segment{Name: f.Name, Last: Position{f.Epoch, f.First - 1}}
	g, err := segment.Open(dir, f)
	if errors.Is(err, segment.ErrNoHeader) {
		if info, err := os.Stat(filepath.Join(dir, f.Name)); err == nil {
			s.Size, s.Damaged = info.Size(), []Damage{{0, info.Size()}}
		}
		return s, nil
	}
	if err != nil {
		return s, err
	}
	defer g.Close()
	s.Header = headerOf(&g.Header)
	for {
		at := g.At
		var k segment.Frame
		skipped, whole, err := g.Next(&k)
		if err != nil {
			return s, fmt.Errorf("%s: %w", g.Path, err)
		}
		if !whole {
			break
		}
		if skipped > 0 {
			s.Damaged = append(s.Damaged, Damage{at, skipped})
		}
		s.Records += uint64(k.Count)
		s.Shares += uint64(k.Shares)
		s.Last.Number = max(s.Last.Number, k.End()-1)
		s.Whole = k.Kind == segment.EndFrame
	}
	info, err := g.Stat()
	if err != nil {
		return s, err
	}
	if s.Size = info.Size(); s.Size > g.At {
		s.Damaged = append(s.Damaged, Damage{g.At, s.Size - g.At})
	}
	return s, nil
}

// Epoch is one that a journal has records of, or had, and the Life of it, "" if no header
// tells it.
type Epoch struct {
	Number uint64 // as positions have it
	Life   string // see Header
}

// Epochs lists the epochs of a journal, the oldest first. Where its first segments are
// deleted, the first of the list is the epoch that was before those that are there, with the
// number 0 where nothing tells which: so it is known from a place in it whether the journal
// goes on there.
func Epochs(dir string) ([]Epoch, error) {
	list, err := segment.List(dir)
	if err != nil {
		return nil, err
	}
	var epochs []Epoch
	var before *Epoch
	for i, f := range list {
		if n := len(epochs); n == 0 || epochs[n-1].Number != f.Epoch {
			epochs = append(epochs, Epoch{Number: f.Epoch})
		}
		e := &epochs[len(epochs)-1]
		if e.Life != "" {
			continue
		}
		g, err := segment.Open(dir, f)
		if errors.Is(err, segment.ErrNoHeader) || errors.Is(err, fs.ErrNotExist) || // deleted since
			errors.Is(err, syscall.EIO) && i < len(list)-1 { // it may have been read long ago
			continue
		}
		if err != nil {
			return nil, err
		}
		e.Life = g.Header.Life
		if before == nil {
			before = &Epoch{g.Header.After.Epoch, g.Header.Before}
		}
		g.Close()
	}
	if before != nil && before.Number < epochs[0].Number && epochs[0].Number > 1 {
		epochs = append([]Epoch{*before}, epochs...)
	}
	return epochs, nil
}

// Backlog is what a journal has behind a position.
type Backlog struct {
	Records uint64 // how many
	Shares  uint64 // of Records
	Since   int64  // time of the first of the records, 0 if there is none
}

// Behind counts what a reader at a position has not read yet. It looks at frames, so
// that it takes far less time than reading them.
func Behind(dir string, p Position) (b Backlog, err error) {
	list, err := segment.List(dir)
	if err != nil {
		return b, err
	}
	for i, f := range list {
		if f.Epoch < p.Epoch || i+1 < len(list) && list[i+1].Epoch == p.Epoch && list[i+1].First <= p.Number+1 {
			continue
		}
		next := f.First
		if f.Epoch == p.Epoch {
			next = max(next, p.Number+1)
		}
		end, err := b.add(dir, f, next)
		if err != nil && !errors.Is(err, segment.ErrNoHeader) && !errors.Is(err, fs.ErrNotExist) { // deleted since
			return b, err
		}
		p = Position{f.Epoch, end - 1}
	}
	return b, nil
}

// add adds the records of a segment from a number on, and returns the one behind them.
func (b *Backlog) add(dir string, f segment.File, next uint64) (uint64, error) {
	g, err := segment.Open(dir, f)
	if err != nil {
		return next, err
	}
	defer g.Close()
	var k segment.Frame
	for {
		_, whole, err := g.Next(&k)
		if err != nil {
			return next, fmt.Errorf("%s: %w", g.Path, err)
		}
		if !whole {
			return next, nil
		}
		end := k.End()
		if end <= next {
			continue
		}
		if k.First >= next && b.Since != 0 {
			b.Records, b.Shares = b.Records+uint64(k.Count), b.Shares+uint64(k.Shares)
			next = end
			continue
		}
		parts, ok := k.Parts()
		if !ok {
			continue
		}
		for n, rest, at := k.First, parts.Records, parts.Time; n < end; n++ {
			var r segment.Record
			if r, rest, ok = segment.NextRecord(rest, at); !ok {
				break
			}
			if at = r.Time; n < next {
				continue
			}
			if b.Since == 0 {
				b.Since = r.Time
			}
			if b.Records++; Kind(r.Kind) == KindShare {
				b.Shares++
			}
		}
		next = end
	}
}

// Summary is what a check has seen.
type Summary struct {
	Segments   uint64 // files
	Records    uint64 // that could be read
	Shares     uint64 // of Records
	Computed   uint64 // shares whose hash and difficulty were computed again
	JobMissing uint64 // shares that were not, since their job is not in the journal
	Missing    uint64 // records, where it is known how many
	Wrong      uint64 // shares that are not what package work computes
}

// Finding is something that is not right.
type Finding struct {
	Position Position // zero: it is about a file
	Text     string   // what
}

// progressStep is after how many records Check tells how far it is.
const progressStep = 4096

// Check reads a whole journal and computes its shares again. report is told what is
// not right; an error is about what could not be checked. progress, unless it is nil, is
// told now and then how many records were looked at, of how many.
func Check(dir string, report func(Finding), progress func(done, of uint64)) (s Summary, err error) {
	list, err := Segments(dir)
	if err != nil {
		return s, err
	}
	all := uint64(0)
	for i, g := range list {
		s.Segments++
		all += g.Records
		for _, d := range g.Damaged {
			text := fmt.Sprintf("%s: %d bytes from %d on are damaged", g.Name, d.Bytes, d.Offset)
			if i == len(list)-1 && d.Offset+d.Bytes == g.Size {
				text = fmt.Sprintf("%s: the last %d bytes are not whole, unless they are being written", g.Name, d.Bytes)
			}
			report(Finding{Text: text})
		}
	}
	r, err := Open(dir, Cursor{})
	if err != nil {
		return s, err
	}
	defer r.Close()
	c := checker{reader: r, jobs: map[uint64]*work.Job{}}
	for {
		if progress != nil && s.Records%progressStep == 0 {
			progress(s.Records, all)
		}
		k, err := r.Read()
		if err == io.EOF {
			return s, nil
		}
		if err != nil {
			return s, err
		}
		switch s.Records++; k.Kind {
		case KindMissing:
			s.Records--
			s.Missing += k.Missing.Count
			report(Finding{k.Position, k.Missing.String()})
		case KindJob:
			if _, err := new(work.JobReader).Read(k.Job.Record); err != nil {
				report(Finding{k.Position, fmt.Sprintf("job %016x: %v", k.Job.ID, err)})
			}
		case KindShare:
			s.Shares++
			if err := c.share(k, &s); err != nil {
				s.Wrong++
				report(Finding{k.Position, err.Error()})
			}
		}
	}
}

// String tells what is missing up to the position of the record.
func (m Missing) String() string {
	text := fmt.Sprintf("records from %v on are missing: %s", m.First, m.Why)
	if m.Count > 0 {
		text = fmt.Sprintf("%d %s", m.Count, text)
	}
	if m.Bytes > 0 {
		text += fmt.Sprintf(" (%d bytes of %s from %d on)", m.Bytes, m.File, m.Offset)
	}
	return text
}

// Checker computes shares again that a Reader has read. It is for one goroutine.
type Checker struct {
	checker
	summary Summary
}

// NewChecker checks what r reads.
func NewChecker(r *Reader) *Checker {
	return &Checker{checker: checker{reader: r, jobs: map[uint64]*work.Job{}}}
}

// Share computes the share of the record that was read last. The error is what is wrong
// with it: its hash is not that of what was found, or does not reach what it earns, or its job,
// which stands before it in a segment, is not there. One that was refused without being
// hashed is zero. It is valid until the next call.
func (c *Checker) Share(k *Record) (*work.Share, error) {
	c.got = work.Share{}
	err := c.share(k, &c.summary)
	if err == nil && k.Share.Credit != 0 && c.got.Hash != k.Share.Hash {
		err = fmt.Errorf("a share of %s with a credit of %g is of job %016x, which is not there", k.Miner.Worker, k.Share.Credit, k.Share.Job)
	}
	return &c.got, err
}

// checker computes shares again.
type checker struct {
	reader *Reader
	jobs   map[uint64]*work.Job // nil: it is not in the journal
	got    work.Share           // what was computed last
}

// maxJobs bounds the jobs that are kept.
const maxJobs = 256

func (c *checker) job(id uint64) (*work.Job, error) {
	if j, ok := c.jobs[id]; ok {
		return j, nil
	}
	record, err := c.reader.JobRecord(id)
	if err != nil {
		return nil, err
	}
	var j *work.Job
	if record != nil {
		if j, err = new(work.JobReader).Read(record); err != nil {
			return nil, err
		}
	}
	if len(c.jobs) >= maxJobs {
		clear(c.jobs)
	}
	if j != nil { // it may be defined further on
		c.jobs[id] = j
	}
	return j, nil
}

// share tells what is wrong with a share.
func (c *checker) share(k *Record, s *Summary) error {
	sh := &k.Share
	if sh.Reason != 0 && sh.Credit != 0 {
		return fmt.Errorf("a share that was refused (%s) has a credit of %g", k.Reason, sh.Credit)
	}
	if sh.Above == AcceptedAbove && sh.Reason != 0 {
		return fmt.Errorf("a share that was accepted above was refused (%s)", k.Reason)
	}
	if !sh.Hashed() {
		if sh.Credit != 0 {
			return fmt.Errorf("a share with a credit of %g has no hash", sh.Credit)
		}
		return nil
	}
	j, err := c.job(sh.Job)
	if err != nil {
		return err
	}
	if j == nil {
		s.JobMissing++
		return nil
	}
	got := &c.got
	j.Hash(got,
		&work.Miner{Limit: k.Miner.Limit, Payout: k.Miner.Payout, Extranonce1: sh.Extranonce1},
		&work.Solution{Variant: sh.Variant, Extranonce2: sh.Extranonce2, Time: sh.NTime, Nonce: sh.Nonce, Version: sh.Version})
	s.Computed++
	if got.Hash != sh.Hash {
		return fmt.Errorf("a share of %s has the hash %s, and the journal says %s", k.Miner.Worker, work.FormatHash(got.Hash), work.FormatHash(sh.Hash))
	}
	if sh.Credit > 0 && !difficulty.Meets(&got.Hash, sh.Credit) {
		return fmt.Errorf("a share of %s with a credit of %g has the difficulty %g", k.Miner.Worker, sh.Credit, got.Difficulty)
	}
	return nil
}

// ErrNone is what errors are about a directory that has no journal, or none that anything was written to.
var ErrNone = errors.New("there is no journal in it")

// Describe is the header of the newest segment that has one: whose the journal of a
// directory is.
func Describe(dir string) (Header, error) {
	list, err := segment.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for i := len(list) - 1; i >= 0 && err == nil; i-- {
		var g *segment.Segment
		if g, err = segment.Open(dir, list[i]); err == nil {
			g.Close()
			return headerOf(&g.Header), nil
		}
		if errors.Is(err, segment.ErrNoHeader) || errors.Is(err, fs.ErrNotExist) { // deleted since
			err = nil
		}
	}
	if err == nil {
		err = ErrNone
	}
	return Header{}, fmt.Errorf("%s: %w", dir, err)
}
