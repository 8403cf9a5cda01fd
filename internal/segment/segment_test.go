package segment

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// golden is the place of a segment of the first form, whose records stand in four frames.
const golden = "../../journal/testdata/v1"

// growing is a file that is written while it is read: the first reads see less of it.
type growing struct {
	b     []byte
	reads int // that see only the first bytes
	first int
}

func (g *growing) ReadAt(b []byte, at int64) (int, error) {
	all := g.b
	if g.reads > 0 {
		all = all[:g.first]
		g.reads--
	}
	if at >= int64(len(all)) {
		return 0, io.EOF
	}
	n := copy(b, all[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// What is being written at this moment is not taken for damaged.
func TestReadWhileWritten(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join(golden, Name(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	g, err := Open(golden, File{Name(1, 1), 1, 1})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for reads := range 8 {
		for first := int(g.At); first < len(whole); first += 50 {
			s := Scanner{File: &growing{whole, reads, first}, Mark: g.Mark, At: g.At}
			frames := 0
			for range 40 {
				var f Frame
				skipped, found, err := s.Next(&f)
				if err != nil || skipped > 0 {
					t.Fatalf("%d reads see %d bytes: %d are taken for damaged, %v", reads, first, skipped, err)
				}
				if found {
					frames++
				}
			}
			if frames != 4 {
				t.Fatalf("%d reads see %d bytes: %d frames", reads, first, frames)
			}
		}
	}
}

// partly is a file of which some bytes cannot be read.
type partly struct {
	b         []byte
	from, end int64
}

func (p *partly) ReadAt(b []byte, at int64) (int, error) {
	if at >= p.from && at < p.end {
		return 0, syscall.EIO
	}
	if at < p.from && p.from < p.end && at+int64(len(b)) > p.from {
		return copy(b, p.b[at:p.from]), syscall.EIO
	}
	return bytes.NewReader(p.b).ReadAt(b, at)
}

// What is before bytes that cannot be read is read, and what is behind them once they can be.
func TestUnreadableBytes(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join(golden, Name(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	g, err := Open(golden, File{Name(1, 1), 1, 1})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	// ends are those of the frames that are read until an error.
	ends := func(s *Scanner) (list []int64, err error) {
		for {
			var f Frame
			_, found, err := s.Next(&f)
			if err != nil || !found {
				return list, err
			}
			list = append(list, s.At)
		}
	}
	for _, first := range []byte{whole[g.At], 0} { // of the first frame, which is damaged then
		whole[g.At] = first
		want, err := ends(&Scanner{File: bytes.NewReader(whole), Mark: g.Mark, At: g.At})
		if err != nil || len(want) < 3 {
			t.Fatal(want, err)
		}
		for from := g.At; from < int64(len(whole)); from += 7 {
			file := &partly{whole, from, from + 100}
			s := &Scanner{File: file, Mark: g.Mark, At: g.At}
			got, err := ends(s)
			n := 0
			for n < len(want) && want[n] <= from {
				n++
			}
			if !errors.Is(err, syscall.EIO) || !slices.Equal(got, want[:n]) {
				t.Fatalf("of %d bytes frames end at %v, want %v, %v", from, got, want[:n], err)
			}
			file.end = from
			if got, err := ends(s); err != nil || !slices.Equal(got, want[n:]) {
				t.Fatalf("behind %d bytes frames end at %v, want %v, %v", from, got, want[n:], err)
			}
		}
	}
}

// A file is replaced as a whole, and what was there before changes under no other name.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	next := filepath.Join(dir, Temporary+"file")
	wants := func(path, want string) {
		t.Helper()
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v, want %q", filepath.Base(path), b, err, want)
		}
	}
	replace := func(text string) {
		t.Helper()
		if err := Replace(path, []byte(text), true); err != nil {
			t.Fatal(err)
		}
		wants(path, text)
	}
	replace("first")
	replace("second one")
	replace("3")
	copied := filepath.Join(dir, "copied")
	if err := os.Link(path, copied); err != nil {
		t.Fatal(err)
	}
	replace("fourth")
	replace("fifth")
	wants(copied, "3")
	if err := os.Remove(next); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(next, 0o700); err != nil { // what cannot be written
		t.Fatal(err)
	}
	replace("sixth")
	replace("seventh")
}

// The parsers of what stands in frames never go beyond it, and what is cut off are its
// bytes in order.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("00000001-0000000000000001.journal"))
	f.Add(AppendMiner(AppendJob(nil, 7, []byte("record")), []byte("miner")))
	f.Add(AppendRecord(AppendRecord(nil, &Record{Kind: 1, Time: 5, Miner: 3, Job: JobByID, ID: 9, Body: []byte("body")}, 1), &Record{Kind: 2}, 5))
	f.Add((&Parts{Time: 1, Miners: 2, Jobs: 3, Defs: []byte("d"), Records: []byte("r")}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; ; {
			_, d, next, ok := nextDefinition(rest)
			if !ok {
				break
			}
			if len(d)+len(next) >= len(rest) {
				t.Fatalf("%d bytes are a definition of %d, and %d", len(rest), len(d), len(next))
			}
			rest = next
		}
		for rest := b; ; {
			k, next, ok := NextRecord(rest, 0)
			if !ok {
				break
			}
			if len(k.Body)+len(next) >= len(rest) {
				t.Fatalf("%d bytes are a record of %d, and %d", len(rest), len(k.Body), len(next))
			}
			if again, rest, ok := NextRecord(AppendRecord(nil, &k, 0), 0); !ok || len(rest) > 0 || again.Time != k.Time || again.ID != k.ID || string(again.Body) != string(k.Body) {
				t.Fatalf("%+v is written as %+v", k, again)
			}
			rest = next
		}
		k := Frame{Kind: RecordsFrame, Body: b}
		if p, ok := k.Parts(); ok && string(p.AppendTo(nil)) != string(b) {
			t.Fatalf("%x is written as %x", b, p.AppendTo(nil))
		}
		if s, ok := ParseName(string(b)); ok && Name(s.Epoch, s.First) != string(b) {
			t.Fatalf("%q is written as %q", b, Name(s.Epoch, s.First))
		}
	})
}
