package wire

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// sample has a field of every kind.
type sample struct {
	Small  uint8
	Large  uint64
	ID     uint64
	Signed int64
	Ratio  float32
	Credit float64
	Rates  [2]float32
	Yes    bool
	Bytes  []byte
	Text   string
	Hash   [4]byte
	Addr   netip.Addr
	Words  []uint64
	Inner  inner
	List   []inner
	Last   uint16
}

type inner struct {
	A uint16
	B string
}

func (v *inner) fields(c *Codec) {
	Uint(c, &v.A)
	c.Text(&v.B)
}

func (v *sample) fields(c *Codec) {
	Uint(c, &v.Small)
	Uint(c, &v.Large)
	Word(c, &v.ID)
	Int(c, &v.Signed)
	Float(c, &v.Ratio)
	Amount(c, &v.Credit)
	Amounts(c, v.Rates[:])
	c.Bool(&v.Yes)
	c.Bytes(&v.Bytes)
	c.Text(&v.Text)
	c.Array(v.Hash[:])
	c.Addr(&v.Addr)
	c.Words(&v.Words)
	c.Record(v.Inner.fields)
	List(c, &v.List, (*inner).fields)
	Uint(c, &v.Last)
}

func newSample() sample {
	return sample{
		7, 300, 0xfedcba9876543210, -2, -0.5, 1.5, [2]float32{0.5, 2}, true, []byte{1, 2}, "text", [4]byte{0xde, 0xad, 0xbe, 0xef},
		netip.MustParseAddr("198.51.100.7"), []uint64{1, math.MaxUint64}, inner{9, "in"}, []inner{{1, ""}, {2, "b"}}, 77,
	}
}

// The bytes of each kind of field, written by hand.
const sampleBytes = "01" + "0000007b" + // version, length
	"07" + "ac02" + "fedcba9876543210" + "03" + // 7, 300, the id, -2
	"bfe0000000000000" + "3ff8000000000000" + // -0.5, 1.5
	"00000010" + "3fe0000000000000" + "4000000000000000" + "01" + // 0.5 and 2, true
	"020102" + "0474657874" + "deadbeef" +
	"00000000000000000000ffffc6336407" +
	"00000010" + "0000000000000001" + "ffffffffffffffff" +
	"00000004" + "09" + "02696e" +
	"0000000d" + "00000002" + "0100" + "00000003" + "020162" +
	"4d"

func TestBytes(t *testing.T) {
	v := newSample()
	c := Append([]byte("before"))
	c.Versioned(1, v.fields)
	record := bytes.TrimPrefix(c.Written(), []byte("before"))
	if fmt.Sprintf("%x", record) != sampleBytes {
		t.Errorf("%x\nwant\n%s", record, sampleBytes)
	}
	var got sample
	r := Read(record)
	r.Versioned(1, got.fields)
	if err := r.Done(); err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%v: %+v\nwant %+v", err, got, v)
	}
}

// laterSample is of a later release: there are more fields at the end of the
// record, and of the elements of a list.
type laterSample struct {
	sample
	More  []laterInner
	Inner struct{ More uint64 }
}

type laterInner struct {
	inner
	More string
}

func (v *laterInner) fields(c *Codec) {
	v.inner.fields(c)
	c.Text(&v.More)
}

func (v *laterSample) fields(c *Codec) {
	v.sample.fields(c)
	List(c, &v.More, (*laterInner).fields)
	c.Record(func(c *Codec) { Uint(c, &v.Inner.More) })
}

func TestRecordOfALaterRelease(t *testing.T) {
	later := laterSample{sample: newSample(), More: []laterInner{{inner{5, "five"}, "more"}, {inner{6, "six"}, ""}}}
	later.Inner.More = 12345
	w := Append(nil)
	w.Record(later.fields)
	List(w, &later.More, (*laterInner).fields)
	var v sample
	var list []inner
	r := Read(w.Written())
	r.Record(v.fields)
	List(r, &list, (*inner).fields)
	if err := r.Done(); err != nil || !reflect.DeepEqual(v, later.sample) || !reflect.DeepEqual(list, []inner{{5, "five"}, {6, "six"}}) {
		t.Errorf("%v\n%+v\n%+v", err, v, list)
	}
}

