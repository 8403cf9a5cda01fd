// Package wire is the encoding of state that moves between processes. A Codec
// passes a record's fields either way, so that each record lists them once:
//
//	func (c *change) fields(w *wire.Codec) {
//		wire.Amount(w, &c.difficulty, &c.at)
//		wire.Word(w, &c.job)
//	}
//
// Integers are varints, however wide the field is in memory; hashes, ids and
// floating-point numbers are eight bytes, big-endian; texts and byte strings come after their length
// as a varint. A record is its fields after their length in bytes, four bytes
// big-endian, and a list is the same with its elements. So records can grow at the
// end: fields that a reader does not know are skipped, those that a writer did not
// know are read as zero. Fields are never removed, moved or given another form
// without another version.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
)

// ErrShort is wrapped by errors about input that ends too early.
var ErrShort = errors.New("record is cut off")

// lengthSize is that of the length before a record or a list.
const lengthSize = 4

// Codec passes fields to bytes or from them. Fields are given as pointers: a
// writer reads what they point to, a reader sets it, to zero after the first
// error.
type Codec struct {
	b       []byte // written, or left to read of the innermost record
	reading bool
	inside  bool // a record: fields after its end are zero
	err     error
}

// Append makes a writer that appends to b.
func Append(b []byte) *Codec { return &Codec{b: b} }

// Read makes a reader of b, which must not change meanwhile.
func Read(b []byte) *Codec { return &Codec{b: b, reading: true} }

// Reading tells readers from writers.
func (c *Codec) Reading() bool { return c.reading }

// Written is what Append was given with what was appended to it, until Reset.
func (c *Codec) Written() []byte { return c.b }

// Reset makes a writer go on after the first n bytes.
func (c *Codec) Reset(n int) { c.b = c.b[:n] }

// Err is the reader's first error.
func (c *Codec) Err() error { return c.err }

// Fail makes err the reader's error unless there is one. A writer does not judge
// what it writes: its reader does.
func (c *Codec) Fail(err error) {
	if c.reading && c.err == nil {
		c.err = err
		c.b = nil
	}
}

// Done is Err, or an error if anything is left to read.
func (c *Codec) Done() error {
	if c.err == nil && len(c.b) > 0 {
		return fmt.Errorf("record has %d bytes too many", len(c.b))
	}
	return c.err
}

// More tells that something is left to read.
func (c *Codec) More() bool { return c.err == nil && len(c.b) > 0 }

// Rest reads all that is left; it aliases the input.
func (c *Codec) Rest() []byte { return c.take(len(c.b)) }

// Version passes the byte that tells the form of what follows. The writer's is
// newest; the reader's is returned, from 1 to newest.
func (c *Codec) Version(newest uint8) uint8 {
	if !c.reading {
		c.b = append(c.b, newest)
		return newest
	}
	p := c.take(1)
	if p == nil {
		return 0
	}
	if v := p[0]; v > 0 && v <= newest {
		return v
	}
	c.Fail(fmt.Errorf("record has version %d, this program reads 1 to %d", p[0], newest))
	return 0
}

// Versioned passes a record after its version.
func (c *Codec) Versioned(newest uint8, fields func(*Codec)) {
	c.Version(newest)
	c.Record(fields)
}

// Record passes what fields passes as one record.
func (c *Codec) Record(fields func(*Codec)) {
	if !c.reading {
		at := c.begin()
		fields(c)
		c.end(at)
		return
	}
	rest, inside := c.enter()
	fields(c)
	c.leave(rest, inside)
}

// begin leaves room for the length of what is written next, and end fills it.
func (c *Codec) begin() int {
	c.b = append(c.b, 0, 0, 0, 0)
	return len(c.b)
}

func (c *Codec) end(at int) {
	binary.BigEndian.PutUint32(c.b[at-lengthSize:], uint32(len(c.b)-at))
}

