package journalwriter

import (
	"context"
	"crypto/rand"
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/segment"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/work"
)

// Options are what a Writer is made with. All but Dir, Network and Loops have
// defaults.
type Options struct {
	Dir string
	// RingDirs are where rings may be. The first that is kept in memory and has room
	// is taken, if need be for smaller ones; without one they are in Dir.
	RingDirs []string

	Name    string // of the pool's instance
	Network string
	Program string // that writes, with its version

	// Reasons and Schemes are the names of the numbers in shares.
	Reasons, Schemes []string

	Loops       int           // how many goroutines tell records of their own
	Sync        time.Duration // what a power cut may cost, beside the time that the disk takes
	SegmentSize int64         // bytes, about
	MaxSize     int64         // bytes of all segments
	RingSize    int64         // bytes of each ring, of which there is one more than loops

	Events event.Func
}

// Defaults of Options.
const (
	DefaultSync        = 50 * time.Millisecond
	DefaultSegmentSize = 64 << 20
	DefaultMaxSize     = 10 << 30
	DefaultRingSize    = 16 << 20
)

func (o *Options) setDefaults() {
	if o.Sync <= 0 {
		o.Sync = DefaultSync
	}
	if o.SegmentSize <= 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	if o.MaxSize <= 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.RingSize <= 0 {
		o.RingSize = DefaultRingSize
	}
}

// Writer writes a journal. What the loops tell is for one goroutine per loop, and all
// other records are for any; neither waits for a disk.
type Writer struct {
	keeper

	// immutable
	options Options
	loops   []*ring
	lock    *locks
	open    func(path string) (file, error)
	drain   *drain // owned by Run while it runs
	soon    chan struct{}

	mu     sync.Mutex
	shared *ring // its appending side is guarded by mu
	jobs   work.JobWriter

	safeSince atomic.Int64 // unix nanoseconds: what was told before is safe
	tried     atomic.Int64 // unix nanoseconds: when the last round began, whatever came of it
	failure   atomic.Pointer[failure]
}

// failure is why nothing can be written at present.
type failure struct {
	err   error
	since time.Time
}

// Open takes the journal of a directory, which is made if there is none, ends what a
// process that was killed has left, and begins an epoch. Only one process at a time
// has it. Tell all jobs that shares may come for after that.
func Open(o Options) (*Writer, error) { return openWith(o, createFile) }

func openWith(o Options, open func(path string) (file, error)) (*Writer, error) {
	o.setDefaults()
	w := &Writer{keeper: keeper{dir: o.Dir, maxSize: o.MaxSize, events: o.Events}, options: o, open: open, soon: make(chan struct{}, 1), jobs: work.JobWriter{WithoutTransactions: true}}
	if err := os.MkdirAll(w.dir, 0o750); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if err := w.takeLock(); err != nil {
		return nil, err
	}
	if err := w.start(); err != nil {
		_ = w.lock.Close()
		return nil, err
	}
	return w, nil
}

func (w *Writer) takeLock() error {
	f, err := takeLock(w.dir)
	if err != nil {
		return err
	}
	w.lock = &locks{f}
	return nil
}

// locks are files that this process has locked.
type locks []*os.File

// Close leaves them to others, also those that are mapped.
func (l *locks) Close() (err error) {
	for _, f := range *l {
		err = errors.Join(err, leaveLock(f))
	}
	return err
}

