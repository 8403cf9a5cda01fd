package accounting

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ckpool/ckpool/internal/store"
)

// A database is put back from a backup. The journal has all that came since if a cursor was
// copied before the backup was made, as docs/ckdb.md has it; else what all have read is deleted.
func TestBackupPutBack(t *testing.T) {
	for _, kept := range []bool{true, false} {
		t.Run(fmt.Sprintf("cursor %v", kept), func(t *testing.T) {
			p := newPool(t)
			p.options.SegmentSize = 1 << 10
			where, backup := filepath.Join(t.TempDir(), "ckdb"), filepath.Join(t.TempDir(), "backup")
			// storeAll is ckdb for as long as there is something to store.
			storeAll := func(then func(s *store.Store)) {
				t.Helper()
				s, err := store.Open(t.Context(), where)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				f := follow(t, s, p.options.Dir)
				f.behind()
				f.stop()
				then(s)
			}
			nothing := func(*store.Store) {}
			p.write(func() { p.tell(100) })
			storeAll(nothing)
			if kept {
				cursor, err := os.ReadFile(filepath.Join(p.options.Dir, "cursor-ckdb.json"))
				if err == nil {
					err = os.WriteFile(filepath.Join(p.options.Dir, "cursor-backup.json"), cursor, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			put(t, backup, where)
			p.write(func() { p.tell(100) })
			storeAll(nothing)
			p.run()() // which deletes what all have read
			put(t, where, backup)
			storeAll(func(s *store.Store) {
				st := status(t, s)
				if !kept {
					if len(st.Gaps) == 0 {
						t.Error("nothing was deleted: this shows nothing")
					}
					return
				}
				p.matches(s)
				if len(st.Gaps) != 0 || st.Repeated != 0 {
					t.Errorf("gaps %+v, %d repeated", st.Gaps, st.Repeated)
				}
			})
		})
	}
}
