package journalwriter

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/segment"
	"github.com/ckpool/ckpool/journal"
)

// Place is where a copy of a journal has come: everything up to Size bytes of a segment.
// The zero value is that of an empty copy.
type Place struct {
	Segment string `json:"segment,omitempty"` // name of the file
	Mark    string `json:"mark,omitempty"`    // of its header, which tells it from others of the name
	Size    int64  `json:"size,omitempty"`    // bytes
}

// Piece is some whole frames of a segment, the first of them with its header.
type Piece struct {
	Segment string
	At      int64 // offset in the file
	Data    []byte
	Cursor  journal.Cursor // of the last record up to here
}

// End is the place behind it, without a mark.
func (p *Piece) End() Place { return Place{Segment: p.Segment, Size: p.At + int64(len(p.Data))} }

// pieceSize is how long a piece is, about.
const pieceSize = 128 << 10

// Tail reads the bytes of a journal for a copy elsewhere, in order, as they become safe.
// It is for one goroutine.
type Tail struct {
	dir    string
	g      *segment.Segment // nil: none yet
	sent   int64            // bytes of g
	cursor journal.Cursor
	events event.Func
}

// NewTail reads what a copy that has come to a place has not. The error wraps [journal.ErrHistory]
// where the copy has what the journal never had.
func NewTail(dir string, after Place, events event.Func) (*Tail, error) {
	t := &Tail{dir: dir, events: events}
	if after.Segment == "" {
		return t, nil
	}
	at, ok := segment.ParseName(after.Segment)
	if !ok {
		return nil, fmt.Errorf("journal %s: the copy is at %.60q, which is no segment", dir, after.Segment)
	}
	h, err := journal.Describe(dir)
	if err == nil && h.Epoch < at.Epoch {
		err = fmt.Errorf("journal %s has come to epoch %d, and the copy has %s: %w", dir, h.Epoch, after.Segment, journal.ErrHistory)
	}
	if err != nil {
		return nil, err
	}
	// One that is deleted here is whole there.
	t.cursor.Position = journal.Position{Epoch: at.Epoch, Number: at.First}
	g, err := segment.Open(dir, at)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, segment.ErrNoHeader):
		return t, nil
	case err != nil:
		return nil, err
	case g.Header.Mark != after.Mark:
		g.Close()
		return nil, fmt.Errorf("%s: the copy has another one of that name: %w", g.Path, journal.ErrHistory)
	}
	t.enter(g)
	// What is behind the end is there alone: it was lost here by a power cut.
	info, err := g.Stat()
	if err != nil {
		t.Close()
		return nil, err
	}
	t.sent = min(after.Size, info.Size())
	g.At = max(g.At, t.sent)
	return t, nil
}

func (t *Tail) enter(g *segment.Segment) {
	t.Close()
	t.g, t.sent = g, 0
	t.cursor.Instance, t.cursor.Network = g.Header.Instance, g.Header.Network
	t.cursor.Life, t.cursor.Position = g.Header.Life, journal.Position{Epoch: g.Epoch, Number: g.First - 1}
}

// Close closes the file.
func (t *Tail) Close() {
	if t.g != nil {
		t.g.Close()
		t.g = nil
	}
}

// Next is the next piece of records that are not behind safe; its data are valid until the
// next call. The error is io.EOF while there is none.
func (t *Tail) Next(safe journal.Position) (p Piece, err error) {
	for {
		if t.g != nil {
			if p, err = t.piece(safe); len(p.Data) > 0 || err != nil {
				return p, err
			}
		}
		if more, err := t.follow(); err != nil {
			return p, err
		} else if !more {
			return p, io.EOF
		}
	}
}

// piece is the next of the present segment, empty if there is none.
func (t *Tail) piece(safe journal.Position) (p Piece, err error) {
	g := t.g
	end := g.At // the header at first
	for end-t.sent < pieceSize {
		at := g.At
		var f segment.Frame
		_, whole, err := g.Next(&f)
		if err != nil {
			return p, fmt.Errorf("%s: %w", g.Path, err)
		}
		if !whole {
			break
		}
		last := journal.Position{Epoch: g.Epoch, Number: f.End() - 1}
		if f.Count > 0 && safe.Before(last) {
			g.At = at
			break
		}
		t.cursor.Position = last
		if f.Count > 0 {
			if parts, ok := f.Parts(); ok {
				t.cursor.Time = parts.Time
			}
		}
		end = g.At
	}
	if end == t.sent {
		return p, nil
	}
	p = Piece{Segment: g.Name, At: t.sent, Data: make([]byte, end-t.sent), Cursor: t.cursor}
	if _, err := g.ReadAt(p.Data, t.sent); err != nil {
		return Piece{}, fmt.Errorf("%s: %w", g.Path, err)
	}
	t.sent = end
	return p, nil
}

