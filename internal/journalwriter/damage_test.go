package journalwriter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/segment"
	"github.com/ckpool/ckpool/journal"
)

const (
	smallFrame  = 4
	smallShares = 3 * smallFrame
)

// smallJournal is a closed journal of three frames, with one miner each and shares
// in between, and the place of its segment.
func smallJournal(t testing.TB) (o Options, path string) {
	t.Helper()
	o = testOptions(t)
	o.Loops, o.RingSize = 1, minRing
	w := mustOpen(t, o)
	for n := range uint32(smallShares) {
		w.Share(0, testShare(0, n), testMiner(int(n/smallFrame)))
		if n%smallFrame == smallFrame-1 {
			w.Flush(0)
			mustRound(t, w)
		}
	}
	mustClose(t, w)
	list, err := segment.List(o.Dir)
	if err != nil || len(list) != 1 {
		t.Fatal(err, list)
	}
	return o, filepath.Join(o.Dir, list[0].Name)
}

// numbersOf are the numbers of the shares of a journal and of what is missing, which
// must be all from 1 on together. Every share must be the one that was told.
func numbersOf(t testing.TB, dir string) (read, missing []uint64) {
	t.Helper()
	r, err := journal.Open(dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	next := uint64(1)
	for {
		k, err := r.Read()
		if err == io.EOF {
			return read, missing
		}
		if err != nil {
			t.Fatal(err)
		}
		if k.Kind == journal.KindMissing {
			if k.Missing.First.Number != next || k.Missing.Count != k.Number-next+1 {
				t.Fatalf("%v: %+v, want from %d on", k.Position, k.Missing, next)
			}
			for ; next <= k.Number; next++ {
				missing = append(missing, next)
			}
			continue
		}
		if k.Number != next {
			t.Fatalf("record %d comes, want %d", k.Number, next)
		}
		if want := testShare(0, uint32(next-1)); k.Kind != journal.KindShare || !bytes.Equal(shareBody(nil, want), shareBody(nil, &k.Share)) || k.Miner.User != testMiner(int((next-1)/smallFrame)).User {
			t.Fatalf("record %d is read as %+v of %+v", next, k.Share, k.Miner)
		}
		read = append(read, next)
		next++
	}
}

// Whatever byte is damaged, what is read is right, and what is not read is named.
func TestDamagedBytes(t *testing.T) {
	t.Parallel()
	o, path := smallJournal(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if read, missing := numbersOf(t, o.Dir); len(read) != smallShares || missing != nil {
		t.Fatal(read, missing)
	}
	header := bytes.LastIndex(whole, []byte(`{"format"`))
	for at := 0; at < len(whole); at++ {
		if at < header && at%31 != 0 {
			continue // padding, mostly
		}
		b := slices.Clone(whole)
		b[at] ^= 0x40
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		read, missing := numbersOf(t, o.Dir)
		// One frame, or only the mark of the end.
		if len(missing) > smallFrame || len(read)+len(missing) < 2*smallFrame {
			t.Fatalf("byte %d: %d read, missing %v", at, len(read), missing)
		}
		if at < header && missing != nil {
			t.Fatalf("byte %d of a header is damaged, and missing is %v", at, missing)
		}
	}
}

// Both copies of a header: the segment is named, and the next is read.
func TestDamagedHeader(t *testing.T) {
	o, path := smallJournal(t)
	w := mustOpen(t, o)
	w.Share(0, testShare(0, 0), testMiner(0))
	w.Flush(0)
	mustRound(t, w)
	mustClose(t, w)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte(`"network"`), []byte(`"netwark"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	list := readJournal(t, o.Dir, journal.Cursor{})
	// How many records the epoch had is known from the next one.
	if len(list) != 3 || list[0].Kind != journal.KindMissing || !strings.Contains(list[0].Missing.String(), "its header is damaged") ||
		list[1].Kind != journal.KindMissing || list[1].Position != (journal.Position{Epoch: 1, Number: smallShares}) || list[2].Kind != journal.KindShare || list[2].Position != (journal.Position{Epoch: 2, Number: 1}) {
		t.Errorf("%+v", list)
	}
	var found []journal.Finding
	if _, err := journal.Check(o.Dir, func(f journal.Finding) { found = append(found, f) }, nil); err != nil || len(found) == 0 {
		t.Errorf("%v, %v", err, found)
	}
}

// A miner whose name was in damaged bytes is nobody, not somebody else.
func TestDamagedMiner(t *testing.T) {
	o := testOptions(t)
	w := mustOpen(t, o)
	for n, miner := range []int{0, 1, 2, 1, 1, 0, 2, 1} {
		w.Share(0, testShare(0, uint32(n)), testMiner(miner))
		w.Flush(0)
		mustRound(t, w)
	}
	mustClose(t, w)
	list, _ := segment.List(o.Dir)
	path := filepath.Join(o.Dir, list[0].Name)
	b, _ := os.ReadFile(path)
	if err := os.WriteFile(path, bytes.Replace(b, []byte("user1.rig"), []byte("user9.rig"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range readJournal(t, o.Dir, journal.Cursor{}) {
		if k.Kind == journal.KindMissing {
			got = append(got, fmt.Sprintf("%d missing: %s", k.Missing.Count, k.Missing.Why))
		} else {
			got = append(got, k.Miner.User)
		}
	}
	lost := "1 missing: who it is of was in damaged bytes"
	want := []string{"user0", "1 missing: bytes are damaged", "user2", lost, lost, "user0", "user2", lost}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Whatever of the last segment has come to the disk, the journal opens: what is whole
// stays, the rest is cut off and nothing more is missing.
func TestTornTail(t *testing.T) {
	t.Parallel()
	o, path := smallJournal(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(path)
	base := memory(t)
	var headers int
	if g, err := segment.Open(o.Dir, segment.File{Name: name, Epoch: 1, First: 1}); err != nil {
		t.Fatal(err)
	} else {
		headers = int(g.At)
		g.Close()
	}
	for n := headers; n < len(whole); n++ {
		for _, behind := range [][]byte{nil, make([]byte, 100)} { // zeros: the size came to the disk, the bytes did not
			o := o
			o.Dir = filepath.Join(base, fmt.Sprint(n, len(behind)))
			if err := os.Mkdir(o.Dir, 0o750); err != nil {
				t.Fatal(err)
			}
			state, err := os.ReadFile(filepath.Join(filepath.Dir(path), segment.StateFile))
			if err != nil {
				t.Fatal(err)
			}
			os.WriteFile(filepath.Join(o.Dir, segment.StateFile), state, 0o600)
			torn := slices.Concat(whole[:n], behind)
			os.WriteFile(filepath.Join(o.Dir, name), torn, 0o600)
			before, _ := numbersOf(t, o.Dir)
			w := mustOpen(t, o)
			w.Share(0, testShare(0, 99), testMiner(0))
			w.Flush(0)
			mustClose(t, w)
			read := 0
			for _, k := range readJournal(t, o.Dir, journal.Cursor{}) {
				if k.Kind == journal.KindMissing {
					t.Fatalf("%d bytes: %+v", n, k.Missing)
				}
				read++
			}
			if read != len(before)+1 {
				t.Fatalf("%d bytes: %d shares are read, before %d", n, read, len(before))
			}
			os.RemoveAll(o.Dir)
			if n%100 != 0 {
				break
			}
		}
	}
}

// A segment has in it all that it takes to read it.
func TestSegmentAlone(t *testing.T) {
	o := testOptions(t)
	o.SegmentSize = 20 << 10
	w := mustOpen(t, o)
	job := testJob(t, 7)
	if err := w.Job(job, 7); err != nil {
		t.Fatal(err)
	}
	for n := range uint32(1000) {
		s := testShare(0, n)
		s.Job = 7
		w.Share(0, s, testMiner(int(n%3)))
		if n%100 == 0 {
			w.Flush(0)
			mustRound(t, w)
		}
	}
	w.Flush(0)
	mustClose(t, w)
	list, _ := segment.List(o.Dir)
	if len(list) < 4 {
		t.Fatalf("%d segments", len(list))
	}
	next := uint32(0)
	for _, s := range list {
		b, err := os.ReadFile(filepath.Join(o.Dir, s.Name))
		if err != nil {
			t.Fatal(err)
		}
		alone := t.TempDir()
		os.WriteFile(filepath.Join(alone, s.Name), b, 0o600)
		r, err := journal.Open(alone, journal.Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range readAll(t, r) {
			if k.Kind != journal.KindShare {
				continue
			}
			record, err := r.JobRecord(k.Share.Job)
			if err != nil || record == nil || k.Share.Job != 7 || k.Miner.User != testMiner(int(next%3)).User || k.Share.Nonce != next || k.Reason == "" {
				t.Fatalf("%v: %+v of %+v", err, k.Share, k.Miner)
			}
			next++
		}
		r.Close()
	}
	if next != 1000 {
		t.Errorf("%d shares", next)
	}
}

// rewrite changes the text of the headers of a segment and makes them whole.
func rewrite(t testing.TB, path string, change func(*segment.Header)) {
	t.Helper()
	s, _ := segment.ParseName(filepath.Base(path))
	g, err := segment.Open(filepath.Dir(path), s)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	b, _ := os.ReadFile(path)
	h := g.Header
	change(&h)
	headers, err := h.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(headers, b[g.At:]...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What a later release wrote is refused by name, and the reader stays where it is.
func TestLaterRelease(t *testing.T) {
	o := testOptions(t)
	w := mustOpen(t, o)
	w.Share(0, testShare(0, 0), testMiner(0))
	w.loops[0].put(77, 1, 0, nil, &journal.Worker{})
	w.Share(0, testShare(0, 1), testMiner(0))
	w.Flush(0)
	mustClose(t, w)
	list, _ := segment.List(o.Dir)
	path := filepath.Join(o.Dir, list[0].Name)
	rewrite(t, path, func(h *segment.Header) { h.Kinds[77] = "payout"; h.Program = "ckpool 9.9" })
	r, err := journal.Open(o.Dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if k, err := r.Read(); err != nil || k.Number != 1 {
		t.Fatal(k, err)
	}
	for range 2 {
		_, err := r.Read()
		if !errors.Is(err, journal.ErrLater) || !strings.Contains(err.Error(), `"payout"`) || !strings.Contains(err.Error(), "ckpool 9.9") {
			t.Fatal(err)
		}
		if (r.Cursor().Position != journal.Position{Epoch: 1, Number: 1}) {
			t.Errorf("the cursor has moved to %v", r.Cursor().Position)
		}
	}
	rewrite(t, path, func(h *segment.Header) { h.Format = 2 })
	r2, err := journal.Open(o.Dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r2.Read(); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Error(err)
	}
}

// Another network, another journal: each is refused with its name. An older copy is told
// apart.
func TestRefused(t *testing.T) {
	o, path := smallJournal(t)
	other := o
	other.Network = "main"
	if _, err := Open(other); err == nil || !strings.Contains(err.Error(), "regtest") || !strings.Contains(err.Error(), "main") {
		t.Errorf("a writer of another network: %v", err)
	}
	if _, err := journal.Open(o.Dir, journal.Cursor{Network: "main"}); err == nil || !strings.Contains(err.Error(), "regtest") {
		t.Errorf("a reader of another network: %v", err)
	}
	if _, err := journal.Open(o.Dir, journal.Cursor{Position: journal.Position{Epoch: 9, Number: 1}}); !errors.Is(err, journal.ErrHistory) {
		t.Errorf("an older copy: %v", err)
	}
	r, err := journal.Open(o.Dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	readAll(t, r)
	// Made anew under the reader, by hand.
	if err := os.Remove(filepath.Join(o.Dir, segment.StateFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 2 { // so that its epoch is a later one
		w := mustOpen(t, o)
		w.Share(0, testShare(0, 0), testMiner(0))
		w.Flush(0)
		mustClose(t, w)
	}
	for range 2 {
		if _, err := r.Read(); !errors.Is(err, journal.ErrInstance) {
			t.Errorf("another journal under the reader: %v", err)
		}
	}
	if r.Cursor().Position != (journal.Position{Epoch: 1, Number: smallShares}) {
		t.Errorf("the cursor has moved to %v", r.Cursor().Position)
	}
	if _, err := journal.Open(o.Dir, r.Cursor()); !errors.Is(err, journal.ErrInstance) {
		t.Errorf("another journal than that of the cursor: %v", err)
	}
	w := mustOpen(t, o)
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second writer: %v", err)
	}
	mustClose(t, w)
	os.WriteFile(filepath.Join(o.Dir, segment.StateFile), []byte("{"), 0o600)
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), segment.StateFile) {
		t.Errorf("a damaged state: %v", err)
	}
}

// segmentV1 is a segment of the first form, for ever: what smallJournal makes.
func segmentV1(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "journal", "testdata", "v1", segment.Name(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What the first release wrote is read by every later one.
func TestSegmentV1(t *testing.T) {
	dir := memory(t)
	if err := os.WriteFile(filepath.Join(dir, segment.Name(1, 1)), segmentV1(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if read, missing := numbersOf(t, dir); len(read) != smallShares || missing != nil {
		t.Errorf("read %v, missing %v", read, missing)
	}
}

// What another process has left in a ring is not trusted either.
func FuzzRing(f *testing.F) {
	r := &ring{data: make([]byte, minRing)}
	s, m := toldShare()
	r.head, r.lostRecords, r.lostShares = newCounter(), newCounter(), newCounter()
	for range 3 {
		r.begin(m)
		r.scratch = shareBody(r.scratch, s)
		r.end(journal.KindShare, s.Time, s.Job)
	}
	f.Add(slices.Clone(r.data[:r.at]), uint64(0), uint64(r.at))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, uint64(0), uint64(minRing))
	f.Add(slices.Clone(r.data[:r.at]), uint64(0), uint64(r.at-6)) // a position that is between records
	f.Fuzz(func(t *testing.T, b []byte, at, n uint64) {
		r := &ring{data: make([]byte, minRing)}
		copy(r.data, b)
		end := at + n
		for at != end {
			k, err := r.take(at, end)
			if err != nil {
				return
			}
			if k.next == at || k.next-at > n {
				t.Fatalf("from %d to %d, of %d", at, k.next, end)
			}
			n = end - k.next
			at = k.next
		}
	})
}
