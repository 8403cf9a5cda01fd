package segment

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// Frame is what a segment is made of:
//
//	mark      8 bytes: that of the segment, or HeaderMark
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
type Frame struct {
	Kind          FrameKind
	Ring          int
	First         uint64
	Count, Shares uint32
	Position      uint64
	Body          []byte // aliases the Scanner

	At   int64 // offset in the file
	Size int64
}

// End is the number of the record after the frame's last.
func (f *Frame) End() uint64 { return f.First + uint64(f.Count) }

// FrameKind is what a frame has in it.
type FrameKind uint8

// Kinds of frames.
const (
	HeaderFrame  FrameKind = 1 + iota // of a segment: JSON, and padding
	RecordsFrame                      // records of a ring
	LostFrame                         // one record of what a full ring has lost
	EndFrame                          // the segment is whole
)

// Mark begins frames.
type Mark [8]byte

const (
	markLen = len(Mark{})

	// FrameHead is how long a frame's head is.
	FrameHead = markLen + 4 + 4 + 8 + 8 + 4 + 4 + 2 + 1 + 1

	// FrameSize is what a frame is ended at.
	FrameSize = 128 << 10
	// maxFrame is the most that follows a frame's head.
	maxFrame = 16 << 20
)

// HeaderMark begins the header of every segment.
var HeaderMark = Mark{0xab, 'c', 'k', 'j', 'r', 'n', 'l', 0x0a}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BeginFrame appends room for a frame's head.
func BeginFrame(b []byte) []byte { return append(b, make([]byte, FrameHead)...) }

// FinishFrame fills the head of the frame that is all of b.
func FinishFrame(b []byte, mark Mark, f *Frame) {
	copy(b, mark[:])
	p := b[markLen+4:]
	binary.BigEndian.PutUint32(p, uint32(len(b)-FrameHead))
	binary.BigEndian.PutUint64(p[4:], f.First)
	binary.BigEndian.PutUint64(p[12:], f.Position)
	binary.BigEndian.PutUint32(p[20:], f.Count)
	binary.BigEndian.PutUint32(p[24:], f.Shares)
	binary.BigEndian.PutUint16(p[28:], uint16(f.Ring))
	p[30], p[31] = byte(f.Kind), 0
	binary.BigEndian.PutUint32(b[markLen:], crc32.Checksum(p, castagnoli))
}

// readFrame reads the frame at the beginning of b. whole is false if there is none;
// need is how many bytes of it would tell, if b is too short to.
func readFrame(b []byte, mark Mark, f *Frame) (whole bool, need int) {
	if len(b) < FrameHead {
		return false, FrameHead
	}
	if Mark(b) != mark {
		return false, 0
	}
	p := b[markLen+4:]
	n := int(binary.BigEndian.Uint32(p))
	if n > maxFrame {
		return false, 0
	}
	if len(b) < FrameHead+n {
		return false, FrameHead + n
	}
	p = b[markLen+4 : FrameHead+n : FrameHead+n]
	if crc32.Checksum(p, castagnoli) != binary.BigEndian.Uint32(b[markLen:]) {
		return false, 0
	}
	*f = Frame{
		First: binary.BigEndian.Uint64(p[4:]), Position: binary.BigEndian.Uint64(p[12:]),
		Count: binary.BigEndian.Uint32(p[20:]), Shares: binary.BigEndian.Uint32(p[24:]),
		Ring: int(binary.BigEndian.Uint16(p[28:])), Kind: FrameKind(p[30]),
		Body: b[FrameHead : FrameHead+n : FrameHead+n], Size: int64(FrameHead + n),
	}
	ok := f.Kind >= HeaderFrame && f.Kind <= EndFrame && uint64(f.Count) <= uint64(n) && f.Shares <= f.Count && f.End() >= f.First
	return ok, 0
}

// Scanner finds the frames of a file. It is for one goroutine.
type Scanner struct {
	File io.ReaderAt
	Mark Mark
	At   int64 // offset of the next frame

	buf   []byte // what was read of the file
	bufAt int64
}

// window gives the n bytes at an offset, fewer at the end of the file, and before what
// cannot be read, of which the error is. They are valid until the next call.
func (s *Scanner) window(at int64, n int) ([]byte, error) {
	if at >= s.bufAt && at+int64(n) <= s.bufAt+int64(len(s.buf)) {
		return s.buf[at-s.bufAt:][:n], nil
	}
	const ahead = 256 << 10
	want := max(n, ahead)
	if cap(s.buf) < want {
		s.buf = make([]byte, 0, max(want, 2*cap(s.buf)))
	}
	got, err := s.File.ReadAt(s.buf[:want], at)
	if err == io.EOF || got >= n {
		err = nil
	}
	s.buf, s.bufAt = s.buf[:got], at
	return s.buf[:min(n, got)], err
}

// forget makes the next window be read anew.
func (s *Scanner) forget() { s.buf = s.buf[:0] }