// enter makes what the length at the front tells all there is to read, and leave
// goes on behind it.
func (c *Codec) enter() (rest []byte, inside bool) {
	if p := c.field(lengthSize); p != nil {
		body := c.take(int(binary.BigEndian.Uint32(p)))
		rest, c.b = c.b, body
	}
	inside, c.inside = c.inside, true
	return rest, inside
}

func (c *Codec) leave(rest []byte, inside bool) {
	c.inside = inside
	if c.err == nil {
		c.b = rest
	}
}

// take gives the next n bytes, which alias the input; nil after an error.
func (c *Codec) take(n int) []byte {
	if c.err != nil || n < 0 || n > len(c.b) {
		c.Fail(ErrShort)
		return nil
	}
	p := c.b[:n:n]
	c.b = c.b[n:]
	return p
}

// absent tells that there is no field: the record has ended, or there was an
// error.
func (c *Codec) absent() bool { return len(c.b) == 0 && (c.inside || c.err != nil) }

// field is the next n bytes, nil for none.
func (c *Codec) field(n int) []byte {
	if c.absent() {
		return nil
	}
	return c.take(n)
}

// word is 0 for none.
func (c *Codec) word() uint64 {
	if p := c.field(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// uvarint is 0 for none.
func (c *Codec) uvarint() uint64 {
	if c.absent() {
		return 0
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.Fail(ErrShort)
		return 0
	}
	c.b = c.b[n:]
	return v
}

// Uint passes unsigned integers. Reading one that is too large for its field is an
// error.
func Uint[T ~uint8 | ~uint16 | ~uint32 | ~uint64](c *Codec, fields ...*T) {
	if !c.reading {
		b := c.b
		for _, v := range fields {
			if n := uint64(*v); n < 0x80 {
				b = append(b, byte(n))
			} else {
				b = binary.AppendUvarint(b, n)
			}
		}
		c.b = b
		return
	}
	for _, v := range fields {
		n := c.uvarint()
		if *v = T(n); uint64(*v) != n {
			c.Fail(fmt.Errorf("the number %d is too large", n))
			*v = 0
		}
	}
}

// Int passes signed integers. Reading one that is too large for its field is an
// error.
func Int[T ~int8 | ~int16 | ~int32 | ~int64 | ~int](c *Codec, fields ...*T) {
	if !c.reading {
		for _, v := range fields {
			c.b = binary.AppendVarint(c.b, int64(*v))
		}
		return
	}
	for _, v := range fields {
		u := c.uvarint()
		n := int64(u>>1) ^ -int64(u&1) // zigzag, as binary.Varint
		if *v = T(n); int64(*v) != n {
			c.Fail(fmt.Errorf("the number %d is too large", n))
			*v = 0
		}
	}
}

// Word passes numbers of eight bytes, big-endian: hashes and ids, most of which
// are large.
func Word[T ~uint64](c *Codec, fields ...*T) {
	if !c.reading {
		b := c.b
		for _, v := range fields {
			b = binary.BigEndian.AppendUint64(b, uint64(*v))
		}
		c.b = b
		return
	}
	for _, v := range fields {
		*v = T(c.word())
	}
}

// Float passes finite numbers; reading another one is an error.
func Float[T ~float32 | ~float64](c *Codec, fields ...*T) {
	if !c.reading {
		b := c.b
		for _, v := range fields {
			b = binary.BigEndian.AppendUint64(b, math.Float64bits(float64(*v)))
		}
		c.b = b
		return
	}
	for _, v := range fields {
		f := math.Float64frombits(c.word())
		if *v = T(f); math.IsNaN(f) || math.IsInf(float64(*v), 0) {
			c.Fail(fmt.Errorf("the number %g", f))
			*v = 0
		}
	}
}

// Amount is Float for what is never negative.
func Amount[T ~float32 | ~float64](c *Codec, fields ...*T) {
	Float(c, fields...)
	if !c.reading {
		return
	}
	for _, v := range fields {
		if *v < 0 {
			c.Fail(fmt.Errorf("the number %g", *v))
			*v = 0
		}
	}
}

// Bool passes 1 for true and 0 for false.
func (c *Codec) Bool(v *bool) {
	if !c.reading {
		n := byte(0)
		if *v {
			n = 1
		}
		c.b = append(c.b, n)
		return
	}
	n := c.uvarint()
	if *v = n == 1; n > 1 {
		c.Fail(errors.New("record has a truth value that is neither 0 nor 1"))
	}
}

// Bytes passes a byte string. What is read aliases the input.
func (c *Codec) Bytes(v *[]byte) {
	if !c.reading {
		c.b = append(binary.AppendUvarint(c.b, uint64(len(*v))), *v...)
		return
	}
	*v = c.bytes()
}

// Text passes a string.
func (c *Codec) Text(v *string) {
	if !c.reading {
		c.b = append(binary.AppendUvarint(c.b, uint64(len(*v))), *v...)
		return
	}
	*v = string(c.bytes())
}

// bytes reads a length and so many bytes.
func (c *Codec) bytes() []byte {
	n := c.uvarint()
	if n == 0 {
		return nil
	}
	return c.take(int(min(n, math.MaxInt32)))
}

// Array passes an array, given as a slice of it, without a length.
func (c *Codec) Array(v []byte) {
	if !c.reading {
		c.b = append(c.b, v...)
		return
	}
	clear(v)
	copy(v, c.field(len(v)))
}

// Addr passes an address as 16 bytes, IPv4 mapped into IPv6. Reading none gives
// the zero Addr.
func (c *Codec) Addr(v *netip.Addr) {
	if !c.reading {
		b := v.As16()
		c.b = append(c.b, b[:]...)
		return
	}
	*v = netip.Addr{}
	if p := c.field(16); p != nil {
		*v = netip.AddrFrom16([16]byte(p)).Unmap()
	}
}

// Words passes a list of numbers of eight bytes each, big-endian.
func (c *Codec) Words(v *[]uint64) {
	if !c.reading {
		at := c.begin()
		for _, n := range *v {
			c.b = binary.BigEndian.AppendUint64(c.b, n)
		}
		c.end(at)
		return
	}
	*v = nil
	rest, inside := c.enter()
	if len(c.b) > 0 {
		*v = make([]uint64, 0, len(c.b)/8)
	}
	for c.More() {
		if p := c.take(8); p != nil {
			*v = append(*v, binary.BigEndian.Uint64(p))
		}
	}
	c.leave(rest, inside)
}

// List passes the elements of a slice, each as a record. None are read as nil.
func List[T any](c *Codec, v *[]T, fields func(*T, *Codec)) {
	if !c.reading {
		at := c.begin()
		for i := range *v {
			appendElement(c, &(*v)[i], fields)
		}
		c.end(at)
		return
	}
	list := []T(nil)
	rest, inside := c.enter()
	for c.More() {
		list = append(list, *new(T))
		readElement(c, &list[len(list)-1], fields)
	}
	c.leave(rest, inside)
	if *v = list; c.err != nil {
		*v = nil
	}
}

// Elements is List for what is no slice: all are those to write, and put takes
// one that was read, which is its own until it returns. put is not called after an
// error.
func Elements[T any](c *Codec, all iter.Seq[*T], put func(*T), fields func(*T, *Codec)) {
	if !c.reading {
		at := c.begin()
		for e := range all {
			appendElement(c, e, fields)
		}
		c.end(at)
		return
	}
	rest, inside := c.enter()
	e := new(T)
	for c.More() {
		*e = *new(T)
		if readElement(c, e, fields); c.err == nil {
			put(e)
		}
	}
	c.leave(rest, inside)
}

func appendElement[T any](c *Codec, e *T, fields func(*T, *Codec)) {
	at := c.begin()
	fields(e, c)
	c.end(at)
}

func readElement[T any](c *Codec, e *T, fields func(*T, *Codec)) {
	rest, inside := c.enter()
	fields(e, c)
	c.leave(rest, inside)
}
