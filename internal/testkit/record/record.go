// Package record has what all tests of moved state do: the records of the first
// version, and what must be refused of every record.
package record

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// V1 is a record of the first version of the package under test. Those are read
// for ever; the files are never made anew.
func V1(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "handover", "v1", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Damaged checks that a record of the first version is read, but not one that is
// cut off, except for so many parts that are records too, nor one of a newer
// version.
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
	}
	if err := read(newer); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("%s of version 2: %v", name, err)
	}
}
