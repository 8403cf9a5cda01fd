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

// vardiffRecord is what is left of a record to fill or to read. eight, four and
// one pass a field of so many bytes, big-endian: they give what they wrote or
// read, 0 where the record has ended.
type vardiffRecord struct {
	b       []byte
	reading bool
}

func (r *vardiffRecord) eight(v uint64) uint64 {
	if len(r.b) < 8 {
		return 0
	}
	if r.reading {
		v = binary.BigEndian.Uint64(r.b)
	} else {
		binary.BigEndian.PutUint64(r.b, v)
	}
	r.b = r.b[8:]
	return v
}

func (r *vardiffRecord) four(v uint32) uint32 {
	if len(r.b) < 4 {
		return 0
	}
	if r.reading {
		v = binary.BigEndian.Uint32(r.b)
	} else {
		binary.BigEndian.PutUint32(r.b, v)
	}
	r.b = r.b[4:]
	return v
}

func (r *vardiffRecord) one(v uint8) uint8 {
	if len(r.b) < 1 {
		return 0
	}
	if r.reading {
		v = r.b[0]
	} else {
		r.b[0] = v
	}
	r.b = r.b[1:]
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
