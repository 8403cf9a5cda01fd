package segment

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// Format is that of segments and of the journal's own file. Another one is refused.
const Format = 1

// Position is the place of a record: the number of its epoch, and its number in it.
type Position struct {
	Epoch  uint64 `json:"epoch"`
	Number uint64 `json:"number"`
}

// Before reports whether p is the earlier.
func (p Position) Before(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Number < q.Number
}

// Header is what stands at the beginning of a segment, twice.
type Header struct {
	Format   int      `json:"format"`
	Instance string   `json:"instance"` // of the journal: 32 hex digits, made once
	Name     string   `json:"name"`     // of the pool's instance
	Network  string   `json:"network"`
	Program  string   `json:"program"` // that wrote it, with its version
	Epoch    uint64   `json:"epoch"`
	Life     string   `json:"life"`    // what tells the epoch from others of its number: 16 hex digits, random
	First    uint64   `json:"first"`   // number of the first record
	After    Position `json:"after"`   // of the last record of the epoch before
	Before   string   `json:"before"`  // the Life of that epoch, "" if it is not known
	Created  int64    `json:"created"` // microseconds since 1970
	Mark     string   `json:"mark"`    // of its frames, 16 hex digits

	Kinds   map[uint8]string `json:"kinds"`   // of records, by their number
	Reasons []string         `json:"reasons"` // why shares are refused, by their number
	Schemes []string         `json:"schemes"` // of reward, by their number
	Rings   []Ring           `json:"rings"`
}

// Ring is how far a ring's records are in segments.
type Ring struct {
	At     uint64 `json:"at"`
	Lost   uint64 `json:"lost"`
	Shares uint64 `json:"shares"` // of Lost
}

// ErrLater is what errors about a journal are that a later release wrote.
var ErrLater = errors.New("a later release wrote it")

// Later tells that a program wrote what this release does not know to a file.
func Later(file, program, what string) error { return &laterError{file, program, what} }

type laterError struct{ file, program, what string }

func (e *laterError) Error() string {
	return fmt.Sprintf("%s: it was written by %s and has %s, which this release does not know: install that release or a later one here, too", e.file, e.program, e.what)
}

func (e *laterError) Is(target error) bool { return target == ErrLater }

// headerPage is what the first copy of a header is padded to a multiple of, lest one
// damaged block has both.
const headerPage = 4096

// maxHeaders is more than both copies have.
const maxHeaders = 1 << 20

// AppendTo appends both copies.
func (h *Header) AppendTo(b []byte) ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return b, err
	}
	for range 2 {
		at := len(b)
		b = append(BeginFrame(b), text...)
		for len(b)%headerPage != 0 {
			b = append(b, ' ')
		}
		FinishFrame(b[at:], HeaderMark, &Frame{Kind: HeaderFrame, First: h.First})
	}
	return b, nil
}

func (h *Header) markBytes() (mark Mark, ok bool) {
	b, err := hex.DecodeString(h.Mark)
	return mark, err == nil && copy(mark[:], b) == len(b) && len(b) == markLen
}

// File is the place of a segment.
type File struct {
	Name  string
	Epoch uint64
	First uint64
}

const suffix = ".journal"

// Name is the name of a segment's file.
func Name(epoch, first uint64) string { return fmt.Sprintf("%08x-%016x%s", epoch, first, suffix) }

// ParseName reads a name.
func ParseName(name string) (s File, ok bool) {
	n, err := fmt.Sscanf(name, "%08x-%016x"+suffix, &s.Epoch, &s.First)
	s.Name = name
	return s, err == nil && n == 2 && name == Name(s.Epoch, s.First)
}

// Before reports whether s stands before the segment that begins at a place.
func (s File) Before(epoch, first uint64) bool {
	return Position{s.Epoch, s.First}.Before(Position{epoch, first})
}

// List lists the segments of a directory, the oldest first.
func List(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []File
	for _, e := range entries {
		if s, ok := ParseName(e.Name()); ok {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b File) int {
		switch {
		case a.Before(b.Epoch, b.First):
			return -1
		case b.Before(a.Epoch, a.First):
			return 1
		}
		return 0
	})
	return list, nil
}

// ErrNoHeader is about a segment both copies of whose header are damaged.
var ErrNoHeader = errors.New("its header is damaged")

// Segment is one that is open to be read. Owned by who opened it.
type Segment struct {
	File
	Path   string
	Header Header
	Scanner

	file   *os.File
	miners int // that are defined, or are damaged
	jobs   []job
	byID   map[uint64]int // of jobs
}

// job is where a job is defined.
type job struct {
	id     uint64
	at     int64 // of its record in the file
	length int   // 0 for one that is damaged
}

// Open opens a segment of a directory. The error wraps ErrNoHeader or ErrLater if it is
// about what stands in it.
func Open(dir string, s File) (*Segment, error) {
	path := filepath.Join(dir, s.Name)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	g, err := Read(path, f, s)
	if err != nil {
		f.Close()
	}
	return g, err
}

// Read is Open for a file that is open, which the segment's Close closes.
func Read(path string, f *os.File, s File) (*Segment, error) {
	g := &Segment{File: s, Path: path, file: f, Scanner: Scanner{File: f, Mark: HeaderMark}, byID: map[uint64]int{}}
	return g, g.readHeader()
}

// Close closes the file.
func (g *Segment) Close() { g.file.Close() }

// Stat is what the system knows of the file.
func (g *Segment) Stat() (fs.FileInfo, error) { return g.file.Stat() }

// ReadAt reads bytes of the file.
func (g *Segment) ReadAt(b []byte, at int64) (int, error) { return g.file.ReadAt(b, at) }

