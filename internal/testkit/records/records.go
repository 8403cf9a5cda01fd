// Package records is for tests of the records that programs of different releases
// pass to each other: what this release writes is in testdata/handover/v1 of each
// package, and read by every later one.
package records

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

var write = flag.Bool("write-records", false, "write the records of testdata/handover/v1 that are missing; those that are there never change")

// V1 is a record of the first release.
func V1(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "handover", "v1", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Written is V1 of what a test has written, which must be the same byte by byte.
func Written(t testing.TB, name string, record []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", "handover", "v1", name)
	if _, err := os.Stat(path); *write && errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(path, record, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v1 := V1(t, name)
	if !bytes.Equal(record, v1) {
		t.Errorf("%s is written in another form than by earlier programs, which cannot read it\n%x\nwas\n%x", name, record, v1)
	}
	return v1
}

// A versioned record is a version of one byte, the length of the rest in four, and
// its fields.
const head = 1 + 4

// Longer is the versioned record with bytes of fields after its last one, as a
// later release may write it.
func Longer(record []byte, fields ...byte) []byte { return withLength(record, record[head:], fields) }

// Shorter is the versioned record without the last n bytes of its fields, as an
// earlier release writes it that does not know them.
func Shorter(record []byte, n int) []byte { return withLength(record, record[head:len(record)-n], nil) }

func withLength(record, fields, more []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{record[0]}, uint32(len(fields)+len(more)))
	return append(append(b, fields...), more...)
}