func (w *Writer) start() error {
	r, err := w.recover()
	if err != nil {
		return err
	}
	s := r.state
	if s.Instance == "" {
		var id [16]byte
		rand.Read(id[:]) // never fails
		s.Instance = hex.EncodeToString(id[:])
		s.Network = w.options.Network
		// Before there are rings, which are found again by it.
		if err := w.writeState(&s); err != nil {
			return err
		}
	}
	// Nobody may have read further than the journal has come.
	cursors, _ := journal.Cursors(w.dir)
	for _, c := range cursors {
		if c.Instance == s.Instance {
			s.Epoch = max(s.Epoch, c.Epoch)
		}
	}
	s.Epoch++
	s.Life = newLife()
	rings, err := w.makeRings(&s)
	if err != nil {
		return err
	}
	if err := w.writeState(&s); err != nil {
		for _, k := range rings {
			os.Remove(k.path)
			k.unmap()
		}
		return err
	}
	for _, k := range rings {
		k.enter(s.Epoch)
		*w.lock = append(*w.lock, k.lock)
	}
	for _, path := range r.state.Rings {
		if !slices.Contains(s.Rings, path) {
			os.Remove(path) // more loops than now, or in another directory
		}
	}
	w.instance = s.Instance
	w.loops, w.shared = rings[:w.options.Loops], rings[w.options.Loops]
	w.drain = &drain{
		dir: w.dir, segmentSize: w.options.SegmentSize, rings: rings, open: w.open,
		header: w.header(&s), number: 1, states: make([]segment.Ring, len(rings)),
	}
	w.drain.header.After, w.drain.header.Before = segment.Position(r.after), r.life
	w.current = func() (string, int64) { return w.drain.currentName(), w.drain.size.Load() }
	w.safeSince.Store(time.Now().UnixNano())
	return nil
}

