package journalwriter

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/journal"
)

// A ring is a file in memory, which outlives the process: one goroutine appends
// records to it and publishes them, another one takes them out and gives the room
// back. Positions in it count bytes and only grow; a record is not cut at the end of
// the file, where one that does not fit is preceded by a mark.
//
// The file is a page that tells whose it is, and the records. Numbers in it have the
// machine's byte order: it never leaves the machine.
type ring struct {
	// immutable
	path    string
	lock    *os.File // has the file locked, until it is closed
	file    []byte
	cleanup runtime.Cleanup
	data    []byte // the records; their number of bytes is a power of two

	// In the file, written by the appending goroutine.
	head                    *atomic.Uint64 // position up to which records are published
	lostRecords, lostShares *atomic.Uint64 // that there was no room for, since the epoch began
	epoch                   *atomic.Uint64

	freed atomic.Uint64 // position up to which there is room again; written by the taking goroutine

	// Owned by the appending goroutine.
	at          uint64 // position of the next record
	free        uint64 // freed, as it was last seen
	lost        [2]uint64
	shares      uint64
	scratch     []byte
	told        atomic.Uint64 // shares published
	unpublished bool

	_ [64]byte // keeps loops off each other's cache lines
}

const (
	ringPage  = 4096
	ringMagic = "ckjring1"

	// Of the page.
	ringInstanceAt = 8
	ringEpochAt    = 24
	ringIndexAt    = 32
	ringBootAt     = 40
	ringBootLen    = 36
	ringHeadAt     = 128
	ringLostAt     = 192

	// Of a record: bytes behind this number, length of the miner, kind, nothing,
	// time, job; then miner and body.
	ringRecordHead = 4 + 2 + 1 + 1 + 8 + 8
	ringAlign      = 8
	ringSkip       = math.MaxUint32 // in place of a length: the next record is at the beginning
)

// minRing is the least size of a ring.
const minRing = 64 << 10

// ringOwner tells whose a ring is.
type ringOwner struct {
	instance [16]byte
	index    int
}

func (o ringOwner) name() string { return fmt.Sprintf("ckpool-%x-%d.ring", o.instance, o.index) }

// errSpare is about a ring that has nothing in it: its epoch was ended, or never
// begun.
var errSpare = errors.New("nothing is in it")

// makeRing makes a ring of at least size bytes, or takes one that another process has
// passed on. The memory is reserved now, so that no write to it can fail later.
func makeRing(dir string, o ringOwner, size int64) (*ring, error) {
	data := int64(minRing)
	for data < size {
		data *= 2
	}
	path := filepath.Join(dir, o.name())
	switch r, err := openRing(path, o, noEpoch); {
	case errors.Is(err, ErrLocked):
		return nil, err
	case err == errSpare:
		if int64(len(r.data)) == data {
			return r, nil
		}
		r.unmap()
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	r, err := newRing(f, path, ringPage+data)
	if err != nil {
		f.Close()
		os.Remove(path)
		return nil, err
	}
	page := r.file[:ringPage]
	copy(page[ringInstanceAt:], o.instance[:])
	binary.NativeEndian.PutUint64(page[ringIndexAt:], uint64(o.index))
	copy(page[ringBootAt:ringBootAt+ringBootLen], bootID())
	copy(page, ringMagic)
	return r, nil
}

func newRing(f *os.File, path string, size int64) (*ring, error) {
	if err := lockRing(f, path); err != nil {
		return nil, err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		return nil, &fs.PathError{Op: fmt.Sprintf("reserve %d bytes for", size), Path: path, Err: err}
	}
	return mapRing(f, path, size)
}

// lockRing makes a ring this process's, as long as f is open. Its name is that of the
// journal, which a copy of the journal's directory has too.
func lockRing(f *os.File, path string) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%s %w, which has a copy of this journal, or the one that this is a copy of: give this pool a journal of its own, in another directory", path, ErrLocked)
	}
	if err != nil {
		return &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return nil
}

// noEpoch is the epoch of rings with nothing in them.
const noEpoch = 0

// enter makes an empty ring the one of an epoch, which is in the journal's state
// already, and leave ends that once all of it is in segments.
func (r *ring) enter(epoch uint64) {
	r.head.Store(0)
	r.lostRecords.Store(0)
	r.lostShares.Store(0)
	r.epoch.Store(epoch)
}

func (r *ring) leave() { r.epoch.Store(noEpoch) }

// detach puts other memory in the place of the file's, which another process may use
// from now on: what is still appended here goes nowhere.
func (r *ring) detach() error {
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(&r.file[0]), uintptr(len(r.file)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED)
	r.freed.Store(0)
	return err
}

// openRing opens a ring that another process has left, of an epoch. The error is
// fs.ErrNotExist if there is none any more, and errSpare if it is of no epoch.
// It wraps ErrLocked if another process has it.
func openRing(path string, o ringOwner, epoch uint64) (*ring, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	r, err := readRing(f, path, o, epoch)
	if r == nil {
		f.Close()
	}
	return r, err
}

