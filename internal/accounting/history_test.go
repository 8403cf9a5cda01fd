package accounting

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/journal"
)

// put puts a copy of a directory in the place of another.
func put(t testing.TB, dir, by string) {
	t.Helper()
	whole := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(whole, os.DirFS(by)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, filepath.Join(t.TempDir(), "away")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(whole, dir); err != nil {
		t.Fatal(err)
	}
}

// A journal that ckdb looks at while it is copied has files that are not whole: that is
// told, and once they are, all of it is stored.
func TestCopyThatIsNotWhole(t *testing.T) {
	for _, tt := range []struct{ file, told string }{
		{"journal.json", "journal.json: unexpected end of JSON input"},
		{"0*.journal", "header"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			each(t, func(t *testing.T, where string) {
				s, p := open(t, where), newPool(t)
				p.write(func() { p.tell(100) })
				p.write(func() { p.tell(100) })
				found, err := filepath.Glob(filepath.Join(p.options.Dir, tt.file))
				if err != nil || len(found) == 0 {
					t.Fatal(found, err)
				}
				last := found[len(found)-1]
				whole, err := os.ReadFile(last)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(last, whole[:10], 0o640); err != nil {
					t.Fatal(err)
				}
				f := follow(t, s, p.options.Dir)
				f.says(tt.told)
				if err := os.WriteFile(last, whole, 0o640); err != nil {
					t.Fatal(err)
				}
				f.says("is stored again")
				f.behind()
				f.stop()
				p.matches(s)
			})
		})
	}
}

// An older copy of a journal is put back after more of it was stored, and the pool goes on
// in epochs of numbers that were stored with other records: every share is in the database
// once, and every reject is counted. The parts are told: where the journals part, and what
// may be missing.
func TestOlderCopyPutBack(t *testing.T) {
	for _, tt := range []struct {
		name    string
		stored  []int // shares of the epochs that are stored and not in the copy
		since   []int // shares of those that are written in the copy
		running bool  // ckdb runs meanwhile
	}{
		{"fewer", []int{200}, []int{50}, false},
		{"more", []int{50}, []int{200}, false},
		{"more while ckdb runs", []int{50}, []int{200}, true},
		{"fewer while ckdb runs", []int{200}, []int{50}, true},
		{"fewer epochs", []int{50, 50, 50}, []int{70}, false},
		{"more epochs", []int{50, 50}, []int{20, 70, 90}, false},
		{"more epochs while ckdb runs", []int{50, 50}, []int{20, 70, 90}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, where string) {
				s, p := open(t, where), newPool(t)
				aside := filepath.Join(t.TempDir(), "aside")
				p.write(func() { p.tell(100) })
				p.write(func() { p.tell(100) })
				put(t, aside, p.options.Dir)
				for _, n := range tt.stored {
					p.write(func() { p.tell(n) })
				}
				f := follow(t, s, p.options.Dir)
				f.behind()
				before := status(t, s)
				if !tt.running {
					f.stop()
				}
				put(t, p.options.Dir, aside)
				for _, n := range tt.since {
					p.write(func() { p.tell(n) })
				}
				if !tt.running {
					f = follow(t, s, p.options.Dir)
				}
				f.says("an older copy of it was put back: it has other records than the database since record 2/101")
				last := store.Position{Epoch: int64(2 + len(tt.since)), Number: int64(1 + tt.since[len(tt.since)-1])}
				f.tells()
				wait.Until(t, patience, "all stored", func() bool {
					at := status(t, s).At
					return at.Epoch == last.Epoch && at.Number == last.Number && at.Life != before.At.Life
				})
				// That it is stored, ckdb hears a moment later than others see it.
				wait.Until(t, patience, "the cursor", func() bool {
					c, err := journal.ReadCursor(p.options.Dir, "ckdb")
					return err == nil && fmt.Sprint(c.Position) == last.String()
				})
				f.stop()
				p.matches(s)
				st := status(t, s)
				if st.Repeated != 0 || len(st.Gaps) != 1 || st.Gaps[0].Cause != "replaced" || st.Gaps[0].Epoch != before.At.Epoch || st.Gaps[0].First != before.At.Number+1 {
					t.Errorf("%d repeated, gaps %+v, want one after %s", st.Repeated, st.Gaps, before.At)
				}
				if n := strings.Count(f.told.String(), "put back"); n != 1 {
					t.Errorf("told %d times:\n%s", n, f.told)
				}
				c, err := journal.ReadCursor(p.options.Dir, "ckdb")
				if err != nil || c.Life != st.At.Life || fmt.Sprint(c.Position) != st.At.String() {
					t.Errorf("the cursor is %+v, %v, want that of %+v", c, err, st.At)
				}
			})
		})
	}
}

