package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math"
	"time"
)

// A file is, numbers little-endian:
//
//	header      magic (8 bytes), slots, resolutions, and of each of them seconds of a
//	            period and periods (uint32 each), CRC-32C of all that; headerSize bytes,
//	            a page of the disk
//	names       nameSize bytes for each slot, see series
//	columns     from the next page on, of each resolution, in order: period p is column p modulo periods
//
// A column is the number of its period since 1970 (uint32), 0 for none, and a value
// (float32, as its bits XOR those of noValue) for each slot. Zero bytes are no value,
// so that what was never written need not be there.
const (
	magic      = "ckphist1"
	headerSize = 4096
	nameSize   = 256
	maxName    = nameSize - 4 - 4 - 1 - 4 // bytes
	valueSize  = 4
	// sector is what a disk writes as a whole, if only by its beginning.
	sector = 512
)

// noValue are the bits of the NaN that stands for no value.
const noValue = 0x7fc00000

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Resolution is how long periods are, and of how many there are values.
type Resolution struct {
	Period  time.Duration // whole seconds
	Periods int
}

// shape is what files of one kind have in common. Each resolution's period is a
// multiple of that of the one before, whose column of a period is followed by those
// of the others that make up the longer one.
type shape struct {
	slots       int
	resolutions []Resolution
}

// header is the header of a file of that shape.
func (s *shape) header() []byte {
	b := append(make([]byte, 0, headerSize), magic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.slots))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s.resolutions)))
	for _, r := range s.resolutions {
		b = binary.LittleEndian.AppendUint32(b, uint32(r.Period/time.Second))
		b = binary.LittleEndian.AppendUint32(b, uint32(r.Periods))
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:headerSize]
}

// column is the size of one, in bytes.
func (s *shape) column() int64 { return int64(1+s.slots) * valueSize }

// begin is where columns begin in a file: with a page of the disk.
func (s *shape) begin() int64 {
	return (headerSize + int64(s.slots)*nameSize + headerSize - 1) / headerSize * headerSize
}

// size is that of a file, in bytes.
func (s *shape) size() int64 {
	n := s.begin()
	for _, r := range s.resolutions {
		n += int64(r.Periods) * s.column()
	}
	return n
}

// series is whom the values of a slot are of. Its bytes are since, used (uint32 each),
// length of the name (a byte), the name, and at the end CRC-32C of all before it.
type series struct {
	name  string
	since int64 // unix seconds, a multiple of the shortest period: values before it are of another one
	used  int64 // unix seconds: about when it had a value last
}

func (s *series) bytes() []byte {
	b := make([]byte, 0, nameSize)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.since))
	b = binary.LittleEndian.AppendUint32(b, uint32(s.used))
	b = append(append(b, byte(len(s.name))), s.name...)[:nameSize-4]
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// parseSeries reads nameSize bytes; false: they are of no series.
func parseSeries(b []byte) (s series, ok bool) {
	n := int(b[8])
	if n == 0 || n > maxName || binary.LittleEndian.Uint32(b[nameSize-4:]) != crc32.Checksum(b[:nameSize-4], castagnoli) {
		return s, false
	}
	s.since, s.used = int64(binary.LittleEndian.Uint32(b)), int64(binary.LittleEndian.Uint32(b[4:]))
	s.name = string(b[9 : 9+n])
	return s, true
}

// key is what a series is found by: its name, of a long one the beginning with a
// hash of the whole.
func key(name string) string {
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:maxName-2*len(sum)] + hex.EncodeToString(sum[:])
}

func putValue(b []byte, v float64) {
	bits := uint32(noValue)
	if f := float64(float32(v)); f-f == 0 { // neither NaN nor infinite
		bits = math.Float32bits(float32(v))
	}
	binary.LittleEndian.PutUint32(b, bits^noValue)
}

func getValue(b []byte) float64 {
	return float64(math.Float32frombits(binary.LittleEndian.Uint32(b) ^ noValue))
}

// sameHeader tells whether a file begins as one of that shape does.
func (s *shape) sameHeader(b []byte) bool { return bytes.Equal(b, s.header()) }
