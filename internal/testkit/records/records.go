// Package records is for tests of the records that programs of different releases
// pass to each other: what the first release writes is in testdata/handover/v1 of
// each package, and read by every later one. When a record gets fields at its end,
// its file stays, and one of what is written now goes to v2, or the next number:
// that one is for [Check] or [JSON], the one before is for [Earlier] or is only read.
package records

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/wire"
)

// V1 is a record of the first release.
func V1(t testing.TB, name string) []byte {
	t.Helper()
	return Of(t, "v1", name)
}

// Of is a record in a form, such as "v2".
func Of(t testing.TB, form, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "handover", form, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Same tests that a record is written as it was, byte by byte.
func Same(t testing.TB, written, was []byte) {
	t.Helper()
	if bytes.Equal(written, was) {
		return
	}
	form := "%x"
	if json.Valid(was) {
		form = "%s"
	}
	t.Errorf("written in another form than by earlier programs (if it has new fields, see package records)\n"+form+"\nwas\n"+form, written, was)
}

// Check is [Earlier] for the newest form of a record, which has all fields, and tests
// that it is written as it was, byte by byte.
func Check[T any](t testing.TB, record []byte, version uint8, fields func(*T, *wire.Codec)) *T {
	t.Helper()
	v := Earlier(t, record, version, fields)
	w := wire.Append(nil)
	w.Versioned(version, func(c *wire.Codec) { fields(v, c) })
	Same(t, w.Written(), record)
	return v
}

// Earlier reads a versioned record of the fields of a T, the last of which it may
// lack, and tests that a record which a later release has added a field to is read
// as if it had not; and that a later release reads this one, with nothing in its
// field. It returns what was read.
func Earlier[T any](t testing.TB, record []byte, version uint8, fields func(*T, *wire.Codec)) *T {
	t.Helper()
	v := new(T)
	read(t, "a record", record, version, func(c *wire.Codec) { fields(v, c) })

	const added = "a field of a later release"
	more := added
	w := wire.Append(nil)
	later := func(v *T) func(*wire.Codec) {
		return func(c *wire.Codec) {
			fields(v, c)
			c.Text(&more)
		}
	}
	w.Versioned(version, later(v))
	got := new(T)
	read(t, "a record of a later release", w.Written(), version, func(c *wire.Codec) { fields(got, c) })
	if !reflect.DeepEqual(got, v) {
		t.Errorf("a record of a later release is read as\n%+v\nwant\n%+v", got, v)
	}

	got = new(T)
	read(t, "a record, by a later release,", record, version, later(got))
	if !reflect.DeepEqual(got, v) || more != "" {
		t.Errorf("a later release reads\n%+v and %q\nwant\n%+v", got, more, v)
	}
	return v
}

// Array tests that fields reads a record as it would, whatever the last element is
// and whatever follows it, where a later release writes one more element of an
// array, or an earlier one wrote one less. v is what fields writes; array is in it,
// with elements other than 0 that nothing else in the record equals; reader is
// empty.
func Array[T any, F ~float32 | ~float64](t testing.TB, v *T, array []F, reader func() (*T, []F), fields func(*T, *wire.Codec)) {
	t.Helper()
	encoded := func(array []F) []byte {
		c := wire.Append(nil)
		wire.Amounts(c, array)
		return c.Written()
	}
	body := wire.Append(nil)
	fields(v, body)
	for _, written := range [][]F{append(slices.Clone(array), 99), array[:len(array)-1]} {
		if !bytes.Contains(body.Written(), encoded(array)) {
			t.Fatal("the array is no record of its own")
		}
		other := bytes.Replace(body.Written(), encoded(array), encoded(written), 1)
		record := append(binary.BigEndian.AppendUint32(nil, uint32(len(other))), other...)
		got, there := reader()
		c := wire.Read(record)
		c.Record(func(c *wire.Codec) { fields(got, c) })
		if err := c.Done(); err != nil {
			t.Errorf("%d elements are not read: %v", len(written), err)
		}
		if last := len(array) - 1; len(written) == last {
			if there[last] != 0 {
				t.Errorf("an element that was not written is read as %v", there[last])
			}
			there[last] = array[last]
		}
		if !reflect.DeepEqual(got, v) {
			t.Errorf("%d elements are read as\n%+v\nwant\n%+v", len(written), got, v)
		}
	}
}

// JSON reads a record in JSON, and tests that it is written as it was, byte by byte.
func JSON[T any](t testing.TB, record []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(record, &v); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	Same(t, again, bytes.TrimSuffix(record, []byte("\n")))
	return v
}

// LaterJSON is a record in JSON, an object, with a member of a later release.
func LaterJSON(record []byte) []byte {
	return bytes.Replace(record, []byte("{"), []byte(`{"later": {"a": [1, null]}, `), 1)
}

// Damaged tests that a record of the first release is read, and if it is JSON also
// one that a later release has added a member to, but not one that is cut off,
// except for so many parts that are records too, nor one of a newer version.
func Damaged(t *testing.T, name string, parts int, read func([]byte) error) {
	t.Helper()
	good := bytes.TrimSuffix(V1(t, name), []byte("\n"))
	if err := read(good); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	taken := 0
	for n := range good {
		if read(good[:n:n]) == nil {
			taken++
		}
	}
	if taken != parts {
		t.Errorf("%s: %d parts of it are taken for all", name, taken)
	}
	newer := append([]byte{2}, good[1:]...)
	if good[0] == '{' {
		newer = bytes.Replace(good, []byte(`"version":1`), []byte(`"version":2`), 1)
		if err := read(LaterJSON(good)); err != nil {
			t.Errorf("%s of a later release: %v", name, err)
		}
	}
	if err := read(newer); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("%s of version 2: %v", name, err)
	}
}

func read(t testing.TB, what string, record []byte, version uint8, fields func(*wire.Codec)) {
	t.Helper()
	c := wire.Read(record)
	c.Versioned(version, fields)
	if err := c.Done(); err != nil {
		t.Errorf("%s is not read: %v\n%x", what, err, record)
	}
}
