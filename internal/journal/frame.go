package journal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// A frame is what a segment is made of:
//
//	mark      8 bytes: that of the segment, or headerMark
//	crc       4: CRC32C of all that follows
//	length    4: of what follows the frame's head
//	first     8: number of its first record; of the next record if it has none
//	position  8: of the ring, behind its last record
//	count     4: records
//	shares    4: of its records
//	ring      2
//	kind      1, and a byte of zero
//
// Numbers are big-endian. What follows the head of one with records is
//
//	time      8: what times of records count from
//	length    4: of the definitions
//	miners    4: number of the first that is defined here
//	jobs      4: the same
//	definitions: each a byte that tells of what, its length as a varint, and it
//	records: each its kind (a byte), length of what follows (varint), time less that
//	    of the record before (signed varint), miner, job (varints), and its body
//
// Miners and jobs are numbered in the order of their definitions in the segment. 0
// stands for no miner, else it is 1 more than the number. 0 stands for no job, 1 for
// one that is not defined, whose id follows in 8 bytes, else it is 2 more than the
// number.
//
// The mark of a segment is random, so that nobody who has bytes of his own in a
// record, such as a name, can put a frame there.
type frame struct {
	kind          frameKind
	ring          int
	first         uint64
	count, shares uint32
	position      uint64
	body          []byte // aliases the scanner

	at   int64 // offset in the file
	size int64
}

type frameKind uint8

const (
	frameHeader  frameKind = 1 + iota // of a segment: JSON, and padding
	frameRecords                      // records of a ring
	frameLost                         // one record of KindLost
	frameEnd                          // the segment is whole
)

const (
	markLen   = 8
	frameHead = markLen + 4 + 4 + 8 + 8 + 4 + 4 + 2 + 1 + 1

	// frameSize is what a frame is ended at.
	frameSize = 128 << 10
	// maxFrame is the most that follows a frame's head.
	maxFrame = 16 << 20
)

// headerMark begins the header of every segment.
var headerMark = [markLen]byte{0xab, 'c', 'k', 'j', 'r', 'n', 'l', 0x0a}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// beginFrame appends room for a frame's head.
func beginFrame(b []byte) []byte { return append(b, make([]byte, frameHead)...) }

// endFrame fills the head of the frame that is all of b.
func endFrame(b []byte, mark [markLen]byte, f *frame) {
	copy(b, mark[:])
	p := b[markLen+4:]
	binary.BigEndian.PutUint32(p, uint32(len(b)-frameHead))
	binary.BigEndian.PutUint64(p[4:], f.first)
	binary.BigEndian.PutUint64(p[12:], f.position)
	binary.BigEndian.PutUint32(p[20:], f.count)
	binary.BigEndian.PutUint32(p[24:], f.shares)
	binary.BigEndian.PutUint16(p[28:], uint16(f.ring))
	p[30], p[31] = byte(f.kind), 0
	binary.BigEndian.PutUint32(b[markLen:], crc32.Checksum(p, castagnoli))
}

// readFrame reads the frame at the beginning of b. whole is false if there is none;
// need is how many bytes of it would tell, if b is too short to.
func readFrame(b []byte, mark [markLen]byte, f *frame) (whole bool, need int) {
	if len(b) < frameHead {
		return false, frameHead
	}
	if [markLen]byte(b) != mark {
		return false, 0
	}
	p := b[markLen+4:]
	n := int(binary.BigEndian.Uint32(p))
	if n > maxFrame {
		return false, 0
	}
	if len(b) < frameHead+n {
		return false, frameHead + n
	}
	p = b[markLen+4 : frameHead+n : frameHead+n]
	if crc32.Checksum(p, castagnoli) != binary.BigEndian.Uint32(b[markLen:]) {
		return false, 0
	}
	*f = frame{
		first: binary.BigEndian.Uint64(p[4:]), position: binary.BigEndian.Uint64(p[12:]),
		count: binary.BigEndian.Uint32(p[20:]), shares: binary.BigEndian.Uint32(p[24:]),
		ring: int(binary.BigEndian.Uint16(p[28:])), kind: frameKind(p[30]),
		body: b[frameHead : frameHead+n : frameHead+n], size: int64(frameHead + n),
	}
	ok := f.kind >= frameHeader && f.kind <= frameEnd && uint64(f.count) <= uint64(n) && f.shares <= f.count && f.first+uint64(f.count) >= f.first
	return ok, 0
}

// scanner finds the frames of a file.
type scanner struct {
	file io.ReaderAt
	mark [markLen]byte
	at   int64 // offset of the next frame

	buf   []byte // what was read of the file
	bufAt int64
}

// window gives the n bytes at an offset, fewer at the end of the file. They are valid
// until the next call.
func (s *scanner) window(at int64, n int) ([]byte, error) {
	if at >= s.bufAt && at+int64(n) <= s.bufAt+int64(len(s.buf)) {
		return s.buf[at-s.bufAt:][:n], nil
	}
	const ahead = 256 << 10
	want := max(n, ahead)
	if cap(s.buf) < want {
		s.buf = make([]byte, 0, max(want, 2*cap(s.buf)))
	}
	got, err := s.file.ReadAt(s.buf[:want], at)
	if err != nil && err != io.EOF {
		s.buf = s.buf[:0]
		return nil, err
	}
	s.buf, s.bufAt = s.buf[:got], at
	return s.buf[:min(n, got)], nil
}

