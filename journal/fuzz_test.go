package journal_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ckpool/ckpool/journal"
)

const (
	goldenDir  = "testdata/v1"
	goldenName = "00000001-0000000000000001.journal"
)

// read are the records of a directory as lines, by their position, until an error.
func read(t *testing.T, dir string) map[journal.Position]string {
	t.Helper()
	r, err := journal.Open(dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	found := map[journal.Position]string{}
	last := journal.Position{}
	for {
		k, err := r.Read()
		if err != nil {
			if err == io.EOF && r.Cursor().Position.Before(last) {
				t.Fatalf("the cursor is at %v, before %v", r.Cursor().Position, last)
			}
			return found
		}
		if !last.Before(k.Position) {
			t.Fatalf("%v comes after %v", k.Position, last)
		}
		last = k.Position
		if k.Kind == journal.KindJob { // whose text may be none
			continue
		}
		line, err := k.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		if k.Kind != journal.KindMissing {
			found[k.Position] = string(line)
		}
	}
}

// A reader of any bytes ends, tells what it has read in order, and, of a segment with
// damaged bytes, invents nothing.
func FuzzReader(f *testing.F) {
	whole, err := os.ReadFile(filepath.Join(goldenDir, goldenName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, []byte{}, uint32(0), byte(0))
	f.Add(whole, []byte("payload"), uint32(len(whole)-200), byte(7))
	f.Add(whole, whole[len(whole)-900:], uint32(8192), byte(0))
	f.Add([]byte{}, []byte{}, uint32(0), byte(0))
	f.Add(whole[:len(whole)-50], whole[len(whole)-50:], uint32(9000), byte(1))
	f.Fuzz(func(t *testing.T, file, insert []byte, at uint32, flip byte) {
		dir := t.TempDir()
		b := slices.Clone(file)
		if len(b) > 0 {
			i := int(at) % len(b)
			b[i] ^= flip
			b = slices.Concat(b[:i], insert, b[i:])
		}
		if err := os.WriteFile(filepath.Join(dir, goldenName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		found := read(t, dir)
		if len(found) > len(b) {
			t.Fatal("more records than bytes")
		}
		if bytes.Equal(file, whole) {
			was := read(t, goldenDir)
			for p, line := range found {
				if line != was[p] {
					t.Fatalf("record %v is read as %s, was %s", p, line, was[p])
				}
			}
		}
		if list, err := journal.Segments(dir); err == nil && len(list) != 1 {
			t.Fatalf("%+v", list)
		}
	})
}