func TestRecordOfAnEarlierRelease(t *testing.T) {
	v := newSample()
	w := Append(nil)
	w.Record(v.fields)
	List(w, &v.List, (*inner).fields)
	later := laterSample{More: []laterInner{{}}}
	later.Inner.More = 99
	var list []laterInner
	r := Read(w.Written())
	r.Record(later.fields)
	List(r, &list, (*laterInner).fields)
	if err := r.Done(); err != nil || !reflect.DeepEqual(later, laterSample{sample: v}) || !reflect.DeepEqual(list, []laterInner{{v.List[0], ""}, {v.List[1], ""}}) {
		t.Errorf("%v\n%+v\n%+v", err, later, list)
	}
}

// An array of a later release has more elements, and nothing behind it shifts.
func TestArrayOfALaterRelease(t *testing.T) {
	pass := func(array []float64, last *uint16) func(*Codec) {
		return func(c *Codec) {
			Amounts(c, array)
			Uint(c, last)
		}
	}
	last := uint16(77)
	for _, tt := range []struct{ written, want []float64 }{
		{[]float64{1, 2, 3}, []float64{1, 2, 3}},
		{[]float64{1, 2, 3, 4}, []float64{1, 2, 3}},
		{[]float64{1, 2}, []float64{1, 2, 0}},
		{nil, []float64{0, 0, 0}},
	} {
		w := Append(nil)
		w.Record(pass(tt.written, &last))
		got, end := []float64{9, 9, 9}, uint16(0)
		r := Read(w.Written())
		r.Record(pass(got, &end))
		if err := r.Done(); err != nil || !reflect.DeepEqual(got, tt.want) || end != last {
			t.Errorf("%v read as %v and %d, %v", tt.written, got, end, err)
		}
	}
}

// What a record has less of, of any kind, is zero, whatever was there.
func TestFieldsThatAreNotThere(t *testing.T) {
	v := newSample()
	r := Read([]byte{0, 0, 0, 0})
	r.Record(v.fields)
	if err := r.Done(); err != nil || !reflect.DeepEqual(v, sample{}) {
		t.Errorf("%v: %+v", err, v)
	}
}

// Only the end of a record is the end of its fields: one that is cut off is
// refused.
func TestCutOff(t *testing.T) {
	v := newSample()
	w := Append(nil)
	w.Versioned(1, v.fields)
	for n := range w.Written() {
		r := Read(w.Written()[:n:n])
		r.Versioned(1, new(sample).fields)
		if r.Done() == nil {
			t.Errorf("the first %d of %d bytes are taken for all", n, len(w.Written()))
		}
	}
}