// A copy that has nothing more than was stored changes nothing: what is written after it
// goes on behind what is stored.
func TestCopyThatIsWhole(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		aside := filepath.Join(t.TempDir(), "aside")
		p.write(func() { p.tell(100) })
		put(t, aside, p.options.Dir)
		f := follow(t, s, p.options.Dir)
		f.behind()
		f.stop()
		put(t, p.options.Dir, aside)
		p.write(func() { p.tell(100) })
		f = follow(t, s, p.options.Dir)
		f.behind()
		f.stop()
		p.matches(s)
		if st := status(t, s); st.Repeated != 0 || len(st.Gaps) != 0 || strings.Contains(f.told.String(), "put back") {
			t.Errorf("%+v, told:\n%s", st, f.told)
		}
	})
}

// A journal is put back file by file while ckdb runs, which has stored all of it: it goes back
// to what is there, and counts nothing twice once the rest is.
func TestCopyInPieces(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		for range 3 {
			p.write(func() { p.tell(100) })
		}
		f := follow(t, s, p.options.Dir)
		f.behind()
		before := status(t, s).At
		aside := filepath.Join(t.TempDir(), "aside")
		put(t, aside, p.options.Dir)
		list := segments(t, aside)
		put(t, p.options.Dir, aside)
		remove(t, segments(t, p.options.Dir)[1:])
		wait.Until(t, patience, "back in the first file", func() bool { return status(t, s).At.Epoch == 1 })
		for _, from := range list[1:] {
			b, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(p.options.Dir, filepath.Base(from)), b, 0o640); err != nil {
				t.Fatal(err)
			}
		}
		wait.Until(t, patience, "at the end again", func() bool { return status(t, s).At == before })
		p.write(func() { p.tell(100) })
		f.behind()
		f.stop()
		p.matches(s)
		if n := status(t, s).Repeated; n != 0 {
			t.Errorf("%d repeated", n)
		}
	})
}

// A machine is copied, and both go on: each stores what the other has not, whatever is in
// between, and nothing is missing in the end.
func TestTwoCopiesGoOn(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		p.write(func() { p.tell(100) })
		mine := p.options.Dir
		other := filepath.Join(t.TempDir(), "other", "journal")
		put(t, other, mine)
		for i := range 3 {
			for _, dir := range []string{mine, other} {
				p.options.Dir = dir
				p.write(func() { p.tell(30 + 10*i) })
				f := follow(t, s, dir)
				f.behind()
				f.stop()
			}
		}
		p.matches(s)
		f := follow(t, s, mine) // it was whole, so nothing is said to be missing of it
		f.behind()
		f.stop()
		st := status(t, s)
		if st.Repeated != 0 || len(st.Gaps) != 1 {
			t.Errorf("%d repeated, gaps %+v", st.Repeated, st.Gaps)
		}
	})
}

// removeSegments deletes all segments of a journal, as people do whose disk is full.
func removeSegments(t testing.TB, dir string) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil || len(list) == 0 {
		t.Fatalf("%q, %v", list, err)
	}
	remove(t, list)
}