// forget makes the next window be read anew.
func (s *scanner) forget() { s.buf = s.buf[:0] }

// tryAt reads the frame at an offset.
func (s *scanner) tryAt(at int64, f *frame) (whole bool, err error) {
	for n := frameHead; ; {
		b, err := s.window(at, n)
		if err != nil {
			return false, err
		}
		whole, need := readFrame(b, s.mark, f)
		if whole {
			f.at = at
			return true, nil
		}
		if need <= n || len(b) < n {
			return false, nil
		}
		n = need
	}
}

// next reads the next whole frame. It is behind skipped bytes that are none. Without a
// whole frame behind the place the scanner stays there: more may be written yet.
func (s *scanner) next(f *frame) (skipped int64, whole bool, err error) {
	if whole, err = s.tryAt(s.at, f); whole || err != nil {
		s.advance(f, whole)
		return 0, whole, err
	}
	s.forget() // more may have been written meanwhile
	for at := s.at; ; {
		b, err := s.window(at, 128<<10)
		if err != nil || len(b) < markLen {
			s.forget()
			return 0, false, err
		}
		i := bytes.Index(b, s.mark[:])
		if i < 0 {
			at += int64(len(b) - markLen + 1)
			continue
		}
		at += int64(i)
		if whole, err = s.tryAt(at, f); err != nil {
			return 0, false, err
		}
		if !whole {
			at++
			continue
		}
		// Frames are written in their order: what is before this one is there by now,
		// unless it is damaged.
		found := *f
		s.forget()
		for _, at := range []int64{s.at, found.at} {
			if whole, err = s.tryAt(at, f); whole || err != nil {
				skipped = at - s.at
				s.advance(f, whole)
				return skipped, whole, err
			}
		}
		return 0, false, nil
	}
}

func (s *scanner) advance(f *frame, whole bool) {
	if whole {
		s.at = f.at + f.size
	}
}

// recordsFrame is the parts of the body of a frame with records.
type recordsFrame struct {
	time          int64
	miners, jobs  int // numbers of the first that are defined
	defs, records []byte
}

// recordsHead is what stands before the definitions.
const recordsHead = 8 + 4 + 4 + 4

// maxDefined is more than a segment defines of a kind.
const maxDefined = 1 << 28

func (f *frame) records() (r recordsFrame, ok bool) {
	b := f.body
	if f.kind != frameRecords && f.kind != frameLost || len(b) < recordsHead {
		return r, false
	}
	n := binary.BigEndian.Uint32(b[8:])
	r.time = int64(binary.BigEndian.Uint64(b))
	r.miners, r.jobs = int(binary.BigEndian.Uint32(b[12:])), int(binary.BigEndian.Uint32(b[16:]))
	if b = b[recordsHead:]; uint64(n) > uint64(len(b)) || r.miners > maxDefined || r.jobs > maxDefined {
		return r, false
	}
	r.defs, r.records = b[:n:n], b[n:]
	return r, true
}

// Definitions.
const (
	defineMiner = 'm'
	defineJob   = 'j' // id in 8 bytes, and the job's record
)

// nextDefinition cuts the first definition off b.
func nextDefinition(b []byte) (of byte, definition, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, nil, false
	}
	n, k := binary.Uvarint(b[1:])
	if k <= 0 || n > uint64(len(b)-1-k) {
		return 0, nil, nil, false
	}
	rest = b[1+k:]
	return b[0], rest[:n:n], rest[n:], true
}

// segmentRecord is a record as it stands in a segment.
type segmentRecord struct {
	kind       Kind
	time       int64
	miner, job uint64 // as in the segment
	id         uint64 // of a job that is not defined
	body       []byte
}

// nextRecord cuts the first record off b. before is the time of the one before.
func nextRecord(b []byte, before int64) (k segmentRecord, rest []byte, ok bool) {
	if len(b) < 2 {
		return k, nil, false
	}
	k.kind = Kind(b[0])
	n, i := binary.Uvarint(b[1:])
	if i <= 0 || n > uint64(len(b)-1-i) {
		return k, nil, false
	}
	b = b[1+i:]
	b, rest = b[:n:n], b[n:]
	time, i := binary.Varint(b)
	if i <= 0 {
		return k, nil, false
	}
	k.time, b = before+time, b[i:]
	if k.miner, i = binary.Uvarint(b); i <= 0 {
		return k, nil, false
	}
	b = b[i:]
	if k.job, i = binary.Uvarint(b); i <= 0 {
		return k, nil, false
	}
	b = b[i:]
	if k.job == jobByID {
		if len(b) < 8 {
			return k, nil, false
		}
		k.id, b = binary.BigEndian.Uint64(b), b[8:]
	}
	k.body = b
	return k, rest, true
}

// How a record names its job.
const (
	jobNone    = 0
	jobByID    = 1
	jobDefined = 2 // and more: its number and this
)
