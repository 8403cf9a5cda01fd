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
// know are read as zero. Arrays that may grow are records of their own. Fields are
// never removed, moved or given another form without another version.
//
// Records are written and read while a pool stands still, so calls are few: one
// takes several fields of a kind.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
)

// ErrShort is wrapped by errors about input that ends too early.
var ErrShort = errors.New("record is cut off")

// Sizes in bytes.
const (
	lengthSize = 4 // of the length before a record or a list
	wordSize   = 8
)

// Codec passes fields to bytes or from them. Fields are given as pointers: a
// writer reads what they point to, a reader sets it, to zero after the first
// error.
type Codec struct {
	b       []byte // what is written and room behind it, or what is read
	at      int    // where the next field begins
	end     int    // of the innermost record, or of the input; only for reading
	reading bool
	inside  bool // a record: fields after its end are zero
	err     error
}

// Append makes a writer that appends to b.
func Append(b []byte) *Codec { return &Codec{b: b[:cap(b)], at: len(b)} }

// Read makes a reader of b, which must not change meanwhile.
func Read(b []byte) *Codec { return &Codec{b: b, end: len(b), reading: true} }

// Reading tells readers from writers.
func (c *Codec) Reading() bool { return c.reading }

// Written is what Append was given with what was appended to it, until Reset.
func (c *Codec) Written() []byte { return c.b[:c.at] }

// Reset makes a writer go on after the first n bytes.
func (c *Codec) Reset(n int) { c.at = n }

// Err is the reader's first error.
func (c *Codec) Err() error { return c.err }

// Fail makes err the reader's error unless there is one. A writer does not judge
// what it writes: its reader does.
func (c *Codec) Fail(err error) {
	if c.reading && c.err == nil {
		c.err = err
		c.end = c.at
	}
}

// Done is Err, or an error if anything is left to read.
func (c *Codec) Done() error {
	if c.err == nil && c.at < c.end {
		return fmt.Errorf("record has %d bytes too many", c.end-c.at)
	}
	return c.err
}

// More tells that something is left to read.
func (c *Codec) More() bool { return c.at < c.end }

// Rest reads all that is left; it aliases the input.
func (c *Codec) Rest() []byte { return c.take(c.end - c.at) }

// Version passes the byte that tells the form of what follows. The writer's is
// newest; the reader's is returned, from 1 to newest.
func (c *Codec) Version(newest uint8) uint8 {
	if !c.reading {
		c.room(1)[0] = newest
		c.at++
		return newest
	}
	p := c.take(1)
	if p == nil {
		return 0
	}
	if v := p[0]; v > 0 && v <= newest {
		return v
	}
	c.Fail(versionError(int(p[0]), int(newest)))
	return 0
}

func versionError(version, newest int) error {
	return fmt.Errorf("record has version %d, this program reads 1 to %d", version, newest)
}

// ReadJSON reads a record in JSON: an object whose member "version" is from 1 to
// newest. Members that v does not have are left out.
func ReadJSON(record []byte, newest int, v any) error {
	var k struct{ Version int }
	if err := json.Unmarshal(record, &k); err != nil {
		return err
	}
	if k.Version < 1 || k.Version > newest {
		return versionError(k.Version, newest)
	}
	return json.Unmarshal(record, v)
}

// Versioned passes a record after its version.
func (c *Codec) Versioned(newest uint8, fields func(*Codec)) {
	c.Version(newest)
	c.Record(fields)
}

// Record passes what fields passes as one record.
func (c *Codec) Record(fields func(*Codec)) {
	r := c.begin()
	fields(c)
	c.finish(r)
}

// enclosing is where a record or list stands: what a writer needs to put its
// length before it, a reader to go on behind it.
type enclosing struct {
	at     int
	inside bool
}

// begin begins a record or a list: a writer leaves room for its length, a reader
// has nothing to read but what the length tells.
func (c *Codec) begin() enclosing {
	if !c.reading {
		c.room(lengthSize)
		c.at += lengthSize
		return enclosing{at: c.at}
	}
	r := enclosing{c.end, c.inside}
	if p := c.field(lengthSize); p != nil {
		if n := int(binary.BigEndian.Uint32(p)); n >= 0 && n <= c.end-c.at {
			c.end = c.at + n
		} else {
			c.Fail(ErrShort)
		}
	} else {
		c.end = c.at
	}
	c.inside = true
	return r
}

