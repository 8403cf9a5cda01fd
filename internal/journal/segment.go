package journal

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// formatVersion is that of segments and of the journal's own file. Another one is
// refused.
const formatVersion = 1

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

	Kinds   map[Kind]string `json:"kinds"`   // of records, by their number
	Reasons []string        `json:"reasons"` // why shares are refused, by their number
	Schemes []string        `json:"schemes"` // of reward, by their number
	Rings   []ringState     `json:"rings"`
}

// ringState is how far a ring's records are in segments.
type ringState struct {
	At     uint64 `json:"at"`
	Lost   uint64 `json:"lost"`
	Shares uint64 `json:"shares"` // of Lost
}

// LaterError is about a journal that a later release wrote.
type LaterError struct {
	File, Program string
	What          string
}

func (e *LaterError) Error() string {
	return fmt.Sprintf("%s: it was written by %s and has %s, which this release does not know: install that release or a later one here, too", e.File, e.Program, e.What)
}

// headerPage is what the first copy of a header is padded to a multiple of, lest one
// damaged block has both.
const headerPage = 4096

// maxHeaders is more than both copies have.
const maxHeaders = 1 << 20

// appendHeader appends both copies.
func (h *Header) appendTo(b []byte) ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return b, err
	}
	for range 2 {
		at := len(b)
		b = append(beginFrame(b), text...)
		for len(b)%headerPage != 0 {
			b = append(b, ' ')
		}
		endFrame(b[at:], headerMark, &frame{kind: frameHeader, first: h.First})
	}
	return b, nil
}

func (h *Header) markBytes() (mark [markLen]byte, ok bool) {
	b, err := hex.DecodeString(h.Mark)
	return mark, err == nil && copy(mark[:], b) == len(b) && len(b) == markLen
}

// segmentFile is the place of a segment.
type segmentFile struct {
	name  string
	epoch uint64
	first uint64
}

const segmentSuffix = ".journal"

func segmentName(epoch, first uint64) string {
	return fmt.Sprintf("%08x-%016x%s", epoch, first, segmentSuffix)
}

func parseSegmentName(name string) (s segmentFile, ok bool) {
	n, err := fmt.Sscanf(name, "%08x-%016x"+segmentSuffix, &s.epoch, &s.first)
	s.name = name
	return s, err == nil && n == 2 && name == segmentName(s.epoch, s.first)
}

func (s segmentFile) before(epoch, first uint64) bool {
	return Position{s.epoch, s.first}.Before(Position{epoch, first})
}

// listSegments lists the segments of a directory, the oldest first.
func listSegments(dir string) ([]segmentFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []segmentFile
	for _, e := range entries {
		if s, ok := parseSegmentName(e.Name()); ok {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b segmentFile) int {
		switch {
		case a.before(b.epoch, b.first):
			return -1
		case b.before(a.epoch, a.first):
			return 1
		}
		return 0
	})
	return list, nil
}

// errNoHeader is about a segment both copies of whose header are damaged.
var errNoHeader = errors.New("its header is damaged")

// segment is one that is open to be read. Owned by who opened it.
type segment struct {
	segmentFile
	path   string
	file   *os.File
	header Header
	scanner

	miners []*Miner // in the order of their definitions; nil for one that is damaged
	jobs   []jobPlace
	byID   map[uint64]int // of jobs
}

// jobPlace is where a job is defined.
type jobPlace struct {
	id     uint64
	at     int64 // of its record in the file
	length int   // 0 for one that is damaged
}

func openSegment(dir string, s segmentFile) (*segment, error) {
	path := filepath.Join(dir, s.name)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	g := &segment{segmentFile: s, path: path, file: f, scanner: scanner{file: f, mark: headerMark}, byID: map[uint64]int{}}
	if err := g.readHeader(); err != nil {
		f.Close()
		return nil, err
	}
	return g, nil
}

func (g *segment) close() { g.file.Close() }