// follow goes on with the next segment, when the present one has no more.
func (t *Tail) follow() (more bool, err error) {
	list, err := segment.List(t.dir)
	if err != nil {
		return false, err
	}
	at := segment.File{Epoch: t.cursor.Epoch, First: t.cursor.Number}
	if t.g != nil {
		at = t.g.File
		// More may have been written before the next one was begun; what is no frame then
		// never becomes one.
		var f segment.Frame
		if _, whole, err := t.g.Next(&f); err != nil || whole {
			t.g.At -= f.Size
			return false, err
		}
	}
	for _, s := range list {
		if !at.Before(s.Epoch, s.First) {
			continue
		}
		g, err := segment.Open(t.dir, s)
		switch {
		case errors.Is(err, segment.ErrNoHeader):
			t.events.Say(event.Error, fmt.Sprintf("Journal %s: %s cannot be read, and is left out: its header is damaged", t.dir, s.Name))
			continue
		case errors.Is(err, fs.ErrNotExist): // deleted since
			continue
		case err != nil:
			return false, err
		}
		t.enter(g)
		return true, nil
	}
	return false, nil
}

// Mirror is a copy of a journal that is written elsewhere. It can be read as the journal
// itself, and what all readers have read is deleted likewise. All but Run is for one
// goroutine.
type Mirror struct {
	keeper
	lock *os.File
	file file // nil: none yet

	network string // "": not known
	place   Place
	safe    int64          // bytes of it that a sync has made safe
	header  segment.Header // of the present segment
	size    atomic.Int64   // of the present segment
	name    atomic.Pointer[string]
}