func (w *Writer) writeState(s *segment.State) error {
	s.Format = segment.Format
	b, err := json.MarshalIndent(s, "", "\t")
	if err == nil {
		err = segment.Replace(filepath.Join(w.dir, segment.StateFile), append(b, '\n'), false)
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// newLife is that of a new epoch.
func newLife() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (w *Writer) header(s *segment.State) segment.Header {
	h := segment.Header{
		Format: segment.Format, Instance: s.Instance, Name: w.options.Name, Network: w.options.Network, Program: w.options.Program,
		Epoch: s.Epoch, Life: s.Life, Kinds: map[uint8]string{}, Reasons: w.options.Reasons, Schemes: w.options.Schemes,
	}
	for k := journal.KindShare; k <= journal.KindLost; k++ {
		h.Kinds[uint8(k)] = k.String()
	}
	return h
}

// leastRing is the size down to which smaller rings are made where there is not room
// for larger ones: in memory they are worth more than on a disk.
const leastRing = 1 << 20

// makeRings makes the rings of an epoch in the first directory that takes them.
func (w *Writer) makeRings(s *segment.State) (rings []*ring, err error) {
	id, _ := s.ID()
	say := func(text string) {
		w.options.Events.Say(event.Warning, fmt.Sprintf("Journal %s: none of %v is kept in memory and has room for %d MiB: %s",
			w.dir, w.options.RingDirs, w.options.RingSize*int64(w.options.Loops+1)>>20, text))
	}
	for size := w.options.RingSize; size >= min(leastRing, w.options.RingSize); size /= 2 {
		for _, dir := range w.options.RingDirs {
			if !onMemory(dir) {
				continue
			}
			rings, err = w.makeRingsIn(dir, s, id, size)
			switch {
			case errors.Is(err, ErrLocked):
				return nil, fmt.Errorf("journal: %w", err)
			case err != nil:
				continue
			}
			if size < w.options.RingSize {
				say(fmt.Sprintf("what is not yet written has %d KiB for each loop, in %s", size>>10, dir))
			}
			return rings, nil
		}
	}
	if rings, err = w.makeRingsIn(w.dir, s, id, w.options.RingSize); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if !onMemory(w.dir) {
		say("what is not yet written is in the journal's directory, and a disk that stalls can delay replies to miners")
	}
	return rings, nil
}

func (w *Writer) makeRingsIn(dir string, s *segment.State, id [16]byte, size int64) (rings []*ring, err error) {
	s.Rings = nil
	for i := range w.options.Loops + 1 {
		k, err := makeRing(dir, ringOwner{id, i}, size)
		if err != nil {
			for _, k := range rings {
				k.unmap()
				os.Remove(k.path)
			}
			return nil, err
		}
		rings, s.Rings = append(rings, k), append(s.Rings, k.path)
	}
	return rings, nil
}

// Share tells a share of a loop. It is safe once Flush has returned.
func (w *Writer) Share(loop int, s *journal.Share, m *journal.Miner) {
	r := w.loops[loop]
	r.begin(m)
	r.scratch, _ = s.AppendBinary(r.scratch)
	r.end(journal.KindShare, s.Time, s.Job)
}

// Worker tells on a loop that a worker may mine.
func (w *Writer) Worker(loop int, k *journal.Worker, m *journal.Miner) {
	w.loops[loop].put(journal.KindWorker, k.Time, 0, m, k)
}

// Connect tells a new connection of a loop.
func (w *Writer) Connect(loop int, k *journal.Connect, m *journal.Miner) {
	w.loops[loop].put(journal.KindConnect, k.Time, 0, m, k)
}

// Leave tells the end of a connection of a loop.
func (w *Writer) Leave(loop int, k *journal.Leave, m *journal.Miner) {
	w.loops[loop].put(journal.KindLeave, k.Time, 0, m, k)
}

// Difficulty tells another difficulty of a miner of a loop.
func (w *Writer) Difficulty(loop int, k *journal.Difficulty, m *journal.Miner) {
	w.loops[loop].put(journal.KindDifficulty, k.Time, k.Job, m, k)
}

// Flush makes all that a loop has told safe against the end of the process. Replies
// that say so are sent after it.
func (w *Writer) Flush(loop int) { w.loops[loop].publish() }

// Job tells a job, with the id of the oldest that shares are still taken for: before
// any miner gets it, on any goroutine. The job makes no coinbases for more limits
// afterwards: see work.JobWriter.
func (w *Writer) Job(j *work.Job, oldest uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	record, err := w.jobs.Append(nil, j)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	r := w.shared
	r.begin(nil)
	r.scratch = append(binary.BigEndian.AppendUint64(r.scratch, oldest), record...)
	r.end(journal.KindJob, j.Created.UnixMicro(), j.ID)
	r.publish()
	return nil
}

// Block tells a block, or another fate of one, from any goroutine.
func (w *Writer) Block(b *journal.Block, m *journal.Miner) {
	w.tell(journal.KindBlock, b.Time, b.Job, m, b)
}

// Statistics tells the pool's, from any goroutine.
func (w *Writer) Statistics(s *journal.Statistics) { w.tell(journal.KindStatistics, s.Time, 0, nil, s) }

func (w *Writer) tell(kind journal.Kind, time int64, job uint64, m *journal.Miner, body encoding.BinaryAppender) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shared.put(kind, time, job, m, body)
	w.shared.publish()
}

// Run writes what is told until ctx ends, and deletes what all readers have read. It
// returns when the disk lets it.
func (w *Writer) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { w.keep(ctx) })
	wg.Go(func() { w.watch(ctx) })
	// What a power cut may cost is for waiting as far as the disk does not need it.
	slowest := w.options.Sync
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-timer.C:
			begun := time.Now()
			err := w.write()
			slowest = max(time.Since(begun), slowest*9/10)
			pause := max(w.options.Sync-2*slowest, w.options.Sync/2)
			if err != nil {
				pause = max(pause, retryAfter)
			}
			timer.Reset(pause)
		case <-w.soon:
			timer.Reset(0)
		case <-ctx.Done():
		}
	}
	wg.Wait()
}

// retryAfter is how long a disk that has failed is left alone.
const retryAfter = 500 * time.Millisecond

// write is a round of the drain.
func (w *Writer) write() error {
	begun := time.Now()
	defer func() { w.tried.Store(begun.UnixNano()) }()
	err := w.drain.round()
	if err != nil {
		if f := w.failure.Load(); f == nil || f.err.Error() != err.Error() {
			since := begun
			if f != nil {
				since = f.since
			}
			w.failure.Store(&failure{err, since})
		}
		return err
	}
	w.safeSince.Store(begun.UnixNano())
	w.failure.Store(nil)
	return nil
}

