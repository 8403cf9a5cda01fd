package difficulty

import (
	"encoding/binary"
	"fmt"
	"math"
)

// vardiffVersion is the first byte of a record. Older ones are read.
const (
	vardiffVersion = 1
	vardiffSize    = 1 + 3*8 + 4*4 + 4 + 3
)

// AppendBinary appends the measurement as a record of fixed size, for
// UnmarshalBinary in another process whose times are on the same scale. The
// first byte is the version of the form. The error is nil.
func (v *Vardiff) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, vardiffVersion)
	for _, f := range [...]float64{v.origin, v.changed, v.decayed} {
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(f))
	}
	for _, f := range [...]float32{v.avg15, v.avg60, v.avg300, v.pending} {
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(f))
	}
	b = binary.BigEndian.AppendUint32(b, v.shares)
	return append(b, bit(v.measuring), v.idle, bit(v.recovering)), nil
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// UnmarshalBinary reads what AppendBinary appended.
func (v *Vardiff) UnmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] == 0 || b[0] > vardiffVersion {
		return fmt.Errorf("vardiff record of an unknown version, this package reads 1 to %d", vardiffVersion)
	}
	if len(b) != vardiffSize {
		return fmt.Errorf("vardiff record of %d bytes, want %d", len(b), vardiffSize)
	}
	b = b[1:]
	*v = Vardiff{}
	for _, f := range [...]*float64{&v.origin, &v.changed, &v.decayed} {
		*f = math.Float64frombits(binary.BigEndian.Uint64(b))
		b = b[8:]
	}
	for _, f := range [...]*float32{&v.avg15, &v.avg60, &v.avg300, &v.pending} {
		*f = math.Float32frombits(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	v.shares = binary.BigEndian.Uint32(b)
	v.measuring, v.idle, v.recovering = b[4] != 0, b[5], b[6] != 0
	for _, f := range [...]float64{v.origin, v.changed, v.decayed, float64(v.avg15), float64(v.avg60), float64(v.avg300), float64(v.pending)} {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			*v = Vardiff{}
			return fmt.Errorf("vardiff record has the number %v", f)
		}
	}
	return nil
}