// OpenMirror takes the copy in a directory, which is made if there is none, of the journal
// of an instance. What is not whole at its end is cut off. Only one process at a time has
// it.
func OpenMirror(dir, instance, network string, maxSize int64, events event.Func) (*Mirror, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	m := &Mirror{keeper: keeper{dir: dir, instance: instance, maxSize: maxSize, events: events}, network: network}
	m.current = func() (string, int64) {
		if name := m.name.Load(); name != nil {
			return *name, m.size.Load()
		}
		return "", 0
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	m.lock = lock
	if err := m.resume(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// resume finds where the copy has come.
func (m *Mirror) resume() error {
	list, err := segment.List(m.dir)
	if err != nil || len(list) == 0 {
		return err
	}
	g, err := segment.Open(m.dir, list[len(list)-1])
	if err != nil {
		return err
	}
	defer g.Close()
	if err := m.fits(g.Path, &g.Header); err != nil {
		return err
	}
	end := g.At
	for {
		var f segment.Frame
		_, whole, err := g.Next(&f)
		if err != nil {
			return fmt.Errorf("%s: %w", g.Path, err)
		}
		if !whole {
			break
		}
		end = g.At
	}
	file, err := os.OpenFile(g.Path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = file.Truncate(end)
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		file.Close()
		return err
	}
	m.enter(diskFile{file}, Place{g.Name, g.Header.Mark, end}, g.Header)
	return nil
}

func (m *Mirror) fits(path string, h *segment.Header) error {
	switch {
	case h.Instance != m.instance:
		return fmt.Errorf("%s is of the journal %s, want %s", path, h.Instance, m.instance)
	case h.Network != m.network:
		return fmt.Errorf("%s has shares of the network %s, want those of %s", path, h.Network, m.network)
	}
	return nil
}

// follows refuses a segment that does not go on from what the copy has: an older copy of the
// journal was put back where the copy's newest segment had been deleted, or never was.
func (m *Mirror) follows(path string, h *segment.Header) error {
	was := &m.header
	life := h.Before // of the epoch before, which may be the copy's
	switch {
	case m.file == nil || was.Life == "":
		return nil
	case h.Epoch == was.Epoch:
		life = h.Life
	case h.After.Epoch > was.Epoch || h.After.Epoch == was.Epoch && life == "":
		return nil
	case h.After.Epoch < was.Epoch:
		life = "" // it knows nothing of that epoch
	}
	if life != was.Life {
		return fmt.Errorf("%s does not go on from %s, which is in the copy: %w", path, m.place.Segment, journal.ErrHistory)
	}
	return nil
}

func (m *Mirror) enter(f file, p Place, h segment.Header) {
	if m.file != nil {
		m.file.Close()
	}
	m.file, m.place, m.safe, m.header = f, p, p.Size, h
	m.name.Store(&p.Segment)
	m.size.Store(p.Size)
}

// Place is where the copy has come.
func (m *Mirror) Place() Place { return m.place }

// Write adds a piece, which must be the next one.
func (m *Mirror) Write(p *Piece) error {
	s, ok := segment.ParseName(p.Segment)
	switch {
	case !ok:
		return fmt.Errorf("%.60q is no segment", p.Segment)
	case m.place.Segment == p.Segment && p.At == m.place.Size:
		if _, err := m.file.WriteAt(p.Data, p.At); err != nil {
			return err
		}
		m.place.Size += int64(len(p.Data))
		m.size.Store(m.place.Size)
		return nil
	case p.At != 0 || m.place.Segment >= p.Segment:
		return fmt.Errorf("bytes of %s from %d on, and the copy is at %d of %s", p.Segment, p.At, m.place.Size, m.place.Segment)
	}
	// A segment has its name when its header is whole.
	path := filepath.Join(m.dir, segment.Temporary+p.Segment)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	err = m.begin(f, path, s, p)
	if err != nil {
		f.Close()
		os.Remove(path)
	}
	return err
}

func (m *Mirror) begin(f *os.File, path string, s segment.File, p *Piece) error {
	if _, err := f.Write(p.Data); err != nil {
		return err
	}
	g, err := segment.Read(path, f, s)
	if err != nil {
		return err
	}
	if err := m.fits(path, &g.Header); err != nil {
		return err
	}
	if err := m.follows(s.Name, &g.Header); err != nil {
		return err
	}
	if err := m.Sync(); err != nil { // the one before is whole
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(path, filepath.Join(m.dir, s.Name)); err != nil {
		return err
	}
	if err := segment.SyncDir(m.dir); err != nil {
		return err // the next one has another file of that name
	}
	m.enter(diskFile{f}, Place{s.Name, g.Header.Mark, int64(len(p.Data))}, g.Header)
	return nil
}

// Sync makes safe what was written. After an error the copy is where it was at the last one
// that succeeded: what of the rest is on disk is not known, and another sync would not tell.
func (m *Mirror) Sync() error {
	if m.file == nil {
		return nil
	}
	err := m.file.Sync()
	if err != nil {
		m.place.Size = m.safe
		m.size.Store(m.safe)
	}
	m.safe = m.place.Size
	return err
}

// Run deletes what all readers have read, until ctx ends.
func (m *Mirror) Run(ctx context.Context) { m.keep(ctx) }

// Close lets the copy go. Run must have returned.
func (m *Mirror) Close() {
	if m.file != nil {
		m.file.Close()
		m.file = nil
	}
	_ = leaveLock(m.lock)
}

// ErrLocked is wrapped by errors about a journal that another process has.
var ErrLocked = errors.New("is being written by another process")

// takeLock makes a directory this process's.
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("journal %s %w: give each instance a directory of its own", dir, ErrLocked)
		}
		return nil, fmt.Errorf("journal %s: lock: %w", dir, err)
	}
	return f, nil
}

// leaveLock leaves it to others. A child that is just being started has a copy of the file
// until it becomes another program: closing ours would not be enough.
func leaveLock(f *os.File) error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}

// Mirrors of the journals of several pools are in one directory, each in one that is
// called by the name of the pool's instance and what tells its journal from others.

// MirrorDir is the name of such a directory.
func MirrorDir(instance, name string) string { return name + "-" + instance }

// MirrorOf is what a directory of that name has.
func MirrorOf(dir string) (instance, name string, ok bool) {
	dir = filepath.Base(dir)
	i := strings.LastIndexByte(dir, '-')
	if i < 1 || !instanceID(dir[i+1:]) {
		return "", "", false
	}
	return dir[i+1:], dir[:i], true
}

// Mirrors are the directories with mirrors that are in one.
func Mirrors(dir string) (list []string) {
	entries, _ := os.ReadDir(dir) // without it there are none
	for _, e := range entries {
		if _, _, ok := MirrorOf(e.Name()); ok {
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list
}

// instanceID reports whether a text is what tells a journal from others: 32 hex digits.
func instanceID(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b) == 16
}
