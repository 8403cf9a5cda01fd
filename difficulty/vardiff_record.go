package difficulty

import (
	"encoding/binary"
	"fmt"
	"math"
)

// vardiffVersion is that of the record; older ones are read. vardiffSize is the
// size of the first one, which later ones only add to.
const (
	vardiffVersion = 1
	vardiffSize    = 1 + 3*8 + 4*4 + 4 + 3
)

// vardiffRecord is a record with the place of the next field, and zeros behind its
// end. eight, four and one pass a field of so many bytes, big-endian: they give
// what they wrote or read, 0 where the record has ended.
type vardiffRecord struct {
	b       [64]byte
	at      int
	reading bool
}

// fields passes the fields of the record, each listed once for writing and
// reading. Later ones go to the end.
func (v *Vardiff) fields(r *vardiffRecord) {
	for _, f := range [...]*float64{&v.origin, &v.changed, &v.decayed} {
		*f = math.Float64frombits(r.eight(math.Float64bits(*f)))
	}
	for _, f := range [...]*float32{&v.avg15, &v.avg60, &v.avg300, &v.pending} {
		*f = math.Float32frombits(r.four(math.Float32bits(*f)))
	}
	v.shares = r.four(v.shares)
	v.measuring = r.one(bit(v.measuring)) != 0
	v.idle = r.one(v.idle)
	v.recovering = r.one(bit(v.recovering)) != 0
}

func bit(v bool) uint8 {
	if v {
		return 1
	}
	return 0
}

func (r *vardiffRecord) eight(v uint64) uint64 {
	b := r.b[r.at:]
	r.at += 8
	if r.reading {
		return binary.BigEndian.Uint64(b)
	}
	binary.BigEndian.PutUint64(b, v)
	return v
}

func (r *vardiffRecord) four(v uint32) uint32 {
	b := r.b[r.at:]
	r.at += 4
	if r.reading {
		return binary.BigEndian.Uint32(b)
	}
	binary.BigEndian.PutUint32(b, v)
	return v
}

func (r *vardiffRecord) one(v uint8) uint8 {
	b := &r.b[r.at]
	r.at++
	if !r.reading {
		*b = v
	}
	return *b
}

// AppendBinary appends the measurement as a record for UnmarshalBinary in another
// process whose times are on the same scale. It tells its version but not its
// length: later releases may add to its end. The error is nil.
func (v *Vardiff) AppendBinary(b []byte) ([]byte, error) {
	var r vardiffRecord
	r.one(vardiffVersion)
	v.fields(&r)
	return append(b, r.b[:r.at]...), nil
}

// UnmarshalBinary reads what AppendBinary appended, here or in another release,
// whose further fields are skipped.
func (v *Vardiff) UnmarshalBinary(b []byte) error {
	*v = Vardiff{}
	if len(b) == 0 || b[0] == 0 || b[0] > vardiffVersion {
		return fmt.Errorf("vardiff record of an unknown version, this package reads 1 to %d", vardiffVersion)
	}
	if len(b) < vardiffSize {
		return fmt.Errorf("vardiff record of %d bytes, want %d", len(b), vardiffSize)
	}
	r := vardiffRecord{at: 1, reading: true}
	copy(r.b[:], b)
	v.fields(&r)
	for _, f := range [...]float64{v.origin, v.changed, v.decayed, float64(v.avg15), float64(v.avg60), float64(v.avg300), float64(v.pending)} {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			*v = Vardiff{}
			return fmt.Errorf("vardiff record has the number %v", f)
		}
	}
	return nil
}
