package journal_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/ckpool/ckpool/internal/segment"
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
		if k.Kind == journal.KindShare && k.Miner == nil {
			t.Fatalf("the share %v is nobody's", k.Position)
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

// Frames that are whole and say what cannot be, as who writes a journal may make them, are
// told to be missing: they take no memory for what they only announce.
func FuzzWholeFrames(f *testing.F) {
	whole, err := os.ReadFile(filepath.Join(goldenDir, goldenName))
	if err != nil {
		f.Fatal(err)
	}
	name, _ := segment.ParseName(goldenName)
	g, err := segment.Open(goldenDir, name)
	if err != nil {
		f.Fatal(err)
	}
	defer g.Close()
	var frames []segment.Frame
	for {
		var k segment.Frame
		_, whole, err := g.Next(&k)
		if err != nil {
			f.Fatal(err)
		}
		if !whole {
			break
		}
		frames = append(frames, k)
	}
	for at := range frames[1].Body { // whom a record is of, among others
		f.Add(byte(1), uint16(at), []byte{0})
	}
	for i := range frames {
		f.Add(byte(i), uint16(12), []byte{0, 0x7f, 0xff, 0xff, 0, 0x7f, 0xff, 0xff}) // definitions before it
		f.Add(byte(i), uint16(0), bytes.Repeat([]byte{0xff}, 20))
		f.Add(byte(i), uint16(20), bytes.Repeat([]byte{0xff}, 9))
	}
	f.Fuzz(func(t *testing.T, n byte, at uint16, replace []byte) {
		k := frames[int(n)%len(frames)]
		b := slices.Clone(whole)
		frame := b[k.At:][:k.Size]
		body := frame[segment.FrameHead:]
		copy(body[int(at)%(len(body)+1):], replace)
		segment.FinishFrame(frame, segment.Mark(frame), &k)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, goldenName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		read(t, dir)
		_, _ = journal.Check(dir, func(journal.Finding) {}, nil)
		_, _ = journal.Behind(dir, journal.Position{})
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
			t.Errorf("%d bytes of a journal took %d MiB", len(b), took>>20)
		}
	})
}

// A segment that the pool deletes while a reader looks for its beginning is as one that was
// deleted before.
func TestDeletedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, goldenName)
	if err := os.Symlink("deleted", path); err != nil { // it is listed, and cannot be opened
		t.Fatal(err)
	}
	r, err := journal.Open(dir, journal.Cursor{Position: journal.Position{Epoch: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if list, err := journal.Segments(dir); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if k, err := r.Read(); err != io.EOF {
		t.Errorf("%+v, %v", k, err)
	}
}
