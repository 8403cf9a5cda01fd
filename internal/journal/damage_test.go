package journal

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
	list, err := listSegments(o.Dir)
	if err != nil || len(list) != 1 {
		t.Fatal(err, list)
	}
	return o, filepath.Join(o.Dir, list[0].name)
}

// numbersOf are the numbers of the shares of a journal and of what is missing, which
// must be all from 1 on together. Every share must be the one that was told.
func numbersOf(t testing.TB, dir string) (read, missing []uint64) {
	t.Helper()
	r, err := NewReader(dir, Cursor{})
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
		if k.Kind == KindMissing {
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
		if want := testShare(0, uint32(next-1)); k.Kind != KindShare || !bytes.Equal(appendShare(nil, want), appendShare(nil, &k.Share)) || k.Miner.User != testMiner(int((next-1)/smallFrame)).User {
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
	list := readJournal(t, o.Dir, Cursor{})
	// How many records the epoch had is known from the next one.
	if len(list) != 3 || list[0].Kind != KindMissing || !strings.Contains(list[0].Missing.String(), "its header is damaged") ||
		list[1].Kind != KindMissing || list[1].Position != (Position{1, smallShares}) || list[2].Kind != KindShare || list[2].Position != (Position{2, 1}) {
		t.Errorf("%+v", list)
	}
	var found []Finding
	if _, err := Check(o.Dir, func(f Finding) { found = append(found, f) }, nil); err != nil || len(found) == 0 {
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
	list, _ := listSegments(o.Dir)
	path := filepath.Join(o.Dir, list[0].name)
	b, _ := os.ReadFile(path)
	if err := os.WriteFile(path, bytes.Replace(b, []byte("user1.rig"), []byte("user9.rig"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range readJournal(t, o.Dir, Cursor{}) {
		if k.Kind == KindMissing {
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
	if g, err := openSegment(o.Dir, segmentFile{name: name, epoch: 1, first: 1}); err != nil {
		t.Fatal(err)
	} else {
		headers = int(g.at)
		g.close()
	}
	for n := headers; n < len(whole); n++ {
		for _, behind := range [][]byte{nil, make([]byte, 100)} { // zeros: the size came to the disk, the bytes did not
			o := o
			o.Dir = filepath.Join(base, fmt.Sprint(n, len(behind)))
			if err := os.Mkdir(o.Dir, 0o750); err != nil {
				t.Fatal(err)
			}
			state, err := os.ReadFile(filepath.Join(filepath.Dir(path), stateFile))
			if err != nil {
				t.Fatal(err)
			}
			os.WriteFile(filepath.Join(o.Dir, stateFile), state, 0o600)
			torn := slices.Concat(whole[:n], behind)
			os.WriteFile(filepath.Join(o.Dir, name), torn, 0o600)
			before, _ := numbersOf(t, o.Dir)
			w := mustOpen(t, o)
			w.Share(0, testShare(0, 99), testMiner(0))
			w.Flush(0)
			mustClose(t, w)
			read := 0
			for _, k := range readJournal(t, o.Dir, Cursor{}) {
				if k.Kind == KindMissing {
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
	list, _ := listSegments(o.Dir)
	if len(list) < 4 {
		t.Fatalf("%d segments", len(list))
	}
	next := uint32(0)
	for _, s := range list {
		b, err := os.ReadFile(filepath.Join(o.Dir, s.name))
		if err != nil {
			t.Fatal(err)
		}
		alone := t.TempDir()
		os.WriteFile(filepath.Join(alone, s.name), b, 0o600)
		r, err := NewReader(alone, Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range readAll(t, r) {
			if k.Kind != KindShare {
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
func rewrite(t testing.TB, path string, change func(*Header)) {
	t.Helper()
	s, _ := parseSegmentName(filepath.Base(path))
	g, err := openSegment(filepath.Dir(path), s)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	b, _ := os.ReadFile(path)
	h := g.header
	change(&h)
	headers, err := h.appendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(headers, b[g.at:]...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What a later release wrote is refused by name, and the reader stays where it is.
func TestLaterRelease(t *testing.T) {
	o := testOptions(t)
	w := mustOpen(t, o)
	w.Share(0, testShare(0, 0), testMiner(0))
	w.loops[0].put(77, 1, 0, nil, (&Worker{}).fields)
	w.Share(0, testShare(0, 1), testMiner(0))
	w.Flush(0)
	mustClose(t, w)
	list, _ := listSegments(o.Dir)
	path := filepath.Join(o.Dir, list[0].name)
	rewrite(t, path, func(h *Header) { h.Kinds[77] = "payout"; h.Program = "ckpool 9.9" })
	r, err := NewReader(o.Dir, Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if k, err := r.Read(); err != nil || k.Number != 1 {
		t.Fatal(k, err)
	}
	for range 2 {
		_, err := r.Read()
		var later *LaterError
		if !errors.As(err, &later) || !strings.Contains(err.Error(), `"payout"`) || !strings.Contains(err.Error(), "ckpool 9.9") {
			t.Fatal(err)
		}
		if (r.Cursor().Position != Position{1, 1}) {
			t.Errorf("the cursor has moved to %v", r.Cursor().Position)
		}
	}
	rewrite(t, path, func(h *Header) { h.Format = 2 })
	r2, err := NewReader(o.Dir, Cursor{})
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
	if _, err := NewReader(o.Dir, Cursor{Network: "main"}); err == nil || !strings.Contains(err.Error(), "regtest") {
		t.Errorf("a reader of another network: %v", err)
	}
	if _, err := NewReader(o.Dir, Cursor{Position: Position{9, 1}}); !errors.Is(err, ErrHistory) {
		t.Errorf("an older copy: %v", err)
	}
	r, err := NewReader(o.Dir, Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	readAll(t, r)
	// Made anew under the reader, by hand.
	if err := os.Remove(filepath.Join(o.Dir, stateFile)); err != nil {
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
		if _, err := r.Read(); !errors.Is(err, ErrInstance) {
			t.Errorf("another journal under the reader: %v", err)
		}
	}
	if r.Cursor().Position != (Position{1, smallShares}) {
		t.Errorf("the cursor has moved to %v", r.Cursor().Position)
	}
	if _, err := NewReader(o.Dir, r.Cursor()); !errors.Is(err, ErrInstance) {
		t.Errorf("another journal than that of the cursor: %v", err)
	}
	w := mustOpen(t, o)
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second writer: %v", err)
	}
	mustClose(t, w)
	os.WriteFile(filepath.Join(o.Dir, stateFile), []byte("{"), 0o600)
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), stateFile) {
		t.Errorf("a damaged state: %v", err)
	}
}

// segmentV1 is a segment of the first form, for ever: what smallJournal makes.
func segmentV1(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "v1.journal"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What the first release wrote is read by every later one.
func TestSegmentV1(t *testing.T) {
	dir := memory(t)
	if err := os.WriteFile(filepath.Join(dir, segmentName(1, 1)), segmentV1(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if read, missing := numbersOf(t, dir); len(read) != smallShares || missing != nil {
		t.Errorf("read %v, missing %v", read, missing)
	}
}

// A reader of any bytes ends, tells what it has read in order, and, of a segment with
// damaged bytes, invents nothing.
func FuzzReader(f *testing.F) {
	whole := segmentV1(f)
	f.Add(whole, []byte{}, uint32(0), byte(0))
	f.Add(whole, []byte("payload"), uint32(len(whole)-200), byte(7))
	f.Add(whole, whole[len(whole)-900:], uint32(8192), byte(0))
	f.Add([]byte{}, []byte{}, uint32(0), byte(0))
	f.Add(whole[:len(whole)-50], whole[len(whole)-50:], uint32(9000), byte(1))
	f.Fuzz(func(t *testing.T, file, insert []byte, at uint32, flip byte) {
		dir := memory(t)
		b := slices.Clone(file)
		if len(b) > 0 {
			i := int(at) % len(b)
			b[i] ^= flip
			b = slices.Concat(b[:i], insert, b[i:])
		}
		if err := os.WriteFile(filepath.Join(dir, segmentName(1, 1)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(dir, Cursor{})
		if err != nil {
			return
		}
		defer r.Close()
		last := Position{}
		for n := 0; ; n++ {
			k, err := r.Read()
			if err != nil {
				break
			}
			if !last.Before(k.Position) {
				t.Fatalf("%v comes after %v", k.Position, last)
			}
			last = k.Position
			if n > len(b) {
				t.Fatal("more records than bytes")
			}
			if k.Kind == KindShare && bytes.Equal(file, whole) {
				if want := testShare(0, uint32(k.Number-1)); !bytes.Equal(appendShare(nil, want), appendShare(nil, &k.Share)) || k.Miner.User != testMiner(int((k.Number-1)/smallFrame)).User {
					t.Fatalf("record %d is read as %+v of %+v", k.Number, k.Share, k.Miner)
				}
			}
			if k.Kind != KindJob {
				if _, err := k.AppendJSON(nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		Segments(dir)
	})
}

// What another process has left in a ring is not trusted either.
func FuzzRing(f *testing.F) {
	r := &ring{data: make([]byte, minRing)}
	s, m := toldShare()
	r.head, r.lostRecords, r.lostShares = newCounter(), newCounter(), newCounter()
	for range 3 {
		r.begin(m)
		r.scratch = appendShare(r.scratch, s)
		r.end(KindShare, s.Time, s.Job)
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

// The parsers of what stands in frames never go beyond it.
func FuzzRecordBody(f *testing.F) {
	s, m := toldShare()
	f.Add(byte(KindShare), appendShare(nil, s))
	f.Add(byte(KindShare), appendShare(nil, testShare(0, 49)))
	f.Add(byte(KindLeave), appendFields(nil, (&Leave{1, 2, "x"}).fields))
	f.Add(byte(KindBlock), appendFields(nil, (&Block{}).fields))
	f.Add(byte(KindStatistics), appendFields(nil, (&Statistics{}).fields))
	f.Add(byte(KindLost), appendFields(nil, (&Lost{}).fields))
	f.Add(byte(KindJob), make([]byte, 8))
	f.Add(byte(0), appendMiner(nil, m))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		r := Record{Kind: Kind(kind)}
		if err := r.readBody(b, 1); err == nil && r.Kind == KindShare {
			var again Share
			if err := readShare(appendShare(nil, &r.Share), &again); err != nil || again.Hash != r.Share.Hash || again.Credit != r.Share.Credit || again.Above != r.Share.Above || !bytes.Equal(again.AboveText, r.Share.AboveText) {
				t.Fatalf("%v: %+v, was %+v", err, again, r.Share)
			}
		}
		if m, err := readMiner(b); err == nil {
			if n, err := readMiner(appendMiner(nil, m)); err != nil || n.Worker != m.Worker || n.Limit != m.Limit {
				t.Fatalf("%v: %+v, was %+v", err, n, m)
			}
		}
		nextDefinition(b)
		nextRecord(b, 0)
		parseSegmentName(string(b))
	})
}

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
	whole := segmentV1(t)
	dir := memory(t)
	os.WriteFile(filepath.Join(dir, segmentName(1, 1)), whole, 0o600)
	g, err := openSegment(dir, segmentFile{segmentName(1, 1), 1, 1})
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	for reads := range 8 {
		for first := int(g.at); first < len(whole); first += 50 {
			s := scanner{file: &growing{whole, reads, first}, mark: g.mark, at: g.at}
			frames := 0
			for range 40 {
				var f frame
				skipped, found, err := s.next(&f)
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
