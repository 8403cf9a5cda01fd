package journalwriter

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/segment"
	"github.com/ckpool/ckpool/journal"
)

func mustMirror(t testing.TB, dir, instance string) *Mirror {
	t.Helper()
	m, err := OpenMirror(dir, instance, "regtest", DefaultMaxSize, (&told{}).tell)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// carry copies what is safe in a journal to a mirror, up to so many pieces.
func carry(t testing.TB, dir string, m *Mirror, safe journal.Position, most int) (last journal.Cursor) {
	t.Helper()
	tail, err := NewTail(dir, m.Place(), (&told{}).tell)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	for range most {
		p, err := tail.Next(safe)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Write(&p); err != nil {
			t.Fatal(err)
		}
		last = p.Cursor
	}
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	return last
}

// A copy that is cut off anywhere and goes on, also by another process, is the journal.
func TestMirror(t *testing.T) {
	o := testOptions(t)
	o.SegmentSize = 10_000
	dir := filepath.Join(t.TempDir(), "copy")
	instance := ""
	random := rand.New(rand.NewPCG(1, 2))
	n := uint32(0)
	var m *Mirror
	for epoch := range 4 {
		w := mustOpen(t, o)
		instance = w.instance
		for range 12 {
			for range random.IntN(60) {
				w.Share(0, testShare(0, n), testMiner(0))
				n++
			}
			w.Flush(0)
			mustRound(t, w)
			if m == nil {
				m = mustMirror(t, dir, instance)
			}
			safe := w.Status().Position
			carry(t, o.Dir, m, safe, random.IntN(3))
			if random.IntN(3) == 0 { // the process ends, in the middle of writing
				name := filepath.Join(dir, m.Place().Segment)
				m.Close()
				if f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0); err == nil {
					_, _ = f.Write(make([]byte, 1+random.IntN(40)))
					f.Close()
				}
				m = mustMirror(t, dir, instance)
			}
		}
		if epoch%2 == 0 { // killed: what is in memory is written by the next
			w.Share(0, testShare(0, n), testMiner(0))
			n++
			w.Flush(0)
			w.lock.Close()
		} else {
			mustClose(t, w)
		}
	}
	w := mustOpen(t, o)
	mustClose(t, w)
	last := carry(t, o.Dir, m, w.Status().Position, 1000)
	m.Close()
	list, err := segment.List(o.Dir)
	if err != nil || len(list) < 6 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, s := range list {
		want, _ := os.ReadFile(filepath.Join(o.Dir, s.Name))
		got, err := os.ReadFile(filepath.Join(dir, s.Name))
		if err != nil || !bytes.Equal(want, got) {
			t.Errorf("%s: %d bytes, want %d, %v", s.Name, len(got), len(want), err)
		}
	}
	r, err := journal.Open(dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	read := uint32(0)
	for ; ; read++ {
		k, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil || k.Kind != journal.KindShare || k.Share.Time != testShare(0, read).Time {
			t.Fatalf("record %d: %+v, %v", read, k, err)
		}
	}
	if read != n || r.Cursor().Position != last.Position {
		t.Errorf("%d shares, want %d; the last at %v, want %v", read, n, r.Cursor().Position, last.Position)
	}
}

// What a power cut may still take is not sent.
func TestTailSafe(t *testing.T) {
	o := testOptions(t)
	w := mustOpen(t, o)
	w.Share(0, testShare(0, 0), testMiner(0))
	w.Flush(0)
	mustRound(t, w)
	tail, err := NewTail(o.Dir, Place{}, (&told{}).tell)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	if p, err := tail.Next(journal.Position{}); err != nil || p.Cursor.Number != 0 {
		t.Fatalf("the header: %+v, %v", p.Cursor, err)
	}
	if p, err := tail.Next(journal.Position{}); err != io.EOF {
		t.Fatalf("what is not safe: %+v, %v", p.Cursor, err)
	}
	if p, err := tail.Next(w.Status().Position); err != nil || p.Cursor.Position != (journal.Position{Epoch: 1, Number: 1}) {
		t.Fatalf("what is safe: %+v, %v", p.Cursor, err)
	}
	mustClose(t, w)
}

// A journal that was put back from an older copy is not what the mirror is a copy of, and
// a mirror takes nothing that does not go on from where it is.
func TestMirrorRefuses(t *testing.T) {
	o := testOptions(t)
	w := mustOpen(t, o)
	w.Share(0, testShare(0, 0), testMiner(0))
	w.Flush(0)
	mustRound(t, w)
	dir := t.TempDir()
	m := mustMirror(t, dir, w.instance)
	defer m.Close()
	carry(t, o.Dir, m, w.Status().Position, 10)
	mustClose(t, w)
	if _, err := OpenMirror(dir, w.instance, "regtest", 1, nil); err == nil {
		t.Error("two processes have it")
	}
	at := m.Place()
	for _, p := range []Piece{
		{Segment: at.Segment, At: at.Size + 1, Data: []byte("x")},
		{Segment: at.Segment, At: 0, Data: []byte("x")},
		{Segment: segment.Name(1, 0), At: 0, Data: []byte("x")},
		{Segment: segment.Name(2, 1), At: 5, Data: []byte("x")},
		{Segment: segment.Name(2, 1), At: 0, Data: []byte("x")},
		{Segment: "../x", At: 0, Data: []byte("x")},
	} {
		if err := m.Write(&p); err == nil {
			t.Errorf("it takes %+v", p)
		}
	}
	for _, p := range []Place{{Segment: at.Segment, Mark: "0011223344556677", Size: at.Size}, {Segment: segment.Name(9, 1), Size: 5}} {
		if _, err := NewTail(o.Dir, p, nil); !errors.Is(err, journal.ErrHistory) {
			t.Errorf("a copy at %+v: %v", p, err)
		}
	}
	other := testOptions(t)
	k := mustOpen(t, other)
	k.Share(0, testShare(0, 0), testMiner(0))
	k.Flush(0)
	mustRound(t, k)
	tail, err := NewTail(other.Dir, Place{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	p, err := tail.Next(k.Status().Position)
	if err != nil {
		t.Fatal(err)
	}
	p.Segment = segment.Name(2, 1)
	if err := m.Write(&p); err == nil {
		t.Error("it takes a segment of another journal")
	}
	mustClose(t, k)
}

// A sync of the journal fails, whichever: the copy gets all that is written again, over one
// link or over many.
func TestMirrorSyncFails(t *testing.T) {
	for after := range 12 {
		for _, links := range []bool{false, true} {
			o, f := testOptions(t), newFaults()
			o.SegmentSize = 6000 << (after % 2 * 8) // one per chunk, or one for all
			w := openFaulty(t, o, f)
			f.drops = true
			f.set(-1, after, unix.EIO)
			dir := t.TempDir()
			m := mustMirror(t, dir, w.instance)
			var next [2]uint32
			var tail *Tail
			for round := range 8 {
				if round == 4 {
					f.set(-1, 0, nil)
				}
				tell(w, &next, 30)
				_ = w.write()
				if links && tail != nil {
					tail.Close()
					tail = nil
				}
				if tail == nil {
					var err error
					if tail, err = NewTail(o.Dir, m.Place(), (&told{}).tell); err != nil && !errors.Is(err, journal.ErrNone) {
						t.Fatalf("sync %d fails, round %d: %v", after, round, err)
					}
				}
				for tail != nil {
					p, err := tail.Next(w.Status().Position)
					if err == io.EOF {
						break
					}
					if err == nil {
						err = m.Write(&p)
					}
					if err != nil {
						t.Fatalf("sync %d fails, round %d: %v", after, round, err)
					}
				}
			}
			tail.Close()
			m.Close()
			if got := history(t, allShares(t, dir)); got != next {
				t.Errorf("sync %d fails, many links %v: the copy has %v shares, want %v", after, links, got, next)
			}
			mustClose(t, w)
		}
	}
}

// A sync of the copy fails, whichever: what it was of is sent and written again, whether the
// copy is in another segment by then or not.
func TestMirrorOwnSyncFails(t *testing.T) {
	for after := range 8 {
		o, f := testOptions(t), newFaults()
		o.SegmentSize = 12_000 // of some rounds
		w := mustOpen(t, o)
		f.drops = true
		f.set(-1, after, unix.EIO)
		dir := t.TempDir()
		m := mustMirror(t, dir, w.instance)
		var next [2]uint32
		for range 8 {
			tell(w, &next, 10)
			mustRound(t, w)
			for copied := false; !copied; {
				tail, err := NewTail(o.Dir, m.Place(), (&told{}).tell)
				if err != nil {
					t.Fatal(err)
				}
				for err == nil {
					var p Piece
					if p, err = tail.Next(w.Status().Position); err != nil {
						break
					}
					err = m.Write(&p)
					if k, is := m.file.(diskFile); is {
						m.file = &faultyFile{file: k, f: f, synced: m.place.Size, end: m.place.Size}
					}
				}
				tail.Close()
				if err == io.EOF {
					err = m.Sync()
				}
				if copied = err == nil; !copied {
					if !errors.Is(err, unix.EIO) {
						t.Fatal(err)
					}
					f.set(-1, 0, nil) // another link
				}
			}
		}
		m.Close()
		if got := history(t, allShares(t, dir)); got != next {
			t.Errorf("sync %d fails: the copy has %v shares, want %v", after, got, next)
		}
		mustClose(t, w)
	}
}

// A segment whose name could not be made safe is written again.
func TestMirrorNameNotSafe(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read every directory")
	}
	o := testOptions(t)
	w := mustOpen(t, o)
	w.Share(0, testShare(0, 0), testMiner(0))
	w.Flush(0)
	mustRound(t, w)
	dir := t.TempDir()
	m := mustMirror(t, dir, w.instance)
	tail, err := NewTail(o.Dir, m.Place(), (&told{}).tell)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tail.Next(w.Status().Position)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o300); err != nil {
		t.Fatal(err)
	}
	if err := m.Write(&p); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
	tail.Close()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	carry(t, o.Dir, m, w.Status().Position, 10)
	m.Close()
	if n := len(allShares(t, dir)); n != 1 {
		t.Errorf("the copy has %d shares", n)
	}
	mustClose(t, w)
}

// A journal was put back from an older copy, and has no segment of the name of the one that
// the mirror is in: what goes on from other records is refused, and not taken for more.
func TestMirrorOfOlderCopy(t *testing.T) {
	o := testOptions(t)
	o.SegmentSize = 10_000
	n := uint32(0)
	epoch := func(rounds int) (instance string, safe journal.Position) {
		w := mustOpen(t, o)
		for range rounds {
			for range 60 {
				w.Share(0, testShare(0, n), testMiner(0))
				n++
			}
			w.Flush(0)
			mustRound(t, w)
		}
		mustClose(t, w)
		return w.instance, w.Status().Position
	}
	epoch(1)
	aside := filepath.Join(t.TempDir(), "aside")
	if err := os.CopyFS(aside, os.DirFS(o.Dir)); err != nil {
		t.Fatal(err)
	}
	instance, safe := epoch(10)
	dir := filepath.Join(t.TempDir(), "copy")
	m := mustMirror(t, dir, instance)
	carry(t, o.Dir, m, safe, 1000)
	if list, err := segment.List(dir); err != nil || len(list) < 3 {
		t.Fatalf("%v, %v", list, err)
	}
	o.Dir = aside
	epoch(1)
	_, safe = epoch(1)
	for _, again := range []bool{false, true} {
		if again { // another process has the copy
			m.Close()
			m = mustMirror(t, dir, instance)
		}
		tail, err := NewTail(o.Dir, m.Place(), (&told{}).tell)
		if err != nil {
			t.Fatal(err)
		}
		p, err := tail.Next(safe)
		if err == nil {
			err = m.Write(&p)
		}
		if !errors.Is(err, journal.ErrHistory) {
			t.Errorf("again %v: %s is written to the copy, %v", again, p.Segment, err)
		}
		tail.Close()
	}
	m.Close()
}

// Copies are found wherever they are: in a directory whose name looks like a pattern too.
func TestMirrorsInOddDirectories(t *testing.T) {
	instance := strings.Repeat("0f", 16)
	for _, name := range []string{"remotes", "pool[1]", "pool[1", "*"} {
		dir := filepath.Join(t.TempDir(), name)
		want := filepath.Join(dir, MirrorDir(instance, "asia"))
		for _, path := range []string{want, filepath.Join(dir, "other-0f")} {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if list := Mirrors(dir); len(list) != 1 || list[0] != want {
			t.Errorf("%s: %q", name, list)
		}
	}
}