func remove(t testing.TB, paths []string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// An older copy of a journal is put back, and what the pool has written in it at first is
// deleted before ckdb has read it: what is there is stored, and that the rest is not is told.
func TestOlderCopyCutShort(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		aside := filepath.Join(t.TempDir(), "aside")
		p.write(func() { p.tell(100) })
		put(t, aside, p.options.Dir)
		p.write(func() { p.tell(100) })
		f := follow(t, s, p.options.Dir)
		f.behind()
		f.stop()
		before := status(t, s)
		put(t, p.options.Dir, aside)
		p.write(func() {}) // of the number of the epoch that is stored
		p.write(func() { p.tell(100) })
		list, err := filepath.Glob(filepath.Join(p.options.Dir, "*.journal"))
		if err != nil || len(list) != 3 {
			t.Fatalf("%q, %v", list, err)
		}
		remove(t, list[:2])
		f = follow(t, s, p.options.Dir)
		f.says("an older copy of it was put back")
		f.behind()
		f.stop()
		p.matches(s)
		st := status(t, s)
		if st.Repeated != 0 || st.At.Epoch != 3 || len(st.Gaps) == 0 || st.Gaps[0].Cause != "replaced" || st.Gaps[0].First != before.At.Number+1 {
			t.Errorf("at %s, %d repeated, gaps %+v", st.At, st.Repeated, st.Gaps)
		}
	})
}

// All segments of a journal were deleted when they were stored: nothing is missing, and what
// is written from then on is stored.
func TestSegmentsRemoved(t *testing.T) {
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprint(running), func(t *testing.T) {
			each(t, func(t *testing.T, where string) {
				s, p := open(t, where), newPool(t)
				p.write(func() { p.tell(100) })
				p.write(func() { p.tell(100) })
				f := follow(t, s, p.options.Dir)
				f.behind()
				if !running {
					f.stop()
				}
				removeSegments(t, p.options.Dir)
				p.write(func() { p.tell(100) })
				if !running {
					f = follow(t, s, p.options.Dir)
				}
				wait.Until(t, patience, "all stored", func() bool { return status(t, s).At.Epoch == 3 })
				f.behind()
				f.stop()
				p.matches(s)
				if st := status(t, s); st.Repeated != 0 || len(st.Gaps) != 0 || strings.Contains(f.told.String(), "put back") {
					t.Errorf("%+v, told:\n%s", st, f.told)
				}
			})
		})
	}
}

// All segments of a journal were deleted, and not all was stored: what may be missing is
// told, to the epoch whose length nobody knows any more.
func TestSegmentsRemovedUnread(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		p.write(func() { p.tell(100) })
		f := follow(t, s, p.options.Dir)
		f.behind()
		f.stop()
		lost := newPool(t)
		lost.options = p.options
		lost.write(func() { lost.tell(100) })
		removeSegments(t, p.options.Dir)
		p.write(func() { p.tell(100) })
		f = follow(t, s, p.options.Dir)
		wait.Until(t, patience, "all stored", func() bool { return status(t, s).At.Epoch == 3 })
		f.behind()
		f.stop()
		p.matches(s)
		gaps := status(t, s).Gaps
		if len(gaps) != 2 || gaps[0].Epoch != 1 || gaps[0].First != 102 || gaps[1].Epoch != 2 || gaps[1].First != 1 || gaps[1].Last != store.ToEnd {
			t.Errorf("gaps %+v", gaps)
		}
	})
}

// forgetful is a database that does not see that a journal is another one than was stored.
type forgetful struct{ *store.Store }

func (s forgetful) Begin(ctx context.Context, in store.Instance, _ []store.Epoch) (store.Start, error) {
	return s.Store.Begin(ctx, in, nil)
}

// A journal that its database and its reader see differently is not stored, and that is told.
func TestPartedForEver(t *testing.T) {
	s, p := open(t, "sqlite:"+t.TempDir()), newPool(t)
	p.write(func() { p.tell(10) })
	aside := filepath.Join(t.TempDir(), "aside")
	put(t, aside, p.options.Dir)
	p.write(func() { p.tell(10) })
	f := follow(t, s, p.options.Dir)
	f.behind()
	f.stop()
	put(t, p.options.Dir, aside)
	p.write(func() { p.tell(20) })
	f = &following{t: t, told: &told{}, ended: make(chan error, 1)}
	f.Follower = &Follower{Dir: p.options.Dir, Reader: "ckdb", Store: forgetful{s}, Events: f.told.tell}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { f.ended <- f.Run(ctx) }()
	f.says("an older copy of it was put back; trying again")
	if f.Progress().Err == "" {
		t.Error("its status is that it stores")
	}
	cancel()
	<-f.ended
}