// readHeader reads the copies of the header, of which one is enough.
func (g *Segment) readHeader() error {
	var mark Mark
	end := int64(-1)
	for {
		var f Frame
		_, whole, err := g.Next(&f)
		if err != nil {
			return fmt.Errorf("%s: %w", g.Path, err)
		}
		if !whole || f.At > maxHeaders {
			break
		}
		var format struct {
			Format  int
			Program string
		}
		if json.Unmarshal(f.Body, &format) == nil && format.Format > Format {
			return Later(g.Path, format.Program, fmt.Sprintf("format %d", format.Format))
		}
		var h Header
		if f.Kind != HeaderFrame || json.Unmarshal(f.Body, &h) != nil || h.Format < 1 || h.Epoch != g.Epoch || h.First != g.First {
			continue
		}
		m, ok := h.markBytes()
		if !ok {
			continue
		}
		g.Header, mark, end = h, m, f.At+f.Size
		if f.At > 0 {
			break
		}
	}
	if end < 0 {
		return fmt.Errorf("%s: %w", g.Path, ErrNoHeader)
	}
	g.Mark, g.At = mark, end
	return nil
}

// Define takes the definitions of a frame. Those of damaged frames before it are
// left out. miner takes a miner's, with its number; it reports whether it is one.
func (g *Segment) Define(f *Frame, r *Parts, miner func(n int, definition []byte) bool) bool {
	if r.Miners < g.miners || r.Jobs < len(g.jobs) {
		return false
	}
	// What was defined before it stood before it.
	if int64(r.Miners) > f.At/minerSize || int64(r.Jobs) > f.At/jobSize {
		return false
	}
	g.miners = r.Miners
	g.jobs = append(g.jobs, make([]job, r.Jobs-len(g.jobs))...)
	base := f.At + int64(FrameHead+partsHead)
	for rest := r.Defs; len(rest) > 0; {
		of, d, next, ok := nextDefinition(rest)
		if !ok {
			return false
		}
		rest = next
		switch of {
		case defineMiner:
			if !miner(g.miners, d) {
				return false
			}
			g.miners++
		case defineJob:
			if len(d) < 8 {
				return false
			}
			id := binary.BigEndian.Uint64(d)
			g.byID[id] = len(g.jobs)
			g.jobs = append(g.jobs, job{id, base + int64(len(r.Defs)-len(rest)-len(d)+8), len(d) - 8})
		default:
			return false
		}
	}
	return true
}

// Jobs is how many jobs are defined so far.
func (g *Segment) Jobs() int { return len(g.jobs) }

// JobID is the id of job n, from 0 to Jobs; 0 if its definition is damaged.
func (g *Segment) JobID(n int) uint64 { return g.jobs[n].id }

// JobNumber is the number of the job with an id, as far as one is defined.
func (g *Segment) JobNumber(id uint64) (n int, ok bool) {
	n, ok = g.byID[id]
	return n, ok
}

// JobRecord is the record of job n.
func (g *Segment) JobRecord(n int) ([]byte, error) {
	p := g.jobs[n]
	b := make([]byte, p.length)
	if _, err := g.file.ReadAt(b, p.at); err != nil {
		return nil, fmt.Errorf("%s: job %016x: %w", g.Path, p.id, err)
	}
	return b, nil
}

// StateFile is what a journal has beside its segments.
const StateFile = "journal.json"

// State is the content of StateFile. It is replaced when an epoch begins, before
// anything else of it is there.
type State struct {
	Format   int      `json:"format"`
	Instance string   `json:"instance"`
	Network  string   `json:"network"`
	Epoch    uint64   `json:"epoch"`
	Life     string   `json:"life"`  // of the epoch
	Rings    []string `json:"rings"` // where they are, by their number
}

// ID is the instance as bytes.
func (s *State) ID() (id [16]byte, ok bool) {
	b, err := hex.DecodeString(s.Instance)
	return id, err == nil && len(b) == len(id) && copy(id[:], b) == len(id)
}

// ReadState is nil for a directory without one.
func ReadState(dir string) (*State, error) {
	path := filepath.Join(dir, StateFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s: %w; put it back from a backup, or remove it: it is made anew from the segments", path, err)
	}
	if s.Format > Format {
		return nil, Later(path, "a later release", fmt.Sprintf("format %d", s.Format))
	}
	if _, ok := s.ID(); !ok {
		return nil, fmt.Errorf("%s: \"instance\": want 32 hex digits, got %q", path, s.Instance)
	}
	return &s, nil
}

// Replace puts a file in the place of another one, so that after a power cut
// there is one of both, whole. One process at a time does. With keep the old one stays,
// under the name of a temporary file, for the next one to be written over it: on a full disk
// that takes no room. Without, it takes that of a new file always.
func Replace(path string, b []byte, keep bool) error {
	dir, name := filepath.Split(path)
	next, last := dir+Temporary+name, dir+replaced+name
	if !keep {
		os.Remove(next)
	}
	f, err := openSpare(next)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Truncate(int64(len(b)))
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	os.Remove(last) // of a process that was killed here
	keep = keep && os.Link(path, last) == nil
	if err := os.Rename(next, path); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return err
	}
	if keep {
		_ = os.Rename(last, next)
	}
	return nil
}

// openSpare opens a file to be written over, or makes it. One that cannot be written, or that
// has another name too, makes way for a new one.
func openSpare(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o640)
	if err == nil {
		info, e := f.Stat()
		if e == nil && info.Sys().(*syscall.Stat_t).Nlink == 1 {
			return f, nil
		}
		f.Close()
		err = e
	}
	if e := os.Remove(path); e != nil {
		return nil, cmp.Or(err, e)
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
}

// replaced begins the names of files that another one has just taken the place of.
const replaced = ".old-"

// Temporary begins the names of files that are not there yet.
const Temporary = ".new-"

// SyncDir makes the names in a directory safe.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