// tryAt reads the frame at an offset.
func (s *Scanner) tryAt(at int64, f *Frame) (whole bool, err error) {
	for n := FrameHead; ; {
		b, err := s.window(at, n)
		if err != nil {
			return false, err
		}
		whole, need := readFrame(b, s.Mark, f)
		if whole {
			f.At = at
			return true, nil
		}
		if need <= n || len(b) < n {
			return false, nil
		}
		n = need
	}
}

// Next reads the next whole frame. It is behind skipped bytes that are none. Without a
// whole frame behind the place the scanner stays there: more may be written yet.
func (s *Scanner) Next(f *Frame) (skipped int64, whole bool, err error) {
	if whole, err = s.tryAt(s.At, f); whole || err != nil {
		s.advance(f, whole)
		return 0, whole, err
	}
	s.forget() // more may have been written meanwhile
	for at := s.At; ; {
		b, err := s.window(at, 128<<10)
		if len(b) < markLen {
			s.forget()
			return 0, false, err
		}
		i := bytes.Index(b, s.Mark[:])
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
		for _, at := range []int64{s.At, found.At} {
			if whole, err = s.tryAt(at, f); whole || err != nil {
				skipped = at - s.At
				s.advance(f, whole)
				return skipped, whole, err
			}
		}
		return 0, false, nil
	}
}

func (s *Scanner) advance(f *Frame, whole bool) {
	if whole {
		s.At = f.At + f.Size
	}
}

// Parts are those of the body of a frame with records.
type Parts struct {
	Time          int64
	Miners, Jobs  int // numbers of the first that are defined
	Defs, Records []byte
}

// partsHead is what stands before the definitions.
const partsHead = 8 + 4 + 4 + 4

// maxDefined is more than a segment defines of a kind.
const maxDefined = 1 << 28

// Parts are those of a frame with records; they alias its body.
func (f *Frame) Parts() (r Parts, ok bool) {
	b := f.Body
	if f.Kind != RecordsFrame && f.Kind != LostFrame || len(b) < partsHead {
		return r, false
	}
	n := binary.BigEndian.Uint32(b[8:])
	r.Time = int64(binary.BigEndian.Uint64(b))
	r.Miners, r.Jobs = int(binary.BigEndian.Uint32(b[12:])), int(binary.BigEndian.Uint32(b[16:]))
	if b = b[partsHead:]; uint64(n) > uint64(len(b)) || r.Miners > maxDefined || r.Jobs > maxDefined {
		return r, false
	}
	r.Defs, r.Records = b[:n:n], b[n:]
	return r, true
}

// AppendTo appends the parts as a frame's body.
func (r *Parts) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Defs)))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Miners))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Jobs))
	b = append(b, r.Defs...)
	return append(b, r.Records...)
}

// Definitions.
const (
	defineMiner = 'm'
	defineJob   = 'j' // id in 8 bytes, and the job's record

	// The least that one takes.
	minerSize = 1 + 1
	jobSize   = 1 + 1 + 8
)

// AppendMiner appends a miner's definition.
func AppendMiner(b, miner []byte) []byte {
	b = append(b, defineMiner)
	b = binary.AppendUvarint(b, uint64(len(miner)))
	return append(b, miner...)
}

// AppendJob appends a job's definition.
func AppendJob(b []byte, id uint64, record []byte) []byte {
	b = append(b, defineJob)
	b = binary.AppendUvarint(b, uint64(8+len(record)))
	b = binary.BigEndian.AppendUint64(b, id)
	return append(b, record...)
}

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

// Record is a record as it stands in a segment.
type Record struct {
	Kind       uint8
	Time       int64
	Miner, Job uint64 // as in the segment
	ID         uint64 // of a job that is not defined
	Body       []byte
}

// NextRecord cuts the first record off b. before is the time of the one before. What is
// no record is not ok.
func NextRecord(b []byte, before int64) (k Record, rest []byte, ok bool) {
	if len(b) < 2 {
		return k, nil, false
	}
	k.Kind = b[0]
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
	k.Time, b = before+time, b[i:]
	if k.Miner, i = binary.Uvarint(b); i <= 0 {
		return k, nil, false
	}
	b = b[i:]
	if k.Job, i = binary.Uvarint(b); i <= 0 {
		return k, nil, false
	}
	b = b[i:]
	if k.Job == JobByID {
		if len(b) < 8 {
			return k, nil, false
		}
		k.ID, b = binary.BigEndian.Uint64(b), b[8:]
	}
	k.Body = b
	return k, rest, true
}

// AppendRecord appends a record, whose time is that many microseconds after before.
func AppendRecord(b []byte, k *Record, before int64) []byte {
	var head [3*binary.MaxVarintLen64 + 8]byte
	h := binary.AppendVarint(head[:0], k.Time-before)
	h = binary.AppendUvarint(h, k.Miner)
	h = binary.AppendUvarint(h, k.Job)
	if k.Job == JobByID {
		h = binary.BigEndian.AppendUint64(h, k.ID)
	}
	b = append(b, k.Kind)
	b = binary.AppendUvarint(b, uint64(len(h)+len(k.Body)))
	b = append(b, h...)
	return append(b, k.Body...)
}

// How a record names its job.
const (
	JobNone    = 0
	JobByID    = 1
	JobDefined = 2 // and more: its number and this
)
