package journalwriter

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A directory is copied, and a pool goes on in each on the same machine: the second is
// refused, and what the first tells outlives its process as ever.
func TestCopyInUse(t *testing.T) {
	for _, running := range []bool{false, true} { // when it is copied
		o := testOptions(t)
		var next [2]uint32
		w := mustOpen(t, o)
		tell(w, &next, 5)
		if !running {
			mustClose(t, w)
		}
		copied := o
		copied.Dir = filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copied.Dir, os.DirFS(o.Dir)); err != nil {
			t.Fatal(err)
		}
		if !running {
			w = mustOpen(t, o)
		}
		tell(w, &next, 5)
		if second, err := Open(copied); err == nil {
			second.lock.Close()
			t.Errorf("running %v: two processes have the same rings", running)
		} else if !errors.Is(err, ErrLocked) {
			t.Errorf("running %v: %v", running, err)
		}
		tell(w, &next, 5)
		w.lock.Close() // killed
		w = mustOpen(t, o)
		mustClose(t, w)
		if got := history(t, allShares(t, o.Dir)); got != next {
			t.Errorf("running %v: %v shares are there, want %v", running, got, next)
		}
	}
}