func TestRefused(t *testing.T) {
	float := func(v float64) []byte {
		c := Append(nil)
		Float(c, &v)
		return c.Written()
	}
	tests := []struct {
		name string
		in   []byte
		read func(c *Codec)
		want string
	}{
		{"short number", []byte{1, 2, 3}, func(c *Codec) { Float(c, new(float64)) }, "cut off"},
		{"short text", []byte{5, 'a'}, func(c *Codec) { c.Text(new(string)) }, "cut off"},
		{"huge length", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0}, func(c *Codec) { c.Bytes(new([]byte)) }, "cut off"},
		{"endless integer", bytes.Repeat([]byte{0xff}, 12), func(c *Codec) { Uint(c, new(uint64)) }, "cut off"},
		{"half a field", []byte{0, 0, 0, 1, 1}, func(c *Codec) { c.Record(func(c *Codec) { Float(c, new(float64)) }) }, "cut off"},
		{"list longer than its record", []byte{0, 0, 0, 5, 0, 0, 0, 9, 1, 1, 1}, func(c *Codec) { c.Record(func(c *Codec) { List(c, new([]inner), (*inner).fields) }) }, "cut off"},
		{"half a word", []byte{0, 0, 0, 3, 1, 2, 3}, func(c *Codec) { c.Words(new([]uint64)) }, "cut off"},
		{"bytes too many", []byte{1, 2}, func(c *Codec) { Uint(c, new(uint8)) }, "1 bytes too many"},
		{"too large", []byte{0x80, 2}, func(c *Codec) { Uint(c, new(uint8)) }, "256 is too large"},
		{"too small", []byte{0x81, 2}, func(c *Codec) { Int(c, new(int8)) }, "-129 is too large"},
		{"no truth value", []byte{2}, func(c *Codec) { c.Bool(new(bool)) }, "truth value"},
		{"NaN", float(math.NaN()), func(c *Codec) { Float(c, new(float64)) }, "number NaN"},
		{"infinite", float(math.Inf(1)), func(c *Codec) { Float(c, new(float64)) }, "number +Inf"},
		{"infinite in its field", float(1e300), func(c *Codec) { Float(c, new(float32)) }, "number 1e+300"},
		{"negative amount", float(-1), func(c *Codec) { Amount(c, new(float64)) }, "number -1"},
		{"negative in an array", append([]byte{0, 0, 0, 8}, float(-1)...), func(c *Codec) { Amounts(c, make([]float32, 1)) }, "number -1"},
		{"half an element", []byte{0, 0, 0, 3, 1, 2, 3}, func(c *Codec) { Amounts(c, make([]float32, 1)) }, "cut off"},
		{"version 0", []byte{0}, func(c *Codec) { c.Version(3) }, "version 0, this program reads 1 to 3"},
		{"version of the future", []byte{4}, func(c *Codec) { c.Version(3) }, "version 4, this program reads 1 to 3"},
		{"nothing", nil, func(c *Codec) { c.Record(func(*Codec) {}) }, "cut off"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Read(tt.in)
			tt.read(c)
			if err := c.Done(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// Nothing is set, and nothing more is found wrong, after the first error.
func TestFirstErrorStays(t *testing.T) {
	v := newSample()
	r := Read([]byte{4, 0, 0, 0, 1, 1})
	r.Versioned(3, v.fields)
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "version 4") || !reflect.DeepEqual(v, sample{}) {
		t.Errorf("%v: %+v", err, v)
	}
}

// Fields cost no memory of their own.
func TestWritingAllocatesNothing(t *testing.T) {
	v := newSample()
	w := Append(make([]byte, 0, 4096))
	if n := testing.AllocsPerRun(100, func() {
		w.Reset(0)
		w.Versioned(1, v.fields)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestReadJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{"version":1,"count":5}`:                     "",
		`{"later":{"count":7},"version":2,"count":5}`: "",
		`{"version":3,"count":5}`:                     "version 3, this program reads 1 to 2",
		`{"version":0,"count":5}`:                     "version 0, this program reads 1 to 2",
		`{"count":5}`:                                 "version 0, this program reads 1 to 2",
		`{"version":1,"count":"5"}`:                   "cannot unmarshal",
		`{"version":1,"count":5`:                      "unexpected end",
		``:                                            "unexpected end",
	} {
		var v struct{ Count int }
		err := ReadJSON([]byte(in), 2, &v)
		if want == "" && (err != nil || v.Count != 5) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %+v, %v", in, v, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	v := newSample()
	w := Append(nil)
	w.Versioned(1, v.fields)
	f.Add(w.Written())
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		var v, again sample
		r := Read(in)
		r.Versioned(1, v.fields)
		if r.Done() != nil {
			return
		}
		if !v.Addr.IsValid() {
			v.Addr = netip.IPv6Unspecified()
		}
		if len(v.Bytes)+len(v.Text)+8*len(v.Words)+4*len(v.List) > len(in) {
			t.Errorf("%d bytes became %+v", len(in), v)
		}
		w := Append(nil)
		w.Versioned(1, v.fields)
		r = Read(w.Written())
		r.Versioned(1, again.fields)
		if err := r.Done(); err != nil || !reflect.DeepEqual(again, v) {
			t.Errorf("%v: %+v\nwas %+v", err, again, v)
		}
	})
}