func (c *Codec) finish(r enclosing) {
	if !c.reading {
		binary.BigEndian.PutUint32(c.b[r.at-lengthSize:], uint32(c.at-r.at))
		return
	}
	c.inside = r.inside
	if c.err == nil {
		c.at, c.end = c.end, r.at
	}
}

// room gives the bytes behind what is written, at least n.
func (c *Codec) room(n int) []byte {
	if len(c.b)-c.at < n {
		c.grow(n)
	}
	return c.b[c.at:]
}

// grow is rare, and so kept out of what calls room.
//
//go:noinline
func (c *Codec) grow(n int) {
	b := slices.Grow(c.b[:c.at], n)
	c.b = b[:cap(b)]
}

// take gives the next n bytes, which alias the input; nil after an error.
func (c *Codec) take(n int) []byte {
	if c.err != nil || n < 0 || n > c.end-c.at {
		c.Fail(ErrShort)
		return nil
	}
	p := c.b[c.at : c.at+n : c.at+n]
	c.at += n
	return p
}

// absent tells that there is no field: the record has ended, or there was an
// error.
func (c *Codec) absent() bool { return c.at == c.end && (c.inside || c.err != nil) }

// field is the next n bytes, nil for none.
func (c *Codec) field(n int) []byte {
	if c.absent() {
		return nil
	}
	return c.take(n)
}

// word is 0 for none.
func (c *Codec) word() uint64 {
	if c.end-c.at < wordSize {
		if !c.absent() {
			c.Fail(ErrShort)
		}
		return 0
	}
	v := binary.BigEndian.Uint64(c.b[c.at:])
	c.at += wordSize
	return v
}

// uvarint is 0 for none.
func (c *Codec) uvarint() uint64 {
	if c.absent() {
		return 0
	}
	v, n := binary.Uvarint(c.b[c.at:c.end])
	if n <= 0 {
		c.Fail(ErrShort)
		return 0
	}
	c.at += n
	return v
}

// Uint passes unsigned integers. Reading one that is too large for its field is an
// error.
func Uint[T ~uint8 | ~uint16 | ~uint32 | ~uint64](c *Codec, fields ...*T) {
	if c.reading {
		readUints(c, fields)
		return
	}
	b := c.room(len(fields) * binary.MaxVarintLen64)
	n := 0
	for _, v := range fields {
		if *v < 0x80 {
			b[n] = byte(*v)
			n++
		} else {
			n += binary.PutUvarint(b[n:], uint64(*v))
		}
	}
	c.at += n
}

