package journalwriter

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ckpool/ckpool/journal"
)

// epochOf writes an epoch of n shares, whose end is that of a process that was killed where
// killed is set.
func epochOf(t testing.TB, o Options, first, n uint32, killed bool) {
	t.Helper()
	w := mustOpen(t, o)
	for i := range n {
		w.Share(0, testShare(0, first+i), testMiner(0))
	}
	w.Flush(0)
	if killed {
		w.lock.Close()
		return
	}
	mustClose(t, w)
}

// replaceDir puts a copy of a directory in the place of another.
func replaceDir(t testing.TB, dir, by string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(by)); err != nil {
		t.Fatal(err)
	}
}

// Each epoch knows the life of the one before, also where the process was killed before
// anything of its epoch was in a segment, and where one was empty.
func TestLives(t *testing.T) {
	o := testOptions(t)
	epochOf(t, o, 0, 10, false)
	epochOf(t, o, 10, 10, true) // all of it is in a ring
	epochOf(t, o, 20, 0, false)
	epochOf(t, o, 20, 10, false)
	list, err := journal.Segments(o.Dir)
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	seen := map[string]bool{}
	for i, s := range list {
		h := s.Header
		if len(h.Life) != 16 || seen[h.Life] {
			t.Errorf("epoch %d has the life %q", h.Epoch, h.Life)
		}
		seen[h.Life] = true
		if i > 0 && (h.Before != list[i-1].Header.Life || h.After != list[i-1].Last) {
			t.Errorf("epoch %d is behind %v %s, want %v %s", h.Epoch, h.After, h.Before, list[i-1].Last, list[i-1].Header.Life)
		}
	}
	epochs, err := journal.Epochs(o.Dir)
	want := []journal.Epoch{{Number: 1, Life: list[0].Header.Life}, {Number: 2, Life: list[1].Header.Life}, {Number: 4, Life: list[2].Header.Life}}
	if err != nil || len(epochs) != 3 || epochs[0] != want[0] || epochs[1] != want[1] || epochs[2] != want[2] {
		t.Errorf("%v, %v, want %v", epochs, err, want)
	}
	// The cursor of each place says the life of its epoch, and reading goes on there.
	r, err := journal.Open(o.Dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 30 {
		if _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
		c := r.Cursor()
		for _, e := range epochs {
			if e.Number == c.Epoch && e.Life != c.Life {
				t.Errorf("the cursor of %v has the life %s, want %s", c.Position, c.Life, e.Life)
			}
		}
		if rest := readJournal(t, o.Dir, c); len(rest) > 0 && rest[0].Kind == journal.KindMissing {
			t.Errorf("after %v: %v", c.Position, rest[0].Missing)
		}
	}
}

// A reader never goes on in records that are not those it came from, whatever numbers
// they have: an older copy was put back, and the pool has written more or fewer records
// since, in epochs of the same numbers or of later ones.
func TestOlderCopyPutBack(t *testing.T) {
	for _, tt := range []struct {
		name  string
		since []uint32 // shares of the epochs that are written in the older copy
	}{
		{"nothing yet", nil},
		{"fewer", []uint32{5}},
		{"as many", []uint32{20}},
		{"more", []uint32{50}},
		{"a later epoch", []uint32{5, 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions(t)
			epochOf(t, o, 0, 10, false)
			copied := filepath.Join(t.TempDir(), "copy")
			replaceDir(t, copied, o.Dir)
			epochOf(t, o, 10, 20, false)
			r, err := journal.Open(o.Dir, journal.Cursor{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if n := len(readAll(t, r)); n != 30 {
				t.Fatal(n)
			}
			before := r.Cursor()
			replaceDir(t, o.Dir, copied)
			for i, n := range tt.since {
				epochOf(t, o, uint32(100*(i+1)), n, false)
			}
			again, err := journal.Open(o.Dir, before)
			if err == nil {
				defer again.Close()
				_, err = again.Read()
			}
			if !errors.Is(err, journal.ErrHistory) {
				t.Errorf("who begins reads on: %v", err)
			}
			if _, err = r.Read(); len(tt.since) > 0 && !errors.Is(err, journal.ErrHistory) || len(tt.since) == 0 && err != io.EOF {
				t.Errorf("who was reading reads on: %v", err)
			}
		})
	}
}

// The cursor of records that an older copy has replaced deletes none of those that were
// written since, and says nothing of how many are unread.
func TestCursorOfOtherHistory(t *testing.T) {
	o := testOptions(t)
	w := filled(t, &o)
	mustClose(t, w)
	copied := filepath.Join(t.TempDir(), "copy")
	replaceDir(t, copied, o.Dir)
	epochOf(t, o, 0, 500, false)
	r, err := journal.Open(o.Dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	readAll(t, r)
	c := r.Cursor()
	replaceDir(t, o.Dir, copied)
	w = mustOpen(t, o)
	for n := range uint32(4) {
		for range 50 {
			w.Share(0, testShare(0, 1000+n), testMiner(0))
		}
		w.Flush(0)
		mustRound(t, w)
	}
	defer mustClose(t, w)
	all := segmentsOf(t, o.Dir)
	if err := journal.WriteCursor(o.Dir, "ckdb", c); err != nil {
		t.Fatal(err)
	}
	if err := w.clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := segmentsOf(t, o.Dir); len(got) != len(all) {
		t.Errorf("%d of %d segments are left", len(got), len(all))
	}
	if s := w.Status(); len(s.Readers) != 1 || s.Readers[0].Behind != 450 {
		t.Errorf("%+v, want 450 records behind", s.Readers)
	}
}
