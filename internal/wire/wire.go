package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
)

// ErrShort is wrapped by errors about input that ends too early.
var ErrShort = errors.New("record is cut off")

// AppendFloat appends the bits of v.
func AppendFloat(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(b, math.Float64bits(v))
}

// AppendBytes appends v after its length as an unsigned varint.
func AppendBytes[T ~string | ~[]byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// AppendBool appends 1 for true and 0 for false.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendAddr appends an address as 16 bytes, IPv4 mapped into IPv6.
func AppendAddr(b []byte, a netip.Addr) []byte {
	v := a.As16()
	return append(b, v[:]...)
}

// Reader takes fields off a record. After the first error every read gives
// zero; ask Err or Done at the end.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads b, which must not change meanwhile.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err is the first error.
func (r *Reader) Err() error { return r.err }

// Fail makes err the error unless there is one.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
		r.b = nil
	}
}

// Done is Err, or an error if anything is left.
func (r *Reader) Done() error {
	if r.err == nil && len(r.b) > 0 {
		return fmt.Errorf("record has %d bytes too many", len(r.b))
	}
	return r.err
}

// More tells that something is left to read.
func (r *Reader) More() bool { return r.err == nil && len(r.b) > 0 }

// Left is how many bytes are left: no count read from the record can be
// larger.
func (r *Reader) Left() int { return len(r.b) }

// Take gives the next n bytes, which alias the record.
func (r *Reader) Take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.Fail(ErrShort)
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

// Uint8 reads one byte.
func (r *Reader) Uint8() uint8 {
	if p := r.Take(1); p != nil {
		return p[0]
	}
	return 0
}

// Uint16 reads two bytes.
func (r *Reader) Uint16() uint16 {
	if p := r.Take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

// Uint32 reads four bytes.
func (r *Reader) Uint32() uint32 {
	if p := r.Take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

// Uint64 reads eight bytes.
func (r *Reader) Uint64() uint64 {
	if p := r.Take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// Float reads what AppendFloat appended; NaN is an error.
func (r *Reader) Float() float64 {
	v := math.Float64frombits(r.Uint64())
	if math.IsNaN(v) {
		r.Fail(errors.New("record has a number that is none"))
		return 0
	}
	return v
}

// Bool reads what AppendBool appended.
func (r *Reader) Bool() bool {
	switch r.Uint8() {
	case 0:
	case 1:
		return true
	default:
		r.Fail(errors.New("record has a truth value that is neither 0 nor 1"))
	}
	return false
}

// Count reads an unsigned varint that counts what follows, each at least size
// bytes long.
func (r *Reader) Count(size int) int {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.Fail(ErrShort)
		return 0
	}
	r.b = r.b[n:]
	if v > uint64(len(r.b)/max(size, 1)) {
		r.Fail(ErrShort)
		return 0
	}
	return int(v)
}

// Bytes reads what AppendBytes appended; it aliases the record.
func (r *Reader) Bytes() []byte { return r.Take(r.Count(1)) }

// Text is Bytes as a string.
func (r *Reader) Text() string { return string(r.Bytes()) }

// Addr reads what AppendAddr appended.
func (r *Reader) Addr() netip.Addr {
	if p := r.Take(16); p != nil {
		return netip.AddrFrom16([16]byte(p)).Unmap()
	}
	return netip.Addr{}
}

// Version reads the byte a record begins with and fails unless it is from 1 to
// newest.
func (r *Reader) Version(newest uint8) uint8 {
	v := r.Uint8()
	if r.err == nil && (v == 0 || v > newest) {
		r.Fail(fmt.Errorf("record has version %d, this program reads 1 to %d", v, newest))
		return 0
	}
	return v
}