func readUints[T ~uint8 | ~uint16 | ~uint32 | ~uint64](c *Codec, fields []*T) {
	for _, v := range fields {
		if c.at < c.end && c.b[c.at] < 0x80 {
			*v = T(c.b[c.at])
			c.at++
			continue
		}
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
	if c.reading {
		readInts(c, fields)
		return
	}
	b := c.room(len(fields) * binary.MaxVarintLen64)
	n := 0
	for _, v := range fields {
		n += binary.PutVarint(b[n:], int64(*v))
	}
	c.at += n
}

func readInts[T ~int8 | ~int16 | ~int32 | ~int64 | ~int](c *Codec, fields []*T) {
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
	if c.reading {
		readWords(c, fields)
		return
	}
	b := c.room(len(fields) * wordSize)
	for i, v := range fields {
		binary.BigEndian.PutUint64(b[i*wordSize:], uint64(*v))
	}
	c.at += len(fields) * wordSize
}

func readWords[T ~uint64](c *Codec, fields []*T) {
	for _, v := range fields {
		*v = T(c.word())
	}
}

// Float passes finite numbers; reading another one is an error.
func Float[T ~float32 | ~float64](c *Codec, fields ...*T) { floats(c, fields, math.Inf(-1)) }

// Amount is Float for what is never negative.
func Amount[T ~float32 | ~float64](c *Codec, fields ...*T) { floats(c, fields, 0) }

func floats[T ~float32 | ~float64](c *Codec, fields []*T, least float64) {
	if c.reading {
		for _, v := range fields {
			readFloat(c, v, least)
		}
		return
	}
	b := c.room(len(fields) * wordSize)
	for i, v := range fields {
		binary.BigEndian.PutUint64(b[i*wordSize:], math.Float64bits(float64(*v)))
	}
	c.at += len(fields) * wordSize
}

// Amounts passes an array of amounts, given as a slice of it, as a record of its
// own: later releases may add to its end.
func Amounts[T ~float32 | ~float64](c *Codec, array []T) {
	r := c.begin()
	if !c.reading {
		b := c.room(len(array) * wordSize)
		for i, v := range array {
			binary.BigEndian.PutUint64(b[i*wordSize:], math.Float64bits(float64(v)))
		}
		c.at += len(array) * wordSize
	} else {
		for i := range array {
			readFloat(c, &array[i], 0)
		}
	}
	c.finish(r)
}

func readFloat[T ~float32 | ~float64](c *Codec, v *T, least float64) {
	f := math.Float64frombits(c.word())
	if *v = T(f); *v-*v != 0 || f < least { // not finite, or too small
		c.Fail(fmt.Errorf("the number %g", f))
		*v = 0
	}
}

// Bool passes 1 for true and 0 for false.
func (c *Codec) Bool(v *bool) {
	if !c.reading {
		n := byte(0)
		if *v {
			n = 1
		}
		c.room(1)[0] = n
		c.at++
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
		b := c.room(binary.MaxVarintLen64 + len(*v))
		n := putLength(b, len(*v))
		c.at += n + copy(b[n:], *v)
		return
	}
	*v = c.bytes()
}

// Text passes a string. One that is there already costs a reader no memory.
func (c *Codec) Text(v *string) {
	if !c.reading {
		b := c.room(binary.MaxVarintLen64 + len(*v))
		n := putLength(b, len(*v))
		c.at += n + copy(b[n:], *v)
		return
	}
	if p := c.bytes(); *v != string(p) {
		*v = string(p)
	}
}

// putLength is binary.PutUvarint, inlined for short texts.
func putLength(b []byte, n int) int {
	if n < 0x80 {
		b[0] = byte(n)
		return 1
	}
	return binary.PutUvarint(b, uint64(n))
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
		c.at += copy(c.room(len(v)), v)
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
		c.at += copy(c.room(len(b)), b[:])
		return
	}
	*v = netip.Addr{}
	if p := c.field(16); p != nil {
		*v = netip.AddrFrom16([16]byte(p)).Unmap()
	}
}

// Words passes a list of numbers of eight bytes each, big-endian.
func (c *Codec) Words(v *[]uint64) {
	r := c.begin()
	if !c.reading {
		b := c.room(len(*v) * wordSize)
		for i, n := range *v {
			binary.BigEndian.PutUint64(b[i*wordSize:], n)
		}
		c.at += len(*v) * wordSize
	} else {
		*v = nil
		if c.More() {
			*v = make([]uint64, 0, (c.end-c.at)/wordSize)
		}
		for c.More() {
			if n := c.word(); c.err == nil {
				*v = append(*v, n)
			}
		}
	}
	c.finish(r)
}

// List passes the elements of a slice, each as a record. None are read as nil.
func List[T any](c *Codec, v *[]T, fields func(*T, *Codec)) {
	r := c.begin()
	if !c.reading {
		for i := range *v {
			element(c, &(*v)[i], fields)
		}
		c.finish(r)
		return
	}
	list := []T(nil)
	for c.More() {
		list = append(list, *new(T))
		element(c, &list[len(list)-1], fields)
	}
	c.finish(r)
	if *v = list; c.err != nil {
		*v = nil
	}
}

// Elements is List for what is no slice: all are those to write, and put takes
// one that was read, which is its own until it returns. put is not called after an
// error.
func Elements[T any](c *Codec, all iter.Seq[*T], put func(*T), fields func(*T, *Codec)) {
	r := c.begin()
	if !c.reading {
		for e := range all {
			element(c, e, fields)
		}
		c.finish(r)
		return
	}
	e := new(T)
	for c.More() {
		*e = *new(T)
		if element(c, e, fields); c.err == nil {
			put(e)
		}
	}
	c.finish(r)
}

// element passes one of a list.
func element[T any](c *Codec, e *T, fields func(*T, *Codec)) {
	r := c.begin()
	fields(e, c)
	c.finish(r)
}
