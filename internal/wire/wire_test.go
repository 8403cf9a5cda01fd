package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"
)

func TestFields(t *testing.T) {
	a := netip.MustParseAddr("198.51.100.7")
	b := []byte{1, 2}
	b = binary.BigEndian.AppendUint16(b, 3)
	b = binary.BigEndian.AppendUint32(b, 4)
	b = binary.BigEndian.AppendUint64(b, 5)
	b = AppendFloat(b, -0.1)
	b = AppendBytes(b, "text")
	b = AppendBytes(b, []byte{6})
	b = AppendBool(AppendBool(b, true), false)
	b = AppendAddr(b, a)
	r := NewReader(b)
	if r.Version(1) != 1 || r.Uint8() != 2 || r.Uint16() != 3 || r.Uint32() != 4 || r.Uint64() != 5 ||
		r.Float() != -0.1 || r.Text() != "text" || string(r.Bytes()) != "\x06" || !r.Bool() || r.Bool() || r.Addr() != a {
		t.Errorf("fields differ, %v", r.Err())
	}
	if err := r.Done(); err != nil || r.More() {
		t.Errorf("at the end: %v", err)
	}
}

func TestBadRecords(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		read func(r *Reader)
		want string
	}{
		{"short number", []byte{1, 2, 3}, func(r *Reader) { r.Uint32() }, "cut off"},
		{"short text", []byte{5, 'a'}, func(r *Reader) { r.Text() }, "cut off"},
		{"huge length", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0}, func(r *Reader) { r.Bytes() }, "cut off"},
		{"more items than bytes", []byte{3, 0, 0, 0, 0}, func(r *Reader) { r.Count(2) }, "cut off"},
		{"bytes too many", []byte{1, 2}, func(r *Reader) { r.Uint8() }, "1 bytes too many"},
		{"no truth value", []byte{2}, func(r *Reader) { r.Bool() }, "truth value"},
		{"NaN", AppendFloat(nil, math.NaN()), func(r *Reader) { r.Float() }, "number that is none"},
		{"version 0", []byte{0}, func(r *Reader) { r.Version(3) }, "version 0, this program reads 1 to 3"},
		{"version of the future", []byte{4}, func(r *Reader) { r.Version(3) }, "version 4, this program reads 1 to 3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(tt.in)
			tt.read(r)
			if err := r.Done(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestFirstErrorStays(t *testing.T) {
	r := NewReader([]byte{1})
	r.Uint64()
	r.Fail(errors.New("later"))
	if r.Uint8() != 0 || !errors.Is(r.Err(), ErrShort) {
		t.Errorf("%v", r.Err())
	}
}
