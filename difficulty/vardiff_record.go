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

// fields passes the fields of the record, each listed once for writing and
// reading. Later ones go to the end.
func (v *Vardiff) fields(r *vardiffRecord) {
	for _, f := range [...]*float64{&v.origin, &v.changed, &v.decayed} {
		*f = math.Float64frombits(r.field(8, math.Float64bits(*f)))
	}
	for _, f := range [...]*float32{&v.avg15, &v.avg60, &v.avg300, &v.pending} {
		*f = math.Float32frombits(uint32(r.field(4, uint64(math.Float32bits(*f)))))
	}
	v.shares = uint32(r.field(4, uint64(v.shares)))
	v.measuring = r.field(1, bit(v.measuring)) != 0
	v.idle = uint8(r.field(1, uint64(v.idle)))
	v.recovering = r.field(1, bit(v.recovering)) != 0
}

func bit(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}

// vardiffRecord is what is left of a record to fill or to read.
type vardiffRecord struct {
	b       []byte
	reading bool
}

// field passes a field of n bytes, at most 8, big-endian. It gives what it wrote or
// read, 0 where the record has ended.
func (r *vardiffRecord) field(n int, v uint64) uint64 {
	if len(r.b) < n {
		return 0
	}
	var whole [8]byte
	part := whole[len(whole)-n:]
	if r.reading {
		copy(part, r.b)
		v = binary.BigEndian.Uint64(whole[:])
	} else {
		binary.BigEndian.PutUint64(whole[:], v)
		copy(r.b, part)
	}
	r.b = r.b[n:]
	return v
}

// AppendBinary appends the measurement as a record for UnmarshalBinary in another
// process whose times are on the same scale. It tells its version but not its
// length: later releases may add to its end. The error is nil.
func (v *Vardiff) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, make([]byte, vardiffSize)...)
	record := b[len(b)-vardiffSize:]
	record[0] = vardiffVersion
	v.fields(&vardiffRecord{b: record[1:]})
	return b, nil
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
	v.fields(&vardiffRecord{b: b[1:], reading: true})
	for _, f := range [...]float64{v.origin, v.changed, v.decayed, float64(v.avg15), float64(v.avg60), float64(v.avg300), float64(v.pending)} {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			*v = Vardiff{}
			return fmt.Errorf("vardiff record has the number %v", f)
		}
	}
	return nil
}