// Ready tells why another process could not go on with the journal in a moment, while Run
// runs: what was told is safe then, and the file that an epoch begins with has been made anew
// with the text it has. Without that a disk that is full, or stands still, would be found out
// by two processes that have given the journal up, with all loops at rest.
func (w *Writer) Ready(ctx context.Context) error {
	begun := time.Now().UnixNano()
	select {
	case w.soon <- struct{}{}:
	default:
	}
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for w.tried.Load() < begun {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("journal %s: its disk takes nothing: %w", w.dir, context.Cause(ctx))
		}
	}
	if f := w.failure.Load(); f != nil {
		return fmt.Errorf("journal %s: %w", w.dir, f.err)
	}
	path := filepath.Join(w.dir, segment.StateFile)
	state, err := os.ReadFile(path)
	if err == nil {
		err = segment.Replace(path, state, false)
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return ctx.Err()
}

// Close writes what is left and ends the epoch. Run must have returned, and nobody may
// tell anything meanwhile; what is told afterwards goes nowhere. After an error all is
// as it was: Run can go on, Close can be tried again, and if the process ends instead,
// the next Open finds in the rings what is missing.
func (w *Writer) Close() error {
	if err := w.end(); err != nil {
		return err
	}
	for _, r := range w.drain.rings {
		os.Remove(r.path)
	}
	return w.lock.Close()
}

// Pass is Close for a process that opens the journal right after, and finds its memory
// there.
func (w *Writer) Pass() error {
	if err := w.end(); err != nil {
		return err
	}
	return w.lock.Close()
}

func (w *Writer) end() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.drain.finish(); err != nil {
		return fmt.Errorf("journal %s: %w", w.dir, err)
	}
	for _, r := range w.drain.rings {
		r.leave()
		if err := r.detach(); err != nil {
			return fmt.Errorf("journal %s: %s: %w", w.dir, r.path, err)
		}
	}
	return nil
}

// Status is how a Writer does.
type Status struct {
	Instance string
	Position journal.Position // of the last record that is safe

	// What is told and not yet safe against a power cut.
	UnsafeShares uint64
	UnsafeBytes  int64
	UnsafeAge    time.Duration // of the oldest of it, at most

	// What there was no room for, since the epoch began.
	LostRecords, LostShares uint64

	Size    int64          // of all segments, in bytes
	Readers []ReaderStatus // by name

	// Why nothing can be written at present, nil when it can, and since when.
	Err   error
	Since time.Time
}

// ReaderStatus is how far a reader has come.
type ReaderStatus struct {
	Name string
	journal.Cursor
	Behind uint64 // records
}

// Status is for any goroutine, and cheap.
func (w *Writer) Status() Status {
	d := w.drain
	s := Status{Instance: w.instance, Position: journal.Position{Epoch: d.header.Epoch, Number: d.synced.Load()}}
	safe := d.safeShares.Load()
	var told uint64
	for _, r := range d.rings {
		told += r.told.Load()
		// The other way round it might be negative.
		freed := r.freed.Load()
		s.UnsafeBytes += int64(r.head.Load() - freed)
		s.LostRecords += r.lostRecords.Load()
		s.LostShares += r.lostShares.Load()
	}
	if told > safe {
		s.UnsafeShares = told - safe
	}
	if s.UnsafeBytes > 0 {
		s.UnsafeAge = time.Since(time.Unix(0, w.safeSince.Load()))
	}
	if f := w.failure.Load(); f != nil {
		s.Err, s.Since = f.err, f.since
	}
	s.Size = d.size.Load()
	if k := w.kept.Load(); k != nil {
		s.Size += k.size
		for _, name := range slices.Sorted(maps.Keys(k.cursors)) {
			c := k.cursors[name]
			s.Readers = append(s.Readers, ReaderStatus{name, c, k.behind(k.read[name], s.Position)})
		}
	}
	return s
}