func readRing(f *os.File, path string, o ringOwner, epoch uint64) (*ring, error) {
	if err := lockRing(f, path); err != nil { // before it is looked at: who makes it has it locked
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 { // who made it was killed
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	data := info.Size() - ringPage
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() || !info.Mode().IsRegular() || data < minRing || data&(data-1) != 0 {
		return nil, fmt.Errorf("%s is no ring of this journal", path)
	}
	r, err := mapRing(f, path, info.Size())
	if err != nil {
		return nil, err
	}
	page := r.file[:ringPage]
	switch {
	case string(page[:len(ringMagic)]) == string(make([]byte, len(ringMagic))): // the magic comes last
		r.unmap()
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case string(page[:len(ringMagic)]) != ringMagic || [16]byte(page[ringInstanceAt:]) != o.instance || binary.NativeEndian.Uint64(page[ringIndexAt:]) != uint64(o.index):
		r.unmap()
		return nil, fmt.Errorf("%s is no ring of this journal", path)
	case string(page[ringBootAt:ringBootAt+ringBootLen]) != bootID():
		// On a disk, after a power cut: some of its pages may be old.
		r.unmap()
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case r.epoch.Load() == noEpoch || r.epoch.Load() != epoch:
		return r, errSpare
	}
	return r, nil
}

func mapRing(f *os.File, path string, size int64) (*ring, error) {
	m, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, &fs.PathError{Op: "map", Path: path, Err: err}
	}
	word := func(at int) *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&m[at])) }
	r := &ring{
		path: path, lock: f, file: m, data: m[ringPage:],
		head: word(ringHeadAt), lostRecords: word(ringLostAt), lostShares: word(ringLostAt + 8), epoch: word(ringEpochAt),
	}
	// Not before nobody can append to it any more.
	r.cleanup = runtime.AddCleanup(r, func(m []byte) { _ = unix.Munmap(m) }, m)
	return r, nil
}

// unmap is for a ring that nobody has appended to here.
func (r *ring) unmap() {
	r.cleanup.Stop()
	_ = unix.Munmap(r.file)
	_ = leaveLock(r.lock)
}

// bootID differs from one start of the machine to the next.
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return fmt.Sprintf("%-*.*s", ringBootLen, ringBootLen, strings.TrimSpace(string(b)))
}

// put appends a record, which publish makes one to take. What there is no room for is
// counted.
func (r *ring) put(kind journal.Kind, time int64, job uint64, m *journal.Miner, body encoding.BinaryAppender) {
	r.begin(m)
	r.scratch, _ = body.AppendBinary(r.scratch)
	r.end(kind, time, job)
}

// begin prepares scratch for the body of a record, and end appends it.
func (r *ring) begin(m *journal.Miner) {
	b := append(r.scratch[:0], make([]byte, ringRecordHead)...)
	if m != nil {
		b, _ = m.AppendBinary(b)
	}
	binary.NativeEndian.PutUint16(b[4:], uint16(min(len(b)-ringRecordHead, 1<<16-1)))
	r.scratch = b
}

func (r *ring) end(kind journal.Kind, time int64, job uint64) {
	b := r.scratch
	binary.NativeEndian.PutUint32(b, uint32(len(b)-4))
	b[6] = byte(kind)
	binary.NativeEndian.PutUint64(b[8:], uint64(time))
	binary.NativeEndian.PutUint64(b[16:], job)
	r.unpublished = true
	if binary.NativeEndian.Uint16(b[4:]) == 1<<16-1 || !r.append(b) {
		r.lost[0]++
		if kind == journal.KindShare {
			r.lost[1]++
		}
		return
	}
	if kind == journal.KindShare {
		r.shares++
	}
}

// append copies b to the ring, if there is room.
func (r *ring) append(b []byte) bool {
	size := uint64(len(r.data))
	n := (uint64(len(b)) + ringAlign - 1) &^ (ringAlign - 1)
	at, offset := r.at, r.at&(size-1)
	if n > size/4 {
		return false
	}
	if left := size - offset; n > left {
		at += left
	}
	if at+n-r.free > size {
		if r.free = r.freed.Load(); at+n-r.free > size {
			return false
		}
	}
	if at != r.at {
		binary.NativeEndian.PutUint32(r.data[offset:], ringSkip)
		offset = 0
	}
	copy(r.data[offset:], b)
	r.at = at + n
	return true
}

// publish makes all records that were put ones to take: from now on they outlive the
// process.
func (r *ring) publish() {
	if !r.unpublished {
		return
	}
	r.unpublished = false
	r.head.Store(r.at)
	if r.lost[0] != r.lostRecords.Load() {
		r.lostShares.Store(r.lost[1])
		r.lostRecords.Store(r.lost[0])
	}
	r.told.Store(r.shares)
}

// ringRecord is a record in a ring. Its slices alias the ring.
type ringRecord struct {
	kind        journal.Kind
	time        int64
	job         uint64
	miner, body []byte
	next        uint64 // position behind it
}

var errRing = errors.New("what is in it is no record")

// take reads the record at a position before end, which was published. The ring may
// have been written by a process that is no more, so nothing in it is trusted.
func (r *ring) take(at, end uint64) (k ringRecord, err error) {
	size := uint64(len(r.data))
	if end-at > size || at%ringAlign != 0 {
		return k, errRing
	}
	offset := at & (size - 1)
	if binary.NativeEndian.Uint32(r.data[offset:]) == ringSkip {
		at += size - offset
		offset = 0
	}
	if at >= end {
		return k, errRing
	}
	n := uint64(binary.NativeEndian.Uint32(r.data[offset:])) + 4
	padded := (n + ringAlign - 1) &^ uint64(ringAlign-1)
	if n < ringRecordHead || n > size-offset || padded > end-at {
		return k, errRing
	}
	b := r.data[offset : offset+n : offset+n]
	miner := uint64(binary.NativeEndian.Uint16(b[4:]))
	if miner > n-ringRecordHead {
		return k, errRing
	}
	k.kind, k.time, k.job = journal.Kind(b[6]), int64(binary.NativeEndian.Uint64(b[8:])), binary.NativeEndian.Uint64(b[16:])
	b = b[ringRecordHead:]
	k.miner, k.body = b[:miner:miner], b[miner:]
	k.next = at + padded
	return k, nil
}

// onMemory tells whether a directory is on a file system that is kept in memory.
func onMemory(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Type == unix.TMPFS_MAGIC
}