// readHeader reads the copies of the header, of which one is enough.
func (g *segment) readHeader() error {
	var mark [markLen]byte
	end := int64(-1)
	for {
		var f frame
		_, whole, err := g.next(&f)
		if err != nil {
			return fmt.Errorf("%s: %w", g.path, err)
		}
		if !whole || f.at > maxHeaders {
			break
		}
		var format struct {
			Format  int
			Program string
		}
		if json.Unmarshal(f.body, &format) == nil && format.Format > formatVersion {
			return &LaterError{g.path, format.Program, fmt.Sprintf("format %d", format.Format)}
		}
		var h Header
		if f.kind != frameHeader || json.Unmarshal(f.body, &h) != nil || h.Format < 1 || h.Epoch != g.epoch || h.First != g.first {
			continue
		}
		m, ok := h.markBytes()
		if !ok {
			continue
		}
		g.header, mark, end = h, m, f.at+f.size
		if f.at > 0 {
			break
		}
	}
	if end < 0 {
		return fmt.Errorf("%s: %w", g.path, errNoHeader)
	}
	g.mark, g.at = mark, end
	return nil
}

// define takes the definitions of a frame. Those of damaged frames before it are
// left out.
func (g *segment) define(f *frame, r *recordsFrame) bool {
	if r.miners < len(g.miners) || r.jobs < len(g.jobs) {
		return false
	}
	g.miners = append(g.miners, make([]*Miner, r.miners-len(g.miners))...)
	g.jobs = append(g.jobs, make([]jobPlace, r.jobs-len(g.jobs))...)
	base := f.at + frameHead + recordsHead
	for rest := r.defs; len(rest) > 0; {
		of, d, next, ok := nextDefinition(rest)
		if !ok {
			return false
		}
		rest = next
		switch of {
		case defineMiner:
			m, err := readMiner(d)
			if err != nil {
				return false
			}
			g.miners = append(g.miners, m)
		case defineJob:
			if len(d) < 8 {
				return false
			}
			id := binary.BigEndian.Uint64(d)
			g.byID[id] = len(g.jobs)
			g.jobs = append(g.jobs, jobPlace{id, base + int64(len(r.defs)-len(rest)-len(d)+8), len(d) - 8})
		default:
			return false
		}
	}
	return true
}

// job is the record of a defined job.
func (g *segment) job(n int, b []byte) ([]byte, error) {
	p := g.jobs[n]
	b = slices.Grow(b[:0], p.length)[:p.length]
	if _, err := g.file.ReadAt(b, p.at); err != nil {
		return nil, fmt.Errorf("%s: job %016x: %w", g.path, p.id, err)
	}
	return b, nil
}

// kindName is a kind as the segment's writer called it.
func (g *segment) kindName(k Kind) string {
	if name := g.header.Kinds[k]; name != "" {
		return name
	}
	return k.String()
}

// stateFile is what a journal has beside its segments.
const stateFile = "journal.json"

// state is the content of stateFile. It is replaced when an epoch begins, before
// anything else of it is there.
type state struct {
	Format   int      `json:"format"`
	Instance string   `json:"instance"`
	Network  string   `json:"network"`
	Epoch    uint64   `json:"epoch"`
	Life     string   `json:"life"`  // of the epoch
	Rings    []string `json:"rings"` // where they are, by their number
}

func (s *state) id() (id [16]byte, ok bool) {
	b, err := hex.DecodeString(s.Instance)
	return id, err == nil && len(b) == len(id) && copy(id[:], b) == len(id)
}

// readState is nil for a directory without one.
func readState(dir string) (*state, error) {
	path := filepath.Join(dir, stateFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s: %w; put it back from a backup, or remove it: it is made anew from the segments", path, err)
	}
	if s.Format > formatVersion {
		return nil, &LaterError{path, "a later release", fmt.Sprintf("format %d", s.Format)}
	}
	if _, ok := s.id(); !ok {
		return nil, fmt.Errorf("%s: \"instance\": want 32 hex digits, got %q", path, s.Instance)
	}
	return &s, nil
}

// replaceFile puts a file in the place of another one, so that after a power cut
// there is one of both, whole. One process at a time does.
func replaceFile(path string, b []byte) error {
	next := filepath.Join(filepath.Dir(path), temporary+filepath.Base(path))
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

// temporary begins the names of files that are not there yet.
const temporary = ".new-"

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
